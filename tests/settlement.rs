//! `docs/settlement-tests.md` against the tree: every line of the settlement rules it quotes has a row, and every test
//! a row names is there, is a test, and is not switched off.
//!
//! Deliberately reads names only: whether a test shows its line is for people to judge, and for breaking the code.

use std::{collections::BTreeSet, fs, path::Path};

const DOCUMENT: &str = include_str!("../docs/settlement-tests.md");

fn section(heading: &str) -> &'static str {
    let (_, after) = DOCUMENT.split_once(&format!("\n## {heading}\n")).expect("the section");
    after.split("\n## ").next().unwrap_or_default()
}

/// The lines that are quoted.
fn quotes() -> Vec<String> {
    let block = section("The lines").split("```").nth(1).expect("a block of lines");
    block.lines().skip(1).map(str::to_owned).collect()
}

/// The table: each line, and its other cell.
fn rows() -> Vec<(String, &'static str)> {
    let rows = section("The table").lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        // A `|` of a quote is written `\|`, and none is in the second cell.
        let (quote, tests) = row.trim_end_matches(" |").rsplit_once(" | ").expect("two cells");
        (quote.trim_start_matches("| ").replace("\\|", "|"), tests)
    })
    .collect()
}

/// `path::name` of each test in a cell.
fn named(cell: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    cell.split('`').skip(1).step_by(2).map(|test| test.split_once("::").expect("path::name"))
}

/// What is wrong with a test that is named, if anything.
fn wrong(path: &str, name: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = fs::read_to_string(root.join(path)) else { return Some(format!("no file {path}")) };
    let python = path.ends_with(".py");
    let head = format!("{} {name}(", if python { "def" } else { "fn" });
    let lines: Vec<&str> = text.lines().collect();
    let definition = |line: &&str| line.trim_start().trim_start_matches("async ").starts_with(&head);
    let Some(at) = lines.iter().position(definition) else {
        return Some(format!("no test {name} in {path}"));
    };
    // Attributes, decorators and comments stand right above, up to an empty line.
    let above: Vec<&str> = lines.iter().take(at).rev().take_while(|line| !line.is_empty()).copied().collect();
    let is_test = python || above.iter().any(|line| line.contains("#[test]") || line.contains("::test"));
    let off = above.iter().any(|line| line.contains("#[ignore") || line.contains("mark.skip"));
    match (is_test, off) {
        (false, _) => Some(format!("{path}::{name} is no test")),
        (_, true) => Some(format!("{path}::{name} is switched off")),
        (true, false) => None,
    }
}

#[test]
fn every_line_that_is_quoted_has_one_row_in_the_same_order() {
    let (quotes, rows) = (quotes(), rows());
    assert!(quotes.len() >= 90, "only {} lines are quoted", quotes.len());
    let table: Vec<&String> = rows.iter().map(|(quote, _)| quote).collect();
    for (quote, row) in quotes.iter().zip(&table) {
        assert_eq!(quote, *row);
    }
    assert_eq!(quotes.len(), table.len());
    let different: BTreeSet<&String> = quotes.iter().collect();
    assert_eq!(different.len(), quotes.len(), "a line is quoted twice");
}

#[test]
fn every_row_names_tests_that_are_there_or_says_why_not() {
    let mut all = Vec::new();
    for (quote, cell) in rows() {
        let tests: Vec<_> = named(cell).collect();
        if tests.is_empty() && !cell.starts_with("none: ") {
            all.push(format!("no test and no reason: {quote}"));
        }
        all.extend(tests.into_iter().filter_map(|(path, name)| wrong(path, name)));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_test_that_is_not_there_or_is_none_is_noticed() {
    let here = "tests/settlement.rs";
    assert_eq!(wrong(here, "a_test_that_is_not_there_or_is_none_is_noticed"), None);
    for (path, name) in [(here, "quotes"), (here, "no_such_test"), ("tests/no_such_file.rs", "x")] {
        assert!(wrong(path, name).is_some(), "{path}::{name}");
    }
}
