//! gRPC-Web: messages as in gRPC, and the trailers as a last frame of the body, for clients that cannot see
//! trailers ("gRPC Web" protocol document). Optionally all of it in base64.
//!
//! Not the filter that translates; see [`crate::filters`]. Start at [`WebDecoder`]; base64 is in [`TextDecoder`].

mod text;

use bytes::{Buf, Bytes, BytesMut};
use portcullis_codec::Decoder;
use portcullis_http::{Fields, KnownField};

use crate::decoder::{MessageDecoder, MessageLimits};
use crate::error::MessageError;
use crate::grammar::{self, TRAILERS};
use crate::message::{MessageHeader, MessagePiece};

pub use text::{TextDecoder, encode_text};

/// One piece of a gRPC-Web body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebPiece {
    /// Of a message.
    Message(MessagePiece),
    /// The trailers: nothing follows.
    Trailers(Box<Fields>),
}

/// The longest frame of trailers: as long as the trailers of HTTP/1 may be.
pub const MAX_TRAILERS: usize = 16 * 1024;

/// Takes a gRPC-Web body apart, binary form.
#[derive(Debug)]
pub struct WebDecoder {
    messages: MessageDecoder,
    max_trailers: usize,
    ended: bool,
}

impl WebDecoder {
    /// A decoder at the beginning of a body. Trailers longer than `max_trailers` are refused.
    #[must_use]
    pub const fn new(limits: MessageLimits, max_trailers: usize) -> Self {
        Self {
            messages: MessageDecoder::new(limits),
            max_trailers,
            ended: false,
        }
    }

    /// The frame of trailers is collected, being small; its length is judged first.
    fn trailers(&mut self, src: &mut BytesMut) -> Result<Option<WebPiece>, MessageError> {
        let Some(prefix) = src.get(..MessageHeader::LEN) else {
            return Ok(None);
        };
        let length = grammar::trailers_length(prefix)? as usize;
        if length > self.max_trailers {
            return Err(MessageError::TrailersTooLarge);
        }
        if src.len() < MessageHeader::LEN + length {
            return Ok(None);
        }
        let fields = trailer_fields(src, length)?;
        self.ended = true;
        Ok(Some(WebPiece::Trailers(Box::new(fields))))
    }
}

fn trailer_fields(src: &mut BytesMut, length: usize) -> Result<Fields, MessageError> {
    src.advance(MessageHeader::LEN);
    let block: Bytes = src.split_to(length).freeze();
    let mut fields = Fields::with_block(block.clone());
    grammar::trailer_lines(&block, |name, value| {
        let known = block.get(name.clone()).and_then(KnownField::classify);
        fields.push_span(name, value, known);
    })?;
    Ok(fields)
}

impl Decoder for WebDecoder {
    type Item = WebPiece;
    type Error = MessageError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<WebPiece>, MessageError> {
        if self.ended {
            return if src.is_empty() {
                Ok(None)
            } else {
                Err(MessageError::MisplacedTrailers)
            };
        }
        let is_trailers = src.first().is_some_and(|flag| flag & TRAILERS != 0);
        if is_trailers && self.messages.is_between() {
            return self.trailers(src);
        }
        Ok(self.messages.decode(src)?.map(WebPiece::Message))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<WebPiece>, MessageError> {
        match self.decode(src)? {
            Some(piece) => Ok(Some(piece)),
            None if self.messages.is_between() && src.is_empty() => Ok(None),
            None => Err(MessageError::Truncated),
        }
    }

    fn wants(&self) -> usize {
        self.messages.wants()
    }
}
