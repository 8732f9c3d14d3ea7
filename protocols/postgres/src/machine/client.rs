//! Messages from the client: what is sent on, what waits, what is answered here.
//!
//! "Frontend/Backend Protocol" in PostgreSQL's documentation is what all of this keeps to. Start at
//! [`Relay::handle_client`].

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::owed::{Flight, Reply};
use super::pins::Pins;
use super::relay::{
    Demand, Link, Mode, Relay, RelayError, Rest, Setting, Setup, Stage, StatePolicy, Subject,
    Target, Turn, Want, put_ready,
};
use super::statements::{PREFIX, Prepared, Undo};
use super::touched;
use super::{patch_length, segment};
use crate::encoder;
use crate::frame::{Frame, Tag, frontend};
use crate::message::backend::TransactionStatus;
use crate::sql::{self, Analysis, Class, Effects, ParameterValue, Verb};
use crate::sqlstate::SqlState;

/// Type and length.
const HEADER: usize = 5;

/// A whole ParseComplete.
const PARSE_COMPLETE: &[u8] = &[b'1', 0, 0, 0, 4];

/// Bytes that are rather copied than taken apart and put together again.
const COPIED: usize = 4 * 1024;

/// A whole CloseComplete.
const CLOSE_COMPLETE: &[u8] = &[b'3', 0, 0, 0, 4];

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
            if self.held_ready.is_some() {
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
                    self.front = None;
                    self.stage = Stage::New;
                    if let Frame::Begin { .. } = frame {
                        self.rest.get_or_insert(Rest::Forward);
                    }
                }
                Step::Stays(want) => return Ok(want),
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
        let (tag, len) = match frame {
            Frame::Whole { tag, len } | Frame::Begin { tag, len, .. } => (tag, len),
            // Runs are for the other side, and the rest of a message has been taken.
            Frame::Run { .. } | Frame::More { .. } => return Err(RelayError::Unexpected),
        };
        if self.skipping && !matches!(tag, frontend::SYNC | frontend::TERMINATE) {
            self.drop_front(frame, input);
            return Ok(Step::Done);
        }
        match tag {
            frontend::QUERY => Ok(self.on_query(frame, len, input, turn)),
            frontend::PARSE => self.on_parse(frame, len, input, turn),
            frontend::BIND => self.on_bind(frame, len, input, turn),
            frontend::DESCRIBE => self.on_describe(len, input, turn),
            frontend::CLOSE => self.on_close(len, input, turn),
            frontend::EXECUTE => self.on_execute(len, input, turn),
            frontend::SYNC => Ok(self.on_sync(len, input, turn)),
            frontend::FLUSH => Ok(on_flush(len, input, turn)),
            frontend::FUNCTION_CALL => Ok(self.on_function_call(frame, len, input, turn)),
            frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {
                Ok(self.on_copy(tag, frame, len, input, turn))
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
        match frame {
            Frame::Begin { len, .. } => {
                input.advance(len.min(input.len()));
                self.rest = Some(Rest::Drop);
            }
            Frame::Whole { len, .. } | Frame::Run { len, .. } | Frame::More { len, .. } => {
                input.advance(len.min(input.len()));
            }
        }
    }

    /// Whether the next statement may be sent on the connection that the client has; else what it takes.
    fn place(&self, turn: &Turn<'_>, target: impl FnOnce() -> Target) -> Option<Want> {
        if self.barrier || self.owed.len() >= turn.setup.pipeline {
            return Some(Want::Replies);
        }
        let Some(link) = turn.link.as_deref() else {
            return Some(Want::Server(target()));
        };
        // A transaction stays where it began, and so does state.
        if self.segment || self.status != TransactionStatus::Idle || !self.pins.is_empty() {
            return None;
        }
        if !turn.router.looks_at_statements() {
            return None;
        }
        let target = target();
        if link.target == target {
            return None;
        }
        Some(if self.owed.is_empty() {
            Want::Server(target)
        } else {
            // What is owed may open a transaction, whose place would be here.
            Want::Replies
        })
    }

    fn on_query(
        &mut self,
        frame: Frame,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        if matches!(self.stage, Stage::New) {
            self.options.truncated = matches!(frame, Frame::Begin { .. });
            sql::analyse(query_text(input, frame), &self.options, &mut self.analysis);
            self.options.truncated = false;
            self.subject = Subject::Query;
            let text = query_text(input, frame);
            if let Some(error) = refusal(&self.analysis, text, turn.setup) {
                self.refusals.push("state");
                self.stage = Stage::Rejected(error);
            } else if turn.setup.inspect {
                self.stage = Stage::Judged;
                return Step::Stays(Want::Statement);
            }
        }
        if let Stage::Rejected(error) = &mut self.stage {
            let error = mem::take(error);
            self.refuse_front(error, true, frame, input, turn);
            return Step::Done;
        }
        let demand = Demand {
            analysis: &self.analysis,
            sql: query_text(input, frame),
        };
        if let Some(want) = self.place(turn, || turn.router.target(demand)) {
            return Step::Stays(want);
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Step::Stays(Want::Replies);
        };
        let mut flight = Box::new(Flight::new(&self.analysis, turn.now));
        flight.judged = self.judged;
        let effects = flight.effects;
        if flight.leaves_traces() {
            let text = query_text(input, frame);
            flight.touches = touched::of(&self.analysis, text);
            let setting = self.replayable(text, &self.analysis, turn.setup);
            self.on_effects(&flight, setting, link, turn.setup);
        }
        let takes = self.own_name(input, frame);
        if let Some((name, statement)) = &takes {
            if !link.statements.use_one(statement.id()) {
                know(statement, link, turn.setup, turn.upstream, &mut self.owed);
                turn.upstream.put_slice(&[b'S', 0, 0, 0, 4]);
                self.owed.push(Reply::UnaskedSync);
            }
            rename(statement, name.clone(), frame, input, turn.upstream);
        } else {
            forward(input, len, turn.upstream);
        }
        // The server forgets its unnamed statement with a simple query ("Simple Query").
        self.statements.forget_unnamed();
        link.statements.unnamed = 0;
        let takes = takes.filter(|_| effects.contains(Effects::DEALLOCATE));
        self.owed.push(Reply::Query {
            flight,
            instead: None,
            takes: takes.map(|(_, statement)| statement.id().to_be_bytes().into()),
        });
        Step::Done
    }

    /// Notes what a statement that is sent leaves behind. `setting` will be set again elsewhere, so it leaves nothing.
    fn on_effects(
        &mut self,
        flight: &Flight,
        setting: Option<Setting>,
        link: &mut Link,
        setup: &Setup,
    ) {
        let effects = flight.effects;
        // What a function does inside cannot be seen, and neither can what stands behind the end of what could be read: nobody
        // else gets the connection before it is reset.
        let unseen = Effects::OPAQUE
            .union(Effects::UNSAFE_CALL)
            .union(Effects::SEQUENCE_STATE);
        if effects.intersects(unseen) || flight.class == Class::Unknown {
            link.tainted = true;
        }
        if flight.resets || setting.is_some() {
            self.barrier = true;
        }
        let mut pins = Pins::of(effects);
        if setting.is_some() {
            self.setting = setting;
            pins = pins.without(Pins::SET);
        }
        if setup.mode == Mode::Session {
            return;
        }
        // What is replayed can be forgotten only where it is certain that the server has.
        let lone = flight.touches.len() == 1 && self.status == TransactionStatus::Idle;
        if lone && flight.verb == Verb::Set && flight.resets {
            // SET ... TO DEFAULT is RESET by another name.
            pins = pins.without(Pins::SET);
        }
        if flight.resets && !lone && self.shape != self.start {
            pins = pins.and(Pins::SET);
        }
        if !pins.is_empty() {
            link.tainted = true;
        }
        self.pins = self.pins.and(pins);
    }

    /// The setting of a lone `SET name TO value` outside of a transaction, if it is to be and can be written again anywhere.
    fn replayable(&self, text: &[u8], analysis: &Analysis, setup: &Setup) -> Option<Setting> {
        if setup.mode == Mode::Session
            || setup.state != StatePolicy::Replay
            || self.status != TransactionStatus::Idle
        {
            return None;
        }
        let [statement] = &*analysis.statements else {
            return None;
        };
        if Pins::of(statement.effects) != Pins::SET || statement.verb != Verb::Set {
            return None;
        }
        let parameter = statement.parameter.filter(|parameter| !parameter.local)?;
        let ParameterValue::Text(value) = parameter.value else {
            return None;
        };
        let (name, value) = (parameter.name(text), value.of(text));
        let is_plain = name.is_ascii() && value.is_ascii() && !name.is_empty() && !value.is_empty();
        is_plain.then(|| (name.as_ref().into(), value.into()))
    }

    /// The client's own prepared statement that a lone `EXECUTE` or `DEALLOCATE` names, and where the name stands in `input`.
    fn own_name(&self, input: &[u8], frame: Frame) -> Option<(Range<usize>, Arc<Prepared>)> {
        if self.statements.is_empty() {
            return None;
        }
        let [statement] = &*self.analysis.statements else {
            return None;
        };
        if !matches!(statement.verb, Verb::Execute | Verb::Deallocate) {
            return None;
        }
        let text = query_text(input, frame);
        let range = statement.name?.range();
        // Where the text is cut off, a longer name may be.
        if matches!(frame, Frame::Begin { .. }) && range.end >= text.len() {
            return None;
        }
        let name = sql::fold_name(text.get(range.clone())?);
        let statement = self.statements.find(&name)?;
        Some((range.start + HEADER..range.end + HEADER, statement.clone()))
    }

    fn on_parse(
        &mut self,
        frame: Frame,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        let body = body(input, len);
        let (name, rest) = split_name(body)?;
        let names_are_ours = turn.setup.prepared > 0 && turn.setup.mode != Mode::Session;
        let is_whole = matches!(frame, Frame::Whole { .. });
        if let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(Step::Stays(Want::Replies));
        };
        self.segment = true;
        if !is_whole || (!names_are_ours && !name.is_empty()) {
            // Too large to keep, or not ours to name: it lives on this connection only.
            if names_are_ours || turn.setup.mode != Mode::Session {
                self.pins = self.pins.and(Pins::PREPARED);
                link.tainted = true;
            }
            if name.is_empty() {
                link.statements.unnamed = 0;
                self.statements.forget_unnamed();
            }
            // What it does is remembered for the filters, as far as it can be looked into.
            let is_new = self.statements.find(name).is_none();
            let undo = if is_whole && is_new {
                let statement = self.prepared(name, rest, turn.setup);
                let size = name.len() + statement.size();
                if self.statements.has_room(size, turn.setup.statements) {
                    self.statements.insert(name, statement)
                } else {
                    Undo::Nothing
                }
            } else {
                Undo::Nothing
            };
            self.owed.push(parse_reply(0, false, undo));
            forward(input, len, turn.upstream);
            return Ok(Step::Done);
        }
        let statement = self.prepared(name, rest, turn.setup);
        if name.is_empty() {
            link.statements.unnamed = statement.id();
            let undo = self.statements.insert(b"", statement.clone());
            self.owed.push(parse_reply(statement.id(), false, undo));
            forward(input, len, turn.upstream);
            return Ok(Step::Done);
        }
        if self.statements.find(name).is_some() {
            self.provoke_duplicate(len, input, turn.upstream);
            return Ok(Step::Done);
        }
        if !self
            .statements
            .has_room(name.len() + statement.size(), turn.setup.statements)
        {
            let error = encoder::error_message(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "too many prepared statements",
            );
            self.refusals.push("client_statements");
            self.refuse_front(error, false, frame, input, turn);
            return Ok(Step::Done);
        }
        let undo = self.statements.insert(name, statement.clone());
        if link.statements.use_one(statement.id()) {
            self.owed.push(Reply::Local {
                bytes: PARSE_COMPLETE,
                undo,
            });
            self.flush_local(turn.downstream);
        } else {
            make_room(&statement, link, turn.setup, turn.upstream, &mut self.owed);
            statement.put_parse(false, turn.upstream);
            self.owed.push(parse_reply(statement.id(), false, undo));
        }
        input.advance(len.min(input.len()));
        Ok(Step::Done)
    }

    /// The statement of a Parse message. The unnamed one is mostly the same again, and then not read again.
    fn prepared(&self, name: &[u8], rest: &[u8], setup: &Setup) -> Arc<Prepared> {
        let reading = self.reading;
        let options = &self.options;
        if name.is_empty()
            && let Some(last) = self.statements.find(b"")
            && last.is(rest, reading)
        {
            return last.clone();
        }
        let end = memchr::memchr(0, rest).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        let analyse = || {
            let mut analysis = Analysis::default();
            sql::analyse(text, options, &mut analysis);
            analysis
        };
        if name.is_empty() {
            setup.registry.alone(rest, reading, analyse())
        } else {
            setup.registry.intern(rest, reading, analyse)
        }
    }

    /// Lets the server itself say that the name is taken (42P05), so that its transaction fails as it would: the name is made
    /// for a moment, and taken away behind the Sync by which all of this ends.
    fn provoke_duplicate(&mut self, len: usize, input: &mut BytesMut, upstream: &mut BytesMut) {
        let message = input.split_to(len.min(input.len()));
        let (name, _) = split_name(message.get(HEADER..).unwrap_or_default()).unwrap_or_default();
        upstream.put_u8(b'P');
        let start = upstream.len();
        upstream.put_u32(0);
        upstream.put_slice(name);
        // No text, no parameters.
        upstream.put_slice(&[0, 0, 0, 0]);
        patch_length(upstream, start);
        self.owed.push(parse_reply(0, true, Undo::Nothing));
        upstream.put_slice(&message);
        self.owed.push(parse_reply(0, false, Undo::Nothing));
        // Should the client go on after its Sync, the name must be gone: it is nobody's. In a failed transaction Close works.
        self.taken_name = Some(name.into());
    }

    fn on_bind(
        &mut self,
        frame: Frame,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        // Admitted, it mostly comes here once to be told to wait, and once to go on.
        let admitted = matches!(self.stage, Stage::Admitted);
        if admitted && let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        let (portal, rest) = split_name(body(input, len))?;
        let (name, _) = split_name(rest)?;
        let statement = self.statements.find(name).cloned();
        if matches!(self.stage, Stage::New) {
            let analysis = statement
                .as_ref()
                .map_or_else(|| unknown(), |statement| &statement.analysis);
            let sql = statement
                .as_ref()
                .map_or(&b""[..], |statement| statement.sql());
            if let Some(error) = refusal(analysis, sql, turn.setup) {
                self.refusals.push("state");
                self.stage = Stage::Rejected(error);
            } else if turn.setup.inspect {
                self.stage = Stage::Judged;
                self.subject = Subject::of(statement.as_ref());
                return Ok(Step::Stays(Want::Statement));
            }
        }
        if let Stage::Rejected(error) = &mut self.stage {
            let error = mem::take(error);
            self.refuse_front(error, false, frame, input, turn);
            return Ok(Step::Done);
        }
        if !admitted && let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(Step::Stays(Want::Replies));
        };
        self.segment = true;
        self.portals.bind(portal, statement.clone(), self.judged);
        let names_are_ours = turn.setup.prepared > 0 && turn.setup.mode != Mode::Session;
        let Some(statement) = statement.filter(|_| names_are_ours) else {
            // Unknown here: the server says so itself. A name of the gateway's is nobody else's to use.
            if name.starts_with(PREFIX) && names_are_ours {
                let at = HEADER + portal.len() + 1;
                if let Some(byte) = input.get_mut(at) {
                    *byte = b'?';
                }
            }
            forward(input, len, turn.upstream);
            self.owed.push(Reply::Bind);
            return Ok(Step::Done);
        };
        if name.is_empty() {
            know_unnamed(&statement, link, turn.upstream, &mut self.owed);
            forward(input, len, turn.upstream);
        } else {
            let at = HEADER + portal.len() + 1;
            let name = at..at + name.len();
            know(&statement, link, turn.setup, turn.upstream, &mut self.owed);
            rename(&statement, name, frame, input, turn.upstream);
        }
        self.owed.push(Reply::Bind);
        Ok(Step::Done)
    }

    fn on_describe(
        &mut self,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        if let Some(want) = self.place_segment(
            Frame::Whole {
                tag: frontend::DESCRIBE,
                len,
            },
            input,
            turn,
        ) {
            return Ok(Step::Stays(want));
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(Step::Stays(Want::Replies));
        };
        self.segment = true;
        self.send_named(len, input, link, turn.setup, turn.upstream)?;
        self.owed.push(Reply::Describe);
        Ok(Step::Done)
    }

    /// Sends a Describe, with the statement's name on this connection where it names one.
    fn send_named(
        &mut self,
        len: usize,
        input: &mut BytesMut,
        link: &mut Link,
        setup: &Setup,
        upstream: &mut BytesMut,
    ) -> Result<(), RelayError> {
        let body = body(input, len);
        let (kind, rest) = body.split_first().ok_or(RelayError::Unexpected)?;
        let (name, _) = split_name(rest)?;
        let names_are_ours = setup.prepared > 0 && setup.mode != Mode::Session;
        let statement = (*kind == b'S' && names_are_ours)
            .then(|| self.statements.find(name))
            .flatten()
            .cloned();
        let Some(statement) = statement else {
            if *kind == b'S'
                && name.starts_with(PREFIX)
                && names_are_ours
                && let Some(byte) = input.get_mut(HEADER + 1)
            {
                *byte = b'?';
            }
            forward(input, len, upstream);
            return Ok(());
        };
        if name.is_empty() {
            know_unnamed(&statement, link, upstream, &mut self.owed);
            forward(input, len, upstream);
        } else {
            let name = HEADER + 1..HEADER + 1 + name.len();
            know(&statement, link, setup, upstream, &mut self.owed);
            let frame = Frame::Whole {
                tag: frontend::DESCRIBE,
                len,
            };
            rename(&statement, name, frame, input, upstream);
        }
        Ok(())
    }

    fn on_close(
        &mut self,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        let body = body(input, len);
        let (kind, rest) = body.split_first().ok_or(RelayError::Unexpected)?;
        let (name, _) = split_name(rest)?;
        let names_are_ours = turn.setup.prepared > 0 && turn.setup.mode != Mode::Session;
        let known = self.statements.find(name).is_some();
        if *kind == b'S' && names_are_ours && !name.is_empty() && known {
            // Others may use it on this connection: only the client's name goes.
            let undo = self.statements.remove(name);
            self.owed.push(Reply::Local {
                bytes: CLOSE_COMPLETE,
                undo,
            });
            self.flush_local(turn.downstream);
            input.advance(len.min(input.len()));
            return Ok(Step::Done);
        }
        if turn.link.is_none() {
            // Closing what is not there is no error ("Extended Query"), and takes no server.
            turn.downstream.put_slice(CLOSE_COMPLETE);
            if name.is_empty() && *kind == b'S' {
                self.statements.forget_unnamed();
            }
            input.advance(len.min(input.len()));
            return Ok(Step::Done);
        }
        if let Some(want) = self.place_segment(
            Frame::Whole {
                tag: frontend::CLOSE,
                len,
            },
            input,
            turn,
        ) {
            return Ok(Step::Stays(want));
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(Step::Stays(Want::Replies));
        };
        self.segment = true;
        if *kind == b'S' && name.is_empty() {
            self.statements.forget_unnamed();
            link.statements.unnamed = 0;
        }
        if *kind == b'S'
            && names_are_ours
            && name.starts_with(PREFIX)
            && let Some(byte) = input.get_mut(HEADER + 1)
        {
            *byte = b'?';
        }
        forward(input, len, turn.upstream);
        self.owed.push(Reply::Close { unasked: false });
        Ok(Step::Done)
    }

    fn on_execute(
        &mut self,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        if let Some(want) = self.place_segment(
            Frame::Whole {
                tag: frontend::EXECUTE,
                len,
            },
            input,
            turn,
        ) {
            return Ok(Step::Stays(want));
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(Step::Stays(Want::Replies));
        };
        self.segment = true;
        let (portal, _) = split_name(body(input, len))?;
        let bound = self.portals.find(portal).cloned();
        let (sql, analysis, judged) = match &bound {
            Some((statement, judged)) => (statement.sql(), &statement.analysis, *judged),
            None => (&b""[..], unknown(), 0),
        };
        let mut flight = Flight::new(analysis, turn.now);
        flight.judged = judged;
        if flight.leaves_traces() {
            flight.touches = touched::of(analysis, sql);
            let setting = self.replayable(sql, analysis, turn.setup);
            self.on_effects(&flight, setting, link, turn.setup);
        }
        self.owed.push(Reply::Execute(Box::new(flight)));
        forward(input, len, turn.upstream);
        Ok(Step::Done)
    }

    fn on_sync(&mut self, len: usize, input: &mut BytesMut, turn: &mut Turn<'_>) -> Step {
        let local = turn.link.is_none() || (self.skipping && !self.segment);
        self.skipping = false;
        if local {
            input.advance(len.min(input.len()));
            put_ready(self.status.byte(), turn.downstream);
            return Step::Done;
        }
        forward(input, len, turn.upstream);
        self.segment = false;
        if self.copy_in {
            self.stray_syncs += 1;
        } else {
            self.owed.push(Reply::Sync);
        }
        if let Some(name) = self.taken_name.take() {
            encoder::close_statement(&name, turn.upstream);
            self.owed.push(Reply::Close { unasked: true });
            turn.upstream.put_slice(&[b'S', 0, 0, 0, 4]);
            self.owed.push(Reply::UnaskedSync);
        }
        Step::Done
    }

    fn on_function_call(
        &mut self,
        frame: Frame,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        if matches!(self.stage, Stage::New) && turn.setup.inspect {
            self.stage = Stage::Judged;
            self.subject = Subject::Unknown;
            return Step::Stays(Want::Statement);
        }
        if let Stage::Rejected(error) = &mut self.stage {
            let error = mem::take(error);
            self.refuse_front(error, true, frame, input, turn);
            return Step::Done;
        }
        let demand = unknown_demand();
        if let Some(want) = self.place(turn, || turn.router.target(demand)) {
            return Step::Stays(want);
        }
        if let Some(link) = turn.link.as_deref_mut() {
            // Any function: it may leave anything behind.
            link.tainted = true;
        }
        forward(input, len, turn.upstream);
        self.owed.push(Reply::Function);
        Step::Done
    }

    /// COPY data goes to whoever reads it; a server that does not ignores it ("COPY Operations"), and so is it here.
    fn on_copy(
        &mut self,
        tag: Tag,
        frame: Frame,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        if turn.link.is_none() {
            self.drop_front(frame, input);
            return Step::Done;
        }
        forward(input, len, turn.upstream);
        if tag != frontend::COPY_DATA {
            self.copy_in = false;
            if !self.owed.is_empty() {
                self.owed.push(Reply::CopyEnd);
            }
        }
        Step::Done
    }

    /// Whether so much is owed that nothing more is sent. Within a segment a server may keep its replies to itself, so it is asked
    /// for them.
    fn is_full(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.owed.len() < turn.setup.pipeline {
            self.flushed = false;
            return false;
        }
        if !self.flushed {
            self.flushed = true;
            turn.upstream.put_slice(&[b'H', 0, 0, 0, 4]);
        }
        true
    }

    /// As [`place`](Self::place) for a message of the extended protocol: all up to the next Sync goes to one place, so all of
    /// it is looked at where the place depends on it.
    fn place_segment(
        &mut self,
        frame: Frame,
        input: &BytesMut,
        turn: &mut Turn<'_>,
    ) -> Option<Want> {
        if self.segment && turn.link.is_some() {
            return self.is_full(turn).then_some(Want::Replies);
        }
        if turn.link.is_some() && !turn.router.looks_at_statements() {
            return self.place(turn, Target::default);
        }
        if !turn.router.looks_at_statements() {
            let demand = unknown_demand();
            return self.place(turn, || turn.router.target(demand));
        }
        let statements = &self.statements;
        let Some(segment) = segment::look(frame, input, statements, &self.options) else {
            return Some(Want::Input);
        };
        let demand = Demand {
            analysis: segment.worst.as_deref().unwrap_or_else(|| unknown()),
            sql: segment.sql,
        };
        self.place(turn, || turn.router.target(demand))
    }

    /// Ends the message at the front with an error of ours. Where a server knows of a transaction or of other messages of the
    /// segment, it is made to fail there too, so that everything that hangs on it fails as well.
    pub(super) fn refuse_front(
        &mut self,
        error: Bytes,
        simple: bool,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) {
        self.drop_front(frame, input);
        let server_knows =
            self.segment || self.status != TransactionStatus::Idle || !self.owed.is_empty();
        if !(server_knows && turn.link.is_some()) {
            turn.downstream.put_slice(&error);
            if simple {
                put_ready(self.status.byte(), turn.downstream);
            } else {
                self.skipping = true;
            }
            return;
        }
        if simple {
            let mut flight = Flight::new(&self.analysis, turn.now);
            flight.refused = true;
            encoder::query(b"refused by portcullis", turn.upstream);
            if let Some(link) = turn.link.as_deref_mut() {
                link.statements.unnamed = 0;
            }
            self.owed.push(Reply::Query {
                flight: Box::new(flight),
                instead: Some(error),
                takes: None,
            });
        } else {
            self.segment = true;
            encoder::describe_portal(b"refused by portcullis", turn.upstream);
            self.owed.push(Reply::Refused(error));
        }
    }

    /// There is no server for the message at the front: it gets `error`, a whole ErrorResponse, and what hangs on it is passed
    /// over.
    pub fn fail_front(&mut self, error: &[u8], input: &mut BytesMut, downstream: &mut BytesMut) {
        let Some(frame) = self.front.take() else {
            return;
        };
        self.stage = Stage::New;
        let simple = matches!(
            frame,
            Frame::Whole {
                tag: frontend::QUERY | frontend::FUNCTION_CALL,
                ..
            } | Frame::Begin {
                tag: frontend::QUERY | frontend::FUNCTION_CALL,
                ..
            }
        );
        self.drop_front(frame, input);
        downstream.put_slice(error);
        if simple {
            put_ready(self.status.byte(), downstream);
        } else {
            self.skipping = true;
        }
    }

    /// Sends replies of ours whose turn has come.
    pub(super) fn flush_local(&mut self, downstream: &mut BytesMut) {
        while let Some(bytes) = self.owed.pop_local() {
            downstream.put_slice(bytes);
        }
    }
}

