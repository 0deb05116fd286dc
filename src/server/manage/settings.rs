//! Settings of one queue, from a request to the text that is kept: checked as the configuration file is.
//!
//! Invariant: what `checked` lets pass is taken whole by `Config::overlaid`, and its dead letters go to what there can
//! be, and not in a circle.

use toml::{Table, Value};

use super::House;
use crate::{
    broker::QueuePolicy,
    config::settings_of,
    limits::QUEUE_SETTINGS_BYTES,
    management::{Key, Reply, Tree},
};

/// Settings kept so far, with these changes; null takes one back.
///
/// # Errors
/// When one is none, or they are too many.
pub fn merged(kept: &str, changes: Vec<(Key, Tree)>) -> Result<String, Reply> {
    // What is kept was written here.
    let mut table: Table = kept.parse().unwrap_or_default();
    let known = settings_of(&QueuePolicy::default());
    for (key, value) in changes {
        if !known.contains_key(&*key) {
            let (key, all) =
                (Tree::from(&*key).brief(), known.keys().cloned().collect::<Vec<_>>().join(", "));
            return Err(Reply::bad(format!("settings.{key}: unknown setting, expected one of {all}")));
        }
        if value == Tree::Null {
            table.remove(&*key);
        } else {
            let value = to_toml(&key, &value)?;
            table.insert(key.into_owned(), value);
        }
    }
    let text = toml::to_string(&table).map_err(|why| Reply::bad(format!("settings: {why}")))?;
    if text.len() > QUEUE_SETTINGS_BYTES {
        let got = text.len();
        return Err(Reply::bad(format!(
            "settings of {got} bytes as text: expected at most {QUEUE_SETTINGS_BYTES}; \
             put long rules into the configuration file"
        )));
    }
    Ok(text)
}

/// The rules that settings come to for the queue of this name.
///
/// # Errors
/// With all that is wrong with them, as the configuration file would be told.
pub fn checked(house: &House, name: &str, settings: &str) -> Result<QueuePolicy, Reply> {
    let live = house.live.now();
    let (policy, problems) = live.config.overlaid(name, settings);
    if !problems.is_empty() {
        return Err(Reply::bad(problems.join("; ")));
    }
    let Some(target) = &policy.dead_letter_queue else { return Ok(policy) };
    if !live.config.may_create(target) && house.registry.named(target).is_none() {
        return Err(Reply::bad(format!(
            "settings.dead-letter-queue = {target:?}: expected a queue that exists or that `create` matches"
        )));
    }
    let mut path = vec![name.to_owned(), target.clone()];
    while let Some(next) = path.last().and_then(|last| house.registry.dead_letter_queue(last)) {
        let (circle, seen) = (next == name, path.contains(&next));
        path.push(next);
        if circle {
            let path = path.join(" -> ");
            return Err(Reply::bad(format!(
                "settings.dead-letter-queue: dead letters go in a circle: {path}"
            )));
        }
        if seen {
            break; // Some other queues' circle.
        }
    }
    Ok(policy)
}

/// A policy as the attribute `settings`.
pub fn tree(policy: &QueuePolicy) -> Tree {
    from_toml(Value::Table(settings_of(policy)))
}

fn to_toml(key: &str, value: &Tree) -> Result<Value, Reply> {
    let wrong = || {
        let got = value.brief();
        Reply::bad(format!("settings.{key} = {got}: expected text, a number, a boolean, a list or a map"))
    };
    Ok(match value {
        Tree::Bool(value) => Value::Boolean(*value),
        Tree::Unsigned(value) => Value::Integer(i64::try_from(*value).map_err(|_| wrong())?),
        Tree::Signed(value) => Value::Integer(*value),
        Tree::Float(value) => Value::Float(*value),
        Tree::Text(text) | Tree::Symbol(text) => Value::String(text.clone()),
        Tree::List(values) => {
            Value::Array(values.iter().map(|value| to_toml(key, value)).collect::<Result<_, _>>()?)
        }
        Tree::Map(pairs) => {
            let pair = |(inner, value): &(Key, Tree)| {
                Ok((inner.clone().into_owned(), to_toml(&format!("{key}.{inner}"), value)?))
            };
            Value::Table(pairs.iter().map(pair).collect::<Result<_, Reply>>()?)
        }
        Tree::Null | Tree::Time(_) | Tree::Binary(_) | Tree::Encoded(_) => return Err(wrong()),
    })
}

fn from_toml(value: Value) -> Tree {
    match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Boolean(value) => value.into(),
        Value::Datetime(at) => at.to_string().into(),
        Value::Array(values) => Tree::List(values.into_iter().map(from_toml).collect()),
        Value::Table(table) => {
            Tree::Map(table.into_iter().map(|(key, value)| (Key::Owned(key), from_toml(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &'static str, value: impl Into<Tree>) -> (Key, Tree) {
        (Key::Borrowed(key), value.into())
    }

    #[test]
    fn changes_are_kept_beside_what_is_kept_and_null_takes_one_back() {
        let kept = merged("", vec![change("max-attempts", 3u64), change("max-ttl", "90s")]).unwrap();
        let kept = merged(&kept, vec![change("max-ttl", Tree::Null), change("expired", "discard")]).unwrap();
        let table: Table = kept.parse().unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(table["max-attempts"], Value::Integer(3));
        assert_eq!(table["expired"], Value::String("discard".into()));
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        let why = |changes| merged("", changes).unwrap_err().description;
        assert!(why(vec![change("max-mesages", Tree::Null)]).contains("unknown setting, expected one of"));
        assert!(
            why(vec![change("max-ttl", Tree::map([("a", Tree::Null)]))])
                .contains("settings.max-ttl.a = null")
        );
        let long = Tree::map([("slow", "x".repeat(QUEUE_SETTINGS_BYTES).into())]);
        assert!(why(vec![change("delays", long)]).contains("expected at most 16384"));
    }

    #[test]
    fn the_attribute_settings_can_be_given_back_as_settings() {
        let policy = QueuePolicy { max_attempts: 7, ..QueuePolicy::default() };
        let Tree::Map(pairs) = tree(&policy) else { panic!("no map") };
        let text = merged("", pairs).unwrap();
        assert_eq!(crate::config::Config::default().overlaid("q", &text), (policy, Vec::new()));
    }
}
