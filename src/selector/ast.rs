//! A selector as a tree.
//!
//! Invariant: no deeper than `limits::SELECTOR_DEPTH` times a constant, however long its chains are: those are lists. What
//! can be known to be of the wrong type without a message is not in here: the parser refuses it.

use super::like::Pattern;

/// A value or condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Literal(Literal),
    /// An identifier, by its index.
    Field(usize),
    Negate(Box<Expr>),
    /// Operations of one precedence, from left to right.
    Chain(Box<Expr>, Box<[(Arithmetic, Expr)]>),
    Compare(Comparison, Box<(Expr, Expr)>),
    /// Value, lowest and highest.
    Between {
        not: bool,
        of: Box<[Expr; 3]>,
    },
    In {
        not: bool,
        of: Box<Expr>,
        list: Box<[Literal]>,
    },
    Like {
        not: bool,
        of: Box<Expr>,
        pattern: Box<Pattern>,
    },
    IsNull {
        not: bool,
        of: Box<Expr>,
    },
    Not(Box<Expr>),
    And(Box<[Expr]>),
    Or(Box<[Expr]>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The comparison an operator means.
    pub(super) fn of(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "=" => Self::Equal,
            "<>" => Self::Unequal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }
}

/// What is known of an expression's type without a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier: whatever the message has.
    Any,
    Condition,
    Number,
    Text,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Condition => "a condition",
            Self::Number => "a number",
            Self::Text => "a text",
        }
    }
}

impl Expr {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Literal(Literal::Int(_) | Literal::Float(_)) | Self::Negate(_) | Self::Chain(..) => {
                Kind::Number
            }
            Self::Literal(Literal::Text(_)) => Kind::Text,
            Self::Field(_) => Kind::Any,
            _ => Kind::Condition,
        }
    }
}
