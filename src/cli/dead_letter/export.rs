//! `verdict dead-letter export`: dead letters into a file, one JSON object a line.
//!
//! Invariant: the file appears whole and on disk, or not at all: it is written under another name beside it, synced, and
//! renamed. A field that is binary and not known to be is an error, since `import` could not tell it from text.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use fe2o3_amqp_types::primitives::Value;
use serde_json::{Value as Json, json};

use super::filter::Filter;
use crate::cli::{
    Failure, human, json,
    management::{Ask, DEAD_LETTER, Management},
    out::Out,
};

/// What the broker gives at once; it ends a page earlier when bodies are large.
const PAGE: u64 = 1000;
/// Base64 in the file, binary on the wire (docs/management.md, LETTER).
pub(super) const BINARY: [&str; 2] = ["message", "state"];

/// Write dead letters to a file, whole: one JSON object a line, bodies in base64
///
/// They stay where they are. `verdict dead-letter import` reads the file, into the same or another broker.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter export orders orders.jsonl\n  \
                        verdict dead-letter export orders - --since 1d | gzip > orders.jsonl.gz")]
pub(super) struct Args {
    /// The queue whose dead letters they are
    queue: String,
    /// The file to write, or `-` for standard output
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Args {
    pub fn check(&self) -> Result<(), Failure> {
        if self.file.as_os_str() != "-" && !self.force && self.file.exists() {
            let failure = Failure::usage(format!("{} is there already", self.file.display()));
            return Err(failure.hint("--force replaces it"));
        }
        Ok(())
    }

    pub async fn perform(&self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        export(node, out, &self.queue, &self.file, &self.filter).await
    }
}

async fn export(
    node: &mut Management,
    out: &mut Out,
    queue: &str,
    file: &Path,
    filter: &Filter,
) -> Result<(), Failure> {
    let filter = filter.arguments(out.now_ms);
    if file.as_os_str() == "-" {
        let count = pages(node, queue, &filter, async |letter| out.object(letter)).await?;
        out.remark(&format!("{} of {queue} exported", human::count(count, "dead letter")));
        return Ok(());
    }
    let cannot = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", file.display()));
    let partial = Partial::create(file).map_err(cannot)?;
    let mut writer = BufWriter::new(&partial.file);
    let mut count = 0u64;
    pages(node, queue, &filter, async |letter| {
        writeln!(writer, "{letter}").map_err(cannot)?;
        count += 1;
        if count.is_multiple_of(PAGE) {
            out.progress(&format!("{count} exported"));
        }
        Ok(())
    })
    .await?;
    writer.flush().map_err(cannot)?;
    drop(writer);
    partial.finish(file).map_err(cannot)?;
    let words = format!("{} of {queue} exported to {}", human::count(count, "dead letter"), file.display());
    out.told(&json!({ "exported": count, "file": file.display().to_string() }), &words)
}

/// Hands on each letter; returns how many there were.
async fn pages(
    node: &mut Management,
    queue: &str,
    filter: &Json,
    mut take: impl AsyncFnMut(&Json) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut count = 0;
    let mut next = None;
    loop {
        let body = json!({ "from": next, "count": PAGE, "filter": filter });
        let page = node.ask_value(Ask::new("EXPORT", DEAD_LETTER, queue).with(body)).await?;
        let letters = match json::field(&page, "letters") {
            Some(Value::List(letters)) => letters.as_slice(),
            _ => &[],
        };
        for letter in letters {
            if let Some(field) = json::other_binary(letter, &BINARY) {
                let why =
                    format!("a dead letter has the binary field {field}, which this command does not know");
                return Err(Failure::new(why).hint("use the verdict command of the broker's own version"));
            }
            take(&json::from_amqp(letter)).await?;
            count += 1;
        }
        next = json::field(&page, "next").and_then(|next| json::from_amqp(next).as_u64());
        if next.is_none() {
            return Ok(count);
        }
    }
}

/// A file that is not there yet: gone again if it never is.
struct Partial {
    file: File,
    path: PathBuf,
}

impl Partial {
    fn create(whole: &Path) -> std::io::Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(whole.file_name().unwrap_or_default());
        name.push(format!(".{}.partial", std::process::id()));
        let path = whole.with_file_name(name);
        Ok(Self { file: File::create_new(&path)?, path })
    }

    /// Its name must not come before its content, nor be forgotten in a power cut.
    fn finish(self, whole: &Path) -> std::io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, whole)?;
        let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `finish` there is none of that name.
        let _ = fs::remove_file(&self.path);
    }
}
