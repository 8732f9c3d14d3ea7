//! Where one command ends and the next begins, and where its arguments are.
//!
//! Bytes are borrowed and nothing is copied; places of arguments are kept in room that is used again. A slow client's bytes are
//! looked at once. Start at [`CommandScanner::next`].

use memchr::memchr;

use super::command::{Command, CommandRef, Span, Spans};
use super::inline;
use crate::error::RequestError;
use crate::grammar::{Length, length, long_length, short_header, short_length};
use crate::limits::{INLINE, LEAST_WHOLE, MOST_WHOLE, RequestLimits};

/// What stands at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFrame {
    /// The next `len` bytes are one whole command. Its arguments are in [`CommandScanner::spans`] until the next call.
    Whole {
        /// Its bytes.
        len: usize,
    },
    /// A command larger than [`RequestLimits::whole`] begins. One or more [`More`](Self::More) follow.
    Begin {
        /// The bytes of it that this is about: [`RequestLimits::whole`], or less where that is inside of a header. What is
        /// seen of a large command does not depend on how it came. The arguments that are whole in them, the name at
        /// least, are in [`CommandScanner::spans`].
        len: usize,
        /// The number of its arguments.
        declared: u32,
        /// The bytes of the first argument that is not whole, if its header is among the bytes.
        partial: Option<u64>,
    },
    /// `len` more bytes of that command, at least one. No header is cut in two.
    More {
        /// Their number.
        len: usize,
        /// Whether the command ends with them. `true` once for each [`Begin`](Self::Begin).
        last: bool,
    },
    /// A line of words: [`CommandScanner::inline_command`] makes a command of it.
    Inline {
        /// Its bytes, with the line end.
        len: usize,
    },
    /// Nothing: an empty line, which `redis-cli --pipe` sends, or a command of no arguments. Redis passes over both.
    Blank {
        /// Its bytes.
        len: usize,
    },
}

impl CommandFrame {
    /// The bytes to take off the buffer.
    #[must_use]
    pub const fn len(&self) -> usize {
        match *self {
            Self::Whole { len }
            | Self::Begin { len, .. }
            | Self::More { len, .. }
            | Self::Inline { len }
            | Self::Blank { len } => len,
        }
    }

    /// Never: each frame has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where in a command the walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing of it was looked at, or part of a line.
    Front,
    /// Behind the number of its arguments.
    Arguments,
    /// In a large one, in front of an argument.
    Header,
    /// In a large one, so many bytes in front of the CRLF of an argument.
    Payload(u64),
}

/// Why the walk over arguments ends before the last.
enum Stop {
    /// As in [`CommandScanner::unfinished`].
    Unfinished(usize, Option<u64>),
    Error(RequestError),
}

/// Walks over commands.
#[derive(Debug, Clone)]
pub struct CommandScanner {
    pub(super) spans: Spans,
    place: Place,
    /// Arguments of the command that are still to come.
    left: u32,
    /// Bytes of the command at the front that need not be looked at again.
    walked: usize,
    wants: usize,
    limits: RequestLimits,
    /// Those of the limits that count now.
    most_arguments: u64,
    most_bulk: u64,
    is_known: bool,
}

impl CommandScanner {
    /// A scanner at the front of a command, of a client that is not known yet.
    #[must_use]
    pub fn new(limits: RequestLimits) -> Self {
        let limits = RequestLimits {
            whole: limits.whole.clamp(LEAST_WHOLE, MOST_WHOLE),
            ..limits
        };
        let mut scanner = Self {
            spans: Spans::new(),
            place: Place::Front,
            left: 0,
            walked: 0,
            wants: 1,
            limits,
            most_arguments: 0,
            most_bulk: 0,
            is_known: false,
        };
        scanner.set_known(false);
        scanner
    }

    /// Whether the client is known: it logged in, or need not. Until then the limits for strangers count. Takes effect with
    /// the next command, or with the rest of one that was begun.
    pub fn set_known(&mut self, is_known: bool) {
        let limits = &self.limits;
        let (arguments, bulk) = if is_known {
            (limits.arguments, limits.bulk)
        } else {
            (
                limits.stranger_arguments.min(limits.arguments),
                limits.stranger_bulk.min(limits.bulk),
            )
        };
        self.most_arguments = u64::from(arguments);
        self.most_bulk = bulk;
        self.is_known = is_known;
    }

    /// Looks at the front of `src`, the bytes that have not been taken yet. `None`: more have to come.
    ///
    /// Each frame must be taken, with exactly its [`len`](CommandFrame::len) bytes, before the next call. After an error the
    /// connection is of no more use; the same bytes give the same error.
    ///
    /// # Errors
    /// What can never become a command, as soon as its bytes are there; a limit.
    #[inline]
    pub fn next(&mut self, src: &[u8]) -> Result<Option<CommandFrame>, RequestError> {
        match self.place {
            Place::Front => {
                let [b'*', rest @ ..] = src else {
                    return self.no_command(src);
                };
                match length(rest) {
                    Length::Is { value, len } if value > 0 && value <= self.most_arguments => {
                        self.begin(value as u32, len + 1);
                    }
                    other => return self.odd_count(other),
                }
            }
            Place::Arguments => {}
            Place::Header | Place::Payload(_) => return self.more(src),
        }
        self.arguments(src)
    }

