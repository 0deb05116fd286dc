//! JMS 2.0, section 3.8.1, rule by rule.

use std::borrow::Cow;

use proptest::prelude::*;

use super::{Fields, Identifier, Selector, SelectorError, Value};
use crate::limits;

/// A message: colour is 'red', its weight 2500, its price 9.5; it is urgent, and nobody knows its age.
struct Parcel;

impl Fields for Parcel {
    fn get(&self, identifier: &Identifier) -> Value<'_> {
        let text = |text| Value::Text(Cow::Borrowed(text));
        match &*identifier.name {
            "colour" | "$c_1" | "Grün" | "a.b" | "x-opt-dl-reason" | "m.x-last-death-queue" => text("red"),
            "country" => text("UK"),
            "quote" => text("it's"),
            "digits" => text("7"),
            "weight" | "x" => Value::Int(2500),
            "two" | "x-first-death-no" => Value::Int(2),
            "large" => Value::Int(u64::MAX.into()),
            "price" => Value::Float(9.5),
            "single" => Value::Float(0.1f32.into()),
            "nan" => Value::Float(f64::NAN),
            "urgent" => Value::Bool(true),
            "sold" => Value::Bool(false),
            "a b-c" | "AND" => Value::Int(1),
            _ => Value::Null,
        }
    }
}

fn parse(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn selects(text: &str) -> bool {
    parse(text).matches(&Parcel)
}

/// True, false or unknown: what is selected, what is when negated, and what neither way.
fn truth(text: &str) -> Option<bool> {
    match (selects(text), selects(&format!("NOT ({text})"))) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
        (true, true) => panic!("{text} is true and false"),
    }
}

fn refused(text: &str) -> SelectorError {
    match Selector::parse(text) {
        Err(error) => error,
        Ok(selector) => panic!("{text:?} was taken: {selector:?}"),
    }
}

fn all(expected: Option<bool>, texts: &[&str]) {
    for text in texts {
        assert_eq!(truth(text), expected, "{text}");
    }
}

const TRUE: Option<bool> = Some(true);
const FALSE: Option<bool> = Some(false);
const UNKNOWN: Option<bool> = None;

#[test]
fn a_text_literal_is_in_single_quotes_and_a_doubled_quote_stands_for_one() {
    all(TRUE, &["colour = 'red'", "quote = 'it''s'", "'' = ''", "'''' <> ''", "'ä' = 'ä'"]);
    all(FALSE, &["colour = 'Red'", "colour = ' red'", "colour = 'red '"]);
    assert!(refused("colour = 'red").to_string().contains("at character 10"));
}

#[test]
fn exact_numbers_are_decimal_hexadecimal_or_octal_and_may_end_in_l() {
    all(TRUE, &["weight = 2500", "weight = +2500", "-weight = -2500", "two = 2L", "two = 2l", "62 = 62"]);
    all(TRUE, &["0x10 = 16", "0XfFL = 255", "010 = 8", "0 = 00", "-0x8000000000000000 < 0"]);
    all(TRUE, &["large = 18446744073709551615", "large > 9223372036854775807"]);
    for wrong in ["a = 18446744073709551616", "a = 08", "a = 0x", "a = 0xg", "a = 12abc", "a = 1_000"] {
        assert_eq!(
            refused(wrong).at,
            if wrong == "a = 12abc" {
                7
            } else if wrong == "a = 1_000" {
                6
            } else {
                5
            }
        );
    }
}

#[test]
fn approximate_numbers_have_a_point_an_exponent_or_a_suffix() {
    all(TRUE, &["price = 9.5", "7. = 7", ".5 = 0.5", "7E3 = 7000", "-57.9E2 = -5790", "7.e+2 = 700"]);
    all(TRUE, &["1f = 1", "1.5F = 1.5", "2d = 2", "1e1D = 10", "95e-1 = price", "00.5 = .5"]);
    // 0.1 as a float is another number than as a double.
    all(TRUE, &["single = 0.1f", "single <> 0.1"]);
    refused("a = 1e999");
    refused("a = 1e");
}

#[test]
fn keywords_have_no_case_and_identifiers_do() {
    all(TRUE, &["urgent = true", "urgent = TRUE", "sold = False", "not sold and URGENT is null or sold"]);
    all(UNKNOWN, &["Colour = 'red'"]);
    for word in ["null", "TRUE", "Not", "and", "OR", "between", "like", "in", "is", "escape"] {
        if !word.eq_ignore_ascii_case("true") {
            refused(&format!("{word} = 1"));
        }
    }
}

