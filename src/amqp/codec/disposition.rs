//! The disposition performative (part 2.7.6), by hand: it settles messages.
//!
//! Invariant: decoding without a state of many words allocates nothing. `last` before `first` and unknown
//! deliveries are the engine's to judge.

use fe2o3_amqp_types::definitions::Role;

use super::{
    DecodeError, DeliveryState,
    code::descriptor,
    delivery_state::{decode_state, encode_state},
    read::FieldReader,
    write::{self, ListWriter},
};

/// disposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Disposition {
    /// Who says it: the role of its sender.
    pub role: Role,
    /// First delivery-id meant.
    pub first: u32,
    /// Last delivery-id meant; none: only `first`.
    pub last: Option<u32>,
    /// Its sender has settled them.
    pub settled: bool,
    /// Their state.
    pub state: Option<DeliveryState>,
    /// An answer is not urgent.
    pub batchable: bool,
}

/// Reads the fields; also where the list ends, counted from its constructor.
pub(super) fn decode_disposition(list: &[u8]) -> Result<(Disposition, usize), DecodeError> {
    let (mut fields, len) = FieldReader::open("disposition", list)?;
    let disposition = Disposition {
        role: Role::from(fields.mandatory("disposition.role")?.bool()?),
        first: fields.mandatory("disposition.first")?.u32()?,
        last: fields.u32("disposition.last")?,
        settled: fields.bool("disposition.settled")?.unwrap_or(false),
        state: fields.next("disposition.state")?.map(|field| decode_state(field.raw)).transpose()?,
        batchable: fields.bool("disposition.batchable")?.unwrap_or(false),
    };
    Ok((disposition, len))
}

/// Appends a disposition.
pub fn encode_disposition(disposition: &Disposition, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::DISPOSITION);
    write::bool(list.field(), bool::from(&disposition.role));
    write::uint(list.field(), disposition.first);
    list.option(disposition.last, write::uint);
    list.flag(disposition.settled);
    list.option(disposition.state.as_ref(), |out, state| encode_state(state, out));
    list.flag(disposition.batchable);
    list.finish();
}
