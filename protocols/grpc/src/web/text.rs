//! The base64 of `application/grpc-web-text` (RFC 4648 section 4), cut anywhere.
//!
//! A sender may end a group with padding wherever it has to flush, and go on with a new group: padding in the
//! middle is no end. Nothing else is forgiven: no line breaks, no other alphabet, no stray bits. Start at
//! [`TextDecoder`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use portcullis_codec::Decoder;

use crate::error::MessageError;

/// Characters of a group.
const GROUP: usize = 4;

/// Takes base64 off a buffer, every complete group that is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextDecoder;

impl Decoder for TextDecoder {
    /// Bytes, never none. Their bounds carry no meaning.
    type Item = Bytes;
    type Error = MessageError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, MessageError> {
        let complete = src.len() - src.len() % GROUP;
        let Some(groups) = src.get(..complete).filter(|groups| !groups.is_empty()) else {
            return Ok(None);
        };
        let mut decoded = Vec::with_capacity(complete / GROUP * 3);
        let taken = if decode_runs(groups, &mut decoded).is_ok() {
            complete
        } else {
            decoded.clear();
            decode_groups(groups, &mut decoded)
        };
        if taken == 0 {
            return Err(MessageError::BadBase64);
        }
        src.advance(taken);
        Ok(Some(Bytes::from(decoded)))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, MessageError> {
        match self.decode(src)? {
            Some(bytes) => Ok(Some(bytes)),
            None if src.is_empty() => Ok(None),
            None => Err(MessageError::TruncatedBase64),
        }
    }

    fn wants(&self) -> usize {
        GROUP
    }
}

/// All groups at once, each run up to its padding.
fn decode_runs(groups: &[u8], decoded: &mut Vec<u8>) -> Result<(), MessageError> {
    let mut rest = groups;
    while !rest.is_empty() {
        let length = match rest.iter().position(|&byte| byte == b'=') {
            // The group that the padding is in ends the run.
            Some(at) => (at / GROUP + 1) * GROUP,
            None => rest.len(),
        };
        let (run, after) = rest.split_at(length.min(rest.len()));
        STANDARD
            .decode_vec(run, decoded)
            .map_err(|_| MessageError::BadBase64)?;
        rest = after;
    }
    Ok(())
}

/// One group after the other up to the first bad one: what came before it is good however it was cut. The answer
/// is how many characters that is.
#[cold]
fn decode_groups(groups: &[u8], decoded: &mut Vec<u8>) -> usize {
    let mut good = 0;
    for group in groups.chunks(GROUP) {
        let Ok(bytes) = STANDARD.decode(group) else {
            break;
        };
        decoded.extend_from_slice(&bytes);
        good += group.len();
    }
    good
}

/// One piece in base64, padded: nothing is held back until the next one, so that a message is never late.
#[must_use]
pub fn encode_text(piece: &[u8]) -> Bytes {
    Bytes::from(STANDARD.encode(piece))
}
