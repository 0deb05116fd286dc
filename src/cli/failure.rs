//! Why a command did not do what it was asked, for the person who asked.
//!
//! Invariant: the message is one sentence without its cause's type names; hints say what to do.

use std::process::ExitCode;

/// What `main` prints and exits with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// Something failed: exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    /// It was asked in a wrong way: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// Whoever read our output has gone: nothing to say, and nobody to say it to.
    pub fn reader_gone() -> Self {
        Self { message: String::new(), hint: None, code: 0 }
    }

    /// All was told already; only the exit code says that it failed.
    pub fn told() -> Self {
        Self::new("")
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn print(&self) {
        if !self.message.is_empty() {
            eprintln!("error: {}", self.message);
        }
        if let Some(hint) = &self.hint {
            eprintln!("\nhint: {hint}");
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// What is told, for tests.
    #[cfg(test)]
    pub fn text(&self) -> String {
        self.hint
            .as_ref()
            .map_or_else(|| self.message.clone(), |hint| format!("{}\nhint: {hint}", self.message))
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}
