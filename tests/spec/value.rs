//! AMQP values as the scripted peer writes and reads them (part 1), independent of the broker's codec and of
//! serde_amqp: a list is a list, whatever it is of, and every encoding can be chosen.
//!
//! Invariant: reading what was written gives the same value. It panics on anything malformed: only the broker's
//! output is read with it. What it has no variant for is kept as it is on the wire.

use crate::names::{self, fields_of};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum V {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Timestamp(i64),
    Binary(Vec<u8>),
    Str(String),
    Symbol(String),
    List(Vec<V>),
    Map(Vec<(V, V)>),
    Array(Vec<V>),
    /// A described list: a performative, a terminus, a state, an error.
    Composite(Composite),
    /// Any other described value.
    Described(Box<V>, Box<V>),
    /// Encoded bytes, written as they are.
    Raw(Vec<u8>),
}

/// A described list by its code, with fields by the specification's names.
#[derive(Clone, PartialEq)]
pub struct Composite {
    pub code: u64,
    pub fields: Vec<V>,
}

impl std::fmt::Debug for Composite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, fields) = fields_of(self.code);
        let mut out = f.debug_struct(name);
        for (field, value) in fields.iter().zip(&self.fields).filter(|(_, value)| **value != V::Null) {
            out.field(field, value);
        }
        out.finish()
    }
}

impl Composite {
    /// An empty one, by name.
    pub fn new(name: &str) -> Self {
        Self { code: names::code_of(name), fields: Vec::new() }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        fields_of(self.code).0
    }

    fn index(&self, field: &str) -> usize {
        let (name, fields) = fields_of(self.code);
        fields.iter().position(|f| *f == field).unwrap_or_else(|| panic!("{name} has no field {field}"))
    }

    /// With this field set.
    pub fn with(mut self, field: &str, value: impl Into<V>) -> Self {
        let index = self.index(field);
        if self.fields.len() <= index {
            self.fields.resize(index + 1, V::Null);
        }
        self.fields[index] = value.into();
        self
    }

    /// A field; null where it was left out.
    pub fn get(&self, field: &str) -> &V {
        self.fields.get(self.index(field)).unwrap_or(&V::Null)
    }

    /// A field that is a uint.
    pub fn uint(&self, field: &str) -> u32 {
        match self.get(field) {
            V::Uint(value) => *value,
            other => panic!("{field} of {self:?} is {other:?}, expected a uint"),
        }
    }

    /// A boolean field, false where it was left out.
    pub fn flag(&self, field: &str) -> bool {
        match self.get(field) {
            V::Null => false,
            V::Bool(value) => *value,
            other => panic!("{field} of {self:?} is {other:?}, expected a boolean"),
        }
    }

    /// A field that is a described list.
    pub fn inner(&self, field: &str) -> &Composite {
        match self.get(field) {
            V::Composite(inner) => inner,
            other => panic!("{field} of {self:?} is {other:?}, expected a described list"),
        }
    }

    /// error.condition, or empty where there is no error.
    pub fn condition(&self) -> &str {
        match self.get("error") {
            V::Composite(error) => error.get("condition").text(),
            _ => "",
        }
    }

    /// Encoded.
    pub fn encode(&self) -> Vec<u8> {
        V::Composite(self.clone()).encode()
    }
}

impl V {
    /// A string's or symbol's text; empty for anything else.
    pub fn text(&self) -> &str {
        match self {
            V::Str(text) | V::Symbol(text) => text,
            _ => "",
        }
    }

    /// Symbols of a field of type symbol that may be multiple: none, one, or an array.
    pub fn symbols(&self) -> Vec<String> {
        match self {
            V::Null => Vec::new(),
            V::Symbol(one) => vec![one.clone()],
            V::Array(all) => all.iter().map(|v| v.text().to_owned()).collect(),
            other => panic!("{other:?} is neither null, a symbol nor an array"),
        }
    }

