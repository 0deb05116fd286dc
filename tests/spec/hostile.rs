//! Bytes nobody means well with: cut short, changed at random, nested and sized beyond reason.
//!
//! 2.4.3, 2.5.4, 2.6.5: whatever comes, the answer is to go on, or to close, end or detach in good order; never to panic,
//! to hang, or to hold more than came. `Frame::read` checks every answer with a decoder of its own and with fe2o3's.

use crate::{
    frames::{
        AMQP, Frame, SASL, attach_receiver, attach_sender, begin, continuation, data, detach, error, frame,
        frame_with, new, open, raw_frame, sasl_frame, settle, transfer,
    },
    peer::Peer,
    subject::{Subject, Whole},
    value::{V, fields, symbol},
};

/// Frames of a session that does a little of everything, valid as they stand.
fn conversation() -> Vec<Vec<u8>> {
    let flow = new("flow")
        .with("next-incoming-id", 0_u32)
        .with("incoming-window", 100_u32)
        .with("next-outgoing-id", 0_u32)
        .with("outgoing-window", 100_u32);
    let credit = flow.clone().with("handle", 1_u32).with("delivery-count", 0_u32).with("link-credit", 10_u32);
    let annotated =
        [&[0x00, 0x53, 0x72][..], &fields(&[("x-opt-k", 1_u32.into())]).encode(), &data(b"body")].concat();
    let rejected = new("rejected").with("error", error("a:b").with("info", fields(&[("i", V::Null)])));
    let unsettled = V::Map(vec![(V::Binary(vec![9]), new("accepted").into())]);
    vec![
        frame(
            0,
            &open().with("idle-time-out", 10_000_u32).with("properties", fields(&[("product", "p".into())])),
        ),
        frame(0, &begin()),
        frame(0, &attach_sender("out", 0, "q")),
        frame(0, &attach_receiver("in", 1, "q").with("snd-settle-mode", 2_u8)),
        frame(0, &flow.clone().with("echo", true)),
        frame_with(0, &transfer(0, 0), &annotated),
        frame_with(0, &transfer(0, 1).with("settled", true), &data(b"two")),
        frame_with(0, &transfer(0, 2).with("more", true), b"\x00\x53\x75\xa0"),
        frame_with(0, &continuation(0), b"\x01z"),
        raw_frame(0, 0, &[]),
        frame(0, &credit),
        frame(0, &settle(0, 0, rejected)),
        frame(0, &settle(1, 1, new("modified").with("delivery-failed", true))),
        frame(0, &credit.clone().with("drain", true)),
        frame(3, &begin().with("handle-max", 7_u32)),
        frame(3, &attach_receiver("dynamic", 7, "").with("source", new("source").with("dynamic", true))),
        frame(3, &attach_sender("again", 2, "q").with("unsettled", unsettled)),
        frame(3, &detach(7)),
        frame(3, &new("end")),
        frame(0, &detach(0)),
        frame(0, &new("close")),
    ]
}

fn sasl_conversation() -> Vec<Vec<u8>> {
    let init =
        new("sasl-init").with("mechanism", symbol("PLAIN")).with("initial-response", &b"\0alice\0secret"[..]);
    let mut all = vec![SASL.to_vec(), sasl_frame(&init), AMQP.to_vec()];
    all.extend(conversation());
    all
}

/// Sends each piece when the one before was answered.
fn talk(peer: &mut Peer<Whole>, pieces: &[Vec<u8>]) {
    for piece in pieces {
        peer.send_bytes(piece);
    }
}

/// Reads all answers: headers, then whole frames. After a close there is none.
fn check_answers(peer: &mut Peer<Whole>) -> Vec<Frame> {
    let mut bytes = peer.take_bytes();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        if bytes.starts_with(b"AMQP") {
            bytes.drain(..8);
            continue;
        }
        assert!(frames.last().is_none_or(|last: &Frame| last.name() != "close"), "{bytes:02x?} after close");
        frames.push(Frame::read(&mut bytes).expect("a whole frame"));
    }
    frames
}

/// The connection answers a close, if it has not ended by itself, and then is over.
fn finishes(peer: &mut Peer<Whole>) {
    peer.hang_up();
    check_answers(peer);
    assert!(peer.subject.is_finished());
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }
}

/// The conversation the other tests change is one that works.
#[test]
fn the_conversation_works_as_it_stands() {
    let mut peer = Peer::broker();
    talk(&mut peer, &sasl_conversation());
    let names: Vec<&str> = check_answers(&mut peer).iter().map(Frame::name).collect();
    for expected in
        ["sasl-outcome", "open", "begin", "attach", "flow", "disposition", "transfer", "end", "detach"]
    {
        assert!(names.contains(&expected), "{expected} is not in {names:?}");
    }
    assert_eq!(names.last(), Some(&"close"));
    assert!(peer.subject.is_finished());
}

