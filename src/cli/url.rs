//! `amqp://user:password@host:port`: where a broker is and who we are.
//!
//! Invariant: host is not empty; IPv6 addresses lose their brackets. Shown without the password.

use std::{fmt, str::FromStr};

/// A broker's address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub host: String,
    pub port: u16,
    pub user: Option<(String, String)>,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected amqp://[USER:PASSWORD@]HOST[:PORT]".to_owned();
        let rest = match text.split_once("://") {
            Some(("amqp", rest)) => rest,
            Some(("amqps", _)) => return Err("amqps:// (TLS) is not supported yet; use amqp://".to_owned()),
            Some((scheme, _)) => return Err(format!("{}, got scheme {scheme}://", expected())),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((login, place)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                let decoded = decode(user).zip(decode(password)).ok_or_else(expected)?;
                (Some(decoded).filter(|(user, _)| !user.is_empty()), place)
            }
        };
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(expected)?)),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if let Some((_, path)) = place.split_once('/') {
            return Err(format!("{}, got a path, /{path}; a queue is named on its own", expected()));
        }
        let port = port.map_or(Ok(5672), str::parse).map_err(|_| expected())?;
        if host.is_empty() {
            return Err(expected());
        }
        Ok(Self { host: host.to_owned(), port, user })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("amqp://")?;
        if let Some((user, _)) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `%40` and the like.
fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
