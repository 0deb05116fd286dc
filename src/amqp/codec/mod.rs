//! The codec: the one door between bytes and performatives.
//!
//! Invariant: every byte of a peer passes `validate` before any serde_amqp decoder sees it; hot
//! performatives (transfer, disposition, flow) never touch serde at all. Unknown types in known places
//! come out as values (`DeliveryState::Unknown`, `AttachFrame::refuse`), never as a decode error.

use fe2o3_amqp_types::definitions::Error;

/// A delivery state (part 3.4, 4.5.8), small enough to pass by value.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryState {
    /// 3.4.2 accepted.
    Accepted,
    /// 3.4.3 rejected.
    Rejected(Option<Box<Error>>),
    /// 3.4.4 released.
    Released,
    /// 3.4.5 modified.
    Modified(Box<fe2o3_amqp_types::messaging::Modified>),
    /// 3.4.1 received: section-number, section-offset.
    Received(u32, u64),
    /// 4.5.8 transactional-state: txn-id and outcome.
    Transactional(Box<(Vec<u8>, Option<DeliveryState>)>),
    /// 4.5.5 declared: txn-id.
    Declared(Vec<u8>),
    /// Something else: its descriptor in words.
    Unknown(Box<str>),
}

// --- agreed interface of the codec; its author fills in these (bodies), the engine's author calls them ---
//
// pub struct FrameHeader { pub size: u32, pub doff: u8, pub kind: FrameKind /* Amqp | Sasl */, pub channel: u16 }
// pub enum Parsed<'a> { Incomplete, Frame { header: FrameHeader, body: &'a [u8], total: usize } }
// pub fn parse_frame(input: &[u8], max_frame_size: u32) -> Result<Parsed<'_>, DecodeError>
//      (extended header skipped, doff < 2 and oversize and runts are errors)
// pub fn frame_start(out: &mut Vec<u8>, kind, channel) -> usize   and   frame_end(out, start)   (patches the size)
//
// pub enum Performative { Open(Box<Open>), Begin(Box<Begin>), Attach(Box<AttachFrame>), Flow(Flow), Transfer(Transfer),
//      Disposition(Disposition), Detach(Box<Detach>), End(Box<End>), Close(Box<Close>) }
// pub struct AttachFrame { pub attach: Attach /* offending fields replaced by None */, pub refuse: Option<Box<Error>> }
// pub struct Transfer { handle: u32, delivery_id: Option<u32>, delivery_tag: Option<SmallTag>, message_format: Option<u32>,
//      settled: Option<bool>, more: bool, rcv_settle_mode: Option<u8>, state: Option<DeliveryState>, resume, aborted, batchable: bool }
//      (own structs, plain fields; decode borrows the tag: `delivery_tag: Option<&'a [u8]>` on `Transfer<'a>`)
// pub struct Flow { all fields of 2.7.4, Option where optional; properties: Option<Fields> boxed }
// pub struct Disposition { role: Role, first: u32, last: Option<u32>, settled: bool, state: Option<DeliveryState>, batchable }
// pub fn decode(body: &[u8]) -> Result<(Performative<'_>, usize /* where the payload begins */), DecodeError>
// pub fn decode_sasl(body: &[u8]) -> Result<SaslFrame, DecodeError>;  encode_sasl(&SaslFrame, out)
// pub fn encode_open/begin/attach/detach/end/close(&T, out), encode_transfer/flow/disposition(&T, out): performative bytes only, no frame
// pub fn validate(bytes: &[u8]) -> Result<usize, DecodeError>   one AMQP value: its length; iterative, depth <= 32
// pub mod section: walk(payload) -> Result<Sections, DecodeError>; struct Sections { header: Option<Range>, delivery_annotations, message_annotations,
//      bare: Range (properties start .. end of payload incl. footer), properties, application_properties: Option<Range>, body kind ...},
//      decode_header(bytes) -> Header {durable, priority, ttl, first_acquirer, delivery_count}, encode_header(&Header, out),
//      properties lookups by field index without full decode: property_to(bytes) -> Option<&str>, absolute_expiry_time, message_id raw,
//      annotation map iteration as raw (key bytes, value bytes) pairs: map_pairs(bytes) -> iterator; encode_map(pairs, out)
