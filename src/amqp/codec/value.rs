//! Values of any type, to and from `serde_amqp::Value`.
//!
//! Invariant: what is decoded has passed `validate`, so recursion is bounded by its depth; what is encoded
//! passes it. By hand and not by serde_amqp's (de)serializer, which writes arrays that peers refuse (empty ones,
//! and those whose elements differ in their encoding) and cannot read arrays of described values.

use fe2o3_amqp_types::definitions::Fields;
use serde_amqp::{
    Value,
    described::Described,
    descriptor::Descriptor as ValueDescriptor,
    primitives::{Array, OrderedMap, Symbol, Timestamp},
};
use serde_bytes::ByteBuf;

use super::{
    DecodeError, code,
    read::{Descriptor, Field, described, split_value},
    validate::{fixed_width, validate},
    write,
};

/// Decodes the one value in `bytes`.
///
/// # Errors
/// It is not well-formed, or has a descriptor of a reserved type.
pub fn decode_value(bytes: &[u8]) -> Result<Value, DecodeError> {
    let len = validate(bytes)?;
    if len != bytes.len() {
        return Err(DecodeError::Size { what: "value", got: len, expected: bytes.len() });
    }
    value(bytes)
}

/// Decodes a map with symbols as keys (part 2.8.13 fields).
///
/// # Errors
/// It is not well-formed, not a map, or a key is not a symbol.
pub fn decode_fields(name: &'static str, bytes: &[u8]) -> Result<Fields, DecodeError> {
    let mut fields = Fields::new();
    for (key, value) in pairs(name, bytes)? {
        let key = Field { name, raw: key }.symbol()?;
        fields.insert(Symbol::from(key), self::value(value)?);
    }
    Ok(fields)
}

/// As [`decode_fields`], but pairs that cannot be taken are skipped.
pub(super) fn decode_fields_lenient(bytes: &[u8]) -> Option<Fields> {
    let mut fields = Fields::new();
    for (key, value) in pairs("fields", bytes).ok()? {
        if let (Ok(key), Ok(value)) = (Field { name: "key", raw: key }.symbol(), self::value(value)) {
            fields.insert(Symbol::from(key), value);
        }
    }
    Some(fields)
}

/// The pairs of the map that is all of `bytes`.
pub(super) fn pairs<'a>(
    name: &'static str,
    bytes: &'a [u8],
) -> Result<super::section::MapPairs<'a>, DecodeError> {
    let len = validate(bytes)?;
    if len != bytes.len() {
        return Err(DecodeError::Size { what: name, got: len, expected: bytes.len() });
    }
    super::section::MapPairs::open(name, bytes)
}

fn value(bytes: &[u8]) -> Result<Value, DecodeError> {
    if let Some((descriptor, rest)) = described(bytes)? {
        let descriptor = own_descriptor(descriptor)?;
        return Ok(Value::Described(Box::new(Described { descriptor, value: value(rest)? })));
    }
    let (&constructor, data) =
        bytes.split_first().ok_or(DecodeError::Truncated { what: "value", needed: 1, got: 0 })?;
    data_value(constructor, data)
}

fn own_descriptor(descriptor: Descriptor<'_>) -> Result<ValueDescriptor, DecodeError> {
    Ok(match descriptor {
        Descriptor::Known(code) => ValueDescriptor::Code(u64::from(code)),
        Descriptor::Code(code) => ValueDescriptor::Code(code),
        Descriptor::Name(name) => ValueDescriptor::Name(Symbol::from(name)),
        Descriptor::Other(code) => {
            return Err(DecodeError::WrongType { field: "descriptor", code, expected: "symbol or ulong" });
        }
    })
}

/// The first `N` bytes.
fn fixed<const N: usize>(data: &[u8]) -> Result<[u8; N], DecodeError> {
    data.first_chunk::<N>().copied().ok_or(DecodeError::Truncated {
        what: "value",
        needed: N,
        got: data.len(),
    })
}

fn text(data: &[u8]) -> Result<String, DecodeError> {
    super::validate::check_utf8(data)?;
    Ok(String::from_utf8_lossy(data).into_owned())
}

