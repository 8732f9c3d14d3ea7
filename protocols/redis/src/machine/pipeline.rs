//! An upstream connection's replies, paired with the commands that were sent there.
//!
//! Replies come in the order of commands; a push answers none. What a reply says is not looked at. Start at
//! [`Pipeline::on_bytes`].

use std::collections::VecDeque;

use bytes::{Buf as _, BytesMut};
use smallvec::SmallVec;

use super::upstreams::Piece;
use crate::error::ReplyError;
use crate::limits::ReplyLimits;
use crate::reply::{ReplyFrame, ReplyKind, ReplyScanner};

/// Replies that are handed over in one, at most.
const MOST_AT_ONCE: usize = 32;

/// What is left of a large reply whose pieces nobody has a ticket for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streaming {
    No,
    /// Of the command in front.
    Reply,
    Push,
}

/// Who waits for a reply, or for those to a run of commands: several of one client that were sent one behind the other.
pub trait Waiting: Sized {
    /// The replies to a run that are still to come. 0: it is none, and each reply is handed over by itself.
    fn run(&self) -> u32 {
        0
    }

    /// Who waits for the first of more than one reply, apart from the others. `None`: it is no run, or one of one.
    fn split_first(&mut self) -> Option<Self> {
        None
    }

    /// So many of the run were handed over, and not all.
    fn pass(&mut self, _count: u32) {}
}

/// A reply of a run, by its bytes among those of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunReply {
    /// Its type: no error, and no push.
    pub kind: ReplyKind,
    /// Its bytes.
    pub len: u32,
}

/// Commands that were sent and not answered, and where in the replies to them the connection is.
#[derive(Debug)]
pub struct Pipeline<T> {
    scanner: ReplyScanner,
    pending: VecDeque<T>,
    /// Commands, of which a run has several.
    commands: usize,
    streaming: Streaming,
    /// Replies that nobody asked for are pushes.
    is_listening: bool,
}

/// Something that came.
#[derive(Debug)]
pub enum Delivery<'a, T> {
    /// The end of a reply, or all of it: the command is answered.
    Last(T, Piece<'a>),
    /// The next replies to a run, whole and one behind the other in the bytes.
    Run(&'a T, &'a [RunReply], &'a [u8]),
    /// A part of a reply of which more comes.
    Part(&'a T, Piece<'a>),
    /// Something that the server says unasked.
    Push(Piece<'a>),
}

/// Why a connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// What came is no RESP.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A reply that nobody asked for: from now on none could be told whose it is.
    #[error("a reply that answers no command")]
    Unasked,
}

impl PipelineError {
    /// The `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Reply(error) => portcullis_codec::WireError::label(&error),
            Self::Unasked => "unasked_reply",
        }
    }
}

impl<T: Waiting> Pipeline<T> {
    /// Nothing was sent.
    #[must_use]
    pub fn new(limits: ReplyLimits) -> Self {
        Self {
            scanner: ReplyScanner::new(limits),
            pending: VecDeque::new(),
            commands: 0,
            streaming: Streaming::No,
            is_listening: false,
        }
    }

    /// From now on replies that nobody asked for are pushes: the server is told to MONITOR.
    pub const fn listen(&mut self) {
        self.is_listening = true;
    }

    /// A command was sent, or a run of them; what answers it is for `ticket`.
    #[inline]
    pub fn expect(&mut self, ticket: T) {
        self.commands += ticket.run().max(1) as usize;
        self.pending.push_back(ticket);
    }

