//! An upstream connection's replies, paired with the commands that were sent there.
//!
//! Replies come in the order of commands; a push answers none. What a reply says is not looked at. Start at
//! [`Pipeline::on_bytes`].

use std::collections::VecDeque;

use bytes::{Buf as _, BytesMut};

use super::upstreams::Piece;
use crate::error::ReplyError;
use crate::limits::ReplyLimits;
use crate::reply::{ReplyFrame, ReplyScanner};

/// What is left of a large reply whose pieces nobody has a ticket for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streaming {
    No,
    /// Of the command in front.
    Reply,
    Push,
}

/// Commands that were sent and not answered, and where in the replies to them the connection is.
#[derive(Debug)]
pub struct Pipeline<T> {
    scanner: ReplyScanner,
    pending: VecDeque<T>,
    streaming: Streaming,
    /// Replies that nobody asked for are pushes.
    is_listening: bool,
}

/// Something that came.
#[derive(Debug)]
pub enum Delivery<'a, T> {
    /// The end of a reply, or all of it: the command is answered.
    Last(T, Piece<'a>),
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

impl<T> Pipeline<T> {
    /// Nothing was sent.
    #[must_use]
    pub fn new(limits: ReplyLimits) -> Self {
        Self {
            scanner: ReplyScanner::new(limits),
            pending: VecDeque::new(),
            streaming: Streaming::No,
            is_listening: false,
        }
    }

    /// From now on replies that nobody asked for are pushes: the server is told to MONITOR.
    pub const fn listen(&mut self) {
        self.is_listening = true;
    }

    /// A command was sent; its reply is for `ticket`.
    #[inline]
    pub fn expect(&mut self, ticket: T) {
        self.pending.push_back(ticket);
    }

    /// How many commands are not answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
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
            if rest.is_empty() {
                break Ok(());
            }
            let frame = match self.scanner.next(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            let bytes = rest.get(..frame.len()).unwrap_or_default();
            if let Err(error) = self.on_frame(frame, bytes, &mut deliver) {
                break Err(error);
            }
            taken += bytes.len();
        };
        src.advance(taken);
        result
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
                let ticket = self.pending.pop_front().ok_or(PipelineError::Unasked)?;
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
            let ticket = self.pending.pop_front().ok_or(PipelineError::Unasked)?;
            deliver(Delivery::Last(ticket, piece));
        } else {
            let ticket = self.pending.front().ok_or(PipelineError::Unasked)?;
            deliver(Delivery::Part(ticket, piece));
        }
        Ok(())
    }

    /// Those that will not be answered, when the connection is lost.
    pub fn take_pending(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.pending).into_iter()
    }

    /// Those that are not answered yet.
    pub fn pending(&self) -> impl Iterator<Item = &T> {
        self.pending.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(wire: &[u8], commands: u32) -> (Vec<String>, Result<(), PipelineError>) {
        let limits = ReplyLimits {
            whole: 64,
            ..ReplyLimits::default()
        };
        let mut pipeline = Pipeline::new(limits);
        for command in 0..commands {
            pipeline.expect(command);
        }
        let mut seen = Vec::new();
        let mut src = BytesMut::new();
        for byte in wire {
            src.extend_from_slice(&[*byte]);
            let result = pipeline.on_bytes(&mut src, |delivery| {
                seen.push(match delivery {
                    Delivery::Last(ticket, Piece::Whole { kind, .. }) => {
                        format!("{ticket} {kind:?}")
                    }
                    Delivery::Last(ticket, _) => format!("{ticket} end"),
                    Delivery::Part(ticket, Piece::Begin { kind, .. }) => {
                        format!("{ticket} begins {kind:?}")
                    }
                    Delivery::Part(..) => return,
                    Delivery::Push(_) => "push".to_owned(),
                });
            });
            if result.is_err() {
                return (seen, result);
            }
        }
        (seen, Ok(()))
    }

    #[test]
    fn replies_find_their_commands() {
        let large = format!("$100\r\n{}\r\n", "x".repeat(100));
        let wire = [b"+OK\r\n>1\r\n+m\r\n", large.as_bytes(), b":1\r\n"].concat();
        let (seen, result) = run(&wire, 3);
        let expected = ["0 Simple", "push", "1 begins Bulk", "1 end", "2 Integer"];
        assert_eq!(seen, expected);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn a_reply_too_many_ends_it() {
        let (seen, result) = run(b"+OK\r\n+OK\r\n", 1);
        assert_eq!(seen, ["0 Simple"]);
        assert_eq!(result, Err(PipelineError::Unasked));
        let large = format!("$100\r\n{}\r\n", "x".repeat(100));
        assert_eq!(run(large.as_bytes(), 0).1, Err(PipelineError::Unasked));
    }
}
