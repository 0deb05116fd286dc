//! Reading values: skipping by size, descriptors, and the fields of a list one after another.
//!
//! Invariant: nothing is read outside the list it belongs to; a field left out reads as null (part 1.4).
//! Text is checked here as it is taken, so this needs no `validate` before it. What is skipped is not looked into.

use super::{
    DecodeError, code,
    validate::{check_ascii, check_utf8, fixed_width},
};

fn truncated(needed: usize, got: usize) -> DecodeError {
    DecodeError::Truncated { what: "value", needed, got }
}

/// A number of 1 or 4 bytes at the front.
fn size_at(bytes: &[u8], width: usize) -> Result<usize, DecodeError> {
    match width {
        1 => bytes.first().map(|byte| usize::from(*byte)).ok_or(truncated(1, 0)),
        _ => match bytes.first_chunk::<4>() {
            Some(chunk) => Ok(u32::from_be_bytes(*chunk) as usize),
            None => Err(truncated(4, bytes.len())),
        },
    }
}

/// Length of the value at the front, found by its size without looking inside.
pub fn value_len(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut pos = 0;
    // A described value is two values behind a 0x00: descriptor and value.
    let mut values = 1_usize;
    while values > 0 {
        let rest = bytes.get(pos..).unwrap_or_default();
        let (&constructor, data) = rest.split_first().ok_or(truncated(1, 0))?;
        if constructor == code::DESCRIBED {
            values += 1;
            pos += 1;
            continue;
        }
        let len = match constructor >> 4 {
            0xa | 0xc | 0xe => 1 + size_at(data, 1)?,
            0xb | 0xd | 0xf => 4 + size_at(data, 4)?,
            _ => fixed_width(constructor).ok_or(DecodeError::Constructor { code: constructor })?,
        };
        if len > data.len() {
            return Err(truncated(len, data.len()));
        }
        pos += 1 + len;
        values -= 1;
    }
    Ok(pos)
}

/// Takes the value at the front: it, and what is behind it.
pub fn split_value(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let len = value_len(bytes)?;
    bytes.split_at_checked(len).ok_or(truncated(len, bytes.len()))
}

/// What a described value says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor<'a> {
    /// One that is in the specification, in numeric or symbolic form.
    Known(u8),
    /// A number that is not.
    Code(u64),
    /// A symbol that is not.
    Name(&'a str),
    /// Some other type (reserved, part 1.2): its constructor.
    Other(u8),
}

impl std::fmt::Display for Descriptor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(code) => write!(f, "0x{code:02x}"),
            Self::Code(code) => write!(f, "0x{code:02x}"),
            // A peer's symbol goes into logs and error texts: no more of it than helps.
            Self::Name(name) => f.write_str(name.get(..128).unwrap_or(name)),
            Self::Other(constructor) => write!(f, "of constructor 0x{constructor:02x}"),
        }
    }
}