/// 2.4.3 A connection may end after any octet.
#[test]
fn a_connection_may_break_after_any_octet() {
    let pieces = sasl_conversation();
    for (n, piece) in pieces.iter().enumerate() {
        for end in 0..piece.len() {
            let mut peer = Peer::broker();
            talk(&mut peer, &pieces[..n]);
            peer.send_bytes(&piece[..end]);
            finishes(&mut peer);
        }
    }
}

/// One bit wrong, in any octet.
#[test]
fn any_octet_may_be_wrong() {
    let pieces = sasl_conversation();
    for n in 0..pieces.len() {
        for at in 0..pieces[n].len() {
            let mut changed = pieces.clone();
            changed[n][at] ^= 1 << (at % 8);
            let mut peer = Peer::broker();
            talk(&mut peer, &changed);
            check_answers(&mut peer);
            finishes(&mut peer);
        }
    }
}

fn mutate(rng: &mut Rng, frames: &mut Vec<Vec<u8>>) {
    for _ in 0..=rng.below(3) {
        let which = rng.below(frames.len());
        match rng.below(8) {
            0 => {
                let other = rng.below(frames.len());
                frames.swap(which, other);
            }
            1 => frames.insert(rng.below(which), frames[which].clone()),
            2 => drop(frames.remove(which)),
            3 => {
                // The channel.
                if let Some(octet) = frames[which].get_mut(7) {
                    *octet = rng.below(6) as u8;
                }
            }
            4 => {
                // Shorter or longer than it says, with the size put right.
                let len = 8 + rng.below(frames[which].len().saturating_sub(8));
                frames[which].truncate(len);
                let size = (frames[which].len() as u32).to_be_bytes();
                frames[which][..4].copy_from_slice(&size);
            }
            _ => {
                for _ in 0..=rng.below(4) {
                    let frame = &mut frames[which];
                    // Mostly in the body, now and then in the frame header.
                    let from = if rng.below(10) == 0 { 0 } else { 8.min(frame.len() - 1) };
                    let at = from + rng.below(frame.len() - from);
                    const LIKELY: [u8; 12] =
                        [0x00, 0x40, 0x41, 0x42, 0x43, 0x45, 0x53, 0x70, 0xa0, 0xc0, 0xd0, 0xff];
                    frame[at] = if rng.below(2) == 0 { LIKELY[rng.below(12)] } else { rng.next() as u8 };
                }
            }
        }
        if frames.is_empty() {
            return;
        }
    }
}

/// Whole frames, changed, repeated, left out, in another order: the connection works on, or is closed once. A failure names
/// its seed; `SPEC_SEEDS` is how many to try.
#[test]
fn random_changes_never_do_more_than_close() {
    let seeds = std::env::var("SPEC_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4000_u64);
    for seed in 1..=seeds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut frames = conversation();
        mutate(&mut rng, &mut frames);
        let outcome = std::panic::catch_unwind(|| {
            let mut peer = Peer::broker();
            peer.send_bytes(&AMQP);
            if seed % 3 == 0 {
                peer.send_bytes(&frames.concat())
            } else {
                talk(&mut peer, &frames)
            }
            let answers = check_answers(&mut peer);
            peer.pass_ms(60_000);
            finishes(&mut peer);
            answers.len()
        });
        let answers = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        assert!(answers < 200, "seed {seed}: {answers} answers");
    }
}

fn nested(levels: usize, open: &[u8], inner: &[u8]) -> Vec<u8> {
    [open.repeat(levels), inner.to_vec()].concat()
}

/// Lists of 32 bit size within lists, sized right, so that nothing but the depth is wrong.
fn nested_lists(levels: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(levels * 9 + 1);
    for level in 0..levels {
        out.push(0xd0);
        out.extend((((levels - level) * 9 + 1 - 5) as u32).to_be_bytes());
        out.extend(1_u32.to_be_bytes());
    }
    out.push(0x40);
    out
}

/// 1.6: a value may nest without end; a peer need not follow. It is refused without exhausting the stack.
#[test]
fn nesting_of_ten_thousand_levels_is_refused() {
    let values = [
        ("lists", nested_lists(10_000)),
        ("described descriptors", nested(10_000, &[0x00], &[0x53, 0x01, 0x40])),
        ("described values", nested(10_000, &[0x00, 0x53, 0x01], &[0x40])),
        ("short lists", nested(10_000, &[0xc0, 0xff, 0x01], &[0x40])),
        ("arrays of arrays", nested(10_000, &[0xf0, 0, 0, 0, 9, 0, 0, 0, 1], &[0x40])),
    ];
    for (what, value) in values {
        let places = [
            open().with("properties", V::Map(vec![(symbol("k"), V::Raw(value.clone()))])),
            open().with("container-id", V::Raw(value.clone())),
            V::Raw(value.clone()).into_open(),
        ];
        for body in places {
            let mut peer = Peer::broker();
            peer.send_bytes(&[&AMQP[..], &frame(0, &body)].concat());
            let answers = check_answers(&mut peer);
            assert_eq!(answers.last().expect("an answer").condition(), "amqp:decode-error", "{what}");
        }
    }
}

