//! The body decoder: takes a body off a buffer in pieces, by the framing that was decided for it.
//!
//! Content is sliced out of the read buffer, never copied and never collected. Not the judge of framing (see
//! [`portcullis_http::Framing`]). Start at [`BodyDecoder`]; the chunked coding's lines are in `chunk`.

mod chunk;

use bytes::{Buf, Bytes, BytesMut};
use portcullis_codec::Decoder;
use portcullis_codec::scan::Scanner;
use portcullis_http::{Fields, Framing, KnownField};

use crate::decoder::front;
use crate::error::{BodyError, HeadError};
use crate::grammar;
use crate::limits::{BodyLimits, CHUNK_SIZE_DIGITS};
use crate::message::{BodyPiece, is_trailer_allowed};

/// Takes one body off a buffer (RFC 9112 sections 6 and 7).
///
/// Yields `Data`, perhaps `Trailers`, then `End` once; after it, `Ok(None)`. Bytes behind the body stay in the
/// buffer. How content is cut into `Data` follows the reads; everything else does not depend on them.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    limits: BodyLimits,
    /// Content bytes taken or announced so far.
    counted: u64,
    extension_bytes: u64,
    scanner: Scanner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of content are left.
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    /// The CRLF behind the data of a chunk.
    ChunkEnd,
    Trailers,
    /// Everything was taken; `End` is still to be said.
    Complete,
    Ended,
}

impl BodyDecoder {
    /// A decoder for one body.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] if the stated length exceeds the limit: refused before a byte of it is waited for.
    pub fn new(framing: Framing, limits: BodyLimits) -> Result<Self, BodyError> {
        let (state, counted) = match framing {
            Framing::None | Framing::Length(0) => (State::Complete, 0),
            Framing::Length(length) => (State::Length(length), length),
            Framing::Chunked => (State::ChunkSize, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        if counted > limits.total_bytes {
            return Err(BodyError::TooLarge);
        }
        Ok(Self {
            state,
            limits,
            counted,
            extension_bytes: 0,
            scanner: Scanner::new(),
        })
    }

    /// The rest of a body whose length was stated, in one step instead of two if all of it is in `src`: the body has ended
    /// then, and there is nothing more to ask for.
    pub fn take_rest(&mut self, src: &mut BytesMut) -> Option<Bytes> {
        let State::Length(left) = self.state else {
            return None;
        };
        let left = usize::try_from(left)
            .ok()
            .filter(|&left| left <= src.len())?;
        self.state = State::Ended;
        Some(front(src, left))
    }

    /// Whether every byte of the body has been taken, even if `End` has not been asked for yet.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Complete | State::Ended)
    }

    /// How many bytes of content are certain to follow, if that is known: of the body where its length was
    /// stated, else of the current chunk. Useful to size a read or to splice.
    #[must_use]
    pub const fn remaining_hint(&self) -> Option<u64> {
        match self.state {
            State::Length(left) | State::ChunkData(left) => Some(left),
            State::Complete | State::Ended => Some(0),
            State::UntilClose | State::ChunkSize | State::ChunkEnd | State::Trailers => None,
        }
    }

    /// Notes that `bytes` of content went past this decoder (spliced, or read straight into a write).
    /// More than [`BodyDecoder::remaining_hint`] allows is a fault of the caller and ends the body there.
    pub const fn skip_content(&mut self, bytes: u64) {
        match self.state {
            State::Length(left) => self.state = Self::after_length(left.saturating_sub(bytes)),
            State::ChunkData(left) => self.state = Self::after_chunk(left.saturating_sub(bytes)),
            _ => debug_assert!(bytes == 0, "no content is due"),
        }
    }

    const fn after_length(left: u64) -> State {
        if left == 0 {
            State::Complete
        } else {
            State::Length(left)
        }
    }

    const fn after_chunk(left: u64) -> State {
        if left == 0 {
            State::ChunkEnd
        } else {
            State::ChunkData(left)
        }
    }

    /// What is there, up to the limit: the peer's close will end it.
    fn until_close(&mut self, src: &mut BytesMut) -> Result<Option<BodyPiece>, BodyError> {
        let allowed = self.limits.total_bytes - self.counted;
        if allowed == 0 && !src.is_empty() {
            return Err(BodyError::TooLarge);
        }
        let Some((piece, left)) = take(src, allowed) else {
            return Ok(None);
        };
        self.counted = self.limits.total_bytes - left;
        Ok(Some(piece))
    }

    fn count(&mut self, bytes: u64) -> Result<(), BodyError> {
        let counted = self.counted.checked_add(bytes).ok_or(BodyError::TooLarge)?;
        if counted > self.limits.total_bytes {
            return Err(BodyError::TooLarge);
        }
        self.counted = counted;
        Ok(())
    }

    /// RFC 9112 section 7.1: one chunk's size and extensions. The size is judged before its bytes are awaited.
    /// Returns whether there was a complete line.
    fn chunk_size(&mut self, src: &mut BytesMut) -> Result<bool, BodyError> {
        let max_len = CHUNK_SIZE_DIGITS + self.limits.chunk_extension_bytes + "\r\n".len();
        let window = src.get(..max_len).unwrap_or(src);
        let Some(end) = self.scanner.line_end(window) else {
            return if src.len() >= max_len {
                Err(chunk::overlong(window))
            } else {
                Ok(false)
            };
        };
        let line = chunk::size_line(window.get(..end).unwrap_or_default())?;
        if line.extension_len > self.limits.chunk_extension_bytes {
            return Err(BodyError::ChunkExtensionTooLong);
        }
        self.extension_bytes += line.extension_len as u64;
        if self.extension_bytes > self.limits.all_extension_bytes {
            return Err(BodyError::ChunkExtensionTooLong);
        }
        self.count(line.size)?;
        src.advance(end);
        self.state = if line.size == 0 {
            State::Trailers
        } else {
            State::ChunkData(line.size)
        };
        Ok(true)
    }

    fn chunk_end(&mut self, src: &mut BytesMut) -> Result<bool, BodyError> {
        match src.as_ref() {
            [b'\r', b'\n', ..] => {
                src.advance(2);
                self.state = State::ChunkSize;
                Ok(true)
            }
            [] | [b'\r'] => Ok(false),
            [b'\n', ..] => Err(BodyError::BareLineFeed),
            _ => Err(BodyError::ChunkEnd),
        }
    }

    /// RFC 9112 section 7.1.2. Returns whether the section is complete, and the fields that may be passed on.
    fn trailers(&mut self, src: &mut BytesMut) -> Result<(bool, Option<Fields>), BodyError> {
        match src.as_ref() {
            [b'\r', b'\n', ..] => {
                src.advance(2);
                self.state = State::Complete;
                return Ok((true, None));
            }
            [b'\n', ..] => return Err(BodyError::BareLineFeed),
            [] | [b'\r'] => return Ok((false, None)),
            [b'\r', ..] => return Err(BodyError::BareCarriageReturn),
            _ => {}
        }
        let window = src.get(..self.limits.trailer_bytes).unwrap_or(src);
        let Some(end) = self.scanner.blank_line_end(window) else {
            return if src.len() >= self.limits.trailer_bytes {
                Err(BodyError::TrailersTooLarge)
            } else {
                Ok((false, None))
            };
        };
        let fields = trailer_fields(src.split_to(end), self.limits.trailer_fields)?;
        self.state = State::Complete;
        Ok((true, (!fields.is_empty()).then_some(fields)))
    }
}

impl Decoder for BodyDecoder {
    type Item = BodyPiece;
    type Error = BodyError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BodyPiece>, BodyError> {
        loop {
            match self.state {
                State::Length(left) => {
                    let Some((piece, left)) = take(src, left) else {
                        return Ok(None);
                    };
                    self.state = Self::after_length(left);
                    return Ok(Some(piece));
                }
                State::UntilClose => return self.until_close(src),
                State::ChunkSize => {
                    if !self.chunk_size(src)? {
                        return Ok(None);
                    }
                }
                State::ChunkData(left) => {
                    let Some((piece, left)) = take(src, left) else {
                        return Ok(None);
                    };
                    self.state = Self::after_chunk(left);
                    return Ok(Some(piece));
                }
                State::ChunkEnd => {
                    if !self.chunk_end(src)? {
                        return Ok(None);
                    }
                }
                State::Trailers => match self.trailers(src)? {
                    (_, Some(fields)) => return Ok(Some(BodyPiece::Trailers(Box::new(fields)))),
                    (true, None) => {}
                    (false, None) => return Ok(None),
                },
                State::Complete => {
                    self.state = State::Ended;
                    return Ok(Some(BodyPiece::End));
                }
                State::Ended => return Ok(None),
            }
        }
    }

