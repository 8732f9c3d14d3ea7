//! Commands that are not in the table: the client waits while a server is asked what one is.
//!
//! The question goes over connections that clients share; what was said is kept for others. Start at [`Session::foreign`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use portcullis_net::clock;
use smallvec::SmallVec;

use super::{Session, Taken, asking};
use crate::command::foreign::{ForeignKeys, Known};
use crate::command::{Arguments as _, CommandId, Foreign};
use crate::encoder;
use crate::machine::{Call, Destination, Front, Lost, Refusal, Speaks, Ticket, Upstreams as _};
use crate::message::parse;
use crate::request::CommandRef;
use crate::session::cell::{Flight, Need};
use crate::session::reach::act;

/// Why it is not known what a command is.
enum Unlearned {
    /// No server has it.
    Absent,
    /// No server said anything.
    Lost(Lost),
}

impl Session {
    /// The name of a command that a server may know, and the table does not.
    #[cold]
    pub(super) fn foreign_name(&self, command: CommandRef<'_>) -> Option<Box<str>> {
        let is_known = self.cell.state.borrow().machine.is_known();
        if !is_known || CommandId::of(command.name()).is_some() {
            return None;
        }
        let name = Foreign::name_of(command.name())?;
        let known = self.cell.server.foreigners.find(&name);
        (known != Some(Known::Absent)).then_some(name)
    }

    /// As `admit`, of a command that is not in the table. `declared`: how many arguments it will have, if only its front
    /// is here.
    pub(super) async fn foreign(
        &mut self,
        name: &str,
        taken: &Taken,
        declared: Option<u32>,
    ) -> Result<Option<(CommandId, Flight)>, &'static str> {
        let mut learned = self.learn(name).await?;
        if let Ok(foreign) = &learned
            && foreign.keys == ForeignKeys::Movable
            && declared.is_none()
            && let Some(told) = self.ask_for_keys(foreign, taken).await?
        {
            learned = Ok(Arc::new(told));
        }
        let command = taken.command(&self.scanner, &self.input);
        let front = Front {
            command,
            declared: declared.map_or(command.len(), |declared| declared as usize),
        };
        let state = self.cell.state.borrow();
        let machine = &state.machine;
        let refused = match &learned {
            Ok(foreign) => machine.admit_foreign(foreign, &front).err(),
            Err(Unlearned::Absent) => machine.admit(&front).err(),
            Err(Unlearned::Lost(lost)) => {
                let refusal = Refusal {
                    reason: lost.label(),
                };
                Some((refusal, format!("ERR {lost}").into_bytes()))
            }
        };
        drop(state);
        if let Some((refusal, text)) = refused {
            let arguments = front.len();
            self.not_admitted(None, arguments, taken.len(), refusal, &text);
            return Ok(None);
        }
        self.foreign = learned.ok();
        let noted = self.note(&Call {
            id: CommandId::FOREIGN,
            command,
            foreign: self.foreign.as_deref(),
        });
        let mut flight = Flight::new(Some(CommandId::FOREIGN), taken.len(), clock::now());
        flight.keep(None, noted);
        Ok(Some((CommandId::FOREIGN, flight)))
    }

    /// What a command is: from what is known, or by asking the clusters in the order of the rules.
    async fn learn(&mut self, name: &str) -> Result<Result<Arc<Foreign>, Unlearned>, &'static str> {
        match self.cell.server.foreigners.find(name) {
            Some(Known::Is(foreign)) => return Ok(Ok(foreign)),
            Some(Known::Absent) => return Ok(Err(Unlearned::Absent)),
            None => {}
        }
        let mut wire = BytesMut::new();
        encoder::command(&["COMMAND", "INFO", name], &mut wire);
        let mut lost = None;
        for to in self.places() {
            match self.ask(to, &wire).await? {
                Ok(reply) => {
                    // What is refused or makes no sense is as if it were not there.
                    let said = parse(reply).ok().map(|reply| Foreign::read(name, &reply));
                    if let Some(Ok(Some(foreign))) = said {
                        let foreign = Arc::new(foreign);
                        let known = Known::Is(Arc::clone(&foreign));
                        self.cell.server.foreigners.insert(name, known);
                        return Ok(Ok(foreign));
                    }
                }
                Err(why) => lost = Some(why),
            }
        }
        if let Some(lost) = lost {
            return Ok(Err(Unlearned::Lost(lost)));
        }
        self.cell.server.foreigners.insert(name, Known::Absent);
        Ok(Err(Unlearned::Absent))
    }

    /// Asks which arguments of this call are keys: servers of the clusters in the order of the rules, until one knows.
    async fn ask_for_keys(
        &mut self,
        foreign: &Foreign,
        taken: &Taken,
    ) -> Result<Option<Foreign>, &'static str> {
        let mut wire = BytesMut::new();
        {
            let command = taken.command(&self.scanner, &self.input);
            let mut words: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYS"];
            words.extend(command.arguments());
            encoder::command(&words, &mut wire);
        }
        for to in self.places() {
            if let Ok(reply) = self.ask(to, &wire).await?
                && let Ok(reply) = parse(reply)
                && let Some(told) =
                    foreign.with_keys(&reply, &taken.command(&self.scanner, &self.input))
            {
                return Ok(Some(told));
            }
        }
        Ok(None)
    }

    /// One server of each cluster.
    fn places(&self) -> SmallVec<[Destination; 4]> {
        let server = &self.cell.server;
        let mut places: SmallVec<[Destination; 4]> = SmallVec::new();
        for rule in &server.rules {
            if let Ok((upstream, at)) = server.current(rule.lead(false))
                && !places.iter().any(|known| known.upstream == upstream)
            {
                let shard = at.anywhere(self.connection.id, None);
                let way = 0;
                places.push(Destination {
                    upstream,
                    shard,
                    way,
                });
            }
        }
        places
    }

    async fn ask(
        &mut self,
        to: Destination,
        wire: &[u8],
    ) -> Result<Result<Bytes, Lost>, &'static str> {
        self.cell.state.borrow_mut().answer = None;
        let asking = asking(&self.connection, self.busy_since);
        let sent = act(&self.cell, &mut self.pins, asking, |machine, reach| {
            let speaks = Speaks {
                database: machine.database(),
                version: machine.version(),
            };
            reach.send(to, speaks, wire, Ticket::Asked)
        });
        if let Err(lost) = sent {
            return Ok(Err(lost));
        }
        self.wait(Need::Answer).await?;
        let answer = self.cell.state.borrow_mut().answer.take();
        Ok(answer.map_or(Err(Lost::Closed), |answer| *answer))
    }
}
