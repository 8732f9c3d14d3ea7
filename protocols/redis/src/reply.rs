//! Where one reply of a server ends and the next begins, and what each is, without opening it.
//!
//! Not a tree: what is to be looked into goes to [`crate::message`]. RESP2 and RESP3 alike; which of them was agreed on is
//! the session's to know. Nothing is allocated but, for replies nested deeper than four, the list of what is owed.
//! Start at [`ReplyScanner::next`].

mod nesting;
pub(crate) mod short;

use crate::error::ReplyError;
use crate::grammar::{Token, token};
use crate::limits::{LEAST_WHOLE, MOST_WHOLE, ReplyLimits};
use nesting::Nesting;

/// The types of RESP, nil in its three forms among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyKind {
    /// `+`: a status.
    Simple,
    /// `-`: an error.
    Error,
    /// `:`: 64 bits with sign.
    Integer,
    /// `$`: a string of bytes, streamed ones too.
    Bulk,
    /// `$-1`: nil where RESP2 would have a string.
    NullBulk,
    /// `*`: elements, streamed ones too.
    Array,
    /// `*-1`: nil where RESP2 would have an array.
    NullArray,
    /// `_`: nil in RESP3.
    Null,
    /// `,`: a double.
    Double,
    /// `#`: true or false.
    Boolean,
    /// `(`: an integer of any size.
    BigNumber,
    /// `!`: an error with its length.
    BulkError,
    /// `=`: a string that says its format.
    Verbatim,
    /// `%`: pairs.
    Map,
    /// `~`: elements without order.
    Set,
    /// `>`: not a reply: something that the server says unasked.
    Push,
}

impl ReplyKind {
    /// Whether it is an error in either form.
    #[must_use]
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::BulkError)
    }

    /// Whether it is nil in any form.
    #[must_use]
    pub const fn is_null(self) -> bool {
        matches!(self, Self::Null | Self::NullBulk | Self::NullArray)
    }

    /// Whether it answers nothing.
    #[must_use]
    pub const fn is_push(self) -> bool {
        matches!(self, Self::Push)
    }

    /// Whether RESP2 has it.
    #[must_use]
    pub const fn is_resp2(self) -> bool {
        matches!(
            self,
            Self::Simple
                | Self::Error
                | Self::Integer
                | Self::Bulk
                | Self::NullBulk
                | Self::Array
                | Self::NullArray
        )
    }
}

/// What stands at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyFrame {
    /// The next `len` bytes are one whole reply.
    Whole {
        /// Its type.
        kind: ReplyKind,
        /// Its bytes, attributes in front included.
        len: usize,
        /// The bytes of attributes in front: the reply itself is behind them. Nearly always 0.
        attributes: usize,
    },
    /// A reply larger than [`ReplyLimits::whole`] begins. One or more [`More`](Self::More) follow.
    Begin {
        /// Its type.
        kind: ReplyKind,
        /// The bytes of it that this is about: [`ReplyLimits::whole`], or less where that is inside of a header. What is seen
        /// of a large reply does not depend on how it came.
        len: usize,
        /// As in [`Whole`](Self::Whole).
        attributes: usize,
    },
    /// `len` more bytes of that reply, at least one. No header is cut in two.
    More {
        /// Their number.
        len: usize,
        /// Whether the reply ends with them. `true` once for each [`Begin`](Self::Begin).
        last: bool,
    },
}

impl ReplyFrame {
    /// The bytes to take off the buffer.
    #[must_use]
    pub const fn len(&self) -> usize {
        match *self {
            Self::Whole { len, .. } | Self::Begin { len, .. } | Self::More { len, .. } => len,
        }
    }

    /// Never: each frame has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Walks over replies.
#[derive(Debug, Clone)]
pub struct ReplyScanner {
    /// Bytes of the reply at the front that need not be looked at again. 0 while a reply streams.
    walked: usize,
    /// Bytes of attributes in front of it.
    attributes: usize,
    kind: Option<ReplyKind>,
    is_streaming: bool,
    /// Of a string that is being walked through: its bytes that are still to come, and then a CRLF.
    string: Option<u64>,
    nesting: Nesting,
    limits: ReplyLimits,
}

impl ReplyScanner {
    /// A scanner at the front of a reply.
    #[must_use]
    pub fn new(limits: ReplyLimits) -> Self {
        let limits = ReplyLimits {
            whole: limits.whole.clamp(LEAST_WHOLE, MOST_WHOLE),
            line: limits.line.max(LEAST_WHOLE),
            bulk: limits.bulk.max(LEAST_WHOLE as u64),
            depth: limits.depth.max(1),
            // Pairs are counted as two.
            elements: limits.elements.min(u32::MAX / 2),
        };
        Self {
            walked: 0,
            attributes: 0,
            kind: None,
            is_streaming: false,
            string: None,
            nesting: Nesting::default(),
            limits,
        }
    }

