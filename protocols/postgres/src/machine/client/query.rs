//! Query and FunctionCall, and what statements leave behind in a server's session.
//!
//! Start at [`Relay::on_query`].

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::send::{body, forward, know, query_text, rename};
use super::{Step, refuse, unknown_demand};
use crate::encoder;
use crate::frame::{Frame, HEADER};
use crate::machine::flight::Flight;
use crate::machine::link::Link;
use crate::machine::owed::Reply;
use crate::machine::pins::Pins;
use crate::machine::relay::{
    Demand, Mode, Relay, Router, Setting, Setup, Stage, StatePolicy, Subject, Turn, Want,
};
use crate::machine::statements::Prepared;
use crate::machine::touched;
use crate::message::backend::TransactionStatus;
use crate::request::{SharedText, StatementRequest};
use crate::sql::{self, Analysis, Class, Effects, ParameterValue, Verb};

/// The number of the function `set_config`, as a FunctionCall begins.
const SET_CONFIG: [u8; 4] = 2078_u32.to_be_bytes();

/// A prepared statement that a text names: where the name stands in the message, the name as it is folded, the statement.
type Named = (Range<usize>, Box<[u8]>, Arc<Prepared>);

impl Relay {
    pub(super) fn on_query(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        if matches!(self.stage, Stage::New) {
            self.arrived = Some(turn.now);
            if let Some(want) = self.look_at_query(frame, input, turn.setup) {
                return Step::Stays(want);
            }
        }
        if self.is_refused(true, frame, input, turn) {
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
        let named = self.named(input, frame);
        let (flight, is_barrier) = self.query_flight(named.as_ref(), frame, input, turn);
        self.send_query(flight, is_barrier, named, frame, input, turn);
        Step::Done
    }

    /// Sees what a text does. What it waits for, if that is the filters or the names that it may be about.
    fn look_at_query(&mut self, frame: Frame, input: &[u8], setup: &Setup) -> Option<Want> {
        let text = query_text(input, frame);
        self.options.truncated = matches!(frame, Frame::Begin { .. });
        sql::analyse_shared(text, &self.options, &mut self.analysis);
        self.options.truncated = false;
        if self.reading.in_doubt {
            Rc::make_mut(&mut self.analysis).complete = false;
        }
        let verb = self.analysis.statements.first().map(|first| first.verb);
        let may_name = matches!(verb, Some(Verb::Execute | Verb::Deallocate));
        if may_name && self.owed.is_in_doubt(false) {
            return Some(Want::Replies);
        }
        let named = self.named(input, frame);
        let executed = named.filter(|_| verb == Some(Verb::Execute));
        let executed = executed.map(|(_, _, statement)| statement);
        let refusal = refuse::refusal(&self.analysis, text, setup).or_else(|| {
            let prepared = executed.as_ref()?;
            refuse::refusal(&prepared.analysis, prepared.sql(), setup)
        });
        // Filters judge what is carried out, whatever it is called.
        let subject = executed.map_or(Subject::Query, Subject::Prepared);
        self.submit(refusal, subject, setup)
    }

    /// What is known of a text that is sent, and whether nothing may follow it before its end is known.
    fn query_flight(
        &mut self,
        named: Option<&Named>,
        frame: Frame,
        input: &[u8],
        turn: &mut Turn<'_>,
    ) -> (Box<Flight>, bool) {
        let text = query_text(input, frame);
        let mut flight = Box::new(Flight::new(&self.analysis, turn.now));
        flight.judged = self.judged;
        let is_execute = flight.effects.contains(Effects::EXECUTE);
        let executed = named.filter(|_| is_execute);
        flight.arrived = self.arrived.unwrap_or(turn.now);
        if let Some((_, _, prepared)) = executed {
            flight.carries(&prepared.analysis);
        }
        if turn.router.counts() {
            flight.text = self.counted(executed, text, turn.router);
        }
        let Some(link) = turn.link.as_deref_mut().filter(|_| flight.leaves_traces()) else {
            return (flight, self.on_reading(false));
        };
        let (analysis, sql) = match executed {
            Some((_, _, prepared)) => (&prepared.analysis, prepared.sql()),
            None => (&*self.analysis, text),
        };
        flight.touches = touched::of(analysis, sql);
        let moves = touched::moves_reading(analysis, sql);
        let setting = self.replayable(text, &self.analysis, turn.setup);
        let is_barrier = self.on_effects(&flight, setting, link, turn.setup);
        (flight, self.on_reading(moves) || is_barrier)
    }

    /// Something is sent that changes how texts behind it are read, or, while that is not settled, that may take the change back with
    /// its transaction. Whether nothing may follow it before its end is known. A server says what it has changed behind the Sync only,
    /// so that texts of the same segment cannot be read at all.
    pub(super) fn on_reading(&mut self, moves: bool) -> bool {
        self.unsettled |= moves;
        self.reading.in_doubt |= self.unsettled && self.segment;
        self.unsettled
    }

    /// What a text counts as, if that has to be said.
    fn counted(
        &self,
        executed: Option<&Named>,
        text: &[u8],
        router: &dyn Router,
    ) -> Option<Box<StatementRequest>> {
        if let Some((_, _, prepared)) = executed {
            return Some(Box::new(self.counted_prepared(prepared)));
        }
        if router.knows(self.analysis.fingerprint) {
            return None;
        }
        let mut request = Box::new(StatementRequest::default());
        request.set_analysed(text, Rc::clone(&self.analysis));
        request.reading = self.reading();
        Some(request)
    }

    pub(super) fn counted_prepared(&self, prepared: &Arc<Prepared>) -> StatementRequest {
        let mut request = StatementRequest::default();
        request.set_shared(Arc::clone(prepared) as Arc<dyn SharedText>);
        request.reading = self.reading();
        request
    }

    fn send_query(
        &mut self,
        flight: Box<Flight>,
        is_barrier: bool,
        named: Option<Named>,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = turn.link.as_deref_mut() else {
            return;
        };
        if let Some((at, _, statement)) = &named
            && turn.setup.names_are_ours()
            && self.can_use(statement, link)
        {
            let is_new = know(statement, link, turn.setup, turn.upstream, &mut self.owed);
            // Should it fail, the server must not read over the query; in a segment the client's own Sync is still to come.
            if is_new && !self.segment {
                encoder::sync(turn.upstream);
                self.owed.push(Reply::UnaskedSync);
            }
            rename(statement, at.clone(), frame, input, turn.upstream);
        } else {
            forward(input, frame.len(), turn.upstream);
        }
        // The server forgets its unnamed statement with a simple query ("Simple Query").
        let undo = self.statements.remove(b"");
        link.statements.unnamed = 0;
        // What is executed may be a DEALLOCATE, but not of that name.
        let is_execute = flight.effects.contains(Effects::EXECUTE);
        let takes = !is_execute && flight.effects.contains(Effects::DEALLOCATE);
        let takes = named.filter(|_| takes);
        self.executed |= self.segment;
        let number = self.owe_query(Reply::Query {
            flight,
            instead: None,
            takes: takes.map(|(_, name, statement)| Box::new((name, statement))),
            undo,
        });
        if is_barrier {
            self.barrier = number;
        }
    }

    /// Notes that a simple query was sent. In a segment it may be read over, and the unnamed statement stay.
    pub(super) fn owe_query(&mut self, reply: Reply) -> u64 {
        if self.segment {
            self.owed.push_change(reply, true)
        } else {
            self.owed.push(reply)
        }
    }

    /// Notes what a statement that is sent leaves behind. `setting` will be set again elsewhere, so it leaves nothing. Whether nothing
    /// may follow it before its end is known.
    pub(super) fn on_effects(
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
        if self.reading.in_doubt && flight.class == Class::Unknown {
            // It may have set anything.
            pins = pins.and(Pins::SET);
        }
        let is_barrier = flight.is_barrier() || setting.is_some();
        if self.setting.take().is_some() {
            // More happens in its transaction: whether it lasts cannot be told any more.
            pins = pins.and(Pins::SET);
        }
        // What is replayed can be forgotten only where it is certain that the server has.
        let lone = flight.touches.len() == 1 && self.is_alone();
        if setting.is_some() || (lone && flight.verb == Verb::Set && flight.resets) {
            // SET ... TO DEFAULT is RESET by another name.
            pins = pins.without(Pins::SET);
        }
        self.setting = setting;
        if flight.resets && !lone && self.shape != self.start {
            pins = pins.and(Pins::SET);
        }
        if setup.mode != Mode::Session {
            link.tainted |= !pins.is_empty();
            self.pins = self.pins.and(pins);
        }
        is_barrier
    }

    /// Whether the statement that is sent now is in no transaction of others; what is under way may have opened one.
    fn is_alone(&self) -> bool {
        let is_idle = self.status == TransactionStatus::Idle;
        is_idle && !self.executed && !self.owed.has_flights()
    }

    /// The setting of a lone `SET name TO value` outside of a transaction, if it is to be and can be written again anywhere.
    pub(super) fn replayable(
        &self,
        text: &[u8],
        analysis: &Analysis,
        setup: &Setup,
    ) -> Option<Setting> {
        if setup.mode == Mode::Session || setup.state != StatePolicy::Replay || !self.is_alone() {
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

    /// The client's own prepared statement that a lone `EXECUTE` or `DEALLOCATE` names.
    fn named(&self, input: &[u8], frame: Frame) -> Option<Named> {
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
        Some((range, name.as_ref().into(), Arc::clone(statement)))
    }

    pub(super) fn on_function_call(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        if matches!(self.stage, Stage::New)
            && let Some(want) = self.submit(None, Subject::Unknown, turn.setup)
        {
            return Step::Stays(want);
        }
        if self.is_refused(true, frame, input, turn) {
            return Step::Done;
        }
        let want = if self.is_inside(turn) {
            self.wait_inside(turn)
        } else {
            self.place(turn, || turn.router.target(unknown_demand()))
        };
        if let Some(want) = want {
            return Step::Stays(want);
        }
        if let Some(link) = turn.link.as_deref_mut() {
            // Any function: it may leave anything behind.
            link.tainted = true;
        }
        let moves = body(input, frame).starts_with(&SET_CONFIG);
        forward(input, frame.len(), turn.upstream);
        self.executed |= self.segment;
        let number = self.owed.push(Reply::Function);
        if self.on_reading(moves) {
            self.barrier = number;
        }
        Step::Done
    }
}
