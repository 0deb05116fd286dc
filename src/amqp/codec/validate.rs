//! The validator: whether bytes are one well-formed AMQP value (part 1), before anybody builds anything from them.
//!
//! Invariant: iterative, at most [`MAX_VALUE_DEPTH`] deep, allocates nothing, and what passes costs its reader
//! memory in proportion to its bytes. Does not ask whether the value makes sense where it stands.

use super::{DecodeError, code};
use crate::limits::MAX_VALUE_DEPTH;

/// Elements without bytes of their own (null, true, list0 … in arrays) taken beyond one per byte of input.
const FREE_ELEMENTS: usize = 256;

/// Descriptors in a row in front of an array's constructor. Nobody sends two.
const ARRAY_DESCRIPTORS: usize = 4;

/// A value whose elements are being read.
#[derive(Clone, Copy)]
struct Level {
    /// Elements yet to come.
    left: u32,
    /// Where its bytes end.
    end: usize,
    /// Array: the constructor its elements share.
    element: Option<u8>,
    /// Whether `end` is its own, to be met exactly (described values end where their parts do).
    sized: bool,
}

/// What reading one value's data came to.
enum Step {
    /// Done, at this offset.
    Leaf(usize),
    /// Its elements begin at this offset.
    Into(Level, usize),
}

struct Validator<'a> {
    bytes: &'a [u8],
    /// Elements of width 0 in arrays that may still come.
    free_elements: usize,
}

/// Checks the value at the front of `bytes`.
///
/// # Errors
/// What is wrong with it first.
pub fn validate(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut validator = Validator { bytes, free_elements: bytes.len() + FREE_ELEMENTS };
    let mut levels = [Level { left: 0, end: 0, element: None, sized: false }; MAX_VALUE_DEPTH];
    let mut depth = 0_usize;
    let mut pos = 0;
    loop {
        let top = depth.checked_sub(1).and_then(|top| levels.get(top));
        let (end, element) = top.map_or((bytes.len(), None), |level| (level.end, level.element));
        let constructor = match element {
            Some(constructor) => constructor,
            None => {
                let constructor = validator.byte(pos, end)?;
                pos += 1;
                constructor
            }
        };
        match validator.step(constructor, pos, end)? {
            Step::Leaf(next) => pos = next,
            Step::Into(level, next) => {
                let Some(place) = levels.get_mut(depth) else {
                    return Err(DecodeError::TooDeep { max: MAX_VALUE_DEPTH });
                };
                *place = level;
                depth += 1;
                pos = next;
                if level.left > 0 {
                    continue;
                }
                // Empty: ends here, and below it is taken off and counted in its parent.
                depth -= 1;
                check_end(&level, pos)?;
            }
        }
        // A value is complete: count it in whatever it is part of.
        loop {
            let Some(level) = depth.checked_sub(1).and_then(|top| levels.get_mut(top)) else {
                return Ok(pos);
            };
            level.left = level.left.saturating_sub(1);
            if level.left > 0 {
                break;
            }
            check_end(level, pos)?;
            depth -= 1;
        }
    }
}

fn check_end(level: &Level, pos: usize) -> Result<(), DecodeError> {
    if level.sized && pos != level.end {
        return Err(DecodeError::Size { what: "compound value", got: pos, expected: level.end });
    }
    Ok(())
}

/// Bytes of data of a fixed-width constructor (part 1.6).
pub(super) fn fixed_width(constructor: u8) -> Option<usize> {
    Some(match constructor {
        code::NULL | code::TRUE | code::FALSE | code::UINT0 | code::ULONG0 | code::LIST0 => 0,
        code::UBYTE..=code::BOOLEAN => 1,
        code::USHORT | code::SHORT => 2,
        code::UINT | code::INT | code::FLOAT | code::CHAR | code::DECIMAL32 => 4,
        code::ULONG | code::LONG | code::DOUBLE | code::TIMESTAMP | code::DECIMAL64 => 8,
        code::DECIMAL128 | code::UUID => 16,
        _ => return None,
    })
}

