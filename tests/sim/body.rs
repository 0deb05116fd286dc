//! The messages of the simulation, written and read by hand: independent of the codec under test.
//!
//! Invariant: every message carries its number, and bytes that follow from it, so that a changed, mixed
//! or truncated one is recognised. Reads only what a broker may send in front of such a message.

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Its number.
    pub id: u64,
    /// Bytes of its body, at least 8.
    pub size: usize,
    /// header.durable.
    pub durable: bool,
    /// header.priority.
    pub priority: u8,
    /// header.ttl.
    pub ttl_ms: Option<u32>,
    /// properties.message-id.
    pub key: Option<u64>,
    /// properties.group-id, 0: none.
    pub group: u8,
}

/// A message as a consumer got it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Got {
    /// Its number.
    pub id: u64,
    /// header.durable.
    pub durable: bool,
    /// header.priority.
    pub priority: u8,
    /// header.ttl.
    pub ttl_ms: Option<u32>,
    /// header.first-acquirer.
    pub first_acquirer: bool,
    /// header.delivery-count.
    pub delivery_count: u32,
    /// `x-opt-acquired-count`.
    pub acquired_count: u32,
    /// `x-opt-dl-reason`.
    pub dead_reason: Option<String>,
    /// `x-opt-dl-attempts`.
    pub dead_attempts: Option<u32>,
    /// The annotation `modified` outcomes of the simulation set.
    pub mark: Option<u32>,
    /// properties.group-id, 0: none.
    pub group: u8,
}

/// Annotation set by the simulation's `modified`.
pub const MARK: &str = "x-sim-mark";

/// The body's bytes, without the section around it.
fn body(id: u64, size: usize) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes
        .extend((bytes.len()..size.max(8)).map(|at| (at as u64).wrapping_mul(31).wrapping_add(id * 7) as u8));
    bytes
}

/// The data section (part 3.2.6): what must arrive bit for bit.
fn data(id: u64, size: usize) -> Vec<u8> {
    let body = body(id, size);
    let mut out = vec![0x00, 0x53, 0x75];
    match u8::try_from(body.len()) {
        Ok(len) => out.extend([0xa0, len]),
        Err(_) => {
            out.push(0xb0);
            out.extend((body.len() as u32).to_be_bytes());
        }
    }
    out.extend(body);
    out
}

/// The header section (part 3.2.1), if any of it is not its default.
pub fn header(wanted: &Wanted) -> Vec<u8> {
    if !wanted.durable && wanted.priority == 4 && wanted.ttl_ms.is_none() {
        return Vec::new();
    }
    let mut fields = vec![if wanted.durable { 0x41 } else { 0x42 }, 0x50, wanted.priority];
    match wanted.ttl_ms {
        Some(ttl) => {
            fields.push(0x70);
            fields.extend(ttl.to_be_bytes());
        }
        None => fields.push(0x40),
    }
    let mut out = vec![0x00, 0x53, 0x70, 0xc0, fields.len() as u8 + 1, 3];
    out.extend(fields);
    out
}

/// The properties section (part 3.2.4), if there is anything in it.
fn properties(wanted: &Wanted) -> Vec<u8> {
    if wanted.key.is_none() && wanted.group == 0 {
        return Vec::new();
    }
    let mut fields = match wanted.key {
        // The types a message-id may have; ulong and string, so that equal keys are of one type.
        Some(key) if key % 2 == 0 => [&[0x80][..], &key.to_be_bytes()].concat(),
        Some(key) => [&[0xa1, 8][..], format!("{key:08x}").as_bytes()].concat(),
        None => vec![0x40],
    };
    fields.extend([0x40; 9]);
    match wanted.group {
        0 => fields.push(0x40),
        group => fields.extend([0xa1, 1, b'a' + group]),
    }
    let mut out = vec![0x00, 0x53, 0x73, 0xc0, fields.len() as u8 + 1, 11];
    out.extend(fields);
    out
}

/// The group of a message as the broker keeps it.
pub fn group_of(payload: &[u8]) -> u8 {
    read(payload).expect("the broker keeps a message as it was published").group
}

/// All sections of a message.
pub fn encode(wanted: &Wanted) -> Vec<u8> {
    let mut out = header(wanted);
    out.extend(properties(wanted));
    out.extend(data(wanted.id, wanted.size));
    out
}

/// The number of a message as the broker keeps it.
pub fn id_of(payload: &[u8]) -> u64 {
    read(payload).expect("the broker keeps a message as it was published").id
}

/// Reads a message and checks its body.
pub fn read(mut bytes: &[u8]) -> Result<Got, String> {
    let mut got = Got { priority: 4, ..Got::default() };
    loop {
        let [0x00, 0x53, code, rest @ ..] = bytes else {
            return Err(format!("no section where one was expected: {:02x?}", &bytes[..bytes.len().min(8)]));
        };
        let value = Value::read(rest)?;
        match code {
            0x70 => read_header(&value, &mut got)?,
            0x71 => {}
            0x72 => read_annotations(&value, &mut got)?,
            0x73 => {
                let fields = value.items()?;
                if let Some(Kind::Bytes([group])) = fields.get(10).map(|field| &field.kind) {
                    got.group = group - b'a';
                }
            }
            0x75 => {
                let Kind::Bytes(body_bytes) = value.kind else { return Err("data is not binary".into()) };
                let id = body_bytes.get(..8).ok_or("a body of less than 8 bytes")?;
                got.id = u64::from_be_bytes(id.try_into().expect("8 bytes"));
                if bytes != data(got.id, body_bytes.len()) {
                    return Err(format!("the body of message {} is not what was published", got.id));
                }
                return Ok(got);
            }
            other => return Err(format!("unexpected section {other:#x}")),
        }
        bytes = &rest[value.len..];
    }
}

