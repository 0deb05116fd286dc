//! The flow performative (part 2.7.4), by hand: it comes with every batch of credit.
//!
//! Invariant: as in [`super::transfer`]. Which fields must come together (2.7.4) is the engine's to judge.

use fe2o3_amqp_types::definitions::Fields;

use super::{
    DecodeError,
    code::descriptor,
    encode_value::encode_fields,
    read::FieldReader,
    value::decode_fields,
    write::{self, ListWriter},
};

/// flow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Flow {
    /// next-incoming-id; none before the peer's begin was seen.
    pub next_incoming_id: Option<u32>,
    /// incoming-window.
    pub incoming_window: u32,
    /// next-outgoing-id.
    pub next_outgoing_id: u32,
    /// outgoing-window.
    pub outgoing_window: u32,
    /// The link; none: of the session alone.
    pub handle: Option<u32>,
    /// delivery-count.
    pub delivery_count: Option<u32>,
    /// link-credit.
    pub link_credit: Option<u32>,
    /// available.
    pub available: Option<u32>,
    /// drain.
    pub drain: bool,
    /// echo.
    pub echo: bool,
    /// properties.
    pub properties: Option<Box<Fields>>,
}

/// Reads the fields; also where the list ends, counted from its constructor.
pub(super) fn decode_flow(list: &[u8]) -> Result<(Flow, usize), DecodeError> {
    let (mut fields, len) = FieldReader::open("flow", list)?;
    let flow = Flow {
        next_incoming_id: fields.u32("flow.next-incoming-id")?,
        incoming_window: fields.mandatory("flow.incoming-window")?.u32()?,
        next_outgoing_id: fields.mandatory("flow.next-outgoing-id")?.u32()?,
        outgoing_window: fields.mandatory("flow.outgoing-window")?.u32()?,
        handle: fields.u32("flow.handle")?,
        delivery_count: fields.u32("flow.delivery-count")?,
        link_credit: fields.u32("flow.link-credit")?,
        available: fields.u32("flow.available")?,
        drain: fields.bool("flow.drain")?.unwrap_or(false),
        echo: fields.bool("flow.echo")?.unwrap_or(false),
        properties: fields
            .next("flow.properties")?
            .map(|field| decode_fields(field.name, field.raw).map(Box::new))
            .transpose()?,
    };
    Ok((flow, len))
}

/// Appends a flow.
pub fn encode_flow(flow: &Flow, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::FLOW);
    list.option(flow.next_incoming_id, write::uint);
    write::uint(list.field(), flow.incoming_window);
    write::uint(list.field(), flow.next_outgoing_id);
    write::uint(list.field(), flow.outgoing_window);
    list.option(flow.handle, write::uint);
    list.option(flow.delivery_count, write::uint);
    list.option(flow.link_credit, write::uint);
    list.option(flow.available, write::uint);
    list.flag(flow.drain);
    list.flag(flow.echo);
    list.option(flow.properties.as_deref(), |out, fields| encode_fields(fields, out));
    list.finish();
}