/// Splits a described value in descriptor and value (with whatever is behind it); `None` if it is not one.
pub fn described(bytes: &[u8]) -> Result<Option<(Descriptor<'_>, &[u8])>, DecodeError> {
    let Some((&code::DESCRIBED, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if let [code::SMALL_ULONG, number, rest @ ..] = rest {
        return Ok(Some((Descriptor::Known(*number), rest)));
    }
    let (descriptor, rest) = split_value(rest)?;
    let descriptor = match descriptor.first().copied().unwrap_or(code::NULL) {
        code::ULONG0 | code::ULONG => {
            let number = Field { name: "descriptor", raw: descriptor }.u64()?;
            u8::try_from(number).map_or(Descriptor::Code(number), Descriptor::Known)
        }
        code::SYMBOL8 | code::SYMBOL32 => {
            let name = Field { name: "descriptor", raw: descriptor }.symbol()?;
            code::descriptor::by_name(name.as_bytes()).map_or(Descriptor::Name(name), Descriptor::Known)
        }
        other => Descriptor::Other(other),
    };
    Ok(Some((descriptor, rest)))
}

/// One value of known name, not null.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its name, for errors.
    pub name: &'static str,
    /// Its encoding, constructor included.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    fn wrong<T>(&self, expected: &'static str) -> Result<T, DecodeError> {
        let code = self.raw.first().copied().unwrap_or(code::NULL);
        Err(DecodeError::WrongType { field: self.name, code, expected })
    }

    pub fn bool(&self) -> Result<bool, DecodeError> {
        match self.raw {
            [code::TRUE] | [code::BOOLEAN, 1] => Ok(true),
            [code::FALSE] | [code::BOOLEAN, 0] => Ok(false),
            _ => self.wrong("boolean"),
        }
    }

    pub fn u8(&self) -> Result<u8, DecodeError> {
        match self.raw {
            [code::UBYTE, value] => Ok(*value),
            _ => self.wrong("ubyte"),
        }
    }

    pub fn u16(&self) -> Result<u16, DecodeError> {
        match self.raw {
            [code::USHORT, a, b] => Ok(u16::from_be_bytes([*a, *b])),
            _ => self.wrong("ushort"),
        }
    }

    pub fn u32(&self) -> Result<u32, DecodeError> {
        match self.raw {
            [code::UINT0] => Ok(0),
            [code::SMALL_UINT, value] => Ok(u32::from(*value)),
            [code::UINT, a, b, c, d] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
            _ => self.wrong("uint"),
        }
    }

    pub fn u64(&self) -> Result<u64, DecodeError> {
        match self.raw {
            [code::ULONG0] => Ok(0),
            [code::SMALL_ULONG, value] => Ok(u64::from(*value)),
            [code::ULONG, data @ ..] => match data.first_chunk::<8>() {
                Some(data) => Ok(u64::from_be_bytes(*data)),
                None => self.wrong("ulong"),
            },
            _ => self.wrong("ulong"),
        }
    }

    pub fn timestamp(&self) -> Result<i64, DecodeError> {
        match self.raw.split_first() {
            Some((&code::TIMESTAMP, data)) => match data.first_chunk::<8>() {
                Some(data) => Ok(i64::from_be_bytes(*data)),
                None => self.wrong("timestamp"),
            },
            _ => self.wrong("timestamp"),
        }
    }

    /// Data of a variable-width value with one of these two constructors.
    fn variable(&self, short: u8, long: u8, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.raw.split_first() {
            Some((&code, data)) if code == short => data.get(1..).ok_or(truncated(1, 0)),
            Some((&code, data)) if code == long => data.get(4..).ok_or(truncated(4, data.len())),
            _ => self.wrong(expected),
        }
    }

    pub fn binary(&self) -> Result<&'a [u8], DecodeError> {
        self.variable(code::BINARY8, code::BINARY32, "binary")
    }

    pub fn string(&self) -> Result<&'a str, DecodeError> {
        let data = self.variable(code::STRING8, code::STRING32, "string")?;
        check_utf8(data)?;
        Ok(std::str::from_utf8(data).unwrap_or_default())
    }

    pub fn symbol(&self) -> Result<&'a str, DecodeError> {
        let data = self.variable(code::SYMBOL8, code::SYMBOL32, "symbol")?;
        check_ascii(data)?;
        Ok(std::str::from_utf8(data).unwrap_or_default())
    }

    /// The symbols of a field with `multiple="true"`: one symbol, or an array of them (part 1.4).
    pub fn symbols(&self) -> Result<Vec<&'a str>, DecodeError> {
        let (count, element, mut rest) = match self.raw.split_first() {
            Some((&code::ARRAY8, [_, count, rest @ ..])) => match rest.split_first() {
                None if *count == 0 => return Ok(Vec::new()),
                None => return self.wrong("symbols"),
                Some((element, rest)) => (usize::from(*count), *element, rest),
            },
            Some((&code::ARRAY32, [_, _, _, _, a, b, c, d, rest @ ..])) => {
                let count = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                match rest.split_first() {
                    None if count == 0 => return Ok(Vec::new()),
                    None => return self.wrong("symbols"),
                    Some((element, rest)) => (count, *element, rest),
                }
            }
            _ => return Ok(vec![self.symbol()?]),
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let width = match element {
            code::SYMBOL8 => 1,
            code::SYMBOL32 => 4,
            code => {
                return Err(DecodeError::WrongType { field: self.name, code, expected: "symbols" });
            }
        };
        let too_many = DecodeError::Count { what: "array", count: count as u32, bytes: rest.len() };
        if count.saturating_mul(width) > rest.len() {
            return Err(too_many);
        }
        let mut symbols = Vec::with_capacity(count);
        for _ in 0..count {
            let len = width + size_at(rest, width)?;
            let (symbol, after) = rest.split_at_checked(len).ok_or(truncated(len, rest.len()))?;
            let text = symbol.get(width..).unwrap_or_default();
            check_ascii(text)?;
            symbols.push(std::str::from_utf8(text).unwrap_or_default());
            rest = after;
        }
        if !rest.is_empty() {
            return Err(too_many);
        }
        Ok(symbols)
    }
}