    /// A map's value by symbol or string key.
    pub fn at(&self, key: &str) -> Option<&V> {
        let V::Map(pairs) = self else { panic!("{self:?} is no map") };
        pairs.iter().find(|(k, _)| k.text() == key).map(|(_, v)| v)
    }

    /// Encoded, as short as it gets.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            V::Null => out.push(0x40),
            V::Bool(true) => out.push(0x41),
            V::Bool(false) => out.push(0x42),
            V::Ubyte(v) => out.extend([0x50, *v]),
            V::Ushort(v) => fixed(out, 0x60, &v.to_be_bytes()),
            V::Uint(0) => out.push(0x43),
            V::Uint(v @ 1..=255) => out.extend([0x52, *v as u8]),
            V::Uint(v) => fixed(out, 0x70, &v.to_be_bytes()),
            V::Ulong(0) => out.push(0x44),
            V::Ulong(v @ 1..=255) => out.extend([0x53, *v as u8]),
            V::Ulong(v) => fixed(out, 0x80, &v.to_be_bytes()),
            V::Timestamp(v) => fixed(out, 0x83, &v.to_be_bytes()),
            V::Binary(v) => sized(out, 0xa0, v),
            V::Str(v) => sized(out, 0xa1, v.as_bytes()),
            V::Symbol(v) => sized(out, 0xa3, v.as_bytes()),
            V::List(items) if items.is_empty() => out.push(0x45),
            V::List(items) => compound(out, 0xc0, items.iter()),
            V::Map(pairs) => compound(out, 0xc1, pairs.iter().flat_map(|(k, v)| [k, v])),
            V::Array(symbols) => {
                let mut body = vec![symbols.len() as u8, 0xa3];
                for symbol in symbols {
                    body.push(symbol.text().len() as u8);
                    body.extend(symbol.text().as_bytes());
                }
                sized(out, 0xe0, &body);
            }
            V::Composite(c) => {
                out.extend([0x00, 0x53, c.code as u8]);
                V::List(c.fields.clone()).write(out);
            }
            V::Described(descriptor, value) => {
                out.push(0x00);
                descriptor.write(out);
                value.write(out);
            }
            V::Raw(bytes) => out.extend(bytes),
        }
    }
}

fn fixed(out: &mut Vec<u8>, code: u8, bytes: &[u8]) {
    out.push(code);
    out.extend(bytes);
}

/// Bytes with their length in one octet, or in four and `code` + 0x10 where they do not fit.
fn sized(out: &mut Vec<u8>, code: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend([code, len]),
        Err(_) => fixed(out, code + 0x10, &(bytes.len() as u32).to_be_bytes()),
    }
    out.extend(bytes);
}

fn compound<'a>(out: &mut Vec<u8>, code: u8, items: impl Iterator<Item = &'a V>) {
    let mut body = Vec::new();
    let mut count = 0_u32;
    for item in items {
        item.write(&mut body);
        count += 1;
    }
    if body.len() < 255 && count < 256 {
        out.extend([code, body.len() as u8 + 1, count as u8]);
    } else {
        fixed(out, code + 0x10, &(body.len() as u32 + 4).to_be_bytes());
        out.extend(count.to_be_bytes());
    }
    out.extend(body);
}

/// Reads one value, moves `at` behind it.
pub fn decode(at: &mut &[u8]) -> V {
    let code = take(at, 1)[0];
    if code == 0 {
        let descriptor = decode(at);
        let value = decode(at);
        let code = match &descriptor {
            V::Ulong(code) => Some(*code),
            V::Symbol(name) => names::code_of_descriptor(name),
            _ => None,
        };
        return match (code, value) {
            (Some(code), V::List(fields)) if names::is_known(code) => {
                V::Composite(Composite { code, fields })
            }
            (_, value) => V::Described(Box::new(descriptor), Box::new(value)),
        };
    }
    decode_as(code, at)
}

