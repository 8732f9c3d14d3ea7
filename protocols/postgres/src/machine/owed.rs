//! The replies that a server still owes, in the order of what was sent to it.
//!
//! This is what keeps two sides in step that never talk to each other: each message that is answered has an entry, and what
//! the server says is for the first of them. What the gateway adds to the conversation has entries too, whose answers
//! stay here. Start at [`Owed`].

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::pins::Pins;
use super::statements::Undo;
use super::touched::Touch;
use crate::sql::{Analysis, Class, Effects, Fingerprint, ParameterValue, Verb};
use crate::sqlstate::SqlState;

/// One statement on its way: what is known of it when it was sent, and what its results add.
#[derive(Debug, Clone)]
pub struct Flight {
    /// When it was sent.
    pub started: Instant,
    /// What kind of statement it is.
    pub verb: Verb,
    /// Whether it can be a read.
    pub class: Class,
    /// Its text without literals.
    pub fingerprint: Fingerprint,
    /// What it does to the session.
    pub effects: Effects,
    /// It gives parameters the values that a session begins with.
    pub resets: bool,
    /// What it does to parameters.
    pub touches: Vec<Touch>,
    /// What no longer ties the client to its server connection when it has succeeded.
    pub frees: Pins,
    /// The number that the filters know it by; 0 for none.
    pub judged: u64,
    /// Rows that were sent, or that it says it touched.
    pub rows: u64,
    /// Bytes of its results.
    pub bytes: u64,
    /// The error that ended it.
    pub error: Option<SqlState>,
    /// It was refused here and is carried to its end for the sake of order only.
    pub refused: bool,
    /// It stopped at the number of rows that the client had asked for, and has more.
    pub suspended: bool,
}

/// A reply that is owed.
#[derive(Debug)]
pub(super) enum Reply {
    /// To a simple query: everything up to ReadyForQuery. With `instead`, what fails is the gateway's own, and the client gets this
    /// error for it.
    Query {
        flight: Box<Flight>,
        instead: Option<Bytes>,
        /// What `DEALLOCATE` of this client's takes away.
        takes: Option<Box<[u8]>>,
    },
    /// ReadyForQuery for a Sync.
    Sync,
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
    /// CloseComplete. `unasked` as above.
    Close { unasked: bool },
    /// The rows and end of an Execute.
    Execute(Box<Flight>),
    /// Not the server's: these bytes, when all before it is answered.
    Local { bytes: &'static [u8], undo: Undo },
    /// An error of the gateway's making, for which the client gets this one.
    Refused(Bytes),
    /// The client has ended its COPY data. Nothing is owed for it.
    CopyEnd,
}

impl Reply {
    /// Whether ReadyForQuery belongs to it.
    const fn ends_with_ready(&self) -> bool {
        matches!(
            self,
            Self::Query { .. } | Self::Sync | Self::UnaskedSync | Self::Function
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
}

/// The replies that are owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    queue: VecDeque<Reply>,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, reply: Reply) {
        self.queue.push_back(reply);
    }

    pub(super) fn front(&self) -> Option<&Reply> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) -> Option<Reply> {
        self.queue.pop_front()
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
                    self.queue.pop_front();
                    return Some(bytes);
                }
                Reply::CopyEnd => {
                    self.queue.pop_front();
                }
                _ => return None,
            }
        }
    }

    /// After an error in the extended protocol a server reads on to the next Sync ("Extended Query"): takes off what it will
    /// not carry out, newest first, for the changes to be taken back in that order. Flights among them go to `done`.
    pub(super) fn skip(&mut self, error: Option<SqlState>, done: &mut Vec<Flight>) -> Vec<Undone> {
        let end = self.queue.iter().position(Reply::ends_with_ready);
        let end = end.unwrap_or(self.queue.len());
        let mut undone: Vec<Undone> = self
            .queue
            .drain(..end)
            .filter_map(|reply| skipped(reply, error, done))
            .collect();
        undone.reverse();
        undone
    }

    /// ReadyForQuery has come: takes off the reply that it ends. What stands before it was skipped.
    pub(super) fn pop_ready(&mut self) -> Option<Reply> {
        let position = self.queue.iter().position(Reply::ends_with_ready)?;
        debug_assert_eq!(position, 0, "skipped replies are taken off with the error");
        self.queue.drain(..position);
        self.queue.pop_front()
    }

    /// A server that waits for COPY data ignores Sync ("COPY Operations"): those that were sent before the data's end are not
    /// answered. `false` if the end was not sent yet.
    pub(super) fn forget_syncs_in_copy(&mut self) -> bool {
        let mut ended = false;
        let mut index = 0;
        self.queue.retain(|reply| {
            index += 1;
            if matches!(reply, Reply::CopyEnd) {
                ended = true;
            }
            index == 1 || ended || !matches!(reply, Reply::Sync)
        });
        ended
    }

    /// Everything that will not be answered any more, oldest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Reply> {
        self.queue.drain(..)
    }

    /// Gives back the memory of a long pipeline.
    pub(super) fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 8 {
            self.queue = VecDeque::new();
        }
    }
}

fn skipped(reply: Reply, error: Option<SqlState>, done: &mut Vec<Flight>) -> Option<Undone> {
    match reply {
        Reply::Parse {
            statement, undo, ..
        } => Some(Undone {
            undo,
            statement: Some(statement),
        }),
        Reply::Local { undo, .. } => Some(Undone {
            undo,
            statement: None,
        }),
        Reply::Execute(mut flight) => {
            flight.error = flight.error.or(error);
            done.push(*flight);
            None
        }
        _ => None,
    }
}

impl Flight {
    /// A text that is sent.
    pub(super) fn new(analysis: &Analysis, now: Instant) -> Self {
        let effects = analysis.effects();
        Self {
            started: now,
            verb: analysis
                .statements
                .first()
                .map_or(Verb::Other, |first| first.verb),
            class: class_of(analysis),
            fingerprint: analysis.fingerprint,
            effects,
            resets: resets(analysis, effects),
            touches: Vec::new(),
            frees: Pins::freed_by(analysis),
            judged: 0,
            rows: 0,
            bytes: 0,
            error: None,
            refused: false,
            suspended: false,
        }
    }

    /// Whether it may leave something behind in the server's session, as far as can be told.
    pub(super) fn leaves_traces(&self) -> bool {
        !self.effects.is_empty() || self.class == Class::Unknown
    }
}

/// The class of a whole text.
pub(super) fn class_of(analysis: &Analysis) -> Class {
    if !analysis.complete {
        Class::Unknown
    } else if analysis.is_read() || analysis.statements.is_empty() {
        Class::Read
    } else {
        Class::Write
    }
}

/// Whether a text gives any parameter back the value that a server's session begins with.
fn resets(analysis: &Analysis, effects: Effects) -> bool {
    if effects.intersects(Effects::RESET.union(Effects::DISCARD_ALL)) {
        return true;
    }
    effects.intersects(Effects::SET_SESSION)
        && analysis.statements.iter().any(|statement| {
            let parameter = statement.parameter.as_ref();
            parameter.is_some_and(|parameter| parameter.value == ParameterValue::Default)
        })
}
