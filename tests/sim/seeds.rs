//! Seeds that once found a bug, run always.
//!
//! A change of the simulator changes what a seed means: then these are only seeds among others, and
//! the bug's own regression test is at the lowest layer it can be shown in.

/// Found, in this order:
/// - 27: a message failed twice on one second-mode link: the settled reply to the first failure went out for the
///   second, before that was safe (`amqp::delivery`, a token of two deliveries).
/// - 75: the broker stopped between SASL and the AMQP header: frames went out where the header was due.
/// - 234: a client closed at that point: the peer's header was then taken for a broken frame.
/// - 390: a dead letter moved in behind the look of an evacuation: its segment was deleted under it.
/// - 3525, 9378: the store refuses a batch because it has a `Put`, and with it a `Move` or `Settle` of another message;
///   an evacuation was answered before those were made again, and its segment was deleted under the message.
/// - 1214, 2513, once the disk here was as strict as the real one (and 3525 again, before full disks were told of
///   late): what was recorded of a message after its `Move` was refused so was committed, and meant nothing (a
///   `Settle`: it would have come back) or too much (a `Keep`: it would have been in two places). Since then new
///   messages are in batches of their own.
pub const REGRESSIONS: &[u64] = &[27, 75, 234, 390, 1214, 2513, 3525, 9378];
