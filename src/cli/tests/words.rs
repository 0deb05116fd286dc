//! Tests of what the management commands are made of: times, numbers, tables, settings, keys, confirmation.

use fe2o3_amqp_types::primitives::{Binary, Timestamp, Value};
use serde_json::json;

use crate::cli::{
    confirm::decide,
    human, json, moment,
    moment::When,
    out::Out,
    queue::{assignment, nested},
    story,
    table::{self, Table},
    top::{Key, keys},
};

#[test]
fn spans_have_two_units() {
    let table = [
        (0, "0ms"),
        (250, "250ms"),
        (1000, "1s"),
        (59_999, "59s"),
        (192_000, "3m12s"),
        (180_000, "3m"),
        (7_265_000, "2h1m"),
        (90_000_000, "1d1h"),
        (86_400_000 + 59_000, "1d"),
    ];
    for (ms, expected) in table {
        assert_eq!(human::span(ms), expected, "{ms}");
    }
}

#[test]
fn sizes_have_one_decimal_and_never_1024_of_a_unit() {
    let table = [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_288_490_189, "1.2 GiB"),
        (1_048_575, "1.0 MiB"),
        (u64::MAX, "16384.0 PiB"),
    ];
    for (bytes, expected) in table {
        assert_eq!(human::size(bytes), expected, "{bytes}");
    }
}

#[test]
fn texts_are_cut_by_columns_not_characters() {
    assert_eq!(human::cut("abcdef", 6), "abcdef");
    assert_eq!(human::cut("abcdef", 5), "abcd…");
    assert_eq!(human::cut("日本語", 5), "日本…");
    assert_eq!(human::cut("日本語", 4), "日…");
}

