//! What is wrong with a configuration, in words that let a person mend it.
//!
//! Invariant: a problem names its line and key; secrets never appear in it. Does not decide exit codes.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong: `key = value: expected …`.
    pub text: String,
    /// What may help.
    pub hint: Option<String>,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Unreadable(String),
    Problems(Vec<Problem>),
}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self { file: Some(path.to_owned()), cause: Cause::Unreadable(error.to_string()) }
    }

    pub(super) fn problems(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file: None, cause: Cause::Problems(problems) }
    }

    pub(super) fn in_file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_owned());
        self
    }

    /// The problems, in the file's order; none when the file could not be read at all.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        match &self.cause {
            Cause::Unreadable(_) => &[],
            Cause::Problems(problems) => problems,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or(Path::new("configuration")).display();
        let problems = match &self.cause {
            Cause::Unreadable(error) => return write!(f, "cannot read {file}: {error}"),
            Cause::Problems(problems) => problems,
        };
        let count = problems.len();
        write!(f, "{file} has {count} problem{}", if count == 1 { "" } else { "s" })?;
        for problem in problems {
            write!(f, "\n  line {}: {}", problem.line, problem.text)?;
            if let Some(hint) = &problem.hint {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
