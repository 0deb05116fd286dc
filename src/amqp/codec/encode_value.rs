//! Values of any type, encoded from `serde_amqp::Value`.
//!
//! Invariant: what is written passes `validate`. By hand and not by serde_amqp's serializer, which writes arrays
//! that cannot be read (empty ones, of strings that are not ASCII, of lists of which one is empty), garbles or
//! panics at the value behind a map key that is a timestamp, and so is not safe to give a peer's values back to.

use fe2o3_amqp_types::definitions::Fields;
use serde_amqp::{Value, descriptor::Descriptor as ValueDescriptor, primitives::Array};

use super::{code, write};

/// Appends a map with symbols as keys.
pub fn encode_fields(fields: &Fields, out: &mut Vec<u8>) {
    let mut elements = Vec::new();
    for (key, value) in fields.iter() {
        write::symbol(&mut elements, key.as_str());
        encode_value(value, &mut elements);
    }
    write::map(out, fields.len() * 2, &elements);
}

/// Appends a value. An array that is empty, or of elements of more than one type, cannot be written as such:
/// the first becomes null, the second a list.
pub fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Described(described) => {
            out.push(code::DESCRIBED);
            encode_descriptor(&described.descriptor, out);
            encode_value(&described.value, out);
        }
        Value::Null => write::null(out),
        Value::Bool(value) => write::bool(out, *value),
        Value::Uint(value) => write::uint(out, *value),
        Value::Ulong(value) => write::ulong(out, *value),
        Value::Int(value) if i8::try_from(*value).is_ok() => {
            out.extend_from_slice(&[code::SMALL_INT, value.to_be_bytes()[3]]);
        }
        Value::Long(value) if i8::try_from(*value).is_ok() => {
            out.extend_from_slice(&[code::SMALL_LONG, value.to_be_bytes()[7]]);
        }
        Value::Binary(value) => write::binary(out, value),
        Value::String(value) => write::string(out, value),
        Value::Symbol(value) => write::symbol(out, value.as_str()),
        Value::List(values) => {
            let mut elements = Vec::new();
            values.iter().for_each(|value| encode_value(value, &mut elements));
            write::list(out, values.len(), &elements);
        }
        Value::Map(pairs) => {
            let mut elements = Vec::new();
            for (key, value) in pairs.iter() {
                encode_value(key, &mut elements);
                encode_value(value, &mut elements);
            }
            write::map(out, pairs.len() * 2, &elements);
        }
        Value::Array(Array(values)) => encode_array(values, out),
        scalar => {
            let constructor = long_form(scalar);
            out.push(constructor);
            encode_data(scalar, out);
        }
    }
}

fn encode_descriptor(descriptor: &ValueDescriptor, out: &mut Vec<u8>) {
    match descriptor {
        ValueDescriptor::Name(name) => write::symbol(out, name.as_str()),
        ValueDescriptor::Code(code) => write::ulong(out, *code),
    }
}

/// Appends an array; see [`encode_value`] for those that cannot be.
fn encode_array(values: &[Value], out: &mut Vec<u8>) {
    match shared_constructor(values) {
        Some(constructor) => {
            let mut body = constructor;
            values.iter().for_each(|value| encode_data(value, &mut body));
            if let Some((first, rest)) = body.split_first() {
                write::array(out, values.len(), *first, rest);
            }
        }
        None if values.is_empty() => write::null(out),
        None => {
            let mut elements = Vec::new();
            values.iter().for_each(|value| encode_value(value, &mut elements));
            write::list(out, values.len(), &elements);
        }
    }
}

/// The constructor that all of these have, if they do.
fn shared_constructor(values: &[Value]) -> Option<Vec<u8>> {
    let (first, rest) = values.split_first()?;
    let mut shared = Vec::new();
    element_constructor(first, &mut shared);
    let mut own = Vec::new();
    let same = rest.iter().all(|value| {
        own.clear();
        element_constructor(value, &mut own);
        own == shared
    });
    same.then_some(shared)
}

/// The constructor of an element: always the longest form, so that all of a type share it.
fn element_constructor(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Described(described) => {
            out.push(code::DESCRIBED);
            encode_descriptor(&described.descriptor, out);
            element_constructor(&described.value, out);
        }
        value => out.push(long_form(value)),
    }
}

/// The constructor of the longest form of a value.
fn long_form(value: &Value) -> u8 {
    match value {
        // What becomes of arrays that cannot be one.
        Value::Array(Array(values)) if values.is_empty() => code::NULL,
        Value::Array(Array(values)) if shared_constructor(values).is_none() => code::LIST32,
        value => value.format_code(),
    }
}

/// The data of a value in its longest form, without constructor.
fn encode_data(value: &Value, out: &mut Vec<u8>) {
    let sized = |out: &mut Vec<u8>, data: &[u8]| {
        out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(data);
    };
    let counted = |out: &mut Vec<u8>, count: usize, elements: &[u8]| {
        let size = u32::try_from(elements.len() + 4).unwrap_or(u32::MAX);
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(elements);
    };
    match value {
        Value::Null => {}
        Value::Described(described) => encode_data(&described.value, out),
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Ubyte(value) => out.push(*value),
        Value::Ushort(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Uint(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Ulong(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Byte(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Short(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Long(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Float(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Double(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Decimal32(value) => out.extend_from_slice(value.as_inner()),
        Value::Decimal64(value) => out.extend_from_slice(&value.clone().into_inner()),
        Value::Decimal128(value) => out.extend_from_slice(&value.clone().into_inner()),
        Value::Char(value) => out.extend_from_slice(&u32::from(*value).to_be_bytes()),
        Value::Timestamp(value) => out.extend_from_slice(&value.milliseconds().to_be_bytes()),
        Value::Uuid(value) => out.extend_from_slice(value.as_inner()),
        Value::Binary(value) => sized(out, value),
        Value::String(value) => sized(out, value.as_bytes()),
        Value::Symbol(value) => {
            let mut encoded = Vec::new();
            write::symbol(&mut encoded, value.as_str());
            let prefix = if encoded.first() == Some(&code::SYMBOL8) { 2 } else { 5 };
            sized(out, encoded.get(prefix..).unwrap_or_default());
        }
        Value::List(values) => {
            let mut elements = Vec::new();
            values.iter().for_each(|value| encode_value(value, &mut elements));
            counted(out, values.len(), &elements);
        }
        Value::Map(pairs) => {
            let mut elements = Vec::new();
            for (key, value) in pairs.iter() {
                encode_value(key, &mut elements);
                encode_value(value, &mut elements);
            }
            counted(out, pairs.len() * 2, &elements);
        }
        Value::Array(Array(values)) if values.is_empty() => {}
        Value::Array(Array(values)) => match shared_constructor(values) {
            Some(constructor) => {
                let mut body = constructor;
                values.iter().for_each(|value| encode_data(value, &mut body));
                counted(out, values.len(), &body);
            }
            None => {
                let mut elements = Vec::new();
                values.iter().for_each(|value| encode_value(value, &mut elements));
                counted(out, values.len(), &elements);
            }
        },
    }
}
