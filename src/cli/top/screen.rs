//! The terminal of `top`: the alternate screen, keys as they are pressed, and all as it was afterwards.
//!
//! Invariant: whatever ends the command, the terminal is given back: `Drop` does it. Written with what is in the house
//! (rustix, and the escape sequences every terminal of today knows) for the want of a terminal library's other parts.

use std::io::Write as _;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::{
    io::{AsyncReadExt as _, Stdin},
    signal::unix::{Signal, SignalKind, signal},
};

use super::view::Key;
use crate::cli::Failure;

const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// The terminal while it is ours.
pub(super) struct Screen {
    before: Termios,
    input: Stdin,
    resized: Option<Signal>,
}

impl Screen {
    pub fn open() -> Result<Self, Failure> {
        let cannot = |error: rustix::io::Errno| Failure::new(format!("cannot set up the terminal: {error}"));
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).map_err(cannot)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(cannot)?;
        let screen =
            Self { before, input: tokio::io::stdin(), resized: signal(SignalKind::window_change()).ok() };
        write(OPEN)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub fn size(&self, otherwise: Option<usize>) -> (usize, usize) {
        match tcgetwinsize(std::io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (otherwise.unwrap_or(80), 24),
        }
    }

    /// Shows these lines and nothing else. Drawn over what is there, so that nothing flickers.
    pub fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let lines: Vec<String> = lines.iter().map(|line| format!("{line}\x1b[K")).collect();
        write(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
    }

    /// The keys pressed since the last time; none that means anything, or another size: nothing.
    pub async fn keys(&mut self) -> Result<Vec<Key>, Failure> {
        let mut bytes = [0; 64];
        let resized = async {
            match &mut self.resized {
                Some(resized) => resized.recv().await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            _ = resized => return Ok(Vec::new()),
            read = self.input.read(&mut bytes) => read,
        };
        match read {
            Ok(0) => Ok(vec![Key::Quit]),
            Ok(count) => Ok(keys(bytes.get(..count).unwrap_or_default())),
            Err(error) => Err(Failure::new(format!("cannot read from the terminal: {error}"))),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(CLOSE);
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("cannot write to the terminal: {error}")))
}

/// What a terminal sends for keys; what means nothing is left out. An escape alone is the key of that name.
pub(in crate::cli) fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let key = match (first, behind) {
            (0x1b, [b'[' | b'O', code, behind @ ..]) => {
                rest = behind;
                match code {
                    b'A' => Some(Key::Up),
                    b'B' => Some(Key::Down),
                    b'C' => Some(Key::Right),
                    b'D' => Some(Key::Left),
                    _ => None,
                }
            }
            // Ctrl-C comes as a byte while the terminal is raw.
            (b'q' | b'Q' | 0x03, _) | (0x1b, []) => Some(Key::Quit),
            (b'r', _) => Some(Key::Turn),
            (b'p' | b' ', _) => Some(Key::Pause),
            (b'+', _) => Some(Key::Faster),
            (b'-', _) => Some(Key::Slower),
            _ => None,
        };
        found.extend(key);
    }
    found
}
