//! What ends a statement, a segment or a transaction, by the server's word: CommandComplete, ErrorResponse, ReadyForQuery.
//!
//! Start at [`Relay::on_ready`].

use std::mem;
use std::sync::Arc;

use super::error::RelayError;
use super::link::Link;
use super::owed::Reply;
use super::pins::Pins;
use super::relay::Relay;
use super::server::Verdict;
use super::statements::{ServerStatements, Undo};
use super::touched::Touched;
use crate::message::backend::{CommandComplete, ErrorFields, ReadyForQuery, TransactionStatus};

impl Relay {
    pub(super) fn on_complete(
        &mut self,
        body: &[u8],
        link: &mut Link,
    ) -> Result<Verdict, RelayError> {
        let complete = CommandComplete::parse(body).map_err(RelayError::ServerMessage)?;
        self.end_copy(true);
        let flight = self.owed.flight().ok_or(RelayError::Unexpected)?;
        flight.ended = true;
        if flight.rows == 0 {
            flight.rows = complete.rows().unwrap_or(0);
        }
        let frees = flight.frees;
        let place = flight.completed;
        flight.completed += 1;
        if !flight.touches.is_empty() {
            self.touched.add(&mut flight.touches, place);
        }
        match complete.tag {
            b"DISCARD ALL" => {
                self.statements.clear();
                link.on_reset();
                if let Some(Reply::Execute(_)) = self.owed.front() {
                    // The unnamed statement is all that stays; a simple query has taken it away before.
                    link.statements.unnamed = ServerStatements::ANY;
                }
                // Nothing of the session is left, so nothing ties it to this connection; DISCARD ALL is refused in transactions.
                // A library stays.
                self.pins = self.pins.only(Pins::SESSION.and(Pins::LOADED));
                self.touched.keep();
            }
            b"DEALLOCATE ALL" => {
                self.statements.clear();
                link.statements.clear();
            }
            b"DEALLOCATE" => self.on_deallocated(link),
            b"COMMIT" if !self.rolled_back => self.touched.keep(),
            // Of a transaction or to a savepoint: its status will tell.
            b"ROLLBACK" => self.rolled_back = true,
            _ => {}
        }
        self.unpin(frees);
        if let Some(Reply::Execute(_)) = self.owed.front() {
            self.end_execute();
        }
        Ok(Verdict::Forward)
    }

    /// The client's own DEALLOCATE is done.
    pub(super) fn on_deallocated(&mut self, link: &mut Link) {
        if let Some(Reply::Query { takes, .. }) = self.owed.front_mut()
            && let Some(taken) = takes.take()
        {
            let (name, statement) = *taken;
            link.statements.remove(statement.id());
            self.statements.remove(&name);
        }
    }

    /// COPY has come to its end, if it was that.
    pub(super) fn end_copy(&mut self, is_done: bool) {
        self.copy_in = false;
        self.complained = false;
        if mem::take(&mut self.copying) {
            self.owed.end_copy(is_done);
        }
    }

    /// A reason to keep the connection is gone for good, unless a transaction may yet bring it back.
    pub(super) fn unpin(&mut self, pins: Pins) {
        if self.status == TransactionStatus::Idle {
            self.pins = self.pins.without(pins);
        }
    }

