//! Requests, good and bad, and what answers look like on the wire.

use super::{
    Connection, DeadLetter, Entities, Filter, Operation, Page, Query, Queue, Replay, Reply, Status, Tree,
    Which, arguments::rfc3339, catalogue, parse,
};
use crate::{
    amqp::codec::{
        self,
        code::{self, descriptor},
        section::{self, PropertyField},
        write::{self, ListWriter},
    },
    broker::{DeathReason, Seq},
    limits,
    time::Millis,
};

/// A message as a requester would write it.
#[derive(Default)]
pub(crate) struct Draft<'a> {
    pub message_id: Option<Tree>,
    pub correlation_id: Option<Tree>,
    pub reply_to: Option<&'a str>,
    pub properties: Vec<(&'a str, Tree)>,
    pub body: Option<Tree>,
}

impl Draft<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut list = ListWriter::new(&mut out, descriptor::PROPERTIES);
        list.option(self.message_id.as_ref(), |out, id| id.encode(out));
        (0..3).for_each(|_| list.null());
        list.option(self.reply_to, write::string);
        list.option(self.correlation_id.as_ref(), |out, id| id.encode(out));
        list.finish();
        let pairs = self.properties.iter().map(|(key, value)| ((*key).to_owned().into(), value.clone()));
        out.extend_from_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor::APPLICATION_PROPERTIES]);
        Tree::Map(pairs.collect()).encode(&mut out);
        if let Some(body) = &self.body {
            out.extend_from_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor::AMQP_VALUE]);
            body.encode(&mut out);
        }
        out
    }
}

/// A draft of an operation.
pub(crate) fn asking<'a>(kind: &str, operation: &str, name: Option<&str>, body: Option<Tree>) -> Draft<'a> {
    let mut properties = vec![("type", kind.into()), ("operation", operation.into())];
    properties.extend(name.map(|name| ("name", name.into())));
    Draft { reply_to: Some("me"), properties, body, ..Draft::default() }
}

fn read(kind: &str, operation: &str, name: Option<&str>, body: Tree) -> Result<Operation, Reply> {
    parse(&asking(kind, operation, name, Some(body)).encode()).expect("a request").operation
}

fn page(from: u64, count: usize) -> Page {
    Page { from: Seq(from), count, filter: Filter::default(), bodies: false }
}