impl<'a> Validator<'a> {
    fn byte(&self, pos: usize, end: usize) -> Result<u8, DecodeError> {
        if pos >= end {
            return Err(DecodeError::Truncated { what: "value", needed: 1, got: 0 });
        }
        self.bytes.get(pos).copied().ok_or(DecodeError::Truncated { what: "value", needed: 1, got: 0 })
    }

    /// `count` bytes from `pos`, all before `end`.
    fn take(&self, pos: usize, count: usize, end: usize) -> Result<&'a [u8], DecodeError> {
        let got = end.saturating_sub(pos);
        let truncated = DecodeError::Truncated { what: "value", needed: count, got };
        if count > got {
            return Err(truncated);
        }
        self.bytes.get(pos..pos + count).ok_or(truncated)
    }

    /// A size or count of `width` (1 or 4) bytes.
    fn number(&self, pos: usize, width: usize, end: usize) -> Result<u32, DecodeError> {
        Ok(self.take(pos, width, end)?.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    /// Reads the data of a value whose constructor is known.
    fn step(&mut self, constructor: u8, pos: usize, end: usize) -> Result<Step, DecodeError> {
        match constructor {
            code::DESCRIBED => Ok(Step::Into(Level { left: 2, end, element: None, sized: false }, pos)),
            code::BOOLEAN => match self.byte(pos, end)? {
                0 | 1 => Ok(Step::Leaf(pos + 1)),
                other => Err(content("boolean", format!("0x{other:02x}"), "0x00 or 0x01")),
            },
            code::CHAR => {
                let scalar = self.number(pos, 4, end)?;
                char::from_u32(scalar)
                    .ok_or_else(|| content("char", format!("0x{scalar:x}"), "a unicode scalar value"))?;
                Ok(Step::Leaf(pos + 4))
            }
            code::BINARY8..=code::SYMBOL8 | code::BINARY32..=code::SYMBOL32 => {
                self.variable(constructor, pos, end)
            }
            code::LIST8 | code::MAP8 => self.compound(constructor, 1, pos, end),
            code::LIST32 | code::MAP32 => self.compound(constructor, 4, pos, end),
            code::ARRAY8 => self.array(1, pos, end),
            code::ARRAY32 => self.array(4, pos, end),
            other => {
                let width = fixed_width(other).ok_or(DecodeError::Constructor { code: other })?;
                self.take(pos, width, end)?;
                Ok(Step::Leaf(pos + width))
            }
        }
    }

    fn variable(&self, constructor: u8, pos: usize, end: usize) -> Result<Step, DecodeError> {
        let width = if constructor < code::BINARY32 { 1 } else { 4 };
        let size = self.number(pos, width, end)? as usize;
        let data = self.take(pos + width, size, end)?;
        match constructor {
            code::BINARY8 | code::BINARY32 => {}
            code::STRING8 | code::STRING32 => check_utf8(data)?,
            code::SYMBOL8 | code::SYMBOL32 => check_ascii(data)?,
            other => return Err(DecodeError::Constructor { code: other }),
        }
        Ok(Step::Leaf(pos + width + size))
    }

    fn compound(&self, constructor: u8, width: usize, pos: usize, end: usize) -> Result<Step, DecodeError> {
        let (count, from, own_end) = self.counted("list or map", width, pos, end)?;
        // Each element has a constructor, which is a byte.
        if count as usize > own_end - from {
            return Err(DecodeError::Count { what: "list or map", count, bytes: own_end - from });
        }
        // 1.6.23: "map encodings MUST contain an even number of items"
        if matches!(constructor, code::MAP8 | code::MAP32) && count % 2 != 0 {
            return Err(DecodeError::OddMap { count });
        }
        Ok(Step::Into(Level { left: count, end: own_end, element: None, sized: true }, from))
    }

    /// Size and count: count, where what is counted begins, and where it ends.
    fn counted(
        &self,
        what: &'static str,
        width: usize,
        pos: usize,
        end: usize,
    ) -> Result<(u32, usize, usize), DecodeError> {
        let size = self.number(pos, width, end)? as usize;
        self.take(pos + width, size, end)?;
        // The size counts the bytes of the count.
        if size < width {
            return Err(DecodeError::Truncated { what, needed: width, got: size });
        }
        let count = self.number(pos + width, width, end)?;
        Ok((count, pos + 2 * width, pos + width + size))
    }

    fn array(&mut self, width: usize, pos: usize, end: usize) -> Result<Step, DecodeError> {
        let (count, mut pos, end) = self.counted("array", width, pos, end)?;
        if count == 0 && pos == end {
            // Sent by serde_amqp: an empty array without the constructor that 1.6.24 asks for. Harmless.
            return Ok(Step::Leaf(end));
        }
        let mut constructor = self.byte(pos, end)?;
        pos += 1;
        let mut descriptors = 0;
        // 1.2: the constructor may itself be described: 0x00, descriptor, constructor.
        while constructor == code::DESCRIBED {
            descriptors += 1;
            if descriptors > ARRAY_DESCRIPTORS {
                return Err(DecodeError::TooDeep { max: ARRAY_DESCRIPTORS });
            }
            pos = self.array_descriptor(pos, end)?;
            constructor = self.byte(pos, end)?;
            pos += 1;
        }
        let bytes = end - pos;
        let least = match constructor {
            code::BINARY8..=code::SYMBOL8 => 1,
            code::BINARY32..=code::SYMBOL32 => 4,
            code::LIST8 | code::MAP8 | code::ARRAY8 => 2,
            code::LIST32 | code::MAP32 | code::ARRAY32 => 8,
            other => fixed_width(other).ok_or(DecodeError::Constructor { code: other })?,
        };
        if least == 0 || descriptors > 0 {
            // These cost the reader memory and the sender nothing, or many times what it sent.
            let cost = (count as usize).saturating_mul(descriptors.max(1));
            self.free_elements = self.free_elements.checked_sub(cost).ok_or(DecodeError::Count {
                what: "array",
                count,
                bytes,
            })?;
        }
        if (count as usize).saturating_mul(least) > bytes {
            return Err(DecodeError::Count { what: "array", count, bytes });
        }
        // 1.6.24: elements of fixed width need no look at each (but boolean and char).
        if let Some(width) = fixed_width(constructor)
            && !matches!(constructor, code::BOOLEAN | code::CHAR)
        {
            let to = pos + width * count as usize;
            if to != end {
                return Err(DecodeError::Size { what: "array", got: to, expected: end });
            }
            return Ok(Step::Leaf(end));
        }
        Ok(Step::Into(Level { left: count, end, element: Some(constructor), sized: true }, pos))
    }

    /// A descriptor in front of an array's constructor: symbol or ulong, as all that are defined (part 1.2).
    fn array_descriptor(&mut self, pos: usize, end: usize) -> Result<usize, DecodeError> {
        let constructor = self.byte(pos, end)?;
        match constructor {
            code::SYMBOL8 | code::SYMBOL32 | code::ULONG0 | code::SMALL_ULONG | code::ULONG => {}
            code => {
                return Err(DecodeError::WrongType {
                    field: "descriptor of an array",
                    code,
                    expected: "symbol or ulong",
                });
            }
        }
        match self.step(constructor, pos + 1, end)? {
            Step::Leaf(next) | Step::Into(_, next) => Ok(next),
        }
    }
}

fn content(what: &'static str, got: String, expected: &'static str) -> DecodeError {
    DecodeError::Content { what, got, expected }
}

pub(super) fn check_utf8(data: &[u8]) -> Result<(), DecodeError> {
    match std::str::from_utf8(data) {
        Ok(_) => Ok(()),
        Err(error) => Err(content("string", format!("a wrong byte at {}", error.valid_up_to()), "utf-8")),
    }
}

pub(super) fn check_ascii(data: &[u8]) -> Result<(), DecodeError> {
    match data.iter().position(|byte| !byte.is_ascii()) {
        None => Ok(()),
        Some(at) => Err(content("symbol", format!("a wrong byte at {at}"), "ascii")),
    }
}
