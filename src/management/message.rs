//! Requests out of messages, and answers into messages (draft, sections 3.1 and 3.2).
//!
//! Invariant: what is echoed of a request (message-id or correlation-id, reply-to) is well-formed and of bounded
//! size; an answer is a whole bare message. Where an answer goes is the container's business.

use super::{
    operation::{Asked, Operation},
    reply::Reply,
    tree::Tree,
};
use crate::{
    amqp::codec::{
        self,
        code::descriptor,
        section::{self, BodyKind, PropertyField, Sections},
        write::{self, ListWriter},
    },
    limits::MAX_NAME,
};

/// How to answer a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// properties.reply-to.
    pub reply_to: Option<String>,
    /// The encoding of its correlation-id, else of its message-id; null where it has neither.
    correlation: Box<[u8]>,
}

/// A request: a message that can be answered, whatever else is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// How to answer.
    pub envelope: Envelope,
    /// What is asked; or the answer that says what is wrong with it.
    pub operation: Result<Operation, Reply>,
}

/// Reads a message.
///
/// # Errors
/// It is no request; why, in words.
pub fn parse(payload: &[u8]) -> Result<Request, String> {
    let sections = section::walk(payload).map_err(|error| error.to_string())?;
    let at = |range: &std::ops::Range<usize>| payload.get(range.clone()).unwrap_or_default();
    let envelope = envelope(sections.properties.as_ref().map(at).unwrap_or_default())?;
    let mut asked = Asked { body: body(payload, &sections)?, ..Asked::default() };
    let mut operation = None;
    let properties = sections.application_properties.as_ref().map(at);
    if let Err(why) = properties.map_or(Ok(()), |section| application(section, &mut asked, &mut operation)) {
        return Ok(Request { envelope, operation: Err(why) });
    }
    let Some(operation) = operation else {
        return Err("no request: the application property operation is missing, expected a string such as \
                    \"READ\""
            .to_owned());
    };
    Ok(Request { envelope, operation: Operation::read(Asked { operation, ..asked }) })
}

fn envelope(properties: &[u8]) -> Result<Envelope, String> {
    if properties.is_empty() {
        return Ok(Envelope { reply_to: None, correlation: Box::from([codec::code::NULL]) });
    }
    let field = |field| section::property(properties, field);
    let id = field(PropertyField::CorrelationId).or_else(|| field(PropertyField::MessageId));
    let correlation = id.unwrap_or(&[codec::code::NULL]);
    if correlation.len() > MAX_NAME || codec::validate(correlation).ok() != Some(correlation.len()) {
        return Err(format!(
            "no request: a message-id or correlation-id of at most {MAX_NAME} bytes was expected"
        ));
    }
    let reply_to = section::property_str(properties, PropertyField::ReplyTo).filter(|to| !to.is_empty());
    if reply_to.is_some_and(|to| to.len() > MAX_NAME) {
        return Err(format!("no request: a reply-to of at most {MAX_NAME} bytes was expected"));
    }
    Ok(Envelope { reply_to: reply_to.map(str::to_owned), correlation: correlation.into() })
}

/// The arguments: an amqp-value with a map, with null, or no body at all.
fn body(payload: &[u8], sections: &Sections) -> Result<Vec<(super::tree::Key, Tree)>, String> {
    let wrong = |got: &str| Err(format!("no request: its body is {got}, expected an amqp-value with a map"));
    let range = match &sections.body {
        None => return Ok(Vec::new()),
        Some((BodyKind::Value, range)) => range.clone(),
        // An empty one is how there are clients that say nothing.
        Some((BodyKind::Data, range)) if range.len() <= 5 => return Ok(Vec::new()),
        Some((BodyKind::Data, _)) => return wrong("data"),
        Some((BodyKind::Sequence, _)) => return wrong("an amqp-sequence"),
    };
    let value =
        codec::decode_value(payload.get(range).unwrap_or_default()).map_err(|error| error.to_string())?;
    let value = match value {
        serde_amqp::Value::Described(section) => section.value,
        other => other,
    };
    match Tree::from_value(value) {
        Ok(Tree::Map(pairs)) => Ok(pairs),
        Ok(Tree::Null) => Ok(Vec::new()),
        Ok(other) => wrong(&other.brief()),
        Err(got) => wrong(got),
    }
}

/// Those application properties that mean something here; others are not ours to judge.
fn application(bytes: &[u8], asked: &mut Asked, operation: &mut Option<String>) -> Result<(), Reply> {
    let pairs = section::map_pairs(bytes).map_err(|error| Reply::bad(error.to_string()))?;
    for (key, value) in pairs {
        let read =
            |bytes: &[u8]| codec::decode_value(bytes).ok().and_then(|value| Tree::from_value(value).ok());
        let Some(Tree::Text(key) | Tree::Symbol(key)) = read(key) else { continue };
        let text = |value: &[u8]| match read(value) {
            Some(Tree::Text(text) | Tree::Symbol(text)) => Ok(Some(text)),
            Some(Tree::Unsigned(number)) => Ok(Some(number.to_string())),
            Some(Tree::Null) => Ok(None),
            other => {
                let got = other.map_or("something else".to_owned(), |other| other.brief());
                Err(Reply::bad(format!("the application property {key} is {got}: expected a string")))
            }
        };
        match &*key {
            "operation" => *operation = text(value)?,
            "type" => asked.kind = text(value)?,
            "name" => asked.name = text(value)?,
            "identity" => asked.name = asked.name.take().or(text(value)?),
            "entityType" => asked.entity_type = text(value)?,
            "offset" => asked.offset = read(value),
            "count" => asked.count = read(value),
            _ => {}
        }
    }
    Ok(())
}

impl Envelope {
    /// The answer as a whole bare message, sent to this address.
    #[must_use]
    pub fn answer(&self, to: &str, reply: &Reply) -> Vec<u8> {
        let mut out = Vec::new();
        let mut properties = ListWriter::new(&mut out, descriptor::PROPERTIES);
        properties.null(); // message-id
        properties.null(); // user-id
        properties.option(Some(to), write::string);
        properties.null(); // subject
        properties.null(); // reply-to
        properties.field().extend_from_slice(&self.correlation);
        properties.finish();
        let status = reply.status;
        let mut pairs: Vec<(&str, Vec<u8>)> = Vec::new();
        let mut put = |key, write: &dyn Fn(&mut Vec<u8>)| {
            let mut value = Vec::new();
            write(&mut value);
            pairs.push((key, value));
        };
        put("statusCode", &|out| codec::encode_value(&serde_amqp::Value::Int(status.code().into()), out));
        put("statusDescription", &|out| write::string(out, &reply.description));
        if let Some(condition) = status.condition() {
            put("errorCondition", &|out| write::symbol(out, condition));
        }
        if let Some((count, total)) = reply.rows {
            put("count", &|out| write::uint(out, count));
            put("total", &|out| write::ulong(out, total));
        }
        let keys: Vec<Vec<u8>> = pairs
            .iter()
            .map(|(key, _)| {
                let mut encoded = Vec::new();
                write::string(&mut encoded, key);
                encoded
            })
            .collect();
        let encoded = keys.iter().zip(&pairs).map(|(key, (_, value))| (&key[..], &value[..]));
        section::encode_map_section(descriptor::APPLICATION_PROPERTIES, encoded, &mut out);
        out.extend_from_slice(&[codec::code::DESCRIBED, codec::code::SMALL_ULONG, descriptor::AMQP_VALUE]);
        reply.body.encode(&mut out);
        out
    }
}