/// A value from its constructor and the data behind it.
fn data_value(constructor: u8, data: &[u8]) -> Result<Value, DecodeError> {
    let variable = |width: usize| data.get(width..).unwrap_or_default();
    Ok(match constructor {
        code::NULL => Value::Null,
        code::TRUE => Value::Bool(true),
        code::FALSE => Value::Bool(false),
        code::BOOLEAN => Value::Bool(fixed::<1>(data)? != [0]),
        code::UINT0 => Value::Uint(0),
        code::ULONG0 => Value::Ulong(0),
        code::UBYTE => Value::Ubyte(u8::from_be_bytes(fixed(data)?)),
        code::BYTE => Value::Byte(i8::from_be_bytes(fixed(data)?)),
        code::SMALL_UINT => Value::Uint(u8::from_be_bytes(fixed(data)?).into()),
        code::SMALL_ULONG => Value::Ulong(u8::from_be_bytes(fixed(data)?).into()),
        code::SMALL_INT => Value::Int(i8::from_be_bytes(fixed(data)?).into()),
        code::SMALL_LONG => Value::Long(i8::from_be_bytes(fixed(data)?).into()),
        code::USHORT => Value::Ushort(u16::from_be_bytes(fixed(data)?)),
        code::SHORT => Value::Short(i16::from_be_bytes(fixed(data)?)),
        code::UINT => Value::Uint(u32::from_be_bytes(fixed(data)?)),
        code::INT => Value::Int(i32::from_be_bytes(fixed(data)?)),
        code::FLOAT => Value::from(f32::from_be_bytes(fixed(data)?)),
        code::CHAR => Value::Char(char::from_u32(u32::from_be_bytes(fixed(data)?)).unwrap_or('\u{fffd}')),
        code::DECIMAL32 => Value::Decimal32(fixed::<4>(data)?.into()),
        code::ULONG => Value::Ulong(u64::from_be_bytes(fixed(data)?)),
        code::LONG => Value::Long(i64::from_be_bytes(fixed(data)?)),
        code::DOUBLE => Value::from(f64::from_be_bytes(fixed(data)?)),
        code::TIMESTAMP => Value::Timestamp(Timestamp::from_milliseconds(i64::from_be_bytes(fixed(data)?))),
        code::DECIMAL64 => Value::Decimal64(fixed::<8>(data)?.into()),
        code::DECIMAL128 => Value::Decimal128(fixed::<16>(data)?.into()),
        code::UUID => Value::Uuid(fixed::<16>(data)?.into()),
        code::BINARY8 => Value::Binary(ByteBuf::from(variable(1))),
        code::BINARY32 => Value::Binary(ByteBuf::from(variable(4))),
        code::STRING8 => Value::String(text(variable(1))?),
        code::STRING32 => Value::String(text(variable(4))?),
        code::SYMBOL8 => Value::Symbol(Symbol::from(text(variable(1))?)),
        code::SYMBOL32 => Value::Symbol(Symbol::from(text(variable(4))?)),
        code::LIST0 => Value::List(Vec::new()),
        code::LIST8 => Value::List(elements(variable(2))?),
        code::LIST32 => Value::List(elements(variable(8))?),
        code::MAP8 => Value::Map(map(variable(2))?),
        code::MAP32 => Value::Map(map(variable(8))?),
        code::ARRAY8 => {
            Value::Array(Array(array(u8::from_be_bytes(fixed_at(data, 1)?).into(), variable(2))?))
        }
        code::ARRAY32 => Value::Array(Array(array(u32::from_be_bytes(fixed_at(data, 4)?), variable(8))?)),
        other => return Err(DecodeError::Constructor { code: other }),
    })
}

fn fixed_at<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], DecodeError> {
    fixed(data.get(at..).unwrap_or_default())
}

fn elements(mut rest: &[u8]) -> Result<Vec<Value>, DecodeError> {
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (raw, after) = split_value(rest)?;
        values.push(value(raw)?);
        rest = after;
    }
    Ok(values)
}

fn map(mut rest: &[u8]) -> Result<OrderedMap<Value, Value>, DecodeError> {
    let mut map = OrderedMap::new();
    while !rest.is_empty() {
        let (key, after) = split_value(rest)?;
        let (item, after) = split_value(after)?;
        map.insert(value(key)?, value(item)?);
        rest = after;
    }
    Ok(map)
}

/// Elements of an array from what is behind its count: the shared constructor and their data.
fn array(count: u32, data: &[u8]) -> Result<Vec<Value>, DecodeError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut descriptors = Vec::new();
    let mut rest = data;
    while let Some((descriptor, after)) = described(rest)? {
        descriptors.push(own_descriptor(descriptor)?);
        rest = after;
    }
    let (&constructor, mut rest) =
        rest.split_first().ok_or(DecodeError::Truncated { what: "array", needed: 1, got: 0 })?;
    let mut values = Vec::new();
    for _ in 0..count {
        let len = data_len(constructor, rest)?;
        let (data, after) = rest.split_at_checked(len).ok_or(DecodeError::Truncated {
            what: "array",
            needed: len,
            got: rest.len(),
        })?;
        let mut element = data_value(constructor, data)?;
        for descriptor in descriptors.iter().rev() {
            let descriptor = descriptor.clone();
            element = Value::Described(Box::new(Described { descriptor, value: element }));
        }
        values.push(element);
        rest = after;
    }
    Ok(values)
}

/// Bytes of the data at the front that belong to this constructor.
fn data_len(constructor: u8, data: &[u8]) -> Result<usize, DecodeError> {
    Ok(match constructor >> 4 {
        0xa | 0xc | 0xe => 1 + usize::from(u8::from_be_bytes(fixed(data)?)),
        0xb | 0xd | 0xf => 4 + u32::from_be_bytes(fixed(data)?) as usize,
        _ => fixed_width(constructor).ok_or(DecodeError::Constructor { code: constructor })?,
    })
}

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
