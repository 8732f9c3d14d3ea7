//! Messages and frames of trailers as bytes.
//!
//! No compression: what is compressed was so when it came. Start at [`encode_message_frame`].

use bytes::{BufMut, BytesMut};
use portcullis_codec::Encoder;
use portcullis_http::Fields;

use crate::error::MessageError;
use crate::grammar::TRAILERS;
use crate::message::{MessageHeader, MessagePiece};

/// Writes a message's prefix.
pub fn encode_header(header: MessageHeader, dst: &mut BytesMut) {
    dst.reserve(MessageHeader::LEN);
    dst.put_u8(u8::from(header.compressed));
    dst.put_u32(header.length);
}

/// Writes a whole message, not compressed.
///
/// # Errors
/// [`MessageError::TooLarge`]: its length does not fit 32 bits.
pub fn encode_message_frame(message: &[u8], dst: &mut BytesMut) -> Result<(), MessageError> {
    let length = u32::try_from(message.len()).map_err(|_| MessageError::TooLarge)?;
    encode_header(
        MessageHeader {
            compressed: false,
            length,
        },
        dst,
    );
    dst.extend_from_slice(message);
    Ok(())
}

/// Writes trailers as the last frame of a gRPC-Web body: lines as in HTTP/1, names in lower case.
///
/// # Errors
/// [`MessageError::TrailersTooLarge`]: their length does not fit 32 bits; nothing is written.
pub fn encode_trailers_frame(trailers: &Fields, dst: &mut BytesMut) -> Result<(), MessageError> {
    let length = trailers.wire_len();
    let prefix = u32::try_from(length).map_err(|_| MessageError::TrailersTooLarge)?;
    dst.reserve(MessageHeader::LEN + length);
    dst.put_u8(TRAILERS);
    dst.put_u32(prefix);
    for field in trailers.iter() {
        dst.extend(field.name.iter().map(u8::to_ascii_lowercase));
        dst.extend_from_slice(b": ");
        dst.extend_from_slice(field.value);
        dst.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Writes pieces back as they were taken off.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageEncoder;

impl Encoder<MessagePiece> for MessageEncoder {
    type Error = MessageError;

    fn encode(&mut self, piece: MessagePiece, dst: &mut BytesMut) -> Result<(), MessageError> {
        match piece {
            MessagePiece::Start(header) => encode_header(header, dst),
            MessagePiece::Data(data) => dst.extend_from_slice(&data),
            MessagePiece::End => {}
        }
        Ok(())
    }
}
