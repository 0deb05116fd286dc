//! Simple values read where they lie, without building anything.
//!
//! Invariant: takes any bytes; what is not one whole value of a type named here is none. Compound, described and
//! decimal values are left to [`super::decode_value`].

use super::{code, read::Field};

/// A value of a simple type, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// boolean.
    Bool(bool),
    /// ubyte, ushort, uint, ulong.
    Unsigned(u64),
    /// byte, short, int, long.
    Signed(i64),
    /// float, double.
    Float(f64),
    /// string, symbol.
    Text(&'a str),
    /// char.
    Char(char),
    /// timestamp: milliseconds since the epoch.
    Timestamp(i64),
    /// uuid.
    Uuid([u8; 16]),
    /// binary.
    Binary(&'a [u8]),
}

/// Reads the one value in `raw`; none where it is null or of another type.
#[must_use]
pub fn scalar(raw: &[u8]) -> Option<Scalar<'_>> {
    let field = Field { name: "value", raw };
    let (&constructor, data) = raw.split_first()?;
    Some(match constructor {
        code::TRUE | code::FALSE | code::BOOLEAN => Scalar::Bool(field.bool().ok()?),
        code::UBYTE => Scalar::Unsigned(field.u8().ok()?.into()),
        code::USHORT => Scalar::Unsigned(field.u16().ok()?.into()),
        code::UINT0 | code::SMALL_UINT | code::UINT => Scalar::Unsigned(field.u32().ok()?.into()),
        code::ULONG0 | code::SMALL_ULONG | code::ULONG => Scalar::Unsigned(field.u64().ok()?),
        code::BYTE | code::SMALL_INT | code::SMALL_LONG => {
            Scalar::Signed(i8::from_be_bytes(*data.first_chunk()?).into())
        }
        code::SHORT => Scalar::Signed(i16::from_be_bytes(*data.first_chunk()?).into()),
        code::INT => Scalar::Signed(i32::from_be_bytes(*data.first_chunk()?).into()),
        code::LONG => Scalar::Signed(i64::from_be_bytes(*data.first_chunk()?)),
        code::FLOAT => Scalar::Float(f32::from_be_bytes(*data.first_chunk()?).into()),
        code::DOUBLE => Scalar::Float(f64::from_be_bytes(*data.first_chunk()?)),
        code::CHAR => Scalar::Char(char::from_u32(u32::from_be_bytes(*data.first_chunk()?))?),
        code::TIMESTAMP => Scalar::Timestamp(field.timestamp().ok()?),
        code::UUID => Scalar::Uuid(*data.first_chunk()?),
        code::STRING8 | code::STRING32 => Scalar::Text(field.string().ok()?),
        code::SYMBOL8 | code::SYMBOL32 => Scalar::Text(field.symbol().ok()?),
        code::BINARY8 | code::BINARY32 => Scalar::Binary(field.binary().ok()?),
        _ => return None,
    })
}