    /// How many commands are not answered.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.commands
    }

    /// Whether all are answered, and no push is half here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.streaming == Streaming::No
    }

    /// Hands over what is whole in `src`, and large replies as they come. The rest stays there.
    ///
    /// # Errors
    /// The connection is to be closed. What was handed over is valid.
    pub fn on_bytes(
        &mut self,
        src: &mut BytesMut,
        mut deliver: impl FnMut(Delivery<'_, T>),
    ) -> Result<(), PipelineError> {
        let mut taken = 0;
        let result = loop {
            let rest = src.get(taken..).unwrap_or_default();
            let run = self.pending.front().map_or(0, Waiting::run);
            let step = if run == 0 {
                self.one(rest, &mut deliver)
            } else {
                self.several(rest, run, &mut deliver)
            };
            match step {
                Ok(0) => break Ok(()),
                Ok(len) => taken += len,
                Err(error) => break Err(error),
            }
        };
        if taken == src.len() {
            // Its room is whole again.
            src.clear();
        } else {
            src.advance(taken);
        }
        result
    }

    /// Hands over what is in front: so many bytes.
    #[inline]
    fn one(
        &mut self,
        src: &[u8],
        deliver: &mut impl FnMut(Delivery<'_, T>),
    ) -> Result<usize, PipelineError> {
        let Some(frame) = self.scanner.next(src)? else {
            return Ok(0);
        };
        let bytes = src.get(..frame.len()).unwrap_or_default();
        self.on_frame(frame, bytes, deliver)?;
        Ok(bytes.len())
    }

    /// Hands over what is in front: replies to a run of `most` commands in one, up to what is no plain reply, and then that.
    #[inline]
    fn several(
        &mut self,
        src: &[u8],
        most: u32,
        deliver: &mut impl FnMut(Delivery<'_, T>),
    ) -> Result<usize, PipelineError> {
        let most = MOST_AT_ONCE.min(most as usize);
        let mut replies: SmallVec<[RunReply; MOST_AT_ONCE]> = SmallVec::new();
        let mut len = 0;
        let other = loop {
            match self.scanner.next(src.get(len..).unwrap_or_default()) {
                Ok(Some(ReplyFrame::Whole { kind, len: its, .. }))
                    if !kind.is_error() && !kind.is_push() =>
                {
                    // Within what is whole at most.
                    let its_len = its as u32;
                    len += its;
                    replies.push(RunReply { kind, len: its_len });
                    if replies.len() == most {
                        break Ok(None);
                    }
                }
                other => break other,
            }
        };
        self.hand_over(&replies, src.get(..len).unwrap_or_default(), deliver);
        if let Some(frame) = other? {
            let bytes = src.get(len..).unwrap_or_default();
            let bytes = bytes.get(..frame.len()).unwrap_or_default();
            self.on_frame(frame, bytes, deliver)?;
            len += bytes.len();
        }
        Ok(len)
    }

    /// Hands over replies to the run in front.
    #[inline]
    fn hand_over(
        &mut self,
        replies: &[RunReply],
        bytes: &[u8],
        deliver: &mut impl FnMut(Delivery<'_, T>),
    ) {
        let Some(front) = self.pending.front_mut().filter(|_| !replies.is_empty()) else {
            return;
        };
        let count = replies.len() as u32;
        deliver(Delivery::Run(front, replies, bytes));
        self.commands -= replies.len();
        if count < front.run() {
            front.pass(count);
        } else {
            self.pending.pop_front();
        }
    }

    /// Who waits for the next reply, which is here.
    #[inline]
    fn take_first(&mut self) -> Result<T, PipelineError> {
        let front = self.pending.front_mut().ok_or(PipelineError::Unasked)?;
        self.commands -= 1;
        if let Some(first) = front.split_first() {
            return Ok(first);
        }
        self.pending.pop_front().ok_or(PipelineError::Unasked)
    }

    #[inline]
    fn on_frame(
        &mut self,
        frame: ReplyFrame,
        bytes: &[u8],
        deliver: &mut impl FnMut(Delivery<'_, T>),
    ) -> Result<(), PipelineError> {
        match frame {
            ReplyFrame::Whole { kind, .. }
                if kind.is_push() || (self.is_listening && self.pending.is_empty()) =>
            {
                deliver(Delivery::Push(Piece::Whole { kind, bytes }));
            }
            ReplyFrame::Whole { kind, .. } => {
                let ticket = self.take_first()?;
                deliver(Delivery::Last(ticket, Piece::Whole { kind, bytes }));
            }
            ReplyFrame::Begin { kind, .. }
                if kind.is_push() || (self.is_listening && self.pending.is_empty()) =>
            {
                self.streaming = Streaming::Push;
                deliver(Delivery::Push(Piece::Begin { kind, bytes }));
            }
            ReplyFrame::Begin { kind, .. } => {
                let ticket = self.pending.front().ok_or(PipelineError::Unasked)?;
                self.streaming = Streaming::Reply;
                deliver(Delivery::Part(ticket, Piece::Begin { kind, bytes }));
            }
            ReplyFrame::More { last, .. } => self.on_more(bytes, last, deliver)?,
        }
        Ok(())
    }

    #[cold]
    fn on_more(
        &mut self,
        bytes: &[u8],
        last: bool,
        deliver: &mut impl FnMut(Delivery<'_, T>),
    ) -> Result<(), PipelineError> {
        let piece = Piece::More { bytes, last };
        let streaming = self.streaming;
        if last {
            self.streaming = Streaming::No;
        }
        if streaming == Streaming::Push {
            deliver(Delivery::Push(piece));
        } else if last {
            let ticket = self.take_first()?;
            deliver(Delivery::Last(ticket, piece));
        } else {
            let ticket = self.pending.front().ok_or(PipelineError::Unasked)?;
            deliver(Delivery::Part(ticket, piece));
        }
        Ok(())
    }

    /// Those that will not be answered, when the connection is lost.
    pub fn take_pending(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.commands = 0;
        std::mem::take(&mut self.pending).into_iter()
    }

    /// Those that are not answered yet.
    pub fn pending(&self) -> impl Iterator<Item = &T> {
        self.pending.iter()
    }
}

#[cfg(test)]
mod tests;
