//! Why bytes are not a frame, and why a frame has no wire form.
//!
//! Small `Copy` enums with a label for the counter and the code for the peer; they hold no bytes of it. Not what a guard
//! refuses: that is [`crate::GuardError`]. Start at [`FrameError`].

use nom::error::{ErrorKind, ParseError};
use portcullis_codec::{Severity, WireError};

use crate::frame::ErrorCode;

/// Why bytes are not a frame. After an error of the severity [`Severity::Stream`] the frame has been taken off the buffer
/// and decoding goes on; after any other the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// A payload larger than we allow (RFC 9113 section 4.2).
    #[error("frame too large")]
    TooLarge,
    /// A length that the kind cannot have (sections 6.1 to 6.10).
    #[error("invalid frame length")]
    Length,
    /// A PRIORITY that is not five bytes long (section 6.3).
    #[error("invalid length of PRIORITY")]
    PriorityLength,
    /// A frame about a stream on the connection.
    #[error("frame without a stream")]
    NoStream,
    /// A frame about the connection on a stream.
    #[error("frame about the connection on a stream")]
    OnStream,
    /// More padding than payload (sections 6.1 and 6.2).
    #[error("padding longer than the payload")]
    Padding,
    /// A promise of no stream (section 6.6).
    #[error("promise of no stream")]
    PromisedStream,
    /// A parameter with a value that it cannot have (section 6.5.2).
    #[error("invalid value of a setting")]
    SettingValue,
    /// An initial window past 2^31-1 (section 6.5.2).
    #[error("initial window too large")]
    InitialWindow,
    /// A window of a stream that opens by nothing (section 6.9).
    #[error("window update of zero")]
    ZeroIncrement,
    /// The window of the connection that opens by nothing (section 6.9).
    #[error("window update of zero on the connection")]
    ZeroConnectionIncrement,
    /// Another frame than CONTINUATION of the same stream inside a header block (section 6.10).
    #[error("frame inside a header block")]
    ExpectedContinuation,
    /// CONTINUATION outside a header block (section 6.10).
    #[error("CONTINUATION outside a header block")]
    UnexpectedContinuation,
    /// The connection ended inside a frame.
    #[error("truncated frame")]
    Truncated,
}

impl FrameError {
    /// What GOAWAY or RST_STREAM says.
    #[must_use]
    pub const fn error_code(self) -> ErrorCode {
        match self {
            Self::TooLarge | Self::Length | Self::PriorityLength => ErrorCode::FRAME_SIZE_ERROR,
            Self::InitialWindow => ErrorCode::FLOW_CONTROL_ERROR,
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }
}

impl WireError for FrameError {
    fn severity(&self) -> Severity {
        match self {
            Self::PriorityLength | Self::ZeroIncrement => Severity::Stream,
            _ => Severity::Connection,
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::TooLarge => "h2_frame_too_large",
            Self::Length => "h2_invalid_length",
            Self::PriorityLength => "h2_invalid_priority_length",
            Self::NoStream => "h2_no_stream",
            Self::OnStream => "h2_unexpected_stream",
            Self::Padding => "h2_invalid_padding",
            Self::PromisedStream => "h2_invalid_promise",
            Self::SettingValue => "h2_invalid_setting",
            Self::InitialWindow => "h2_initial_window_too_large",
            Self::ZeroIncrement => "h2_zero_increment",
            Self::ZeroConnectionIncrement => "h2_zero_connection_increment",
            Self::ExpectedContinuation => "h2_expected_continuation",
            Self::UnexpectedContinuation => "h2_unexpected_continuation",
            Self::Truncated => "h2_truncated_frame",
        }
    }
}

/// nom's own errors come from payloads that are too short: the length of the frame is wrong.
impl ParseError<&[u8]> for FrameError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Length
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Why a frame has no wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EncodeError {
    /// A payload larger than the peer allows.
    #[error("frame too large")]
    TooLarge,
    /// More than 256 bytes of padding.
    #[error("too much padding")]
    Padding,
    /// A frame about a stream that names none, or one about the connection that names a stream.
    #[error("wrong stream")]
    Stream,
    /// A value that the decoder would refuse.
    #[error("invalid value")]
    Value,
}

impl WireError for EncodeError {
    fn severity(&self) -> Severity {
        Severity::Message
    }

    fn label(&self) -> &'static str {
        match self {
            Self::TooLarge => "h2_frame_too_large",
            Self::Padding => "h2_invalid_padding",
            Self::Stream => "h2_no_stream",
            Self::Value => "h2_invalid_value",
        }
    }
}
