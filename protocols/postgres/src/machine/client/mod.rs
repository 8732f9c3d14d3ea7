//! Messages from the client: what is sent on, what waits, what is answered here.
//!
//! "Frontend/Backend Protocol" in PostgreSQL's documentation is what all of this keeps to. Start at
//! [`Relay::handle_client`]; the messages are in the modules below, by what they are about.

mod bind;
mod place;
mod prepare;
mod query;
mod refuse;
mod send;
mod sync;

use bytes::{Buf as _, BufMut as _, BytesMut};

pub(super) use self::send::{forward, query_text};
use super::error::RelayError;
use super::relay::{Demand, Relay, Rest, Stage, Turn, Want};
use crate::encoder;
use crate::frame::{Frame, frontend};
use crate::sql::Analysis;
use crate::sqlstate::SqlState;

/// What became of one message.
enum Step {
    /// It is dealt with.
    Done,
    /// It stays at the front.
    Stays(Want),
}

impl Relay {
    /// Takes what it can off the client's bytes, until something is wanted.
    ///
    /// # Errors
    /// The client has broken the protocol and cannot be understood any more.
    pub fn handle_client(
        &mut self,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Want, RelayError> {
        loop {
            // Replies of our own would stand in the middle of a message that nobody asked for.
            let amid = self.large.is_some() && self.owed.is_empty();
            if self.held_ready.is_some() || amid {
                return Ok(Want::Replies);
            }
            if let Some(rest) = self.rest {
                if !self.take_rest(rest, input, turn)? {
                    return Ok(Want::Input);
                }
                continue;
            }
            let frame = match self.front {
                Some(frame) => frame,
                None => match self.scanner.next(input).map_err(RelayError::ClientFrame)? {
                    Some(frame) => *self.front.insert(frame),
                    None => return Ok(Want::Input),
                },
            };
            match self.on_message(frame, input, turn)? {
                Step::Done => {
                    self.flushed = false;
                    self.front = None;
                    self.stage = Stage::New;
                    if let Frame::Begin { .. } = frame {
                        self.rest.get_or_insert(Rest::Forward);
                    }
                }
                Step::Stays(want) => {
                    if want == Want::Replies && self.owed.is_all_passed() {
                        // Nothing may come that would show it.
                        self.fence(None, turn.upstream);
                    }
                    if want == Want::Replies && self.copy_in {
                        self.complain(turn.upstream);
                    }
                    return Ok(want);
                }
            }
        }
    }

    /// Moves on what follows of a large message. `false` if more has to come first.
    fn take_rest(
        &mut self,
        rest: Rest,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<bool, RelayError> {
        let Some(frame) = self.scanner.next(input).map_err(RelayError::ClientFrame)? else {
            return Ok(false);
        };
        let Frame::More { len, last } = frame else {
            self.front = Some(frame);
            self.rest = None;
            return Ok(true);
        };
        match rest {
            Rest::Forward => forward(input, len, turn.upstream),
            Rest::Drop => input.advance(len.min(input.len())),
        }
        if last {
            self.rest = None;
        }
        Ok(true)
    }

    fn on_message(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        let tag = match frame {
            Frame::Whole { tag, .. } | Frame::Begin { tag, .. } => tag,
            // Runs are for the other side, and the rest of a message has been taken.
            Frame::Run { .. } | Frame::More { .. } => return Err(RelayError::Unexpected),
        };
        if self.skipping && !matches!(tag, frontend::SYNC | frontend::TERMINATE) {
            self.drop_front(frame, input);
            return Ok(Step::Done);
        }
        if let Some(want) = self.wait_at_barrier(tag, turn) {
            return Ok(Step::Stays(want));
        }
        match tag {
            frontend::QUERY => Ok(self.on_query(frame, input, turn)),
            frontend::PARSE => self.on_parse(frame, input, turn),
            frontend::BIND => self.on_bind(frame, input, turn),
            frontend::DESCRIBE => self.on_describe(frame, input, turn),
            frontend::CLOSE => self.on_close(frame, input, turn),
            frontend::EXECUTE => self.on_execute(frame, input, turn),
            frontend::SYNC => Ok(self.on_sync(frame, input, turn)),
            frontend::FLUSH => Ok(self.on_flush(frame, input, turn)),
            frontend::FUNCTION_CALL => Ok(self.on_function_call(frame, input, turn)),
            frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {
                Ok(self.on_copy(tag, frame, input, turn))
            }
            frontend::TERMINATE => Ok(Step::Stays(Want::Goodbye)),
            // A password after the start-up. The scanner has refused all that is no message at all.
            _ => {
                let error =
                    encoder::error_message(SqlState::PROTOCOL_VIOLATION, "unexpected message type");
                self.refuse_front(error, false, frame, input, turn);
                Ok(Step::Done)
            }
        }
    }

    /// Takes the front off without anything of it going anywhere.
    fn drop_front(&mut self, frame: Frame, input: &mut BytesMut) {
        input.advance(frame.len().min(input.len()));
        if matches!(frame, Frame::Begin { .. }) {
            self.rest = Some(Rest::Drop);
        }
    }

    /// Sends replies of ours whose turn has come.
    pub(super) fn flush_local(&mut self, downstream: &mut BytesMut) {
        while let Some(bytes) = self.owed.pop_local() {
            downstream.put_slice(bytes);
        }
    }
}

/// Something of which nothing is known: it may do anything.
pub fn unknown_demand() -> Demand<'static> {
    Demand {
        analysis: unknown(),
        sql: b"",
    }
}

/// The analysis of something that cannot be read.
fn unknown() -> &'static Analysis {
    static UNKNOWN: std::sync::OnceLock<Analysis> = std::sync::OnceLock::new();
    UNKNOWN.get_or_init(Analysis::default)
}