fn on_flush(len: usize, input: &mut BytesMut, turn: &mut Turn<'_>) -> Step {
    if turn.link.is_some() {
        forward(input, len, turn.upstream);
    } else {
        input.advance(len.min(input.len()));
    }
    Step::Done
}

fn parse_reply(statement: u64, unasked: bool, undo: Undo) -> Reply {
    Reply::Parse {
        statement,
        unasked,
        undo,
    }
}

/// Sees to it that the server connection knows a named statement.
fn know(
    statement: &Arc<Prepared>,
    link: &mut Link,
    setup: &Setup,
    upstream: &mut BytesMut,
    owed: &mut super::owed::Owed,
) {
    if link.statements.use_one(statement.id()) {
        return;
    }
    make_room(statement, link, setup, upstream, owed);
    statement.put_parse(false, upstream);
    owed.push(parse_reply(statement.id(), true, Undo::Nothing));
}

/// Notes that the connection will know one more, and closes one for it if there are too many.
fn make_room(
    statement: &Arc<Prepared>,
    link: &mut Link,
    setup: &Setup,
    upstream: &mut BytesMut,
    owed: &mut super::owed::Owed,
) {
    if let Some(goes) = link.statements.insert(statement.clone(), setup.prepared) {
        upstream.put_u8(b'C');
        let start = upstream.len();
        upstream.put_u32(0);
        upstream.put_u8(b'S');
        goes.put_name(upstream);
        upstream.put_u8(0);
        patch_length(upstream, start);
        owed.push(Reply::Close { unasked: true });
    }
}

