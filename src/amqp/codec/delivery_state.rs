//! Delivery states (parts 3.4 and 4.5) to and from their encoding.
//!
//! Invariant: a state the codec does not know is a value (`Unknown`), and an odd error or annotation inside a
//! known one is dropped: a consumer's verdict is never lost, and never ends a session, for what is beside it.

use fe2o3_amqp_types::{
    definitions::{Error, ErrorCondition},
    messaging::Modified,
};
use serde_amqp::primitives::Symbol;

use super::{
    DecodeError, DeliveryState, code,
    code::descriptor,
    encode_value::encode_fields,
    read::{Descriptor, Field, FieldReader, described},
    value::decode_fields_lenient,
    write::{self, ListWriter},
};

/// Decodes the state in `bytes`.
///
/// # Errors
/// It is not a described list, or a field without which it means nothing is missing or wrong.
pub fn decode_state(bytes: &[u8]) -> Result<DeliveryState, DecodeError> {
    decode_nested(bytes, true)
}

fn decode_nested(bytes: &[u8], outermost: bool) -> Result<DeliveryState, DecodeError> {
    // As nearly every peer sends it: accepted with an empty list.
    if bytes == [code::DESCRIBED, code::SMALL_ULONG, descriptor::ACCEPTED, code::LIST0] {
        return Ok(DeliveryState::Accepted);
    }
    let Some((descriptor, rest)) = described(bytes)? else {
        let code = bytes.first().copied().unwrap_or(code::NULL);
        return Err(DecodeError::WrongType { field: "delivery-state", code, expected: "described list" });
    };
    let known = match descriptor {
        Descriptor::Known(code) => code,
        other => return Ok(DeliveryState::Unknown(other.to_string().into())),
    };
    if !matches!(
        known,
        descriptor::RECEIVED..=descriptor::MODIFIED | descriptor::DECLARED | descriptor::TRANSACTIONAL_STATE
    ) {
        return Ok(DeliveryState::Unknown(descriptor.to_string().into()));
    }
    // 4.5.8: its outcome "provides outcome", which a transactional-state does not: no recursion.
    if known == descriptor::TRANSACTIONAL_STATE && !outermost {
        return Ok(DeliveryState::Unknown("amqp:transactional-state:list".into()));
    }
    let (mut fields, _) = FieldReader::open("delivery-state", rest)?;
    Ok(match known {
        descriptor::RECEIVED => DeliveryState::Received(
            fields.mandatory("received.section-number")?.u32()?,
            fields.mandatory("received.section-offset")?.u64()?,
        ),
        descriptor::ACCEPTED => DeliveryState::Accepted,
        descriptor::REJECTED => {
            let error = fields.next("rejected.error")?.and_then(|field| lenient_error(field.raw));
            DeliveryState::Rejected(error.map(Box::new))
        }
        descriptor::RELEASED => DeliveryState::Released,
        descriptor::MODIFIED => {
            let delivery_failed = fields.bool("modified.delivery-failed")?;
            let undeliverable_here = fields.bool("modified.undeliverable-here")?;
            let annotations = fields.next("modified.message-annotations")?;
            let (message_annotations, skipped) =
                match annotations.map(|field| decode_fields_lenient(field.raw)) {
                    Some(Some((fields, skipped))) => (Some(fields), skipped),
                    Some(None) => (None, 1),
                    None => (None, 0),
                };
            let modified = Modified { delivery_failed, undeliverable_here, message_annotations };
            DeliveryState::Modified(Box::new(modified), skipped)
        }
        descriptor::DECLARED => {
            DeliveryState::Declared(fields.mandatory("declared.txn-id")?.binary()?.to_vec())
        }
        _ => {
            let txn_id = fields.mandatory("transactional-state.txn-id")?.binary()?.to_vec();
            let outcome = fields
                .next("transactional-state.outcome")?
                .map(|field| decode_nested(field.raw, false))
                .transpose()?;
            DeliveryState::Transactional(Box::new((txn_id, outcome)))
        }
    })
}

