//! The protocol engine: AMQP 1.0 part 2 (transport) and the framing of part 5.3 (SASL), sans-io.
//!
//! Bytes in (`Connection::handle_input`), events out (`poll_event`), commands in (methods), bytes out
//! (`output`, `consume_output`), time as an argument (`handle_timeout`, `poll_timeout`). Both roles.
//! Invariant: no input panics, overflows the stack, or makes it hold more than its limits allow.
//! Knows nothing of queues; nodes, outcomes' meaning and permissions are its user's business.

pub mod codec;
mod connection;
mod delivery;
mod error;
#[allow(missing_docs)] // the variants' texts name their fields
mod event;
mod link;
mod serial;
mod session;

pub use connection::{ClientSasl, Config, Connection};
pub use event::{AttachReply, Event, Incoming, LinkId, Outgoing, SessionId};
