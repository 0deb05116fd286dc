//! Which dead letters: the options that `ls`, `causes`, `replay`, `purge` and `export` share.
//!
//! Invariant: an option that is not given asks for nothing; several must all hold. The broker does the searching.

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use crate::cli::{
    Failure, json,
    moment::{When, when},
};

/// Which dead letters; all that is given must hold.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which dead letters (all that is given must hold)")]
pub(in crate::cli) struct Filter {
    /// Why it is dead
    #[arg(long, value_enum)]
    pub reason: Option<Reason>,
    /// Error condition, such as `shop:no-stock`; `*` stands for any run of characters
    #[arg(long, value_name = "GLOB")]
    pub condition: Option<String>,
    /// Part of the error's description; `*` stands for any run of characters
    #[arg(long, value_name = "GLOB")]
    pub description: Option<String>,
    /// Died no earlier: so long ago (2h) or a time (2026-11-24T06:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: Option<When>,
    /// Died no later: so long ago (2h) or a time (2026-11-24T06:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub until: Option<When>,
    /// Failed at least so often
    #[arg(long, value_name = "N")]
    pub min_attempts: Option<u32>,
    /// Failed at most so often
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u32>,
    /// Who failed last: container-id/link (user); `*` stands for any run of characters
    #[arg(long, value_name = "GLOB")]
    pub consumer: Option<String>,
    /// Text that is found in the body or the description
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// A cause's id, as `verdict dead-letter causes` shows it
    #[arg(long, value_name = "ID")]
    pub cause: Option<String>,
    /// The queue it died in, where one queue takes the dead letters of others
    #[arg(long, value_name = "QUEUE")]
    pub origin: Option<String>,
    /// Only this one; may be given more than once
    #[arg(long = "seq", value_name = "SEQ")]
    pub sequences: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Reason {
    /// A consumer rejected it
    Rejected,
    /// It failed for the last time
    MaxAttempts,
    /// It outlived its time
    Expired,
    /// Every consumer turned it away
    Undeliverable,
    /// There was no room
    Overflow,
    /// A rule of the queue said so
    Policy,
}

impl Reason {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Filter {
    /// As the broker takes it: `{}` for all.
    pub fn arguments(&self, now_ms: u64) -> Json {
        let sequences = (!self.sequences.is_empty()).then_some(&self.sequences);
        json::without_nulls(json!({
            "reason": self.reason.map(Reason::name),
            "condition": self.condition,
            "description": self.description,
            "since": self.since.map(|when| when.ms(now_ms)),
            "until": self.until.map(|when| when.ms(now_ms)),
            "min-attempts": self.min_attempts,
            "max-attempts": self.max_attempts,
            "consumer": self.consumer,
            "text": self.text,
            "cause": self.cause,
            "origin": self.origin,
            "sequences": sequences,
        }))
    }

    pub fn is_empty(&self) -> bool {
        self.arguments(0).as_object().is_none_or(serde_json::Map::is_empty)
    }

    /// Where "all of them" must be said.
    pub fn or_all(&self, all: bool, what: &str) -> Result<(), Failure> {
        match (self.is_empty(), all) {
            (true, false) => Err(Failure::usage(format!("which dead letters are to be {what}?")).hint(
                "say --all, or which: --reason, --condition, --cause, --since, --seq … (--help has them all)",
            )),
            (false, true) => Err(Failure::usage("--all and a filter: expected one of them")),
            _ => Ok(()),
        }
    }

    /// ` that match`, for sentences.
    pub fn words(&self) -> &'static str {
        if self.is_empty() { "" } else { " that match" }
    }
}
