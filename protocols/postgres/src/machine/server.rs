//! Messages from the server: which of them are the client's, and what they end.
//!
//! Whatever does not answer the first reply that is owed is a fault of the server's, and ends its connection: guessing here is
//! how one client would get another's rows. Start at [`Relay::handle_server`].

use bytes::{BufMut as _, Bytes, BytesMut};

use super::client::forward;
use super::owed::Reply;
use super::pins::Pins;
use super::relay::{Event, Link, Mode, Relay, RelayError, Setup, StatePolicy, put_ready};
use crate::frame::{Frame, Tag, backend};
use crate::message::backend::{CommandComplete, ErrorFields, TransactionStatus};
use crate::request::ResultPiece;
use crate::sqlstate::SqlState;

const HEADER: usize = 5;

/// Says of a part of a result whether it ends here: with this error, a whole ErrorResponse.
pub type Judge<'j> = &'j mut dyn FnMut(ResultPiece) -> Option<Bytes>;

/// What becomes of one message.
enum Verdict {
    Forward,
    Swallow,
    Replace(Bytes),
    /// The ReadyForQuery waits here.
    Hold,
    /// Forward, and the connection may be free.
    Ready,
}

impl Relay {
    /// Takes what it can off the server's bytes. Stops behind each ReadyForQuery that leaves nothing owed, since what follows may not
    /// be this client's.
    ///
    /// # Errors
    /// The server cannot be understood, or says what nobody asked: its connection must be closed.
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
            let Some(frame) = link.scanner.next(ahead).map_err(RelayError::ServerFrame)? else {
                forward(input, run, downstream);
                return Ok(Event::Nothing);
            };
            let (tag, len) = match frame {
                Frame::Whole { tag, len } => (tag, len),
                Frame::Run { len, .. } | Frame::Begin { len, .. } | Frame::More { len, .. } => {
                    self.on_piece(frame, &mut judge)?;
                    if self.cut.is_some() || self.mute {
                        forward(input, run, downstream);
                        run = 0;
                        drop(input.split_to(len.min(input.len())));
                    } else {
                        run += len;
                    }
                    continue;
                }
            };
            let body = ahead.get(HEADER..len).unwrap_or_default();
            if tag == backend::DATA_ROW || tag == backend::COPY_DATA {
                self.judge_piece(1, len, &mut judge);
            }
            let verdict = self.on_backend(tag, body, link, setup)?;
            let verdict = self.cut_off(tag, verdict);
            match verdict {
                Verdict::Forward | Verdict::Ready => {
                    self.count_bytes(len);
                    run += len;
                }
                Verdict::Swallow | Verdict::Hold => {
                    forward(input, run, downstream);
                    run = 0;
                    drop(input.split_to(len.min(input.len())));
                }
                Verdict::Replace(ref bytes) => {
                    forward(input, run, downstream);
                    run = 0;
                    drop(input.split_to(len.min(input.len())));
                    downstream.put_slice(bytes);
                }
            }
            if self.owed_local() {
                forward(input, run, downstream);
                run = 0;
                self.flush_local(downstream);
            }
            let event = match verdict {
                Verdict::Ready => Event::Ready,
                Verdict::Hold => Event::Reapply,
                _ => continue,
            };
            forward(input, run, downstream);
            return Ok(event);
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

    /// A part of a result that nobody opens.
    fn on_piece(&mut self, frame: Frame, judge: &mut Option<Judge<'_>>) -> Result<(), RelayError> {
        match frame {
            Frame::Run { len, count, .. } => {
                self.on_rows(u64::from(count), len)?;
                self.judge_piece(u64::from(count), len, judge);
            }
            Frame::Begin { tag, len, .. } => {
                self.on_large(tag, len)?;
                self.judge_piece(1, len, judge);
            }
            Frame::More { len, .. } => {
                self.on_rows(0, len)?;
                self.judge_piece(0, len, judge);
            }
            Frame::Whole { .. } => {}
        }
        Ok(())
    }

