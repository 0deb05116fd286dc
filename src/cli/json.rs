//! AMQP values of management answers as JSON, and JSON as arguments; and looking into the former.
//!
//! Invariant: times become RFC 3339, binary becomes base64, so that a program need not know AMQP. Deliberately lossy
//! in one way: a symbol becomes a string, and every integer a number.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fe2o3_amqp_types::primitives::{OrderedMap, Value};
use serde_json::{Map, Number, Value as Json, json};

use super::moment;

/// How deep values may nest: what the broker's own validator takes, too.
const DEEPEST: usize = 32;

/// An answer's value.
pub(super) fn from_amqp(value: &Value) -> Json {
    convert(value, DEEPEST)
}

fn convert(value: &Value, deeper: usize) -> Json {
    let Some(deeper) = deeper.checked_sub(1) else { return json!("…") };
    match value {
        Value::Null => Json::Null,
        Value::Bool(own) => json!(own),
        Value::Ubyte(own) => json!(own),
        Value::Ushort(own) => json!(own),
        Value::Uint(own) => json!(own),
        Value::Ulong(own) => json!(own),
        Value::Byte(own) => json!(own),
        Value::Short(own) => json!(own),
        Value::Int(own) => json!(own),
        Value::Long(own) => json!(own),
        Value::Float(own) => json!(own.0),
        Value::Double(own) => json!(own.0),
        Value::Char(own) => json!(own),
        Value::Timestamp(own) => json!(moment::rfc3339(own.milliseconds())),
        Value::Uuid(own) => json!(uuid(own.as_ref())),
        Value::Binary(own) => json!(STANDARD.encode(own)),
        Value::String(own) => json!(own),
        Value::Symbol(own) => json!(own.as_str()),
        Value::List(own) => own.iter().map(|item| convert(item, deeper)).collect(),
        Value::Array(own) => own.0.iter().map(|item| convert(item, deeper)).collect(),
        Value::Map(own) => {
            let pairs = own.iter().map(|(key, item)| (key_text(key), convert(item, deeper)));
            Json::Object(pairs.collect())
        }
        Value::Described(own) => convert(&own.value, deeper),
        Value::Decimal32(_) | Value::Decimal64(_) | Value::Decimal128(_) => json!(format!("{value:?}")),
    }
}

fn key_text(key: &Value) -> String {
    match from_amqp(key) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default().to_owned());
    parts.join("-")
}

/// An argument.
pub(super) fn to_amqp(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(own) => Value::Bool(*own),
        Json::Number(own) => number_to_amqp(own),
        Json::String(own) => Value::String(own.clone()),
        Json::Array(own) => Value::List(own.iter().map(to_amqp).collect()),
        Json::Object(own) => Value::Map(map(own.iter().map(|(key, item)| (key.as_str(), to_amqp(item))))),
    }
}

fn number_to_amqp(number: &Number) -> Value {
    if let Some(number) = number.as_u64() {
        Value::Ulong(number)
    } else if let Some(number) = number.as_i64() {
        Value::Long(number)
    } else {
        Value::Double(number.as_f64().unwrap_or(f64::NAN).into())
    }
}

/// A map with strings as keys.
pub(super) fn map<'a>(pairs: impl Iterator<Item = (&'a str, Value)>) -> OrderedMap<Value, Value> {
    pairs.map(|(key, value)| (Value::String(key.to_owned()), value)).collect()
}

/// The bytes of a binary that `from_amqp` made.
pub(super) fn binary(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// What is under `key` in a map.
pub(super) fn field<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let Value::Map(own) = value else { return None };
    own.iter().find(|(name, _)| key_text(name) == key).map(|(_, value)| value)
}

/// A field of a map that is or holds binary, other than those of these names.
pub(super) fn other_binary(value: &Value, known: &[&str]) -> Option<String> {
    let Value::Map(own) = value else { return None };
    let other = own.iter().map(|(key, value)| (key_text(key), value));
    let mut holding =
        other.filter(|(key, value)| !known.contains(&key.as_str()) && holds_binary(value, DEEPEST));
    holding.next().map(|(key, _)| key)
}

fn holds_binary(value: &Value, deeper: usize) -> bool {
    let Some(deeper) = deeper.checked_sub(1) else { return false };
    match value {
        Value::Binary(_) => true,
        Value::List(own) => own.iter().any(|item| holds_binary(item, deeper)),
        Value::Map(own) => own.iter().any(|(_, item)| holds_binary(item, deeper)),
        _ => false,
    }
}

/// The text under `key`, if it is one.
pub(super) fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get(key)?.as_str()
}

/// The number under `key`, if it is one.
pub(super) fn number(json: &Json, key: &str) -> Option<u64> {
    json.get(key)?.as_u64()
}

/// The time under `key`, in milliseconds since 1970.
pub(super) fn time_ms(json: &Json, key: &str) -> Option<u64> {
    moment::parse(text(json, key)?)
}

/// The list under `key`; none is an empty one.
pub(super) fn list<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// A value as a cell of a table: nothing for null, texts without quotes.
pub(super) fn cell(value: Option<&Json>) -> String {
    match value {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// `object` without what is null.
pub(super) fn without_nulls(object: Json) -> Json {
    match object {
        Json::Object(own) => {
            Json::Object(own.into_iter().filter(|(_, item)| !item.is_null()).collect::<Map<_, _>>())
        }
        other => other,
    }
}
