//! Messages back from the journal, by location.
//!
//! Invariant: what is returned is what was written: every put's own checksum is verified. Neighbours are
//! read together, so that a backlog is read at the disk's speed and not one message at a time.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::{StoreError, record};
use super::segments::Segments;
use crate::broker::{Location, Message};

/// Bytes between two puts worth reading over (a frame's header, some settlements).
const GAP_BYTES: u64 = 4096;
/// Most bytes read at once, unless one message is larger.
const RUN_BYTES: u64 = 1024 * 1024;

/// Reads messages; the results are in the order of the locations.
pub(crate) fn read(segments: &Segments, locations: &[Location]) -> Vec<Result<Arc<Message>, StoreError>> {
    let mut results = Vec::with_capacity(locations.len());
    let mut buffer = Vec::new();
    let mut rest = locations;
    while let Some(first) = rest.first() {
        let (count, end) = run(rest);
        let (now, later) = rest.split_at(count);
        rest = later;
        let start = u64::from(first.offset);
        buffer.clear();
        buffer.resize((end - start) as usize, 0);
        let read = segments.file(first.segment).and_then(|file| {
            file.read_exact_at(&mut buffer, start).map_err(|error| {
                let at = format!("segment {} at {start}", first.segment);
                match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        StoreError::Corrupt(format!("{at}: the file ends within a message").into())
                    }
                    _ => StoreError::Failed(format!("read {at}: {error}").into()),
                }
            })
        });
        for location in now {
            results.push(match &read {
                Ok(()) => {
                    let from = (u64::from(location.offset) - start) as usize;
                    decode(buffer.get(from..from + location.len as usize).unwrap_or_default(), *location)
                }
                Err(error) if now.len() == 1 => Err(error.clone()),
                // One bad location must not fail its neighbours.
                Err(_) => read_one(segments, *location),
            });
        }
    }
    results
}

fn read_one(segments: &Segments, location: Location) -> Result<Arc<Message>, StoreError> {
    read(segments, &[location]).pop().unwrap_or_else(|| Err(StoreError::Corrupt("nothing was read".into())))
}

/// How many of the first locations to read at once, and where that ends.
fn run(locations: &[Location]) -> (usize, u64) {
    let Some(first) = locations.first() else { return (0, 0) };
    let start = u64::from(first.offset);
    let mut end = start + u64::from(first.len);
    let mut count = 1;
    for next in locations.iter().skip(1) {
        let from = u64::from(next.offset);
        let to = from + u64::from(next.len);
        let near = next.segment == first.segment && from >= end && from - end <= GAP_BYTES;
        if !near || to - start > RUN_BYTES {
            break;
        }
        (count, end) = (count + 1, to);
    }
    (count, end)
}

fn decode(bytes: &[u8], location: Location) -> Result<Arc<Message>, StoreError> {
    let corrupt = |why: String| {
        let Location { segment, offset, .. } = location;
        StoreError::Corrupt(format!("segment {segment} at {offset}: {why}").into())
    };
    let mut rest = bytes;
    let put = record::decode_put(&mut rest, true).map_err(|error| corrupt(error.to_string()))?;
    if !rest.is_empty() {
        return Err(corrupt(format!(
            "a put of {} bytes, expected {}",
            bytes.len() - rest.len(),
            location.len
        )));
    }
    Ok(Arc::new(put.to_message()))
}
