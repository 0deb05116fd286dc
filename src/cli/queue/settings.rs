//! `--set KEY=VALUE` as the `settings` of a management request.
//!
//! Invariant: a value that is one in the configuration's language (TOML: numbers, true, lists, tables) is sent as that,
//! everything else as the text it is, so that neither `10s` nor `none` needs quotes. Knows no setting by name.

use serde_json::{Map, Value as Json};
use toml::Value as Toml;

use crate::cli::Failure;

/// `KEY=VALUE`.
pub(in crate::cli) fn assignment(text: &str) -> Result<(String, Json), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as max-bytes=1GiB")?;
    let key = key.trim();
    if key.is_empty() || key.split('.').any(str::is_empty) {
        return Err("expected a KEY such as max-attempts or retry-delay.initial".to_owned());
    }
    Ok((key.to_owned(), setting(value.trim())))
}

fn setting(text: &str) -> Json {
    let as_text = || Json::String(text.to_owned());
    let Ok(mut table) = toml::from_str::<toml::Table>(&format!("value = {text}")) else { return as_text() };
    match (table.remove("value"), table.is_empty()) {
        (Some(value), true) => to_json(value).unwrap_or_else(as_text),
        _ => as_text(),
    }
}

/// Nothing for what a request cannot say: points in time, infinity.
fn to_json(value: Toml) -> Option<Json> {
    Some(match value {
        Toml::String(text) => Json::String(text),
        Toml::Integer(number) => number.into(),
        Toml::Float(number) => Json::Number(serde_json::Number::from_f64(number)?),
        Toml::Boolean(own) => Json::Bool(own),
        Toml::Array(all) => Json::Array(all.into_iter().map(to_json).collect::<Option<_>>()?),
        Toml::Table(all) => {
            let pairs = all.into_iter().map(|(key, value)| Some((key, to_json(value)?)));
            Json::Object(pairs.collect::<Option<_>>()?)
        }
        Toml::Datetime(_) => return None,
    })
}

/// All assignments as one object, `retry-delay.initial` as an object within it; what is unset is null.
pub(in crate::cli) fn nested(set: Vec<(String, Json)>, unset: &[String]) -> Result<Json, Failure> {
    let mut all = Map::new();
    let unset = unset.iter().map(|key| (key.clone(), Json::Null));
    for (key, value) in set.into_iter().chain(unset) {
        insert(&mut all, &key, value).map_err(|()| {
            Failure::usage(format!("{key} is given twice, or beside a value of which it is a part"))
        })?;
    }
    Ok(Json::Object(all))
}

fn insert(into: &mut Map<String, Json>, key: &str, value: Json) -> Result<(), ()> {
    let Some((first, rest)) = key.split_once('.') else {
        return if into.insert(key.to_owned(), value).is_none() { Ok(()) } else { Err(()) };
    };
    match into.entry(first).or_insert_with(|| Json::Object(Map::new())) {
        Json::Object(inner) => insert(inner, rest, value),
        _ => Err(()),
    }
}
