//! Requests that clients share: who asks for what is being asked for already gets that answer.
//!
//! A client takes part only in a request that was sent after all that it was answered before, while it has nothing else under way,
//! and over the connection that its next commands go over too: so what it reads is never older than what it wrote or read
//! before, nor newer than what it does next. Of what other connections wrote it may miss what was answered to them while the
//! request was under way.
//!
//! Start at [`SharedReads::join`].

use std::cell::{Cell as Value, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::rc::{Rc, Weak};

use foldhash::fast::RandomState;

use super::cell::Cell;
use super::upstream::Over;
use crate::machine::{Destination, Piece, Speaks, Ticket};

/// Clients that wait for one request; whoever comes later asks anew.
const MOST_WAITING: usize = 1024;

/// The requests of one listener on one worker that more clients may take part in.
#[derive(Default)]
pub(super) struct SharedReads {
    /// How many were sent.
    number: Value<u64>,
    /// By a hash of what they ask for. What has the same hash takes the place of the other.
    open: RefCell<HashMap<u64, Weak<SharedRead>, RandomState>>,
    hasher: RandomState,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) to: Destination,
    pub(super) speaks: Speaks,
    /// What is sent over the same connection is carried out in its order.
    pub(super) over: Over,
    pub(super) wire: &'a [u8],
}

/// One request, and who waits for it.
pub(super) struct SharedRead {
    to: Destination,
    speaks: Speaks,
    over: Over,
    wire: Box<[u8]>,
    number: u64,
    /// The answer has begun to come.
    is_begun: Value<bool>,
    waiting: RefCell<Vec<(Rc<Cell>, Ticket)>>,
}

impl SharedReads {
    /// How many requests were sent so far.
    #[inline]
    pub(super) const fn number(&self) -> u64 {
        self.number.get()
    }

    /// Takes part in a request of which more than `answered` had been sent before it. False if there is none, or it is full.
    pub(super) fn join(
        &self,
        asked: Asked<'_>,
        answered: u64,
        client: &Rc<Cell>,
        ticket: Ticket,
    ) -> bool {
        let open = self.open.borrow();
        let found = open.get(&self.hash(asked)).and_then(Weak::upgrade);
        let Some(read) = found.filter(|read| read.is(asked) && read.number > answered) else {
            return false;
        };
        let mut waiting = read.waiting.borrow_mut();
        if read.is_begun.get() || waiting.len() >= MOST_WAITING {
            return false;
        }
        waiting.push((Rc::clone(client), ticket));
        true
    }

    /// A request that is going to be sent for this client, and that nobody else knows of yet.
    pub(super) fn begin(
        &self,
        asked: Asked<'_>,
        client: &Rc<Cell>,
        ticket: Ticket,
    ) -> Rc<SharedRead> {
        let number = self.number.get() + 1;
        self.number.set(number);
        Rc::new(SharedRead {
            to: asked.to,
            speaks: asked.speaks,
            over: asked.over,
            wire: asked.wire.into(),
            number,
            is_begun: Value::new(false),
            waiting: RefCell::new(vec![(Rc::clone(client), ticket)]),
        })
    }

    /// It was sent: others may take part.
    pub(super) fn open(&self, asked: Asked<'_>, read: &Rc<SharedRead>) {
        let mut open = self.open.borrow_mut();
        if open.len() >= 2 * MOST_WAITING {
            // Those that were answered.
            open.retain(|_, read| read.strong_count() > 0);
        }
        open.insert(self.hash(asked), Rc::downgrade(read));
    }

    fn hash(&self, asked: Asked<'_>) -> u64 {
        self.hasher
            .hash_one((asked.to, asked.speaks, asked.over, asked.wire))
    }
}

impl SharedRead {
    fn is(&self, asked: Asked<'_>) -> bool {
        let is_same_way = self.to == asked.to && self.over == asked.over;
        is_same_way && self.speaks == asked.speaks && *self.wire == *asked.wire
    }

    /// A piece of the answer: everybody's.
    pub(super) fn on_piece(&self, ticket: Ticket, piece: Piece<'_>) {
        if ticket == Ticket::Own {
            return;
        }
        self.is_begun.set(true);
        for (client, ticket) in &*self.waiting.borrow() {
            client.on_piece(*ticket, piece);
        }
    }

    /// Sends everybody what there is.
    pub(super) fn flush(&self) {
        for (client, _) in &*self.waiting.borrow() {
            client.flush();
        }
    }
}
