//! Judging a message: three-valued logic (true, false, unknown), as SQL-92 and JMS 3.8.1.2 have it.
//!
//! Invariant: "a comparison or arithmetic with an unknown value always yields an unknown value"; of AND and OR the
//! rest is not looked at once the result is certain. Nothing here can fail: what cannot be computed is unknown.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    Fields, Identifier, Value,
    ast::{Arithmetic, Comparison, Expr, Literal},
};
use crate::limits;

/// True, false, or unknown.
type Truth = Option<bool>;

pub(super) struct Evaluation<'a, F> {
    pub(super) identifiers: &'a [Identifier],
    pub(super) fields: &'a F,
}

impl<'a, F: Fields> Evaluation<'a, F> {
    pub(super) fn truth(&self, expr: &'a Expr) -> Truth {
        match expr {
            Expr::And(all) => self.all(all, false),
            Expr::Or(any) => self.all(any, true),
            Expr::Not(of) => self.truth(of).map(|truth| !truth),
            Expr::Compare(how, sides) => compare(*how, &self.value(&sides.0), &self.value(&sides.1)),
            Expr::Between { not, of } => self.between(*not, of),
            Expr::In { not, of, list } => self.is_in(of, list).map(|truth| truth != *not),
            Expr::Like { not, of, pattern } => {
                let like = match self.value(of) {
                    Value::Null => return None,
                    Value::Text(text) if text.len() > limits::LIKE_TEXT_BYTES => return None,
                    Value::Text(text) => pattern.matches(&text),
                    _ => false,
                };
                Some(like != *not)
            }
            Expr::IsNull { not, of } => Some((self.value(of) == Value::Null) != *not),
            Expr::Literal(Literal::Bool(truth)) => Some(*truth),
            Expr::Field(_) => match self.value(expr) {
                Value::Bool(truth) => Some(truth),
                // No condition: nothing is known of it, neither so nor negated.
                _ => None,
            },
            // Not a condition, which the parser refuses.
            Expr::Literal(_) | Expr::Negate(_) | Expr::Chain(..) => None,
        }
    }

    /// The tables of AND (`decides` is false) and OR (`decides` is true).
    fn all(&self, parts: &'a [Expr], decides: bool) -> Truth {
        let mut all = Some(!decides);
        for part in parts {
            match self.truth(part) {
                Some(truth) if truth == decides => return Some(decides),
                Some(_) => {}
                None => all = None,
            }
        }
        all
    }

    /// "age BETWEEN 15 AND 19" is "age >= 15 AND age <= 19"; negated, "age < 15 OR age > 19".
    fn between(&self, not: bool, [of, low, high]: &'a [Expr; 3]) -> Truth {
        let value = self.value(of);
        let (below, above) = if not {
            (Comparison::Less, Comparison::Greater)
        } else {
            (Comparison::GreaterOrEqual, Comparison::LessOrEqual)
        };
        match (compare(below, &value, &self.value(low)), compare(above, &value, &self.value(high))) {
            (Some(a), _) | (_, Some(a)) if a == not => Some(not),
            (Some(_), Some(_)) => Some(!not),
            _ => None,
        }
    }

    /// "Country IN ('UK', 'US')" is "Country = 'UK' OR Country = 'US'".
    fn is_in(&self, of: &'a Expr, list: &'a [Literal]) -> Truth {
        let value = self.value(of);
        if value == Value::Null {
            return None;
        }
        Some(list.iter().any(|item| compare(Comparison::Equal, &value, &literal(item)) == Some(true)))
    }

    fn value(&self, expr: &'a Expr) -> Value<'a> {
        match expr {
            Expr::Literal(value) => literal(value),
            Expr::Field(index) => {
                self.identifiers.get(*index).map_or(Value::Null, |identifier| self.fields.get(identifier))
            }
            Expr::Negate(of) => match self.value(of) {
                Value::Int(n) => n.checked_neg().map_or(Value::Null, Value::Int),
                Value::Float(n) => Value::Float(-n),
                _ => Value::Null,
            },
            Expr::Chain(first, rest) => {
                let value = self.value(first);
                rest.iter().fold(value, |value, (how, next)| compute(*how, &value, &self.value(next)))
            }
            condition => self.truth(condition).map_or(Value::Null, Value::Bool),
        }
    }
}

fn literal(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Float(value) => Value::Float(*value),
        Literal::Text(text) => Value::Text(Cow::Borrowed(text)),
    }
}

/// As the nearest double; "the type conversion required is defined by the rules of Java numeric promotion".
fn float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        _ => None,
    }
}

fn compare(how: Comparison, left: &Value<'_>, right: &Value<'_>) -> Truth {
    let equal = |equal: bool| match how {
        Comparison::Equal => equal,
        Comparison::Unequal => !equal,
        // "String and Boolean comparison is restricted to = and <>."
        _ => false,
    };
    Some(match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return None,
        (Value::Text(a), Value::Text(b)) => equal(a == b),
        (Value::Bool(a), Value::Bool(b)) => equal(a == b),
        (Value::Int(a), Value::Int(b)) => holds(how, Some(a.cmp(b))),
        (a, b) => match (float(a), float(b)) {
            (Some(a), Some(b)) => holds(how, a.partial_cmp(&b)),
            // "If the comparison of non-like type values is attempted, the value of the operation is false."
            _ => false,
        },
    })
}

/// Whether an order is as asked; there is none with what is not a number, which equals nothing.
fn holds(how: Comparison, order: Option<Ordering>) -> bool {
    match how {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::Unequal => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// Exact numbers stay exact; a division by zero, an overflow and what is no number are unknown.
fn compute(how: Arithmetic, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        let exact = match how {
            Arithmetic::Add => a.checked_add(*b),
            Arithmetic::Subtract => a.checked_sub(*b),
            Arithmetic::Multiply => a.checked_mul(*b),
            Arithmetic::Divide => a.checked_div(*b),
        };
        return exact.map_or(Value::Null, Value::Int);
    }
    let (Some(a), Some(b)) = (float(left), float(right)) else { return Value::Null };
    Value::Float(match how {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
    })
}
