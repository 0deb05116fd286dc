//! What `top` shows: the lines of a frame, and what keys do to it.
//!
//! Invariant: pure; a frame has never more lines than the terminal, and none is wider.

use std::{cmp::Reverse, time::Duration};

use clap::ValueEnum;
use serde_json::Value as Json;

use super::sample::{Rate, Rates, Sample, name};
use crate::cli::{
    human, json, moment,
    queue::{breaker_words, oldest},
    table::{Table, left, right, text},
    url::Url,
};

/// Faster than this, the watching would be what goes on.
pub(super) const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(60);
const KEYS: &str = "q quit  ←→ sort by  r turn  ↑↓ scroll  p pause  +- interval";
const NO_RATE: &str = "-";

/// What the queues are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Sort {
    Name,
    In,
    Out,
    Done,
    Failed,
    Ready,
    Delayed,
    Dead,
    Acquired,
    Oldest,
}

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Key {
    Quit,
    Left,
    Right,
    Up,
    Down,
    Turn,
    Pause,
    Faster,
    Slower,
}

/// How the person wants to see it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct View {
    pub interval: Duration,
    pub paused: bool,
    sort: Sort,
    turned: bool,
    scrolled: usize,
}

impl View {
    pub fn new(interval: Duration, sort: Sort) -> Self {
        Self { interval, paused: false, sort, turned: false, scrolled: 0 }
    }

    /// Whether it goes on.
    pub fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Quit => return false,
            Key::Left => self.sort = neighbour(self.sort, false),
            Key::Right => self.sort = neighbour(self.sort, true),
            Key::Up => self.scrolled = self.scrolled.saturating_sub(1),
            Key::Down => self.scrolled += 1,
            Key::Turn => self.turned = !self.turned,
            Key::Pause => self.paused = !self.paused,
            Key::Faster => self.interval = (self.interval / 2).max(FASTEST),
            Key::Slower => self.interval = (self.interval * 2).min(SLOWEST),
        }
        true
    }

    /// All lines of the screen, which is so many columns wide and lines high.
    pub fn frame(
        &mut self,
        now: &Sample,
        rates: &Rates,
        url: &Url,
        (columns, rows): (usize, usize),
    ) -> Vec<String> {
        let mut frame = vec![format!("{url}  {}", broker(&now.broker))];
        frame.extend(self.summary(now, rates));
        frame.push(self.status());
        frame.push(String::new());
        let mut table = self.table(now, rates, Some(columns)).into_iter();
        frame.extend(table.next());
        let room = rows.saturating_sub(frame.len());
        self.scrolled = self.scrolled.min(now.queues.len().saturating_sub(room));
        frame.extend(table.skip(self.scrolled).take(room));
        frame.truncate(rows);
        frame.iter().map(|line| human::cut(&human::one_line(line), columns)).collect()
    }

    /// All queues in two lines.
    pub fn summary(&self, now: &Sample, rates: &Rates) -> Vec<String> {
        let sum = |key: &str| now.queues.iter().filter_map(|queue| json::number(queue, key)).sum::<u64>();
        let total = rates.total();
        let rate = |at: usize| rate_text(total, at);
        let time = moment::readable(now.now_ms);
        vec![
            format!(
                "{}  {}: in {}/s, out {}/s, done {}/s, failed {}/s",
                time.get(..19).unwrap_or(&time),
                human::count(now.queues.len() as u64, "queue"),
                rate(0),
                rate(1),
                rate(2),
                rate(3)
            ),
            format!(
                "{} ready, {} acquired, {} delayed, {} dead; {} waiting",
                sum("ready"),
                sum("acquired"),
                sum("delayed"),
                sum("dead"),
                human::size(sum("bytes"))
            ),
        ]
    }

    fn status(&self) -> String {
        let sort = self.sort.to_possible_value();
        let sort = sort.as_ref().map_or("", |value| value.get_name());
        let order = if self.turned == (self.sort == Sort::Name) { "↓" } else { "↑" };
        let interval_ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let paused = if self.paused { "PAUSED  " } else { "" };
        format!("{paused}by {sort} {order}, every {}   {KEYS}", human::span(interval_ms))
    }

    /// A line for each queue, below the header.
    pub fn table(&self, now: &Sample, rates: &Rates, columns: Option<usize>) -> Vec<String> {
        let head = [
            text("queue"),
            right("in/s"),
            right("out/s"),
            right("done/s"),
            right("failed/s"),
            right("ready"),
            right("delayed"),
            right("dead"),
            // What comes behind this is what a narrow terminal does without.
            left("breaker"),
            right("acquired"),
            right("cons"),
            right("oldest"),
        ];
        let mut table = Table::new(&head);
        for queue in self.sorted(now, rates) {
            let cell = |key: &str| json::cell(queue.get(key));
            let rate = |at: usize| rate_text(rates.of(queue), at);
            table.row([
                cell("name"),
                rate(0),
                rate(1),
                rate(2),
                rate(3),
                cell("ready"),
                cell("delayed"),
                cell("dead"),
                breaker_words(queue, now.now_ms),
                cell("acquired"),
                cell("consumers"),
                oldest(queue),
            ]);
        }
        table.render(columns)
    }

    /// Numbers begin with the largest; what is equal is in the order of names, so that lines do not jump about.
    fn sorted<'a>(&self, now: &'a Sample, rates: &Rates) -> Vec<&'a Json> {
        let mut queues: Vec<&Json> = now.queues.iter().collect();
        queues.sort_by_cached_key(|queue| name(queue));
        let rate = |queue: &Json, at: usize| rates.of(queue).and_then(|rate| rate.tenths.get(at).copied());
        let number = |queue: &Json, key: &str| json::number(queue, key);
        if self.sort != Sort::Name {
            queues.sort_by_key(|queue| {
                Reverse(match self.sort {
                    Sort::Name => None,
                    Sort::In => rate(queue, 0),
                    Sort::Out => rate(queue, 1),
                    Sort::Done => rate(queue, 2),
                    Sort::Failed => rate(queue, 3),
                    Sort::Ready => number(queue, "ready"),
                    Sort::Acquired => number(queue, "acquired"),
                    Sort::Delayed => number(queue, "delayed"),
                    Sort::Dead => number(queue, "dead"),
                    Sort::Oldest => number(queue, "oldest-age-ms"),
                })
            });
        }
        if self.turned {
            queues.reverse();
        }
        queues
    }
}

