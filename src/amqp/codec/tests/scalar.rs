//! Simple values read in place are those that the decoder builds.

use proptest::prelude::*;
use serde_amqp::Value;

use super::strategy::value;
use crate::amqp::codec::{Scalar, decode_value, encode_value, scalar};

/// What a decoded value is as a scalar.
fn of(value: &Value) -> Option<Scalar<'_>> {
    Some(match value {
        Value::Bool(it) => Scalar::Bool(*it),
        Value::Ubyte(it) => Scalar::Unsigned(u64::from(*it)),
        Value::Ushort(it) => Scalar::Unsigned(u64::from(*it)),
        Value::Uint(it) => Scalar::Unsigned(u64::from(*it)),
        Value::Ulong(it) => Scalar::Unsigned(*it),
        Value::Byte(it) => Scalar::Signed(i64::from(*it)),
        Value::Short(it) => Scalar::Signed(i64::from(*it)),
        Value::Int(it) => Scalar::Signed(i64::from(*it)),
        Value::Long(it) => Scalar::Signed(*it),
        Value::Float(it) => Scalar::Float(f64::from(it.into_inner())),
        Value::Double(it) => Scalar::Float(it.into_inner()),
        Value::Char(it) => Scalar::Char(*it),
        Value::Timestamp(it) => Scalar::Timestamp(it.milliseconds()),
        Value::Uuid(it) => Scalar::Uuid(it.clone().into_inner()),
        Value::String(it) => Scalar::Text(it),
        Value::Symbol(it) => Scalar::Text(it.as_str()),
        Value::Binary(it) => Scalar::Binary(it),
        _ => return None,
    })
}

proptest! {
    #[test]
    fn a_scalar_is_what_the_decoder_says(value in value()) {
        let mut bytes = Vec::new();
        encode_value(&value, &mut bytes);
        // NaN equals nothing.
        let (read, built) = (format!("{:?}", scalar(&bytes)), decode_value(&bytes).unwrap());
        prop_assert_eq!(read, format!("{:?}", of(&built)));
    }

    #[test]
    fn any_bytes_are_a_scalar_or_none(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        let _ = scalar(&bytes);
    }
}
