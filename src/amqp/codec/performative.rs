//! The door: a frame's body to a performative, and the rare performatives (open, begin, detach, end, close) both ways.
//!
//! Invariant: the rare ones pass `validate` whole before a field is looked at. An error in detach, end or close
//! that cannot be understood does not keep the peer from closing.

use fe2o3_amqp_types::{
    definitions::{Error, Fields, Handle},
    performatives::{Begin, ChannelMax, Close, Detach, End, MaxFrameSize, Open},
};
use serde_amqp::primitives::{Array, Symbol};

use super::{
    AttachFrame, DecodeError, Disposition, Flow, Transfer,
    attach::decode_attach,
    code::descriptor,
    delivery_state::{encode_error, lenient_error},
    disposition::decode_disposition,
    encode_value::encode_fields,
    flow::decode_flow,
    read::{Descriptor, FieldReader, described},
    transfer::decode_transfer,
    validate::validate,
    value::decode_fields,
    write::{self, ListWriter},
};

/// A performative (part 2.7).
#[derive(Debug, Clone, PartialEq)]
pub enum Performative<'a> {
    /// 2.7.1.
    Open(Box<Open>),
    /// 2.7.2.
    Begin(Box<Begin>),
    /// 2.7.3.
    Attach(Box<AttachFrame>),
    /// 2.7.4.
    Flow(Flow),
    /// 2.7.5.
    Transfer(Transfer<'a>),
    /// 2.7.6.
    Disposition(Disposition),
    /// 2.7.7.
    Detach(Box<Detach>),
    /// 2.7.8.
    End(Box<End>),
    /// 2.7.9.
    Close(Box<Close>),
}

/// Decodes the performative at the front of a frame's body: it, and where the payload begins.
///
/// # Errors
/// It is not a performative, or one that is not well-formed.
pub fn decode(body: &[u8]) -> Result<(Performative<'_>, usize), DecodeError> {
    let expected = "a performative (0x10 to 0x18)";
    let (code, list) = match described(body)? {
        Some((Descriptor::Known(code), list)) => (code, list),
        Some((other, _)) => {
            return Err(DecodeError::Descriptor { what: "performative", got: other.to_string(), expected });
        }
        None => {
            let code = body.first().copied().unwrap_or(super::code::NULL);
            return Err(DecodeError::WrongType { field: "performative", code, expected });
        }
    };
    let list_at = body.len() - list.len();
    let (performative, len) = match code {
        descriptor::TRANSFER => {
            let (transfer, len) = decode_transfer(list)?;
            (Performative::Transfer(transfer), len)
        }
        descriptor::DISPOSITION => {
            let (disposition, len) = decode_disposition(list)?;
            (Performative::Disposition(disposition), len)
        }
        descriptor::FLOW => {
            let (flow, len) = decode_flow(list)?;
            (Performative::Flow(flow), len)
        }
        descriptor::OPEN..=descriptor::CLOSE => {
            validate(list)?;
            let (fields, len) = FieldReader::open("performative", list)?;
            (decode_rare(code, fields)?, len)
        }
        other => {
            return Err(DecodeError::Descriptor {
                what: "performative",
                got: Descriptor::Known(other).to_string(),
                expected,
            });
        }
    };
    Ok((performative, list_at + len))
}

