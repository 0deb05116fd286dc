//! From tokens to the tree, by recursive descent; and what can be known to be wrong without a message.
//!
//! Invariant: recursion is bounded by `limits::SELECTOR_DEPTH`. "Syntax is checked when the selector is presented", so
//! also refused are conditions that no message can make anything but unknown or false: a number as a condition,
//! arithmetic on texts, texts in an order.
//!
//! ```text
//! or      = and { OR and }
//! and     = not { AND not }
//! not     = NOT not | compare
//! compare = sum [ (= | <> | < | <= | > | >=) sum | [NOT] BETWEEN sum AND sum | [NOT] IN ( literal {, literal} )
//!                | [NOT] LIKE text [ESCAPE text] | IS [NOT] NULL ]
//! sum     = product { (+ | -) product }
//! product = sign { (* | /) sign }
//! sign    = (+ | -) sign | literal | identifier | ( or )
//! ```

use rustc_hash::FxHashMap;

use super::{
    Identifier,
    ast::{Arithmetic, Comparison, Expr, Kind, Literal},
    error::{SelectorError, excerpt},
    lexer::{Lexer, Token},
    like::{Pattern, PatternError},
};
use crate::limits;

type Result<T> = std::result::Result<T, SelectorError>;

/// "Identifiers cannot be the names NULL, TRUE, FALSE … NOT, AND, OR, BETWEEN, LIKE, IN, IS or ESCAPE."
const KEYWORDS: [&str; 11] =
    ["NULL", "TRUE", "FALSE", "NOT", "AND", "OR", "BETWEEN", "LIKE", "IN", "IS", "ESCAPE"];

/// Reads a selector; `None` where it is blank.
pub(super) fn parse(text: &str) -> Result<(Option<Expr>, Box<[Identifier]>)> {
    if text.len() > limits::SELECTOR_BYTES {
        let (got, expected) = (text.len(), limits::SELECTOR_BYTES);
        let got = format!("a selector of {got} bytes");
        return Err(SelectorError::new(text, 0, got, format!("at most {expected}")));
    }
    let mut parser = Parser {
        text,
        lexer: Lexer::new(text),
        at: 0,
        token: Token::End,
        depth: 0,
        names: FxHashMap::default(),
    };
    parser.advance()?;
    if parser.token == Token::End {
        return Ok((None, Box::default()));
    }
    let (at, condition) = (parser.at, parser.or()?);
    parser.expect_kind(at, &condition, Kind::Condition)?;
    if parser.token != Token::End {
        return parser.error("an operator or the end");
    }
    Ok((Some(condition), parser.identifiers()))
}

struct Parser<'s> {
    text: &'s str,
    lexer: Lexer<'s>,
    /// The token to look at, and its byte.
    token: Token<'s>,
    at: usize,
    depth: usize,
    names: FxHashMap<String, usize>,
}

impl<'s> Parser<'s> {
    fn advance(&mut self) -> Result<Token<'s>> {
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn error<T>(&self, expected: impl Into<String>) -> Result<T> {
        let got = match &self.token {
            Token::End => "the end".to_owned(),
            Token::Word(word) => match keyword(word) {
                Some(keyword) => format!("the keyword {keyword}"),
                None => excerpt(word),
            },
            Token::Quoted(name) => excerpt(name),
            Token::Text(text) => format!("the text {}", excerpt(text)),
            Token::Int(n) => format!("the number {n}"),
            Token::Float(n) => format!("the number {n:?}"),
            Token::Symbol(symbol) => format!("{symbol:?}"),
        };
        Err(SelectorError::new(self.text, self.at, got, expected))
    }

