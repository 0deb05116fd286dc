//! What is answered: a status with its words, and a body.
//!
//! Invariant: every status from 400 on has words and an AMQP error condition. Not where the answer goes (`message`).

use super::tree::Tree;

/// How it went; numbers as HTTP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 201.
    Created,
    /// 204.
    NoContent,
    /// 400: the arguments are wrong.
    BadRequest,
    /// 403: the user may not.
    Forbidden,
    /// 404: no such thing.
    NotFound,
    /// 409: not as things are.
    Conflict,
    /// 501: no such operation.
    NotImplemented,
    /// 503: not now.
    Unavailable,
}

impl Status {
    /// statusCode.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::Created => 201,
            Self::NoContent => 204,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
        }
    }

    /// The error condition that fits (part 2.8.15 and after); none where it went well.
    #[must_use]
    pub fn condition(self) -> Option<&'static str> {
        match self {
            Self::Ok | Self::Created | Self::NoContent => None,
            Self::BadRequest => Some("amqp:invalid-field"),
            Self::Forbidden => Some("amqp:unauthorized-access"),
            Self::NotFound => Some("amqp:not-found"),
            Self::Conflict => Some("amqp:precondition-failed"),
            Self::NotImplemented => Some("amqp:not-implemented"),
            Self::Unavailable => Some("amqp:resource-limit-exceeded"),
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// How it went.
    pub status: Status,
    /// statusDescription.
    pub description: String,
    /// The body.
    pub body: Tree,
    /// For `QUERY`: rows in this answer, and rows there are. Application properties, since the draft has `count` there,
    /// and clients take the body for a map of lists.
    pub rows: Option<(u32, u64)>,
}

impl Reply {
    /// 200 with this body.
    #[must_use]
    pub fn ok(body: Tree) -> Self {
        Self { status: Status::Ok, description: "OK".to_owned(), body, rows: None }
    }

    /// 201 with this body.
    #[must_use]
    pub fn created(body: Tree) -> Self {
        Self { status: Status::Created, ..Self::ok(body) }
    }

    /// 204.
    #[must_use]
    pub fn done() -> Self {
        Self { status: Status::NoContent, ..Self::ok(Tree::map([])) }
    }

    /// Why not. The body is an empty map: there are clients that cannot read a null where they expect one.
    pub fn refused(status: Status, why: impl Into<String>) -> Self {
        Self { status, description: why.into(), ..Self::ok(Tree::map([])) }
    }

    /// 400.
    pub fn bad(why: impl Into<String>) -> Self {
        Self::refused(Status::BadRequest, why)
    }

    /// 404.
    pub fn not_found(why: impl Into<String>) -> Self {
        Self::refused(Status::NotFound, why)
    }

    /// 409.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self::refused(Status::Conflict, why)
    }

    /// 501.
    pub fn not_implemented(why: impl Into<String>) -> Self {
        Self::refused(Status::NotImplemented, why)
    }

    /// 503.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::refused(Status::Unavailable, why)
    }
}
