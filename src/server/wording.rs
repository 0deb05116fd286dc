//! What the log says of a connection or of a queue's breaker, one line for a person.
//!
//! Invariant: what comes from the peer cannot begin a new line or move a terminal's cursor. Decides level and
//! words only.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use tracing::{Level, info, warn};

use crate::{
    broker::BreakerState,
    container::{Notice, Peer},
    time::Millis,
};

/// The connection a line is about.
pub struct Who<'a> {
    /// Its number.
    pub id: u32,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Who it says it is.
    pub peer: &'a Peer,
    /// Whether its open came.
    pub opened: bool,
}

impl Who<'_> {
    /// How important a notice is, and the notice in words.
    pub fn tell(&self, notice: &Notice) -> (Level, String) {
        let Self { id, address, peer, opened } = self;
        let (level, text) = match notice {
            Notice::Opened => {
                let product =
                    if peer.product.is_empty() { String::new() } else { format!(" ({})", peer.product) };
                let text = format!(
                    "connection {id} opened by {:?}{product} from {address} as {}",
                    peer.container_id, peer.user
                );
                (Level::INFO, text)
            }
            Notice::Refused(why) => (Level::WARN, format!("connection {id} from {address} refused: {why}")),
            Notice::LinkRefused(link, why) => {
                (Level::WARN, format!("connection {id}: link {link:?} refused: {why}"))
            }
            Notice::Ended(ended) => match (ended.clean, &ended.error) {
                (true, None) => (Level::INFO, format!("connection {id} closed")),
                (_, Some(error)) if ended.by_peer => {
                    (Level::WARN, format!("connection {id} closed by its client with {error}"))
                }
                (_, Some(error)) => (Level::WARN, format!("connection {id} closed: {error}")),
                // Nothing was said on it: a port check, or a load balancer's probe.
                (false, None) if !opened => {
                    (Level::DEBUG, format!("connection {id} from {address} ended before its open"))
                }
                (false, None) => {
                    let text = format!(
                        "connection {id} of {:?} from {address} broke off: it was not closed by its client",
                        peer.container_id
                    );
                    (Level::WARN, text)
                }
            },
        };
        (level, one_line(text))
    }
}

fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// One line for a change of a queue's breaker.
pub fn tell_breaker(name: &str, state: BreakerState, now: Millis) {
    match state {
        BreakerState::Closed => info!("queue {name:?}: breaker closed, delivery goes on as usual"),
        BreakerState::Open { until } => {
            let ms = until.since_ms(now);
            warn!("queue {name:?}: breaker open: too much fails, nothing is delivered for {ms} ms");
        }
        BreakerState::HalfOpen { .. } => info!("queue {name:?}: breaker half-open, probing"),
    }
}