/// Sees to it that the connection's unnamed statement is this one. A driver may prepare it in one round trip and use it in
/// another.
fn know_unnamed(
    statement: &Prepared,
    link: &mut Link,
    upstream: &mut BytesMut,
    owed: &mut super::owed::Owed,
) {
    if link.statements.unnamed == statement.id() {
        return;
    }
    link.statements.unnamed = statement.id();
    statement.put_parse(true, upstream);
    owed.push(parse_reply(statement.id(), true, Undo::Nothing));
}

/// Sends the message at the front with the statement's own name where `name` is. Of one that comes in parts this is the first:
/// its length is that of all of them.
fn rename(
    statement: &Prepared,
    name: Range<usize>,
    frame: Frame,
    input: &mut BytesMut,
    upstream: &mut BytesMut,
) {
    let total = match frame {
        Frame::Begin { total, .. } => total,
        _ => frame.len() as u64,
    };
    // With what stands behind, which will mostly follow, and a longer name.
    upstream.reserve(input.len() + PREFIX.len() + 20);
    let length = frame.len().min(input.len());
    let message = input.get(..length).unwrap_or_default();
    upstream.put_u8(message.first().copied().unwrap_or_default());
    let start = upstream.len();
    upstream.put_u32(0);
    upstream.put_slice(message.get(HEADER..name.start).unwrap_or_default());
    let before = upstream.len();
    statement.put_name(upstream);
    let grown = (upstream.len() - before) as u64;
    upstream.put_slice(message.get(name.end..).unwrap_or_default());
    input.advance(length);
    // All but the type byte, with the rest that is still to come.
    let length = total - 1 + grown - name.len() as u64;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(place) = upstream.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Moves bytes on: all there is without a copy, and so where there are many; taking few apart costs more than copying them.
pub(super) fn forward(input: &mut BytesMut, len: usize, output: &mut BytesMut) {
    if len == 0 {
        return;
    }
    let is_all = len >= input.len();
    if is_all && output.is_empty() {
        *output = mem::take(input);
        return;
    }
    if len > COPIED {
        let bytes = input.split_to(len.min(input.len()));
        if output.is_empty() {
            *output = bytes;
        } else {
            output.unsplit(bytes);
        }
        return;
    }
    // What stands behind will mostly follow.
    output.reserve(input.len());
    output.extend_from_slice(input.get(..len).unwrap_or(input));
    if is_all {
        input.clear();
    } else {
        input.advance(len);
    }
}

fn body(input: &[u8], len: usize) -> &[u8] {
    input.get(HEADER..len).unwrap_or_default()
}

/// The text of a Query, as far as it is here.
pub(super) fn query_text(input: &[u8], frame: Frame) -> &[u8] {
    match frame {
        Frame::Whole { len, .. } => {
            let text = body(input, len);
            text.strip_suffix(&[0]).unwrap_or(text)
        }
        Frame::Begin { len, .. } => body(input, len),
        Frame::More { .. } | Frame::Run { .. } => &[],
    }
}

/// What the pool's mode does not allow.
fn refusal(analysis: &Analysis, sql: &[u8], setup: &Setup) -> Option<Bytes> {
    if setup.mode == Mode::Session {
        return None;
    }
    let effects = analysis.effects();
    if names_ours(effects, sql) {
        return Some(encoder::error_message(
            SqlState::INVALID_SQL_STATEMENT_NAME,
            "prepared statements of this name are the gateway's",
        ));
    }
    let text = if setup.mode == Mode::Statement && effects.contains(Effects::TRANSACTION_BEGIN) {
        "transactions of several statements are not available in statement pooling mode"
    } else if setup.state == StatePolicy::Refuse && !Pins::of(effects).is_empty() {
        "session state is not available in this pooling mode"
    } else {
        return None;
    };
    Some(encoder::error_message(
        SqlState::FEATURE_NOT_SUPPORTED,
        text,
    ))
}

/// Whether SQL-level PREPARE, EXECUTE or DEALLOCATE may name a statement of the gateway's, which others use as well. A name can
/// be spelt with escapes, so those are not let past either.
fn names_ours(effects: Effects, sql: &[u8]) -> bool {
    let names = Effects::PREPARE
        .union(Effects::EXECUTE)
        .union(Effects::DEALLOCATE);
    let holds = |part: &[u8]| {
        sql.windows(part.len())
            .any(|window| window.eq_ignore_ascii_case(part))
    };
    effects.intersects(names) && (holds(PREFIX) || holds(b"u&\""))
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

/// A name and what stands behind its NUL.
fn split_name(bytes: &[u8]) -> Result<(&[u8], &[u8]), RelayError> {
    // Names are short, or empty: what searches fast begins slowly.
    const SHORT: usize = 16;
    let near = bytes.iter().take(SHORT).position(|byte| *byte == 0);
    let end = near
        .or_else(|| memchr::memchr(0, bytes))
        .ok_or(RelayError::ClientMessage(
            crate::error::MessageError::Unterminated,
        ))?;
    let (name, rest) = bytes.split_at(end);
    Ok((name, rest.get(1..).unwrap_or_default()))
}
