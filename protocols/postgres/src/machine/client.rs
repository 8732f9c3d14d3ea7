//! Messages from the client: what is sent on, what waits, what is answered here.
//!
//! "Frontend/Backend Protocol" in PostgreSQL's documentation is what all of this keeps to. Start at
//! [`Relay::handle_client`].

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::owed::{Flight, Reply, resets_of};
use super::pins::Pins;
use super::relay::{
    Demand, Link, Mode, Relay, RelayError, Rest, Setting, Setup, Stage, StatePolicy, Subject,
    Target, Turn, Want, put_ready,
};
use super::statements::{PREFIX, Prepared, ServerStatements, Undo};
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
                    return Ok(want);
                }
            }
        }
    }

    /// Asks the server for something whose answer shows that all before it was answered, and takes this name of the gateway's away.
    fn fence(&mut self, name: Option<&[u8]>, upstream: &mut BytesMut) {
        encoder::close_statement(name.unwrap_or(PREFIX), upstream);
        self.owed.push(Reply::unasked_close(None));
        encoder::sync(upstream);
        self.owed.push(Reply::UnaskedSync);
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
        let is_closed = self.barrier > 0 && !self.segment && !self.copy_in;
        if is_closed && turn.link.is_some() && tag != frontend::TERMINATE {
            return Ok(Step::Stays(Want::Replies));
        }
        match tag {
            frontend::QUERY => Ok(self.on_query(frame, len, input, turn)),
            frontend::PARSE => self.on_parse(frame, len, input, turn),
            frontend::BIND => self.on_bind(frame, len, input, turn),
            frontend::DESCRIBE => self.on_describe(len, input, turn),
            frontend::CLOSE => self.on_close(len, input, turn),
            frontend::EXECUTE => self.on_execute(len, input, turn),
            frontend::SYNC => Ok(self.on_sync(len, input, turn)),
            frontend::FLUSH => Ok(self.on_flush(len, input, turn)),
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

    /// Whether the next message belongs to a segment that has begun on the connection that the client has: it goes there.
    fn is_inside(&self, turn: &Turn<'_>) -> bool {
        self.segment && turn.link.is_some()
    }

    /// Whether the next statement may be sent on the connection that the client has; else what it takes.
    fn place(&self, turn: &Turn<'_>, target: impl FnOnce() -> Target) -> Option<Want> {
        if self.barrier > 0 || self.owed.len() >= turn.setup.pipeline {
            return Some(Want::Replies);
        }
        let Some(link) = turn.link.as_deref() else {
            return Some(Want::Server(target()));
        };
        // A transaction stays where it began, and so does state.
        if self.status != TransactionStatus::Idle || !self.pins.is_empty() {
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
            let verb = self.analysis.statements.first().map(|first| first.verb);
            let may_name = matches!(verb, Some(Verb::Execute | Verb::Deallocate));
            if may_name && self.owed.is_in_doubt(false) {
                return Step::Stays(Want::Replies);
            }
            let text = query_text(input, frame);
            let executed = self.executed_by_name(input, frame);
            let error = refusal(&self.analysis, text, turn.setup).or_else(|| {
                let prepared = executed.as_ref()?;
                refusal(&prepared.analysis, prepared.sql(), turn.setup)
            });
            self.subject = executed.map_or(Subject::Query, Subject::Prepared);
            if let Some(error) = error {
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
        let want = if self.is_inside(turn) {
            self.wait_inside(turn)
        } else {
            self.place(turn, || turn.router.target(demand))
        };
        if let Some(want) = want {
            return Step::Stays(want);
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Step::Stays(Want::Replies);
        };
        let mut flight = Box::new(Flight::new(&self.analysis, turn.now));
        flight.judged = self.judged;
        let executed = self.executed_by_name(input, frame);
        if let Some(prepared) = &executed {
            flight.carries(&prepared.analysis);
        }
        let effects = flight.effects;
        let mut is_barrier = false;
        if flight.leaves_traces() {
            let text = query_text(input, frame);
            if flight.resets {
                let due = match &executed {
                    Some(prepared) => resets_of(&prepared.analysis, prepared.sql()),
                    None => resets_of(&self.analysis, text),
                };
                flight.reset = Some(Box::new(due));
            }
            let setting = self.replayable(text, &self.analysis, turn.setup);
            is_barrier = self.on_effects(&flight, setting, link, turn.setup);
        }
        let own = self.own_name(input, frame);
        if let Some((at, _, statement)) = &own
            && turn.setup.names_are_ours()
        {
            let is_new = know(statement, link, turn.setup, turn.upstream, &mut self.owed);
            // Should it fail, the server must not read over the query; in a segment the client's own Sync is still to come.
            if is_new && !self.segment {
                turn.upstream.put_slice(&[b'S', 0, 0, 0, 4]);
                self.owed.push(Reply::UnaskedSync);
            }
            rename(statement, at.clone(), frame, input, turn.upstream);
        } else {
            forward(input, len, turn.upstream);
        }
        // The server forgets its unnamed statement with a simple query ("Simple Query").
        let undo = self.statements.remove(b"");
        link.statements.unnamed = 0;
        let takes = own.filter(|_| effects.contains(Effects::DEALLOCATE));
        self.executed |= self.segment;
        let reply = Reply::Query {
            flight,
            instead: None,
            takes: takes.map(|(_, name, statement)| Box::new((name, statement))),
            undo,
        };
        let number = if self.segment {
            // It may be read over, and the unnamed statement stay.
            self.owed.push_change(reply, true)
        } else {
            self.owed.push(reply)
        };
        if is_barrier {
            self.barrier = number;
        }
        Step::Done
    }

    /// Notes what a statement that is sent leaves behind. `setting` will be set again elsewhere, so it leaves nothing. Whether nothing
    /// may follow it before its end is known.
    fn on_effects(
        &mut self,
        flight: &Flight,
        setting: Option<Setting>,
        link: &mut Link,
        setup: &Setup,
    ) -> bool {
        let effects = flight.effects;
        // What a function does inside cannot be seen, and neither can what stands behind the end of what could be read: nobody
        // else gets the connection before it is reset.
        let unseen = Effects::OPAQUE
            .union(Effects::UNSAFE_CALL)
            .union(Effects::SEQUENCE_STATE);
        if effects.intersects(unseen) || flight.class == Class::Unknown {
            link.tainted = true;
        }
        let mut pins = Pins::of(effects);
        let is_barrier = flight.is_barrier() || setting.is_some();
        if self.setting.take().is_some() {
            // More happens in its transaction: whether it lasts cannot be told any more.
            pins = pins.and(Pins::SET);
        }
        if setting.is_some() {
            self.setting = setting;
            pins = pins.without(Pins::SET);
        }
        if setup.mode != Mode::Session {
            link.tainted |= !pins.is_empty();
            self.pins = self.pins.and(pins);
        }
        is_barrier
    }

    /// The setting of a lone `SET name TO value` outside of a transaction, if it is to be and can be written again anywhere.
    fn replayable(&self, text: &[u8], analysis: &Analysis, setup: &Setup) -> Option<Setting> {
        if setup.mode == Mode::Session
            || setup.state != StatePolicy::Replay
            || self.status != TransactionStatus::Idle
            || self.executed
            || self.owed.has_flights()
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

    /// The client's own prepared statement that a lone `EXECUTE` carries out.
    fn executed_by_name(&self, input: &[u8], frame: Frame) -> Option<Arc<Prepared>> {
        let [statement] = &*self.analysis.statements else {
            return None;
        };
        if statement.verb != Verb::Execute {
            return None;
        }
        self.own_name(input, frame).map(|(_, _, prepared)| prepared)
    }

    /// The client's own prepared statement that a lone `EXECUTE` or `DEALLOCATE` names, and where the name stands in `input`.
    fn own_name(
        &self,
        input: &[u8],
        frame: Frame,
    ) -> Option<(Range<usize>, Box<[u8]>, Arc<Prepared>)> {
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
        let range = range.start + HEADER..range.end + HEADER;
        Some((range, name.as_ref().into(), statement.clone()))
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
        let names_are_ours = turn.setup.names_are_ours();
        let is_whole = matches!(frame, Frame::Whole { .. });
        if !name.is_empty() && self.owed.is_in_doubt(false) {
            return Ok(Step::Stays(Want::Replies));
        }
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
                self.large_unnamed = turn.setup.registry.number();
                link.statements.unnamed = self.large_unnamed;
            }
            // What it does is remembered for the filters, as far as it can be looked into.
            let undo = self.note_named(name, rest, is_whole, turn.setup);
            let reply = parse_reply(0, false, undo);
            self.owed.push_change(reply, name.is_empty());
            forward(input, len, turn.upstream);
            return Ok(Step::Done);
        }
        let statement = self.prepared(name, rest, turn.setup);
        if name.is_empty() {
            link.statements.unnamed = statement.id();
            let undo = self.statements.insert(b"", statement.clone());
            let reply = parse_reply(statement.id(), false, undo);
            self.owed.push_change(reply, true);
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
        if self.status == TransactionStatus::Failed {
            // The server says so, under a name for which it does not matter.
            link.statements.unnamed = ServerStatements::ANY;
            statement.put_parse(true, turn.upstream);
            self.owed.push_change(parse_reply(0, false, undo), false);
        } else if link.statements.use_one(statement.id()) {
            let reply = Reply::Local {
                bytes: PARSE_COMPLETE,
                undo,
            };
            self.owed.push_change(reply, false);
            self.flush_local(turn.downstream);
        } else {
            make_room(&statement, link, turn.setup, turn.upstream, &mut self.owed);
            statement.put_parse(false, turn.upstream);
            let reply = parse_reply(statement.id(), false, undo);
            self.owed.push_change(reply, false);
        }
        input.advance(len.min(input.len()));
        Ok(Step::Done)
    }

    /// Remembers what a statement does whose name only the server knows. One of another text, which the server may refuse because
    /// the name is taken, makes it unknown.
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
        self.taken_name.get_or_insert_with(|| name.into());
    }

    fn on_bind(
        &mut self,
        frame: Frame,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        let (portal, rest) = split_name(body(input, len))?;
        let (name, _) = split_name(rest)?;
        if self.owed.is_in_doubt(name.is_empty()) {
            return Ok(Step::Stays(Want::Replies));
        }
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
        if let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(Step::Stays(Want::Replies));
        };
        self.segment = true;
        let bound = statement.clone();
        let portal_name: Box<[u8]> = portal.into();
        let names_are_ours = turn.setup.names_are_ours();
        // The unnamed statement goes with any simple query of the gateway's own, in any mode.
        let is_kept = names_are_ours || name.is_empty();
        let Some(statement) = statement.filter(|_| is_kept) else {
            // Unknown here: the server says so itself. A name of the gateway's is nobody else's to use.
            let is_unnamed = name.is_empty();
            if name.starts_with(PREFIX) && names_are_ours {
                let at = HEADER + portal.len() + 1;
                if let Some(byte) = input.get_mut(at) {
                    *byte = b'?';
                }
            }
            if is_unnamed {
                self.drop_strange_unnamed(link, turn.setup, turn.upstream);
            }
            forward(input, len, turn.upstream);
            let number = self.owed.push(Reply::Bind);
            self.portals.bind(&portal_name, bound, self.judged, number);
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
        let number = self.owed.push(Reply::Bind);
        self.portals.bind(&portal_name, bound, self.judged, number);
        Ok(Step::Done)
    }

    /// The client has no unnamed statement, or one that is on the connection already. If there is another, it is not its to use.
    fn drop_strange_unnamed(&mut self, link: &mut Link, setup: &Setup, upstream: &mut BytesMut) {
        let unnamed = &mut link.statements.unnamed;
        if setup.mode == Mode::Session || *unnamed == 0 || *unnamed == self.large_unnamed {
            return;
        }
        *unnamed = 0;
        encoder::close_statement(b"", upstream);
        self.owed.push_change(Reply::unasked_close(None), true);
    }

    fn on_describe(
        &mut self,
        len: usize,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        if let [b'S', name @ ..] = body(input, len)
            && self.owed.is_in_doubt(matches!(name, [0, ..]))
        {
            return Ok(Step::Stays(Want::Replies));
        }
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
        let names_are_ours = setup.names_are_ours();
        let statement = (*kind == b'S' && (names_are_ours || name.is_empty()))
            .then(|| self.statements.find(name))
            .flatten()
            .cloned();
        let Some(statement) = statement else {
            let is_unnamed = *kind == b'S' && name.is_empty();
            if *kind == b'S'
                && name.starts_with(PREFIX)
                && names_are_ours
                && let Some(byte) = input.get_mut(HEADER + 1)
            {
                *byte = b'?';
            }
            if is_unnamed {
                self.drop_strange_unnamed(link, setup, upstream);
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
        let names_are_ours = turn.setup.names_are_ours();
        if *kind == b'S' && !name.is_empty() && self.owed.is_in_doubt(false) {
            return Ok(Step::Stays(Want::Replies));
        }
        let known = self.statements.find(name).is_some();
        if *kind == b'S' && names_are_ours && !name.is_empty() && known {
            // Others may use it on this connection: only the client's name goes.
            let undo = self.statements.remove(name);
            let reply = Reply::Local {
                bytes: CLOSE_COMPLETE,
                undo,
            };
            self.owed.push_change(reply, false);
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
        let mut undo = Undo::Nothing;
        if *kind == b'S' && (name.is_empty() || !names_are_ours) {
            undo = self.statements.remove(name);
        }
        if *kind == b'S' && name.is_empty() {
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
        match undo {
            Undo::Nothing => drop(self.owed.push(Reply::close(undo))),
            undo => {
                let is_unnamed = matches!(undo, Undo::Unnamed(_));
                self.owed.push_change(Reply::close(undo), is_unnamed);
            }
        }
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
        let mut is_barrier = false;
        if flight.leaves_traces() {
            if flight.resets {
                flight.reset = Some(Box::new(resets_of(analysis, sql)));
            }
            let setting = self.replayable(sql, analysis, turn.setup);
            is_barrier = self.on_effects(&flight, setting, link, turn.setup);
        }
        self.executed = true;
        let number = self.owed.push(Reply::Execute(Box::new(flight)));
        if is_barrier {
            self.barrier = number;
        }
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
        self.executed = false;
        if self.copy_in {
            self.owed.push(Reply::StraySync);
            return Step::Done;
        }
        // How many are answered cannot be told if a COPY fails: the answer to something else shows where that ends.
        let is_fenced = self.owed.ends_in_copy();
        self.owed.push(Reply::Sync);
        let name = self.taken_name.take();
        if name.is_some() || is_fenced {
            self.fence(name.as_deref(), turn.upstream);
        }
        Step::Done
    }

    /// Outside of a segment there is nothing that a server would hold back.
    fn on_flush(&self, len: usize, input: &mut BytesMut, turn: &mut Turn<'_>) -> Step {
        if turn.link.is_some() && self.segment {
            forward(input, len, turn.upstream);
        } else {
            input.advance(len.min(input.len()));
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
        let want = if self.is_inside(turn) {
            self.wait_inside(turn)
        } else {
            self.place(turn, || turn.router.target(demand))
        };
        if let Some(want) = want {
            return Step::Stays(want);
        }
        if let Some(link) = turn.link.as_deref_mut() {
            // Any function: it may leave anything behind.
            link.tainted = true;
        }
        forward(input, len, turn.upstream);
        self.executed |= self.segment;
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
        let nobody = self.owed.is_empty() && !self.segment;
        if turn.link.is_none() || nobody {
            self.drop_front(frame, input);
            return Step::Done;
        }
        forward(input, len, turn.upstream);
        if tag != frontend::COPY_DATA {
            self.copy_in = false;
            self.owed.push(Reply::CopyEnd);
        }
        Step::Done
    }

    /// What the next message of a segment waits for, if it has to: so much is owed, or what has to come first. Within a segment a
    /// server may keep its replies to itself, so it is asked for them.
    fn wait_inside(&mut self, turn: &mut Turn<'_>) -> Option<Want> {
        let is_behind = self.barrier > 0 && !self.owed.is_empty();
        if self.owed.len() < turn.setup.pipeline && !is_behind {
            return None;
        }
        if !self.flushed && !self.owed.is_flushed() {
            self.flushed = true;
            turn.upstream.put_slice(&[b'H', 0, 0, 0, 4]);
        }
        Some(Want::Replies)
    }

    /// As [`place`](Self::place) for a message of the extended protocol: all up to the next Sync goes to one place, so all of
    /// it is looked at where the place depends on it.
    fn place_segment(
        &mut self,
        frame: Frame,
        input: &BytesMut,
        turn: &mut Turn<'_>,
    ) -> Option<Want> {
        if self.is_inside(turn) {
            return self.wait_inside(turn);
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
            if let Some(link) = turn.link.as_deref_mut() {
                link.statements.unnamed = 0;
            }
            encoder::query(b"refused by portcullis", turn.upstream);
            self.owed.push(Reply::Query {
                flight: Box::new(flight),
                instead: Some(error),
                takes: None,
                undo: Undo::Nothing,
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

fn parse_reply(statement: u64, unasked: bool, undo: Undo) -> Reply {
    Reply::Parse {
        statement,
        unasked,
        undo,
    }
}

/// Sees to it that the server connection knows a named statement. Whether it is told.
fn know(
    statement: &Arc<Prepared>,
    link: &mut Link,
    setup: &Setup,
    upstream: &mut BytesMut,
    owed: &mut super::owed::Owed,
) -> bool {
    if link.statements.use_one(statement.id()) {
        return false;
    }
    make_room(statement, link, setup, upstream, owed);
    statement.put_parse(false, upstream);
    owed.push_change(parse_reply(statement.id(), true, Undo::Nothing), false);
    true
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
        owed.push_change(Reply::unasked_close(Some(goes)), false);
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
    owed.push_change(parse_reply(statement.id(), true, Undo::Nothing), true);
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
    let message = input.split_to(frame.len().min(input.len()));
    upstream.put_u8(message.first().copied().unwrap_or_default());
    let start = upstream.len();
    upstream.put_u32(0);
    upstream.put_slice(message.get(HEADER..name.start).unwrap_or_default());
    let before = upstream.len();
    statement.put_name(upstream);
    let grown = (upstream.len() - before) as u64;
    upstream.put_slice(message.get(name.end..).unwrap_or_default());
    // All but the type byte, with the rest that is still to come.
    let length = total - 1 + grown - name.len() as u64;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(place) = upstream.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Moves bytes on, without a copy where nothing waits before them.
pub(super) fn forward(input: &mut BytesMut, len: usize, output: &mut BytesMut) {
    if len == 0 {
        return;
    }
    let bytes = if len >= input.len() {
        mem::take(input)
    } else {
        input.split_to(len)
    };
    if output.is_empty() {
        *output = bytes;
    } else {
        output.unsplit(bytes);
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
    let end = memchr::memchr(0, bytes).ok_or(RelayError::ClientMessage(
        crate::error::MessageError::Unterminated,
    ))?;
    let (name, rest) = bytes.split_at(end);
    Ok((name, rest.get(1..).unwrap_or_default()))
}
