//! Where a command's results and remarks go, and in which form they were asked for.
//!
//! Invariant: results go to standard output, everything else to standard error. With `--json` standard output holds
//! JSON and nothing else. Tests keep both instead.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value as Json;

use super::{Failure, human, moment, print_line, table::Table};

/// Results and remarks of one command.
#[derive(Debug)]
pub(super) struct Out {
    /// For programs.
    pub json: bool,
    /// Columns of the terminal that standard output is; none: it is none.
    pub width: Option<usize>,
    /// When the command was given; ages are counted to here.
    pub now_ms: u64,
    /// Columns of the terminal that standard error is.
    progress: Option<usize>,
    progress_shown: bool,
    kept: Option<Kept>,
}

/// What a test's command said.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub results: String,
    pub remarks: String,
}

impl Out {
    pub fn new(json: bool) -> Self {
        let columns = |is_terminal: bool, size: Option<usize>| is_terminal.then(|| size.unwrap_or(80));
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let width = columns(out.is_terminal(), terminal_columns(&out));
        let progress = columns(err.is_terminal(), terminal_columns(&err));
        Self { json, width, now_ms: moment::now_ms(), progress, progress_shown: false, kept: None }
    }

    #[cfg(test)]
    pub fn kept(json: bool, width: Option<usize>, now_ms: u64) -> Self {
        let kept = Some(Kept::default());
        Self { json, width, now_ms, progress: Some(200), progress_shown: false, kept }
    }

    #[cfg(test)]
    pub fn said(mut self) -> Kept {
        self.kept.take().unwrap_or_default()
    }

    /// One line of results.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.progress_end();
        match &mut self.kept {
            None => print_line(line),
            Some(kept) => {
                kept.results.push_str(line);
                kept.results.push('\n');
                Ok(())
            }
        }
    }

    /// The one JSON document of a command.
    pub fn document(&mut self, document: &Json) -> Result<(), Failure> {
        self.line(&format!("{document:#}"))
    }

    /// One object of a stream of them.
    pub fn object(&mut self, object: &Json) -> Result<(), Failure> {
        self.line(&object.to_string())
    }

    /// The table, or what to say when it is empty.
    pub fn table(&mut self, table: &Table, empty: &str) -> Result<(), Failure> {
        if table.is_empty() {
            self.remark(empty);
            return Ok(());
        }
        table.render(self.width).iter().try_for_each(|line| self.line(line))
    }

    /// A result in words: `words` for people, `document` for programs.
    pub fn told(&mut self, document: &Json, words: &str) -> Result<(), Failure> {
        if self.json { self.document(document) } else { self.line(words) }
    }

    /// Something that is no result.
    pub fn remark(&mut self, text: &str) {
        self.progress_end();
        match &mut self.kept {
            None => eprintln!("{text}"),
            Some(kept) => {
                kept.remarks.push_str(text);
                kept.remarks.push('\n');
            }
        }
    }

    /// What to do next.
    pub fn hint(&mut self, text: &str) {
        self.remark(&format!("hint: {text}"));
    }

    /// How far it is, on a line that the next one replaces; only where somebody looks.
    pub fn progress(&mut self, text: &str) {
        let Some(columns) = self.progress else { return };
        if let Some(kept) = &mut self.kept {
            kept.remarks.push_str(text);
            kept.remarks.push('\r');
            return;
        }
        let text = human::cut(&human::one_line(text), columns.saturating_sub(1));
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
        self.progress_shown = true;
    }

    /// Ages of things at the time of the command: `3m12s`.
    pub fn age(&self, at_ms: Option<u64>) -> String {
        at_ms.map_or_else(String::new, |at_ms| human::span(self.now_ms.saturating_sub(at_ms)))
    }

    fn progress_end(&mut self) {
        if std::mem::take(&mut self.progress_shown) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.progress_end();
    }
}

fn terminal_columns(stream: &impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
