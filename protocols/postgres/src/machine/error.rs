//! Why a conversation cannot go on.
//!
//! Start at [`RelayError`].

use crate::error::{FrameError, MessageError};

/// Why a conversation cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The client's bytes are no messages.
    #[error("client: {0}")]
    ClientFrame(FrameError),
    /// A message of the client's is malformed.
    #[error("client: {0}")]
    ClientMessage(MessageError),
    /// The server's bytes are no messages.
    #[error("server: {0}")]
    ServerFrame(FrameError),
    /// A message of the server's is malformed.
    #[error("server: {0}")]
    ServerMessage(MessageError),
    /// The server has answered what nobody asked.
    #[error("the server has sent a message that nothing asked for")]
    Unexpected,
}

impl RelayError {
    /// Whether the client is to blame.
    #[must_use]
    pub const fn is_clients(self) -> bool {
        matches!(self, Self::ClientFrame(_) | Self::ClientMessage(_))
    }

    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        use portcullis_codec::WireError as _;
        match self {
            Self::ClientFrame(error) | Self::ServerFrame(error) => error.label(),
            Self::ClientMessage(error) | Self::ServerMessage(error) => error.label(),
            Self::Unexpected => "unexpected_message",
        }
    }
}