    /// Looks at the front of `src`, the bytes that have not been taken yet. `None`: more have to come.
    ///
    /// Each frame must be taken, with exactly its [`len`](ReplyFrame::len) bytes, before the next call. After an error the
    /// connection is of no more use.
    ///
    /// # Errors
    /// A type, length or line that cannot be, as soon as its bytes are there; a limit.
    #[inline]
    pub fn next(&mut self, src: &[u8]) -> Result<Option<ReplyFrame>, ReplyError> {
        if src.is_empty() {
            return Ok(None);
        }
        if self.walked == 0 && !self.is_streaming {
            let window = self.window(src);
            let found = match window.first() {
                Some(b'*') => self.flat(ReplyKind::Array, window),
                Some(b'%') => self.flat(ReplyKind::Map, window),
                _ => short::value(window, self.limits.bulk),
            };
            if let Some((kind, len)) = found {
                let attributes = 0;
                return Ok(Some(ReplyFrame::Whole {
                    kind,
                    len,
                    attributes,
                }));
            }
        }
        self.walk(src)
    }

    /// Whether no reply is half taken. With nothing in the buffer it is where a connection may end.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        !self.is_streaming
    }

    /// After `None`: how many more bytes have to come at least before there is more to say.
    #[must_use]
    pub fn wants(&self, here: usize) -> usize {
        let whole = match self.string {
            Some(left) => self.walked as u64 + left + 2,
            None => self.walked as u64 + 3,
        };
        let whole = whole.min(self.limits.whole as u64);
        usize::try_from(whole)
            .unwrap_or(usize::MAX)
            .saturating_sub(here)
            .max(1)
    }

