//! Those who wait, first come first served, and those who have an answer that they have not fetched yet.
//!
//! It knows places and order; who gets what is decided in the book. Start at [`Queue`].

use std::time::Instant;

use super::idle::Entry;
use super::lease::{OpenTicket, Patience};
use super::reason::Refusal;

/// A place in a pool's queue. A ticket that was used up or cancelled names nothing any more, and never somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    index: u32,
    /// Counts askers, so that it is the order in which they came, too.
    serial: u64,
}

impl Ticket {
    /// Who came before has the lower number.
    pub fn serial(self) -> u64 {
        self.serial
    }
}

/// What one who asked has or waits for.
#[derive(Debug)]
pub(super) enum State {
    /// In the queue.
    Waiting(Open),
    /// A connection is set aside for it.
    Served(Entry),
    /// It has waited in vain.
    Refused(Refusal),
}

/// Whether the waiter is to open a connection.
#[derive(Debug)]
pub(super) enum Open {
    /// No.
    No,
    /// It may, and has not been there to hear it.
    Offered(OpenTicket),
    /// It is about it.
    Running,
}

#[derive(Debug)]
struct Slot<W> {
    serial: u64,
    since: Instant,
    patience: Patience,
    waker: Option<W>,
    /// `None`: the slot is free.
    state: Option<State>,
    previous: Option<u32>,
    next: Option<u32>,
}

/// See the module. Slots are used again, so that there is no allocation once it has been as long as it gets.
#[derive(Debug)]
pub(super) struct Queue<W> {
    slots: Vec<Slot<W>>,
    free: Vec<u32>,
    head: Option<u32>,
    tail: Option<u32>,
    waiting: usize,
    next_serial: u64,
}

