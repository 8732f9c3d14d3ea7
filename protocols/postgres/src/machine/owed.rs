//! The replies that a server still owes, in the order of what was sent to it.
//!
//! This is what keeps two sides in step that never talk to each other: each message that is answered has an entry, and what
//! the server says is for the first of them. What the gateway adds to the conversation has entries too, whose answers
//! stay here. Start at [`Owed`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::flight::Flight;
use super::statements::{Prepared, Undo};
use crate::sqlstate::SqlState;

/// A reply that is owed.
#[derive(Debug)]
pub(super) enum Reply {
    /// To a simple query: everything up to ReadyForQuery. With `instead`, what fails is the gateway's own, and the client gets this
    /// error for it.
    Query {
        flight: Box<Flight>,
        instead: Option<Bytes>,
        /// What `DEALLOCATE` of this client's takes away.
        takes: Option<Box<Taken>>,
        undo: Undo,
    },
    /// ReadyForQuery for a Sync.
    Sync,
    /// ReadyForQuery or nothing, for a Sync that was sent while the server may have read COPY data ("COPY Operations").
    StraySync,
    /// ReadyForQuery for a Sync of ours, of which the client knows nothing.
    UnaskedSync,
    /// To a FunctionCall: up to ReadyForQuery.
    Function,
    /// ParseComplete. `unasked`: the client knows nothing of it.
    Parse {
        statement: u64,
        unasked: bool,
        undo: Undo,
    },
    /// BindComplete.
    Bind,
    /// What a Describe is answered with.
    Describe,
    /// CloseComplete. `unasked` as above, with the statement that had to go for another.
    Close {
        unasked: bool,
        evicted: Option<Arc<Prepared>>,
        undo: Undo,
    },
    /// The rows and end of an Execute.
    Execute(Box<Flight>),
    /// Not the server's: these bytes, when all before it is answered.
    Local { bytes: &'static [u8], undo: Undo },
    /// An error of the gateway's making, for which the client gets this one.
    Refused(Bytes),
    /// The client has ended its COPY data. Nothing is owed for it.
    CopyEnd,
    /// Nothing any more.
    Nothing,
}

/// Statements that have come to their end: mostly one at a time.
pub(super) type Done = SmallVec<[Box<Flight>; 2]>;

/// A client's name for a statement, and the statement.
pub(super) type Taken = (Box<[u8]>, Arc<Prepared>);

impl Reply {
    /// A CloseComplete that the client waits for.
    pub(super) const fn close(undo: Undo) -> Self {
        Self::Close {
            unasked: false,
            evicted: None,
            undo,
        }
    }

    /// A CloseComplete of which the client knows nothing.
    pub(super) const fn unasked_close(evicted: Option<Arc<Prepared>>) -> Self {
        Self::Close {
            unasked: true,
            evicted,
            undo: Undo::Nothing,
        }
    }

    /// Whether a server that skips messages after an error stops skipping with it.
    const fn ends_skipping(&self) -> bool {
        matches!(self, Self::Sync | Self::StraySync | Self::UnaskedSync)
    }

    /// Whether the client waits for ReadyForQuery with it.
    pub(super) const fn is_ready_owed(&self) -> bool {
        matches!(self, Self::Query { .. } | Self::Sync | Self::Function)
    }

    /// Whether the client waits for it at all.
    pub(super) const fn is_clients(&self) -> bool {
        !matches!(
            self,
            Self::UnaskedSync
                | Self::StraySync
                | Self::CopyEnd
                | Self::Nothing
                | Self::Parse { unasked: true, .. }
                | Self::Close { unasked: true, .. }
        )
    }
}

/// What a message that was not carried out leaves to be put right.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// The client's name.
    pub(super) undo: Undo,
    /// The statement that the server connection does not know.
    pub(super) statement: Option<u64>,
    /// The statement that it still knows.
    pub(super) evicted: Option<Arc<Prepared>>,
}