    #[inline]
    fn window<'a>(&self, src: &'a [u8]) -> &'a [u8] {
        src.get(..self.limits.whole).unwrap_or(src)
    }

    fn walk(&mut self, src: &[u8]) -> Result<Option<ReplyFrame>, ReplyError> {
        if self.is_streaming {
            return self.more(src);
        }
        let window = self.window(src);
        while let Some((len, is_done)) = self.step(window.get(self.walked..).unwrap_or_default())? {
            self.walked += len;
            if is_done {
                return Ok(self.whole());
            }
        }
        if src.len() < self.limits.whole {
            Ok(None)
        } else if self.walked == 0 {
            self.long_line(src)
        } else {
            self.begin().map(Some)
        }
    }

    /// A line that stands alone is whole, whatever the limit of other replies is.
    fn long_line(&mut self, src: &[u8]) -> Result<Option<ReplyFrame>, ReplyError> {
        let Some((len, _)) = self.step(src)? else {
            return Ok(None);
        };
        self.walked = len;
        Ok(self.whole())
    }

    fn whole(&mut self) -> Option<ReplyFrame> {
        let len = std::mem::take(&mut self.walked);
        let attributes = std::mem::take(&mut self.attributes);
        let kind = self.kind.take()?;
        Some(ReplyFrame::Whole {
            kind,
            len,
            attributes,
        })
    }

    fn begin(&mut self) -> Result<ReplyFrame, ReplyError> {
        // Whose reply it is depends on what it is.
        let kind = self.kind.ok_or(ReplyError::AttributesTooLarge)?;
        self.kind = None;
        self.is_streaming = true;
        let len = std::mem::take(&mut self.walked);
        let attributes = std::mem::take(&mut self.attributes);
        Ok(ReplyFrame::Begin {
            kind,
            len,
            attributes,
        })
    }

    fn more(&mut self, src: &[u8]) -> Result<Option<ReplyFrame>, ReplyError> {
        let mut len = 0;
        loop {
            let rest = src.get(len..).unwrap_or_default();
            match self.step(rest) {
                Ok(Some((step, is_done))) => {
                    len += step;
                    if is_done {
                        self.is_streaming = false;
                        self.kind = None;
                        return Ok(Some(ReplyFrame::More { len, last: true }));
                    }
                }
                // What is in front of an error is passed on, and the error said next time.
                Err(error) if len == 0 => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok((len > 0).then_some(ReplyFrame::More { len, last: false }))
    }

    /// Goes on by one token, or through a string as far as it is there: the bytes, and whether the reply ends with them.
    /// After an error it can be called again and says the same.
    fn step(&mut self, rest: &[u8]) -> Result<Option<Step>, ReplyError> {
        if self.string.is_none() {
            let run = self.elements(rest);
            if run > 0 {
                return Ok(Some((run, false)));
            }
        }
        let step = match self.string {
            Some(left) => self.through_string(rest, left)?,
            None => match token(rest, &self.limits)? {
                Some(token) => Some(self.take(token, rest)?),
                None => None,
            },
        };
        if self.kind.is_none()
            && !self.is_streaming
            && self.nesting.is_empty()
            && let Some((len, _)) = step
        {
            // Nothing is owed and the reply itself has not begun: it was the end of attributes.
            self.attributes = self.walked + len;
        }
        Ok(step)
    }

    /// An array or a map at the front: the whole of it, if it has only short elements and all are there. If not, the walk
    /// goes on behind those that are.
    fn flat(&mut self, kind: ReplyKind, window: &[u8]) -> Option<(ReplyKind, usize)> {
        let (count, header) = short::aggregate(kind, window, self.limits.elements)?;
        let rest = window.get(header..).unwrap_or_default();
        let may_nest = self.limits.depth > 1;
        let (bytes, taken) = short::elements(rest, count, may_nest, &self.limits);
        let walked = header + bytes;
        if taken == count {
            return Some((kind, walked));
        }
        self.kind = Some(kind);
        self.walked = walked;
        self.nesting.open_with(count - taken);
        None
    }

    /// As many elements of an array or a map as are short and whole, but for its last: their bytes.
    fn elements(&mut self, rest: &[u8]) -> usize {
        let may_nest = self.nesting.depth() < self.limits.depth as usize;
        let Some(left) = self.nesting.counted() else {
            return 0;
        };
        let (bytes, taken) = short::elements(rest, *left - 1, may_nest, &self.limits);
        *left -= taken;
        bytes
    }

    fn take(&mut self, token: Token, rest: &[u8]) -> Result<Step, ReplyError> {
        self.nesting.admits(token, &self.limits)?;
        if self.kind.is_none() && self.nesting.is_empty() {
            self.kind = kind_of(token);
        }
        let is_attributes = matches!(token, Token::Aggregate { kind: None, .. });
        self.nesting.note_value(is_attributes);
        Ok(match token {
            Token::Line { len, .. } => (len, self.nesting.close_element()),
            Token::Bulk { header, length, .. } => self.string_at(rest, header, length),
            Token::Chunk { header, length: 0 } => (header, self.nesting.close_streamed()),
            Token::Chunk { header, length } => {
                self.nesting.add_chunk(length);
                self.string_at(rest, header, length)
            }
            Token::Aggregate {
                kind,
                header,
                count,
            } => (header, self.nesting.open(kind, count)),
            Token::StreamedAggregate { kind, header } => {
                self.nesting.open_streamed(kind);
                (header, false)
            }
            Token::StreamedBulk { header } => {
                self.nesting.open_chunks();
                (header, false)
            }
            Token::End { len } => (len, self.nesting.close_streamed()),
        })
    }

    /// A string whose header is at the front: through it at once if it is whole.
    fn string_at(&mut self, rest: &[u8], header: usize, length: u64) -> Step {
        self.string = Some(length);
        let behind = rest.get(header..).unwrap_or_default();
        match self.through_string(behind, length) {
            Ok(Some((len, is_done))) => (header + len, is_done),
            // An end that is none is found again with the next step.
            Ok(None) | Err(_) => (header, false),
        }
    }

    /// Through the `left` bytes of a string and its CRLF, as far as they are there.
    fn through_string(&mut self, rest: &[u8], left: u64) -> Result<Option<Step>, ReplyError> {
        if left > rest.len() as u64 {
            self.string = Some(left - rest.len() as u64);
            return Ok((!rest.is_empty()).then_some((rest.len(), false)));
        }
        let left = left as usize;
        match rest.get(left..left + 2) {
            Some(b"\r\n") => {
                self.string = None;
                Ok(Some((left + 2, self.nesting.close_string())))
            }
            // Its bytes are good, whatever is behind them.
            _ if left > 0 => {
                self.string = Some(0);
                Ok(Some((left, false)))
            }
            Some(_) => Err(ReplyError::LineEnd),
            None => Ok(None),
        }
    }
}

/// Bytes, and whether the reply ends with them.
type Step = (usize, bool);

const fn kind_of(token: Token) -> Option<ReplyKind> {
    match token {
        Token::Line { kind, .. }
        | Token::Bulk { kind, .. }
        | Token::StreamedAggregate { kind, .. } => Some(kind),
        Token::Aggregate { kind, .. } => kind,
        Token::StreamedBulk { .. } => Some(ReplyKind::Bulk),
        Token::Chunk { .. } | Token::End { .. } => None,
    }
}

#[cfg(test)]
mod tests;
