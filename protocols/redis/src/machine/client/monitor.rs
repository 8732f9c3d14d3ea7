//! MONITOR: what servers say of all commands, until the client goes or says RESET.
//!
//! It shows what all clients say, and is refused unless the operator allows it. Start at [`Client::monitor`].

use smallvec::SmallVec;

use super::answers::Answers;
use super::{Client, Flow};
use crate::command::CommandId;
use crate::command::handling::{Merge, Scope};
use crate::machine::assembly::{Assembly, How};
use crate::machine::upstreams::{Call, Lost, Piece, PinEnd, PinId, Purpose, Ticket, Upstreams};

/// A client that hears all.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    pins: SmallVec<[PinId; 4]>,
    /// Servers have not all answered.
    asking: Option<Answers>,
}

impl Monitor {
    pub(super) const fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    pub(super) fn has(&self, pin: PinId) -> bool {
        self.pins.contains(&pin)
    }

    pub(super) fn note(&mut self, piece: Piece<'_>) {
        if let Some(answers) = &mut self.asking {
            answers.note(piece);
        }
    }
}

/// Whether a client that hears all may say it.
pub(super) const fn is_allowed(id: CommandId) -> bool {
    matches!(id, CommandId::QUIT | CommandId::RESET)
}

/// What it is told of anything else: replies could not be told from what it hears.
pub(super) const REFUSAL: &[u8] = b"ERR only QUIT and RESET are allowed in MONITOR";

impl<T> Client<T> {
    /// Asks all servers for all that they are asked.
    pub(super) fn monitor(
        &mut self,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        if !self.slots.is_empty() {
            return Err(of);
        }
        match self.monitor_pins(call, up) {
            Err(lost) => {
                self.end_monitor_now(up);
                self.lose(lost, of);
            }
            Ok(pins) => {
                let how = How::Merge(Merge::Same, Box::default());
                let is_silent = self.is_silent();
                let parts = Assembly::new(how, pins.len());
                let slot = self.slots.push_merging(of, is_silent, parts);
                for (part, pin) in (0..).zip(pins) {
                    let ticket = Ticket::Slot { slot, part };
                    let sent = up.send_pinned(pin, call.command.wire(), Some(ticket));
                    if let Err(lost) = sent {
                        self.on_piece(ticket, Piece::Lost(lost));
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    fn monitor_pins(
        &mut self,
        call: Call<'_>,
        up: &mut impl Upstreams,
    ) -> Result<SmallVec<[PinId; 4]>, Lost> {
        let places = up.everywhere(&call, Scope::Primaries)?;
        if places.iter().any(|to| up.renaming(to.way).is_some()) {
            // It shows keys of all prefixes.
            return Err(Lost::BeyondPrefix);
        }
        let monitor = self.monitor.get_or_insert_default();
        monitor.asking = Some(Answers::default());
        for to in places {
            monitor
                .pins
                .push(up.pin(to, self.speaks, Purpose::Monitor)?);
        }
        Ok(monitor.pins.clone())
    }

    /// Whether all have begun is known now.
    pub(super) fn settle_monitor(&mut self, up: &mut impl Upstreams) {
        let answers = self.monitor.as_mut().and_then(|it| it.asking.take());
        if answers.is_some_and(|answers| !answers.is_done()) {
            self.end_monitor_now(up);
        }
    }

    pub(super) fn end_monitor_now(&mut self, up: &mut impl Upstreams) {
        if let Some(monitor) = self.monitor.take() {
            for pin in monitor.pins {
                up.unpin(pin, PinEnd::Dirty);
            }
        }
    }

    /// What a server tells of a command. Whether it was over one of the connections. Before all have answered, the client does
    /// not listen yet.
    pub(super) fn on_monitor_push(&mut self, pin: PinId, piece: Piece<'_>) -> bool {
        let Some(monitor) = &self.monitor else {
            return false;
        };
        if !monitor.has(pin) {
            return false;
        }
        if let Piece::Whole { bytes, .. } = piece
            && self.slots.is_empty()
        {
            self.out.extend_from_slice(bytes);
        }
        true
    }
}
