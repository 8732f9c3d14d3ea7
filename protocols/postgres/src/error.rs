//! Why bytes from a peer are not Postgres.
//!
//! Small `Copy` enums with a label for the counter; they hold no bytes of the peer. Not what a server answers: that is
//! [`crate::message::backend::ErrorFields`]. Start at [`FrameError`], then [`MessageError`]; the errors of a start-up
//! packet are in [`crate::startup`].

use nom::error::{ErrorKind, ParseError};
use portcullis_codec::{Severity, WireError};

/// Why bytes are not a message. Where the next one begins is unknown, so the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// A type byte that this side never sends ("Message Formats").
    #[error("invalid frontend message type")]
    UnknownFrontend,
    /// A type byte that a server never sends.
    #[error("invalid backend message type")]
    UnknownBackend,
    /// A length that no message of its type has: below 4, negative, or other than the one that is possible.
    #[error("invalid message length")]
    Length,
    /// A length above what messages of this type may have.
    #[error("message too large")]
    TooLarge,
    /// The connection ended inside a message.
    #[error("unexpected end of the connection within a message")]
    Truncated,
}

impl WireError for FrameError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::UnknownFrontend => "unknown_frontend_message",
            Self::UnknownBackend => "unknown_backend_message",
            Self::Length => "message_length",
            Self::TooLarge => "message_too_large",
            Self::Truncated => "truncated_message",
        }
    }
}

/// Why the body of a message is not what its type promises. The next message is not in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MessageError {
    /// The body ends inside of a field.
    #[error("insufficient data left in message")]
    Truncated,
    /// The body goes on behind the last field.
    #[error("invalid message format")]
    Trailing,
    /// A string without its NUL.
    #[error("invalid string in message")]
    Unterminated,
    /// The length of a value that is negative without being -1 (NULL).
    #[error("invalid length of a value in message")]
    ValueLength,
    /// A byte or number that is none of those that its field may have.
    #[error("invalid value in message")]
    Value,
    /// A cancel key that is not 4 to 256 bytes long ("Message Formats", BackendKeyData).
    #[error("invalid length of a cancel key")]
    KeyLength,
    /// The type of the message is not the one that was asked for.
    #[error("unexpected message type")]
    Tag,
}

impl WireError for MessageError {
    fn severity(&self) -> Severity {
        Severity::Message
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Truncated => "message_truncated",
            Self::Trailing => "message_trailing_bytes",
            Self::Unterminated => "message_unterminated_string",
            Self::ValueLength => "message_value_length",
            Self::Value => "message_value",
            Self::KeyLength => "message_key_length",
            Self::Tag => "message_tag",
        }
    }
}

/// What nom's own parsers complain about is always that input ends too early.
impl ParseError<&[u8]> for MessageError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}
