//! Messages as people and programs read them.
//!
//! Invariant: nothing a message holds can break a line of the JSON output or move a terminal's cursor.
//! Deliberately lossy: AMQP's number types become JSON numbers, binary that is not text becomes hex.

use fe2o3_amqp_types::{
    messaging::{Annotations, Body, Message, MessageId, annotations::OwnedKey},
    primitives::{SimpleValue, Value},
};
use serde_json::{Map, Value as Json, json};

/// For people: a line for the body, and below it what else there is to know.
pub(super) fn text(number: u64, message: &Message<Body<Value>>) -> String {
    let mut lines = vec![format!("{number}: {}", printable(&body(&message.body)))];
    let count = message.header.as_ref().map_or(0, |header| header.delivery_count);
    if count > 0 {
        lines.push(format!("delivery-count: {count}"));
    }
    let Json::Object(sections) = sections(message) else { return lines.join("\n   ") };
    for (_, section) in sections {
        let Json::Object(fields) = section else { continue };
        lines.extend(fields.iter().map(|(key, value)| format!("{}: {}", clean(key), printable(value))));
    }
    lines.join("\n   ")
}

/// For programs: one JSON object on one line.
pub(super) fn json(message: &Message<Body<Value>>) -> String {
    let mut object = match sections(message) {
        Json::Object(object) => object,
        _ => Map::new(),
    };
    if let Some(header) = &message.header {
        object.insert("delivery-count".to_owned(), json!(header.delivery_count));
        object.insert("durable".to_owned(), json!(header.durable));
        object.insert("priority".to_owned(), json!(header.priority.0));
        object.insert("first-acquirer".to_owned(), json!(header.first_acquirer));
        if let Some(ttl) = header.ttl {
            object.insert("ttl".to_owned(), json!(ttl));
        }
    } else {
        object.insert("delivery-count".to_owned(), json!(0));
    }
    object.insert("body".to_owned(), body(&message.body));
    Json::Object(object).to_string()
}

/// All sections but header and body.
fn sections(message: &Message<Body<Value>>) -> Json {
    let mut object = Map::new();
    let mut section = |name: &str, fields: Json| {
        if fields.as_object().is_some_and(|fields| !fields.is_empty()) {
            object.insert(name.to_owned(), fields);
        }
    };
    section("properties", properties(message));
    if let Some(own) = &message.application_properties {
        let fields = own.0.iter().map(|(key, value)| (key.clone(), simple(value)));
        section("application-properties", Json::Object(fields.collect()));
    }
    if let Some(own) = &message.message_annotations {
        section("message-annotations", annotations(&own.0));
    }
    if let Some(own) = &message.delivery_annotations {
        section("delivery-annotations", annotations(&own.0));
    }
    Json::Object(object)
}

fn properties(message: &Message<Body<Value>>) -> Json {
    let Some(own) = &message.properties else { return Json::Null };
    let mut fields = Map::new();
    let mut field = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    field("message-id", own.message_id.as_ref().map(id));
    field("user-id", own.user_id.as_ref().map(|user| bytes(user)));
    field("to", own.to.as_ref().map(|text| json!(text)));
    field("subject", own.subject.as_ref().map(|text| json!(text)));
    field("reply-to", own.reply_to.as_ref().map(|text| json!(text)));
    field("correlation-id", own.correlation_id.as_ref().map(id));
    field("content-type", own.content_type.as_ref().map(|text| json!(text.as_str())));
    field("content-encoding", own.content_encoding.as_ref().map(|text| json!(text.as_str())));
    field("absolute-expiry-time", own.absolute_expiry_time.as_ref().map(|time| json!(time.milliseconds())));
    field("creation-time", own.creation_time.as_ref().map(|time| json!(time.milliseconds())));
    field("group-id", own.group_id.as_ref().map(|text| json!(text)));
    field("group-sequence", own.group_sequence.map(|number| json!(number)));
    field("reply-to-group-id", own.reply_to_group_id.as_ref().map(|text| json!(text)));
    Json::Object(fields)
}

fn id(id: &MessageId) -> Json {
    match id {
        MessageId::Ulong(number) => json!(number),
        MessageId::Uuid(uuid) => json!(hex(uuid.as_ref())),
        MessageId::Binary(binary) => bytes(binary),
        MessageId::String(text) => json!(text),
    }
}

fn annotations(annotations: &Annotations) -> Json {
    let key = |key: &OwnedKey| match key {
        OwnedKey::Symbol(symbol) => symbol.as_str().to_owned(),
        OwnedKey::Ulong(number) => number.to_string(),
    };
    Json::Object(annotations.iter().map(|(name, own)| (key(name), value(own))).collect())
}

fn body(body: &Body<Value>) -> Json {
    match body {
        Body::Value(own) => value(&own.0),
        Body::Data(sections) => {
            let mut all = Vec::new();
            for section in sections {
                all.extend_from_slice(&section.0);
            }
            bytes(&all)
        }
        Body::Sequence(sections) => sections.iter().flat_map(|section| section.0.iter().map(value)).collect(),
        Body::Empty => Json::Null,
    }
}

fn value(own: &Value) -> Json {
    match own {
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
        Value::Timestamp(own) => json!(own.milliseconds()),
        Value::Uuid(own) => json!(hex(own.as_ref())),
        Value::Binary(own) => bytes(own),
        Value::String(own) => json!(own),
        Value::Symbol(own) => json!(own.as_str()),
        Value::List(own) => own.iter().map(value).collect(),
        Value::Array(own) => own.0.iter().map(value).collect(),
        Value::Map(own) => Json::Object(own.iter().map(|(key, own)| (name(key), value(own))).collect()),
        // A described error is worth its fields more than its descriptor.
        Value::Described(own) => value(&own.value),
        Value::Decimal32(_) | Value::Decimal64(_) | Value::Decimal128(_) => json!(format!("{own:?}")),
    }
}

fn simple(own: &SimpleValue) -> Json {
    value(&Value::from(own.clone()))
}

fn name(key: &Value) -> String {
    match value(key) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// Text where it is text.
fn bytes(own: &[u8]) -> Json {
    match std::str::from_utf8(own) {
        Ok(text) => json!(text),
        Err(_) => json!(hex(own)),
    }
}

fn hex(own: &[u8]) -> String {
    own.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A value on a terminal: text without quotes, and nothing that moves the cursor.
fn printable(own: &Json) -> String {
    match own {
        Json::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() && c != '\n' && c != '\t' { c.escape_default().collect() } else { vec![c] }
        })
        .collect()
}
