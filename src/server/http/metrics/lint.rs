//! What promtool's `check metrics` looks at, and more: that a page can be read without a loss.
//!
//! Invariant: knows the text format and Prometheus' conventions only, none of our metrics. For tests, here and over
//! the real page (`tests/http.rs`).

use std::collections::{BTreeMap, BTreeSet};

/// Parts of names that say a number is not in a base unit.
const SCALED: [&str; 9] =
    ["milliseconds", "millis", "micros", "nanos", "minutes", "hours", "kilobytes", "megabytes", "mebibytes"];

/// All that is wrong with a page.
pub fn lint(page: &str) -> Vec<String> {
    let mut lint = Lint::default();
    if !page.ends_with('\n') || page.contains("\n\n") {
        lint.problem("the page must end with a line feed and have no empty lines".to_owned());
    }
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            lint.help(rest);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            lint.kind(rest);
        } else {
            lint.sample(line);
        }
    }
    lint.histograms();
    lint.problems
}

#[derive(Default)]
struct Lint {
    problems: Vec<String>,
    helped: BTreeSet<String>,
    kinds: BTreeMap<String, String>,
    current: String,
    seen: BTreeSet<String>,
    /// By family and labels without `le`.
    histograms: BTreeMap<(String, String), Histogram>,
}

#[derive(Default)]
struct Histogram {
    /// Bound and count, in order.
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

/// Label and value, unescaped.
type Label = (String, String);

impl Lint {
    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    fn help(&mut self, rest: &str) {
        let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
        if !self.helped.insert(name.to_owned()) || help.trim().is_empty() {
            self.problem(format!("HELP of {name} comes twice or is empty"));
        }
    }

    fn kind(&mut self, rest: &str) {
        let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
        self.current = name.to_owned();
        if self.kinds.insert(name.to_owned(), kind.to_owned()).is_some() || !self.helped.contains(name) {
            self.problem(format!("TYPE of {name} comes twice or before its HELP"));
        }
        if name.ends_with("_total") != (kind == "counter") {
            self.problem(format!("{name} is a {kind}"));
        }
        if !["counter", "gauge", "histogram"].contains(&kind) {
            self.problem(format!("{name} is of no known type: {kind}"));
        }
        if ["_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            self.problem(format!("{name} is named like a part of a histogram"));
        }
        if SCALED.iter().any(|unit| name.contains(unit)) || name.trim_end_matches("_total").ends_with("_ms") {
            self.problem(format!("{name} is not in a base unit"));
        }
        if name.contains(kind) && !kind.is_empty() {
            self.problem(format!("{name} has its type in its name"));
        }
        if !is_name(name) {
            self.problem(format!("{name} is not a plain name"));
        }
    }

    fn sample(&mut self, line: &str) {
        let Some((name, labels, value)) = split(line) else {
            return self.problem(format!("cannot be read: {line}"));
        };
        let Ok(value) = value.parse::<f64>() else {
            return self.problem(format!("{line}: not a number"));
        };
        let kind = self.kinds.get(&self.current).cloned().unwrap_or_default();
        let part = ["_bucket", "_sum", "_count"].into_iter().find(|part| name.ends_with(part));
        let part = part.filter(|_| kind == "histogram");
        let family = part.and_then(|part| name.strip_suffix(part)).unwrap_or(name);
        if family != self.current {
            self.problem(format!("{name} stands among the samples of {}", self.current));
        }
        if !self.seen.insert(format!("{name}{labels:?}")) {
            self.problem(format!("{name}{labels:?} comes twice"));
        }
        if kind == "counter" && (value < 0.0 || value.is_nan()) {
            self.problem(format!("{line}: a counter below 0"));
        }
        let names: BTreeSet<&str> = labels.iter().map(|(label, _)| label.as_str()).collect();
        if names.len() != labels.len() || names.iter().any(|n| !is_name(n) || n.starts_with("__")) {
            self.problem(format!("{line}: labels are not plain names, each once"));
        }
        if kind == "histogram" {
            self.part(family, &labels, part.unwrap_or_default(), value);
        } else if names.contains("le") || names.contains("quantile") {
            self.problem(format!("{line}: le and quantile are not for a {kind}"));
        }
    }

    fn part(&mut self, family: &str, labels: &[Label], part: &str, value: f64) {
        let others: Vec<_> = labels.iter().filter(|(label, _)| label != "le").collect();
        let entry = self.histograms.entry((family.to_owned(), format!("{others:?}"))).or_default();
        match part {
            "_bucket" => {
                let le = labels.iter().find(|(label, _)| label == "le").map_or("", |(_, le)| le);
                let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap_or(f64::NAN) };
                entry.buckets.push((le, value));
            }
            "_sum" => entry.sum = Some(value),
            "_count" => entry.count = Some(value),
            _ => self.problem(format!("{family} is a histogram and has a sample of its bare name")),
        }
    }

    fn histograms(&mut self) {
        for ((family, labels), Histogram { buckets, sum, count }) in std::mem::take(&mut self.histograms) {
            let grows = buckets.windows(2).all(|w| matches!(w, [a, b] if a.0 < b.0 && a.1 <= b.1));
            let last = buckets.last().copied();
            if !grows || last.is_none_or(|(le, _)| le != f64::INFINITY) {
                self.problem(format!("{family}{labels}: buckets do not grow up to +Inf: {buckets:?}"));
            }
            if sum.is_none() || count.is_none() || count != last.map(|(_, all)| all) {
                self.problem(format!(
                    "{family}{labels}: no sum, no count, or a count that is not the last bucket"
                ));
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// Name, labels and value of a line.
fn split(line: &str) -> Option<(&str, Vec<Label>, &str)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, value) = rest.split_once("=\"")?;
            let mut text = String::new();
            let mut chars = value.char_indices();
            let close = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => text.push(match chars.next()?.1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        _ => return None,
                    }),
                    (_, c) => text.push(c),
                }
            };
            labels.push((label.to_owned(), text));
            rest = value.get(close + 1..)?;
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break rest = rest.strip_prefix('}')?,
            }
        }
    }
    let value = rest.strip_prefix(' ')?;
    (!value.contains(' ')).then_some((name, labels, value))
}
