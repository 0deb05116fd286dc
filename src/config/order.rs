//! What a queue does about messages that come twice, and about the order of a group: `duplicates`, `retry-order`.
//!
//! Invariant: `detect` names something a message can have. What it means is not known here (`broker::duplicates`).

use super::read::{Reading, Section};
use crate::{
    broker::policy::{Detect, DuplicatePolicy, QueuePolicy, RetryOrder},
    limits,
};

/// Longest window: its ids are bounded by `count` as well, this keeps a slip of the pen from being one of for ever.
const WINDOW_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Reads both.
pub(super) fn read<'i>(section: &mut Section<'_, 'i>, policy: &mut QueuePolicy, reading: &mut Reading<'i>) {
    section.text("retry-order", &mut policy.retry_order, &"\"message\" or \"group\"", reading, |text| {
        match text {
            "message" => Some(RetryOrder::Message),
            "group" => Some(RetryOrder::Group),
            _ => None,
        }
    });
    read_duplicates(section.table("duplicates", reading), &mut policy.duplicates, reading);
}

fn read_duplicates<'i>(
    mut section: Section<'_, 'i>,
    policy: &mut DuplicatePolicy,
    reading: &mut Reading<'i>,
) {
    let expected = format!(
        "\"message-id\", \"off\", or the key of a message-annotation or application-property, of 1 to {} bytes",
        limits::MAX_NAME
    );
    section.text("detect", &mut policy.detect, &expected, reading, detect);
    section.duration("window", 1..=WINDOW_MAX_MS, &mut policy.window_ms, reading);
    section.integer("count", 1..=limits::DUPLICATE_IDS as u64, &mut policy.count, reading);
    section.finish(reading);
}

fn detect(text: &str) -> Option<Detect> {
    let plain: String =
        text.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect();
    match (text, plain.as_str()) {
        ("off", _) => Some(Detect::Off),
        ("message-id", _) => Some(Detect::MessageId),
        // Other ways to write these, and fields of the properties, are slips, not keys of anybody's.
        (_, "" | "messageid" | "correlationid" | "groupid" | "userid" | "none" | "on" | "true" | "false") => {
            None
        }
        (name, _) if name.len() <= limits::MAX_NAME => Some(Detect::Named(name.to_owned())),
        _ => None,
    }
}
