//! Selectors: conditions on messages in the syntax of JMS 2.0, section 3.8.1 (a part of SQL-92).
//!
//! Invariant: a selector is bounded in length and depth, so neither parsing nor judging can panic, recurse without end
//! or cost more than its length times the length of what it looks at. Values are asked for only when they decide
//! something. Knows no AMQP: what an identifier stands for is the business of whoever implements `Fields`.
//!
//! Where we go beyond the letter of JMS: identifiers may contain dots; in double quotes they may be any text (as in
//! SQL); `x-opt-…`, `x-first-death-…` and `x-last-death-…` are identifiers without quotes (see `lexer`); IN takes literals
//! of every type; the left side of IN, LIKE and IS NULL may be any value.

mod ast;
mod error;
mod eval;
mod lexer;
mod like;
mod parser;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ast::Expr;
pub use error::SelectorError;

/// A value of a message, as selectors know values.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// There is none, or it is of a type that selectors do not know.
    Null,
    /// A boolean.
    Bool(bool),
    /// An exact number; wide enough for signed and unsigned 64 bits.
    Int(i128),
    /// An approximate number.
    Float(f64),
    /// A text.
    Text(Cow<'a, str>),
}

/// A name in a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    /// The name, without the quotes it may have been written in.
    pub name: Box<str>,
    /// Its place in [`Selector::identifiers`].
    pub index: usize,
}

/// What a selector is about.
pub trait Fields {
    /// The value of an identifier; `Null` where there is none.
    fn get(&self, identifier: &Identifier) -> Value<'_>;
}

/// A condition on messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// `None`: all messages.
    condition: Option<Expr>,
    identifiers: Box<[Identifier]>,
}

impl Selector {
    /// Reads a selector. A blank one selects all messages ("the empty string … there is no message selector").
    ///
    /// # Errors
    /// It is too long, too deep, or not in the syntax; where, what came, and what was expected.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let (condition, identifiers) = parser::parse(text)?;
        Ok(Self { condition, identifiers })
    }

    /// The names in it, each once.
    #[must_use]
    pub fn identifiers(&self) -> &[Identifier] {
        &self.identifiers
    }

    /// Whether a message is selected: "if the selector evaluates to true"; false and unknown are not.
    #[must_use]
    pub fn matches(&self, fields: &impl Fields) -> bool {
        let Some(condition) = &self.condition else { return true };
        eval::Evaluation { identifiers: &self.identifiers, fields }.truth(condition) == Some(true)
    }
}