/// An error (part 2.8.14) as far as it can be understood: a missing or odd condition reads as the empty
/// symbol, other odd fields as null. `None` where it is not an error at all.
pub(super) fn lenient_error(bytes: &[u8]) -> Option<Error> {
    let (Descriptor::Known(descriptor::ERROR), rest) = described(bytes).ok()?? else {
        return None;
    };
    let (mut fields, _) = FieldReader::open("error", rest).ok()?;
    let words = |field: Field<'_>| {
        field.symbol().or_else(|_| field.string()).map(str::to_owned).ok().or_else(|| {
            // Not text at all: kept in words, so that a person sees what came.
            super::value::decode_value(field.raw).ok().map(|value| format!("{value:?}"))
        })
    };
    let condition = fields.next("error.condition").ok()?.and_then(words).unwrap_or_default();
    let description = fields.next("error.description").ok().flatten().and_then(words);
    let info = fields
        .next("error.info")
        .ok()
        .flatten()
        .and_then(|field| decode_fields_lenient(field.raw))
        .map(|(fields, _)| Box::new(fields));
    Some(Error { condition: error_condition(&condition), description, info })
}

/// The condition of this name.
#[must_use]
pub fn error_condition(name: &str) -> ErrorCondition {
    // Text of a peer's that is no symbol is none of the defined ones either.
    serde_amqp::from_slice::<ErrorCondition>(&{
        let mut symbol = Vec::with_capacity(name.len() + 5);
        write::symbol(&mut symbol, name);
        symbol
    })
    .unwrap_or_else(|_| ErrorCondition::Custom(Symbol::from(name)))
}

/// The name of a condition.
#[must_use]
pub fn condition_name(condition: &ErrorCondition) -> String {
    match condition {
        ErrorCondition::AmqpError(error) => Symbol::from(error).into_inner(),
        ErrorCondition::ConnectionError(error) => Symbol::from(error).into_inner(),
        ErrorCondition::SessionError(error) => Symbol::from(error).into_inner(),
        ErrorCondition::LinkError(error) => Symbol::from(error).into_inner(),
        ErrorCondition::TransactionError(error) => Symbol::from(error).into_inner(),
        ErrorCondition::Custom(name) => name.as_str().to_owned(),
    }
}

/// Appends an error.
pub fn encode_error(error: &Error, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::ERROR);
    write::symbol(list.field(), &condition_name(&error.condition));
    list.option(error.description.as_deref(), write::string);
    list.option(error.info.as_deref(), |out, info| encode_fields(info, out));
    list.finish();
}

/// Appends a state. `Unknown`, which no peer could read back, becomes null.
pub fn encode_state(state: &DeliveryState, out: &mut Vec<u8>) {
    let empty = |out: &mut Vec<u8>, descriptor| {
        out.extend_from_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor, code::LIST0]);
    };
    match state {
        DeliveryState::Accepted => empty(out, descriptor::ACCEPTED),
        DeliveryState::Released => empty(out, descriptor::RELEASED),
        DeliveryState::Rejected(error) => {
            let mut list = ListWriter::new(out, descriptor::REJECTED);
            list.option(error.as_deref(), |out, error| encode_error(error, out));
            list.finish();
        }
        DeliveryState::Modified(modified, _) => {
            let mut list = ListWriter::new(out, descriptor::MODIFIED);
            list.option(modified.delivery_failed, write::bool);
            list.option(modified.undeliverable_here, write::bool);
            list.option(modified.message_annotations.as_ref(), |out, fields| encode_fields(fields, out));
            list.finish();
        }
        DeliveryState::Received(number, offset) => {
            let mut list = ListWriter::new(out, descriptor::RECEIVED);
            write::uint(list.field(), *number);
            write::ulong(list.field(), *offset);
            list.finish();
        }
        DeliveryState::Declared(txn_id) => {
            let mut list = ListWriter::new(out, descriptor::DECLARED);
            write::binary(list.field(), txn_id);
            list.finish();
        }
        DeliveryState::Transactional(inner) => {
            let (txn_id, outcome) = inner.as_ref();
            let mut list = ListWriter::new(out, descriptor::TRANSACTIONAL_STATE);
            write::binary(list.field(), txn_id);
            list.option(outcome.as_ref(), |out, outcome| encode_state(outcome, out));
            list.finish();
        }
        DeliveryState::Unknown(_) => write::null(out),
    }
}
