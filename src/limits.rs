//! Every bound in the house, with its name and its reason.
//!
//! Invariant: nothing a peer or a disk can make grow is without a limit here or in the configuration.

/// Most ids a queue may be told to remember for duplicate detection, at about 90 bytes of memory each.
pub const DUPLICATE_IDS: usize = 1_000_000;
/// Messages of a queue put aside because an earlier one of their group is being retried: at about 150 bytes each, and each
/// had to be read to know its group. Behind so many, other groups wait as well.
pub const GROUP_HELD: usize = 20_000;
/// Most failures kept in a message's failure record; older ones are counted and dropped.
pub const FAILURES_KEPT: usize = 32;
/// Bytes of states (failure records, deaths) that may wait for the index, encoded. Beyond it commits wait: a storm of a
/// hundred thousand dead letters a second was measured to outrun the index and to hold 150 MB otherwise.
pub const STATES_BACKLOG_BYTES: u64 = 16 * 1024 * 1024;
/// Messages a queue's task looks at for one question: a millisecond of its time.
pub const LOOK_AT_ONCE: usize = 64 * 1024;
/// Most replays a message remembers; an older one could then put it back a second time.
pub const REPLAYS_KEPT: usize = 16;
/// Longest name of a replay, in bytes: each message it puts back keeps it.
pub const REPLAY_ID_BYTES: usize = 128;
/// Most bytes kept of the condition of a consumer's error; what is longer is cut.
pub const CAUSE_CONDITION_BYTES: usize = 256;
/// The same of its description. A disposition copies its error to every message it names, and each of these keeps
/// it in its failure record: a full frame of it, taken whole, was measured to cost 2 GiB.
pub const CAUSE_DESCRIPTION_BYTES: usize = 1024;
/// Most bytes kept of its info, encoded; a larger one is left out whole, since half a map is none.
pub const CAUSE_INFO_BYTES: usize = 2048;
/// Most bytes of a consumer's container-id and of its link name in failure records and exclusions.
pub const IDENTITY_BYTES: usize = 128;
/// Most bytes of message-annotations, encoded, taken from one `modified`; those beyond it are left out.
pub const MODIFIED_ANNOTATIONS_BYTES: usize = 4096;
/// Deepest nesting of AMQP values accepted; deeper input is refused before any recursive decoder sees it.
pub const MAX_VALUE_DEPTH: usize = 32;
/// Smallest max-frame-size allowed by the specification (part 2.8.19).
pub const MIN_MAX_FRAME_SIZE: u32 = 512;
/// max-frame-size we announce: large enough to amortise a frame's cost, small enough to buffer whole.
pub const MAX_FRAME_SIZE: u32 = 128 * 1024;
/// Sessions per connection (channel-max + 1).
pub const MAX_SESSIONS: u16 = 256;
/// Links per session (handle-max + 1).
pub const MAX_LINKS: u32 = 1024;
/// Unsettled deliveries per session in one direction: a window in transfers is announced within this.
pub const SESSION_WINDOW: u32 = 8192;
/// Link credit given to a publisher.
pub const PUBLISHER_CREDIT: u32 = 1000;
/// Messages a consumer's connection takes from a queue ahead of its socket.
pub const CONSUMER_ROOM_MESSAGES: u32 = 1024;
/// The same in bytes.
pub const CONSUMER_ROOM_BYTES: u64 = 512 * 1024;
/// Bytes of encoded output a connection holds before it stops encoding deliveries.
pub const OUTPUT_HIGH_WATER: usize = 256 * 1024;
/// Largest message accepted unless configured otherwise.
pub const MAX_MESSAGE_SIZE: u64 = 64 * 1024 * 1024;
/// Largest messages that a connection may have in parts at a time, over all its links.
pub const PARTIAL_MESSAGES: u64 = 2;
/// Commands waiting for a queue's task before its senders wait.
pub const QUEUE_MAILBOX: usize = 256;
/// Longest address, container-id or link name accepted, in bytes.
pub const MAX_NAME: usize = 1024;
/// Bytes of unanswered messages of one connection's publishers at which its socket is not read on.
pub const PUBLISHER_INFLIGHT_BYTES: u64 = 2 * 1024 * 1024;
/// Nodes an anonymous relay link (null target) is known to at a time.
pub const RELAY_NODES: usize = 64;
/// Most queues (dynamic ones included) at a time.
pub const MAX_QUEUES: usize = 100_000;
/// Delivery attempts of a queue that are followed at a time for telemetry, a few hundred bytes each.
pub const OPEN_SPANS: usize = 4096;
/// Longest selector, in bytes: it is kept with its consumer, and what judging a message costs grows with it.
pub const SELECTOR_BYTES: usize = 8 * 1024;
/// Deepest nesting of brackets, NOT and signs in a selector; its parser and evaluator recurse.
pub const SELECTOR_DEPTH: usize = 64;
/// Most characters between the first and the last wildcard of a LIKE pattern: as many as one machine word of states
/// follows in a single pass over the text.
pub const LIKE_CHARACTERS: usize = 127;
/// Longest text that LIKE looks into, in bytes; of a longer one it says that it does not know.
pub const LIKE_TEXT_BYTES: usize = 16 * 1024;
/// Largest request to `$management`: a page of dead letters to be imported, with its 4 MiB of bodies and as much again.
pub const MANAGEMENT_REQUEST_BYTES: u64 = 8 * 1024 * 1024;
/// Requests of one link that are not answered yet, their answers on the way included: the link's credit.
pub const MANAGEMENT_CREDIT: u32 = 8;
/// The same of one connection, over all its links; one more is rejected.
pub const MANAGEMENT_REQUESTS: usize = 64;
/// Bytes of answers one connection has not taken at which its next request is not begun.
pub const MANAGEMENT_ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// Requests of all connections that wait to be executed; one more is answered 503.
pub const MANAGEMENT_WAITING: usize = 1024;
/// Requests executed at a time: each may ask all queues.
pub const MANAGEMENT_AT_ONCE: usize = 8;
/// Rows or messages in one answer.
pub const MANAGEMENT_PAGE: u64 = 1000;
/// Sequence numbers one filter may name.
pub const MANAGEMENT_SEQUENCES: u64 = 10_000;
/// Settings of one queue as text: the record they are in must stay far below what the store takes as one value.
pub const QUEUE_SETTINGS_BYTES: usize = 16 * 1024;
/// Messages a queue removes before it does something else.
pub const PURGE_STEP: usize = 4096;
