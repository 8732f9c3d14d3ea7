//! Commands that go upstream: to the one place that has their keys, in parts to several, or to all.
//!
//! Start at [`Client::forward`].

use bytes::BytesMut;
use smallvec::SmallVec;

use super::parts::Parts;
use super::way::{self, Outgoing};
use super::{Assembly, Client, Flow, How, Named};
use crate::command::channels::{Wait, wait};
use crate::command::handling::{Handling, Merge, Scope, Split};
use crate::command::{Arguments, CommandId, KeysError, has_patterns};
use crate::encoder;
use crate::machine::assembly::split_cursor;
use crate::machine::upstreams::{
    Call, Destination, Lost, Piece, PinEnd, PinId, Purpose, Sent, Ticket, Upstreams,
};
use crate::request::CommandRef;

/// What a server says of keys in several slots.
pub(super) const CROSS_SLOT: &[u8] = b"CROSSSLOT Keys in request don't hash to the same slot";

/// To a command that cannot be streamed.
const TOO_LARGE: &[u8] = b"ERR command is too large for the gateway";

/// Why a command has no single place.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoPlace {
    /// To be answered with this.
    Answer(&'static [u8]),
    Lost(Lost),
}

impl From<Lost> for NoPlace {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// The one place that a command's keys are at; any, if it has none.
#[inline]
pub(super) fn place(call: &Call<'_>, up: &mut impl Upstreams) -> Result<Destination, NoPlace> {
    match bound_place(call, up)? {
        Some(at) => Ok(at),
        None => Ok(up.anywhere(call)?),
    }
}

/// The one place that a command's keys, or its channel, are at. `None`: it has none, or any server will say what is wrong.
#[inline]
pub(super) fn bound_place(
    call: &Call<'_>,
    up: &mut impl Upstreams,
) -> Result<Option<Destination>, NoPlace> {
    let mut found = SmallVec::new();
    if let Err(error) = call.keys(&call.command, &mut found) {
        if call.is_refused_anywhere() {
            return Ok(None);
        }
        return Err(NoPlace::Answer(error.text().as_bytes()));
    }
    let mut at = None;
    for index in &found {
        let key = call.command.argument(*index as usize).unwrap_or_default();
        let to = up.locate(call, key)?;
        if at.is_some_and(|at| at != to) {
            return Err(NoPlace::Answer(CROSS_SLOT));
        }
        at = Some(to);
    }
    if at.is_none() && is_message(call.id) {
        let channel = call.command.argument(1).unwrap_or_default();
        at = Some(up.locate(call, channel)?);
    }
    Ok(at)
}

/// Whether its channel decides where it is sent: where those who subscribed to it listen. Who subscribed to a pattern listens
/// everywhere, and so gets it once.
pub(super) const fn is_message(id: CommandId) -> bool {
    matches!(id, CommandId::PUBLISH | CommandId::SPUBLISH)
}

impl<T> Client<T> {
    /// Sends a command where its keys are.
    pub(super) fn forward(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) {
        match place(&call, up) {
            Ok(to) => self.send(to, call, of, up),
            Err(no_place) => self.nowhere(no_place, of),
        }
    }

    pub(super) fn nowhere(&mut self, no_place: NoPlace, of: T) {
        match no_place {
            NoPlace::Answer(text) => self.refuse(text, of),
            NoPlace::Lost(lost) => self.lose(lost, of),
        }
    }

    /// Sends a whole command to one place: over the client's own connection there, if it has one.
    #[inline]
    pub(super) fn send(&mut self, to: Destination, call: Call<'_>, of: T, up: &mut impl Upstreams) {
        if to.way != 0 {
            return self.send_by_way(to, call, of, up);
        }
        let wire = call.command.wire();
        let is_silent = self.is_silent();
        let slot = self.slots.push(of, is_silent);
        let ticket = Ticket::Slot { slot, part: 0 };
        let sent = match self.transaction.pin_at(to) {
            _ if self.is_tracked_now() => self.send_tracked(to, wire, ticket, up),
            Some(pin) => up.send_pinned(pin, wire, Some(ticket)),
            None => up.send(to, self.speaks, wire, ticket),
        };
        if let Err(lost) = sent {
            self.on_piece(ticket, Piece::Lost(lost));
        }
    }

    /// Whether commands go over connections on which keys are tracked. (In a transaction its own is one of them.)
    #[inline]
    pub(super) const fn is_tracked_now(&self) -> bool {
        self.tracking.is_some() && !self.transaction.is_open()
    }

