//! PgBouncer's `userlist.txt`: one user to a line, name and secret in double quotes.
//!
//! ```text
//! ; a comment, as is a line that begins with #
//! "alice" "SCRAM-SHA-256$4096:…"   whatever follows is ignored
//! "bob"   "a ""quoted"" password"
//! "carol" ""                       ; known, and has no password
//! ```
//!
//! It reads text and no file: who reads it, and when again, is not decided here. Other than PgBouncer, which stops at the first
//! broken line and goes on with what it has, all errors are reported. Start at [`Userlist::parse`].

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use zeroize::Zeroizing;

use super::client::Lookup;
use super::error::AuthError;
use super::secret::{Form, Mock, Secret, SecretError};

/// Bytes of the longest name that is taken; PostgreSQL cuts names off at 63.
const LONGEST_NAME: usize = 127;

/// Errors that are reported of one text: more of them say nothing new.
const MOST_ERRORS: usize = 20;

/// Users and what is known of their passwords.
#[derive(Debug, Clone, Default)]
pub struct Userlist {
    /// `None` for users without a password.
    users: HashMap<Box<[u8]>, Option<Secret>, foldhash::fast::RandomState>,
}

/// What is wrong with one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct UserlistError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: UserlistErrorKind,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UserlistErrorKind {
    /// Something stands where a name in double quotes belongs.
    #[error("expected a user in double quotes")]
    User,
    /// Something stands where a password in double quotes belongs.
    #[error("expected a password in double quotes behind the user")]
    Password,
    /// A quote without its other.
    #[error("the double quote is not closed on this line")]
    Unclosed,
    /// A user without a name.
    #[error("the user is empty")]
    EmptyUser,
    /// A name of more than 127 bytes.
    #[error("the user's name is too long")]
    LongUser,
    /// A NUL, which no name of the protocol has.
    #[error("the user's name has a NUL")]
    NulUser,
    /// A user that had a line already.
    #[error("the user is there already")]
    Duplicate,
    /// A secret that is none.
    #[error("{0}")]
    Secret(SecretError),
}

impl Userlist {
    /// Reads a text.
    ///
    /// # Errors
    /// All lines that are wrong, the first twenty of them. Nothing of a text with a wrong line is used: the user left out
    /// may be the one whose password was just changed.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<UserlistError>> {
        let mut list = Self::default();
        let mut errors = Vec::new();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if let Err(kind) = list.add(line) {
                errors.push(UserlistError {
                    line: index + 1,
                    kind,
                });
            }
            if errors.len() >= MOST_ERRORS {
                break;
            }
        }
        if errors.is_empty() {
            Ok(list)
        } else {
            Err(errors)
        }
    }

    /// What is known of a user.
    #[must_use]
    pub fn find(&self, user: &[u8]) -> Lookup<'_> {
        match self.users.get(user) {
            Some(Some(secret)) => Lookup::Found(secret),
            Some(None) => Lookup::Missing(AuthError::NoPassword),
            None => Lookup::Missing(AuthError::UnknownUser),
        }
    }

    /// The form that most secrets have: what unknown users should look like ([`Mock::new`]). `Scram` when there are none.
    #[must_use]
    pub fn form(&self) -> Form {
        let count = |form| {
            let secrets = self.users.values().flatten();
            secrets.filter(|secret| secret.form() == form).count()
        };
        let (plain, md5, scram) = (count(Form::Plain), count(Form::Md5), count(Form::Scram));
        match () {
            () if scram >= plain.max(md5) => Form::Scram,
            () if plain >= md5 => Form::Plain,
            () => Form::Md5,
        }
    }

    /// Prepares every plain password for SCRAM, see [`Secret::prepare`]: about a millisecond for each. Not on a worker.
    pub fn prepare(&mut self, mock: &Mock) {
        for (user, secret) in &mut self.users {
            if let Some(secret) = secret {
                secret.prepare(user, mock);
            }
        }
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn add(&mut self, line: &[u8]) -> Result<(), UserlistErrorKind> {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b";") || line.starts_with(b"#") {
            return Ok(());
        }
        let (user, rest) = quoted(line, UserlistErrorKind::User)?;
        let (secret, _) = quoted(rest.trim_ascii_start(), UserlistErrorKind::Password)?;
        if user.is_empty() {
            return Err(UserlistErrorKind::EmptyUser);
        }
        if user.len() > LONGEST_NAME {
            return Err(UserlistErrorKind::LongUser);
        }
        if user.contains(&0) {
            return Err(UserlistErrorKind::NulUser);
        }
        let secret = match Secret::parse(&secret) {
            Ok(secret) => Some(secret),
            Err(SecretError::Empty) => None,
            Err(error) => return Err(UserlistErrorKind::Secret(error)),
        };
        match self.users.entry(user.as_slice().into()) {
            Entry::Occupied(_) => Err(UserlistErrorKind::Duplicate),
            Entry::Vacant(place) => {
                place.insert(secret);
                Ok(())
            }
        }
    }
}

/// What the quotes at the front enclose, with `""` for a quote, and what stands behind them.
fn quoted(
    text: &[u8],
    otherwise: UserlistErrorKind,
) -> Result<(Zeroizing<Vec<u8>>, &[u8]), UserlistErrorKind> {
    let mut rest = text.strip_prefix(b"\"").ok_or(otherwise)?;
    let mut value = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        let quote = memchr::memchr(b'"', rest).ok_or(UserlistErrorKind::Unclosed)?;
        let (inside, behind) = rest
            .split_at_checked(quote)
            .ok_or(UserlistErrorKind::Unclosed)?;
        value.extend_from_slice(inside);
        match behind {
            [b'"', b'"', behind @ ..] => {
                value.push(b'"');
                rest = behind;
            }
            _ => return Ok((value, behind.get(1..).unwrap_or_default())),
        }
    }
}
