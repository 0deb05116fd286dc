//! The attach performative (part 2.7.3).
//!
//! Invariant: where name, handle and role can be read there is an `AttachFrame`: what else is wrong or unknown
//! fails the link, never the session or connection, through `refuse`, and reads as null. Which addresses,
//! capabilities and filters are served is not decided here.

use fe2o3_amqp_types::{
    definitions::{
        AmqpError, DeliveryTag, Error, ErrorCondition, Fields, Handle, ReceiverSettleMode, Role,
        SenderSettleMode,
    },
    messaging::DeliveryState as WireState,
    performatives::Attach,
};
use serde_amqp::{
    Value,
    primitives::{Array, OrderedMap, Symbol},
};

use super::{
    DecodeError,
    code::descriptor,
    delivery_state::{decode_state, encode_state},
    performative::{symbol_array, write_fields, write_symbols},
    read::{Field, FieldReader},
    terminus::{decode_source, decode_target, encode_source, encode_target},
    value::{decode_fields, pairs},
    wire_state::{from_wire, to_wire},
    write::{self, ListWriter},
};

/// An attach, and why to refuse it where it asks for what the codec does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct AttachFrame {
    /// The attach; offending fields are replaced by `None` or their default.
    pub attach: Attach,
    /// The error to refuse the link with.
    pub refuse: Option<Box<Error>>,
}

/// Gathers why an attach is to be refused.
#[derive(Default)]
pub(super) struct Refusal {
    error: Option<Box<Error>>,
    /// Outcomes asked for that are not known.
    unsupported: Vec<Symbol>,
}

impl Refusal {
    /// Notes a reason; the first one is told.
    pub fn note(&mut self, condition: AmqpError, description: String) {
        if self.error.is_none() {
            let condition = ErrorCondition::AmqpError(condition);
            self.error = Some(Box::new(Error { condition, description: Some(description), info: None }));
        }
    }

    /// Notes a value that does not belong where it is.
    pub fn invalid(&mut self, error: &DecodeError) {
        self.note(AmqpError::InvalidField, error.to_string());
    }

    /// Notes a value whose type or meaning is not known.
    pub fn not_implemented(&mut self, field: &'static str, got: impl std::fmt::Display) {
        self.note(AmqpError::NotImplemented, format!("{field}: {got} is not supported"));
    }

    /// Notes an outcome that is not known.
    pub fn outcome(&mut self, name: String) {
        let name = Symbol::from(name);
        if !self.unsupported.contains(&name) {
            self.unsupported.push(name);
        }
    }

    /// Takes a field's value, or notes what is wrong with it.
    pub fn take<T>(&mut self, value: Result<Option<T>, DecodeError>) -> Option<T> {
        value.unwrap_or_else(|error| {
            self.invalid(&error);
            None
        })
    }

    /// The next field, decoded by `read`; what is wrong with it is noted.
    pub fn field<'a, T>(
        &mut self,
        fields: &mut FieldReader<'a>,
        name: &'static str,
        read: impl FnOnce(Field<'a>) -> Result<T, DecodeError>,
    ) -> Option<T> {
        let value = fields.next(name).and_then(|field| field.map(read).transpose());
        self.take(value)
    }

    fn finish(self) -> Option<Box<Error>> {
        if self.unsupported.is_empty() {
            return self.error;
        }
        // Before anything else: a consumer without the outcome it needs cannot work at all.
        let mut info = Fields::new();
        let names = self.unsupported.into_iter().map(Value::Symbol).collect();
        info.insert(Symbol::from("unsupported"), Value::Array(Array(names)));
        Some(Box::new(Error {
            condition: ErrorCondition::AmqpError(AmqpError::NotImplemented),
            description: Some("Required Settlement Outcome Not Supported".to_owned()),
            info: Some(Box::new(info)),
        }))
    }
}

