//! `verdict dead-letter import`: a file that `export` wrote, back into a queue's dead letters.
//!
//! Invariant: goes line by line, a batch at a time, and tells when it stops which lines are in and which are not. Reading
//! the same file again is harmless: the broker skips what is there already.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
};

use fe2o3_amqp_types::primitives::Value;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::export::BINARY;
use crate::cli::{
    Failure, human, json,
    management::{Ask, DEAD_LETTER, Management},
    out::Out,
};

/// Most letters of one request, and from how many bytes on it is sent.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 2 << 20;

/// Read dead letters from a file that `verdict dead-letter export` wrote
///
/// One that is there already is skipped, so that the same file can be read again after it stopped halfway.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter import orders orders.jsonl\n  \
                        gunzip < orders.jsonl.gz | verdict dead-letter import orders -")]
pub(super) struct Args {
    /// The queue to whose dead letters they are added
    queue: String,
    /// The file to read, or `-` for standard input
    file: PathBuf,
}

impl Args {
    pub fn check(&self) -> Result<(), Failure> {
        self.open().map(drop)
    }

    pub async fn perform(&self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        let name = self.file.display().to_string();
        import(node, out, &self.queue, &name, self.open()?).await
    }

    fn open(&self) -> Result<Box<dyn BufRead + Send>, Failure> {
        if self.file.as_os_str() == "-" {
            return Ok(Box::new(BufReader::new(std::io::stdin())));
        }
        let file = File::open(&self.file)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", self.file.display())))?;
        Ok(Box::new(BufReader::new(file)))
    }
}

/// What is in, and up to which line.
#[derive(Debug, Default)]
struct Done {
    imported: u64,
    skipped: u64,
    lines: u64,
}

async fn import(
    node: &mut Management,
    out: &mut Out,
    queue: &str,
    name: &str,
    reader: impl BufRead + Send + 'static,
) -> Result<(), Failure> {
    let mut done = Done::default();
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut number = 0;
    let mut lines = lines(reader);
    while let Some(line) = lines.recv().await {
        let line = line.map_err(|error| error.to_string());
        let length = line.as_ref().map_or(0, String::len);
        // A large letter goes alone: the broker bounds what one request may hold.
        if batch.len() >= BATCH || bytes + length > BATCH_BYTES {
            send(node, queue, name, &mut batch, number, &mut done).await?;
            bytes = 0;
            out.progress(&format!("{} imported, {} skipped", done.imported, done.skipped));
        }
        number += 1;
        bytes += length;
        match line.and_then(|line| letter(&line)) {
            Ok(letter) => batch.extend(letter),
            Err(why) => return Err(stopped(&done, &format!("{name} line {number}: {why}"))),
        }
    }
    send(node, queue, name, &mut batch, number, &mut done).await?;
    let skipped = match done.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} skipped that were there already"),
    };
    let words = format!("{} imported into {queue}{skipped}", human::count(done.imported, "dead letter"));
    out.told(&json!({ "imported": done.imported, "skipped": done.skipped }), &words)
}

/// The lines, read on a thread of their own: while a pipe has nothing to give, heartbeats must go on.
fn lines(reader: impl BufRead + Send + 'static) -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, lines) = mpsc::channel(64);
    std::thread::spawn(move || reader.lines().try_for_each(|line| sender.blocking_send(line)));
    lines
}

async fn send(
    node: &mut Management,
    queue: &str,
    name: &str,
    batch: &mut Vec<Value>,
    upto: u64,
    done: &mut Done,
) -> Result<(), Failure> {
    if !batch.is_empty() {
        let letters = Value::List(std::mem::take(batch));
        let arguments = Value::Map(json::map(std::iter::once(("letters", letters))));
        let ask = Ask::new("IMPORT", DEAD_LETTER, queue).with_value(arguments);
        let answer = node.ask(ask).await.map_err(|failure| {
            // Those of this batch are perhaps in, and perhaps in part.
            let why = format!("{name} lines {} to {upto}: {}", done.lines + 1, failure.message());
            stopped(done, &why)
        })?;
        done.imported += json::number(&answer, "imported").unwrap_or(0);
        done.skipped += json::number(&answer, "skipped").unwrap_or(0);
    }
    done.lines = upto;
    Ok(())
}

fn stopped(done: &Done, why: &str) -> Failure {
    let before = match done.lines {
        0 => "no line before it was imported".to_owned(),
        lines => {
            format!("of lines 1 to {lines}, {} were imported and {} skipped", done.imported, done.skipped)
        }
    };
    Failure::new(format!("{why}\n  {before}; what comes after was not sent"))
        .hint("once that is mended, import the whole file again: what is there already is skipped")
}

/// A LETTER, from a line; nothing from an empty one.
fn letter(line: &str) -> Result<Option<Value>, String> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let expected = "expected an object as `verdict dead-letter export` writes it";
    let parsed: Json =
        serde_json::from_str(line).map_err(|error| format!("{expected}, got no JSON: {error}"))?;
    let Json::Object(fields) = parsed else { return Err(format!("{expected}, got other JSON")) };
    for needed in ["id", "message"] {
        if !fields.contains_key(needed) {
            return Err(format!("{expected}, got none with the field {needed}"));
        }
    }
    let mut pairs = Vec::new();
    for (key, value) in &fields {
        let value = match value {
            Json::String(text) if BINARY.contains(&key.as_str()) => {
                let bytes = json::binary(text).ok_or_else(|| format!("expected base64 as {key}"))?;
                Value::Binary(bytes.into())
            }
            other => json::to_amqp(other),
        };
        pairs.push((key.as_str(), value));
    }
    Ok(Some(Value::Map(json::map(pairs.into_iter()))))
}
