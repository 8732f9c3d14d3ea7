//! Where one message ends and the next begins, from nothing but headers.
//!
//! A header is a type byte and a length, and that is all that is read here: bodies belong to [`crate::message`], what a
//! client sends before its first message to [`crate::startup`]. Lengths are judged before a byte of the body is waited
//! for, and nothing is allocated. Start at [`FrameScanner::next`].

mod rules;

use std::fmt;

use crate::error::FrameError;
use crate::limits::{FrameLimits, LARGEST};
use rules::{Limit, Rule};

/// Bytes of a header: the type and the length.
pub const HEADER: usize = 5;

/// The type byte of a message. Unknown ones stay what they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u8);

/// Messages that clients send ("Message Formats", those marked F).
#[allow(missing_docs)] // each has the name that the chapter gives it
pub mod frontend {
    use super::Tag;

    pub const BIND: Tag = Tag(b'B');
    pub const CLOSE: Tag = Tag(b'C');
    pub const COPY_DATA: Tag = Tag(b'd');
    pub const COPY_DONE: Tag = Tag(b'c');
    pub const COPY_FAIL: Tag = Tag(b'f');
    pub const DESCRIBE: Tag = Tag(b'D');
    pub const EXECUTE: Tag = Tag(b'E');
    pub const FLUSH: Tag = Tag(b'H');
    pub const FUNCTION_CALL: Tag = Tag(b'F');
    pub const PARSE: Tag = Tag(b'P');
    /// PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse: what was asked tells them apart.
    pub const PASSWORD: Tag = Tag(b'p');
    pub const QUERY: Tag = Tag(b'Q');
    pub const SYNC: Tag = Tag(b'S');
    pub const TERMINATE: Tag = Tag(b'X');
}

/// Messages that servers send ("Message Formats", those marked B).
#[allow(missing_docs)] // each has the name that the chapter gives it
pub mod backend {
    use super::Tag;

    pub const AUTHENTICATION: Tag = Tag(b'R');
    pub const BACKEND_KEY_DATA: Tag = Tag(b'K');
    pub const BIND_COMPLETE: Tag = Tag(b'2');
    pub const CLOSE_COMPLETE: Tag = Tag(b'3');
    pub const COMMAND_COMPLETE: Tag = Tag(b'C');
    pub const COPY_BOTH_RESPONSE: Tag = Tag(b'W');
    pub const COPY_DATA: Tag = Tag(b'd');
    pub const COPY_DONE: Tag = Tag(b'c');
    pub const COPY_IN_RESPONSE: Tag = Tag(b'G');
    pub const COPY_OUT_RESPONSE: Tag = Tag(b'H');
    pub const DATA_ROW: Tag = Tag(b'D');
    pub const EMPTY_QUERY_RESPONSE: Tag = Tag(b'I');
    pub const ERROR_RESPONSE: Tag = Tag(b'E');
    pub const FUNCTION_CALL_RESPONSE: Tag = Tag(b'V');
    pub const NEGOTIATE_PROTOCOL_VERSION: Tag = Tag(b'v');
    pub const NO_DATA: Tag = Tag(b'n');
    pub const NOTICE_RESPONSE: Tag = Tag(b'N');
    pub const NOTIFICATION_RESPONSE: Tag = Tag(b'A');
    pub const PARAMETER_DESCRIPTION: Tag = Tag(b't');
    pub const PARAMETER_STATUS: Tag = Tag(b'S');
    pub const PARSE_COMPLETE: Tag = Tag(b'1');
    pub const PORTAL_SUSPENDED: Tag = Tag(b's');
    pub const READY_FOR_QUERY: Tag = Tag(b'Z');
    pub const ROW_DESCRIPTION: Tag = Tag(b'T');
}

impl Tag {
    /// The name of the message, if `side` has one of this type.
    #[must_use]
    pub const fn name(self, side: Side) -> Option<&'static str> {
        rules::name(self, side)
    }

    /// Whether a message of this type may be large, and so may come in parts. All others are always
    /// [`Whole`](Frame::Whole).
    #[must_use]
    pub const fn may_stream(self, side: Side) -> bool {
        rules::of(self.0, side).is_large()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tag({:?})", char::from(self.0))
    }
}

/// Who sends. The same letter means different messages on the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// A client.
    Frontend,
    /// A server.
    Backend,
}

/// What stands at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The next `len` bytes are one whole message, its header included.
    Whole {
        /// Its type.
        tag: Tag,
        /// Its bytes.
        len: usize,
    },
    /// A message larger than [`FrameLimits::whole`] begins. One or more [`More`](Self::More) follow.
    Begin {
        /// Its type: one that [may stream](Tag::may_stream).
        tag: Tag,
        /// The bytes of it that this is about: always [`FrameLimits::whole`], so that what is seen of a large message does
        /// not depend on how it came.
        len: usize,
        /// The bytes of the whole message, header included.
        total: u64,
    },
    /// `len` more bytes of that message, at least one.
    More {
        /// Their number.
        len: usize,
        /// Whether the message ends with them. `true` once for each [`Begin`](Self::Begin).
        last: bool,
    },
    /// Whole DataRow or CopyData messages, all of one type; only where [`FrameLimits::batch`] asks for it. Such a message
    /// is then never yielded as [`Whole`](Self::Whole).
    Run {
        /// Their type.
        tag: Tag,
        /// The bytes of all of them.
        len: usize,
        /// Their number, at least one.
        count: u32,
    },
}