impl<W> Queue<W> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            head: None,
            tail: None,
            waiting: 0,
            next_serial: 0,
        }
    }

    /// How many wait; those who have an answer do not.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Takes a place at the end.
    pub(super) fn push(&mut self, now: Instant, patience: Patience) -> Ticket {
        let serial = self.next_serial;
        self.next_serial += 1;
        let slot = Slot {
            serial,
            since: now,
            patience,
            waker: None,
            state: Some(State::Waiting(Open::No)),
            previous: self.tail,
            next: None,
        };
        let index = if let Some(index) = self.free.pop() {
            if let Some(old) = self.slot_mut(index) {
                *old = slot;
            }
            index
        } else {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        };
        match self.tail.and_then(|tail| self.slots.get_mut(tail as usize)) {
            Some(last) => last.next = Some(index),
            None => self.head = Some(index),
        }
        self.tail = Some(index);
        self.waiting += 1;
        Ticket { index, serial }
    }

    /// Who is first, and since when it waits.
    pub(super) fn first(&self) -> Option<(Ticket, Instant)> {
        self.described(self.head?)
    }

    /// The first for whom nothing is being opened. It is near: as many stand before it as connections are being opened.
    pub(super) fn first_unopened(&self) -> Option<(Ticket, Instant)> {
        let mut at = self.head;
        while let Some(index) = at {
            let slot = self.slot(index)?;
            if matches!(slot.state, Some(State::Waiting(Open::No))) {
                return self.described(index);
            }
            at = slot.next;
        }
        None
    }

    /// The first of those who would rather leave.
    pub(super) fn first_leaving(&self) -> Option<Ticket> {
        let mut at = self.head;
        while let Some(index) = at {
            let slot = self.slot(index)?;
            if slot.patience == Patience::Leaves {
                return self.described(index).map(|(ticket, _)| ticket);
            }
            at = slot.next;
        }
        None
    }

    /// Tells a waiter that it may open a connection. Gives the waker back that is to be woken.
    pub(super) fn offer(&mut self, ticket: Ticket, open: OpenTicket) -> Option<W> {
        let slot = self.named_mut(ticket)?;
        debug_assert!(matches!(slot.state, Some(State::Waiting(Open::No))));
        slot.state = Some(State::Waiting(Open::Offered(open)));
        slot.waker.take()
    }

    /// Takes away an offer that was not fetched yet.
    pub(super) fn withdraw(&mut self) -> Option<OpenTicket> {
        let mut at = self.head;
        while let Some(index) = at {
            let slot = self.slot_mut(index)?;
            at = slot.next;
            if let Some(State::Waiting(open)) = &mut slot.state {
                match std::mem::replace(open, Open::No) {
                    Open::Offered(ticket) => return Some(ticket),
                    other => *open = other,
                }
            }
        }
        None
    }

    /// The waiter's opening is over, one way or the other.
    pub(super) fn opening_over(&mut self, ticket: Ticket) {
        if let Some(State::Waiting(open)) =
            self.named_mut(ticket).and_then(|slot| slot.state.as_mut())
        {
            *open = Open::No;
        }
    }

    /// Takes a waiter out of the order and leaves it an answer. Gives back how it stood and the waker that is to be woken.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: State) -> Option<(Open, Option<W>)> {
        let slot = self.named_mut(ticket)?;
        let Some(State::Waiting(open)) = slot.state.replace(answer) else {
            debug_assert!(false, "only who waits is answered");
            return None;
        };
        let waker = slot.waker.take();
        self.unlink(ticket.index);
        Some((open, waker))
    }

    /// What the ticket's owner can fetch: an answer (its place is then free) or, while it goes on waiting, an offer.
    pub(super) fn fetch(&mut self, ticket: Ticket) -> Fetched {
        let Some(slot) = self.named_mut(ticket) else {
            return Fetched::Unknown;
        };
        match slot.state.take() {
            Some(State::Waiting(Open::Offered(open))) => {
                slot.state = Some(State::Waiting(Open::Running));
                Fetched::Open(open)
            }
            Some(State::Waiting(open)) => {
                slot.state = Some(State::Waiting(open));
                Fetched::Nothing
            }
            Some(State::Served(entry)) => {
                self.free.push(ticket.index);
                Fetched::Served(entry)
            }
            Some(State::Refused(refusal)) => {
                self.free.push(ticket.index);
                Fetched::Refused(refusal)
            }
            None => Fetched::Unknown,
        }
    }

    /// Takes the ticket's owner out, however it stands.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<(State, Option<W>)> {
        let slot = self.named_mut(ticket)?;
        let state = slot.state.take()?;
        let waker = slot.waker.take();
        if matches!(state, State::Waiting(_)) {
            self.unlink(ticket.index);
        }
        self.free.push(ticket.index);
        Some((state, waker))
    }

    /// Since when the ticket's owner waits, if it does.
    pub(super) fn waits_since(&self, ticket: Ticket) -> Option<Instant> {
        let slot = self.slot(ticket.index)?;
        let waits = slot.serial == ticket.serial && matches!(slot.state, Some(State::Waiting(_)));
        waits.then_some(slot.since)
    }

    /// Where the handle is kept that is handed out when there is something to fetch.
    pub(super) fn waker_mut(&mut self, ticket: Ticket) -> Option<&mut Option<W>> {
        Some(&mut self.named_mut(ticket)?.waker)
    }

    /// As [`waker_mut`](Self::waker_mut), of one for whom there is nothing to fetch.
    pub(super) fn idle_waker_mut(&mut self, ticket: Ticket) -> Option<&mut Option<W>> {
        let slot = self.named_mut(ticket)?;
        let is_idle = matches!(slot.state, Some(State::Waiting(Open::No | Open::Running)));
        is_idle.then_some(&mut slot.waker)
    }

    fn slot(&self, index: u32) -> Option<&Slot<W>> {
        self.slots.get(index as usize)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<W>> {
        self.slots.get_mut(index as usize)
    }

    fn named_mut(&mut self, ticket: Ticket) -> Option<&mut Slot<W>> {
        self.slot_mut(ticket.index)
            .filter(|slot| slot.serial == ticket.serial && slot.state.is_some())
    }

    fn described(&self, index: u32) -> Option<(Ticket, Instant)> {
        let slot = self.slot(index)?;
        let serial = slot.serial;
        Some((Ticket { index, serial }, slot.since))
    }

    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slot_mut(index) else {
            return;
        };
        let (previous, next) = (slot.previous.take(), slot.next.take());
        match previous.and_then(|previous| self.slots.get_mut(previous as usize)) {
            Some(slot) => slot.next = next,
            None => self.head = next,
        }
        match next.and_then(|next| self.slots.get_mut(next as usize)) {
            Some(slot) => slot.previous = previous,
            None => self.tail = previous,
        }
        self.waiting -= 1;
    }

    /// Walks everything: (offers not fetched, connections set aside). Panics where order or count do not hold.
    #[cfg(debug_assertions)]
    pub(super) fn check(&self) -> (usize, usize) {
        let mut at = self.head;
        let mut before: Option<(u32, u64, Instant)> = None;
        let mut count = 0;
        while let Some(index) = at {
            let Some(slot) = self.slot(index) else {
                panic!("a link leads nowhere");
            };
            assert_eq!(
                slot.previous,
                before.map(|(index, ..)| index),
                "links agree both ways"
            );
            assert!(
                matches!(slot.state, Some(State::Waiting(_))),
                "who is in the queue waits"
            );
            if let Some((_, serial, since)) = before {
                assert!(
                    slot.serial > serial && slot.since >= since,
                    "first come first served"
                );
            }
            before = Some((index, slot.serial, slot.since));
            count += 1;
            at = slot.next;
        }
        assert_eq!(
            self.tail,
            before.map(|(index, ..)| index),
            "the tail is the last"
        );
        assert_eq!(count, self.waiting, "the count is right");
        let used = self
            .slots
            .iter()
            .filter(|slot| slot.state.is_some())
            .count();
        assert_eq!(used + self.free.len(), self.slots.len(), "no place is lost");
        let having = |wanted: fn(&State) -> bool| {
            self.slots
                .iter()
                .filter_map(|slot| slot.state.as_ref())
                .filter(|state| wanted(state))
                .count()
        };
        (
            having(|state| matches!(state, State::Waiting(Open::Offered(_)))),
            having(|state| matches!(state, State::Served(_))),
        )
    }
}

/// What [`Queue::fetch`] found.
#[derive(Debug)]
pub(super) enum Fetched {
    Nothing,
    Open(OpenTicket),
    Served(Entry),
    Refused(Refusal),
    /// Nobody has this ticket any more.
    Unknown,
}
