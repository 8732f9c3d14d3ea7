//! What a client asked for when it started: who it is, and the parameters that its session begins with.
//!
//! A server connection is opened without any client's parameters; a [`Shape`] is applied when a client takes it and
//! taken off when another's differs. Values stay the bytes that the client sent: the server judges them. Start at
//! [`Opening::read`] and [`Shape::changes`].

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::sqlstate::SqlState;

/// How a client wants to speak to a server's replication side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replication {
    /// Not at all: an ordinary session.
    #[default]
    Off,
    /// Physical replication: `replication=true`.
    Physical,
    /// Logical replication in a database: `replication=database`.
    Logical,
}

/// The start-up packet, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The user that the client says it is.
    pub user: Arc<str>,
    /// The database; the user's name where the client names none.
    pub database: Arc<str>,
    /// `application_name`, as far as it is UTF-8; for facts and logs.
    pub application: Arc<str>,
    /// Whether replication is asked for.
    pub replication: Replication,
    /// The parameters of the session.
    pub shape: Arc<Shape>,
    /// `_pq_.` options, none of which is known: the client is told so (NegotiateProtocolVersion).
    pub unknown_options: Vec<Box<[u8]>>,
}

/// Why a start-up packet opens no session. The words are those of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpeningError {
    /// No `user`.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A name that is no UTF-8, so that nothing in the configuration can be meant.
    #[error("invalid byte sequence in a name of the startup packet")]
    Name,
    /// `replication` is no boolean and not `database`.
    #[error("invalid value for parameter \"replication\"")]
    Replication,
    /// `options` holds something other than settings.
    #[error("invalid command-line argument for server process")]
    Options,
}

impl OpeningError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoUser => "no_user",
            Self::Name => "startup_name",
            Self::Replication => "startup_replication",
            Self::Options => "startup_options",
        }
    }

    /// The SQLSTATE that a server would answer with.
    #[must_use]
    pub const fn sqlstate(self) -> SqlState {
        match self {
            Self::NoUser => SqlState::INVALID_AUTHORIZATION,
            Self::Name => SqlState::PROTOCOL_VIOLATION,
            Self::Replication => SqlState::INVALID_PARAMETER_VALUE,
            Self::Options => SqlState::SYNTAX_ERROR,
        }
    }
}

impl Opening {
    /// Understands the parameters of a start-up packet ("Message Formats", StartupMessage).
    ///
    /// # Errors
    /// See [`OpeningError`].
    pub fn read<'a>(
        parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, OpeningError> {
        let (mut user, mut database, mut application) = (None, None, None);
        let mut replication = Replication::Off;
        let mut unknown_options = Vec::new();
        let mut settings = Vec::new();
        for (name, value) in parameters {
            match name {
                b"user" => user = Some(text(value)?),
                b"database" => database = Some(text(value)?),
                b"replication" => replication = read_replication(value)?,
                b"options" => read_options(value, &mut settings)?,
                _ if name.starts_with(b"_pq_.") => unknown_options.push(name.into()),
                _ => settings.push((name.to_ascii_lowercase(), value.to_vec())),
            }
        }
        for (name, value) in &settings {
            if name == b"application_name" {
                application = Some(String::from_utf8_lossy(value).as_ref().into());
            }
        }
        let user: Arc<str> = user
            .filter(|user| !user.is_empty())
            .ok_or(OpeningError::NoUser)?;
        let database = database.filter(|name| !name.is_empty());
        Ok(Self {
            database: database.unwrap_or_else(|| Arc::clone(&user)),
            user,
            application: application.unwrap_or_else(|| "".into()),
            replication,
            shape: Arc::new(Shape::new(settings)),
            unknown_options,
        })
    }
}

fn text(value: &[u8]) -> Result<Arc<str>, OpeningError> {
    std::str::from_utf8(value)
        .map(Into::into)
        .map_err(|_| OpeningError::Name)
}

fn read_replication(value: &[u8]) -> Result<Replication, OpeningError> {
    match &*value.to_ascii_lowercase() {
        b"database" => Ok(Replication::Logical),
        b"true" | b"on" | b"yes" | b"1" | b"t" | b"y" => Ok(Replication::Physical),
        b"false" | b"off" | b"no" | b"0" | b"f" | b"n" => Ok(Replication::Off),
        _ => Err(OpeningError::Replication),
    }
}

/// The settings in `options`: words split at white space, where a backslash takes the next byte as it is; `-c name=value`
/// and `--name=value` ("Client Connection Defaults", PGOPTIONS).
fn read_options(value: &[u8], settings: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), OpeningError> {
    let mut words = split_words(value).into_iter();
    while let Some(word) = words.next() {
        let setting = if let Some(long) = word.strip_prefix(b"--") {
            long.to_vec()
        } else if word == b"-c" {
            words.next().ok_or(OpeningError::Options)?
        } else if let Some(short) = word.strip_prefix(b"-c") {
            short.to_vec()
        } else {
            return Err(OpeningError::Options);
        };
        let split = memchr::memchr(b'=', &setting).ok_or(OpeningError::Options)?;
        let (name, value) = setting.split_at(split);
        let name = name.iter().map(|byte| match byte {
            b'-' => b'_',
            byte => byte.to_ascii_lowercase(),
        });
        settings.push((name.collect(), value.get(1..).unwrap_or_default().to_vec()));
    }
    Ok(())
}

fn split_words(value: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => words.extend(word.take()),
            b'\\' => {
                let word = word.get_or_insert_default();
                word.extend(bytes.next());
            }
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

/// How a parameter is set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    /// The text of its value, as in a start-up packet.
    Text(Box<[u8]>),
    /// What stood behind `SET name TO`, as SQL.
    Sql(Box<[u8]>),
}

