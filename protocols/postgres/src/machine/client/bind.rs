//! Bind, Describe and Execute: what is done with prepared statements.
//!
//! Start at [`Relay::on_bind`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::send::{body, disguise, forward, know, know_unnamed, object, rename, split_name};
use super::{Step, refuse, unknown};
use crate::encoder;
use crate::frame::{Frame, HEADER};
use crate::machine::error::RelayError;
use crate::machine::flight::Flight;
use crate::machine::link::Link;
use crate::machine::owed::Reply;
use crate::machine::portals::Asked;
use crate::machine::relay::{Mode, Relay, Router, Setup, Stage, Subject, Turn, Want};
use crate::machine::statements::Prepared;
use crate::machine::touched;

/// A whole Sync.
const SYNC: &[u8] = &[b'S', 0, 0, 0, 4];

impl Relay {
    pub(super) fn on_bind(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        // Admitted, it mostly comes here once to be told to wait, and once to go on.
        let admitted = matches!(self.stage, Stage::Admitted);
        if admitted && let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        let (portal, rest) = split_name(body(input, frame))?;
        let (name, _) = split_name(rest)?;
        let at = HEADER + portal.len() + 1;
        let at = at..at + name.len();
        let portal: Box<[u8]> = portal.into();
        if self.owed.is_in_doubt(name.is_empty()) {
            return Ok(Step::Stays(Want::Replies));
        }
        let statement = self.statements.find(name).cloned();
        if matches!(self.stage, Stage::New) {
            self.arrived = Some(turn.now);
            if let Some(want) = self.look_at_bind(statement.as_ref(), turn.setup) {
                return Ok(Step::Stays(want));
            }
        }
        if self.is_refused(false, frame, input, turn) {
            return Ok(Step::Done);
        }
        if !admitted && let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        if let Some(link) = turn.link.as_deref_mut() {
            self.segment = true;
            let to = statement.as_ref();
            self.send_named(to, at, frame, input, link, turn.setup, turn.upstream);
            let number = self.owed.push(Reply::Bind);
            let asked = Asked {
                judged: self.judged,
                arrived: self.arrived,
            };
            self.portals.bind(&portal, statement, asked, number);
        }
        Ok(Step::Done)
    }

    /// Sees what a portal would do. What it waits for, if that is the filters.
    fn look_at_bind(&mut self, statement: Option<&Arc<Prepared>>, setup: &Setup) -> Option<Want> {
        let refusal = match statement {
            Some(statement) => refuse::refusal(&statement.analysis, statement.sql(), setup),
            None => refuse::refusal(unknown(), b"", setup),
        };
        self.submit(refusal, Subject::of(statement), setup)
    }

    pub(super) fn on_describe(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        let (is_statement, name, at) = object(input, frame)?;
        if is_statement && self.owed.is_in_doubt(name.is_empty()) {
            return Ok(Step::Stays(Want::Replies));
        }
        let statement = self.statements.find(name).filter(|_| is_statement).cloned();
        if let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        if let Some(link) = turn.link.as_deref_mut() {
            self.segment = true;
            if is_statement {
                let to = statement.as_ref();
                self.send_named(to, at, frame, input, link, turn.setup, turn.upstream);
            } else {
                forward(input, frame.len(), turn.upstream);
            }
            self.owed.push(Reply::Describe);
        }
        Ok(Step::Done)
    }

    /// Whether the connection knows the statement, or can be told without its becoming another: the same text may mean something
    /// else after a change of `standard_conforming_strings` or `client_encoding`.
    pub(super) fn can_use(&self, statement: &Prepared, link: &Link) -> bool {
        statement.means_the_same(self.reading) || link.statements.knows(statement.id())
    }

    /// Sends a message that names a statement, with the name that it has on this connection. A name of which nothing is known goes as
    /// it is: the server says so itself.
    #[allow(clippy::too_many_arguments)] // the message, the statement, and where it goes
    fn send_named(
        &mut self,
        statement: Option<&Arc<Prepared>>,
        at: Range<usize>,
        frame: Frame,
        input: &mut BytesMut,
        link: &mut Link,
        setup: &Setup,
        upstream: &mut BytesMut,
    ) {
        let is_unnamed = at.is_empty();
        match statement {
            Some(statement) if is_unnamed && self.can_use(statement, link) => {
                // It goes with any simple query of the gateway's own, in any mode.
                know_unnamed(statement, link, upstream, &mut self.owed);
            }
            Some(statement)
                if !is_unnamed && setup.names_are_ours() && self.can_use(statement, link) =>
            {
                know(statement, link, setup, upstream, &mut self.owed);
                rename(statement, at, frame, input, upstream);
                return;
            }
            _ if is_unnamed => self.drop_strange_unnamed(link, setup, upstream),
            _ => disguise(&at, setup, input),
        }
        forward(input, frame.len(), upstream);
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

    pub(super) fn on_execute(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Result<Step, RelayError> {
        if let Some(want) = self.place_segment(frame, input, turn) {
            return Ok(Step::Stays(want));
        }
        let Some(link) = turn.link.as_deref_mut() else {
            return Ok(Step::Stays(Want::Replies));
        };
        self.segment = true;
        let (portal, _) = split_name(body(input, frame))?;
        let mut flight = Box::new(self.bound_flight(portal, turn.now, turn.router));
        let mut is_barrier = false;
        let mut moves = false;
        if flight.leaves_traces() {
            let bound = self.portals.find(portal).cloned();
            let (sql, analysis) = bound.as_ref().map_or_else(
                || (&b""[..], unknown()),
                |(statement, _)| (statement.sql(), &statement.analysis),
            );
            flight.touches = touched::of(analysis, sql);
            moves = touched::moves_reading(analysis, sql);
            let setting = self.replayable(sql, analysis, turn.setup);
            is_barrier = self.on_effects(&flight, setting, link, turn.setup);
        }
        is_barrier |= self.on_reading(moves);
        self.executed = true;
        let number = self.owed.push(Reply::Execute(flight));
        if is_barrier {
            self.barrier = number;
        } else if input.get(frame.len()..) == Some(SYNC) {
            // As most segments end, and nothing stands behind.
            forward(input, frame.len() + SYNC.len(), turn.upstream);
            self.end_segment(turn);
            return Ok(Step::Done);
        }
        forward(input, frame.len(), turn.upstream);
        Ok(Step::Done)
    }

    /// What is known of the statement of a portal.
    fn bound_flight(&self, portal: &[u8], now: Instant, router: &dyn Router) -> Flight {
        let bound = self.portals.find(portal);
        let analysis = match bound {
            Some((statement, _)) => &statement.analysis,
            None => unknown(),
        };
        let mut flight = Flight::new(analysis, now);
        if let Some((_, asked)) = bound {
            flight.judged = asked.judged;
            flight.arrived = asked.arrived.unwrap_or(now);
        }
        if router.counts() && !router.knows(flight.fingerprint) {
            let counted = bound.map(|(statement, _)| self.counted_prepared(statement));
            flight.text = Some(Box::new(counted.unwrap_or_default()));
        }
        flight
    }
}
