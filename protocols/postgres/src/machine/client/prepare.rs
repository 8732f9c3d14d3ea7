//! Parse and Close: the client's names for statements.
//!
//! Start at [`Relay::on_parse`].

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};

use super::Step;
use super::send::{body, disguise, forward, make_room, object, parse_reply, split_name};
use crate::encoder;
use crate::frame::Frame;
use crate::machine::error::RelayError;
use crate::machine::owed::Reply;
use crate::machine::pins::Pins;
use crate::machine::relay::{Mode, Relay, Setup, Turn, Want};
use crate::machine::statements::{PREFIX, Prepared, ServerStatements, Undo};
use crate::message::backend::TransactionStatus;
use crate::sql::{self, Analysis};
use crate::sqlstate::SqlState;

/// A whole ParseComplete.
const PARSE_COMPLETE: &[u8] = &[b'1', 0, 0, 0, 4];

/// A whole CloseComplete.
const CLOSE_COMPLETE: &[u8] = &[b'3', 0, 0, 0, 4];

impl Relay {
    pub(super) fn on_parse(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        let (name, _) = split_name(body(input, frame))?;
        let is_unnamed = name.is_empty();
        if !is_unnamed && self.owed.is_in_doubt(false) {
            return Ok(Step::Stays(Want::Replies));
        }
        if let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        self.segment = true;
        let is_whole = matches!(frame, Frame::Whole { .. });
        if !is_whole || (!turn.setup.names_are_ours() && !is_unnamed) {
            self.parse_there(is_whole, frame, input, turn)?;
        } else if is_unnamed {
            self.parse_unnamed(frame, input, turn)?;
        } else {
            self.parse_named(frame, input, turn)?;
        }
        Ok(Step::Done)
    }

    /// Too large to keep, or not ours to name: it lives on this connection only.
    fn parse_there(
        &mut self,
        is_whole: bool,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<(), RelayError> {
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(());
        };
        let (name, rest) = split_name(body(input, frame))?;
        if turn.setup.mode != Mode::Session {
            self.pins = self.pins.and(Pins::PREPARED);
            link.tainted = true;
        }
        if name.is_empty() {
            self.large_unnamed = turn.setup.registry.number();
            link.statements.unnamed = self.large_unnamed;
        }
        let undo = self.note_named(name, rest, is_whole, turn.setup);
        let reply = parse_reply(0, false, undo);
        self.owed.push_change(reply, name.is_empty());
        forward(input, frame.len(), turn.upstream);
        Ok(())
    }

    /// Remembers for the filters what a statement does whose name only the server knows. One of another text, which the server may
    /// refuse because the name is taken, makes it unknown.
    fn note_named(&mut self, name: &[u8], rest: &[u8], is_whole: bool, setup: &Setup) -> Undo {
        if let Some(known) = self.statements.find(name) {
            if is_whole && known.is(rest, self.reading) {
                return Undo::Nothing;
            }
            return self.statements.remove(name);
        }
        if !is_whole {
            return Undo::Nothing;
        }
        let statement = self.prepared(name, rest, setup);
        let size = name.len() + statement.size();
        if !self.statements.has_room(size, setup.statements) {
            return Undo::Nothing;
        }
        self.statements.insert(name, statement)
    }

    fn parse_unnamed(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<(), RelayError> {
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(());
        };
        let (name, rest) = split_name(body(input, frame))?;
        let statement = self.prepared(name, rest, turn.setup);
        link.statements.unnamed = statement.id();
        let id = statement.id();
        let undo = self.statements.insert(name, statement);
        self.owed.push_change(parse_reply(id, false, undo), true);
        forward(input, frame.len(), turn.upstream);
        Ok(())
    }

