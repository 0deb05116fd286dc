//! Credentials: who may connect, by SASL mechanism (part 5.3). Pure; no I/O, no clock.
//!
//! Invariant: a wrong user name and a wrong password are answered alike. Does not know connections;
//! permissions on addresses come with the security layers.

use std::collections::BTreeMap;

/// Who is known and what is allowed without being known.
#[derive(Debug, Clone, Default)]
pub struct Authenticator {
    anonymous: bool,
    users: BTreeMap<String, String>,
}

/// The outcome of a SASL exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// In, under this name.
    Allowed(String),
    /// Not in: the reason is for our log, never for the peer.
    Denied(String),
}

impl Authenticator {
    /// `anonymous`: whether ANONYMOUS (and skipping SASL) is allowed; `users`: name to password.
    #[must_use]
    pub fn new(anonymous: bool, users: BTreeMap<String, String>) -> Self {
        Self { anonymous, users }
    }

    /// The mechanisms to offer, preferred first. Never empty: a client must have something to fail with.
    #[must_use]
    pub fn mechanisms(&self) -> Vec<String> {
        let mut offered = Vec::new();
        if self.anonymous {
            offered.push("ANONYMOUS".to_owned());
        }
        if !self.users.is_empty() || offered.is_empty() {
            offered.push("PLAIN".to_owned());
        }
        offered
    }

    /// Whether a client may connect without a SASL layer.
    #[must_use]
    pub fn allow_bare(&self) -> bool {
        self.anonymous
    }

    /// Judges the one message that ANONYMOUS and PLAIN consist of.
    #[must_use]
    pub fn judge(&self, mechanism: &str, response: &[u8]) -> Verdict {
        match mechanism {
            "ANONYMOUS" if self.anonymous => Verdict::Allowed("anonymous".to_owned()),
            "PLAIN" if !self.users.is_empty() => self.plain(response),
            other => Verdict::Denied(format!("mechanism {other} is not offered")),
        }
    }

    /// RFC 4616: `[authzid] NUL authcid NUL password`.
    fn plain(&self, response: &[u8]) -> Verdict {
        let mut parts = response.splitn(3, |byte| *byte == 0);
        let (Some(_authzid), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
            return Verdict::Denied(
                "malformed PLAIN response, expected [authzid] NUL user NUL password".to_owned(),
            );
        };
        let user = String::from_utf8_lossy(user).into_owned();
        match self.users.get(&user) {
            Some(expected) if same(expected.as_bytes(), password) => Verdict::Allowed(user),
            Some(_) => Verdict::Denied(format!("wrong password for user {user:?}")),
            None => Verdict::Denied(format!("no user {user:?}")),
        }
    }
}

/// Compares without stopping at the first difference, so that time tells nothing about where it is.
fn same(expected: &[u8], given: &[u8]) -> bool {
    expected.len() == given.len()
        && expected.iter().zip(given).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::{Authenticator, Verdict};

    fn with_alice(anonymous: bool) -> Authenticator {
        Authenticator::new(anonymous, [("alice".to_owned(), "secret".to_owned())].into())
    }

    #[test]
    fn plain_lets_the_right_password_in_and_no_other() {
        let auth = with_alice(false);
        assert_eq!(auth.judge("PLAIN", b"\0alice\0secret"), Verdict::Allowed("alice".into()));
        for wrong in
            [&b"\0alice\0secre"[..], b"\0alice\0secrets", b"\0bob\0secret", b"alice\0secret", b"", b"\0\0"]
        {
            assert!(matches!(auth.judge("PLAIN", wrong), Verdict::Denied(_)), "{wrong:?}");
        }
    }

    #[test]
    fn anonymous_only_where_it_is_allowed() {
        assert!(matches!(with_alice(false).judge("ANONYMOUS", b""), Verdict::Denied(_)));
        assert_eq!(with_alice(true).judge("ANONYMOUS", b"x"), Verdict::Allowed("anonymous".into()));
        assert_eq!(with_alice(true).mechanisms(), ["ANONYMOUS", "PLAIN"]);
        assert_eq!(Authenticator::new(false, Default::default()).mechanisms(), ["PLAIN"]);
    }
}