    pub(super) fn on_error(
        &mut self,
        fields: ErrorFields<'_>,
        link: &mut Link,
    ) -> Result<Verdict, RelayError> {
        if fields.is_fatal() {
            link.leaving = true;
        }
        let state = fields.sqlstate();
        self.end_copy(false);
        let verdict = match self.owed.front() {
            // Not about the message.
            Some(_) if link.leaving => Verdict::Forward,
            Some(
                Reply::Refused(error)
                | Reply::Query {
                    instead: Some(error),
                    ..
                },
            ) => Verdict::Replace(error.clone()),
            Some(_) => Verdict::Forward,
            // Of a server that goes away, to whoever is there.
            None if link.leaving => return Ok(Verdict::Swallow),
            None => return Err(RelayError::Unexpected),
        };
        self.errors += 1;
        if let Some(flight) = self.owed.flight() {
            flight.error = state;
            flight.ended = true;
        }
        if matches!(
            self.owed.front(),
            Some(Reply::Query { .. } | Reply::Function)
        ) {
            return Ok(verdict);
        }
        let ours = matches!(self.owed.front(), Some(Reply::Parse { unasked: true, .. }));
        // Which of the messages that make or unmake it were carried out is not looked into.
        link.statements.unnamed = ServerStatements::ANY;
        // A Parse that has failed has taken the unnamed statement away all the same.
        if let Some(Reply::Parse { undo, .. }) = self.owed.front_mut()
            && matches!(undo, Undo::Unnamed(_))
        {
            self.statements.fail(&mem::take(undo));
        }
        let undone = self.owed.skip(state, &mut self.done);
        self.take_back(undone, Some(link));
        // The server reads over everything up to the Sync that is still to come, and so is it here.
        self.skipping = self.segment && !self.owed.has_sync();
        if ours && matches!(self.owed.front(), Some(Reply::UnaskedSync)) {
            // What needs it will say so itself.
            return Ok(Verdict::Swallow);
        }
        Ok(verdict)
    }

    pub(super) fn on_ready(&mut self, body: &[u8], link: &mut Link) -> Result<Verdict, RelayError> {
        let status = ReadyForQuery::parse(body)
            .map_err(RelayError::ServerMessage)?
            .status;
        let reply = self.owed.pop_ready().ok_or(RelayError::Unexpected)?;
        self.owed.pass(true);
        let failed = mem::take(&mut self.errors) > 0;
        self.status = status;
        if status == TransactionStatus::Idle {
            self.unsettled &= !self.owed.is_empty();
            self.portals.on_end(|number| self.owed.is_owed(number));
        }
        // What is on its way behind this one is not settled by it.
        let is_settled = !self.owed.is_owed(self.barrier);
        if is_settled {
            self.settle_setting(failed, link);
            self.barrier = 0;
        }
        if self.touched.is_empty() {
            self.rolled_back = false;
        } else {
            self.settle_touched(failed, link);
        }
        let is_unasked = matches!(reply, Reply::UnaskedSync);
        if let Reply::Query { flight, undo, .. } = reply {
            self.statements.confirm(&undo);
            self.done.push(flight);
        }
        if self.due.is_some() && !is_unasked {
            self.held_ready = Some(status);
        }
        if self.held_ready.is_some() && self.owed.is_empty() {
            return Ok(Verdict::Hold);
        }
        if is_unasked || self.held_ready.is_some() {
            return Ok(Verdict::Swallow);
        }
        Ok(Verdict::Forward)
    }

    /// What was given back: the client has its own values again, as soon as what is due has been carried out. What failed was rolled
    /// back whole, but for what was committed before.
    fn settle_touched(&mut self, failed: bool, link: &mut Link) {
        let mut touched = mem::take(&mut self.touched);
        let is_idle = self.status == TransactionStatus::Idle;
        if failed || (self.rolled_back && is_idle) {
            touched.forget();
        }
        self.rolled_back = false;
        if self.status == TransactionStatus::Failed || !touched.undoes() {
            return;
        }
        self.due = touched.due(&self.start);
        let Some(shape) = touched.back(&self.shape, &self.start) else {
            return;
        };
        if is_idle {
            link.shape = Arc::clone(&shape);
            self.shape = shape;
        } else {
            // It may yet be rolled back, so what the server has is only certain on this connection.
            self.pins = self.pins.and(Pins::SET);
            link.tainted = true;
        }
    }

    pub(super) fn forget_touched(&mut self) {
        self.touched = Touched::default();
        self.rolled_back = false;
    }

    /// A setting that is to be replayed: confirmed, it is part of the client's session. One whose transaction is still open may yet
    /// be taken back.
    pub(super) fn settle_setting(&mut self, failed: bool, link: &mut Link) {
        let Some((name, value)) = self.setting.take().filter(|_| !failed) else {
            return;
        };
        if self.status == TransactionStatus::Idle {
            self.shape = Arc::new(self.shape.with(&name, &value));
            self.shape_changed = true;
        } else {
            self.pins = self.pins.and(Pins::SET);
            link.tainted = true;
        }
    }
}