#[test]
fn every_operation_is_understood() {
    let none = || Tree::map([]);
    let q = || Some("orders");
    let queue = |what| Operation::Queue("orders".into(), what);
    let letters = |what| Operation::DeadLetter("orders".into(), Box::new(what));
    let settings = || Tree::map([("settings", Tree::map([("max-ttl", Tree::Null)]))]);
    let pairs = vec![("max-ttl".into(), Tree::Null)];
    let seq = || Tree::map([("sequence", 7_u64.into())]);
    let id = || Tree::map([("message-id", "a".into())]);
    let all = Filter::default;
    let replay = Replay { id: None, filter: all(), dry_run: true, rate: Some(9), limit: None, canary: false };
    let table = [
        ("verdict.queue", "CREATE", q(), settings(), queue(Queue::Create(pairs.clone()))),
        (
            "verdict.queue",
            "CREATE",
            None,
            Tree::map([("name", "orders".into())]),
            queue(Queue::Create(vec![])),
        ),
        ("verdict.queue", "READ", q(), none(), queue(Queue::Read)),
        ("verdict.queue", "UPDATE", q(), settings(), queue(Queue::Update(pairs))),
        ("verdict.queue", "DELETE", q(), none(), queue(Queue::Delete { if_empty: true, if_unused: true })),
        (
            "verdict.queue",
            "DELETE",
            q(),
            Tree::map([("if-empty", false.into())]),
            queue(Queue::Delete { if_empty: false, if_unused: true }),
        ),
        ("verdict.queue", "PURGE", q(), none(), queue(Queue::Purge)),
        (
            "verdict.queue",
            "BREAKER",
            q(),
            Tree::map([("state", "closed".into())]),
            queue(Queue::CloseBreaker),
        ),
        (
            "verdict.queue",
            "BREAKER",
            q(),
            Tree::map([("state", "open".into()), ("for-ms", 5_u64.into())]),
            queue(Queue::OpenBreaker(Some(5))),
        ),
        ("verdict.queue", "MESSAGES", q(), none(), queue(Queue::Messages(Box::new(page(0, 50))))),
        ("verdict.queue", "EXPLAIN", None, seq(), Operation::Explain(None, Which::Sequence(Seq(7)))),
        (
            "verdict.queue",
            "EXPLAIN",
            q(),
            id(),
            Operation::Explain(q().map(Into::into), Which::MessageId("a".into())),
        ),
        (
            "verdict.dead-letter",
            "LIST",
            q(),
            Tree::map([("from", 3_u64.into()), ("count", 1000_u64.into())]),
            letters(DeadLetter::List(page(3, 1000))),
        ),
        ("verdict.dead-letter", "SHOW", q(), seq(), letters(DeadLetter::Show(Which::Sequence(Seq(7))))),
        ("verdict.dead-letter", "CAUSES", q(), none(), letters(DeadLetter::Causes(all()))),
        (
            "verdict.dead-letter",
            "PURGE",
            q(),
            Tree::map([("all", true.into())]),
            letters(DeadLetter::Purge(all())),
        ),
        ("verdict.dead-letter", "EXPORT", q(), none(), letters(DeadLetter::Export(page(0, 50)))),
        (
            "verdict.dead-letter",
            "IMPORT",
            q(),
            Tree::map([("letters", Tree::List(vec![]))]),
            letters(DeadLetter::Import(vec![])),
        ),
        (
            "verdict.dead-letter",
            "REPLAY",
            q(),
            Tree::map([("dry-run", true.into()), ("rate", 9_u64.into())]),
            letters(DeadLetter::Replay(replay)),
        ),
        ("verdict.replay", "READ", Some("r"), none(), Operation::ReadReplay("r".into())),
        ("verdict.replay", "DELETE", Some("r"), none(), Operation::StopReplay("r".into())),
        ("verdict.connection", "READ", Some("7"), none(), Operation::Connection(7, Connection::Read)),
        (
            "verdict.connection",
            "DELETE",
            Some("7"),
            Tree::map([("description", "bye".into())]),
            Operation::Connection(7, Connection::Delete(Some("bye".into()))),
        ),
        ("verdict.broker", "READ", None, none(), Operation::Broker(super::Broker::Read)),
        ("verdict.broker", "RELOAD", Some("self"), none(), Operation::Broker(super::Broker::Reload)),
        ("org.amqp.management", "GET-TYPES", None, none(), Operation::GetTypes(None)),
        (
            "verdict.queue",
            "GET-ATTRIBUTES",
            None,
            none(),
            Operation::GetAttributes(q().map(|_| "verdict.queue".into())),
        ),
        ("org.amqp.management", "GET-OPERATIONS", None, none(), Operation::GetOperations(None)),
        ("org.amqp.management", "GET-MGMT-NODES", None, none(), Operation::GetNodes),
    ];
    for (kind, operation, name, body, expected) in table {
        assert_eq!(read(kind, operation, name, body), Ok(expected), "{kind} {operation}");
    }
}

#[test]
fn every_row_of_the_catalogue_has_its_operation_and_each_of_its_arguments_is_looked_at() {
    for kind in catalogue::TYPES {
        for operation in kind.operations {
            for argument in operation.arguments {
                // Of no type that any argument has.
                let body = Tree::Map(vec![((*argument).into(), Tree::Float(0.5))]);
                let mut draft = asking(kind.name, operation.name, Some("7"), Some(body));
                if (operation.name, *argument) == ("CREATE", "name") {
                    draft.properties.retain(|(key, _)| *key != "name");
                }
                draft.properties.push(("entityType", "verdict.queue".into()));
                let got = parse(&draft.encode()).expect("a request").operation;
                let why = got.expect_err(&format!("{} {} {argument}", kind.name, operation.name));
                assert_eq!(why.status, Status::BadRequest);
                assert!(why.description.starts_with(&format!("{argument} = 0.5: expected ")), "{why:?}");
            }
        }
    }
    let filter = |key: &'static str| Tree::map([("filter", Tree::Map(vec![(key.into(), Tree::Float(0.5))]))]);
    for key in catalogue::FILTER {
        let why = read("verdict.dead-letter", "LIST", Some("q"), filter(key)).expect_err(key);
        assert!(why.description.starts_with(&format!("filter.{key} = 0.5: expected ")), "{why:?}");
    }
}

