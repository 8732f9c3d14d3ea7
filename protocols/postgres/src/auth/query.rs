//! What `auth_query` brings: one row of a user, its password and, if the query says so, the end of its validity.
//!
//! It runs no query: the session does, over a connection of its own. That connection is started with [`PARAMETERS`] and
//! nothing that a client has sent; the user's name goes in as a bound parameter. Start at [`Credential::from_row`].

use std::time::SystemTime;

use super::client::Lookup;
use super::error::AuthError;
use super::secret::{Mock, Secret, SecretError};
use super::timestamp::{Timestamp, UnixMicros};

/// Startup parameters of the connection that asks, besides its own user and database. The client's are never among them:
/// its `search_path` would choose the functions that judge it.
pub const PARAMETERS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
];

/// What one row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `None` for a user without a password.
    secret: Option<Secret>,
    valid_until: Timestamp,
}

/// Why a row says nothing. None of these lets anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RowError {
    /// Fewer than two columns, or more than three.
    #[error("auth_query must yield user, password and, if it likes, valid_until")]
    Columns,
    /// The row is of another user than was asked for.
    #[error("auth_query yields another user")]
    OtherUser,
    /// A time that is not in PostgreSQL's ISO format.
    #[error("auth_query yields a valid_until that cannot be read")]
    ValidUntil,
    /// A password that is none.
    #[error("auth_query: {0}")]
    Secret(SecretError),
}

impl RowError {
    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Columns => "auth_query_columns",
            Self::OtherUser => "auth_query_other_user",
            Self::ValidUntil => "auth_query_valid_until",
            Self::Secret(error) => error.label(),
        }
    }
}

impl Credential {
    /// Reads a row in text format; `None` stands for NULL.
    ///
    /// # Errors
    /// See [`RowError`].
    pub fn from_row(user: &[u8], columns: &[Option<&[u8]>]) -> Result<Self, RowError> {
        let (found, password, valid_until) = match *columns {
            [found, password] => (found, password, None),
            [found, password, valid_until] => (found, password, valid_until),
            _ => return Err(RowError::Columns),
        };
        if found != Some(user) {
            return Err(RowError::OtherUser);
        }
        let secret = match password.map(Secret::parse) {
            None | Some(Err(SecretError::Empty)) => None,
            Some(Ok(secret)) => Some(secret),
            Some(Err(error)) => return Err(RowError::Secret(error)),
        };
        let valid_until = match valid_until {
            None => Timestamp::Infinity,
            Some(text) => Timestamp::parse(text).ok_or(RowError::ValidUntil)?,
        };
        Ok(Self {
            secret,
            valid_until,
        })
    }

    /// What the user can come in with now. The answer may be kept and asked again: it expires by itself.
    #[must_use]
    pub fn at(&self, now: SystemTime) -> Lookup<'_> {
        // As in PostgreSQL, the moment itself is still valid.
        if self.valid_until < Timestamp::At(UnixMicros::of(now)) {
            return Lookup::Missing(AuthError::PasswordExpired);
        }
        match &self.secret {
            Some(secret) => Lookup::Found(secret),
            None => Lookup::Missing(AuthError::NoPassword),
        }
    }

    /// Prepares a plain password for SCRAM, see [`Secret::prepare`].
    pub fn prepare(&mut self, user: &[u8], mock: &Mock) {
        if let Some(secret) = &mut self.secret {
            secret.prepare(user, mock);
        }
    }

    /// The secret, expired or not: for logging in to servers, which judge that for themselves.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 2000-02-29 00:00:00 UTC.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(264_384)
    }

    /// Name, the end of validity, and what a login comes to.
    type Validity<'a> = (
        &'a str,
        Option<&'a str>,
        Result<Option<AuthError>, RowError>,
    );
    /// Name, the row, and what is wrong with it.
    type Silent<'a> = (&'a str, &'a [Option<&'a [u8]>], RowError);

    #[test]
    fn expired_passwords_are_refused() {
        let rows: &[Validity<'_>] = &[
            ("NULL", None, Ok(None)),
            ("for ever", Some("infinity"), Ok(None)),
            (
                "never",
                Some("-infinity"),
                Ok(Some(AuthError::PasswordExpired)),
            ),
            ("until now", Some("2000-02-29 00:00:00+00"), Ok(None)),
            (
                "a moment ago",
                Some("2000-02-28 23:59:59.999999+00"),
                Ok(Some(AuthError::PasswordExpired)),
            ),
            (
                "in another zone",
                Some("2000-02-29 05:29:59+05:30"),
                Ok(Some(AuthError::PasswordExpired)),
            ),
            (
                "another style",
                Some("29/02/2000 00:00:00 UTC"),
                Err(RowError::ValidUntil),
            ),
            ("empty", Some(""), Err(RowError::ValidUntil)),
        ];
        for (name, valid_until, expected) in rows {
            let columns = [
                Some(&b"alice"[..]),
                Some(b"pencil"),
                valid_until.map(str::as_bytes),
            ];
            let found = Credential::from_row(b"alice", &columns).map(|row| match row.at(now()) {
                Lookup::Found(_) => None,
                Lookup::Missing(why) => Some(why),
            });
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn rows_that_say_nothing() {
        let (alice, pencil) = (Some(&b"alice"[..]), Some(&b"pencil"[..]));
        let rows: &[Silent<'_>] = &[
            ("no column", &[], RowError::Columns),
            ("one", &[alice], RowError::Columns),
            ("four", &[alice, pencil, None, None], RowError::Columns),
            (
                "another user",
                &[Some(b"root"), pencil],
                RowError::OtherUser,
            ),
            ("no user", &[None, pencil], RowError::OtherUser),
            (
                "a broken verifier",
                &[alice, Some(b"SCRAM-SHA-256$x")],
                RowError::Secret(SecretError::BadVerifier),
            ),
        ];
        for (name, columns, expected) in rows {
            let found = Credential::from_row(b"alice", columns);
            assert_eq!(found.err(), Some(*expected), "{name}");
        }
        for password in [None, Some(&b""[..])] {
            let row = Credential::from_row(b"alice", &[alice, password]).unwrap();
            let found = row.at(now());
            assert!(
                matches!(found, Lookup::Missing(AuthError::NoPassword)),
                "{password:?}"
            );
        }
    }
}
