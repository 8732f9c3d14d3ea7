//! Finds frames in a stream of bytes that comes in any pieces, keeping at most 13 of them.
//!
//! The header and the few payload bytes that say how the rest is laid out; pieces of header blocks are handed out as they
//! lie in the input, everything else is stepped over. Not a codec: nothing is judged but what does not fit its frame.
//! Start at [`Reader::next`].

use crate::frame::{ErrorCode, FrameHeader, FrameKind, HEADER_BYTES, flags};
use crate::grammar::frame_header;
use crate::preface::PREFACE;

/// Payload bytes kept at most: the code of RST_STREAM.
const MOST_AHEAD: usize = 4;
/// Bytes of the priority in front of a HEADERS block.
const PRIORITY_BYTES: u32 = 5;
/// Bytes of the promised stream in front of a PUSH_PROMISE block.
const PROMISED_BYTES: u32 = 4;

/// Where the reader is in one direction of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    /// Bytes of the preface that must still come.
    preface: u8,
    /// The header, then the payload bytes that are needed.
    head: [u8; HEADER_BYTES + MOST_AHEAD],
    have: u8,
    /// Payload bytes to step over, then those of a header block, then more to step over.
    front: u32,
    block: u32,
    tail: u32,
    in_block: bool,
}

/// A frame whose header, and what is needed of its payload, has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) header: FrameHeader,
    /// Bytes of content or header block: the payload without what is in front of it and without padding.
    pub(super) content: u32,
    /// The code of RST_STREAM.
    pub(super) code: ErrorCode,
    /// Padding and priority do not fit.
    pub(super) malformed: bool,
}

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The preface is complete, or is none.
    Preface(bool),
    Frame(Seen),
    /// A piece of the header block of the last frame.
    Block(&'a [u8]),
    /// The last piece of a block has been seen, and its frame ends the block.
    BlockEnd,
}

impl Reader {
    /// A reader of a stream that begins with so many bytes of the preface: all or none.
    pub(super) const fn new(preface: u8) -> Self {
        Self {
            preface,
            head: [0; HEADER_BYTES + MOST_AHEAD],
            have: 0,
            front: 0,
            block: 0,
            tail: 0,
            in_block: false,
        }
    }

    /// The next step, taking its bytes off the front. `None` when all bytes are used up.
    #[inline]
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Step<'a>> {
        if self.preface > 0 {
            return self.read_preface(bytes);
        }
        if self.front > 0 {
            skip(&mut self.front, bytes)?;
        }
        if self.block > 0 {
            return self.read_block(bytes);
        }
        if self.in_block {
            self.in_block = false;
            return Some(Step::BlockEnd);
        }
        if self.tail > 0 {
            skip(&mut self.tail, bytes)?;
        }
        self.read_head(bytes).map(Step::Frame)
    }

    fn read_preface<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Step<'a>> {
        let expected = PREFACE.get(PREFACE.len() - usize::from(self.preface)..)?;
        let take = expected.len().min(bytes.len());
        let (given, rest) = bytes.split_at(take);
        *bytes = rest;
        if !expected.starts_with(given) {
            return Some(Step::Preface(false));
        }
        // At most 24.
        self.preface -= take as u8;
        (self.preface == 0).then_some(Step::Preface(true))
    }

    fn read_block<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Step<'a>> {
        if bytes.is_empty() {
            return None;
        }
        let take = bytes.len().min(self.block as usize);
        let (piece, rest) = bytes.split_at(take);
        *bytes = rest;
        self.block -= take as u32;
        Some(Step::Block(piece))
    }

    fn read_head(&mut self, bytes: &mut &[u8]) -> Option<Seen> {
        self.fill(HEADER_BYTES, bytes)?;
        let header = frame_header(self.head.get(..HEADER_BYTES)?)?;
        let ahead = bytes_ahead(&header);
        self.fill(HEADER_BYTES + ahead, bytes)?;
        self.have = 0;
        Some(self.lay_out(header, ahead as u32))
    }

    /// Fills the head up to `length` bytes; `None` when there are too few.
    #[inline]
    fn fill(&mut self, length: usize, bytes: &mut &[u8]) -> Option<()> {
        let room = self.head.get_mut(usize::from(self.have)..length);
        let room = room.unwrap_or_default();
        let take = room.len().min(bytes.len());
        let (given, rest) = bytes.split_at(take);
        room.iter_mut()
            .zip(given)
            .for_each(|(to, &from)| *to = from);
        *bytes = rest;
        // At most 13.
        self.have += take as u8;
        (usize::from(self.have) >= length).then_some(())
    }

    /// Says what the rest of the payload is, with the bytes that are ahead in the head.
    fn lay_out(&mut self, header: FrameHeader, ahead: u32) -> Seen {
        let [.., a, b, c, d] = self.head;
        let padding = if header.is_padded() { u32::from(a) } else { 0 };
        let front = match header.kind {
            FrameKind::Headers if header.has(flags::PRIORITY) => PRIORITY_BYTES,
            FrameKind::PushPromise => PROMISED_BYTES,
            _ => 0,
        };
        let needs_ahead = u32::from(header.is_padded());
        let content = header
            .length
            .checked_sub(needs_ahead + front)
            .and_then(|rest| rest.checked_sub(padding));
        let rest = header.length - ahead.min(header.length);
        if header.kind.has_block()
            && let Some(content) = content
        {
            (self.front, self.block, self.tail) = (front, content, padding);
            self.in_block = header.has(flags::END_HEADERS);
        } else {
            self.front = rest;
        }
        let code = if header.kind == FrameKind::Reset {
            ErrorCode(u32::from_be_bytes([a, b, c, d]))
        } else {
            ErrorCode::NO_ERROR
        };
        Seen {
            header,
            content: content.unwrap_or(0),
            code,
            malformed: content.is_none(),
        }
    }
}

/// Payload bytes that are needed to go on.
#[inline]
const fn bytes_ahead(header: &FrameHeader) -> usize {
    if header.length == 0 {
        0
    } else if header.is_padded() {
        1
    } else if matches!(header.kind, FrameKind::Reset) && header.length as usize >= MOST_AHEAD {
        MOST_AHEAD
    } else {
        0
    }
}

/// Steps over up to `left` bytes; `None` when there are too few.
#[inline]
fn skip(left: &mut u32, bytes: &mut &[u8]) -> Option<()> {
    let take = bytes.len().min(*left as usize);
    *bytes = bytes.get(take..)?;
    *left -= take as u32;
    (*left == 0).then_some(())
}
