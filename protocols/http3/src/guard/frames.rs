//! Frames in the streams of a client: where they begin, and whom their content is for.
//!
//! Of control streams only the numbers are read. Request streams are taken apart: `h3` gets what it must understand, the body
//! goes past it, and what has no meaning goes nowhere, so that nothing of it is ever held. Start at [`FrameSplitter::next`].

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{DATA, Guard, GuardError, HEADERS, Place};

/// RFC 9114 section 6.2.1: the type of the control stream.
const CONTROL: u64 = 0;

/// Looks at a unidirectional stream, which says itself what it is (RFC 9114 section 6.2).
#[derive(Debug)]
pub struct FrameScanner {
    state: Scan,
    number: Number,
}

#[derive(Debug, Clone, Copy)]
enum Scan {
    /// The type of the stream comes.
    Stream,
    /// A frame's type comes.
    Kind,
    /// A frame's length comes.
    Length(u64),
    /// So much of a frame is left.
    Payload(u64),
    /// There are no frames here.
    Nothing,
}

impl Default for FrameScanner {
    fn default() -> Self {
        Self {
            state: Scan::Stream,
            number: Number::NEW,
        }
    }
}

impl FrameScanner {
    /// Looks at the next bytes of the stream.
    ///
    /// # Errors
    /// The connection must end.
    pub fn scan(
        &mut self,
        mut bytes: &[u8],
        guard: &mut Guard,
        now: Instant,
    ) -> Result<(), GuardError> {
        while !bytes.is_empty() {
            match self.state {
                Scan::Nothing => return Ok(()),
                Scan::Payload(left) => {
                    let here = left.min(bytes.len() as u64);
                    bytes = bytes.get(here as usize..).unwrap_or_default();
                    self.state = match left - here {
                        0 => Scan::Kind,
                        left => Scan::Payload(left),
                    };
                }
                Scan::Stream | Scan::Kind | Scan::Length(_) => {
                    if let Some(number) = self.number.take(&mut bytes) {
                        self.on_number(number, guard, now)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn on_number(
        &mut self,
        number: u64,
        guard: &mut Guard,
        now: Instant,
    ) -> Result<(), GuardError> {
        self.state = match self.state {
            Scan::Stream if number == CONTROL => Scan::Kind,
            Scan::Stream => Scan::Nothing,
            Scan::Kind => Scan::Length(number),
            Scan::Length(kind) => {
                guard.on_frame(kind, number, Place::Control, now)?;
                if number == 0 {
                    Scan::Kind
                } else {
                    Scan::Payload(number)
                }
            }
            other => other,
        };
        Ok(())
    }
}

/// A part of a request stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Of a frame that `h3` must understand, or refuse.
    Frame(Bytes),
    /// Of the body; never empty.
    Data(Bytes),
}

/// Takes a request stream apart.
#[derive(Debug)]
pub struct FrameSplitter {
    state: Split,
    number: Number,
    /// Field sections so far: the head, and trailers.
    sections: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Kind,
    Length(u64),
    Payload(Whose, u64),
}

/// Whom the content of a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Frames,
    Body,
    Nobody,
}

impl Default for FrameSplitter {
    fn default() -> Self {
        Self {
            state: Split::Kind,
            number: Number::NEW,
            sections: 0,
        }
    }
}

impl FrameSplitter {
    /// Takes the next part off the front of `bytes`; `None` when they are used up. No part is empty.
    ///
    /// # Errors
    /// The connection must end.
    pub fn next(
        &mut self,
        bytes: &mut Bytes,
        guard: &mut Guard,
        now: Instant,
    ) -> Result<Option<Part>, GuardError> {
        while !bytes.is_empty() {
            match self.state {
                Split::Kind | Split::Length(_) => {
                    let mut rest: &[u8] = bytes;
                    let number = self.number.take(&mut rest);
                    let taken = bytes.len() - rest.len();
                    drop(bytes.split_to(taken));
                    if let Some(number) = number
                        && let Some(part) = self.on_number(number, guard, now)?
                    {
                        return Ok(Some(part));
                    }
                }
                Split::Payload(whose, left) => {
                    let here = left.min(bytes.len() as u64);
                    let part = bytes.split_to(here as usize);
                    self.state = match left - here {
                        0 => Split::Kind,
                        left => Split::Payload(whose, left),
                    };
                    match whose {
                        Whose::Frames => return Ok(Some(Part::Frame(part))),
                        Whose::Body => return Ok(Some(Part::Data(part))),
                        Whose::Nobody => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the stream may end here (RFC 9114 section 7.1).
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.state == Split::Kind && self.number.left.is_none()
    }

    fn on_number(
        &mut self,
        number: u64,
        guard: &mut Guard,
        now: Instant,
    ) -> Result<Option<Part>, GuardError> {
        let Split::Length(kind) = self.state else {
            self.state = Split::Length(number);
            return Ok(None);
        };
        guard.on_frame(kind, number, Place::Request, now)?;
        let whose = self.whose(kind);
        self.state = if number == 0 {
            Split::Kind
        } else {
            Split::Payload(whose, number)
        };
        Ok((whose == Whose::Frames).then(|| Part::Frame(header(kind, number))))
    }

    /// The body stands between the head and the trailers; where else DATA stands it is an error, as `h3` will say.
    fn whose(&mut self, kind: u64) -> Whose {
        match kind {
            HEADERS => {
                self.sections += 1;
                Whose::Frames
            }
            DATA if self.sections == 1 => Whose::Body,
            DATA => Whose::Frames,
            _ if MISPLACED.contains(&kind) => Whose::Frames,
            _ => Whose::Nobody,
        }
    }
}

/// Frames that have a meaning elsewhere, or had one in HTTP/2, and must not be on a request stream (RFC 9114 sections 7.2 and 11.2.1).
const MISPLACED: [u64; 9] = [2, 3, 4, 5, 6, 7, 8, 9, 0xd];

/// Type and length of a frame.
fn header(kind: u64, length: u64) -> Bytes {
    let mut header = BytesMut::with_capacity(16);
    put_number(&mut header, kind);
    put_number(&mut header, length);
    header.freeze()
}

/// Writes a number of variable length (RFC 9000 section 16).
pub(crate) fn put_number(into: &mut BytesMut, number: u64) {
    match number {
        0..0x40 => into.put_u8(number as u8),
        0x40..0x4000 => into.put_u16(0x4000 | number as u16),
        0x4000..0x4000_0000 => into.put_u32(0x8000_0000 | number as u32),
        _ => into.put_u64(0xc000_0000_0000_0000 | number),
    }
}

/// A number of variable length (RFC 9000 section 16), as it comes.
#[derive(Debug)]
struct Number {
    value: u64,
    /// Bytes that are still to come; `None` before the first.
    left: Option<u32>,
}

impl Number {
    const NEW: Self = Self {
        value: 0,
        left: None,
    };

    /// Takes what is there of it; the number once it is whole.
    fn take(&mut self, bytes: &mut &[u8]) -> Option<u64> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            let left = match self.left {
                None => {
                    self.value = u64::from(byte & 0x3f);
                    (1_u32 << (byte >> 6)) - 1
                }
                Some(left) => {
                    self.value = (self.value << 8) | u64::from(byte);
                    left - 1
                }
            };
            if left == 0 {
                let value = self.value;
                *self = Self::NEW;
                return Some(value);
            }
            self.left = Some(left);
        }
        None
    }
}
