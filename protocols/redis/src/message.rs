//! Replies that are opened: a tree over the bytes that they came in.
//!
//! For what the gateway itself wants to know or to merge (HELLO, COMMAND, CLUSTER SLOTS, MGET in parts); what is only passed
//! on is never opened. A tree costs up to thirty times its bytes, so what is opened has a small limit. Start at
//! [`Value`], then [`ValueDecoder`].

mod decoder;

use bytes::Bytes;

use crate::reply::ReplyKind;

pub use decoder::{MOST_DEPTH, ValueDecoder, ValueLimits, parse};

/// Which RESP is spoken: what `HELLO` chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RespVersion {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// What `HELLO 3` asks for.
    Resp3,
}

/// A value of RESP. What was streamed looks like what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `+`: no CR and no LF.
    Simple(Bytes),
    /// `-`: no CR and no LF, and without the type.
    Error(Bytes),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Bytes),
    /// `*`
    Array(Vec<Self>),
    /// `$-1`, `*-1` or `_`
    Null(Null),
    /// `,` as it was written.
    Double(Bytes),
    /// `#`
    Boolean(bool),
    /// `(` as it was written.
    BigNumber(Bytes),
    /// `!`
    BulkError(Bytes),
    /// `=`
    Verbatim {
        /// Three letters: `txt`, `mkd`.
        format: [u8; 3],
        /// The text.
        text: Bytes,
    },
    /// `%` in the order of the wire.
    Map(Vec<(Self, Self)>),
    /// `~` in the order of the wire; that nothing is there twice is not looked at.
    Set(Vec<Self>),
    /// `>`
    Push(Vec<Self>),
    /// `|` and the value that they are of, which has none itself. Several `|` in a row are one.
    Attributed(Box<Attributed>),
}

/// The forms of nil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Null {
    /// `$-1`
    Bulk,
    /// `*-1`
    Array,
    /// `_`
    Resp3,
}

/// A value with attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributed {
    /// Names and what they are.
    pub attributes: Vec<(Value, Value)>,
    /// The value.
    pub value: Value,
}

impl Value {
    /// A string.
    #[must_use]
    pub fn bulk(bytes: impl Into<Bytes>) -> Self {
        Self::Bulk(bytes.into())
    }

    /// Its type; of a value with attributes that of the value.
    #[must_use]
    pub fn kind(&self) -> ReplyKind {
        match self.bare() {
            Self::Simple(_) => ReplyKind::Simple,
            Self::Error(_) => ReplyKind::Error,
            Self::Integer(_) => ReplyKind::Integer,
            Self::Bulk(_) => ReplyKind::Bulk,
            Self::Array(_) | Self::Attributed(_) => ReplyKind::Array,
            Self::Null(Null::Bulk) => ReplyKind::NullBulk,
            Self::Null(Null::Array) => ReplyKind::NullArray,
            Self::Null(Null::Resp3) => ReplyKind::Null,
            Self::Double(_) => ReplyKind::Double,
            Self::Boolean(_) => ReplyKind::Boolean,
            Self::BigNumber(_) => ReplyKind::BigNumber,
            Self::BulkError(_) => ReplyKind::BulkError,
            Self::Verbatim { .. } => ReplyKind::Verbatim,
            Self::Map(_) => ReplyKind::Map,
            Self::Set(_) => ReplyKind::Set,
            Self::Push(_) => ReplyKind::Push,
        }
    }

    /// The value without its attributes.
    #[must_use]
    pub fn bare(&self) -> &Self {
        let mut value = self;
        while let Self::Attributed(attributed) = value {
            value = &attributed.value;
        }
        value
    }

    /// The bytes of a string of any type, verbatim ones without their format. `None` for errors and everything else.
    #[must_use]
    pub fn text(&self) -> Option<&Bytes> {
        match self.bare() {
            Self::Simple(bytes) | Self::Bulk(bytes) | Self::Verbatim { text: bytes, .. } => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// The text of an error in either form.
    #[must_use]
    pub fn error(&self) -> Option<&Bytes> {
        match self.bare() {
            Self::Error(bytes) | Self::BulkError(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A number, also one that is written in a string, as RESP2 often has it.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self.bare() {
            Self::Integer(number) => Some(*number),
            other => crate::grammar::integer(other.text()?),
        }
    }

    /// The elements of an array, a set or a push.
    #[must_use]
    pub fn elements(&self) -> Option<&[Self]> {
        match self.bare() {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => Some(elements),
            _ => None,
        }
    }

    /// The pairs of a map, or of the array that RESP2 has in place of one. An element without its partner is left out.
    pub fn pairs(&self) -> impl Iterator<Item = (&Self, &Self)> {
        let (map, flat): (&[(Self, Self)], &[Self]) = match self.bare() {
            Self::Map(pairs) => (pairs, &[]),
            Self::Array(elements) => (&[], elements),
            _ => (&[], &[]),
        };
        let flat = flat.as_chunks::<2>().0;
        map.iter()
            .map(|(name, value)| (name, value))
            .chain(flat.iter().map(|[name, value]| (name, value)))
    }

    /// What a map, or the array in place of one, has under `name`.
    #[must_use]
    pub fn field(&self, name: &[u8]) -> Option<&Self> {
        self.pairs()
            .find_map(|(key, value)| (key.text()? == name).then_some(value))
    }
}

#[cfg(test)]
mod tests;
