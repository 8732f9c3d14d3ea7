//! Bytes to a ClientHello, in whatever records and pieces they come.
//!
//! Walks the records, gathers the message out of them and looks at no byte twice; what the message says is in
//! `grammar`. Start at [`ClientHelloDecoder`].

use bytes::{Buf as _, BytesMut};
use portcullis_codec::Decoder;

use crate::error::ClientHelloError;
use crate::grammar;
use crate::limits::ClientHelloLimits;
use crate::message::ClientHello;

/// Type, version and length of a record (RFC 8446 section 5.1).
const RECORD_HEADER_BYTES: usize = 5;
/// The type of records with handshake messages, and the major version of every TLS.
const HANDSHAKE: u8 = 22;
const MAJOR_VERSION: u8 = 3;
/// RFC 8446 section 5.1: what is not encrypted is at most this long.
const RECORD_BYTES: usize = 1 << 14;

/// Type and length of a handshake message (RFC 8446 section 4).
const MESSAGE_HEADER_BYTES: usize = 4;
const CLIENT_HELLO: u8 = 1;

/// Finds the ClientHello at the front of a connection.
///
/// Routing without termination replays every byte to the upstream, so the way in is [`look`](Self::look), which
/// takes nothing: it is shown all bytes since the front of the connection, again and again as more come. A
/// [`Decoder`], which takes what it yields off the buffer, is built on it for the laws and for whoever wants the
/// message alone.
///
/// Refusals are final: the same one is given again.
#[derive(Debug, Clone, Default)]
pub struct ClientHelloDecoder {
    limits: ClientHelloLimits,
    /// Bytes of the wire that were looked at, up to the last whole record header or the last byte of a fragment.
    position: usize,
    records: usize,
    /// Bytes of the current record that have not been looked at.
    record_left: usize,
    /// Fragments put together, the message header in front.
    message: BytesMut,
    refused: Option<ClientHelloError>,
}

/// Whether bytes begin a handshake by TLS: `None` while there are too few to say. Six are enough.
#[must_use]
pub fn sniff(prefix: &[u8]) -> Option<bool> {
    if !is_handshake(prefix) {
        return Some(false);
    }
    let kind = prefix.get(RECORD_HEADER_BYTES)?;
    Some(*kind == CLIENT_HELLO)
}

/// Whether bytes are, or may still become, a record with handshake messages.
fn is_handshake(header: &[u8]) -> bool {
    let mut begins = header.iter().zip([HANDSHAKE, MAJOR_VERSION]);
    begins.all(|(&byte, wanted)| byte == wanted)
}

/// How long the ClientHello is whose handshake message begins with these bytes, its header of four bytes included, for
/// those who get it without records: `None` while the header is not whole.
///
/// # Errors
/// It is another message, or a longer one than the limit.
pub fn message_length(
    front: &[u8],
    limits: &ClientHelloLimits,
) -> Result<Option<usize>, ClientHelloError> {
    let Some((&kind, length)) = front.split_first() else {
        return Ok(None);
    };
    if kind != CLIENT_HELLO {
        return Err(ClientHelloError::NotClientHello);
    }
    let Some(&[high, middle, low]) = length.first_chunk() else {
        return Ok(None);
    };
    let length = MESSAGE_HEADER_BYTES + u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > limits.bytes {
        return Err(ClientHelloError::TooLong);
    }
    Ok(Some(length))
}

/// How far a walk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// As far as there are bytes.
    More,
    /// To the end of the message.
    Whole,
}

impl ClientHelloDecoder {
    /// At the front of a connection.
    #[must_use]
    pub fn new(limits: ClientHelloLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Looks for a ClientHello in `wire`: everything that came since the front of the connection, at least what was
    /// shown before. `None` until it is whole. After an answer the decoder is at the front again.
    ///
    /// # Errors
    /// There is no ClientHello in front, or one past the limits.
    pub fn look(&mut self, wire: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
        Ok(self.look_measured(wire)?.map(|(hello, _)| hello))
    }

    /// As [`look`](Self::look), with the bytes on the wire that the message took.
    fn look_measured(
        &mut self,
        wire: &[u8],
    ) -> Result<Option<(ClientHello, usize)>, ClientHelloError> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let answer = match self.step_through(wire) {
            Ok(Step::More) => return Ok(None),
            Ok(Step::Whole) => self.finish(),
            Err(error) => Err(error),
        };
        if let Err(error) = answer {
            self.refused = Some(error);
            self.message = BytesMut::new();
        }
        answer.map(Some)
    }

