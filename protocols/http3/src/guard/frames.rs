//! Frames in the streams of a client: where they begin, and whom their content is for.
//!
//! Of control streams only the numbers are read. Request streams are taken apart: `h3` gets what it must understand, the body
//! goes past it, and what has no meaning goes nowhere, so that nothing of it is ever held. Field sections are held until they are
//! whole, as `h3` would do, and looked at, as it does not: see [`FrameSplitter::breach`]. Start at [`FrameSplitter::next`].

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{DATA, Guard, GuardError, HEADERS, Place};
use crate::frames::{Breach, SectionKind, check_section};

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
    /// What has come of a field section that is not whole.
    section: BytesMut,
    breach: Option<Breach>,
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
    /// A field section, which is looked at first.
    Section,
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
            section: BytesMut::new(),
            breach: None,
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
                        Whose::Section => {
                            if let Some(section) = self.on_section(part) {
                                return Ok(Some(Part::Frame(section)));
                            }
                        }
                        Whose::Frames => return Ok(Some(Part::Frame(part))),
                        Whose::Body => return Ok(Some(Part::Data(part))),
                        Whose::Nobody => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// What is wrong with the field sections that were handed out, the first of it (RFC 9114 section 4.3). `h3` may take them all the
    /// same: the message must be refused, whatever it makes of them.
    #[must_use]
    pub const fn breach(&self) -> Option<Breach> {
        self.breach
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
        if whose == Whose::Section && number == 0 {
            self.judge(&[]);
        }
        let is_frame = matches!(whose, Whose::Section | Whose::Frames);
        Ok(is_frame.then(|| Part::Frame(header(kind, number))))
    }

    /// More of a field section; all of it once it is whole. Its length was judged by its first bytes.
    fn on_section(&mut self, part: Bytes) -> Option<Bytes> {
        let is_whole = self.state == Split::Kind;
        let section = if is_whole && self.section.is_empty() {
            part
        } else {
            self.section.extend_from_slice(&part);
            if !is_whole {
                return None;
            }
            std::mem::take(&mut self.section).freeze()
        };
        self.judge(&section);
        Some(section)
    }

    /// The first section is a head, which has pseudo-header fields, and others are none.
    fn judge(&mut self, section: &[u8]) {
        let judged = match check_section(section, SectionKind::Request) {
            Ok(is_head) if is_head == (self.sections == 1) => return,
            Ok(_) => Breach::Pseudo,
            Err(breach) => breach,
        };
        self.breach.get_or_insert(judged);
    }

    /// The body stands between the head and the trailers; where else DATA stands it is an error, as `h3` will say.
    fn whose(&mut self, kind: u64) -> Whose {
        match kind {
            HEADERS => {
                self.sections += 1;
                Whose::Section
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
