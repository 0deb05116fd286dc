//! Values in requests and answers: what AMQP can say, as far as management needs it.
//!
//! Invariant: what is written here passes the codec's `validate`; keys of maps are strings, in the order they were
//! put in. What a peer sent becomes a tree only through `from_value`, behind the codec's bounds on depth and size.

use std::{borrow::Cow, sync::Arc};

use serde_amqp::Value;

use crate::{
    amqp::codec::{self, code, write},
    time::Millis,
};

/// A key of a map.
pub type Key = Cow<'static, str>;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// null.
    Null,
    /// boolean.
    Bool(bool),
    /// ulong.
    Unsigned(u64),
    /// long.
    Signed(i64),
    /// double.
    Float(f64),
    /// string.
    Text(String),
    /// symbol.
    Symbol(String),
    /// timestamp.
    Time(Millis),
    /// binary.
    Binary(Arc<[u8]>),
    /// list.
    List(Vec<Tree>),
    /// map.
    Map(Vec<(Key, Tree)>),
    /// One AMQP value as its encoding, well-formed: what a peer gave and the broker kept as it was.
    Encoded(Arc<[u8]>),
}

impl Tree {
    /// A map.
    #[must_use]
    pub fn map<const N: usize>(pairs: [(&'static str, Tree); N]) -> Self {
        Self::Map(pairs.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
    }

    /// A list.
    pub fn list<T: Into<Tree>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// The value of a map's key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Tree> {
        match self {
            Self::Map(pairs) => pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What a peer sent, if management has a place for such a value; else its type in words.
    ///
    /// # Errors
    /// The name of a type that means nothing here.
    pub fn from_value(value: Value) -> Result<Self, &'static str> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Ubyte(value) => Self::Unsigned(value.into()),
            Value::Ushort(value) => Self::Unsigned(value.into()),
            Value::Uint(value) => Self::Unsigned(value.into()),
            Value::Ulong(value) => Self::Unsigned(value),
            Value::Byte(value) => signed(value.into()),
            Value::Short(value) => signed(value.into()),
            Value::Int(value) => signed(value.into()),
            Value::Long(value) => signed(value),
            Value::Float(value) => Self::Float(f64::from(value.into_inner())),
            Value::Double(value) => Self::Float(value.into_inner()),
            Value::String(text) => Self::Text(text),
            Value::Symbol(symbol) => Self::Symbol(symbol.as_str().to_owned()),
            Value::Timestamp(at) => match u64::try_from(at.milliseconds()) {
                Ok(at) => Self::Time(Millis(at)),
                Err(_) => return Err("a timestamp before 1970"),
            },
            Value::Binary(bytes) => Self::Binary(bytes.into_vec().into()),
            Value::List(values) => Self::List(all(values)?),
            Value::Array(values) => Self::List(all(values.0)?),
            Value::Map(pairs) => {
                let pair = |(key, value)| match Self::from_value(key)? {
                    Self::Text(key) | Self::Symbol(key) => Ok((Cow::Owned(key), Self::from_value(value)?)),
                    _ => Err("a map with keys that are not strings"),
                };
                Self::Map(pairs.into_iter().map(pair).collect::<Result<_, _>>()?)
            }
            Value::Described(_) => return Err("a described type"),
            Value::Uuid(_) => return Err("a uuid"),
            Value::Char(_) => return Err("a char"),
            Value::Decimal32(_) | Value::Decimal64(_) | Value::Decimal128(_) => return Err("a decimal"),
        })
    }

    /// Appends the value as AMQP.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => write::null(out),
            Self::Bool(value) => write::bool(out, *value),
            Self::Unsigned(value) => write::ulong(out, *value),
            Self::Signed(value) => codec::encode_value(&Value::Long(*value), out),
            Self::Float(value) => {
                out.push(code::DOUBLE);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Text(text) => write::string(out, text),
            Self::Symbol(name) => write::symbol(out, name),
            Self::Time(at) => write::timestamp(out, i64::try_from(at.0).unwrap_or(i64::MAX)),
            Self::Binary(bytes) => write::binary(out, bytes),
            Self::List(values) => {
                let mut elements = Vec::new();
                values.iter().for_each(|value| value.encode(&mut elements));
                write::list(out, values.len(), &elements);
            }
            Self::Map(pairs) => {
                let mut elements = Vec::new();
                for (key, value) in pairs {
                    write::string(&mut elements, key);
                    value.encode(&mut elements);
                }
                write::map(out, pairs.len() * 2, &elements);
            }
            Self::Encoded(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// In words, for errors: short, whatever it is.
    #[must_use]
    pub fn brief(&self) -> String {
        let cut = |text: &str| match text.char_indices().nth(60) {
            Some((at, _)) => format!("{:?} …", text.get(..at).unwrap_or_default()),
            None => format!("{text:?}"),
        };
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) | Self::Symbol(text) => cut(text),
            Self::Time(at) => format!("the time {}", at.0),
            Self::Binary(bytes) => format!("a binary of {} bytes", bytes.len()),
            Self::List(values) => format!("a list of {}", values.len()),
            Self::Map(pairs) => format!("a map of {}", pairs.len()),
            Self::Encoded(bytes) => format!("a value of {} bytes", bytes.len()),
        }
    }
}

fn signed(value: i64) -> Tree {
    u64::try_from(value).map_or(Tree::Signed(value), Tree::Unsigned)
}

fn all(values: Vec<Value>) -> Result<Vec<Tree>, &'static str> {
    values.into_iter().map(Tree::from_value).collect()
}

macro_rules! from {
    ($($type:ty => |$value:ident| $tree:expr;)*) => {$(
        impl From<$type> for Tree {
            fn from($value: $type) -> Self {
                $tree
            }
        }
    )*};
}
from! {
    bool => |value| Self::Bool(value);
    u64 => |value| Self::Unsigned(value);
    u32 => |value| Self::Unsigned(value.into());
    u8 => |value| Self::Unsigned(value.into());
    usize => |value| Self::Unsigned(value as u64);
    i64 => |value| signed(value);
    f64 => |value| Self::Float(value);
    &str => |text| Self::Text(text.to_owned());
    String => |text| Self::Text(text);
    Millis => |at| Self::Time(at);
    Arc<[u8]> => |bytes| Self::Binary(bytes);
    Vec<Tree> => |values| Self::List(values);
}

impl<T: Into<Tree>> From<Option<T>> for Tree {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
