//! Tables for people: aligned columns, numbers right, cut to the terminal where there is one.
//!
//! Invariant: without a width nothing is cut, so that `| grep` sees all. Only columns of free text are ever cut, the
//! widest first. Not for programs: they have `--json`.

use super::human::{cut, one_line, width};

/// Columns narrower than this say nothing any more.
const NARROWEST: usize = 8;
const GAP: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Left,
    Right,
    Text,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column(&'static str, Kind);

/// Words that must be seen whole.
pub(super) const fn left(title: &'static str) -> Column {
    Column(title, Kind::Left)
}

/// Numbers.
pub(super) const fn right(title: &'static str) -> Column {
    Column(title, Kind::Right)
}

/// Text that may be cut.
pub(super) const fn text(title: &'static str) -> Column {
    Column(title, Kind::Text)
}

/// Rows under a header line.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Cells are as many as columns; what is missing is empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All lines, the header's first.
    pub fn render(&self, fits: Option<usize>) -> Vec<String> {
        let widths = self.widths(fits);
        let header: Vec<String> = self.columns.iter().map(|Column(title, _)| title.to_uppercase()).collect();
        std::iter::once(&header).chain(&self.rows).map(|cells| self.line(cells, &widths)).collect()
    }

    fn widths(&self, fits: Option<usize>) -> Vec<usize> {
        let widest = |(at, Column(title, _)): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            cells.max().unwrap_or(0).max(width(title))
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let Some(fits) = fits else { return widths };
        let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        while total(&widths) > fits {
            let columns = self.columns.iter().zip(&mut widths);
            let most = columns
                .filter(|(Column(title, kind), have)| {
                    *kind == Kind::Text && **have > NARROWEST.max(width(title))
                })
                .map(|(_, have)| have)
                .max_by_key(|have| **have);
            match most {
                Some(most) => *most -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (Column(_, kind), columns)) in self.columns.iter().zip(widths).enumerate() {
            if at > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = cut(cells.get(at).map_or("", String::as_str), *columns);
            let padding = " ".repeat(columns.saturating_sub(width(&cell)));
            let (before, behind) =
                if *kind == Kind::Right { (padding, String::new()) } else { (String::new(), padding) };
            line.push_str(&before);
            line.push_str(&cell);
            line.push_str(&behind);
        }
        line.truncate(line.trim_end().len());
        line
    }
}
