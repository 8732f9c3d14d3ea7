//! What a server says of the session itself.
//!
//! Start at [`ReadyForQuery`].

use std::fmt;

use nom::Parser;
use nom::number::complete::{be_i32, be_u32};

use crate::error::MessageError;
use crate::limits::CANCEL_KEY;
use crate::message::{Strings, grammar};
use crate::startup::ProtocolVersion;

/// What a CancelRequest for this session needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// The process of the session.
    pub process: i32,
    /// Its secret, 4 to 256 bytes; 4 before protocol 3.2.
    pub key: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (be_i32, grammar::rest);
        let (process, key) = grammar::whole(body, fields)?;
        if CANCEL_KEY.contains(&key.len()) {
            Ok(Self { process, key })
        } else {
            Err(MessageError::KeyLength)
        }
    }
}

impl fmt::Debug for BackendKeyData<'_> {
    /// Without the key, which is a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BackendKeyData({})", self.process)
    }
}

/// The server does not know the protocol's minor version, or some of its options ("Protocol negotiation").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest that it knows of that major version.
    pub newest: ProtocolVersion,
    /// Options whose names it does not know.
    pub options: Strings<'a>,
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// Reads a body. Servers write the whole version where the documentation has the minor one alone: both are understood.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let (rest, (version, count)) = (be_u32, be_i32)
            .parse(body)
            .map_err(|_: nom::Err<MessageError>| MessageError::Truncated)?;
        let options = grammar::whole(rest, grammar::counted_strings(count))?;
        let mut newest = ProtocolVersion::of(version);
        if newest.major == 0 {
            newest.major = 3;
        }
        Ok(Self { newest, options })
    }
}

/// Somebody has notified a channel that the client listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// The process of the session that did it.
    pub process: i32,
    /// The channel.
    pub channel: &'a [u8],
    /// What it said.
    pub payload: &'a [u8],
}

impl<'a> NotificationResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (be_i32, grammar::string, grammar::string);
        let build = |(process, channel, payload)| Self {
            process,
            channel,
            payload,
        };
        grammar::whole(body, fields.map(build))
    }
}

/// A setting that clients want to know of has this value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The setting.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (grammar::string, grammar::string);
        grammar::whole(body, fields.map(|(name, value)| Self { name, value }))
    }
}

impl fmt::Debug for ParameterStatus<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = (self.name.escape_ascii(), self.value.escape_ascii());
        write!(formatter, "ParameterStatus({name}={value})")
    }
}

/// The server is ready for the next query cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyForQuery {
    /// Whether a transaction is open.
    pub status: TransactionStatus,
}

impl ReadyForQuery {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub const fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let status = match body {
            [b'I'] => TransactionStatus::Idle,
            [b'T'] => TransactionStatus::InTransaction,
            [b'E'] => TransactionStatus::Failed,
            [_] => return Err(MessageError::Value),
            [] => return Err(MessageError::Truncated),
            _ => return Err(MessageError::Trailing),
        };
        Ok(Self { status })
    }
}

/// Whether a transaction is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransactionStatus {
    /// None.
    #[default]
    Idle,
    /// One is.
    InTransaction,
    /// One is, and can only be rolled back.
    Failed,
}

impl TransactionStatus {
    /// `I`, `T` or `E`.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}