/// The replies that are owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    queue: VecDeque<Reply>,
    /// How many there ever were.
    pushed: u64,
    /// How many of them have been taken off the front.
    answered: u64,
    /// The number of the last Sync.
    last_sync: u64,
    /// The number of the last that changes what a name stands for, here or there.
    last_named: u64,
    /// The same for the unnamed statement.
    last_unnamed: u64,
    /// The number of the last that may have the server read COPY data.
    last_copy: u64,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The answer is the reply's number.
    pub(super) fn push(&mut self, reply: Reply) -> u64 {
        self.pushed += 1;
        if reply.ends_skipping() {
            self.last_sync = self.pushed;
        }
        if let Reply::Query { flight, .. } | Reply::Execute(flight) = &reply
            && flight.may_copy()
        {
            self.last_copy = self.pushed;
        }
        self.queue.push_back(reply);
        self.pushed
    }

    /// As [`push`](Self::push) for what changes what the unnamed statement or a name stands for.
    pub(super) fn push_change(&mut self, reply: Reply, is_unnamed: bool) -> u64 {
        let number = self.push(reply);
        if is_unnamed {
            self.last_unnamed = number;
        } else {
            self.last_named = number;
        }
        number
    }

    /// Whether it cannot be told what a name stands for: the last change is not answered and belongs to a segment that was ended, so
    /// it may be read over, and what follows not.
    pub(super) fn is_in_doubt(&self, is_unnamed: bool) -> bool {
        let number = if is_unnamed {
            self.last_unnamed
        } else {
            self.last_named
        };
        self.is_owed(number) && number < self.last_sync
    }

    /// Whether the server has to see what is sent next, even if nothing is to be done for it: it may be reading COPY data, where most
    /// messages are a fault, or it cannot be told how many Syncs it answers before it comes to that.
    pub(super) fn needs_server(&self) -> bool {
        let mut replies = self.queue.iter();
        self.is_owed(self.last_copy) || replies.any(|reply| matches!(reply, Reply::StraySync))
    }

    /// Whether the reply of this number has not come.
    pub(super) fn is_owed(&self, number: u64) -> bool {
        number > self.answered
    }

    /// Whether anything is being carried out.
    pub(super) fn has_flights(&self) -> bool {
        let mut replies = self.queue.iter();
        replies.any(|reply| {
            matches!(
                reply,
                Reply::Query { .. } | Reply::Execute(_) | Reply::Function
            )
        })
    }

    /// Whether a Sync is on its way.
    pub(super) fn has_sync(&self) -> bool {
        self.queue.iter().any(Reply::ends_skipping)
    }

    /// Whether the last that was sent is the end of a COPY during which there were Syncs.
    pub(super) fn ends_in_copy(&self) -> bool {
        let mut last = self.queue.iter().rev();
        let last = last.find(|reply| !matches!(reply, Reply::CopyEnd | Reply::Nothing));
        matches!(last, Some(Reply::StraySync))
    }

    /// Whether there is something, and it may be that nothing comes for all of it.
    pub(super) fn is_all_passed(&self) -> bool {
        !self.queue.is_empty() && self.queue.iter().all(is_passed)
    }

    /// Whether the last answer will not be held back.
    pub(super) fn is_flushed(&self) -> bool {
        self.queue.back().is_some_and(Reply::is_ready_owed)
    }

    pub(super) fn front(&self) -> Option<&Reply> {
        self.queue.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Reply> {
        self.queue.front_mut()
    }

    pub(super) fn pop(&mut self) -> Option<Reply> {
        let reply = self.queue.pop_front()?;
        self.answered += 1;
        Some(reply)
    }

    /// As [`pop`](Self::pop), of what nobody needs any more.
    pub(super) fn drop_front(&mut self) {
        if self.queue.pop_front().is_some() {
            self.answered += 1;
        }
    }

    /// The statement whose results come now.
    pub(super) fn flight(&mut self) -> Option<&mut Flight> {
        match self.queue.front_mut()? {
            Reply::Query { flight, .. } | Reply::Execute(flight) => Some(flight),
            _ => None,
        }
    }

    /// The first statement that is owed, which is what the server is at: what it has said of Parse and Bind it keeps back until
    /// there is a result.
    pub(super) fn first_flight(&self) -> Option<&Flight> {
        self.queue.iter().find_map(|reply| match reply {
            Reply::Query { flight, .. } | Reply::Execute(flight) => Some(&**flight),
            _ => None,
        })
    }

    /// Takes off the next reply that is the gateway's own, if it is its turn.
    pub(super) fn pop_local(&mut self) -> Option<&'static [u8]> {
        loop {
            match self.queue.front()? {
                Reply::Local { bytes, .. } => {
                    let bytes = *bytes;
                    self.pop();
                    return Some(bytes);
                }
                Reply::CopyEnd | Reply::Nothing => drop(self.pop()),
                _ => return None,
            }
        }
    }

    /// After an error in the extended protocol a server reads on to the next Sync ("Extended Query"): takes off what it will
    /// not carry out, newest first, for the changes to be taken back in that order. Flights among them go to `done`.
    pub(super) fn skip(&mut self, error: Option<SqlState>, done: &mut Done) -> Vec<Undone> {
        let end = self.queue.iter().position(Reply::ends_skipping);
        let end = end.unwrap_or(self.queue.len());
        self.answered += end as u64;
        let mut undone: Vec<Undone> = self
            .queue
            .drain(..end)
            .filter_map(|reply| skipped(reply, error, done))
            .collect();
        undone.reverse();
        undone
    }

    /// ReadyForQuery has come: takes off the reply that it ends. `None` if it ends none.
    pub(super) fn pop_ready(&mut self) -> Option<Reply> {
        match self.queue.front()? {
            Reply::Query { flight, .. } if flight.ended => {}
            Reply::Sync | Reply::UnaskedSync | Reply::Function => {}
            Reply::StraySync => self.doubt_next_sync(),
            _ => return None,
        }
        self.pop()
    }

    /// The ReadyForQuery that has come for a stray Sync may be that of the next real one.
    fn doubt_next_sync(&mut self) {
        let mut replies = self.queue.iter_mut();
        let next = replies.find(|reply| !is_passed(reply));
        if let Some(next) = next
            && matches!(next, Reply::Sync)
        {
            *next = Reply::StraySync;
        }
    }

    /// Something has come: takes off what nothing comes for, and if it is not ReadyForQuery the Syncs that are not answered then.
    pub(super) fn pass(&mut self, is_ready: bool) {
        while let Some(reply) = self.queue.front()
            && is_passed(reply)
            && !(is_ready && matches!(reply, Reply::StraySync))
        {
            self.pop();
        }
    }

    /// A server that waits for COPY data ignores Sync ("COPY Operations"), but it may stop waiting before it comes to those that
    /// were sent before the data's end. `false` if the end was not sent yet.
    pub(super) fn begin_copy(&mut self) -> bool {
        for reply in self.queue.iter_mut().skip(1) {
            match reply {
                Reply::Sync => *reply = Reply::StraySync,
                Reply::StraySync | Reply::Nothing => {}
                Reply::CopyEnd => return true,
                _ => return false,
            }
        }
        false
    }

    /// COPY has come to its end. Done, the server has ignored every Sync before the data's end; if not, nobody knows which.
    pub(super) fn end_copy(&mut self, is_done: bool) {
        for reply in self.queue.iter_mut().skip(1) {
            match reply {
                Reply::StraySync if is_done => *reply = Reply::Nothing,
                Reply::StraySync | Reply::Nothing => {}
                Reply::CopyEnd => {
                    // As it is, it would be taken for the end of the next.
                    *reply = Reply::Nothing;
                    return;
                }
                _ => return,
            }
        }
    }

    /// Everything that will not be answered any more, oldest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Reply> {
        self.answered = self.pushed;
        self.queue.drain(..)
    }

    /// Gives back the memory of a long pipeline.
    pub(super) fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 8 {
            self.queue = VecDeque::new();
        }
    }

    /// Takes room that another has used, if there is none.
    #[inline]
    pub(super) fn take_room(&mut self, rooms: &Rooms) {
        if self.queue.capacity() == 0 {
            self.queue = rooms.0.borrow_mut().pop().unwrap_or_default();
        }
    }

    /// Leaves its room to others.
    pub(super) fn leave_room(&mut self, rooms: &Rooms) {
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            let room = mem::take(&mut self.queue);
            let mut rooms = rooms.0.borrow_mut();
            if rooms.len() < ROOMS && room.capacity() <= 8 {
                rooms.push(room);
            }
        }
    }
}

