//! Messages from the server: which of them are the client's, and what they end.
//!
//! Whatever does not answer the first reply that is owed is a fault of the server's, and ends its connection: guessing here is
//! how one client would get another's rows. Start at [`Relay::handle_server`].

use std::mem;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::client::forward;
use super::owed::Reply;
use super::pins::Pins;
use super::relay::{Event, Link, Mode, Relay, RelayError, Rest, Setup, StatePolicy, put_ready};
use crate::frame::{Frame, Tag, backend};
use crate::message::backend::{CommandComplete, ErrorFields, TransactionStatus};
use crate::request::ResultPiece;
use crate::sqlstate::SqlState;

const HEADER: usize = 5;

/// Says of a part of a result whether it ends here: with this error, a whole ErrorResponse.
pub type Judge<'j> = &'j mut dyn FnMut(ResultPiece) -> Option<Bytes>;

/// What becomes of one message.
#[derive(Debug)]
enum Verdict {
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
        setup: &Setup,
        mut judge: Option<Judge<'_>>,
    ) -> Result<Event, RelayError> {
        // Bytes at the front of `input` that go on as they are.
        let mut run = 0;
        loop {
            let ahead = input.get(run..).unwrap_or_default();
            let looked = match link.scanner.next(ahead).map_err(RelayError::ServerFrame) {
                Ok(Some(frame)) => self
                    .on_frame(frame, ahead, link, setup, &mut judge)
                    .map(|verdict| Some((frame, verdict))),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            let Ok(Some((frame, verdict))) = looked else {
                forward(input, run, downstream);
                return looked.map(|_| Event::Nothing);
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
        setup: &Setup,
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
        let verdict = self.on_backend(tag, body, is_whole, link, setup)?;
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
    fn cut_off(&mut self, tag: Tag, verdict: Verdict) -> Verdict {
        let is_end = matches!(
            tag,
            backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE | backend::PORTAL_SUSPENDED
        );
        match tag {
            backend::READY_FOR_QUERY => {
                self.mute = false;
                verdict
            }
            backend::NOTICE_RESPONSE
            | backend::NOTIFICATION_RESPONSE
            | backend::PARAMETER_STATUS => verdict,
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
            Some(Reply::Local { .. } | Reply::CopyEnd)
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
        setup: &Setup,
    ) -> Result<Verdict, RelayError> {
        match tag {
            backend::READY_FOR_QUERY => self.on_ready(body, link, setup),
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
            backend::PARSE_COMPLETE => self.on_parse_complete(),
            backend::BIND_COMPLETE => {
                self.pop_if(|reply| matches!(reply, Reply::Bind))?;
                Ok(Verdict::Forward)
            }
            backend::CLOSE_COMPLETE => {
                match self.pop_if(|reply| matches!(reply, Reply::Close { .. }))? {
                    Reply::Close { unasked: true } => Ok(Verdict::Swallow),
                    _ => Ok(Verdict::Forward),
                }
            }
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

    fn on_parse_complete(&mut self) -> Result<Verdict, RelayError> {
        match self.pop_if(|reply| matches!(reply, Reply::Parse { .. }))? {
            Reply::Parse { unasked: true, .. } => Ok(Verdict::Swallow),
            _ => Ok(Verdict::Forward),
        }
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
        match self.owed.front() {
            Some(Reply::Query { .. }) => Ok(Verdict::Forward),
            Some(Reply::Execute(_)) => {
                self.end_execute();
                Ok(Verdict::Forward)
            }
            _ => Err(RelayError::Unexpected),
        }
    }

    fn end_execute(&mut self) {
        if let Some(Reply::Execute(flight)) = self.owed.pop() {
            self.done.push(*flight);
        }
    }

    fn on_copy_in(&mut self) -> Result<Verdict, RelayError> {
        self.owed.flight().ok_or(RelayError::Unexpected)?;
        let ended = self.owed.forget_syncs_in_copy();
        self.copy_in = !ended;
        Ok(Verdict::Forward)
    }

    fn on_complete(&mut self, body: &[u8], link: &mut Link) -> Result<Verdict, RelayError> {
        let complete = CommandComplete::parse(body).map_err(RelayError::ServerMessage)?;
        self.copy_in = false;
        let flight = self.owed.flight().ok_or(RelayError::Unexpected)?;
        if flight.rows == 0 {
            flight.rows = complete.rows().unwrap_or(0);
        }
        let (resets, frees) = (flight.resets, flight.frees);
        match complete.tag {
            b"DISCARD ALL" => {
                self.statements.clear();
                link.on_reset();
                // Nothing of the session is left, so nothing ties it to this connection; DISCARD ALL is refused in transactions.
                // A library stays.
                self.pins = self.pins.only(Pins::SESSION.and(Pins::LOADED));
                self.reapply = true;
            }
            b"DEALLOCATE ALL" => {
                self.statements.clear();
                link.statements.clear();
                self.unpin(Pins::PREPARED);
            }
            b"RESET" | b"SET" if resets => self.reapply = true,
            _ => {}
        }
        self.unpin(frees);
        if let Some(Reply::Execute(_)) = self.owed.front() {
            self.end_execute();
        }
        Ok(Verdict::Forward)
    }

    /// A reason to keep the connection is gone for good, unless a transaction may yet bring it back.
    fn unpin(&mut self, pins: Pins) {
        if self.status == TransactionStatus::Idle {
            self.pins = self.pins.without(pins);
        }
    }

    fn on_error(
        &mut self,
        fields: ErrorFields<'_>,
        link: &mut Link,
    ) -> Result<Verdict, RelayError> {
        if fields.is_fatal() {
            link.leaving = true;
        }
        let state = fields.sqlstate();
        self.copy_in = false;
        let verdict = match self.owed.front() {
            Some(Reply::Refused(error)) => Verdict::Replace(error.clone()),
            Some(Reply::Query {
                instead: Some(error),
                ..
            }) => Verdict::Replace(error.clone()),
            Some(_) => Verdict::Forward,
            // Of a server that goes away, to whoever is there.
            None if link.leaving => return Ok(Verdict::Swallow),
            None => return Err(RelayError::Unexpected),
        };
        self.errors += 1;
        if let Some(flight) = self.owed.flight() {
            flight.error = state;
        }
        if matches!(
            self.owed.front(),
            Some(Reply::Query { .. } | Reply::Function)
        ) {
            return Ok(verdict);
        }
        let ours = matches!(self.owed.front(), Some(Reply::Parse { unasked: true, .. }));
        let undone = self.owed.skip(state, &mut self.done);
        self.take_back(undone, Some(link));
        // The server reads over everything up to the Sync that is still to come, and so is it here.
        self.skipping = self.segment;
        if ours && matches!(self.owed.front(), Some(Reply::UnaskedSync)) {
            // What needs it will say so itself.
            return Ok(Verdict::Swallow);
        }
        Ok(verdict)
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
        self.on_reported(status.name, status.value);
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

    fn on_ready(
        &mut self,
        body: &[u8],
        link: &mut Link,
        setup: &Setup,
    ) -> Result<Verdict, RelayError> {
        let status = crate::message::backend::ReadyForQuery::parse(body)
            .map_err(RelayError::ServerMessage)?
            .status;
        let Some(reply) = self.owed.pop_ready() else {
            // It had stopped to read COPY data before it came to a Sync that it would else have ignored.
            self.stray_syncs = self
                .stray_syncs
                .checked_sub(1)
                .ok_or(RelayError::Unexpected)?;
            self.status = status;
            return Ok(Verdict::Forward);
        };
        let failed = mem::take(&mut self.errors) > 0;
        self.status = status;
        self.portals.on_ready(status);
        self.stray_syncs = 0;
        if status == TransactionStatus::Idle && setup.mode != Mode::Session {
            self.settle_setting(failed, setup);
        }
        match reply {
            Reply::Query { flight, takes, .. } => {
                if let Some(id) = takes.filter(|_| !failed)
                    && let Some(id) = id.first_chunk().copied().map(u64::from_be_bytes)
                {
                    link.statements.remove(id);
                    self.statements.forget(id);
                }
                self.done.push(*flight);
            }
            Reply::UnaskedSync => return Ok(Verdict::Swallow),
            _ => {}
        }
        self.barrier = false;
        if mem::take(&mut self.reapply)
            && status != TransactionStatus::Failed
            && !self.shape.is_empty()
        {
            self.held_ready = Some(status.byte());
            return Ok(Verdict::Hold);
        }
        Ok(Verdict::Forward)
    }

    /// A setting that is to be replayed: confirmed, it is part of the client's session.
    fn settle_setting(&mut self, failed: bool, setup: &Setup) {
        let Some((name, value)) = self.setting.take() else {
            return;
        };
        if !failed && setup.state == StatePolicy::Replay {
            self.shape = std::sync::Arc::new(self.shape.with(&name, &value));
            self.shape_changed = true;
        }
    }

    /// A whole ReadyForQuery with the state that the client is in.
    pub fn put_ready(&self, downstream: &mut BytesMut) {
        put_ready(self.status.byte(), downstream);
    }

    /// The error of a server that went away, if it is the client's to know.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.owed.is_empty() || self.segment
    }

    /// As [`SqlState`] of an error that a message carries.
    #[must_use]
    pub fn sqlstate_of(body: &[u8]) -> Option<SqlState> {
        ErrorFields::parse(body).ok()?.sqlstate()
    }
}
