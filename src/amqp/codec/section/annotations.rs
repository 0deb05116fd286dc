//! Maps of encoded keys and values: annotations (part 3.2.10) and all others, without building a map.
//!
//! Invariant: pairs are slices of the input that passed `validate`; keys made canonical are equal where their
//! bytes are. Does not look for keys that come twice.

use fe2o3_amqp_types::definitions::Fields;

use super::section_value;
use crate::amqp::codec::{
    DecodeError, code,
    encode_value::encode_value,
    read::{Field, split_value},
    validate::validate,
    write,
};

/// The pairs of a map, as the encodings of key and value.
#[derive(Debug, Clone)]
pub struct MapPairs<'a> {
    rest: &'a [u8],
}

impl<'a> MapPairs<'a> {
    /// Opens a map that passed `validate`.
    pub(in crate::amqp::codec) fn open(name: &'static str, map: &'a [u8]) -> Result<Self, DecodeError> {
        let rest = match map {
            [code::MAP8, _, _, rest @ ..] => rest,
            [code::MAP32, _, _, _, _, _, _, _, _, rest @ ..] => rest,
            _ => {
                let code = map.first().copied().unwrap_or(code::NULL);
                return Err(DecodeError::WrongType { field: name, code, expected: "map" });
            }
        };
        Ok(Self { rest })
    }
}

impl<'a> Iterator for MapPairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (key, rest) = split_value(self.rest).ok()?;
        let (value, rest) = split_value(rest).ok()?;
        self.rest = rest;
        Some((key, value))
    }
}

/// The pairs of a map, or of a section that is one (with its descriptor). Validates it whole first.
///
/// # Errors
/// It is not well-formed, not a map, or more than one value.
pub fn map_pairs(bytes: &[u8]) -> Result<MapPairs<'_>, DecodeError> {
    let len = validate(bytes)?;
    if len != bytes.len() {
        return Err(DecodeError::Size { what: "map", got: len, expected: bytes.len() });
    }
    MapPairs::open("map", section_value(bytes)?)
}

/// The pairs of a section that is a map, or of none, without looking at it whole: ends where what is left is not
/// well-formed, which is between its publisher and its consumer.
#[must_use]
pub fn map_pairs_so_far(section: &[u8]) -> MapPairs<'_> {
    let map = section_value(section).and_then(|map| MapPairs::open("map", map));
    map.unwrap_or(MapPairs { rest: &[] })
}

/// The shortest encoding of an annotation's key; none if it is neither symbol nor ulong, which 3.2.10 asks for.
#[must_use]
pub fn canonical_key(key: &[u8]) -> Option<Box<[u8]>> {
    let field = Field { name: "key", raw: key };
    let mut out = Vec::with_capacity(key.len());
    match (field.symbol(), field.u64()) {
        (Ok(symbol), _) => write::symbol(&mut out, symbol),
        (_, Ok(number)) => write::ulong(&mut out, number),
        _ => return None,
    }
    Some(out.into())
}

/// Appends a map of encoded pairs.
pub fn encode_map<'p>(pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>, out: &mut Vec<u8>) {
    let mut elements = Vec::new();
    let mut count = 0;
    for (key, value) in pairs {
        elements.extend_from_slice(key);
        elements.extend_from_slice(value);
        count += 2;
    }
    write::map(out, count, &elements);
}

/// Appends a section that is a map: `kind` is its descriptor, for example
/// [`descriptor::MESSAGE_ANNOTATIONS`](crate::amqp::codec::code::descriptor::MESSAGE_ANNOTATIONS).
pub fn encode_map_section<'p>(
    kind: u8,
    pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&[code::DESCRIBED, code::SMALL_ULONG, kind]);
    encode_map(pairs, out);
}

/// An encoded key and its encoded value, as `broker::Annotations` keeps them.
pub type EncodedPair = (Box<[u8]>, Box<[u8]>);

/// Fields (of a `modified` state, say) as encoded pairs with canonical keys.
#[must_use]
pub fn annotation_pairs(fields: &Fields) -> Vec<EncodedPair> {
    fields
        .iter()
        .map(|(key, value)| {
            let (mut encoded_key, mut encoded_value) = (Vec::new(), Vec::new());
            write::symbol(&mut encoded_key, key.as_str());
            encode_value(value, &mut encoded_value);
            (encoded_key.into(), encoded_value.into())
        })
        .collect()
}