/// Reads the fields of an attach that passed `validate`.
pub(super) fn decode_attach(mut fields: FieldReader<'_>) -> Result<AttachFrame, DecodeError> {
    let fields = &mut fields;
    let mut refusal = Refusal::default();
    let refuse = &mut refusal;
    let attach = Attach {
        name: fields.mandatory("attach.name")?.string()?.to_owned(),
        handle: Handle(fields.mandatory("attach.handle")?.u32()?),
        role: Role::from(fields.mandatory("attach.role")?.bool()?),
        snd_settle_mode: refuse
            .field(fields, "attach.snd-settle-mode", |field| match field.u8()? {
                0 => Ok(SenderSettleMode::Unsettled),
                1 => Ok(SenderSettleMode::Settled),
                2 => Ok(SenderSettleMode::Mixed),
                other => Err(out_of_range(field.name, other.into(), "0 to 2")),
            })
            .unwrap_or_default(),
        rcv_settle_mode: refuse
            .field(fields, "attach.rcv-settle-mode", |field| match field.u8()? {
                0 => Ok(ReceiverSettleMode::First),
                1 => Ok(ReceiverSettleMode::Second),
                other => Err(out_of_range(field.name, other.into(), "0 or 1")),
            })
            .unwrap_or_default(),
        source: decode_source(fields, refuse).map(Box::new),
        target: decode_target(fields, refuse).map(Box::new),
        unsettled: unsettled(fields, refuse),
        incomplete_unsettled: refuse
            .field(fields, "attach.incomplete-unsettled", |field| field.bool())
            .unwrap_or(false),
        initial_delivery_count: refuse.field(fields, "attach.initial-delivery-count", |field| field.u32()),
        max_message_size: refuse.field(fields, "attach.max-message-size", |field| field.u64()),
        offered_capabilities: capabilities(refuse, fields, "attach.offered-capabilities"),
        desired_capabilities: capabilities(refuse, fields, "attach.desired-capabilities"),
        properties: refuse.field(fields, "attach.properties", |field| decode_fields(field.name, field.raw)),
    };
    Ok(AttachFrame { attach, refuse: refusal.finish() })
}

pub(super) fn out_of_range(what: &'static str, got: u32, expected: &'static str) -> DecodeError {
    DecodeError::Content { what, got: got.to_string(), expected }
}

/// The symbols of the next field.
pub(super) fn capabilities(
    refuse: &mut Refusal,
    fields: &mut FieldReader<'_>,
    name: &'static str,
) -> Option<Array<Symbol>> {
    let symbols = refuse.field(fields, name, |field| field.symbols());
    symbol_array(symbols)
}

/// The unsettled map (2.7.3): delivery-tag to delivery-state or null.
fn unsettled(
    fields: &mut FieldReader<'_>,
    refuse: &mut Refusal,
) -> Option<OrderedMap<DeliveryTag, Option<WireState>>> {
    let raw = refuse.field(fields, "attach.unsettled", |field| pairs(field.name, field.raw))?;
    let mut unsettled = OrderedMap::new();
    for (tag, state) in raw {
        let tag = Field { name: "attach.unsettled key", raw: tag }.binary();
        let tag = refuse.take(tag.map(Some))?;
        let state = if state == [super::code::NULL] {
            None
        } else {
            let state = refuse.take(decode_state(state).map(Some))?;
            match to_wire(&state) {
                Ok(state) => Some(state),
                Err(unknown) => {
                    refuse.not_implemented("attach.unsettled", format!("delivery-state {unknown}"));
                    return None;
                }
            }
        };
        unsettled.insert(DeliveryTag::from(tag), state);
    }
    Some(unsettled)
}

/// Appends an attach.
pub fn encode_attach(attach: &Attach, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::ATTACH);
    write::string(list.field(), &attach.name);
    write::uint(list.field(), attach.handle.0);
    write::bool(list.field(), bool::from(&attach.role));
    let snd = Some(u8::from(&attach.snd_settle_mode)).filter(|mode| *mode != 2);
    list.option(snd, write::ubyte);
    let rcv = Some(u8::from(&attach.rcv_settle_mode)).filter(|mode| *mode != 0);
    list.option(rcv, write::ubyte);
    list.option(attach.source.as_deref(), |out, source| encode_source(source, out));
    list.option(attach.target.as_deref(), |out, target| encode_target(target, out));
    list.option(attach.unsettled.as_ref(), |out, unsettled| {
        let mut elements = Vec::new();
        for (tag, state) in unsettled.iter() {
            write::binary(&mut elements, tag);
            match state {
                Some(state) => encode_state(&from_wire(state), &mut elements),
                None => write::null(&mut elements),
            }
        }
        write::map(out, unsettled.len() * 2, &elements);
    });
    list.flag(attach.incomplete_unsettled);
    list.option(attach.initial_delivery_count, write::uint);
    list.option(attach.max_message_size, write::ulong);
    write_symbols(&mut list, attach.offered_capabilities.as_ref());
    write_symbols(&mut list, attach.desired_capabilities.as_ref());
    write_fields(&mut list, attach.properties.as_ref());
    list.finish();
}
