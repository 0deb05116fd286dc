//! Writing values in their shortest forms, and described lists whose size is found as they are written.
//!
//! Invariant: what is written here passes `validate`; trailing nulls of a list are left out (part 1.4).
//! Nothing here fails: lengths are of things held in memory and far below 4 GiB.

use super::code;

fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// boolean, in its one-byte forms.
pub fn bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { code::TRUE } else { code::FALSE });
}

/// null.
pub fn null(out: &mut Vec<u8>) {
    out.push(code::NULL);
}

/// uint.
#[inline]
pub fn uint(out: &mut Vec<u8>, value: u32) {
    match u8::try_from(value) {
        Ok(0) => out.push(code::UINT0),
        Ok(small) => out.extend_from_slice(&[code::SMALL_UINT, small]),
        Err(_) => {
            let [a, b, c, d] = value.to_be_bytes();
            out.extend_from_slice(&[code::UINT, a, b, c, d]);
        }
    }
}

/// ulong.
pub fn ulong(out: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        Ok(0) => out.push(code::ULONG0),
        Ok(small) => out.extend_from_slice(&[code::SMALL_ULONG, small]),
        Err(_) => {
            out.push(code::ULONG);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// ubyte.
pub fn ubyte(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[code::UBYTE, value]);
}

/// ushort.
pub fn ushort(out: &mut Vec<u8>, value: u16) {
    let [a, b] = value.to_be_bytes();
    out.extend_from_slice(&[code::USHORT, a, b]);
}

/// timestamp: milliseconds since the epoch.
pub fn timestamp(out: &mut Vec<u8>, value: i64) {
    out.push(code::TIMESTAMP);
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
fn variable(out: &mut Vec<u8>, short: u8, long: u8, data: &[u8]) {
    match u8::try_from(data.len()) {
        Ok(len) => out.extend_from_slice(&[short, len]),
        Err(_) => {
            out.push(long);
            out.extend_from_slice(&len32(data.len()));
        }
    }
    out.extend_from_slice(data);
}

/// binary.
#[inline]
pub fn binary(out: &mut Vec<u8>, value: &[u8]) {
    variable(out, code::BINARY8, code::BINARY32, value);
}

/// string.
pub fn string(out: &mut Vec<u8>, value: &str) {
    variable(out, code::STRING8, code::STRING32, value.as_bytes());
}

/// symbol. Symbols are ASCII (part 1.6.21): any other character becomes `?`.
pub fn symbol(out: &mut Vec<u8>, value: &str) {
    if value.is_ascii() {
        variable(out, code::SYMBOL8, code::SYMBOL32, value.as_bytes());
    } else {
        let ascii: String = value.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        variable(out, code::SYMBOL8, code::SYMBOL32, ascii.as_bytes());
    }
}

/// An array of symbols; null if there is none, since peers refuse empty arrays and mean the same by both (1.4).
pub fn symbols<'s>(out: &mut Vec<u8>, values: impl Iterator<Item = &'s str>) {
    let mut elements = Vec::new();
    let mut count = 0_usize;
    for value in values {
        let mut element = Vec::new();
        symbol(&mut element, value);
        // In an array the constructor is shared: all in the long form.
        let text = match element.split_first() {
            Some((&code::SYMBOL8, rest)) => rest.get(1..),
            Some((_, rest)) => rest.get(4..),
            None => None,
        }
        .unwrap_or_default();
        elements.extend_from_slice(&len32(text.len()));
        elements.extend_from_slice(text);
        count += 1;
    }
    if count == 0 {
        return null(out);
    }
    array(out, count, code::SYMBOL32, &elements);
}

/// An array of `count` elements, whose data is `elements`.
pub fn array(out: &mut Vec<u8>, count: usize, constructor: u8, elements: &[u8]) {
    sized(out, code::ARRAY8, code::ARRAY32, count, elements.len() + 1);
    out.push(constructor);
    out.extend_from_slice(elements);
}

/// A map from pairs of encoded keys and values; `elements` is them all, `count` keys and values together.
pub fn map(out: &mut Vec<u8>, count: usize, elements: &[u8]) {
    sized(out, code::MAP8, code::MAP32, count, elements.len());
    out.extend_from_slice(elements);
}

/// A list of `count` encoded `elements`.
pub fn list(out: &mut Vec<u8>, count: usize, elements: &[u8]) {
    if count == 0 {
        return out.push(code::LIST0);
    }
    sized(out, code::LIST8, code::LIST32, count, elements.len());
    out.extend_from_slice(elements);
}

/// Constructor, size and count in front of `bytes` bytes.
fn sized(out: &mut Vec<u8>, short: u8, long: u8, count: usize, bytes: usize) {
    match (u8::try_from(bytes + 1), u8::try_from(count)) {
        (Ok(size), Ok(count)) => out.extend_from_slice(&[short, size, count]),
        _ => {
            out.push(long);
            out.extend_from_slice(&len32(bytes + 4));
            out.extend_from_slice(&len32(count));
        }
    }
}

/// A described list being written at the end of `out`.
pub struct ListWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Where the list's constructor is.
    start: usize,
    count: u8,
    /// Nulls not written yet: they are left out if nothing comes behind them.
    nulls: u8,
}

impl<'o> ListWriter<'o> {
    /// Begins a list with this descriptor.
    #[inline]
    pub fn new(out: &'o mut Vec<u8>, descriptor: u8) -> Self {
        out.extend_from_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor, code::LIST8, 0, 0]);
        let start = out.len() - 3;
        Self { out, start, count: 0, nulls: 0 }
    }

    /// The place to write the next field's value to, which must be exactly one value.
    #[inline]
    pub fn field(&mut self) -> &mut Vec<u8> {
        for _ in 0..self.nulls {
            self.out.push(code::NULL);
        }
        self.count += self.nulls + 1;
        self.nulls = 0;
        self.out
    }

    /// The next field is null.
    #[inline]
    pub fn null(&mut self) {
        self.nulls += 1;
    }

    /// The next field, written by `write` if there is one.
    #[inline]
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
        match value {
            Some(value) => write(self.field(), value),
            None => self.null(),
        }
    }

    /// A boolean whose default is false.
    #[inline]
    pub fn flag(&mut self, value: bool) {
        if value { self.field().push(code::TRUE) } else { self.null() }
    }

    /// Ends the list: writes size and count.
    #[inline]
    pub fn finish(self) {
        let fields = self.out.len() - self.start - 3;
        if self.count == 0 {
            self.out.truncate(self.start);
            self.out.push(code::LIST0);
        } else if let (Ok(size), Some([_, size_place, count_place, ..])) =
            (u8::try_from(fields + 1), self.out.get_mut(self.start..))
        {
            *size_place = size;
            *count_place = self.count;
        } else {
            let mut head = Vec::with_capacity(9);
            sized(&mut head, code::LIST8, code::LIST32, usize::from(self.count), fields);
            self.out.splice(self.start..self.start + 3, head);
        }
    }
}