#[test]
fn wrong_arguments_are_told_with_what_came_and_what_was_expected() {
    let map = |key: &'static str, value: Tree| Tree::map([(key, value)]);
    let (queue, letters) = ("verdict.queue", "verdict.dead-letter");
    let table = [
        (
            queue,
            "DELETE",
            Some("q"),
            map("if-empti", true.into()),
            "unknown argument \"if-empti\": expected if-empty, if-unused",
        ),
        (queue, "PURGE", Some("q"), map("x", true.into()), "unknown argument \"x\": expected no arguments"),
        (queue, "DELETE", Some("q"), map("if-empty", 1_u64.into()), "if-empty = 1: expected true or false"),
        (
            queue,
            "MESSAGES",
            Some("q"),
            map("count", 1001_u64.into()),
            "count = 1001: expected a whole number from 1 to 1000",
        ),
        (
            queue,
            "MESSAGES",
            Some("q"),
            map("count", 0_u64.into()),
            "count = 0: expected a whole number from 1 to 1000",
        ),
        (
            queue,
            "MESSAGES",
            Some("q"),
            map("from", Tree::Signed(-1)),
            "from = -1: expected a whole number, at least 0",
        ),
        (
            queue,
            "READ",
            None,
            Tree::Null,
            "the application property name is missing: expected a queue's name",
        ),
        (queue, "READ", Some(""), Tree::Null, "the application property name has 0 bytes"),
        (queue, "BREAKER", Some("q"), Tree::Null, "state is missing: expected \"closed\" or \"open\""),
        (
            queue,
            "BREAKER",
            Some("q"),
            map("state", "ajar".into()),
            "state = \"ajar\": expected one of \"closed\", \"open\"",
        ),
        (queue, "EXPLAIN", None, Tree::Null, "expected sequence or message-id, got neither"),
        (
            queue,
            "CREATE",
            Some("q"),
            map("settings", 3_u64.into()),
            "settings = 3: expected a map of settings",
        ),
        (letters, "PURGE", Some("q"), Tree::Null, "expected a filter that is not empty, or all = true"),
        (
            letters,
            "LIST",
            Some("q"),
            map("filter", map("reson", "x".into())),
            "unknown argument filter.\"reson\": expected reason, ",
        ),
        (
            letters,
            "LIST",
            Some("q"),
            map("filter", map("since", "yesterday".into())),
            "filter.since = \"yesterday\": expected a time",
        ),
        (letters, "IMPORT", Some("q"), Tree::Null, "letters is missing"),
        (
            letters,
            "IMPORT",
            Some("q"),
            map("letters", Tree::list([map("id", "x".into())])),
            "letters.message is missing: expected a binary",
        ),
        (
            "verdict.nothing",
            "READ",
            Some("q"),
            Tree::Null,
            "type = \"verdict.nothing\": expected one of org.amqp.management, ",
        ),
        (
            "org.amqp.management",
            "QUERY",
            None,
            Tree::Null,
            "the application property entityType missing: expected one of verdict.queue, ",
        ),
        (
            "verdict.dead-letter",
            "QUERY",
            None,
            Tree::Null,
            "the application property entityType = \"verdict.dead-letter\": expected one of",
        ),
        ("verdict.connection", "QUERY", None, map("queue", "*".into()), "queue: expected only with"),
        (
            "verdict.queue",
            "QUERY",
            None,
            map("attributeNames", Tree::list(["name", "size"])),
            "attributeNames has \"size\": verdict.queue has name, ",
        ),
        (
            "verdict.queue",
            "QUERY",
            None,
            map("attributeNames", Tree::list(["name", "name"])),
            "attributeNames has \"name\" twice",
        ),
    ];
    for (kind, operation, name, body, expected) in table {
        let why = read(kind, operation, name, body).expect_err(expected);
        assert_eq!(why.status, Status::BadRequest, "{expected}");
        assert!(why.description.starts_with(expected), "{:?}, expected {expected:?}", why.description);
    }
    let status = |kind, operation, name| read(kind, operation, name, Tree::Null).map_err(|why| why.status);
    assert_eq!(status("verdict.queue", "DANCE", Some("q")), Err(Status::NotImplemented));
    assert_eq!(status("verdict.consumer", "READ", Some("q")), Err(Status::NotImplemented));
    assert_eq!(status("verdict.connection", "READ", Some("seven")), Err(Status::NotFound));
    assert_eq!(status("verdict.broker", "READ", Some("other")), Err(Status::NotFound));
}