fn decode_as(code: u8, at: &mut &[u8]) -> V {
    match code {
        0x40 => V::Null,
        0x41 => V::Bool(true),
        0x42 => V::Bool(false),
        0x56 => V::Bool(take(at, 1)[0] == 1),
        0x50 => V::Ubyte(take(at, 1)[0]),
        0x60 => V::Ushort(number(at, 2) as u16),
        0x43 => V::Uint(0),
        0x52 => V::Uint(number(at, 1) as u32),
        0x70 => V::Uint(number(at, 4) as u32),
        0x44 => V::Ulong(0),
        0x53 => V::Ulong(number(at, 1)),
        0x80 => V::Ulong(number(at, 8)),
        0x83 => V::Timestamp(number(at, 8) as i64),
        0xa0 | 0xb0 => V::Binary(variable(code, at).to_vec()),
        0xa1 | 0xb1 => V::Str(String::from_utf8(variable(code, at).to_vec()).expect("utf-8")),
        0xa3 | 0xb3 => V::Symbol(String::from_utf8(variable(code, at).to_vec()).expect("ascii")),
        0x45 => V::List(Vec::new()),
        0xc0 | 0xd0 => V::List(items(code, at)),
        0xc1 | 0xd1 => {
            let all = items(code, at);
            V::Map(all.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
        }
        0xe0 | 0xf0 => {
            let mut body = variable(code, at);
            let count = number(&mut body, if code == 0xe0 { 1 } else { 4 });
            let constructor = take(&mut body, 1)[0];
            V::Array((0..count).map(|_| decode_as(constructor, &mut body)).collect())
        }
        0x51 | 0x54 | 0x55 => raw(code, take(at, 1)),
        0x61 => raw(code, take(at, 2)),
        0x71..=0x7f => raw(code, take(at, 4)),
        0x81 | 0x82 | 0x84 => raw(code, take(at, 8)),
        0x94 | 0x98 => raw(code, take(at, 16)),
        other => panic!("no such format code {other:#x}"),
    }
}

fn raw(code: u8, bytes: &[u8]) -> V {
    V::Raw([&[code][..], bytes].concat())
}

fn items(code: u8, at: &mut &[u8]) -> Vec<V> {
    let mut body = variable(code, at);
    let count = number(&mut body, if code & 0xf0 == 0xc0 { 1 } else { 4 });
    let all = (0..count).map(|_| decode(&mut body)).collect();
    assert!(body.is_empty(), "a list or map is longer than its items");
    all
}

fn variable<'b>(code: u8, at: &mut &'b [u8]) -> &'b [u8] {
    let short = matches!(code & 0xf0, 0xa0 | 0xc0 | 0xe0);
    let len = number(at, if short { 1 } else { 4 });
    take(at, len as usize)
}

fn number(at: &mut &[u8], octets: usize) -> u64 {
    take(at, octets).iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

fn take<'b>(at: &mut &'b [u8], n: usize) -> &'b [u8] {
    assert!(at.len() >= n, "{} bytes left, expected {n}", at.len());
    let (head, tail) = at.split_at(n);
    *at = tail;
    head
}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for V {
            fn from(value: $from) -> Self {
                V::$variant(value.into())
            }
        }
    )*};
}
from!(bool => Bool, u8 => Ubyte, u16 => Ushort, u32 => Uint, u64 => Ulong, &str => Str, &[u8] => Binary,
    Composite => Composite, Vec<V> => List);

/// A symbol.
pub fn symbol(text: &str) -> V {
    V::Symbol(text.to_owned())
}

/// An array of symbols.
pub fn symbols(all: &[&str]) -> V {
    V::Array(all.iter().map(|text| symbol(text)).collect())
}

/// A map with symbol keys.
pub fn fields(pairs: &[(&str, V)]) -> V {
    V::Map(pairs.iter().map(|(key, value)| (symbol(key), value.clone())).collect())
}
