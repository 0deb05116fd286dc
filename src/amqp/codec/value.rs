//! Values of any type, decoded to `serde_amqp::Value`. The way back: [`super::encode_value()`].
//!
//! Invariant: what is decoded has passed `validate`, so recursion is bounded by its depth, and decoding fails on
//! reserved descriptors alone. By hand: one reading of the bytes, shared with the validator, not two that differ.

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

/// As [`decode_fields`], but pairs that cannot be taken are skipped; and how many those were.
pub(super) fn decode_fields_lenient(bytes: &[u8]) -> Option<(Fields, u32)> {
    let mut fields = Fields::new();
    let mut skipped = 0;
    for (key, value) in pairs("fields", bytes).ok()? {
        if let (Ok(key), Ok(value)) = (Field { name: "key", raw: key }.symbol(), self::value(value)) {
            fields.insert(Symbol::from(key), value);
        } else {
            skipped += 1;
        }
    }
    Some((fields, skipped))
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
