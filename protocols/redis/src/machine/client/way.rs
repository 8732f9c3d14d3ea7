//! What is done with a command on its way, where a route asks for more than to send it.
//!
//! How keys are renamed is [`crate::renaming`]'s. Start at [`Client::send_by_way`].

use std::borrow::Cow;
use std::sync::Arc;

use super::{Assembly, Client, Named};
use crate::command::{Arguments, CommandId};
use crate::machine::slots::SlotId;
use crate::machine::upstreams::{Call, Destination, Lost, Piece, Sent, Ticket, Upstreams};
use crate::renaming::{Renamed, Renaming, Words};

/// A command as it goes upstream.
pub(super) struct Outgoing<'a> {
    /// Its bytes.
    pub(super) wire: Cow<'a, [u8]>,
    /// Keys in its reply.
    pub(super) named: Option<Named>,
}

impl<'a> Outgoing<'a> {
    /// `arguments` are those of the call, and of a large command also say how many there will be.
    pub(super) fn new<A: Arguments>(
        way: u16,
        call: &Call<'a>,
        arguments: &A,
        up: &impl Upstreams,
    ) -> Result<Self, Lost> {
        // What is refused anywhere has no keys that could be renamed.
        let renaming = renaming(way, up).filter(|_| !call.is_refused_anywhere());
        let Some(renaming) = renaming else {
            return Ok(Self {
                wire: Cow::Borrowed(call.command.wire()),
                named: None,
            });
        };
        let Renamed { wire, names } = match call.foreign {
            None => renaming.command(call, arguments)?,
            Some(foreign) => renaming.foreign(foreign, arguments, call.command)?,
        };
        let named = names.map(|names| Named { renaming, names });
        Ok(Self { wire, named })
    }
}

/// What is done with keys on a way.
#[inline]
pub(super) fn renaming(way: u16, up: &impl Upstreams) -> Option<Arc<Renaming>> {
    if way == 0 {
        return None;
    }
    up.renaming(way)
}

/// The arguments of `SCAN` as they go upstream, and where keys are in its reply.
pub(super) fn scan<'a>(
    way: u16,
    call: &Call<'a>,
    up: &impl Upstreams,
) -> Result<(Words<'a>, Option<Named>), Lost> {
    let Some(renaming) = renaming(way, up) else {
        return Ok((call.command.arguments().map(Cow::Borrowed).collect(), None));
    };
    let (words, names) = renaming.scan(&call.command)?;
    let named = names.map(|names| Named { renaming, names });
    Ok((words, named))
}

impl<T> Client<T> {
    /// As [`send`](Self::send), on a way that asks for more.
    #[inline(never)]
    pub(super) fn send_by_way(
        &mut self,
        to: Destination,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) {
        let Outgoing { wire, mut named } = match Outgoing::new(to.way, &call, &call.command, up) {
            Ok(outgoing) => outgoing,
            Err(lost) => return self.lose(lost, of),
        };
        let is_queued = self.transaction.is_open();
        if is_queued && let Some(named) = named.take() {
            let index = self.transaction.last();
            self.transaction.on_named(index, named);
        }
        let is_shared = call.id == CommandId::GET && self.slots.is_empty();
        let slot = self.owe(of, named);
        let ticket = Ticket::Slot { slot, part: 0 };
        let sent = match self.transaction.pin_at(to) {
            _ if self.is_tracked_now() => self.send_tracked(to, &wire, ticket, up),
            Some(pin) => up.send_pinned(pin, &wire, Some(ticket)),
            None if is_shared => up.send_shared(to, self.speaks, &wire, ticket),
            None => up.send(to, self.speaks, &wire, ticket),
        };
        match sent {
            Err(lost) => self.on_piece(ticket, Piece::Lost(lost)),
            Ok(()) if is_queued => up.on_sent(&call, self.speaks, Sent::Queued),
            Ok(()) => up.on_sent(&call, self.speaks, Sent::Alone),
        }
    }

    /// Owes the client the reply to a command, whose keys are to be called as it knows them.
    pub(super) fn owe(&mut self, of: T, named: Option<Named>) -> SlotId {
        let is_silent = self.is_silent();
        match named {
            None => self.slots.push(of, is_silent),
            Some(named) => {
                let parts = Assembly::of_one(named);
                self.slots.push_merging(of, is_silent, parts)
            }
        }
    }
}