#[test]
fn nothing_from_a_peer_moves_the_cursor() {
    assert_eq!(human::one_line("a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
    assert_eq!(human::lines("a\r\nb\u{202e}"), "a\\r\nb\\u{202e}");
}

#[test]
fn times_are_written_and_read_back() {
    for ms in [0, 951_782_400_000, 1_795_500_827_123, 4_102_444_799_999] {
        assert_eq!(moment::parse(&moment::rfc3339(ms)), u64::try_from(ms).ok(), "{ms}");
    }
    assert_eq!(moment::rfc3339(1_795_500_827_123), "2026-11-24T06:13:47.123Z");
    assert_eq!(moment::rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
    assert_eq!(moment::rfc3339(-1), "1969-12-31T23:59:59.999Z");
    assert_eq!(moment::readable(0), "1970-01-01 00:00:00.000Z");
}

#[test]
fn times_come_in_every_form_of_the_rfc() {
    let table = [
        ("2026-11-24T06:13:47.123Z", Some(1_795_500_827_123)),
        ("2026-11-24t06:13:47z", Some(1_795_500_827_000)),
        ("2026-11-24 07:13:47.1239+01:00", Some(1_795_500_827_123)),
        ("2026-11-24T00:13:47-06:00", Some(1_795_500_827_000)),
        ("2026-11-24", Some(1_795_478_400_000)),
        ("2026-02-29", None),
        ("2026-13-01", None),
        ("2026-11-24T06:13:47", None),
        ("2026-11-24T24:00:00Z", None),
        ("2026-11-24T06:13:47.Z", None),
        ("2026-11-24T06:13:47.1é3Z", None),
        ("26-11-24", None),
        ("soon", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(moment::parse(text), expected, "{text}");
    }
}

#[test]
fn since_is_how_long_ago_or_when() {
    assert_eq!(moment::when("2h"), Ok(When::Ago(7_200_000)));
    assert_eq!(moment::when("2026-11-24"), Ok(When::At(1_795_478_400_000)));
    assert_eq!(When::Ago(7_200_000).ms(7_200_001), 1);
    assert_eq!(When::Ago(10).ms(1), 0);
    assert!(moment::when("yesterday").is_err());
}

fn people() -> Table {
    let mut table = Table::new(&[table::right("n"), table::left("name"), table::text("says")]);
    table.row(["7".to_owned(), "Ann".to_owned(), "a\nb".to_owned()]);
    table.row(["12".to_owned(), "Bartholomew".to_owned(), "a long and winding story".to_owned()]);
    table
}

#[test]
fn tables_are_aligned_and_whole_where_there_is_no_terminal() {
    let expected =
        [" N  NAME         SAYS", " 7  Ann          a\\nb", "12  Bartholomew  a long and winding story"];
    assert_eq!(people().render(None), expected);
}

#[test]
fn tables_cut_text_and_only_text_to_the_terminal() {
    let expected = [" N  NAME         SAYS", " 7  Ann          a\\nb", "12  Bartholomew  a long an…"];
    assert_eq!(people().render(Some(27)), expected);
    // There is a point where it wraps instead.
    assert!(people().render(Some(5)).iter().any(|line| line.ends_with("Bartholomew  a long …")));
}

#[test]
fn values_become_json_and_back() {
    let value = Value::Map(json::map(
        [
            ("time", Value::Timestamp(Timestamp::from_milliseconds(1_795_500_827_123))),
            ("body", Value::Binary(Binary::from(vec![0xff, 0]))),
            ("id", Value::Uuid([0x12; 16].into())),
        ]
        .into_iter(),
    ));
    let expected = json!({
        "time": "2026-11-24T06:13:47.123Z", "body": "/wA=", "id": "12121212-1212-1212-1212-121212121212",
    });
    assert_eq!(json::from_amqp(&value), expected);
    assert_eq!(json::binary("/wA="), Some(vec![0xff, 0]));
    for own in [json!(null), json!(true), json!(1), json!(-1), json!(0.5), json!("a"), json!([1, {"a": "b"}])]
    {
        assert_eq!(json::from_amqp(&json::to_amqp(&own)), own);
    }
    assert_eq!(json::to_amqp(&json!(7)), Value::Ulong(7));
}

#[test]
fn settings_are_what_the_configuration_would_take() {
    let set = |text: &str| assignment(text).map(|(_, value)| value);
    let table = [
        ("a=3", json!(3)),
        ("a=0.5", json!(0.5)),
        ("a=true", json!(true)),
        ("a=10s", json!("10s")),
        ("a=\"10s\"", json!("10s")),
        ("a=1GiB", json!("1GiB")),
        ("a=none", json!("none")),
        ("a=", json!("")),
        ("a=x=y", json!("x=y")),
        ("a=inf", json!("inf")),
        ("a=2026-11-24", json!("2026-11-24")),
        ("a=1\nb = 2", json!("1\nb = 2")),
        ("a=[{ name = \"n\", attempt = \"1-3\" }]", json!([{ "name": "n", "attempt": "1-3" }])),
        ("a={ first = \"1s\", max = \"1h\" }", json!({ "first": "1s", "max": "1h" })),
    ];
    for (text, expected) in table {
        assert_eq!(set(text), Ok(expected), "{text}");
    }
    for wrong in ["a", "=1", "a..b=1", ".a=1"] {
        assert!(set(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn settings_nest_and_contradict_each_other_not() {
    let set = |all: &[&str]| all.iter().map(|text| assignment(text).unwrap()).collect::<Vec<_>>();
    let settings = nested(set(&["r.initial=1s", "r.max=1h", "n=3"]), &["m".to_owned()]).unwrap();
    assert_eq!(settings, json!({ "r": { "initial": "1s", "max": "1h" }, "n": 3, "m": null }));
    for wrong in [&["n=1", "n=2"], &["r=1s", "r.max=1h"]] {
        let failure = nested(set(wrong), &[]).unwrap_err();
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(2), "{}", failure.message());
    }
}

#[tokio::test]
async fn what_is_lost_for_good_is_confirmed() {
    let typed = |answer: &str| Some(std::future::ready(Ok(answer.to_owned())));
    let nobody = typed("").filter(|_| false);
    assert_eq!(decide("remove it", "orders", true, nobody).await, Ok(()));
    assert_eq!(decide("remove it", "orders", false, typed("orders\n")).await, Ok(()));
    for answer in ["y\n", "order\n", "", "ORDERS\n"] {
        let refused = decide("remove it", "orders", false, typed(answer)).await.unwrap_err();
        assert_eq!(refused.message(), "not confirmed; nothing was done", "{answer:?}");
    }
    let script = decide("remove it", "orders", false, typed("").filter(|_| false)).await.unwrap_err();
    assert_eq!(script.message(), "this would remove it, for good; nothing was done");
    assert_eq!(script.exit_code(), std::process::ExitCode::from(2));
}

#[test]
fn keys_of_a_terminal() {
    assert_eq!(keys(b"\x1b[C\x1bOA+"), [Key::Right, Key::Up, Key::Faster]);
    assert_eq!(keys(b"zz\x1b[Zp"), [Key::Pause]);
    assert_eq!(keys(b"\x03"), [Key::Quit]);
    assert_eq!(keys(b"\x1b"), [Key::Quit]);
    assert!(keys(b"").is_empty());
}

/// An amqp-value, or a data section.
fn body_of(section: &[u8]) -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let message = json!({ "sequence": 1, "queue": "q", "body": STANDARD.encode(section) });
    let mut lines = story::lines(&message, &Out::kept(false, None, 0), 20);
    lines.remove(0);
    lines
}

#[test]
fn bodies_are_text_or_a_dump_and_bounded() {
    assert_eq!(body_of(b"\x00\x53\x75\xa0\x02hi"), ["body (data, 2 B)", "  hi"]);
    assert_eq!(body_of(b"\x00\x53\x77\xa1\x03a\nb"), ["body (amqp-value, 3 B)", "  a", "  b"]);
    assert_eq!(body_of(b"\x00\x53\x77\x54\x07"), ["body (amqp-value, 1 B)", "  7"]);
    assert_eq!(body_of(b"\x00\x53\x75\xa0\x01h\x00\x53\x75\xa0\x01i"), ["body (data, 2 B)", "  hi"]);
    let binary = body_of(b"\x00\x53\x75\xa0\x02\xffA");
    assert_eq!(binary, ["body (data, 2 B)", &format!("  00000000  {:<48} .A", "ff 41")]);
    let long = body_of(b"\x00\x53\x75\xa0\x18aaaaaaaaaaaaaaaaaaaaaaaa");
    let more = "  … 4 B more; --whole shows all, --json has it in base64";
    assert_eq!(long, ["body (data, 24 B)", "  aaaaaaaaaaaaaaaaaaaa", more]);
    assert_eq!(body_of(b""), ["body: none"]);
    let broken = body_of(b"\x00\x53\x75\xa0\x09hi");
    assert_eq!(broken.first().map(String::as_str), Some("body (of a message that cannot be decoded, 7 B)"));
}
