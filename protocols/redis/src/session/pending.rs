//! A command that waits for its reply, and what is kept of it where it may have to be sent again.
//!
//! Start at [`Pending`].

use std::cell::Cell as Value;
use std::rc::Rc;

use bytes::Bytes;

use super::cell::Cell;
use super::group::Again;
use super::receiver::Receiver;
use super::scripts::ScriptCall;
use super::shard::Shard;
use super::upstream::Upstream;
use crate::machine::{Lost, Piece, SlotId, Speaks, Ticket, Waiting};

/// Whose reply comes when.
pub(super) struct Pending {
    pub(super) client: Receiver,
    /// That of the first reply that is still to come, of a run.
    pub(super) ticket: Ticket,
    /// The replies to a [run](Waiting) of the client's that are still to come; 0: it is none. Nothing else is kept of a run.
    pub(super) run: u32,
    /// What to send to another node, where one may answer that another is to be asked.
    pub(super) replay: Option<Box<Replay>>,
    /// The script that it calls, or shows.
    pub(super) script: Option<Rc<ScriptCall>>,
}

/// A command that may have to be sent again.
pub(super) struct Replay {
    pub(super) wire: Bytes,
    /// Whose it is: it decides about the connection.
    pub(super) client: u64,
    /// How often it was sent on.
    pub(super) hops: u8,
    /// It may wait, and must have a connection of its own.
    pub(super) is_own: bool,
    /// Its keys are tracked: its client sends it on itself.
    pub(super) is_tracked: bool,
    /// It only reads, and may be asked of another server.
    pub(super) again: Option<Again>,
    /// It may go anywhere, and was to go to this one of the servers.
    pub(super) elsewhere: Option<(Rc<Upstream>, Rc<Shard>)>,
    /// A part of its reply is on its way to the client.
    pub(super) is_begun: Value<bool>,
}

impl Replay {
    pub(super) fn new(wire: &[u8], client: u64) -> Self {
        Self {
            wire: Bytes::copy_from_slice(wire),
            client,
            hops: 0,
            is_own: false,
            is_tracked: false,
            again: None,
            elsewhere: None,
            is_begun: Value::new(false),
        }
    }
}

impl Pending {
    /// Of a command that is sent once.
    #[inline]
    pub(super) const fn new(client: Receiver, ticket: Ticket) -> Self {
        Self {
            client,
            ticket,
            run: 0,
            replay: None,
            script: None,
        }
    }

    /// Of a run of so many commands of a client that are sent once, for slots from `first` on.
    #[inline]
    pub(super) const fn of_run(client: Rc<Cell>, first: SlotId, count: u32) -> Self {
        let (slot, part) = (first, 0);
        let mut pending = Self::new(Receiver::Client(client), Ticket::Slot { slot, part });
        pending.run = count;
        pending
    }

    /// Bytes that are kept of the command.
    #[inline]
    pub(super) fn kept(&self) -> usize {
        self.replay.as_ref().map_or(0, |replay| replay.wire.len())
    }

    /// Notes that it only reads, so that another server may be asked.
    pub(super) fn read(&mut self, wire: &[u8], client: u64, again: Again) {
        let replay = self
            .replay
            .get_or_insert_with(|| Box::new(Replay::new(wire, client)));
        replay.again.get_or_insert(again);
    }

    /// Whether another server may be asked in place of one that did not answer.
    pub(super) fn may_ask_again(&self) -> bool {
        let again = |replay: &Replay| {
            let again = replay.again.as_ref().is_some_and(Again::is_left);
            again && !replay.is_begun.get()
        };
        self.replay.as_ref().is_some_and(|replay| again(replay))
    }

    /// The server that was asked has no data to read.
    pub(super) fn shun(&self) {
        let replay = self.replay.as_ref();
        if let Some(again) = replay.and_then(|replay| replay.again.as_ref()) {
            again.shun();
        }
    }

    /// Asks another server, for this reason, if that may be. Gives itself back if not.
    #[cold]
    pub(super) fn ask_again(mut self, reason: &'static str, speaks: Speaks) -> Result<(), Self> {
        if !self.may_ask_again() {
            return Err(self);
        }
        let Some(replay) = &mut self.replay else {
            return Err(self);
        };
        let Some(again) = &mut replay.again else {
            return Err(self);
        };
        let group = again.spend(reason);
        let (wire, client) = (replay.wire.clone(), replay.client);
        group.again(speaks, client, &wire, self);
        Ok(())
    }

    /// Goes to another server, where any will do, since this one could not be connected. Once: the next is told by its own connection
    /// whether it is there. Gives itself back if not.
    pub(super) fn go_elsewhere(mut self, speaks: Speaks) -> Result<(), Self> {
        let replay = self.replay.as_mut();
        match replay.and_then(|replay| replay.elsewhere.take()) {
            Some((upstream, tried)) => {
                upstream.send_elsewhere(&tried, speaks, self);
                Ok(())
            }
            None => Err(self),
        }
    }

    /// Tells the client that there will be no reply.
    pub(super) fn lose(self, lost: Lost) {
        self.tell(lost);
        self.client.flush();
    }

    /// As [`lose`](Self::lose); what the client hears is sent later.
    pub(super) fn tell(&self, lost: Lost) {
        let mut ticket = self.ticket;
        for _ in 0..self.run.max(1) {
            self.client.on_piece(ticket, Piece::Lost(lost));
            ticket = behind(ticket, 1);
        }
    }
}

/// The ticket so many behind this one.
#[inline]
const fn behind(ticket: Ticket, count: u32) -> Ticket {
    match ticket {
        Ticket::Slot { slot, part } => Ticket::Slot {
            slot: slot.plus(count),
            part,
        },
        other => other,
    }
}

impl Waiting for Pending {
    #[inline]
    fn run(&self) -> u32 {
        self.run
    }

    fn split_first(&mut self) -> Option<Self> {
        if self.run < 2 {
            return None;
        }
        let first = Self::new(self.client.clone(), self.ticket);
        self.pass(1);
        Some(first)
    }

    #[inline]
    fn pass(&mut self, count: u32) {
        self.run -= count;
        self.ticket = behind(self.ticket, count);
    }
}
