//! What the log says of a connection, word for word.

use super::*;
use crate::container::Ended;

fn told(peer: &Peer, opened: bool, notice: &Notice) -> (Level, String) {
    Who { id: 7, address: ([127, 0, 0, 1], 9).into(), peer, opened }.tell(notice)
}

fn peer(product: &str) -> Peer {
    Peer { container_id: "c".to_owned(), user: "alice".to_owned(), product: product.to_owned() }
}

#[test]
fn product_is_told_where_there_is_one() {
    let (level, text) = told(&peer("proton 0.40"), true, &Notice::Opened);
    assert_eq!(level, Level::INFO);
    assert_eq!(text, "connection 7 opened by \"c\" (proton 0.40) from 127.0.0.1:9 as alice");
    let (_, text) = told(&peer(""), true, &Notice::Opened);
    assert_eq!(text, "connection 7 opened by \"c\" from 127.0.0.1:9 as alice");
}

#[test]
fn nothing_a_peer_says_begins_a_line() {
    let (_, text) = told(&peer("x\n\u{1b}[2J fake"), true, &Notice::Opened);
    assert!(!text.contains(char::is_control), "{text:?}");
    let (_, text) = told(&peer(""), true, &Notice::LinkRefused("l".to_owned(), "no\nline".to_owned()));
    assert_eq!(text, "connection 7: link \"l\" refused: no\\nline");
}

#[test]
fn only_a_connection_that_had_opened_is_missed() {
    let ended = Notice::Ended(Ended { clean: false, error: None, by_peer: false });
    assert_eq!(told(&peer(""), false, &ended).0, Level::DEBUG);
    assert_eq!(told(&peer(""), true, &ended).0, Level::WARN);
}