/// How many are kept: as many clients as are at work at once, mostly.
const ROOMS: usize = 256;

/// Room for replies that conversations of one worker use in turn, so that those at rest have none.
#[derive(Debug, Default)]
pub struct Rooms(RefCell<Vec<VecDeque<Reply>>>);

/// Whether it may be that nothing comes for it.
const fn is_passed(reply: &Reply) -> bool {
    matches!(reply, Reply::StraySync | Reply::CopyEnd | Reply::Nothing)
}

/// A reply that will not come: what has to be put right for it. A flight goes to `done`.
pub(super) fn skipped(reply: Reply, error: Option<SqlState>, done: &mut Done) -> Option<Undone> {
    match reply {
        Reply::Parse {
            statement, undo, ..
        } => Some(Undone {
            undo,
            statement: Some(statement),
            evicted: None,
        }),
        Reply::Close { undo, evicted, .. } => Some(Undone {
            undo,
            statement: None,
            evicted,
        }),
        Reply::Local { undo, .. } => Some(Undone {
            undo,
            ..Undone::default()
        }),
        Reply::Execute(mut flight) => {
            flight.error = flight.error.or(error);
            done.push(flight);
            None
        }
        Reply::Query {
            mut flight, undo, ..
        } => {
            flight.error = flight.error.or(error);
            done.push(flight);
            Some(Undone {
                undo,
                ..Undone::default()
            })
        }
        _ => None,
    }
}