#[test]
fn identifiers_begin_with_a_letter_and_may_have_dots() {
    all(TRUE, &["$c_1 = 'red'", "Grün = 'red'", "a.b = 'red'"]);
    all(UNKNOWN, &["_x.y.z = 1"]);
    refused("1a = 1");
    refused("#a = 1");
}

#[test]
fn in_double_quotes_an_identifier_is_any_text() {
    all(TRUE, &["\"a b-c\" = 1", "\"AND\" = 1", "\"colour\" = 'red'"]);
    assert_eq!(&*parse("\"a\"\"b\" = 1").identifiers()[0].name, "a\"b");
    refused("\"\" = 1");
    refused("\"a = 1");
}

#[test]
fn annotations_have_hyphens_without_quotes_and_all_else_is_a_subtraction() {
    all(TRUE, &["x-opt-dl-reason = 'red'", "m.x-last-death-queue='red'", "x-first-death-no-1 IS NULL"]);
    all(TRUE, &["x-two = 2498", "x - two = 2498", "weight-two=2498", "x-first-death-no - 1 = 1"]);
    all(UNKNOWN, &["x-first-two = 1", "x-opt = 1", "x-opt- 2 = 1", "x-optional-2 = 1"]);
    assert_eq!(parse("x-opt = 1").identifiers().len(), 2);
    assert_eq!(parse("x-opt-a.b-c = 1").identifiers().len(), 1);
}

#[test]
fn white_space_is_blank_tab_form_feed_and_line_ends() {
    all(TRUE, &["colour\t=\x0c\r\n'red'", "  urgent  ", "(urgent)"]);
    refused("colour\u{a0}= 'red'");
}

#[test]
fn a_blank_selector_selects_all() {
    for text in ["", "  \t\n"] {
        assert!(parse(text).matches(&Parcel) && parse(text).identifiers().is_empty());
    }
}

#[test]
fn not_binds_before_and_before_or() {
    all(TRUE, &["urgent OR sold AND sold", "NOT sold AND urgent", "NOT (sold AND urgent)", "not not urgent"]);
    all(FALSE, &["(urgent OR sold) AND sold", "NOT sold AND sold"]);
    all(TRUE, &["2 + 3 * 4 = 14", "(2 + 3) * 4 = 20", "10 - 4 - 3 = 3", "100 / 10 / 5 = 2", "- two + 3 = 1"]);
    all(TRUE, &["7 / 2 = 3", "7 / 2.0 = 3.5", "weight > 2 * 1000 + 499"]);
}

#[test]
fn and_or_and_not_have_the_tables_of_sql_92() {
    let value = |truth| match truth {
        TRUE => "urgent",
        FALSE => "sold",
        UNKNOWN => "age = 1",
    };
    for a in [TRUE, FALSE, UNKNOWN] {
        assert_eq!(truth(&format!("NOT {}", value(a))), a.map(|a| !a));
        for b in [TRUE, FALSE, UNKNOWN] {
            let and = match (a, b) {
                (FALSE, _) | (_, FALSE) => FALSE,
                (TRUE, TRUE) => TRUE,
                _ => UNKNOWN,
            };
            let or = match (a, b) {
                (TRUE, _) | (_, TRUE) => TRUE,
                (FALSE, FALSE) => FALSE,
                _ => UNKNOWN,
            };
            assert_eq!(truth(&format!("{} AND {}", value(a), value(b))), and, "{a:?} AND {b:?}");
            assert_eq!(truth(&format!("{} OR {}", value(a), value(b))), or, "{a:?} OR {b:?}");
        }
    }
}

#[test]
fn numbers_compare_in_all_ways_exact_with_approximate_too() {
    all(TRUE, &["weight > 2499", "weight >= 2500", "weight < 2500.5", "weight <= 2500", "weight <> 2501"]);
    all(TRUE, &["price > 9", "9 < price", "weight = 2.5E3", "nan <> nan", "nan <> 1"]);
    all(FALSE, &["weight > 2500", "weight < 2500", "price = 9", "nan = nan", "nan < 1", "nan >= 1"]);
}

#[test]
fn values_of_other_types_compare_false_and_no_value_compares_unknown() {
    // "If the comparison of non-like type values is attempted, the value of the operation is false."
    all(FALSE, &["digits = 7", "weight = '2500'", "urgent = 1", "urgent = 'true'", "weight <> 'x'"]);
    all(FALSE, &["colour > 1", "colour < country", "urgent >= sold"]);
    all(TRUE, &["urgent = TRUE", "urgent <> sold", "colour <> country", "(weight > 1) = urgent"]);
    all(UNKNOWN, &["age = 1", "age <> 1", "age = age", "age > 1", "age = 'x'", "age = TRUE"]);
}