fn decode_rare(code: u8, mut fields: FieldReader<'_>) -> Result<Performative<'static>, DecodeError> {
    Ok(match code {
        descriptor::OPEN => Performative::Open(Box::new(decode_open(fields)?)),
        descriptor::BEGIN => Performative::Begin(Box::new(decode_begin(fields)?)),
        descriptor::ATTACH => Performative::Attach(Box::new(decode_attach(fields)?)),
        descriptor::DETACH => Performative::Detach(Box::new(Detach {
            handle: Handle(fields.mandatory("detach.handle")?.u32()?),
            closed: fields.bool("detach.closed")?.unwrap_or(false),
            error: error_field(&mut fields, "detach.error")?,
        })),
        descriptor::END => Performative::End(Box::new(End { error: error_field(&mut fields, "end.error")? })),
        _ => Performative::Close(Box::new(Close { error: error_field(&mut fields, "close.error")? })),
    })
}

fn error_field(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Option<Error>, DecodeError> {
    Ok(fields.next(name)?.and_then(|field| lenient_error(field.raw)))
}

/// The symbols of a field with `multiple="true"`; none at all reads as null (part 1.4).
pub(super) fn symbol_array(symbols: Option<Vec<&str>>) -> Option<Array<Symbol>> {
    let symbols = symbols.filter(|symbols| !symbols.is_empty())?;
    Some(Array(symbols.into_iter().map(Symbol::from).collect()))
}

fn symbols_field(
    fields: &mut FieldReader<'_>,
    name: &'static str,
) -> Result<Option<Array<Symbol>>, DecodeError> {
    Ok(symbol_array(fields.symbols(name)?))
}

fn map_field(fields: &mut FieldReader<'_>, name: &'static str) -> Result<Option<Fields>, DecodeError> {
    fields.next(name)?.map(|field| decode_fields(name, field.raw)).transpose()
}

fn decode_open(mut fields: FieldReader<'_>) -> Result<Open, DecodeError> {
    let fields = &mut fields;
    Ok(Open {
        container_id: fields.mandatory("open.container-id")?.string()?.to_owned(),
        hostname: fields.string("open.hostname")?.map(str::to_owned),
        max_frame_size: fields.u32("open.max-frame-size")?.map(MaxFrameSize).unwrap_or_default(),
        channel_max: fields.u16("open.channel-max")?.map(ChannelMax).unwrap_or_default(),
        idle_time_out: fields.u32("open.idle-time-out")?,
        outgoing_locales: symbols_field(fields, "open.outgoing-locales")?,
        incoming_locales: symbols_field(fields, "open.incoming-locales")?,
        offered_capabilities: symbols_field(fields, "open.offered-capabilities")?,
        desired_capabilities: symbols_field(fields, "open.desired-capabilities")?,
        properties: map_field(fields, "open.properties")?,
    })
}

fn decode_begin(mut fields: FieldReader<'_>) -> Result<Begin, DecodeError> {
    let fields = &mut fields;
    Ok(Begin {
        remote_channel: fields.u16("begin.remote-channel")?,
        next_outgoing_id: fields.mandatory("begin.next-outgoing-id")?.u32()?,
        incoming_window: fields.mandatory("begin.incoming-window")?.u32()?,
        outgoing_window: fields.mandatory("begin.outgoing-window")?.u32()?,
        handle_max: fields.u32("begin.handle-max")?.map(Handle).unwrap_or_default(),
        offered_capabilities: symbols_field(fields, "begin.offered-capabilities")?,
        desired_capabilities: symbols_field(fields, "begin.desired-capabilities")?,
        properties: map_field(fields, "begin.properties")?,
    })
}

/// Writes a field with `multiple="true"`: null where there is none.
pub(super) fn write_symbols(list: &mut ListWriter<'_>, symbols: Option<&Array<Symbol>>) {
    let symbols = symbols.filter(|symbols| !symbols.is_empty());
    list.option(symbols, |out, symbols| write::symbols(out, symbols.iter().map(Symbol::as_str)));
}

pub(super) fn write_fields(list: &mut ListWriter<'_>, fields: Option<&Fields>) {
    list.option(fields, |out, fields| encode_fields(fields, out));
}

/// Appends an open.
pub fn encode_open(open: &Open, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::OPEN);
    write::string(list.field(), &open.container_id);
    list.option(open.hostname.as_deref(), write::string);
    list.option(Some(open.max_frame_size.0).filter(|max| *max != u32::MAX), write::uint);
    list.option(Some(open.channel_max.0).filter(|max| *max != u16::MAX), write::ushort);
    list.option(open.idle_time_out, write::uint);
    write_symbols(&mut list, open.outgoing_locales.as_ref());
    write_symbols(&mut list, open.incoming_locales.as_ref());
    write_symbols(&mut list, open.offered_capabilities.as_ref());
    write_symbols(&mut list, open.desired_capabilities.as_ref());
    write_fields(&mut list, open.properties.as_ref());
    list.finish();
}

/// Appends a begin.
pub fn encode_begin(begin: &Begin, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::BEGIN);
    list.option(begin.remote_channel, write::ushort);
    write::uint(list.field(), begin.next_outgoing_id);
    write::uint(list.field(), begin.incoming_window);
    write::uint(list.field(), begin.outgoing_window);
    list.option(Some(begin.handle_max.0).filter(|max| *max != u32::MAX), write::uint);
    write_symbols(&mut list, begin.offered_capabilities.as_ref());
    write_symbols(&mut list, begin.desired_capabilities.as_ref());
    write_fields(&mut list, begin.properties.as_ref());
    list.finish();
}

/// Appends a detach.
pub fn encode_detach(detach: &Detach, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::DETACH);
    write::uint(list.field(), detach.handle.0);
    list.flag(detach.closed);
    list.option(detach.error.as_ref(), |out, error| encode_error(error, out));
    list.finish();
}

/// Appends an end.
pub fn encode_end(end: &End, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::END);
    list.option(end.error.as_ref(), |out, error| encode_error(error, out));
    list.finish();
}

/// Appends a close.
pub fn encode_close(close: &Close, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::CLOSE);
    list.option(close.error.as_ref(), |out, error| encode_error(error, out));
    list.finish();
}