    /// Takes a command apart by key, unless all keys are at one place.
    pub(super) fn split(&mut self, split: Split, call: Call<'_>, of: T, up: &mut impl Upstreams) {
        let step = if split == Split::Pairs { 2 } else { 1 };
        let arguments = call.command.len() - 1;
        if !arguments.is_multiple_of(step) {
            let text = b"ERR wrong number of arguments for 'mset' command";
            return self.refuse(text, of);
        }
        let parts = match Parts::new(&call, step, up) {
            Ok(parts) => parts,
            Err(lost) => return self.lose(lost, of),
        };
        if let [only] = &*parts.targets {
            return self.send(*only, call, of, up);
        }
        let how = match split {
            Split::Values => How::Values(parts.places.iter().copied().collect()),
            Split::Count => How::Merge(Merge::Sum, Box::default()),
            Split::Pairs => How::Merge(Merge::Same, Box::default()),
        };
        let wires = match parts.wires(&call, step, up) {
            Ok(wires) => wires,
            Err(lost) => return self.lose(lost, of),
        };
        let is_plain = parts.targets.iter().all(|to| to.way == 0);
        let sends = parts.targets.iter().copied().zip(wires);
        self.send_parts(how, None, sends, of, up);
        if !is_plain {
            up.on_sent(&call, self.speaks, Sent::Alone);
        }
    }

    /// Sends the parts of one command.
    fn send_parts<W: AsRef<[u8]>>(
        &mut self,
        how: How,
        named: Option<Named>,
        parts: impl ExactSizeIterator<Item = (Destination, W)>,
        of: T,
        up: &mut impl Upstreams,
    ) {
        let assembly = Assembly::new(how, parts.len()).with_names(named);
        let is_silent = self.is_silent();
        let slot = self.slots.push_merging(of, is_silent, assembly);
        for (part, (to, wire)) in (0..).zip(parts) {
            let ticket = Ticket::Slot { slot, part };
            let wire = wire.as_ref();
            let sent = if self.is_tracked_now() {
                self.send_tracked(to, wire, ticket, up)
            } else {
                up.send(to, self.speaks, wire, ticket)
            };
            if let Err(lost) = sent {
                self.on_piece(ticket, Piece::Lost(lost));
            }
        }
    }

    /// Sends a command to all places that it is about.
    pub(super) fn fan_out(
        &mut self,
        scope: Scope,
        merge: Merge,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) {
        let targets = match up.everywhere(&call, scope) {
            Ok(targets) => targets,
            Err(lost) => return self.lose(lost, of),
        };
        if let [only] = &*targets {
            return self.send(*only, call, of, up);
        }
        if merge == Merge::Cursor {
            return self.scan(&targets, call, of, up);
        }
        let names = (0..targets.len()).map(|shard| format!("shard {shard}").into());
        let how = How::Merge(merge, names.collect());
        // All are where one rule leads.
        let way = targets.first().map_or(0, |to| to.way);
        let outgoing = match Outgoing::new(way, &call, &call.command, up) {
            Ok(outgoing) => outgoing,
            Err(lost) => return self.lose(lost, of),
        };
        let parts = targets.into_iter().map(|to| (to, &*outgoing.wire));
        self.send_parts(how, outgoing.named, parts, of, up);
        if way != 0 {
            up.on_sent(&call, self.speaks, Sent::Alone);
        }
    }

    /// `SCAN` of one shard after the other.
    fn scan(&mut self, targets: &[Destination], call: Call<'_>, of: T, up: &mut impl Upstreams) {
        let cursor = call.command.argument(1).unwrap_or_default();
        let cursor = std::str::from_utf8(cursor)
            .ok()
            .and_then(|text| text.parse().ok());
        let Some(cursor) = cursor else {
            return self.refuse(b"ERR invalid cursor", of);
        };
        let shards = targets.len() as u64;
        let (shard, cursor) = split_cursor(cursor, shards);
        let Some(to) = targets.get(shard as usize) else {
            return self.refuse(b"ERR invalid cursor", of);
        };
        let (mut words, named) = match way::scan(to.way, &call, up) {
            Ok(scan) => scan,
            Err(lost) => return self.lose(lost, of),
        };
        if let Some(word) = words.get_mut(1) {
            *word = cursor.to_string().into_bytes().into();
        }
        let mut wire = BytesMut::new();
        encoder::command(&words, &mut wire);
        let how = How::Cursor { shard, shards };
        self.send_parts(how, named, std::iter::once((*to, wire)), of, up);
    }

