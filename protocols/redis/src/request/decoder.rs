//! Commands that are kept: they share the allocation that their bytes were read into.
//!
//! A thin layer over [`CommandScanner`], which is where everything is judged. Start at [`RequestDecoder`].

use bytes::{Buf as _, Bytes, BytesMut};
use portcullis_codec::Decoder;

use super::command::{Command, Front};
use super::scanner::{CommandFrame, CommandScanner};
use crate::error::RequestError;
use crate::limits::RequestLimits;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A whole command.
    Command(Command),
    /// A command larger than [`RequestLimits::whole`] begins. Its keys are among the arguments that are here, or it cannot
    /// be routed.
    Begin(Front),
    /// More bytes of it.
    More {
        /// At least one.
        bytes: Bytes,
        /// Whether the command ends with them. `true` once for each [`Begin`](Self::Begin).
        last: bool,
    },
}

/// Takes commands off a buffer. `Ok(None)` leaves it untouched, but for empty lines, which it drops.
#[derive(Debug, Clone)]
pub struct RequestDecoder {
    scanner: CommandScanner,
    /// What ended a row of whole commands, and has not been taken.
    pending: Option<CommandFrame>,
}

impl RequestDecoder {
    /// A decoder at the front of a command, of a client that is not known yet.
    #[must_use]
    pub fn new(limits: RequestLimits) -> Self {
        Self {
            scanner: CommandScanner::new(limits),
            pending: None,
        }
    }

    /// As in [`CommandScanner::set_known`].
    pub fn set_known(&mut self, is_known: bool) {
        self.scanner.set_known(is_known);
    }

    /// Whether no command is half taken.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.scanner.is_between()
    }

    /// Takes all whole commands at the front, which then share one allocation: how many came. What is not a whole command,
    /// an error among that, ends the row and is for [`decode`](Decoder::decode).
    ///
    /// Not for a client that is about to log in: the limits that count are those of now.
    pub fn take_commands(&mut self, src: &mut BytesMut, commands: &mut Vec<Command>) -> usize {
        let before = commands.len();
        let mut taken = 0;
        while self.pending.is_none() {
            // An error is said again when the next is asked for.
            match self.scanner.next(src.get(taken..).unwrap_or_default()) {
                Ok(Some(CommandFrame::Whole { len })) => {
                    commands.push(Command::from_parts(Bytes::new(), self.scanner.take_spans()));
                    taken += len;
                }
                Ok(Some(other)) => self.pending = Some(other),
                Ok(None) | Err(_) => break,
            }
        }
        let mut bytes = src.split_to(taken).freeze();
        for command in commands.iter_mut().skip(before) {
            command.claim(&mut bytes);
        }
        commands.len() - before
    }

    fn next(&mut self, src: &[u8]) -> Result<Option<CommandFrame>, RequestError> {
        match self.pending.take() {
            Some(frame) => Ok(Some(frame)),
            None => self.scanner.next(src),
        }
    }
}

impl Decoder for RequestDecoder {
    type Item = Request;
    type Error = RequestError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Request>, RequestError> {
        while let Some(frame) = self.next(src)? {
            let len = frame.len();
            let (declared, partial) = match frame {
                CommandFrame::Blank { len } => {
                    src.advance(len);
                    continue;
                }
                CommandFrame::Inline { len } => {
                    let line = src.get(..len).unwrap_or_default();
                    let command = self.scanner.inline_command(line)?;
                    src.advance(len);
                    return Ok(Some(Request::Command(command)));
                }
                CommandFrame::More { len, last } => {
                    let bytes = src.split_to(len).freeze();
                    return Ok(Some(Request::More { bytes, last }));
                }
                CommandFrame::Whole { .. } => (None, None),
                CommandFrame::Begin {
                    declared, partial, ..
                } => (Some(declared), partial),
            };
            let spans = self.scanner.take_spans();
            let command = Command::from_parts(src.split_to(len).freeze(), spans);
            return Ok(Some(match declared {
                None => Request::Command(command),
                Some(declared) => Request::Begin(Front {
                    command,
                    declared,
                    partial,
                }),
            }));
        }
        Ok(None)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Request>, RequestError> {
        match self.decode(src)? {
            None if !src.is_empty() || !self.is_between() => Err(RequestError::Truncated),
            item => Ok(item),
        }
    }

    fn wants(&self) -> usize {
        self.scanner.wants()
    }
}