    /// Walks on from where the last walk stood.
    fn step_through(&mut self, wire: &[u8]) -> Result<Step, ClientHelloError> {
        loop {
            if self.record_left == 0 && !self.begin_record(wire)? {
                return Ok(Step::More);
            }
            let fresh = wire.get(self.position..).unwrap_or_default();
            // Until the length is known, only the header is taken: another message is not gathered.
            let wanted = self
                .missing()
                .unwrap_or_else(|| MESSAGE_HEADER_BYTES - self.message.len());
            let count = wanted.min(self.record_left).min(fresh.len());
            self.message
                .extend_from_slice(fresh.get(..count).unwrap_or_default());
            self.position += count;
            self.record_left -= count;
            if count == wanted && self.message.len() == MESSAGE_HEADER_BYTES {
                self.begin_message()?;
            } else if self
                .message
                .first()
                .is_some_and(|&kind| kind != CLIENT_HELLO)
            {
                return Err(ClientHelloError::NotClientHello);
            }
            if self.missing() == Some(0) {
                return Ok(Step::Whole);
            }
            if count == fresh.len() {
                return Ok(Step::More);
            }
        }
    }

    /// Bytes of the message that have not come; `None` while its length is not known.
    fn missing(&self) -> Option<usize> {
        let (_, length) = self.message.split_first_chunk::<1>()?;
        let &[high, middle, low] = length.first_chunk()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        Some(MESSAGE_HEADER_BYTES + length - self.message.len())
    }

    /// Reads the header of the next record; false while it is not whole. What can be judged is judged at once, so
    /// that another protocol is known by its first byte.
    fn begin_record(&mut self, wire: &[u8]) -> Result<bool, ClientHelloError> {
        let header = wire.get(self.position..).unwrap_or_default();
        if !is_handshake(header) {
            return Err(if self.records == 0 {
                ClientHelloError::NotTls
            } else {
                ClientHelloError::UnexpectedRecord
            });
        }
        // The minor version is to be ignored "for all purposes".
        let Some(&[_, _, _, high, low]) = header.first_chunk::<RECORD_HEADER_BYTES>() else {
            return Ok(false);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_BYTES {
            return Err(ClientHelloError::BadRecord);
        }
        if self.records == self.limits.records {
            return Err(ClientHelloError::TooManyRecords);
        }
        if self.missing().is_some_and(|missing| length > missing) {
            return Err(ClientHelloError::TrailingData);
        }
        self.position += RECORD_HEADER_BYTES;
        self.records += 1;
        self.record_left = length;
        self.check_length(length)?;
        Ok(true)
    }

    /// Checks what the header of the message, which is whole, says: before anything is waited for.
    fn begin_message(&self) -> Result<(), ClientHelloError> {
        if self.message.first() != Some(&CLIENT_HELLO) {
            return Err(ClientHelloError::NotClientHello);
        }
        let missing = self.missing().unwrap_or_default();
        if self.record_left > missing {
            return Err(ClientHelloError::TrailingData);
        }
        self.check_length(missing)
    }

    /// Refuses what goes past the limit once `more` bytes have come.
    fn check_length(&self, more: usize) -> Result<(), ClientHelloError> {
        if self.position + more > self.limits.bytes {
            return Err(ClientHelloError::TooLong);
        }
        Ok(())
    }

    /// Reads the message, which is whole, and goes back to the front.
    fn finish(&mut self) -> Result<(ClientHello, usize), ClientHelloError> {
        let mut body = std::mem::take(&mut self.message);
        body.advance(MESSAGE_HEADER_BYTES);
        let hello = read(body, &self.limits)?;
        let length = self.position;
        *self = Self::new(self.limits);
        Ok((hello, length))
    }
}

impl ClientHello {
    /// Reads a handshake message that came without records, as in QUIC (RFC 9001 section 4): its header of four bytes, its body,
    /// and nothing else. The limit on records does not count.
    ///
    /// # Errors
    /// It is no ClientHello, is cut off, has bytes behind it, or goes past the limits.
    pub fn of_message(
        message: impl Into<BytesMut>,
        limits: &ClientHelloLimits,
    ) -> Result<Self, ClientHelloError> {
        let mut message = message.into();
        match message_length(&message, limits)? {
            Some(length) if message.len() == length => {}
            Some(length) if message.len() > length => return Err(ClientHelloError::TrailingData),
            _ => return Err(ClientHelloError::Truncated),
        }
        message.advance(MESSAGE_HEADER_BYTES);
        read(message, limits)
    }
}

/// Reads the whole body of a message.
fn read(mut body: BytesMut, limits: &ClientHelloLimits) -> Result<ClientHello, ClientHelloError> {
    let spans = grammar::client_hello(&body, limits.extensions)?;
    // Here alone the bytes are ours to change.
    let name = spans.server_name.clone();
    if let Some(name) = name.and_then(|name| body.get_mut(name)) {
        name.make_ascii_lowercase();
    }
    Ok(ClientHello::new(body.freeze(), spans))
}

impl Decoder for ClientHelloDecoder {
    type Item = ClientHello;
    type Error = ClientHelloError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<ClientHello>, ClientHelloError> {
        let found = self.look_measured(src)?;
        Ok(found.map(|(hello, length)| {
            src.advance(length);
            hello
        }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<ClientHello>, ClientHelloError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(ClientHelloError::Truncated),
            found => Ok(found),
        }
    }
}