impl Frame {
    /// The bytes to take off the buffer.
    #[must_use]
    pub const fn len(&self) -> usize {
        match *self {
            Self::Whole { len, .. }
            | Self::Begin { len, .. }
            | Self::More { len, .. }
            | Self::Run { len, .. } => len,
        }
    }

    /// Never: each frame has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Walks over messages by their headers.
#[derive(Debug, Clone)]
pub struct FrameScanner {
    /// Bytes that are still to come of a message that streams.
    left: u32,
    wants: u32,
    /// Up to here a message that its rule allows is whole, whatever the limits say.
    quick: u32,
    whole: u32,
    largest: u32,
    authentication: u32,
    side: Side,
    batch: bool,
}

impl FrameScanner {
    /// A scanner at the front of a message of `side`.
    #[must_use]
    pub fn new(side: Side, limits: FrameLimits) -> Self {
        let bounded = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).min(LARGEST);
        // The front of a large message has its header at least.
        let whole = bounded(limits.whole as u64).max(HEADER as u32);
        let largest = bounded(limits.largest);
        let authentication = bounded(limits.authentication as u64);
        Self {
            left: 0,
            wants: HEADER as u32,
            quick: whole.min(largest).min(authentication),
            whole,
            largest,
            authentication,
            side,
            batch: limits.batch,
        }
    }

    /// Looks at the front of `src`, the bytes that have not been taken yet. `None`: more have to come.
    ///
    /// Each frame must be taken, with exactly its [`len`](Frame::len) bytes, before the next call. After an error the
    /// connection is of no more use.
    ///
    /// # Errors
    /// A type or length that cannot be, as soon as its bytes are there.
    #[inline]
    pub fn next(&mut self, src: &[u8]) -> Result<Option<Frame>, FrameError> {
        if self.left > 0 {
            return Ok(self.more(src.len()));
        }
        let Some(header) = src.first_chunk::<HEADER>() else {
            return self.short(src);
        };
        let rule = rules::of(header[0], self.side);
        let length = length_of(*header);
        if !rule.allows(length) {
            return Err(self.judge(rule, length));
        }
        // At most LARGEST, so one more fits.
        let total = length + 1;
        if total > self.quick && self.is_large(rule, length)? {
            return Ok(self.begin(Tag(header[0]), total, src.len()));
        }
        let len = total as usize;
        if src.len() < len {
            self.wants = total - src.len() as u32;
            return Ok(None);
        }
        if self.batch && rule.is_row() {
            return Ok(Some(self.run(src, *header, total)));
        }
        let tag = Tag(header[0]);
        Ok(Some(Frame::Whole { tag, len }))
    }

    /// Whether no message is half taken. With nothing in the buffer it is where a connection may end.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.left == 0
    }

    /// After `None`: the bytes that have to come at least before there is more to say.
    #[must_use]
    pub const fn wants(&self) -> usize {
        self.wants as usize
    }

    /// What the limits say of a message that its rule allows: whether it streams.
    #[cold]
    fn is_large(&self, rule: Rule, length: u32) -> Result<bool, FrameError> {
        let most = match rule.limit() {
            Limit::None => LARGEST,
            Limit::Statement => self.largest,
            Limit::Authentication => self.authentication,
        };
        if length > most {
            return Err(FrameError::TooLarge);
        }
        Ok(rule.is_large() && length >= self.whole)
    }

    #[cold]
    fn judge(&self, rule: Rule, length: u32) -> FrameError {
        if rule.is_unknown() {
            self.unknown()
        } else if length < rule.least() || rule.is_fixed() || i32::try_from(length).is_err() {
            FrameError::Length
        } else {
            FrameError::TooLarge
        }
    }

    const fn unknown(&self) -> FrameError {
        match self.side {
            Side::Frontend => FrameError::UnknownFrontend,
            Side::Backend => FrameError::UnknownBackend,
        }
    }

    /// Less than a header: the type can be judged already.
    #[cold]
    fn short(&mut self, src: &[u8]) -> Result<Option<Frame>, FrameError> {
        if let Some(&tag) = src.first()
            && rules::of(tag, self.side).is_unknown()
        {
            return Err(self.unknown());
        }
        self.wants = (HEADER - src.len()) as u32;
        Ok(None)
    }

    fn begin(&mut self, tag: Tag, total: u32, here: usize) -> Option<Frame> {
        let len = self.whole as usize;
        if here < len {
            self.wants = self.whole - here as u32;
            return None;
        }
        self.left = total - self.whole;
        let total = u64::from(total);
        Some(Frame::Begin { tag, len, total })
    }

    fn more(&mut self, here: usize) -> Option<Frame> {
        let len = here.min(self.left as usize);
        if len == 0 {
            self.wants = self.left;
            return None;
        }
        self.left -= len as u32;
        let last = self.left == 0;
        Some(Frame::More { len, last })
    }

    /// As many messages of the first one's type as are whole. Whatever is odd about one ends the run before it: the next call
    /// judges it.
    fn run(&self, src: &[u8], [tag, ..]: [u8; HEADER], first: u32) -> Frame {
        let rule = rules::of(tag, self.side);
        let (mut len, mut count) = (first as usize, 1);
        while let Some(header) = src.get(len..).and_then(<[u8]>::first_chunk::<HEADER>) {
            let length = length_of(*header);
            let is_same = header[0] == tag && length >= rule.least() && length < self.whole;
            let end = len + length as usize + 1;
            if !is_same || end > src.len() {
                break;
            }
            len = end;
            count += 1;
        }
        let tag = Tag(tag);
        Frame::Run { tag, len, count }
    }
}

/// The length in a header. A negative one is larger than any that is allowed.
const fn length_of([_, a, b, c, d]: [u8; HEADER]) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