#[test]
fn a_filter_is_read_whole() {
    let filter = Tree::map([
        ("reason", Tree::Symbol("max-attempts".into())),
        ("condition", "app:*".into()),
        ("description", "*timeout*".into()),
        ("since", Millis(5).into()),
        ("until", "1970-01-01T00:00:01Z".into()),
        ("min-attempts", 2_u64.into()),
        ("max-attempts", 3_u64.into()),
        ("consumer", "a/*".into()),
        ("text", "x".into()),
        ("cause", "c".into()),
        ("sequences", Tree::list([4_u64, 6])),
        ("origin", "orders".into()),
    ]);
    let asked = read("verdict.dead-letter", "CAUSES", Some("q"), Tree::map([("filter", filter)]));
    let Ok(Operation::DeadLetter(_, what)) = asked else { panic!("{asked:?}") };
    let expected = Filter {
        reason: Some(DeathReason::MaxAttempts),
        condition: Some("app:*".into()),
        description: Some("*timeout*".into()),
        since: Some(Millis(5)),
        until: Some(Millis(1000)),
        min_attempts: Some(2),
        max_attempts: Some(3),
        consumer: Some("a/*".into()),
        text: Some("x".into()),
        cause: Some("c".into()),
        sequences: Some(vec![Seq(4), Seq(6)]),
        origin: Some("orders".into()),
    };
    assert_eq!(*what, DeadLetter::Causes(expected));
}

#[test]
fn a_query_takes_names_offset_and_count_as_the_draft_and_as_its_client_write_them() {
    for (key, kind) in [("attributeNames", "org.amqp.management"), ("attribute_names", "verdict.queue")] {
        let body =
            Tree::Map(vec![(key.into(), Tree::list(["ready", "name"])), ("queue".into(), "a*".into())]);
        let mut draft = asking(kind, "QUERY", None, Some(body));
        draft.properties.push(("entityType", "verdict.queue".into()));
        draft.properties.push(("offset", 3_u64.into()));
        draft.properties.push(("count", 5000_u64.into()));
        let Ok(Operation::Query(query)) = parse(&draft.encode()).unwrap().operation else {
            panic!("no query")
        };
        let Query { entities, attributes, queue, offset, count } = query;
        assert_eq!((entities, attributes), (Entities::Queues, vec!["ready", "name"]));
        assert!(queue.is_some_and(|pattern| pattern.matches("ab") && !pattern.matches("b")));
        assert_eq!((offset, count), (3, usize::try_from(limits::MANAGEMENT_PAGE).unwrap()));
    }
    let Ok(Operation::Query(query)) = read("verdict.consumer", "QUERY", None, Tree::Null) else { panic!() };
    assert_eq!(query.attributes.len(), 12);
}

#[test]
fn what_is_no_request_says_so() {
    let why = |draft: Draft| parse(&draft.encode()).expect_err("no request");
    let operation = || vec![("operation", Tree::from("READ"))];
    assert!(why(Draft::default()).contains("the application property operation is missing"));
    let body = |body: Tree| Draft { properties: operation(), body: Some(body), ..Draft::default() };
    assert!(why(body("text".into())).contains("its body is \"text\", expected an amqp-value with a map"));
    let numbers = Tree::Encoded([code::MAP8, 3, 2, code::ULONG0, code::ULONG0].into());
    assert!(why(body(numbers)).contains("a map with keys that are not strings"));
    let mut data = Draft { properties: operation(), ..Draft::default() }.encode();
    data.extend_from_slice(&[0, 0x53, 0x75, 0xa0, 3, b'a', b'b', b'c']);
    assert!(parse(&data).unwrap_err().contains("its body is data"));
    let long = "x".repeat(limits::MAX_NAME + 1);
    assert!(why(Draft { reply_to: Some(&long), ..Draft::default() }).contains("a reply-to of at most"));
    let id = Some(Tree::from(long));
    assert!(why(Draft { message_id: id, ..Draft::default() }).contains("message-id or correlation-id"));
    assert!(parse(b"\x00\x53").is_err());
}

