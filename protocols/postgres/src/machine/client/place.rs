//! Where the next message may go, and what it waits for before.
//!
//! Start at [`Relay::place`].

use bytes::BytesMut;

use super::{unknown, unknown_demand};
use crate::encoder;
use crate::frame::{Frame, Tag, frontend};
use crate::machine::relay::{Demand, Relay, Target, Turn, Want};
use crate::machine::segment;
use crate::message::backend::TransactionStatus;

impl Relay {
    /// Whether the next message belongs to a segment that has begun on the connection that the client has: it goes there.
    pub(super) fn is_inside(&self, turn: &Turn<'_>) -> bool {
        self.segment && turn.link.is_some()
    }

    /// What the next message of a segment waits for, if it has to: so much is owed, or something has to come first. Within a segment
    /// a server may keep its replies to itself, so it is asked for them.
    pub(super) fn wait_inside(&mut self, turn: &mut Turn<'_>) -> Option<Want> {
        let is_behind = self.barrier > 0 && !self.owed.is_empty();
        if self.owed.len() < turn.setup.pipeline && !is_behind {
            return None;
        }
        if !self.flushed && !self.owed.is_flushed() {
            self.flushed = true;
            encoder::flush(turn.upstream);
        }
        Some(Want::Replies)
    }

    /// Whether a message has to wait for a statement that changes what it means. One that was executed in a segment is answered
    /// for a Flush or the Sync; a simple query is by itself, and its ReadyForQuery may be held back.
    pub(super) fn wait_at_barrier(&mut self, tag: Tag, turn: &mut Turn<'_>) -> Option<Want> {
        let ends = tag == frontend::TERMINATE;
        if self.barrier == 0 || self.copy_in || turn.link.is_none() || ends {
            return None;
        }
        // A Sync that was sent while COPY data was read has ended nothing.
        let is_inside = self.segment || self.owed.ends_in_copy();
        if !is_inside || self.owed.is_flushed() {
            return Some(Want::Replies);
        }
        if tag == frontend::SYNC || tag == frontend::FLUSH {
            return None;
        }
        self.wait_inside(turn)
    }

    /// Whether the next statement may be sent on the connection that the client has; else what it takes.
    pub(super) fn place(&self, turn: &Turn<'_>, target: impl FnOnce() -> Target) -> Option<Want> {
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

    /// As [`place`](Self::place) for a message of the extended protocol: all up to the next Sync goes to one place, so all of
    /// it is looked at where the place depends on it.
    #[inline]
    pub(super) fn place_segment(
        &mut self,
        frame: Frame,
        input: &BytesMut,
        turn: &mut Turn<'_>,
    ) -> Option<Want> {
        let goes_on = self.barrier == 0 && self.owed.len() < turn.setup.pipeline;
        if goes_on && self.is_inside(turn) {
            // As most of a segment does.
            return None;
        }
        self.place_anew(frame, input, turn)
    }

    fn place_anew(&mut self, frame: Frame, input: &BytesMut, turn: &mut Turn<'_>) -> Option<Want> {
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
}
