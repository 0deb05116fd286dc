//! A selector's text in tokens.
//!
//! Invariant: every token has at least one byte, so lexing ends. Decides nothing about order.
//!
//! Which words have hyphens: `a-b` is a subtraction in JMS, and stays one. A word has hyphens where it begins with
//! `x-opt-`, `x-first-death-` or `x-last-death-` (or one of these behind `m.`), since that is what annotations are
//! called and nobody means `x - opt - dl`. It goes on over letters, digits, `_ $ .` and each hyphen with one of these
//! behind it. All other names with hyphens are written in double quotes, and subtraction from such a word with blanks.

use super::error::{SelectorError, excerpt};

/// Beginnings of names with hyphens, behind the `x`.
const HYPHENATED: [&str; 3] = ["-opt-", "-first-death-", "-last-death-"];

/// Operators and brackets; of two that begin alike, the longer one first.
const SYMBOLS: [&str; 13] = ["<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "(", ")", ","];

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'s> {
    /// A keyword or an identifier.
    Word(&'s str),
    /// An identifier in double quotes.
    Quoted(String),
    /// A text literal.
    Text(String),
    Int(i128),
    Float(f64),
    Symbol(&'static str),
    End,
}

pub(super) struct Lexer<'s> {
    text: &'s str,
    at: usize,
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '$')
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.')
}

impl<'s> Lexer<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'s str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &'s str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.at += taken.len();
        taken
    }

    /// Takes characters while they fit.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        self.take(rest.find(|c| !fits(c)).unwrap_or(rest.len()))
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error<T>(&self, at: usize, got: impl Into<String>, expected: &str) -> Result<T, SelectorError> {
        Err(SelectorError::new(self.text, at, got, expected))
    }

    /// The next token, and the byte it begins at.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'s>), SelectorError> {
        // "White space: space, horizontal tab, form feed and line terminator"
        self.take_while(|c| matches!(c, ' ' | '\t' | '\x0c' | '\n' | '\r'));
        let from = self.at;
        let rest = self.rest();
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let token = match rest.chars().next() {
            None => Token::End,
            Some('\'') => Token::Text(self.quoted('\'')?),
            Some('"') => match self.quoted('"')? {
                name if name.is_empty() => return self.error(from, "\"\"", "a name between the quotes"),
                name => Token::Quoted(name),
            },
            Some(c) if starts_word(c) => Token::Word(self.word()),
            Some(c) if digit(Some(c)) || c == '.' && digit(rest.chars().nth(1)) => self.number()?,
            Some(c) => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => {
                    self.take(symbol.len());
                    Token::Symbol(symbol)
                }
                None => {
                    let got = excerpt(c.encode_utf8(&mut [0; 4]));
                    return self.error(from, got, "a name, a literal or an operator");
                }
            },
        };
        Ok((from, token))
    }

    fn word(&mut self) -> &'s str {
        let (from, start) = (self.at, self.rest());
        let word = self.take_while(in_word);
        let hyphenated = |name: &str| self.rest().strip_prefix(name).is_some_and(|r| r.starts_with(in_word));
        if !matches!(word, "x" | "m.x") || !HYPHENATED.iter().any(|name| hyphenated(name)) {
            return word;
        }
        while self.rest().strip_prefix('-').is_some_and(|rest| rest.starts_with(in_word)) {
            self.take(1);
            self.take_while(in_word);
        }
        start.get(..self.at - from).unwrap_or(word)
    }

    /// Between quotes; doubled ones stand for one ("two quotes for an included quote").
    fn quoted(&mut self, quote: char) -> Result<String, SelectorError> {
        let from = self.at;
        let mut text = String::new();
        loop {
            // The opening quote, or the second of two.
            self.take(1);
            text.push_str(self.take_while(|c| c != quote));
            if self.peek().is_none() {
                let expected = if quote == '"' { "a closing \"" } else { "a closing '" };
                return self.error(from, "a quote that is not closed", expected);
            }
            self.take(1);
            if self.peek() != Some(quote) {
                return Ok(text);
            }
            text.push(quote);
        }
    }

    /// "Java integer literal syntax", "Java floating-point literal syntax".
    fn number(&mut self) -> Result<Token<'s>, SelectorError> {
        let from = self.at;
        let token = if matches!(self.rest().as_bytes(), [b'0', b'x' | b'X', ..]) {
            self.take(2);
            let digits = self.take_while(|c| c.is_ascii_alphanumeric());
            self.integer(from, digits.strip_suffix(['l', 'L']).unwrap_or(digits), 16)?
        } else {
            self.decimal(from)?
        };
        if let Some(c) = self.peek().filter(|c| in_word(*c)) {
            let got = excerpt(c.encode_utf8(&mut [0; 4]));
            return self.error(self.at, got, "a blank or an operator behind a number");
        }
        Ok(token)
    }

    fn decimal(&mut self, from: usize) -> Result<Token<'s>, SelectorError> {
        let start = self.rest();
        let mut approximate = false;
        self.take_while(|c| c.is_ascii_digit());
        if self.peek() == Some('.') {
            self.take(1);
            self.take_while(|c| c.is_ascii_digit());
            approximate = true;
        }
        if let Some(behind) = self.rest().strip_prefix(['e', 'E']) {
            let digits = behind.strip_prefix(['+', '-']).unwrap_or(behind);
            if digits.starts_with(|c: char| c.is_ascii_digit()) {
                self.take(1 + behind.len() - digits.len());
                self.take_while(|c| c.is_ascii_digit());
                approximate = true;
            }
        }
        let digits = start.get(..self.at - from).unwrap_or_default();
        match self.peek() {
            Some('f' | 'F') => {
                self.take(1);
                self.float(from, digits.parse::<f32>().map(f64::from))
            }
            Some('d' | 'D') => {
                self.take(1);
                self.float(from, digits.parse())
            }
            _ if approximate => self.float(from, digits.parse()),
            suffix => {
                if matches!(suffix, Some('l' | 'L')) {
                    self.take(1);
                }
                let octal = digits.len() > 1 && digits.starts_with('0');
                self.integer(from, digits, if octal { 8 } else { 10 })
            }
        }
    }

    fn float<E>(&self, from: usize, value: Result<f64, E>) -> Result<Token<'s>, SelectorError> {
        match value {
            Ok(value) if value.is_finite() => Ok(Token::Float(value)),
            _ => self.error(from, excerpt(self.since(from)), "a number that a double can hold"),
        }
    }

    fn integer(&self, from: usize, digits: &str, radix: u32) -> Result<Token<'s>, SelectorError> {
        match u64::from_str_radix(digits, radix) {
            Ok(value) => Ok(Token::Int(value.into())),
            Err(_) => {
                let expected = match radix {
                    8 => "octal digits (0 to 7) behind a leading 0, in 64 bits",
                    16 => "hexadecimal digits in 64 bits",
                    _ => "a number in 64 bits",
                };
                self.error(from, excerpt(self.since(from)), expected)
            }
        }
    }

    fn since(&self, from: usize) -> &'s str {
        self.text.get(from..self.at).unwrap_or_default()
    }
}