#[test]
fn arithmetic_with_no_value_or_no_number_is_unknown() {
    all(UNKNOWN, &["age + 1 = 1", "1 - age > 0", "-age = 1", "+age = 1", "colour + 1 = 2", "-colour = 1"]);
    all(UNKNOWN, &["weight / 0 = 1", "+colour = 1", "weight * (two - two) / (two - two) > 0"]);
    all(TRUE, &["price / 0 > 1000000", "+weight = 2500"]);
    let large = "large".to_owned() + &" * large".repeat(3) + " > 0";
    assert_eq!(truth(&large), UNKNOWN, "an overflow");
}

#[test]
fn between_is_two_comparisons_its_ends_included() {
    all(TRUE, &["weight BETWEEN 2500 AND 3000", "weight BETWEEN two AND 2500", "two NOT BETWEEN 3 AND 9"]);
    all(FALSE, &["weight BETWEEN 0 AND 2499", "weight NOT BETWEEN 2500 AND 2500", "two BETWEEN 9 AND 1"]);
    all(UNKNOWN, &["age BETWEEN 1 AND 9", "age NOT BETWEEN 1 AND 9", "weight BETWEEN 1 AND age"]);
    all(FALSE, &["weight BETWEEN 9999 AND age"]);
    all(TRUE, &["weight NOT BETWEEN 9999 AND age", "weight BETWEEN 1 AND 9999 AND urgent"]);
    // Text is neither in nor out of a range of numbers.
    all(FALSE, &["colour BETWEEN 1 AND 9", "colour NOT BETWEEN 1 AND 9"]);
}

#[test]
fn in_is_a_list_of_equalities() {
    all(
        TRUE,
        &["country IN ('UK', 'US', 'France')", "country NOT IN ('US')", "two IN (1, 2)", "two in(-1,+2)"],
    );
    all(FALSE, &["country NOT IN ('UK')", "country IN (' UK')", "digits IN (7)", "urgent IN (FALSE)"]);
    all(UNKNOWN, &["age IN (1)", "age NOT IN (1)"]);
    for wrong in ["a IN ()", "a IN (b)", "a IN ('x'", "a IN 'x'", "a IN ('x',)", "a IN (-'x')", "a IN (NULL)"]
    {
        refused(wrong);
    }
}

#[test]
fn like_has_two_wildcards_and_an_escape() {
    all(TRUE, &["colour LIKE 'r_d'", "colour LIKE '%d'", "colour LIKE 'red'", "colour like '%'"]);
    all(TRUE, &["colour NOT LIKE 'r'", "'a_c' LIKE 'a\\_c' ESCAPE '\\'", "'100%' LIKE '%!%' ESCAPE '!'"]);
    all(
        FALSE,
        &["colour LIKE 'Red'", "colour LIKE 'r_'", "'abc' LIKE 'a\\_c' ESCAPE '\\'", "weight LIKE '2%'"],
    );
    all(UNKNOWN, &["age LIKE '%'", "age NOT LIKE '1'"]);
    for wrong in ["a LIKE b", "a LIKE 1", "a LIKE 'x' ESCAPE ''", "a LIKE 'x' ESCAPE 'ab'", "1 LIKE '1'"] {
        refused(wrong);
    }
    refused("a LIKE 'x!' ESCAPE '!'");
}

#[test]
fn like_does_not_look_into_very_long_texts() {
    struct Long(String);
    impl Fields for Long {
        fn get(&self, _: &Identifier) -> Value<'_> {
            Value::Text(Cow::Borrowed(&self.0))
        }
    }
    let long = |bytes| Long("x".repeat(bytes));
    for text in ["a LIKE '%x'", "NOT a LIKE '%y'"] {
        assert!(parse(text).matches(&long(limits::LIKE_TEXT_BYTES)));
        assert!(!parse(text).matches(&long(limits::LIKE_TEXT_BYTES + 1)));
    }
}

#[test]
fn is_null_is_never_unknown() {
    all(TRUE, &["age IS NULL", "colour IS NOT NULL", "age + 1 IS NULL", "(age = 1) IS NULL"]);
    all(FALSE, &["age IS NOT NULL", "colour is null"]);
    refused("age IS 1");
    refused("age IS NOT");
    refused("age = NULL");
}

#[test]
fn a_boolean_property_is_a_condition_and_other_values_are_none() {
    all(TRUE, &["urgent", "NOT sold", "TRUE", "urgent AND TRUE"]);
    all(UNKNOWN, &["colour", "weight", "age", "NOT colour AND urgent"]);
}