    /// A command that is too large to be held begins, with its front. The connection that the rest goes over; `None` if it is
    /// refused, and the rest is to be dropped.
    ///
    /// # Errors
    /// It must wait until the client [is settled](Self::is_settled), and is to be tried again then.
    pub fn begin_large(
        &mut self,
        call: Call<'_>,
        declared: u32,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Option<PinId>, T> {
        // What was sent before must be done before.
        if !self.slots.is_empty() {
            return Err(of);
        }
        self.settle(up);
        let front = Front {
            command: call.command,
            declared: declared as usize,
        };
        let is_plain = matches!(call.id.handling(), Handling::Forward | Handling::Split(_));
        let found = seen_place(&call, &front, up);
        let (to, pin) = match found {
            _ if !is_plain
                || has_patterns(call.id)
                || self.transaction.is_open()
                || self.is_subscribed()
                || self.escapes_tracking(&call) =>
            {
                self.refuse(TOO_LARGE, of);
                return Ok(None);
            }
            Err(no_place) => {
                self.nowhere(no_place, of);
                return Ok(None);
            }
            Ok(to) => (to, self.transaction.pin_at(to)),
        };
        let outgoing = match Outgoing::new(to.way, &call, &front, up) {
            Ok(outgoing) => outgoing,
            Err(lost) => {
                self.lose(lost, of);
                return Ok(None);
            }
        };
        let pin = match pin.map_or_else(|| up.pin(to, self.speaks, Purpose::Large), Ok) {
            Ok(pin) => pin,
            Err(lost) => {
                self.lose(lost, of);
                return Ok(None);
            }
        };
        if self.transaction.pin_at(to).is_none() {
            self.ending.push((pin, PinEnd::Dirty));
        }
        let is_silent = self.is_silent();
        let slot = self.slots.push(of, is_silent);
        let ticket = Ticket::Slot { slot, part: 0 };
        if let Err(lost) = up.send_pinned(pin, &outgoing.wire, Some(ticket)) {
            self.on_piece(ticket, Piece::Lost(lost));
            return Ok(None);
        }
        if to.way != 0 {
            up.on_sent(&call, self.speaks, Sent::Large);
        }
        Ok(Some(pin))
    }

    /// All of a large command was sent over this connection. Until then it holds a half, and is of no use to others even if the
    /// server has answered already.
    pub fn end_large(&mut self, pin: PinId) {
        for (_, end) in self.ending.iter_mut().filter(|(own, _)| *own == pin) {
            *end = PinEnd::Clean;
        }
    }

    /// A command that may wait: over a connection of the client's own, so that nobody waits behind it.
    pub(super) fn blocking(
        &mut self,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        let at_most = match wait(call.id, &call.command) {
            Some(Wait::Forever) => None,
            Some(Wait::AtMost(time)) => Some(time),
            // For how long only its server knows.
            None if call.is_foreign_wait() => None,
            None => {
                self.forward(call, of, up);
                return Ok(Flow::Next);
            }
        };
        let to = match place(&call, up) {
            Ok(to) => to,
            Err(no_place) => {
                self.nowhere(no_place, of);
                return Ok(Flow::Next);
            }
        };
        // What was sent before must be done before.
        if !self.slots.is_empty() {
            return Err(of);
        }
        if self.transaction.pin_at(to).is_some() {
            self.waiting = Some(self.slots.next());
            self.send(to, call, of, up);
            return Ok(Flow::Next);
        }
        if self.escapes_tracking(&call) {
            self.refuse(b"ERR waiting is not supported while keys are tracked", of);
            return Ok(Flow::Next);
        }
        let outgoing = Outgoing::new(to.way, &call, &call.command, up);
        let pinned = outgoing.and_then(|outgoing| {
            let pin = up.pin(to, self.speaks, Purpose::Blocking { at_most })?;
            Ok((outgoing, pin))
        });
        match pinned {
            Err(lost) => self.lose(lost, of),
            Ok((outgoing, pin)) => {
                let slot = self.owe(of, outgoing.named);
                self.waiting = Some(slot);
                let ticket = Ticket::Slot { slot, part: 0 };
                self.ending.push((pin, PinEnd::Clean));
                if let Err(lost) = up.send_pinned(pin, &outgoing.wire, Some(ticket)) {
                    self.on_piece(ticket, Piece::Lost(lost));
                }
                if to.way != 0 {
                    up.on_sent(&call, self.speaks, Sent::Waiting);
                }
            }
        }
        Ok(Flow::Next)
    }
}

/// The one place of a command of which only the front is here: all its keys must be in that.
fn seen_place(
    call: &Call<'_>,
    front: &Front<'_>,
    up: &mut impl Upstreams,
) -> Result<Destination, NoPlace> {
    let mut found = SmallVec::new();
    let answer = |error: KeysError| NoPlace::Answer(error.text().as_bytes());
    call.keys(front, &mut found).map_err(answer)?;
    let mut at = None;
    for index in &found {
        let key = front
            .at(*index as usize)
            .ok_or(NoPlace::Answer(TOO_LARGE))?;
        let to = up.locate(call, key)?;
        if at.is_some_and(|at| at != to) {
            return Err(NoPlace::Answer(CROSS_SLOT));
        }
        at = Some(to);
    }
    if at.is_none() && is_message(call.id) {
        let channel = front.at(1).ok_or(NoPlace::Answer(TOO_LARGE))?;
        at = Some(up.locate(call, channel)?);
    }
    match at {
        Some(at) => Ok(at),
        None => Ok(up.anywhere(call)?),
    }
}

/// The front of a command that is too large to be held: what is behind it counts, but is not seen.
#[derive(Debug, Clone, Copy)]
pub struct Front<'a> {
    /// What is here.
    pub command: CommandRef<'a>,
    /// How many arguments there will be.
    pub declared: usize,
}

impl Arguments for Front<'_> {
    fn len(&self) -> usize {
        self.declared
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.command.argument(index)
    }
}