/// The parameters that a client's session has on whatever server connection it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// Sorted by name, each once.
    parameters: Box<[(Box<[u8]>, Value)]>,
    hash: u64,
}

impl Shape {
    /// Of two values for one name the later counts.
    fn new(settings: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let values = settings
            .into_iter()
            .map(|(name, value)| (name.into(), Value::Text(value.into())));
        Self::of(values.collect())
    }

    fn of(mut parameters: Vec<(Box<[u8]>, Value)>) -> Self {
        // Stable, so that of equal names the last stays last.
        parameters.sort_by(|left, right| left.0.cmp(&right.0));
        parameters.reverse();
        parameters.dedup_by(|left, right| left.0 == right.0);
        parameters.reverse();
        let mut hasher = FixedState::with_seed(7).build_hasher();
        for (name, value) in &parameters {
            hasher.write(name);
            hasher.write_u8(0);
            match value {
                Value::Text(text) => hasher.write(text),
                Value::Sql(sql) => {
                    hasher.write_u8(1);
                    hasher.write(sql);
                }
            }
            hasher.write_u8(0);
        }
        let hash = if parameters.is_empty() {
            0
        } else {
            hasher.finish()
        };
        Self {
            parameters: parameters.into(),
            hash,
        }
    }

    /// Whether nothing differs from a fresh session.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// Equal for equal shapes; 0 for the empty one.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The parameters as a start-up packet has them.
    pub fn texts(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parameters
            .iter()
            .filter_map(|(name, value)| match value {
                Value::Text(text) => Some((&**name, &**text)),
                Value::Sql(_) => None,
            })
    }

    /// This shape after `SET name TO sql`, which must be ASCII: it is written again in any encoding.
    #[must_use]
    pub fn with(&self, name: &[u8], sql: &[u8]) -> Self {
        let mut parameters = self.parameters.to_vec();
        parameters.push((name.to_ascii_lowercase().into(), Value::Sql(sql.into())));
        Self::of(parameters)
    }

    /// The parameters whose names are chosen.
    pub(super) fn only(&self, mut choose: impl FnMut(&[u8]) -> bool) -> Self {
        let parameters = self.parameters.iter();
        Self::of(
            parameters
                .filter(|(name, _)| choose(name))
                .cloned()
                .collect(),
        )
    }

    /// This shape and another; where both have a name, the other's value.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self::of(
            self.parameters
                .iter()
                .chain(&other.parameters)
                .cloned()
                .collect(),
        )
    }

    /// The SQL that turns a session of shape `from` into one of this shape; `None` if there is nothing to do. One text of several
    /// statements, so that all of it holds or none.
    #[must_use]
    pub fn changes(&self, from: &Self) -> Option<Vec<u8>> {
        if self == from {
            return None;
        }
        let mut sql = Vec::new();
        for (name, _) in &from.parameters {
            if !self.parameters.iter().any(|(own, _)| own == name) {
                sql.extend_from_slice(b"RESET ");
                push_identifier(name, &mut sql);
                sql.push(b';');
            }
        }
        for parameter in &self.parameters {
            if !from.parameters.contains(parameter) {
                push_setting(parameter, &mut sql);
            }
        }
        Some(sql)
    }

    /// The SQL that gives a session all of this shape, whatever it has; `None` if there is nothing to do.
    #[must_use]
    pub fn all(&self) -> Option<Vec<u8>> {
        self.changes(&Self::default())
    }
}

fn push_setting((name, value): &(Box<[u8]>, Value), sql: &mut Vec<u8>) {
    match value {
        // A start-up value is text, which `SET` would read as SQL: `a, b` is one name there and two here.
        Value::Text(text) => {
            sql.extend_from_slice(b"SELECT pg_catalog.set_config(");
            push_literal(name, sql);
            sql.push(b',');
            push_literal(text, sql);
            sql.extend_from_slice(b",false);");
        }
        Value::Sql(raw) => {
            sql.extend_from_slice(b"SET ");
            push_identifier(name, sql);
            sql.extend_from_slice(b" TO ");
            sql.extend_from_slice(raw);
            sql.push(b';');
        }
    }
}

/// A hash of a value, equal for equal ones.
pub(super) fn hash_of(value: &[u8]) -> u64 {
    FixedState::with_seed(13).hash_one(value)
}

/// A name of a parameter, each part of `extension.parameter` quoted.
fn push_identifier(name: &[u8], sql: &mut Vec<u8>) {
    for (index, part) in name.split(|byte| *byte == b'.').enumerate() {
        if index > 0 {
            sql.push(b'.');
        }
        sql.push(b'"');
        for byte in part {
            if *byte == b'"' {
                sql.push(b'"');
            }
            sql.push(*byte);
        }
        sql.push(b'"');
    }
}

/// A literal that means the same whatever `standard_conforming_strings` and `client_encoding` are: in some encodings a
/// backslash can be the second byte of a character, so nothing but ASCII is written. The text holds no NUL: it came from
/// between two.
fn push_literal(text: &[u8], sql: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| HEX.get(usize::from(value & 15)).copied().unwrap_or(b'0');
    sql.extend_from_slice(b"E'");
    for &byte in text {
        match byte {
            b'\'' | b'\\' => sql.extend_from_slice(&[byte, byte]),
            0x20..0x7f => sql.push(byte),
            _ => sql.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte)]),
        }
    }
    sql.push(b'\'');
}

#[cfg(test)]
mod tests;