#[test]
fn what_no_message_can_make_true_is_refused_with_its_place() {
    for (text, at, got) in [
        ("1", 1, "a number"),
        ("'x'", 1, "a text"),
        ("urgent AND 1", 12, "a number"),
        ("1 OR urgent", 1, "a number"),
        ("NOT 'x'", 5, "a text"),
        ("a > 'x'", 3, "an order asked of a text"),
        ("TRUE < b", 6, "an order asked of a condition"),
        ("1 = 'x'", 5, "a text"),
        ("'x' = TRUE", 7, "a condition"),
        ("a + 'x' = 1", 5, "a text"),
        ("(a = 1) * 2 = 2", 1, "a condition"),
        ("- 'x' = 1", 3, "a text"),
        ("+a = 'x'", 6, "a text"),
        ("a BETWEEN 'a' AND 'z'", 11, "a text"),
        ("'x' BETWEEN 1 AND 2", 1, "a text"),
    ] {
        let error = refused(text);
        assert_eq!((error.at, error.got.as_str()), (at, got), "{text}: {error}");
    }
}

#[test]
fn an_error_says_where_what_came_and_what_was_expected() {
    for (text, words) in [
        ("colour = ", "at character 10: got the end, expected a name, a literal or \"(\""),
        ("ä = 'x' OR OR", "at character 12: got the keyword OR, expected a name, a literal or \"(\""),
        ("a = 1 b", "at character 7: got \"b\", expected an operator or the end"),
        ("(a = 1", "at character 7: got the end, expected \")\""),
        ("a = 1)", "at character 6: got \")\", expected an operator or the end"),
        ("a != 1", "at character 3: got \"!\", expected a name, a literal or an operator"),
        ("a NOT 1", "at character 7: got the number 1, expected BETWEEN, IN or LIKE"),
        ("a BETWEEN 1 OR 2", "at character 13: got the keyword OR, expected AND"),
    ] {
        assert_eq!(refused(text).to_string(), words, "{text}");
    }
    let long = refused(&format!("a {}", "b".repeat(1000)));
    assert!(long.got.len() < 64, "{long}");
}

#[test]
fn length_and_depth_are_bounded_and_chains_are_not_deep() {
    let long = "a = 1 OR ".repeat(limits::SELECTOR_BYTES / 9 - 1) + "urgent";
    assert!(selects(&long));
    let longer = long.clone() + &" ".repeat(limits::SELECTOR_BYTES);
    assert!(refused(&longer).to_string().contains("at most 8192"));
    let nested = |n: usize| "(".repeat(n) + "urgent" + &")".repeat(n);
    assert!(selects(&nested(limits::SELECTOR_DEPTH)));
    for deep in [nested(limits::SELECTOR_DEPTH + 1), "NOT ".repeat(100) + "a", "- ".repeat(100) + "1 = 1"] {
        assert!(refused(&deep).to_string().contains("at most 64 levels"));
    }
    assert!(selects(&("1".to_owned() + &" + 1".repeat(1000) + " = 1001")));
}

#[test]
fn each_name_is_listed_once_in_order() {
    let selector = parse("b = 1 AND a = 2 OR b = 3 AND \"a\" = 4");
    let names: Vec<_> = selector.identifiers().iter().map(|i| (&*i.name, i.index)).collect();
    assert_eq!(names, [("b", 0), ("a", 1)]);
}

/// Words that make up selectors, in any order.
fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "colour",
        "urgent",
        "x-opt-b",
        "m.x-opt-",
        "\"q",
        "\"q\"",
        "'",
        "'t'",
        "'%_'",
        "1",
        "0x",
        "07",
        "1e5",
        ".",
        "NOT",
        "AND",
        "OR",
        "IN",
        "IS",
        "NULL",
        "LIKE",
        "ESCAPE",
        "BETWEEN",
        "TRUE",
        "(",
        ")",
        ",",
        "=",
        "<>",
        "<",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "ä",
        "\u{1f600}",
        "!",
        "\0",
        "\\",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_text_is_taken_or_refused_within_itself(text in any::<String>()) {
        judge(&text);
    }

    #[test]
    fn any_words_are_taken_or_refused_within_themselves(words in prop::collection::vec(word(), 0..40), glue in any::<bool>()) {
        judge(&words.join(if glue { "" } else { " " }));
    }
}

fn judge(text: &str) {
    match Selector::parse(text) {
        Ok(selector) => {
            let _ = selector.matches(&Parcel);
        }
        Err(error) => assert!(error.at <= text.chars().count() + 1, "{text:?}: {error}"),
    }
}