    /// Where the arguments are of the command that was found last, counted from its first byte.
    #[must_use]
    #[inline]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The command of the last [`Whole`](CommandFrame::Whole), or what was seen of it at
    /// [`Begin`](CommandFrame::Begin), whose bytes `wire` is.
    #[must_use]
    #[inline]
    pub fn command<'a>(&'a self, wire: &'a [u8]) -> CommandRef<'a> {
        CommandRef::new(wire, &self.spans)
    }

    /// The command that the line of an [`Inline`](CommandFrame::Inline) means, as it goes on: in bytes of its own, which need not
    /// be looked at again.
    ///
    /// # Errors
    /// Quotes that do not close, an HTTP request, more words than a client may send now.
    pub fn inline_command(&self, line: &[u8]) -> Result<Command, RequestError> {
        inline::command(line, self.most_arguments, self.is_known)
    }

    /// Those of [`spans`](Self::spans), given away.
    pub(super) fn take_spans(&mut self) -> Spans {
        std::mem::take(&mut self.spans)
    }

    /// Whether no command is half taken. With nothing in the buffer it is where a connection may end.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        matches!(self.place, Place::Front | Place::Arguments)
    }

    /// After `None`: how many more bytes have to come at least before there is more to say.
    #[must_use]
    pub const fn wants(&self) -> usize {
        self.wants
    }

    #[inline]
    fn begin(&mut self, count: u32, header: usize) {
        if self.spans.spilled() {
            // One long command is no reason to hold its room for ever.
            self.spans = Spans::new();
        }
        self.spans.clear();
        self.place = Place::Arguments;
        self.left = count;
        self.walked = header;
    }

    #[inline]
    fn arguments(&mut self, src: &[u8]) -> Result<Option<CommandFrame>, RequestError> {
        let window = src.get(..self.limits.whole).unwrap_or(src);
        let (mut walked, mut left) = (self.walked, self.left);
        let stop = loop {
            let short = self.short_argument(window, walked);
            let span = match short.map_or_else(|| self.argument(window, walked), Ok) {
                Ok(span) => span,
                Err(stop) => break stop,
            };
            walked = span.end as usize + 2;
            self.spans.push(span);
            left -= 1;
            if left == 0 {
                self.walked = 0;
                self.place = Place::Front;
                return Ok(Some(CommandFrame::Whole { len: walked }));
            }
        };
        self.walked = walked;
        self.left = left;
        match stop {
            Stop::Unfinished(end, partial) => self.unfinished(src, end, partial),
            Stop::Error(error) => Err(error),
        }
    }

    /// An argument behind so many bytes that is whole and short. `None` of one that has to be looked at more closely.
    #[inline]
    fn short_argument(&self, window: &[u8], walked: usize) -> Option<Span> {
        let (header, bulk) = short_header(window.get(walked..)?)?;
        let start = walked + header;
        let end = start + bulk;
        let is_whole = *window.get(end..)?.first_chunk::<2>()? == *b"\r\n";
        // Both are within `whole`.
        let (start, end) = (start as u32, end as u32);
        (is_whole && bulk as u64 <= self.most_bulk).then_some(Span { start, end })
    }

    /// An argument behind so many bytes.
    #[inline(never)]
    fn argument(&self, window: &[u8], walked: usize) -> Result<Span, Stop> {
        let (header, bulk) = self
            .header(window.get(walked..).unwrap_or_default())
            .map_err(Stop::Error)?
            .ok_or(Stop::Unfinished(walked, None))?;
        let start = walked + header;
        // A length has 18 digits at most: this does not overflow.
        let end = start + bulk as usize;
        match window.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(Stop::Error(RequestError::BulkEnd)),
            None => return Err(Stop::Unfinished(end, Some(bulk))),
        }
        // Both are within `whole`.
        let (start, end) = (start as u32, end as u32);
        Ok(Span { start, end })
    }

    /// The header of an argument: its bytes, and those of the argument.
    #[inline]
    fn header(&self, src: &[u8]) -> Result<Option<(usize, u64)>, RequestError> {
        let rest = match src {
            [b'$', rest @ ..] => rest,
            [other, ..] => return Err(RequestError::ExpectedBulk(*other)),
            [] => return Ok(None),
        };
        if let Some((value, len)) = short_length(rest)
            && value <= self.most_bulk
        {
            return Ok(Some((len + 1, value)));
        }
        self.long_header(rest)
    }

    #[inline(never)]
    fn long_header(&self, rest: &[u8]) -> Result<Option<(usize, u64)>, RequestError> {
        match long_length(rest) {
            Length::Is { value, len } if value <= self.most_bulk => Ok(Some((len + 1, value))),
            other => self.odd_length(other),
        }
    }

    #[cold]
    fn odd_length(&self, length: Length) -> Result<Option<(usize, u64)>, RequestError> {
        match length {
            Length::Unfinished => Ok(None),
            Length::TooManyDigits => Err(RequestError::BulkLengthDigits),
            Length::Is { value, .. } if !self.is_known && value <= self.limits.bulk => {
                Err(RequestError::StrangerBulk)
            }
            Length::Is { .. } | Length::Bad => Err(RequestError::BulkLength),
        }
    }

    #[cold]
    fn odd_count(&mut self, length: Length) -> Result<Option<CommandFrame>, RequestError> {
        match length {
            Length::Unfinished => Ok(self.wait(1)),
            Length::Is { value: 0, len } => Ok(Some(CommandFrame::Blank { len: len + 1 })),
            Length::TooManyDigits => Err(RequestError::ArgumentCountDigits),
            Length::Is { value, .. }
                if !self.is_known && value <= u64::from(self.limits.arguments) =>
            {
                Err(RequestError::StrangerArguments)
            }
            Length::Is { .. } | Length::Bad => Err(RequestError::ArgumentCount),
        }
    }

    fn wait(&mut self, wants: usize) -> Option<CommandFrame> {
        self.wants = wants;
        None
    }

    /// An argument is not whole. Its bytes end at `end`, or its header is not whole either and begins there.
    #[cold]
    fn unfinished(
        &mut self,
        src: &[u8],
        end: usize,
        partial: Option<u64>,
    ) -> Result<Option<CommandFrame>, RequestError> {
        let whole = self.limits.whole;
        if src.len() < whole {
            // The least that may follow a header that is not whole is its line end.
            let wants = (end + 2).min(whole).saturating_sub(src.len()).max(1);
            return Ok(self.wait(wants));
        }
        if self.spans.is_empty() {
            return Err(RequestError::NameTooLong);
        }
        let declared = self.spans.len() as u32 + self.left;
        let len = whole.min(end);
        self.place = match partial {
            Some(_) => Place::Payload((end - len) as u64),
            None => Place::Header,
        };
        self.walked = 0;
        Ok(Some(CommandFrame::Begin {
            len,
            declared,
            partial,
        }))
    }

    fn more(&mut self, src: &[u8]) -> Result<Option<CommandFrame>, RequestError> {
        let mut len = 0;
        while self.left > 0 {
            match self.step(src.get(len..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(step) => len += step,
                // What is in front of an error is passed on, and the error said next time.
                Err(error) if len == 0 => return Err(error),
                Err(_) => break,
            }
        }
        let last = self.left == 0;
        if last {
            self.place = Place::Front;
        }
        if len == 0 {
            let wants = match self.place {
                Place::Payload(left) => usize::try_from(left).unwrap_or(usize::MAX).max(1),
                _ => 1,
            };
            return Ok(self.wait(wants));
        }
        Ok(Some(CommandFrame::More { len, last }))
    }

    /// One step through a large command: a header, bytes of an argument, or its end. 0: more have to come.
    fn step(&mut self, src: &[u8]) -> Result<usize, RequestError> {
        match self.place {
            Place::Payload(0) => match src {
                [b'\r', b'\n', ..] => {
                    self.place = Place::Header;
                    self.left -= 1;
                    Ok(2)
                }
                [_, _, ..] => Err(RequestError::BulkEnd),
                _ => Ok(0),
            },
            Place::Payload(left) => {
                let here = left.min(src.len() as u64);
                self.place = Place::Payload(left - here);
                Ok(here as usize)
            }
            _ => {
                let Some((len, bulk)) = self.header(src)? else {
                    return Ok(0);
                };
                self.place = Place::Payload(bulk);
                Ok(len)
            }
        }
    }

    /// What does not begin with `*`: nothing yet, an empty line, or an inline command.
    #[cold]
    fn no_command(&mut self, src: &[u8]) -> Result<Option<CommandFrame>, RequestError> {
        match *src {
            [] | [b'\r'] => Ok(self.wait(1)),
            [b'\r', b'\n', ..] => Ok(Some(CommandFrame::Blank { len: 2 })),
            [first, ..] if !self.limits.inline => Err(RequestError::Inline(first)),
            _ => self.inline(src),
        }
    }

    fn inline(&mut self, src: &[u8]) -> Result<Option<CommandFrame>, RequestError> {
        let window = src.get(..INLINE).unwrap_or(src);
        let fresh = window.get(self.walked..).unwrap_or_default();
        if let Some(end) = memchr(b'\n', fresh) {
            let len = self.walked + end + 1;
            self.walked = 0;
            return Ok(Some(
                if inline::is_blank(src.get(..len).unwrap_or_default()) {
                    CommandFrame::Blank { len }
                } else {
                    CommandFrame::Inline { len }
                },
            ));
        }
        if src.len() >= INLINE {
            return Err(RequestError::InlineTooLong);
        }
        self.walked = src.len();
        Ok(self.wait(1))
    }
}
