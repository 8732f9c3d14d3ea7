//! Runs of plain commands: taken off the buffer and sent on in one.
//!
//! Only where there is nothing to decide but which shard has the key (see [`crate::machine`]'s `run`); everything else, and
//! whatever these commands may have to wait for, is the parent's. Start at [`Session::next_frame`].

use std::rc::Rc;
use std::time::Instant;

use portcullis_net::clock;

use super::Session;
use crate::command::{CommandId, arity};
use crate::error::RequestError;
use crate::machine::{Client, Lost, Piece, SlotId, Speaks, Ticket};
use crate::request::{CommandFrame, CommandRef};
use crate::session::cell::{Cell, Flight, State};
use crate::session::pending::Pending;
use crate::session::spare;
use crate::session::upstream::Upstream;
use crate::session::written::Written;

/// Commands at the front of the buffer that go to one shard.
struct Run {
    shard: u16,
    first: SlotId,
    count: u32,
    /// Where they begin.
    start: usize,
    /// One of them may write.
    is_write: bool,
}

/// The plain command that was said last: what is written as that was is the same, until something else is said, and need not be
/// looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// As it was written.
    name: Spelling,
    id: CommandId,
    /// The index of its key.
    key: u8,
}

/// A name of up to eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spelling {
    bytes: u64,
    len: u8,
}

impl Spelling {
    /// The name of a command, where there are eight bytes from where it begins.
    #[inline]
    fn of(command: CommandRef<'_>) -> Option<Self> {
        let span = *command.spans().first()?;
        let len = span.end - span.start;
        if len == 0 || len > 8 {
            return None;
        }
        let bytes = command.wire().get(span.start as usize..)?;
        let bytes = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
        Some(Self {
            bytes: bytes & (u64::MAX >> (64 - 8 * len)),
            len: len as u8,
        })
    }
}

/// Where the runs of a client go.
struct Road<'a> {
    cell: &'a Rc<Cell>,
    upstream: &'a Upstream,
    speaks: Speaks,
    client: u64,
}

impl Session {
    /// What is in front and is no plain command; those before it are on their way.
    #[inline]
    pub(super) fn next_frame(&mut self) -> Result<Option<CommandFrame>, RequestError> {
        match self.cell.server.plain_lead() {
            Some(upstream) if self.cell.state.borrow().machine.is_plain() => {
                let found = self.run(&upstream);
                if !matches!(found, Ok(None)) {
                    // It may change who the client is.
                    self.known = None;
                }
                found
            }
            _ => self.scanner.next(&self.input),
        }
    }

    fn run(&mut self, upstream: &Upstream) -> Result<Option<CommandFrame>, RequestError> {
        let (cell, written) = (&self.cell, self.pins.written());
        let mut state = cell.state.borrow_mut();
        let started = clock::now();
        if state.machine.is_settled() {
            self.busy_since = started;
        }
        let road = Road {
            cell,
            upstream,
            speaks: state.machine.speaks(),
            client: self.connection.id,
        };
        let mut room = cell.server.most_owed().saturating_sub(state.machine.owed());
        let mut run: Option<Run> = None;
        let mut taken = 0;
        let found = loop {
            let rest = self.input.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(None);
            }
            let frame = self.scanner.next(rest);
            let Ok(Some(CommandFrame::Whole { len })) = frame else {
                break frame;
            };
            let command = self.scanner.command(rest.get(..len).unwrap_or_default());
            let place = road.place(&mut self.known, &state.machine, command);
            let Some((id, shard)) = place.filter(|_| room > 0) else {
                break frame;
            };
            room -= 1;
            let slot = state.machine.expect(road.flight(id, command, len, started));
            match &mut run {
                Some(run) if run.shard == shard => {
                    run.count += 1;
                    run.is_write |= id.may_write();
                }
                other => {
                    let wires = self.input.get(..taken).unwrap_or_default();
                    let next = Run {
                        shard,
                        first: slot,
                        count: 1,
                        start: taken,
                        is_write: id.may_write(),
                    };
                    road.send(&mut state, other.replace(next), wires, written);
                }
            }
            taken += len;
        };
        let wires = self.input.get(..taken).unwrap_or_default();
        road.send(&mut state, run, wires, written);
        drop(state);
        spare::advance(&mut self.input, taken);
        found
    }
}

impl Road<'_> {
    /// What a command is and where it goes, if it is a plain one that the client may call.
    #[inline]
    fn place(
        &self,
        known: &mut Option<Known>,
        machine: &Client<Flight>,
        command: CommandRef<'_>,
    ) -> Option<(CommandId, u16)> {
        let name = Spelling::of(command);
        let (id, key) = match known {
            Some(known) if Some(known.name) == name && arity::fits(known.id, command.len()) => {
                (known.id, known.key)
            }
            _ => {
                let id = machine.admit(&command).ok()?;
                let key = id.plain_key()?;
                *known = name
                    // Of a subcommand the name is not all that says which it is.
                    .filter(|_| !id.is_subcommand() && machine.admits_all(id))
                    .map(|name| Known { name, id, key });
                (id, key)
            }
        };
        let key = command.argument(usize::from(key))?;
        Some((id, self.upstream.plain_shard(key)?))
    }

    #[inline]
    fn flight(
        &self,
        id: CommandId,
        command: CommandRef<'_>,
        len: usize,
        started: Instant,
    ) -> Flight {
        let mut flight = Flight::new(Some(id), len, started);
        let sampled = self.cell.server.keys.sample(id, &command, len);
        flight.keep(sampled, None);
        flight
    }

    /// Sends a run that ends where `wires` end.
    #[inline]
    fn send(&self, state: &mut State, run: Option<Run>, wires: &[u8], written: &mut Written) {
        let Some(run) = run else {
            return;
        };
        let pending = Pending::of_run(Rc::clone(self.cell), run.first, run.count);
        let wire = wires.get(run.start..).unwrap_or_default();
        let sent = self
            .upstream
            .send_plain(run.shard, self.speaks, self.client, wire, pending);
        match sent {
            Err(lost) => self.lose(state, &run, lost),
            Ok(shard) if run.is_write => written.note(shard, || {
                self.upstream.shared_link(shard, self.speaks, self.client)
            }),
            Ok(_) => {}
        }
    }

    /// A run could not be sent: its commands are answered so.
    #[cold]
    fn lose(&self, state: &mut State, run: &Run, lost: Lost) {
        for number in 0..run.count {
            let slot = run.first.plus(number);
            let ticket = Ticket::Slot { slot, part: 0 };
            state.machine.on_piece(ticket, Piece::Lost(lost));
        }
        self.cell.count(state);
    }
}
