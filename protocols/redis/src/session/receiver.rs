//! Who gets a reply: a client, several that asked for the same, or nobody but a counter.
//!
//! Start at [`Receiver`].

use std::rc::Rc;

use super::cell::Cell;
use super::mirror::Copied;
use super::shared::SharedRead;
use super::tally::Tally;
use crate::machine::{Piece, RunReply, Ticket};

/// Who gets a reply.
#[derive(Clone)]
pub(super) enum Receiver {
    Client(Rc<Cell>),
    /// All that share the request; each has a ticket of its own.
    Shared(Rc<SharedRead>),
    /// It is only counted.
    Copied(Rc<Copied>),
}

impl Receiver {
    /// A piece of the reply.
    #[inline]
    pub(super) fn on_piece(&self, ticket: Ticket, piece: Piece<'_>) {
        match self {
            Self::Client(client) => client.on_piece(ticket, piece),
            Self::Shared(read) => read.on_piece(ticket, piece),
            Self::Copied(copied) => copied.on_piece(ticket, piece),
        }
    }

    /// Replies to a run of commands, of which the first has this ticket. Runs are clients'.
    #[inline]
    pub(super) fn on_run(
        &self,
        ticket: Ticket,
        replies: &[RunReply],
        bytes: &[u8],
        tally: &mut Tally,
    ) {
        if let (Self::Client(client), Ticket::Slot { slot, .. }) = (self, ticket) {
            client.on_run(slot, replies, bytes, tally);
        }
    }

    /// Sends what there is to send to clients.
    #[inline]
    pub(super) fn flush(&self) {
        match self {
            Self::Client(client) => client.flush(),
            Self::Shared(read) => read.flush(),
            Self::Copied(_) => {}
        }
    }

    /// Whether both are the same one.
    #[inline]
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Client(one), Self::Client(other)) => Rc::ptr_eq(one, other),
            (Self::Shared(one), Self::Shared(other)) => Rc::ptr_eq(one, other),
            (Self::Copied(one), Self::Copied(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }
}