#[test]
fn an_answer_carries_the_requests_id_whatever_its_type_and_says_how_it_went() {
    let uuid = Tree::Encoded([&[code::UUID][..], &[7; 16]].concat().into());
    let ids = [Tree::Unsigned(700), "m-1".into(), Tree::Binary([1, 2].into()), uuid];
    for id in ids {
        let draft = Draft { message_id: Some(id.clone()), ..asking("verdict.broker", "READ", None, None) };
        let request = parse(&draft.encode()).unwrap();
        assert_eq!(request.envelope.reply_to.as_deref(), Some("me"));
        let answer = request.envelope.answer("me", &Reply::conflict("not now"));
        let sections = section::walk(&answer).unwrap();
        let properties = &answer[sections.properties.unwrap()];
        let mut expected = Vec::new();
        id.encode(&mut expected);
        assert_eq!(section::property(properties, PropertyField::CorrelationId), Some(&expected[..]));
        assert_eq!(section::property_to(properties), Some("me"));
        let said: Vec<_> = section::map_pairs(&answer[sections.application_properties.unwrap()])
            .unwrap()
            .map(|(key, value)| (codec::decode_value(key).unwrap(), codec::decode_value(value).unwrap()))
            .map(|(key, value)| (format!("{key:?}"), value))
            .collect();
        assert_eq!(said[0], ("String(\"statusCode\")".into(), serde_amqp::Value::Int(409)));
        assert_eq!(said[1].1, serde_amqp::Value::String("not now".into()));
        let condition = serde_amqp::primitives::Symbol::from("amqp:precondition-failed");
        assert_eq!(said[2].1, serde_amqp::Value::Symbol(condition));
        assert!(codec::decode_value(&answer[sections.body.unwrap().1]).is_ok());
    }
    let both = Draft {
        message_id: Some("m".into()),
        correlation_id: Some("c".into()),
        ..asking("verdict.broker", "READ", None, None)
    };
    let answer = parse(&both.encode()).unwrap().envelope.answer("", &Reply::done());
    let properties = section::walk(&answer).unwrap().properties.unwrap();
    assert_eq!(section::property_str(&answer[properties], PropertyField::CorrelationId), Some("c"));
}

#[test]
fn trees_are_well_formed_on_the_wire_and_come_back() {
    let tree = Tree::map([
        ("null", Tree::Null),
        ("bool", true.into()),
        (
            "numbers",
            Tree::List(vec![0_u64.into(), 300_u64.into(), (-5_i64).into(), i64::MIN.into(), 1.5.into()]),
        ),
        ("text", "ä".repeat(300).into()),
        ("symbol", Tree::Symbol("amqp:x".into())),
        ("time", Millis(9).into()),
        ("binary", Tree::Binary([0, 255].into())),
        ("empty", Tree::List(vec![])),
        ("map", Tree::map([])),
    ]);
    let mut bytes = Vec::new();
    tree.encode(&mut bytes);
    assert_eq!(Tree::from_value(codec::decode_value(&bytes).unwrap()), Ok(tree));
}

#[test]
fn times_are_read_as_rfc_3339_writes_them() {
    let table = [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2026-11-24T12:34:56.789Z", Some(1_795_523_696_789)),
        ("2024-02-29t00:00:00.1z", Some(1_709_164_800_100)),
        ("2026-11-24T12:34:56+01:30", Some(1_795_518_296_000)),
        ("2026-11-24 12:34:56-00:00", Some(1_795_523_696_000)),
        ("2023-02-29T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-11-24T24:00:00Z", None),
        ("2026-11-24", None),
        ("2026-11-24T12:34:56", None),
        ("1969-12-31T23:59:59Z", None),
        ("2026-11-24T12:34:56.Z", None),
        ("2026-11-24T12:34:56.äZ", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(rfc3339(text), expected.map(Millis), "{text}");
    }
}
