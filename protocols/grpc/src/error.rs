//! What can be wrong with the bytes of a call: small, without strings, each with its label and status.
//!
//! Start at [`MessageError`].

use portcullis_codec::{Severity, WireError};
use portcullis_http::grpc::GrpcStatus;

/// Why bytes are no stream of gRPC messages, or not one that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A message is longer than allowed: known from its prefix, before a byte of it is read.
    #[error("message too large")]
    TooLarge,
    /// The first byte of a message is neither 0 nor 1 (in gRPC-Web nor a frame of trailers).
    #[error("unknown message flag")]
    BadFlag,
    /// A message says that it is compressed where no `grpc-encoding` says how.
    #[error("compressed message without grpc-encoding")]
    CompressedWithoutEncoding,
    /// The stream ends inside of a message.
    #[error("stream ends inside of a message")]
    Truncated,
    /// gRPC-Web: the frame of trailers is longer than allowed.
    #[error("trailers too large")]
    TrailersTooLarge,
    /// gRPC-Web: the frame of trailers holds something else.
    #[error("malformed trailers")]
    BadTrailers,
    /// gRPC-Web: something follows the trailers, or they stand where there can be none.
    #[error("misplaced trailers")]
    MisplacedTrailers,
    /// gRPC-Web text: not base64.
    #[error("not base64")]
    BadBase64,
    /// gRPC-Web text: the stream ends inside of a group of four.
    #[error("base64 ends inside of a group")]
    TruncatedBase64,
}

impl MessageError {
    /// What the caller is told.
    #[must_use]
    pub const fn status(self) -> GrpcStatus {
        match self {
            Self::TooLarge | Self::TrailersTooLarge => GrpcStatus::ResourceExhausted,
            _ => GrpcStatus::Internal,
        }
    }
}

impl WireError for MessageError {
    /// A stream of messages that went wrong cannot be picked up again; its connection is not touched.
    fn severity(&self) -> Severity {
        Severity::Stream
    }

    fn label(&self) -> &'static str {
        match self {
            Self::TooLarge => "grpc_message_too_large",
            Self::BadFlag => "grpc_bad_flag",
            Self::CompressedWithoutEncoding => "grpc_compressed_without_encoding",
            Self::Truncated => "grpc_truncated",
            Self::TrailersTooLarge => "grpc_web_trailers_too_large",
            Self::BadTrailers => "grpc_web_bad_trailers",
            Self::MisplacedTrailers => "grpc_web_misplaced_trailers",
            Self::BadBase64 => "grpc_web_bad_base64",
            Self::TruncatedBase64 => "grpc_web_truncated_base64",
        }
    }
}

impl<I> nom::error::ParseError<I> for MessageError {
    fn from_error_kind(_: I, _: nom::error::ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: I, _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}
