//! Why bytes from a peer are not RESP.
//!
//! Small `Copy` enums with a label for the counter; they hold no bytes of the peer but the one that Redis quotes. Not what
//! a server answers: that is [`crate::message::Value::Error`]. Start at [`RequestError`], then [`ReplyError`].

use portcullis_codec::{Severity, WireError};

/// Why bytes are not a command. Where the next one begins is unknown, so the connection cannot go on.
///
/// The text is what a client is told behind `ERR `, in Redis's words where Redis has any: [`crate::encoder::protocol_error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// A number of arguments that is no number, negative, or above the limit.
    #[error("Protocol error: invalid multibulk length")]
    ArgumentCount,
    /// The digits of a number of arguments do not end.
    #[error("Protocol error: too big mbulk count string")]
    ArgumentCountDigits,
    /// More arguments than a client may send before it is known.
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangerArguments,
    /// An argument that does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", shown(*.0))]
    ExpectedBulk(u8),
    /// A length of an argument that is no number, negative, or above the limit.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// The digits of a length do not end.
    #[error("Protocol error: too big bulk count string")]
    BulkLengthDigits,
    /// A longer argument than a client may send before it is known.
    #[error("Protocol error: unauthenticated bulk length")]
    StrangerBulk,
    /// An argument goes on where it should end. Redis does not look.
    #[error("Protocol error: expected CRLF after bulk")]
    BulkEnd,
    /// An inline command, where those are not taken: anything that does not begin with `*`.
    #[error("Protocol error: expected '*', got '{}'", shown(*.0))]
    Inline(u8),
    /// An inline command without an end.
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// Quotes in an inline command that do not close, or close in front of something else than white space.
    #[error("Protocol error: unbalanced quotes in request")]
    InlineQuotes,
    /// An HTTP request: somebody's browser was made to send commands. Redis closes without a word.
    #[error("Protocol error: this is not an HTTP server")]
    CrossProtocol,
    /// The name of a command does not end within [`RequestLimits::whole`](crate::limits::RequestLimits::whole).
    #[error("Protocol error: too big command name")]
    NameTooLong,
    /// The connection ended inside of a command.
    #[error("Protocol error: unexpected end of the connection within a command")]
    Truncated,
}

/// A byte as it may stand in a reply of one line.
fn shown(byte: u8) -> char {
    if byte == b' ' || byte.is_ascii_graphic() {
        char::from(byte)
    } else {
        '?'
    }
}

impl WireError for RequestError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::ArgumentCount => "argument_count",
            Self::ArgumentCountDigits => "argument_count_digits",
            Self::StrangerArguments => "unauthenticated_argument_count",
            Self::ExpectedBulk(_) => "expected_bulk",
            Self::BulkLength => "bulk_length",
            Self::BulkLengthDigits => "bulk_length_digits",
            Self::StrangerBulk => "unauthenticated_bulk_length",
            Self::BulkEnd => "bulk_end",
            Self::Inline(_) => "inline_command",
            Self::InlineTooLong => "inline_too_long",
            Self::InlineQuotes => "inline_quotes",
            Self::CrossProtocol => "cross_protocol",
            Self::NameTooLong => "command_name_too_long",
            Self::Truncated => "truncated_command",
        }
    }
}

/// Why bytes are not a reply. Where the next one begins is unknown, so the server connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplyError {
    /// A first byte that no type of RESP2 or RESP3 has, or has at this place.
    #[error("invalid type of a reply")]
    Type,
    /// A length or number of elements that is no number, or negative where nothing can be.
    #[error("invalid length in a reply")]
    Length,
    /// A string above [`ReplyLimits::bulk`](crate::limits::ReplyLimits::bulk).
    #[error("string in a reply is too large")]
    BulkTooLarge,
    /// More elements than [`ReplyLimits::elements`](crate::limits::ReplyLimits::elements).
    #[error("too many elements in a reply")]
    Elements,
    /// Deeper nesting than [`ReplyLimits::depth`](crate::limits::ReplyLimits::depth).
    #[error("reply is nested too deep")]
    Depth,
    /// A line longer than [`ReplyLimits::line`](crate::limits::ReplyLimits::line).
    #[error("line in a reply is too long")]
    LineTooLong,
    /// A carriage return or line feed that stands alone, or a string that goes on where it should end.
    #[error("invalid end of a line in a reply")]
    LineEnd,
    /// A number, double, boolean, null or verbatim string that is not written like one.
    #[error("invalid value in a reply")]
    Value,
    /// Attributes that do not end within [`ReplyLimits::whole`](crate::limits::ReplyLimits::whole).
    #[error("attributes of a reply are too large")]
    AttributesTooLarge,
    /// A reply that was to be opened and is larger than that.
    #[error("reply is too large")]
    TooLarge,
    /// The connection ended inside of a reply.
    #[error("unexpected end of the connection within a reply")]
    Truncated,
}

impl WireError for ReplyError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Type => "reply_type",
            Self::Length => "reply_length",
            Self::BulkTooLarge => "reply_bulk_too_large",
            Self::Elements => "reply_elements",
            Self::Depth => "reply_depth",
            Self::LineTooLong => "reply_line_too_long",
            Self::LineEnd => "reply_line_end",
            Self::Value => "reply_value",
            Self::AttributesTooLarge => "reply_attributes_too_large",
            Self::TooLarge => "reply_too_large",
            Self::Truncated => "truncated_reply",
        }
    }
}
