//! The bytes to be written.
//!
//! Invariant: no frame in it is larger than the peer takes; while `holding`, frames gather aside and nothing but
//! headers, SASL and `open` goes out. An empty buffer keeps little memory, and none once trimmed.

use fe2o3_amqp_types::definitions::Error;

use crate::amqp::{
    codec::{FrameKind, frame_end, frame_start},
    error::ProtocolError,
};

/// Capacity kept while empty.
const KEPT_BYTES: usize = 64 * 1024;

/// Most bytes of answers kept for a peer that does not read.
pub(crate) const MAX_UNREAD_BYTES: usize = 4 * 1024 * 1024;

/// Output buffer.
#[derive(Debug)]
pub(crate) struct Out {
    buf: Vec<u8>,
    /// Bytes of `buf` that were written.
    written: usize,
    held: Vec<u8>,
    holding: bool,
    /// Bytes of frames other than transfers among what waits to be written, at most.
    control: usize,
    /// Largest frame the peer takes.
    pub max_frame: u32,
}

impl Out {
    pub fn new() -> Self {
        Self { buf: Vec::new(), written: 0, held: Vec::new(), holding: true, control: 0, max_frame: u32::MAX }
    }

    /// What is to be written.
    pub fn pending(&self) -> &[u8] {
        self.buf.get(self.written..).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.written >= self.buf.len()
    }

    /// `n` bytes were written.
    pub fn consume(&mut self, n: usize) {
        self.written = self.written.saturating_add(n).min(self.buf.len());
        if self.written == self.buf.len() {
            self.buf.clear();
            self.written = 0;
            self.buf.shrink_to(KEPT_BYTES);
        } else if self.written > KEPT_BYTES && self.written > self.buf.len() / 2 {
            // A peer that reads slowly but steadily: what it has read must not pile up in front.
            self.buf.drain(..self.written);
            self.written = 0;
        }
        self.control = self.control.min(self.buf.len() - self.written);
    }

    /// What is left will never be written.
    pub fn discard(&mut self) {
        self.buf = Vec::new();
        self.written = 0;
        self.control = 0;
    }

    /// The peer makes us answer and does not read the answers.
    pub fn is_unread(&self) -> bool {
        self.control > MAX_UNREAD_BYTES
    }

    /// Gives memory back while nothing happens.
    pub fn trim(&mut self) {
        if self.is_empty() {
            self.buf = Vec::new();
            self.written = 0;
        }
    }

    /// Frames may go out from now on, first those held back.
    pub fn release(&mut self) {
        if self.holding {
            self.holding = false;
            let held = std::mem::take(&mut self.held);
            self.buf.extend_from_slice(&held);
        }
    }

    /// Frames held back will never go out.
    pub fn drop_held(&mut self) {
        self.held = Vec::new();
    }

    /// Bytes outside the order of frames: headers, SASL, open.
    pub fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Where frames go now.
    pub fn frames(&mut self) -> &mut Vec<u8> {
        if self.holding { &mut self.held } else { &mut self.buf }
    }

    /// Where transfers go, once frames go out at all, and up to what length, so that
    /// `high_water` bytes wait to be written at most.
    pub fn transfers(&mut self, high_water: usize) -> Option<(&mut Vec<u8>, usize)> {
        if self.holding {
            return None;
        }
        let until = self.written.saturating_add(high_water);
        Some((&mut self.buf, until))
    }

    /// Appends a frame, or nothing where it would not fit.
    pub fn frame(
        &mut self,
        channel: u16,
        what: &'static str,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ProtocolError> {
        let max = self.max_frame;
        let out = self.frames();
        let start = frame_start(out, FrameKind::Amqp, channel);
        encode(out);
        let got = out.len() - start;
        if got > max as usize {
            out.truncate(start);
            return Err(ProtocolError::FrameTooSmall { what, got, max });
        }
        frame_end(out, start);
        self.control = self.control.saturating_add(got);
        Ok(())
    }

    /// Appends a frame with an error in it, with as much of the error as fits.
    pub fn frame_with_error(
        &mut self,
        channel: u16,
        what: &'static str,
        error: Option<Error>,
        encode: impl Fn(Option<Error>, &mut Vec<u8>),
    ) {
        let bare = error.as_ref().map(|error| Error::new(error.condition.clone(), None, None));
        let brief = error.as_ref().map(|error| Error { info: None, ..error.clone() });
        for error in [error, brief, bare, None] {
            if self.frame(channel, what, |out| encode(error, out)).is_ok() {
                return;
            }
        }
    }
}
