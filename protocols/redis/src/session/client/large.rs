//! Commands that are too large to be held: the front is looked at, the rest goes over a connection of the client's own.
//!
//! Start at [`Session::begin`].

use std::rc::Rc;

use portcullis_net::clock;

use super::{Rest, STREAMED, Session, Taken, asking};
use crate::chain::Large;
use crate::command::CommandId;
use crate::machine::{Call, Flow, Front, PinId};
use crate::session::cell::{Came, Flight, Kept, Need};
use crate::session::reach::act;

impl Session {
    /// A command begins that is too large to be held.
    pub(super) async fn begin(&mut self, len: usize, large: Large) -> Result<Flow, &'static str> {
        let declared = large.declared;
        self.rest = Rest::Dropped;
        let wire = self.input.get(..len).unwrap_or_default();
        let command = self.scanner.command(wire);
        let front = Front {
            command,
            declared: declared as usize,
        };
        let admitted = self.cell.state.borrow().machine.admit(&front);
        let foreign = match &admitted {
            Ok(_) => None,
            Err(_) => self.foreign_name(command),
        };
        let id = match admitted {
            Ok(id) => id,
            Err(_) if let Some(name) = foreign => {
                let taken = Taken::Front(len);
                match self.foreign(&name, &taken, Some(declared)).await? {
                    Some((id, _)) => id,
                    None => return Ok(Flow::Next),
                }
            }
            Err((refusal, text)) => {
                let id = CommandId::resolve(&command).ok();
                self.not_admitted(id, front.declared, len, refusal, &text);
                return Ok(Flow::Next);
            }
        };
        let mut held = None;
        if self.cell.server.rights.is_filtered() {
            match self.filter(id, &Taken::Front(len), Some(large)).await? {
                Ok(kept) => held = kept,
                Err((refusal, text)) => {
                    self.turn_away(id, len, refusal, &text);
                    return Ok(Flow::Next);
                }
            }
        }
        let mut flight = Flight::new(Some(id), len, clock::now());
        flight.held = held;
        self.keep_large(&mut flight, id, len, declared);
        loop {
            match self.execute_large(id, len, declared, flight) {
                Ok(pin) => {
                    self.rest = pin.map_or(Rest::Dropped, Rest::Sent);
                    return Ok(Flow::Next);
                }
                Err(back) => flight = back,
            }
            self.wait(Need::Settled).await?;
        }
    }

    /// Keeps what counts how much of it comes, and its key: every large one is shown to the picture of keys.
    fn keep_large(&mut self, flight: &mut Flight, id: CommandId, len: usize, declared: u32) {
        let front = Front {
            command: self
                .scanner
                .command(self.input.get(..len).unwrap_or_default()),
            declared: declared as usize,
        };
        let sampled = self.cell.server.keys.sample(id, &front, len);
        let came = Rc::new(Came::new(len as u64));
        self.came = Some(Rc::clone(&came));
        flight.kept = Some(Box::new(Kept {
            sampled,
            noted: None,
            came: Some(came),
        }));
    }

    fn execute_large(
        &mut self,
        id: CommandId,
        len: usize,
        declared: u32,
        flight: Flight,
    ) -> Result<Option<PinId>, Flight> {
        let wire = self.input.get(..len).unwrap_or_default();
        let foreign = self.foreign_of(id);
        let call = Call {
            id,
            command: self.scanner.command(wire),
            foreign: foreign.as_deref(),
        };
        let mut asking = asking(&self.connection, self.busy_since);
        asking.is_write = id.may_write();
        act(&self.cell, &mut self.pins, asking, |machine, reach| {
            machine.begin_large(call, declared, flight, reach)
        })
    }

    /// More of a large command.
    pub(super) async fn more(&mut self, len: usize, last: bool) -> Result<Flow, &'static str> {
        self.cell.server.stats.on_bytes(len as u64, 0);
        if let Some(came) = &self.came {
            came.set(came.get() + len as u64);
        }
        if last {
            self.came = None;
        }
        let Rest::Sent(pin) = self.rest else {
            return Ok(Flow::Next);
        };
        let Some(link) = self.pins.find(pin).cloned() else {
            self.rest = Rest::Dropped;
            return Ok(Flow::Next);
        };
        while link.unsent() > STREAMED {
            self.wait(Need::Drained).await?;
        }
        let bytes = self.input.get(..len).unwrap_or_default();
        // If the connection is gone, the client has its error already.
        if link.push(bytes, None).is_err() {
            self.rest = Rest::Dropped;
        } else if last {
            self.rest = Rest::Dropped;
            self.cell.state.borrow_mut().machine.end_large(pin);
        }
        Ok(Flow::Next)
    }
}