    /// The close of the connection ends a body of [`Framing::UntilClose`] and truncates any other.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BodyPiece>, BodyError> {
        if let Some(piece) = self.decode(src)? {
            return Ok(Some(piece));
        }
        match self.state {
            State::Ended => Ok(None),
            State::UntilClose => {
                self.state = State::Ended;
                Ok(Some(BodyPiece::End))
            }
            _ => Err(BodyError::Truncated),
        }
    }

    fn wants(&self) -> usize {
        let remaining = self.remaining_hint().unwrap_or(1).max(1);
        usize::try_from(remaining).unwrap_or(usize::MAX)
    }
}

/// Up to `left` bytes of content, and how many are left then; `None` if there are none.
#[inline]
fn take(src: &mut BytesMut, left: u64) -> Option<(BodyPiece, u64)> {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(src.len());
    (length > 0).then(|| {
        let data = front(src, length);
        (BodyPiece::Data(data), left - length as u64)
    })
}

fn trailer_fields(section: BytesMut, limit: usize) -> Result<Fields, BodyError> {
    let block = section.freeze();
    let mut fields = Fields::with_block(block.clone());
    grammar::fields(&block, 0, limit, |name, value, known, _| {
        fields.push_span(name, value, known);
    })
    .map_err(|error| match error {
        HeadError::TooManyFields => BodyError::TrailersTooLarge,
        error => BodyError::Trailer(error),
    })?;
    // Nobody sends these by accident: a recipient that merged them would be desynchronised or misrouted.
    let attack = [
        KnownField::ContentLength,
        KnownField::TransferEncoding,
        KnownField::Host,
    ];
    if attack.iter().any(|&field| fields.contains(field)) {
        return Err(BodyError::ForbiddenTrailer);
    }
    // RFC 9110 section 6.5.1: the others are dropped.
    fields.retain(|field| is_trailer_allowed(field.name, field.known));
    Ok(fields)
}

#[cfg(test)]
mod tests;