    /// Asks whether the result may go on.
    fn judge_piece(&mut self, rows: u64, len: usize, judge: &mut Option<Judge<'_>>) {
        let (Some(judge), Some(flight)) = (judge, self.owed.flight()) else {
            return;
        };
        let piece = ResultPiece {
            rows,
            bytes: len as u64,
            total_rows: flight.rows.max(rows),
            total_bytes: flight.bytes.max(len as u64),
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

    /// Rows or COPY data that nobody opens.
    fn on_rows(&mut self, count: u64, len: usize) -> Result<(), RelayError> {
        // Replication sends COPY data both ways behind a reply that is still owed.
        let flight = self.owed.flight().ok_or(RelayError::Unexpected)?;
        flight.rows += count;
        flight.bytes += len as u64;
        Ok(())
    }

    fn on_large(&mut self, tag: Tag, len: usize) -> Result<(), RelayError> {
        match tag {
            backend::DATA_ROW | backend::COPY_DATA => self.on_rows(1, len),
            backend::FUNCTION_CALL_RESPONSE
            | backend::NOTICE_RESPONSE
            | backend::ROW_DESCRIPTION
            | backend::PARAMETER_DESCRIPTION => Ok(()),
            // Large ones whose content matters do not exist.
            _ => Err(RelayError::Unexpected),
        }
    }

    fn count_bytes(&mut self, len: usize) {
        if let Some(flight) = self.owed.flight() {
            flight.bytes += len as u64;
        }
    }

    fn on_backend(
        &mut self,
        tag: Tag,
        body: &[u8],
        link: &mut Link,
        setup: &Setup,
    ) -> Result<Verdict, RelayError> {
        match tag {
            backend::READY_FOR_QUERY => self.on_ready(body, link, setup),
            backend::COMMAND_COMPLETE => self.on_complete(body, link),
            backend::ERROR_RESPONSE => self.on_error(body, link),
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
        let frees = flight.frees;
        let touches = match complete.tag {
            b"DISCARD ALL" | b"RESET" | b"SET" => std::mem::take(&mut flight.touches),
            _ => Vec::new(),
        };
        self.touched.add(touches);
        match complete.tag {
            b"DISCARD ALL" => {
                self.statements.clear();
                link.on_reset();
                // Nothing of the session is left, so nothing ties it to this connection; DISCARD ALL is refused in transactions.
                // A library stays.
                self.pins = self.pins.only(Pins::SESSION.and(Pins::LOADED));
            }
            b"DEALLOCATE ALL" => {
                self.statements.clear();
                link.statements.clear();
                self.unpin(Pins::PREPARED);
            }
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

    fn on_error(&mut self, body: &[u8], link: &mut Link) -> Result<Verdict, RelayError> {
        let fields = ErrorFields::parse(body).map_err(RelayError::ServerMessage)?;
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
            return Ok(self.after_ready(Verdict::Forward));
        };
        let failed = std::mem::take(&mut self.errors) > 0;
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
            Reply::UnaskedSync => return Ok(self.after_ready(Verdict::Swallow)),
            _ => {}
        }
        self.barrier = false;
        self.settle_touched(failed, link);
        if self.due.is_some() {
            self.held_ready = Some(status.byte());
            return Ok(Verdict::Hold);
        }
        Ok(self.after_ready(Verdict::Forward))
    }

    /// `Ready` in place of `verdict` if nothing more is to come.
    fn after_ready(&mut self, verdict: Verdict) -> Verdict {
        if !self.owed.is_empty() {
            return verdict;
        }
        self.owed.shrink();
        match verdict {
            Verdict::Forward => Verdict::Ready,
            // The client has heard of this already.
            verdict => verdict,
        }
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

    /// What was given back: the client has its own values again, as soon as what is due has been carried out. A text that failed
    /// was rolled back whole.
    fn settle_touched(&mut self, failed: bool, link: &mut Link) {
        let touched = std::mem::take(&mut self.touched);
        if failed || self.status == TransactionStatus::Failed || !touched.undoes() {
            return;
        }
        self.due = touched.due(&self.start);
        let Some(shape) = touched.back(&self.shape, &self.start) else {
            return;
        };
        if self.status == TransactionStatus::Idle {
            link.shape = std::sync::Arc::clone(&shape);
            self.shape = shape;
        } else {
            // It may yet be rolled back, so what the server has is only certain on this connection.
            self.pins = self.pins.and(Pins::SET);
            link.tainted = true;
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
