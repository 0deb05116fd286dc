//! Spans as OTLP's JSON (ExportTraceServiceRequest).
//!
//! Invariant: ids are hexadecimal and 64-bit numbers are texts, as "JSON Protobuf Encoding" of the OTLP specification has
//! it. Attributes that OpenTelemetry has a name for (messaging.*, error.type) have it, the others begin with `verdict.`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::attempts::Open;
use crate::broker::{Attempt, AttemptNext};

/// SPAN_KIND_INTERNAL: what happens inside of the broker, between its publisher's span and its consumer's.
const KIND: u32 = 1;
/// STATUS_CODE_ERROR.
const ERROR: u32 = 2;

/// An attempt from beginning to end.
#[derive(Debug)]
pub(super) struct Span {
    pub trace_id: u128,
    pub span_id: u64,
    pub queue: Arc<str>,
    pub ended_ns: u64,
    pub open: Open,
    pub attempt: Attempt,
}

/// Who tells all this.
pub(super) fn resource(container_id: &str) -> Value {
    json!({ "attributes": [
        text("service.name", "verdict"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", container_id),
    ] })
}

/// The request for these spans.
pub(super) fn request(resource: &Value, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let scope = json!({ "name": "verdict", "version": env!("CARGO_PKG_VERSION") });
    let request = json!({ "resourceSpans": [
        { "resource": resource, "scopeSpans": [{ "scope": scope, "spans": spans }] }
    ] });
    request.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let Span { trace_id, span_id, queue, ended_ns, open, attempt } = span;
    let tree = if attempt.dead_letter { "/$deadletter" } else { "" };
    let mut value = json!({
        "traceId": format!("{trace_id:032x}"),
        "spanId": format!("{span_id:016x}"),
        "name": format!("deliver {queue}{tree}"),
        "kind": KIND,
        "startTimeUnixNano": open.began_ns.to_string(),
        // The system's time may have been set back meanwhile.
        "endTimeUnixNano": ended_ns.max(&open.began_ns).to_string(),
        "attributes": attributes(queue, tree, open, attempt),
    });
    if let (Some(parent), Some(map)) = (open.parent, value.as_object_mut()) {
        map.insert("parentSpanId".to_owned(), format!("{:016x}", parent.span_id).into());
    }
    if let (true, Some(map)) = (attempt.end.is_failure(), value.as_object_mut()) {
        let words = attempt.cause.as_ref().map_or_else(String::new, |cause| {
            let description = cause.description.as_deref().map(|words| format!(": {words}"));
            format!("{}{}", cause.condition, description.unwrap_or_default())
        });
        let words = if words.is_empty() { attempt.end.as_str().to_owned() } else { words };
        map.insert("status".to_owned(), json!({ "code": ERROR, "message": words }));
    }
    value
}

fn attributes(queue: &str, tree: &str, open: &Open, attempt: &Attempt) -> Vec<Value> {
    let mut all = vec![
        text("messaging.system", "verdict"),
        text("messaging.operation.name", "deliver"),
        text("messaging.destination.name", &format!("{queue}{tree}")),
        text("verdict.consumer", &attempt.consumer),
        text("verdict.outcome", attempt.end.as_str()),
        number("verdict.delivery_count", u64::from(open.delivery_count)),
        number("verdict.acquired_count", u64::from(open.acquired_count)),
    ];
    all.extend(open.message_id.as_deref().map(|id| text("messaging.message.id", id)));
    if attempt.end.is_failure() {
        // "error.type SHOULD … have low cardinality": the condition, or how it ended where there is none.
        let condition =
            attempt.cause.as_ref().map(|cause| cause.condition.as_str()).filter(|c| !c.is_empty());
        all.push(text("error.type", condition.unwrap_or(attempt.end.as_str())));
    }
    all.extend(attempt.rule.as_deref().map(|rule| text("verdict.rule", rule)));
    match attempt.next {
        AttemptNext::Done => all.push(text("verdict.next", "done")),
        AttemptNext::Back => all.push(text("verdict.next", "redelivery")),
        AttemptNext::Later(ms) => {
            all.push(text("verdict.next", "redelivery"));
            all.push(number("verdict.next.delay_ms", ms));
        }
        AttemptNext::Expired => all.push(text("verdict.next", "expired")),
        AttemptNext::Dead(reason) => {
            all.push(text("verdict.next", "dead-letter"));
            all.push(text("verdict.dead_letter.reason", reason.as_str()));
        }
    }
    all
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}
