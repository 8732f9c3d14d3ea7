//! Commands that a server refused since it is the primary no more: they wait for the next one, and are sent there.
//!
//! Such a command was not carried out. It is sent again only if its client has nothing under way behind it, which it would overtake,
//! and so often at most. Start at [`Demoted::hold`].

use std::rc::Rc;

use bytes::Bytes;

use super::link::{Pending, Replay};
use super::receiver::Receiver;
use super::shard::{Common, Shard};
use crate::machine::{Lost, Piece, Speaks, Ticket};
use crate::reply::ReplyKind;

/// How often one command waits for an answer of sentinels.
const MOST_TRIES: u8 = 5;

/// Commands that may wait.
const MOST_HELD: usize = 1024;

/// A command that was refused.
pub(super) struct Refused {
    pub(super) pending: Pending,
    pub(super) speaks: Speaks,
    /// The server's own words.
    pub(super) reply: Bytes,
}

impl Refused {
    /// Whether the command may be sent again: it is kept, and nothing of its client's is behind it.
    pub(super) fn may_be_sent_again(pending: &Pending) -> bool {
        let is_kept = |replay: &Replay| !replay.is_begun.get();
        let is_kept = pending
            .replay
            .as_ref()
            .is_some_and(|replay| is_kept(replay));
        match (&pending.client, pending.ticket) {
            (Receiver::Client(client), Ticket::Slot { slot, .. }) => {
                is_kept && client.is_last(slot)
            }
            _ => false,
        }
    }

    /// One more answer of sentinels is waited for, if it may be.
    fn spend(&mut self) -> bool {
        self.pending.replay.as_mut().is_some_and(|replay| {
            replay.hops = replay.hops.saturating_add(1);
            replay.hops <= MOST_TRIES
        })
    }

    /// Tells the client what the server said.
    pub(super) fn answer(self) {
        let Pending { client, ticket, .. } = self.pending;
        let kind = ReplyKind::Error;
        let bytes = &self.reply;
        client.on_piece(ticket, Piece::Whole { kind, bytes });
        client.flush();
    }

    fn send(self, primary: &Shard, common: &Rc<Common>) {
        let Self {
            pending, speaks, ..
        } = self;
        let Some(replay) = &pending.replay else {
            return;
        };
        let (wire, number) = (replay.wire.clone(), replay.client);
        let (client, ticket) = (pending.client.clone(), pending.ticket);
        if let Err(lost) = primary.send(common, speaks, number, &wire, pending) {
            Pending::new(client, ticket).lose(lost);
        }
    }
}

/// Commands that wait for the next primary.
#[derive(Default)]
pub(super) struct Demoted {
    held: Vec<Refused>,
}

impl Demoted {
    /// Keeps a command until sentinels have answered. Given back if it is not to wait.
    pub(super) fn hold(&mut self, mut refused: Refused) -> Result<(), Refused> {
        if self.held.len() >= MOST_HELD || !refused.spend() {
            return Err(refused);
        }
        self.held.push(refused);
        Ok(())
    }

    /// All that wait.
    pub(super) fn take(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.held)
    }
}

/// Sends those that may be sent again to the primary, in the order in which they were refused.
pub(super) fn send_again(all: Vec<Refused>, primary: &Shard, common: &Rc<Common>) {
    for refused in all {
        if Refused::may_be_sent_again(&refused.pending) {
            common.stats.on_redirect("readonly");
            refused.send(primary, common);
        } else {
            refused.answer();
        }
    }
}

/// Nobody will be the primary.
pub(super) fn lose(all: Vec<Refused>) {
    for refused in all {
        refused.pending.lose(Lost::Closed);
    }
}