    fn parse_named(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<(), RelayError> {
        let (name, rest) = split_name(body(input, frame))?;
        let statement = self.prepared(name, rest, turn.setup);
        if self.statements.find(name).is_some() {
            self.provoke_duplicate(frame, input, turn.upstream);
            return Ok(());
        }
        let size = name.len() + statement.size();
        if !self.statements.has_room(size, turn.setup.statements) {
            let error = encoder::error_message(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "too many prepared statements",
            );
            self.refusals.push("client_statements");
            self.refuse_front(error, false, frame, input, turn);
            return Ok(());
        }
        let undo = self.statements.insert(name, Arc::clone(&statement));
        self.send_parse(&statement, undo, turn);
        self.drop_front(frame, input);
        Ok(())
    }

    /// Sees to it that the server has a statement for which the client has a name now.
    fn send_parse(&mut self, statement: &Arc<Prepared>, undo: Undo, turn: &mut Turn<'_>) {
        let Some(link) = turn.link.as_deref_mut() else {
            return;
        };
        let is_known = link.statements.use_one(statement.id());
        let is_failed = self.status == TransactionStatus::Failed;
        if is_failed || (is_known && self.owed.needs_server()) {
            // The server says what is wrong, under a name for which it does not matter.
            link.statements.unnamed = ServerStatements::ANY;
            statement.put_parse(true, turn.upstream);
            self.owed.push_change(parse_reply(0, false, undo), false);
        } else if is_known {
            self.answer_here(PARSE_COMPLETE, undo, turn.downstream);
        } else {
            make_room(statement, link, turn.setup, turn.upstream, &mut self.owed);
            statement.put_parse(false, turn.upstream);
            let reply = parse_reply(statement.id(), false, undo);
            self.owed.push_change(reply, false);
        }
    }

    /// The message gets this answer when it is its turn, and no server hears of it.
    fn answer_here(&mut self, bytes: &'static [u8], undo: Undo, downstream: &mut BytesMut) {
        self.owed.push_change(Reply::Local { bytes, undo }, false);
        self.flush_local(downstream);
    }

    /// The statement of a Parse message. The unnamed one is mostly the same again, and then not read again.
    fn prepared(&self, name: &[u8], rest: &[u8], setup: &Setup) -> Arc<Prepared> {
        let reading = self.reading;
        let options = &self.options;
        if name.is_empty()
            && let Some(last) = self.statements.find(b"")
            && last.is(rest, reading)
        {
            return Arc::clone(last);
        }
        let end = memchr::memchr(0, rest).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        let analyse = || {
            let mut analysis = Analysis::default();
            sql::analyse(text, options, &mut analysis);
            analysis.complete &= !reading.in_doubt;
            analysis
        };
        if name.is_empty() {
            let make = || setup.registry.alone(rest, reading, analyse());
            setup.unnamed.find(rest, reading, make)
        } else {
            setup.registry.intern(rest, reading, analyse)
        }
    }

    /// Lets the server itself say that the name is taken (42P05), so that its transaction fails as it would: the name is made
    /// for a moment, and taken away behind the Sync by which all of this ends.
    fn provoke_duplicate(&mut self, frame: Frame, input: &mut BytesMut, upstream: &mut BytesMut) {
        let message = input.split_to(frame.len().min(input.len()));
        let (name, _) = split_name(body(&message, frame)).unwrap_or_default();
        encoder::parse(name, b"", &[], upstream);
        self.owed.push(parse_reply(0, true, Undo::Nothing));
        upstream.put_slice(&message);
        self.owed.push(parse_reply(0, false, Undo::Nothing));
        // Should the client go on after its Sync, the name must be gone: it is nobody's. In a failed transaction Close works.
        self.taken_name.get_or_insert_with(|| name.into());
    }

    pub(super) fn on_close(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        let (is_statement, name, at) = object(input, frame)?;
        let is_named = is_statement && !name.is_empty();
        if is_named && self.owed.is_in_doubt(false) {
            return Ok(Step::Stays(Want::Replies));
        }
        let is_ours =
            is_named && turn.setup.names_are_ours() && self.statements.find(name).is_some();
        if is_ours && !self.owed.needs_server() {
            // Others may use it on this connection: only the client's name goes.
            let undo = self.statements.remove(name);
            self.answer_here(CLOSE_COMPLETE, undo, turn.downstream);
            self.drop_front(frame, input);
            return Ok(Step::Done);
        }
        if turn.link.is_none() {
            // Closing what is not there is no error ("Extended Query"), and takes no server.
            turn.downstream.put_slice(CLOSE_COMPLETE);
            if is_statement && !is_named {
                self.statements.forget_unnamed();
            }
            self.drop_front(frame, input);
            return Ok(Step::Done);
        }
        if let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        self.segment = true;
        let mut undo = Undo::Nothing;
        if is_statement {
            undo = self.statements.remove(name);
            disguise(&at, turn.setup, input);
        }
        if is_statement
            && !is_named
            && let Some(link) = turn.link.as_deref_mut()
        {
            link.statements.unnamed = 0;
        }
        if is_ours {
            // As far as it matters to the server: it has no such name.
            self.drop_front(frame, input);
            encoder::close_statement(PREFIX, turn.upstream);
        } else {
            forward(input, frame.len(), turn.upstream);
        }
        if is_statement {
            self.owed.push_change(Reply::close(undo), !is_named);
        } else {
            self.owed.push(Reply::close(undo));
        }
        Ok(Step::Done)
    }
}