    /// Takes a keyword if it is next.
    fn word(&mut self, keyword: &str) -> Result<bool> {
        let found = matches!(self.token, Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Takes a symbol if it is next.
    fn symbol(&mut self, symbol: &str) -> Result<bool> {
        let found = matches!(self.token, Token::Symbol(next) if next == symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<()> {
        if self.symbol(symbol)? { Ok(()) } else { self.error(format!("{symbol:?}")) }
    }

    /// Refuses what is known to be of another kind.
    fn expect_kind(&self, at: usize, expr: &Expr, expected: Kind) -> Result<()> {
        match expr.kind() {
            Kind::Any => Ok(()),
            kind if kind == expected => Ok(()),
            kind => Err(SelectorError::new(self.text, at, kind.name(), expected.name())),
        }
    }

    /// One level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == limits::SELECTOR_DEPTH {
            return self.error(format!("at most {} levels of nesting", limits::SELECTOR_DEPTH));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    /// A list of conditions with a keyword between them.
    fn joined(
        &mut self,
        keyword: &str,
        part: fn(&mut Self) -> Result<Expr>,
        join: fn(Box<[Expr]>) -> Expr,
    ) -> Result<Expr> {
        let at = self.at;
        let first = part(self)?;
        if !matches!(self.token, Token::Word(word) if word.eq_ignore_ascii_case(keyword)) {
            return Ok(first);
        }
        self.expect_kind(at, &first, Kind::Condition)?;
        let mut all = vec![first];
        while self.word(keyword)? {
            let at = self.at;
            let next = part(self)?;
            self.expect_kind(at, &next, Kind::Condition)?;
            all.push(next);
        }
        Ok(join(all.into()))
    }

    fn or(&mut self) -> Result<Expr> {
        self.joined("OR", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr> {
        self.joined("AND", Self::not, Expr::And)
    }

    fn not(&mut self) -> Result<Expr> {
        if !self.word("NOT")? {
            return self.compare();
        }
        let at = self.at;
        let of = self.deeper(Self::not)?;
        self.expect_kind(at, &of, Kind::Condition)?;
        Ok(Expr::Not(Box::new(of)))
    }

    fn compare(&mut self) -> Result<Expr> {
        let at = self.at;
        let left = self.sum()?;
        if let Token::Symbol(symbol) = self.token
            && let Some(how) = Comparison::of(symbol)
        {
            let operator = self.at;
            self.advance()?;
            let right_at = self.at;
            let right = self.sum()?;
            self.check_comparison(&left, (operator, how), (right_at, &right))?;
            return Ok(Expr::Compare(how, Box::new((left, right))));
        }
        if self.word("IS")? {
            let not = self.word("NOT")?;
            if !self.word("NULL")? {
                return self.error(if not { "NULL" } else { "NULL or NOT NULL" });
            }
            return Ok(Expr::IsNull { not, of: Box::new(left) });
        }
        let not = self.word("NOT")?;
        if self.word("BETWEEN")? {
            self.expect_kind(at, &left, Kind::Number)?;
            let low = self.number()?;
            if !self.word("AND")? {
                return self.error("AND");
            }
            let of = Box::new([left, low, self.number()?]);
            return Ok(Expr::Between { not, of });
        }
        if self.word("IN")? {
            let list = self.list()?;
            return Ok(Expr::In { not, of: Box::new(left), list });
        }
        if self.word("LIKE")? {
            self.expect_kind(at, &left, Kind::Text)?;
            let pattern = Box::new(self.pattern()?);
            return Ok(Expr::Like { not, of: Box::new(left), pattern });
        }
        if not { self.error("BETWEEN, IN or LIKE") } else { Ok(left) }
    }

    /// "Only like type values can be compared … String and Boolean comparison is restricted to = and <>."
    fn check_comparison(
        &self,
        left: &Expr,
        (operator, how): (usize, Comparison),
        (right_at, right): (usize, &Expr),
    ) -> Result<()> {
        let ordered = !matches!(how, Comparison::Equal | Comparison::Unequal);
        for kind in [left.kind(), right.kind()] {
            if ordered && matches!(kind, Kind::Text | Kind::Condition) {
                let got = format!("an order asked of {}", kind.name());
                return Err(SelectorError::new(
                    self.text,
                    operator,
                    got,
                    "= or <>, since only numbers have an order",
                ));
            }
        }
        match (left.kind(), right.kind()) {
            (Kind::Any, _) => Ok(()),
            (kind, _) => self.expect_kind(right_at, right, kind),
        }
    }

    fn number(&mut self) -> Result<Expr> {
        let at = self.at;
        let number = self.sum()?;
        self.expect_kind(at, &number, Kind::Number)?;
        Ok(number)
    }

    fn list(&mut self) -> Result<Box<[Literal]>> {
        self.expect_symbol("(")?;
        let mut list = Vec::new();
        loop {
            let negative = self.symbol("-")?;
            let signed = negative || self.symbol("+")?;
            list.push(match self.literal()? {
                Some(Literal::Int(n)) => Literal::Int(if negative { -n } else { n }),
                Some(Literal::Float(n)) => Literal::Float(if negative { -n } else { n }),
                Some(literal) if !signed => literal,
                _ => return self.error(if signed { "a number" } else { "a literal" }),
            });
            if !self.symbol(",")? {
                break;
            }
        }
        if !self.symbol(")")? {
            return self.error("\",\" or \")\"");
        }
        Ok(list.into())
    }

    fn pattern(&mut self) -> Result<Pattern> {
        let at = self.at;
        let Token::Text(_) = self.token else { return self.error("a pattern in single quotes") };
        let Token::Text(pattern) = self.advance()? else { return self.error("a pattern in single quotes") };
        let mut escape = None;
        if self.word("ESCAPE")? {
            let Token::Text(text) = &self.token else {
                return self.error("an escape character in single quotes");
            };
            let mut characters = text.chars();
            escape = characters.next();
            if escape.is_none() || characters.next().is_some() {
                return self.error("one escape character in single quotes");
            }
            self.advance()?;
        }
        Pattern::new(&pattern, escape).map_err(|why| {
            let (got, expected) = match why {
                PatternError::Escape => {
                    ("the escape character at its end".to_owned(), "a character behind it".to_owned())
                }
                PatternError::Long(count) => {
                    let most = limits::LIKE_CHARACTERS;
                    (format!("{count} characters between its wildcards"), format!("at most {most}"))
                }
            };
            SelectorError::new(self.text, at, format!("a pattern with {got}"), expected)
        })
    }

    /// Operations of one precedence.
    fn chain(
        &mut self,
        part: fn(&mut Self) -> Result<Expr>,
        operators: [(&str, Arithmetic); 2],
    ) -> Result<Expr> {
        let at = self.at;
        let first = part(self)?;
        let mut rest = Vec::new();
        while let Token::Symbol(symbol) = self.token
            && let Some((_, how)) = operators.iter().find(|(operator, _)| *operator == symbol)
        {
            self.expect_kind(at, &first, Kind::Number)?;
            self.advance()?;
            let at = self.at;
            let next = part(self)?;
            self.expect_kind(at, &next, Kind::Number)?;
            rest.push((*how, next));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest.into()) })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.chain(Self::product, [("+", Arithmetic::Add), ("-", Arithmetic::Subtract)])
    }

    fn product(&mut self) -> Result<Expr> {
        self.chain(Self::sign, [("*", Arithmetic::Multiply), ("/", Arithmetic::Divide)])
    }

    fn sign(&mut self) -> Result<Expr> {
        let negative = self.symbol("-")?;
        if !negative && !self.symbol("+")? {
            return self.primary();
        }
        let at = self.at;
        let of = self.deeper(Self::sign)?;
        self.expect_kind(at, &of, Kind::Number)?;
        Ok(match of {
            Expr::Literal(Literal::Int(n)) if negative => Expr::Literal(Literal::Int(-n)),
            Expr::Literal(Literal::Float(n)) if negative => Expr::Literal(Literal::Float(-n)),
            of if negative => Expr::Negate(Box::new(of)),
            // `+name` is a number too: adding nothing makes other values unknown.
            Expr::Field(_) => {
                Expr::Chain(Box::new(of), Box::new([(Arithmetic::Add, Expr::Literal(Literal::Int(0)))]))
            }
            of => of,
        })
    }

    fn primary(&mut self) -> Result<Expr> {
        if self.symbol("(")? {
            let inner = self.deeper(Self::or)?;
            self.expect_symbol(")")?;
            return Ok(inner);
        }
        if let Some(literal) = self.literal()? {
            return Ok(Expr::Literal(literal));
        }
        let name = match &self.token {
            Token::Quoted(name) => name.clone(),
            Token::Word(word) if keyword(word).is_none() => (*word).to_owned(),
            _ => return self.error("a name, a literal or \"(\""),
        };
        self.advance()?;
        let next = self.names.len();
        Ok(Expr::Field(*self.names.entry(name).or_insert(next)))
    }

    /// Takes a literal if one is next.
    fn literal(&mut self) -> Result<Option<Literal>> {
        let literal = match &mut self.token {
            Token::Text(text) => Literal::Text(std::mem::take(text).into()),
            Token::Int(n) => Literal::Int(*n),
            Token::Float(n) => Literal::Float(*n),
            Token::Word(word) if word.eq_ignore_ascii_case("TRUE") => Literal::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("FALSE") => Literal::Bool(false),
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(literal))
    }

    fn identifiers(self) -> Box<[Identifier]> {
        let mut all: Vec<Identifier> =
            self.names.into_iter().map(|(name, index)| Identifier { name: name.into(), index }).collect();
        all.sort_unstable_by_key(|identifier| identifier.index);
        all.into()
    }
}

/// The keyword a word is, whatever its case.
fn keyword(word: &str) -> Option<&'static str> {
    KEYWORDS.iter().copied().find(|keyword| word.eq_ignore_ascii_case(keyword))
}
