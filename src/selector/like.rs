//! LIKE: `_` is any character, `%` any number of them, an escaped one stands for itself.
//!
//! Invariant: one pass over the text, whatever the pattern: the places in the pattern that the text so far can have
//! reached are the bits of one word. The literal ends of a pattern are compared first and may be of any length.

use crate::limits;

/// A pattern, ready to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Before the first wildcard (all of it, where there is none).
    prefix: String,
    /// Behind the last.
    suffix: String,
    between: Option<Between>,
}

/// From the first wildcard to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Between {
    /// Bit `i`: the `i`-th character of the pattern (`%` not counted) is this one; sorted by character.
    characters: Vec<(char, u128)>,
    /// Bit `i`: it is `_`.
    any: u128,
    /// Bit `i`: a `%` is in front of it.
    repeat: u128,
    /// The bit that is reached at the end of the pattern.
    end: u128,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Character(char),
    One,
    Many,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternError {
    /// The escape character is the last one.
    Escape,
    /// More than `limits::LIKE_CHARACTERS` between the wildcards; so many.
    Long(usize),
}

impl Pattern {
    pub(super) fn new(text: &str, escape: Option<char>) -> Result<Self, PatternError> {
        let mut items = Vec::new();
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            items.push(match c {
                c if Some(c) == escape => Item::Character(characters.next().ok_or(PatternError::Escape)?),
                '_' => Item::One,
                '%' => Item::Many,
                c => Item::Character(c),
            });
        }
        let wild = |item: &Item| !matches!(item, Item::Character(_));
        let plain = |items: &[Item]| -> String {
            let character = |item: &Item| if let Item::Character(c) = item { Some(*c) } else { None };
            items.iter().filter_map(character).collect()
        };
        let Some(first) = items.iter().position(wild) else {
            return Ok(Self { prefix: plain(&items), suffix: String::new(), between: None });
        };
        let (prefix, rest) = items.split_at(first);
        let (between, suffix) = rest.split_at(rest.iter().rposition(wild).map_or(0, |last| last + 1));
        let between = Some(Between::new(between)?);
        Ok(Self { prefix: plain(prefix), suffix: plain(suffix), between })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(between) = &self.between else { return text == self.prefix };
        let rest = text.strip_prefix(self.prefix.as_str());
        rest.and_then(|rest| rest.strip_suffix(self.suffix.as_str()))
            .is_some_and(|rest| between.matches(rest))
    }
}

impl Between {
    fn new(items: &[Item]) -> Result<Self, PatternError> {
        let count = items.iter().filter(|item| **item != Item::Many).count();
        if count > limits::LIKE_CHARACTERS {
            return Err(PatternError::Long(count));
        }
        let mut between = Self { characters: Vec::new(), any: 0, repeat: 0, end: 1 };
        for item in items {
            match item {
                Item::Many => between.repeat |= between.end,
                Item::One => between.any |= between.end,
                Item::Character(c) => match between.characters.iter_mut().find(|(known, _)| known == c) {
                    Some((_, bits)) => *bits |= between.end,
                    None => between.characters.push((*c, between.end)),
                },
            }
            if *item != Item::Many {
                between.end <<= 1;
            }
        }
        between.characters.sort_unstable_by_key(|(c, _)| *c);
        Ok(between)
    }

    fn matches(&self, text: &str) -> bool {
        // `%` alone, the commonest.
        if self.end == 1 && self.repeat == 1 {
            return true;
        }
        let mut reached: u128 = 1;
        for c in text.chars() {
            let at = self.characters.binary_search_by_key(&c, |(known, _)| *known).ok();
            let here = at.and_then(|at| self.characters.get(at)).map_or(0, |(_, bits)| *bits);
            reached = (reached & (here | self.any)) << 1 | reached & self.repeat;
            if reached == 0 {
                return false;
            }
        }
        reached & self.end != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern, Some('\\')).unwrap().matches(text)
    }

    /// The definition, word for word.
    fn slowly(text: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|from| slowly(&text[from..], rest)),
            Some(('_', rest)) => !text.is_empty() && slowly(&text[1..], rest),
            Some((c, rest)) => text.first() == Some(c) && slowly(&text[1..], rest),
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(text in "[ab]{0,9}", pattern in "[ab_%]{0,7}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(like(&text, &pattern), slowly(&chars(&text), &chars(&pattern)), "{} {}", text, pattern);
        }
    }

    #[test]
    fn an_escaped_wildcard_stands_for_itself() {
        assert!(like("100%", "100\\%") && !like("1000", "100\\%"));
        assert!(like("a_b", "%\\_%") && !like("axb", "%\\_%"));
        assert!(like("\\", "\\\\"));
        assert_eq!(Pattern::new("a\\", Some('\\')), Err(PatternError::Escape));
        assert!(Pattern::new("a\\", None).unwrap().matches("a\\"));
    }

    #[test]
    fn literal_ends_may_be_long_and_do_not_overlap() {
        let long = "x".repeat(5000);
        assert!(like(&long, &long) && like(&format!("{long}y"), &format!("{long}%")));
        assert!(like(&format!("{long}-{long}"), &format!("{long}_{long}")));
        assert!(!like("aba", "ab%ba") && like("abba", "ab%ba"));
        let count = limits::LIKE_CHARACTERS + 1;
        assert_eq!(Pattern::new(&format!("%{}%", "x".repeat(count)), None), Err(PatternError::Long(count)));
        let most = "x".repeat(limits::LIKE_CHARACTERS);
        assert!(
            like(&format!("..{most}.."), &format!("%{most}%")) && !like(&most[1..], &format!("%{most}%"))
        );
    }

    #[test]
    fn characters_are_not_bytes() {
        assert!(like("ä", "_") && like("€uro", "_uro") && !like("ä", "__"));
    }

    #[test]
    fn many_wildcards_cost_one_pass() {
        // Backtracking would need about 10^30 steps for this.
        let pattern = "%a".repeat(60) + "b";
        assert!(!like(&"a".repeat(10_000), &pattern));
    }
}
