//! SCRIPT KILL and FUNCTION KILL: over connections of the client's own.
//!
//! On the connections that clients share they would wait for the very script that they are to end, and so they wait for nothing that
//! their client has under way either. Start at [`Client::kill`].

use super::{Assembly, Client, How};
use crate::command::handling::{Merge, Scope};
use crate::machine::upstreams::{Call, Piece, PinEnd, Purpose, Speaks, Ticket, Upstreams};

impl<T> Client<T> {
    /// Asks all primaries; the answer is that of one that has ended a script.
    pub(super) fn kill(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) {
        let targets = match up.everywhere(&call, Scope::Primaries) {
            Ok(targets) => targets,
            Err(lost) => return self.lose(lost, of),
        };
        let how = How::Merge(Merge::AnyOne, Box::default());
        let parts = Assembly::new(how, targets.len());
        let is_silent = self.is_silent();
        let slot = self.slots.push_merging(of, is_silent, parts);
        // A server that runs a script takes no SELECT.
        let speaks = Speaks {
            database: 0,
            ..self.speaks
        };
        for (part, to) in (0..).zip(targets) {
            let ticket = Ticket::Slot { slot, part };
            let sent = up.pin(to, speaks, Purpose::Kill).and_then(|pin| {
                self.ending.push((pin, PinEnd::Dirty));
                up.send_pinned(pin, call.command.wire(), Some(ticket))
            });
            if let Err(lost) = sent {
                self.on_piece(ticket, Piece::Lost(lost));
            }
        }
    }
}