fn read_header(value: &Value, got: &mut Got) -> Result<(), String> {
    let fields = value.items()?;
    let field = |at: usize| fields.get(at).map(|value| &value.kind);
    got.durable = matches!(field(0), Some(Kind::Number(1)));
    if let Some(Kind::Number(priority)) = field(1) {
        got.priority = *priority as u8;
    }
    if let Some(Kind::Number(ttl)) = field(2) {
        got.ttl_ms = Some(*ttl as u32);
    }
    got.first_acquirer = matches!(field(3), Some(Kind::Number(1)));
    if let Some(Kind::Number(count)) = field(4) {
        got.delivery_count = *count as u32;
    }
    Ok(())
}

fn read_annotations(value: &Value, got: &mut Got) -> Result<(), String> {
    let pairs = value.items()?;
    for pair in pairs.chunks(2) {
        let [key, value] = pair else { return Err("a map with half a pair".into()) };
        let Kind::Bytes(key) = key.kind else { return Err("an annotation key that is no symbol".into()) };
        let number = match value.kind {
            Kind::Number(n) => Some(n as u32),
            _ => None,
        };
        match std::str::from_utf8(key).unwrap_or_default() {
            "x-opt-acquired-count" => {
                got.acquired_count = number.ok_or("an acquired-count that is no number")?
            }
            "x-opt-dl-attempts" => got.dead_attempts = number,
            "x-opt-dl-reason" => {
                let Kind::Bytes(reason) = value.kind else { return Err("a reason that is no symbol".into()) };
                got.dead_reason = Some(String::from_utf8_lossy(reason).into_owned());
            }
            MARK => got.mark = number,
            _ => {}
        }
    }
    Ok(())
}

enum Kind<'a> {
    Null,
    Number(u64),
    Bytes(&'a [u8]),
    /// Content of a list or map, and how many values.
    Items(&'a [u8], usize),
}

/// One value (part 1.6) and its length.
struct Value<'a> {
    kind: Kind<'a>,
    len: usize,
}

impl<'a> Value<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let short = || "a value cut short".to_owned();
        let (&code, rest) = bytes.split_first().ok_or_else(short)?;
        let take = |n: usize| rest.get(..n).ok_or_else(short);
        let number =
            |n: usize| Ok::<_, String>(take(n)?.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)));
        let sized = |width: usize| -> Result<(&'a [u8], usize), String> {
            let size = number(width)? as usize;
            Ok((rest.get(width..width + size).ok_or_else(short)?, 1 + width + size))
        };
        let (kind, len) = match code {
            0x40 => (Kind::Null, 1),
            0x41 => (Kind::Number(1), 1),
            0x42..=0x44 => (Kind::Number(0), 1),
            0x45 => (Kind::Items(&[], 0), 1),
            0x50..=0x56 => (Kind::Number(number(1)?), 2),
            0x60 | 0x61 => (Kind::Number(number(2)?), 3),
            0x70..=0x72 => (Kind::Number(number(4)?), 5),
            0x80..=0x83 => (Kind::Number(number(8)?), 9),
            0xa0 | 0xa1 | 0xa3 => sized(1).map(|(bytes, len)| (Kind::Bytes(bytes), len))?,
            0xb0 | 0xb1 | 0xb3 => sized(4).map(|(bytes, len)| (Kind::Bytes(bytes), len))?,
            0xc0 | 0xc1 => {
                sized(1).map(|(bytes, len)| (Kind::Items(&bytes[1..], usize::from(bytes[0])), len))?
            }
            0xd0 | 0xd1 => {
                let (bytes, len) = sized(4)?;
                let count = bytes.get(..4).ok_or_else(short)?;
                let count = u32::from_be_bytes(count.try_into().expect("4 bytes")) as usize;
                (Kind::Items(&bytes[4..], count), len)
            }
            // A described value, as an error in a delivery-annotation: its descriptor and its value.
            0x00 => {
                let descriptor = Self::read(rest)?.len;
                let inner = Self::read(&rest[descriptor..])?.len;
                (Kind::Null, 1 + descriptor + inner)
            }
            other => return Err(format!("a value of unknown type {other:#x}")),
        };
        Ok(Self { kind, len })
    }

    fn items(&self) -> Result<Vec<Value<'a>>, String> {
        let Kind::Items(mut bytes, count) = self.kind else { return Err("expected a list or map".into()) };
        (0..count)
            .map(|_| {
                let value = Value::read(bytes)?;
                bytes = &bytes[value.len..];
                Ok(value)
            })
            .collect()
    }
}