fn neighbour(sort: Sort, next: bool) -> Sort {
    let all = Sort::value_variants();
    let at = all.iter().position(|one| *one == sort).unwrap_or(0);
    let step = if next { 1 } else { all.len() - 1 };
    all.get((at + step) % all.len()).copied().unwrap_or(sort)
}

fn rate_text(rate: Option<Rate>, at: usize) -> String {
    match rate.and_then(|rate| rate.tenths.get(at).copied()) {
        None => NO_RATE.to_owned(),
        Some(0) => "0".to_owned(),
        Some(tenths) if tenths < 100 => format!("{}.{}", tenths / 10, tenths % 10),
        Some(tenths) => (tenths / 10).to_string(),
    }
}

fn broker(broker: &Json) -> String {
    let cell = |key: &str| json::cell(broker.get(key));
    let mut parts = vec![format!("verdict {}", cell("version"))];
    let number = |key: &str| json::number(broker, key);
    parts.extend(number("uptime-ms").map(|ms| format!("up {}", human::span(ms))));
    parts.extend(number("connections").map(|count| human::count(count, "connection")));
    parts.extend(number("disk-bytes").map(|bytes| format!("{} on disk", human::size(bytes))));
    if broker.get("ready").and_then(Json::as_bool) == Some(false) {
        parts.push(format!("NOT READY: {}", cell("unready-reason")));
    }
    parts.join(", ")
}
