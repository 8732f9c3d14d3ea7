//! The message decoder: takes prefixes and slices of messages off a buffer.
//!
//! A message is never collected and nothing is allocated by its declared length: the length is judged when its
//! prefix is read. Start at [`MessageDecoder`].

use bytes::{Buf, BytesMut};
use portcullis_codec::Decoder;

use crate::error::MessageError;
use crate::grammar;
use crate::message::{MessageHeader, MessagePiece};

/// What a stream of messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// The longest message, as sent. Default 4 MiB: what gRPC's own libraries accept where nothing else is said.
    pub message_bytes: u32,
    /// Whether messages may be compressed: whether `grpc-encoding` named a coding.
    pub compressed: bool,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self {
            message_bytes: 4 * 1024 * 1024,
            compressed: true,
        }
    }
}

impl MessageLimits {
    /// Judges a message by its prefix.
    pub(crate) const fn check(self, header: MessageHeader) -> Result<(), MessageError> {
        if header.length > self.message_bytes {
            return Err(MessageError::TooLarge);
        }
        if header.compressed && !self.compressed {
            return Err(MessageError::CompressedWithoutEncoding);
        }
        Ok(())
    }
}

/// Takes messages off a buffer in pieces.
///
/// How a message is cut into `Data` follows the reads; everything else does not depend on them.
#[derive(Debug)]
pub struct MessageDecoder {
    limits: MessageLimits,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    /// So many bytes of a message are left.
    Inside(u32),
}

impl MessageDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub const fn new(limits: MessageLimits) -> Self {
        Self {
            limits,
            state: State::Between,
        }
    }

    /// Whether the stream is between two messages.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        matches!(self.state, State::Between)
    }
}

impl Decoder for MessageDecoder {
    type Item = MessagePiece;
    type Error = MessageError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<MessagePiece>, MessageError> {
        match self.state {
            State::Between => {
                let Some(prefix) = src.get(..MessageHeader::LEN) else {
                    return Ok(None);
                };
                let header = grammar::header(prefix)?;
                self.limits.check(header)?;
                src.advance(MessageHeader::LEN);
                self.state = State::Inside(header.length);
                Ok(Some(MessagePiece::Start(header)))
            }
            State::Inside(0) => {
                self.state = State::Between;
                Ok(Some(MessagePiece::End))
            }
            State::Inside(left) => {
                let length = src.len().min(left as usize);
                if length == 0 {
                    return Ok(None);
                }
                self.state = State::Inside(left - length as u32);
                Ok(Some(MessagePiece::Data(src.split_to(length).freeze())))
            }
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<MessagePiece>, MessageError> {
        match self.decode(src)? {
            Some(piece) => Ok(Some(piece)),
            None if self.is_between() && src.is_empty() => Ok(None),
            None => Err(MessageError::Truncated),
        }
    }

    fn wants(&self) -> usize {
        match self.state {
            State::Between => MessageHeader::LEN,
            State::Inside(left) => (left as usize).max(1),
        }
    }
}