/// The fields of a list, in order. Fields never asked for are ignored, those not there are null.
#[derive(Debug, Clone)]
pub struct FieldReader<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> FieldReader<'a> {
    /// Opens the list at the front of `bytes`: its fields, and its length.
    pub fn open(what: &'static str, bytes: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let (&constructor, data) = bytes.split_first().ok_or(truncated(1, 0))?;
        let (width, size, count, fields) = match (constructor, data) {
            (code::LIST0, _) => return Ok((Self { rest: &[], left: 0 }, 1)),
            (code::LIST8, [size, count, fields @ ..]) => (1, usize::from(*size), u32::from(*count), fields),
            (code::LIST32, [a, b, c, d, e, f, g, h, fields @ ..]) => {
                let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                (4, size, u32::from_be_bytes([*e, *f, *g, *h]), fields)
            }
            (code::LIST8, _) => return Err(truncated(2, data.len())),
            (code::LIST32, _) => return Err(truncated(8, data.len())),
            (code, _) => return Err(DecodeError::WrongType { field: what, code, expected: "list" }),
        };
        // The size counts the bytes of the count.
        let Some(fields_size) = size.checked_sub(width) else {
            return Err(DecodeError::Truncated { what, needed: width, got: size });
        };
        let rest = fields.get(..fields_size).ok_or(DecodeError::Truncated {
            what,
            needed: fields_size,
            got: fields.len(),
        })?;
        if count as usize > rest.len() {
            return Err(DecodeError::Count { what, count, bytes: rest.len() });
        }
        Ok((Self { rest, left: count }, 1 + width + size))
    }

    /// The next field; `None` if it is null or left out.
    #[inline]
    pub fn next(&mut self, name: &'static str) -> Result<Option<Field<'a>>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if let [code::NULL, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(None);
        }
        let (raw, rest) = split_value(self.rest)?;
        self.rest = rest;
        Ok(Some(Field { name, raw }))
    }

    /// The next field, which must be there.
    pub fn mandatory(&mut self, name: &'static str) -> Result<Field<'a>, DecodeError> {
        self.next(name)?.ok_or(DecodeError::Missing { field: name })
    }

    #[inline]
    pub fn bool(&mut self, name: &'static str) -> Result<Option<bool>, DecodeError> {
        self.next(name)?.map(|field| field.bool()).transpose()
    }

    #[inline]
    pub fn u8(&mut self, name: &'static str) -> Result<Option<u8>, DecodeError> {
        self.next(name)?.map(|field| field.u8()).transpose()
    }

    #[inline]
    pub fn u16(&mut self, name: &'static str) -> Result<Option<u16>, DecodeError> {
        self.next(name)?.map(|field| field.u16()).transpose()
    }

    #[inline]
    pub fn u32(&mut self, name: &'static str) -> Result<Option<u32>, DecodeError> {
        self.next(name)?.map(|field| field.u32()).transpose()
    }

    #[inline]
    pub fn binary(&mut self, name: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        self.next(name)?.map(|field| field.binary()).transpose()
    }

    pub fn string(&mut self, name: &'static str) -> Result<Option<&'a str>, DecodeError> {
        self.next(name)?.map(|field| field.string()).transpose()
    }

    pub fn symbols(&mut self, name: &'static str) -> Result<Option<Vec<&'a str>>, DecodeError> {
        self.next(name)?.map(|field| field.symbols()).transpose()
    }
}
