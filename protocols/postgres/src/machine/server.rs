//! Messages from the server: which of them are the client's, and what they end.
//!
//! Whatever does not answer the first reply that is owed is a fault of the server's, and ends its connection: guessing here is
//! how one client would get another's rows. Start at [`Relay::handle_server`].

use std::mem;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::client::forward;
use super::error::RelayError;
use super::link::Link;
use super::owed::Reply;
use super::pins::Pins;
use super::relay::{Event, Relay, Rest};
use crate::encoder;
use crate::frame::{Frame, HEADER, Tag, backend};
use crate::message::backend::ErrorFields;
use crate::request::ResultPiece;

/// Says of a part of a result whether it ends here: with this error, a whole ErrorResponse.
pub type Judge<'j> = &'j mut dyn FnMut(ResultPiece) -> Option<Bytes>;

/// What becomes of one message.
#[derive(Debug)]
pub(super) enum Verdict {
    Forward,
    Swallow,
    Replace(Bytes),
    /// The ReadyForQuery waits here.
    Hold,
}

impl Relay {
    /// Takes what it can off the server's bytes. Stops behind each ReadyForQuery that leaves nothing owed, since what follows may not
    /// be this client's.
    ///
    /// # Errors
    /// The server cannot be understood, or says what nobody asked: its connection must be closed. What stood before that has been
    /// passed on.
    pub fn handle_server(
        &mut self,
        input: &mut BytesMut,
        link: &mut Link,
        downstream: &mut BytesMut,
        mut judge: Option<Judge<'_>>,
    ) -> Result<Event, RelayError> {
        // Bytes at the front of `input` that go on as they are.
        let mut run = 0;
        loop {
            let ahead = input.get(run..).unwrap_or_default();
            let frame = match link.scanner.next(ahead) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    forward(input, run, downstream);
                    return Ok(Event::Nothing);
                }
                Err(error) => {
                    forward(input, run, downstream);
                    return Err(RelayError::ServerFrame(error));
                }
            };
            let is_plain = if judge.is_none() {
                self.take_plain(frame, ahead, link)
            } else {
                Ok(false)
            };
            match is_plain {
                Ok(true) => {
                    run += frame.len();
                    if self.owed_local() {
                        forward(input, mem::take(&mut run), downstream);
                        self.flush_local(downstream);
                    }
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    forward(input, run, downstream);
                    return Err(error);
                }
            }
            if self.pass(frame) {
                forward(input, mem::take(&mut run), downstream);
                self.flush_local(downstream);
            }
            let ahead = input.get(run..).unwrap_or_default();
            let verdict = match self.on_frame(frame, ahead, link, &mut judge) {
                Ok(verdict) => verdict,
                Err(error) => {
                    forward(input, run, downstream);
                    return Err(error);
                }
            };
            let is_held = matches!(verdict, Verdict::Hold);
            if matches!(verdict, Verdict::Forward) {
                run += frame.len();
            } else {
                forward(input, mem::take(&mut run), downstream);
                input.advance(frame.len().min(input.len()));
            }
            if let Verdict::Replace(bytes) = verdict {
                downstream.put_slice(&bytes);
            }
            if self.owed_local() && self.large.is_none() {
                forward(input, mem::take(&mut run), downstream);
                self.flush_local(downstream);
            }
            if let Some(event) = self.event_behind(frame, is_held) {
                forward(input, run, downstream);
                return Ok(event);
            }
        }
    }

    /// Takes a frame that answers what is first owed and goes on as it is: so it is with most of a result. `false` if it is another;
    /// [`on_frame`](Self::on_frame) says of all what this says of these.
    #[inline]
    fn take_plain(
        &mut self,
        frame: Frame,
        ahead: &[u8],
        link: &mut Link,
    ) -> Result<bool, RelayError> {
        if self.cut.is_some() || self.mute {
            return Ok(false);
        }
        let (tag, len, rows) = match frame {
            Frame::Whole { tag, len } => (tag, len, 0),
            Frame::Run { tag, len, count } => (tag, len, u64::from(count)),
            Frame::Begin { .. } | Frame::More { .. } => return Ok(false),
        };
        match (self.owed.front_mut(), tag) {
            (Some(Reply::Query { flight, .. } | Reply::Execute(flight)), backend::DATA_ROW)
                if rows > 0 =>
            {
                flight.rows += rows;
                flight.bytes += len as u64;
            }
            (
                Some(Reply::Query { flight, .. } | Reply::Execute(flight)),
                backend::COMMAND_COMPLETE,
            ) => {
                flight.bytes += len as u64;
                self.on_complete(ahead.get(HEADER..len).unwrap_or_default(), link)?;
            }
            (Some(Reply::Query { flight, .. }), backend::ROW_DESCRIPTION) => {
                flight.bytes += len as u64;
            }
            (Some(Reply::Bind), backend::BIND_COMPLETE)
            | (Some(Reply::Describe), backend::ROW_DESCRIPTION | backend::NO_DATA) => {
                self.owed.drop_front();
            }
            (
                Some(Reply::Parse {
                    unasked: false,
                    undo,
                    ..
                }),
                backend::PARSE_COMPLETE,
            ) => {
                self.statements.confirm(undo);
                self.owed.drop_front();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes off the queue what this frame shows to have passed. Whether replies of our own are due before it.
    fn pass(&mut self, frame: Frame) -> bool {
        let (Frame::Whole { tag, .. } | Frame::Begin { tag, .. } | Frame::Run { tag, .. }) = frame
        else {
            return false;
        };
        if is_unasked(tag) {
            return false;
        }
        self.owed.pass(tag == backend::READY_FOR_QUERY);
        self.owed_local()
    }

    /// What is to be said behind a ReadyForQuery.
    fn event_behind(&mut self, frame: Frame, is_held: bool) -> Option<Event> {
        let is_ready = matches!(frame, Frame::Whole { tag, .. } if tag == backend::READY_FOR_QUERY);
        if is_held {
            return Some(Event::Reapply);
        }
        if !is_ready || !self.owed.is_empty() {
            return None;
        }
        self.owed.shrink();
        Some(Event::Ready)
    }

    fn on_frame(
        &mut self,
        frame: Frame,
        ahead: &[u8],
        link: &mut Link,
        judge: &mut Option<Judge<'_>>,
    ) -> Result<Verdict, RelayError> {
        let (tag, len, total) = match frame {
            Frame::Whole { tag, len } => (tag, len, len as u64),
            Frame::Begin { tag, len, total } => (tag, len, total),
            Frame::Run { tag, len, count } => {
                self.on_rows(u64::from(count), len as u64, judge)?;
                return Ok(self.cut_off(tag, Verdict::Forward));
            }
            Frame::More { last, .. } => return Ok(self.on_rest(last)),
        };
        let body = ahead.get(HEADER..len).unwrap_or_default();
        let is_whole = matches!(frame, Frame::Whole { .. });
        if tag == backend::DATA_ROW || tag == backend::COPY_DATA {
            self.on_rows(1, total, judge)?;
        } else if let Some(flight) = self.owed.flight() {
            flight.bytes += total;
        }
        let verdict = self.on_backend(tag, body, is_whole, link)?;
        let verdict = self.cut_off(tag, verdict);
        if !is_whole {
            self.large = Some(match verdict {
                Verdict::Forward => Rest::Forward,
                _ => Rest::Drop,
            });
        }
        Ok(verdict)
    }

    /// The rest of a large message goes where its front went.
    fn on_rest(&mut self, last: bool) -> Verdict {
        let rest = if last { self.large.take() } else { self.large };
        match rest {
            Some(Rest::Forward) => Verdict::Forward,
            Some(Rest::Drop) | None => Verdict::Swallow,
        }
    }

    /// What becomes of a message while a result is cut off: the client gets the error in place of the result's end, and nothing
    /// more up to the ReadyForQuery, as after any error.
    #[inline]
    fn cut_off(&mut self, tag: Tag, verdict: Verdict) -> Verdict {
        if self.cut.is_none() && !self.mute {
            return verdict;
        }
        let is_end = matches!(
            tag,
            backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE | backend::PORTAL_SUSPENDED
        );
        match tag {
            backend::READY_FOR_QUERY => {
                self.mute = false;
                verdict
            }
            _ if is_unasked(tag) => verdict,
            _ if is_end && self.cut.is_some() => {
                self.mute = true;
                Verdict::Replace(self.cut.take().unwrap_or_default())
            }
            _ if self.mute || self.cut.is_some() => Verdict::Swallow,
            _ => verdict,
        }
    }

    /// Asks whether the result may go on.
    fn judge_piece(&mut self, rows: u64, bytes: u64, judge: &mut Option<Judge<'_>>) {
        let (Some(judge), Some(flight)) = (judge, self.owed.flight()) else {
            return;
        };
        let piece = ResultPiece {
            rows,
            bytes,
            total_rows: flight.rows,
            total_bytes: flight.bytes,
        };
        if self.cut.is_none()
            && !self.mute
            && let Some(error) = judge(piece)
        {
            self.cut = Some(error);
            self.cuts = true;
        }
    }

    fn owed_local(&self) -> bool {
        matches!(
            self.owed.front(),
            Some(Reply::Local { .. } | Reply::CopyEnd | Reply::Nothing)
        )
    }

    /// Rows or COPY data, which nobody opens. A large one counts with all its bytes when it begins: once a part of it has gone on, the
    /// rest has to follow.
    fn on_rows(
        &mut self,
        count: u64,
        bytes: u64,
        judge: &mut Option<Judge<'_>>,
    ) -> Result<(), RelayError> {
        let flight = self.owed.flight().ok_or(RelayError::Unexpected)?;
        flight.rows += count;
        flight.bytes += bytes;
        self.judge_piece(count, bytes, judge);
        Ok(())
    }

    /// A message, or the front of one that is too large to be held; of such a one nothing but an error is looked into.
    fn on_backend(
        &mut self,
        tag: Tag,
        body: &[u8],
        is_whole: bool,
        link: &mut Link,
    ) -> Result<Verdict, RelayError> {
        match tag {
            backend::READY_FOR_QUERY => self.on_ready(body, link),
            backend::COMMAND_COMPLETE => self.on_complete(body, link),
            backend::ERROR_RESPONSE => {
                let fields = if is_whole {
                    ErrorFields::parse(body).map_err(RelayError::ServerMessage)?
                } else {
                    ErrorFields::of_front(body)
                };
                self.on_error(fields, link)
            }
            backend::NOTICE_RESPONSE => Ok(self.on_notice()),
            backend::NOTIFICATION_RESPONSE => Ok(self.on_notification(link)),
            backend::PARAMETER_STATUS => self.on_parameter(body, link),
            backend::PARSE_COMPLETE => self.on_named(|reply| matches!(reply, Reply::Parse { .. })),
            backend::BIND_COMPLETE => {
                self.pop_if(|reply| matches!(reply, Reply::Bind))?;
                Ok(Verdict::Forward)
            }
            backend::CLOSE_COMPLETE => self.on_named(|reply| matches!(reply, Reply::Close { .. })),
            backend::PARAMETER_DESCRIPTION => {
                self.expect(|reply| matches!(reply, Reply::Describe))?;
                Ok(Verdict::Forward)
            }
            backend::ROW_DESCRIPTION | backend::NO_DATA => self.on_description(),
            backend::EMPTY_QUERY_RESPONSE => self.on_execute_end(),
            backend::PORTAL_SUSPENDED => {
                let flight = self.owed.flight().ok_or(RelayError::Unexpected)?;
                flight.suspended = true;
                self.on_execute_end()
            }
            backend::COPY_IN_RESPONSE | backend::COPY_BOTH_RESPONSE => self.on_copy_in(),
            backend::COPY_OUT_RESPONSE
            | backend::COPY_DONE
            | backend::DATA_ROW
            | backend::COPY_DATA => {
                self.owed.flight().ok_or(RelayError::Unexpected)?;
                Ok(Verdict::Forward)
            }
            backend::FUNCTION_CALL_RESPONSE => {
                self.expect(|reply| matches!(reply, Reply::Function))?;
                Ok(Verdict::Forward)
            }
            // Authentication and the like belong to the start-up.
            _ => Err(RelayError::Unexpected),
        }
    }

    fn expect(&self, is: impl FnOnce(&Reply) -> bool) -> Result<(), RelayError> {
        match self.owed.front() {
            Some(reply) if is(reply) => Ok(()),
            _ => Err(RelayError::Unexpected),
        }
    }

    fn pop_if(&mut self, is: impl FnOnce(&Reply) -> bool) -> Result<Reply, RelayError> {
        self.expect(is)?;
        self.owed.pop().ok_or(RelayError::Unexpected)
    }

    /// A statement has its name now, or has lost it, as the reply says that this `is`.
    fn on_named(&mut self, is: impl FnOnce(&Reply) -> bool) -> Result<Verdict, RelayError> {
        let (Reply::Parse { unasked, undo, .. } | Reply::Close { unasked, undo, .. }) =
            self.pop_if(is)?
        else {
            return Err(RelayError::Unexpected);
        };
        self.statements.confirm(&undo);
        Ok(if unasked {
            Verdict::Swallow
        } else {
            Verdict::Forward
        })
    }

    fn on_description(&mut self) -> Result<Verdict, RelayError> {
        match self.owed.front() {
            Some(Reply::Describe) => {
                self.owed.pop();
                Ok(Verdict::Forward)
            }
            Some(Reply::Query { .. }) => Ok(Verdict::Forward),
            // An Execute of some utility commands describes its rows itself in no version that is known.
            _ => Err(RelayError::Unexpected),
        }
    }

    fn on_execute_end(&mut self) -> Result<Verdict, RelayError> {
        match self.owed.front_mut() {
            Some(Reply::Query { flight, .. }) => {
                flight.ended = true;
                Ok(Verdict::Forward)
            }
            Some(Reply::Execute(_)) => {
                self.end_execute();
                Ok(Verdict::Forward)
            }
            _ => Err(RelayError::Unexpected),
        }
    }

    pub(super) fn end_execute(&mut self) {
        if let Some(Reply::Execute(flight)) = self.owed.pop() {
            self.done.push(flight);
        }
    }

    fn on_copy_in(&mut self) -> Result<Verdict, RelayError> {
        self.owed.flight().ok_or(RelayError::Unexpected)?;
        self.copying = true;
        self.copy_in = !self.owed.begin_copy();
        Ok(Verdict::Forward)
    }

    /// A notice with nobody to hear it is about the connection as such.
    fn on_notice(&self) -> Verdict {
        match self.owed.front() {
            Some(Reply::Query {
                instead: Some(_), ..
            }) => Verdict::Swallow,
            _ => Verdict::Forward,
        }
    }

    /// Only a client that listens, and so keeps its connection, can be meant.
    fn on_notification(&self, link: &mut Link) -> Verdict {
        if self.pins.contains(Pins::LISTEN) || self.pins.contains(Pins::SESSION) {
            return Verdict::Forward;
        }
        link.tainted = true;
        Verdict::Swallow
    }

    fn on_parameter(&mut self, body: &[u8], link: &mut Link) -> Result<Verdict, RelayError> {
        let status = crate::message::backend::ParameterStatus::parse(body)
            .map_err(RelayError::ServerMessage)?;
        link.parameters
            .push((status.name.into(), status.value.into()));
        let was = self.reading;
        self.on_reported(status.name, status.value);
        // Done in a transaction, it goes back if that does.
        self.unsettled |= was != self.reading && !self.owed.is_empty();
        Ok(Verdict::Forward)
    }

    /// A parameter was reported: follows those that decide how SQL is read.
    pub fn on_reported(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => {
                self.reading.escapes = value == b"off";
                self.options.standard_conforming_strings = !self.reading.escapes;
            }
            b"client_encoding" => {
                self.reading.encoding = super::shape::hash_of(value);
                self.reading.multibyte = !crate::sql::is_ascii_safe(value);
                self.options.ascii_safe = !self.reading.multibyte;
            }
            _ => {}
        }
    }

    /// A whole ReadyForQuery with the state that the client is in.
    pub fn put_ready(&self, downstream: &mut BytesMut) {
        encoder::ready_for_query(self.status, downstream);
    }

    /// Whether the client waits for an answer, or is in the middle of a segment.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.owed.is_empty() || self.segment
    }
}

/// Whether a server may send it at any time.
fn is_unasked(tag: Tag) -> bool {
    matches!(
        tag,
        backend::NOTICE_RESPONSE | backend::NOTIFICATION_RESPONSE | backend::PARAMETER_STATUS
    )
}