impl V {
    /// An open whose first field is this, without a container-id.
    fn into_open(self) -> crate::value::Composite {
        crate::value::Composite { code: 0x10, fields: vec!["peer".into(), self] }
    }
}

/// 1.6.22 to 1.6.24: sizes and counts that are not true.
#[test]
fn sizes_and_counts_that_are_not_true_are_refused() {
    let cases: &[(&str, &[u8])] = &[
        ("a map with an odd count", &[0xc1, 4, 3, 0x40, 0x40, 0x40]),
        ("a map of 32 bit with an odd count", &[0xd1, 0, 0, 0, 5, 0, 0, 0, 1, 0x40]),
        ("a list that counts more than it has", &[0xc0, 2, 200, 0x40]),
        ("a list that counts four milliards", &[0xd0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40]),
        ("a list that counts less than it has", &[0xc0, 3, 1, 0x40, 0x40]),
        ("a list larger than the frame", &[0xd0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0x40]),
        ("a list without room for its count", &[0xd0, 0, 0, 0, 2, 0, 0]),
        ("a string larger than the frame", &[0xb1, 0xff, 0xff, 0xff, 0xff, b'x']),
        ("a binary larger than the frame", &[0xb0, 0x7f, 0xff, 0xff, 0xff, b'x']),
        ("a string that is not utf-8", &[0xa1, 2, 0xff, 0xfe]),
        ("a symbol that is not ascii", &[0xa3, 2, 0xc3, 0xa9]),
        ("a character that is none", &[0x73, 0x00, 0x11, 0x00, 0x00]),
        ("a boolean that is neither", &[0x56, 2]),
        ("an array that counts four milliards of nothing", &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40]),
        ("an unknown format code", &[0x3f]),
        ("another", &[0xf5, 0, 0, 0, 0]),
        ("a value cut short", &[0x70, 0, 0]),
    ];
    for (what, value) in cases {
        let properties = V::Map(vec![(symbol("k"), V::Raw(value.to_vec()))]);
        let mut peer = Peer::broker();
        peer.send_bytes(&[&AMQP[..], &frame(0, &open().with("properties", properties))].concat());
        let answers = check_answers(&mut peer);
        let last = answers.last().expect("an answer");
        assert_eq!((last.name(), last.condition()), ("close", "amqp:decode-error"), "{what}: {answers:?}");
    }
}

/// 1.4: a field of another type than the specification's.
#[test]
fn fields_of_the_wrong_type_are_refused() {
    let bodies = [
        begin().with("incoming-window", "text"),
        begin().with("next-outgoing-id", V::Ulong(1)),
        attach_sender("x", 0, "q").with("role", 0_u8),
        attach_sender("x", 0, "q").with("snd-settle-mode", 3_u8),
        attach_sender("x", 0, "q").with("rcv-settle-mode", 2_u8),
        attach_sender("x", 0, "q").with("name", symbol("x")),
        attach_sender("x", 0, "q").with("properties", V::Map(vec![("a string".into(), V::Null)])),
        transfer(0, 0).with("delivery-tag", "text"),
        new("flow").with("incoming-window", V::Bool(true)),
        detach(0).with("error", new("accepted")),
        new("end").with("error", "text"),
    ];
    for body in bodies {
        let mut peer = Peer::broker();
        peer.open();
        peer.send(0, &body);
        let answers = check_answers(&mut peer);
        let last = answers.last().unwrap_or_else(|| panic!("no answer to {body:?}"));
        assert_eq!(last.name(), "close", "{body:?}: {answers:?}");
        assert_ne!(last.condition(), "");
    }
}

/// 1.4 A list that is longer than the type has fields is not of that type. It costs the connection at most.
#[test]
fn more_fields_than_the_type_has_do_no_harm() {
    let mut body = begin();
    body.fields.resize(8, V::Null);
    body.fields.extend([V::Null, V::Uint(7)]);
    let mut peer = Peer::broker();
    peer.open();
    peer.send(0, &body);
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "begin" | "close"), "{answer:?}");
}

/// What a peer makes us remember is bounded by our limits, whatever it sends: here it never reads, and asks for answers.
#[test]
fn a_peer_that_asks_without_end_is_answered_or_closed() {
    let mut peer = Peer::broker();
    peer.open();
    peer.begin(0);
    let echo = frame(0, &peer.flow(0).with("echo", true));
    let mut answered = 0;
    for _ in 0..200 {
        peer.send_bytes(&echo.repeat(500));
        let answers = check_answers(&mut peer);
        answered += answers.len();
        if answers.last().is_some_and(|frame| frame.name() == "close") {
            return;
        }
    }
    assert!(answered > 0);
    peer.usable();
}
