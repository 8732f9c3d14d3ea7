//! The types of the framing: a message's prefix, and the pieces that a decoder hands out.
//!
//! Not the messages' content, which nothing here looks into. Start at [`MessagePiece`].

use bytes::Bytes;

/// What stands in front of every message ("Length-Prefixed-Message" of the gRPC protocol document).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHeader {
    /// Whether the message is compressed, by the coding that `grpc-encoding` names.
    pub compressed: bool,
    /// How many bytes follow.
    pub length: u32,
}

impl MessageHeader {
    /// How many bytes a header takes.
    pub const LEN: usize = 5;
}

/// One piece of a stream of messages: `Start`, any number of `Data`, `End`, then the next message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePiece {
    /// A message begins.
    Start(MessageHeader),
    /// Bytes of it, never none: a slice of the buffer, not a copy. Its bounds carry no meaning.
    Data(Bytes),
    /// It is complete.
    End,
}
