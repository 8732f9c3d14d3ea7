//! MULTI, EXEC, DISCARD, WATCH and UNWATCH: over a connection of the client's own, to one place.
//!
//! MULTI is answered here; the connection is taken when the first key says where, and what was said before without a key is
//! held until then. What cannot be queued fails the transaction, as with a server. Start at [`Client::transaction_command`] and [`Client::in_transaction`].

use std::sync::Arc;

use smallvec::SmallVec;

use super::forward::{CROSS_SLOT, NoPlace, bound_place, is_message};
use super::way::Outgoing;
use super::{Client, Flow, Named};
use crate::command::handling::{Handling, Local, Pin};
use crate::command::{CommandId, Flags};
use crate::encoder;
use crate::machine::upstreams::{
    Call, Destination, Lost, Piece, PinEnd, PinId, Purpose, Sent, Ticket, Upstreams,
};
use crate::renaming::{Names, Renaming};
use crate::request::Command;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

const ABORTED: &[u8] = b"EXECABORT Transaction discarded because of previous errors.";

/// Where a client is in a transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// The connection that it is on, or that keys are watched on.
    own: Option<(Destination, PinId)>,
    is_watching: bool,
    /// Something is under way over connections that clients share, too, which may overtake.
    is_mixed: bool,
    open: Option<Open>,
    /// MULTI was refused, with this error: nothing that follows is taken.
    in_vain: Option<Box<[u8]>>,
    /// Keys in the replies that EXEC will bring.
    named: Option<NamedReplies>,
    /// Commands without keys, until the first key says where they are carried out.
    held: Option<Box<Held>>,
}

/// Commands that were answered with QUEUED before any server has heard of them.
#[derive(Debug)]
struct Held {
    /// Where they go if no key follows.
    to: Destination,
    commands: Vec<(CommandId, Command)>,
    bytes: usize,
}

/// Bytes that are held; what is beyond decides where the transaction is.
const MOST_HELD: usize = 16 << 10;

/// Whether it has no keys, and a server queues it. If one will not, EXEC fails, as it does where the client was told at once.
fn can_be_held(call: &Call<'_>) -> bool {
    let is_queued = match call.id.handling() {
        Handling::Local(Local::Ping | Local::Echo) => true,
        Handling::Forward => !call.flags().contains(Flags::NO_MULTI) && !is_message(call.id),
        Handling::Pin(Pin::Watch) => call.id == CommandId::UNWATCH,
        _ => false,
    };
    // Its text is found when it is sent.
    let calls_by_hash = matches!(call.id, CommandId::EVALSHA | CommandId::EVALSHA_RO);
    if !is_queued || calls_by_hash || call.foreign.is_some() {
        return false;
    }
    let mut found = SmallVec::new();
    match call.keys(&call.command, &mut found) {
        Ok(()) => found.is_empty(),
        Err(_) => call.is_refused_anywhere(),
    }
}

/// Which replies of a transaction have keys in them, by the places of their commands.
#[derive(Debug)]
struct NamedReplies {
    renaming: Arc<Renaming>,
    places: Vec<(u32, Names)>,
}

/// Between MULTI and EXEC.
#[derive(Debug, Default, Clone, Copy)]
struct Open {
    /// The server has heard of it.
    is_sent: bool,
    is_poisoned: bool,
    /// The server would not have it: what is sent now would be carried out at once.
    is_refused: bool,
    queued: u32,
}

impl Transaction {
    /// Whether MULTI was said.
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How many commands are queued; -1 outside of a transaction, as `CLIENT INFO` has it.
    pub(super) fn queued(&self) -> i64 {
        self.open.map_or(-1, |open| open.queued.into())
    }

    /// A command could not be queued: EXEC will fail.
    pub(super) fn poison(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_poisoned = true;
        }
    }

    /// The server did not take MULTI.
    pub(super) fn on_refused(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_poisoned = true;
            open.is_refused = open.is_sent;
        }
    }

    /// Whether the client has a connection of its own, which is at one database and speaks one version.
    pub(super) const fn has_connection(&self) -> bool {
        self.own.is_some()
    }

    /// Whether a command must wait until nothing is under way: it, or what it would overtake, goes to several places over other
    /// connections than the client's own.
    pub(super) fn has_to_wait(&mut self, handling: Handling, is_settled: bool) -> bool {
        if self.own.is_none() {
            return false;
        }
        let is_many =
            self.open.is_none() && matches!(handling, Handling::Split(_) | Handling::FanOut(..));
        if !is_settled && (is_many || self.is_mixed) {
            return true;
        }
        self.is_mixed = is_many;
        false
    }

    /// The connection of the client's own that leads there.
    #[inline]
    pub(super) fn pin_at(&self, to: Destination) -> Option<PinId> {
        self.own.filter(|(at, _)| *at == to).map(|(_, pin)| pin)
    }

    pub(super) fn take_pin(&mut self) -> Option<PinId> {
        self.open = None;
        self.in_vain = None;
        self.is_watching = false;
        self.is_mixed = false;
        self.named = None;
        self.held = None;
        self.own.take().map(|(_, pin)| pin)
    }

    /// The place of the command that is queued now.
    pub(super) fn last(&self) -> u32 {
        self.open.map_or(0, |open| open.queued.saturating_sub(1))
    }

    /// The command that is queued at this place will be answered with keys in it.
    pub(super) fn on_named(&mut self, index: u32, named: Named) {
        let all = self.named.get_or_insert_with(|| NamedReplies {
            renaming: named.renaming,
            places: Vec::new(),
        });
        all.places.push((index, named.names));
    }

    /// Keys in what EXEC is answered with.
    fn take_named(&mut self) -> Option<Named> {
        let NamedReplies { renaming, places } = self.named.take()?;
        let names = Names::Each(places.into());
        Some(Named { renaming, names })
    }
}

impl<T> Client<T> {
    /// MULTI, WATCH and the like outside of a transaction.
    pub(super) fn transaction_command(
        &mut self,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        match call.id {
            CommandId::MULTI => {
                self.transaction.open = Some(Open::default());
                self.answer(of, |_, reply| encoder::ok(reply));
            }
            CommandId::WATCH => return self.watch(call, of, up),
            CommandId::UNWATCH if self.transaction.is_watching => {
                self.end_with(UNWATCH, of, up);
            }
            CommandId::UNWATCH => self.answer(of, |_, reply| encoder::ok(reply)),
            CommandId::EXEC => self.refuse(b"ERR EXEC without MULTI", of),
            _ => self.refuse(b"ERR DISCARD without MULTI", of),
        }
        Ok(Flow::Next)
    }

    fn watch(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) -> Result<Flow, T> {
        match self.own_connection(&call, up) {
            Ok(to) => {
                self.transaction.is_watching = true;
                self.send(to, call, of, up);
            }
            Err(Unable::Wait) => return Err(of),
            Err(Unable::NoPlace(no_place)) => self.nowhere(no_place, of),
        }
        Ok(Flow::Next)
    }

    /// Makes sure that the client has a connection of its own to where the command's keys are.
    fn own_connection(
        &mut self,
        call: &Call<'_>,
        up: &mut impl Upstreams,
    ) -> Result<Destination, Unable> {
        let own = self.transaction.own.map(|(at, _)| at);
        let to = match (bound_place(call, up)?, own) {
            (Some(to), Some(own)) if to != own => {
                return Err(NoPlace::Answer(CROSS_SLOT).into());
            }
            // What has no key goes where the others are.
            (_, Some(own)) => own,
            (Some(to), None) => to,
            (None, None) => match &self.transaction.held {
                Some(held) => held.to,
                None => up.anywhere(call).map_err(NoPlace::Lost)?,
            },
        };
        if own.is_none() {
            self.take_connection(to, up)?;
        }
        Ok(to)
    }

    fn take_connection(&mut self, to: Destination, up: &mut impl Upstreams) -> Result<(), Unable> {
        // What was sent before must be done before.
        if !self.slots.is_empty() {
            return Err(Unable::Wait);
        }
        let pin = match self.tracked_pin(to, up) {
            Some(pin) => pin,
            None => up.pin(to, self.speaks, Purpose::Transaction),
        };
        let pin = pin.map_err(NoPlace::Lost)?;
        self.transaction.own = Some((to, pin));
        Ok(())
    }

    /// Keeps a command until a key says where the transaction is, if it is one that can wait for that and there is room.
    fn hold(&mut self, call: &Call<'_>, up: &mut impl Upstreams) -> Result<bool, Lost> {
        let wire = call.command.wire();
        let known = self.transaction.held.as_ref();
        let bytes = known.map_or(0, |held| held.bytes) + wire.len();
        let is_early = self.transaction.own.is_none();
        if !is_early || !can_be_held(call) || bytes > MOST_HELD {
            return Ok(false);
        }
        if known.is_none() {
            let to = up.anywhere(call)?;
            self.transaction.held = Some(Box::new(Held {
                to,
                commands: Vec::new(),
                bytes: 0,
            }));
        }
        if let Some(held) = &mut self.transaction.held {
            let words: Vec<&[u8]> = call.command.arguments().collect();
            held.commands.push((call.id, Command::new(&words)));
            held.bytes = bytes;
        }
        Ok(true)
    }

    /// A command between MULTI and EXEC.
    pub(super) fn in_transaction(
        &mut self,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        match call.id {
            CommandId::EXEC => return self.exec(of, up),
            CommandId::DISCARD => self.discard(of, up),
            // Wrong, and harmless: the transaction goes on.
            CommandId::MULTI => {
                let text = b"ERR MULTI calls can not be nested";
                self.answer(of, |_, reply| encoder::error(text, reply));
            }
            CommandId::WATCH => {
                let text = b"ERR WATCH inside MULTI is not allowed";
                self.answer(of, |_, reply| encoder::error(text, reply));
            }
            _ => match call.id.handling() {
                Handling::Local(local @ (Local::Quit | Local::Reset)) => {
                    return self.local(local, call, of, up);
                }
                _ if let Some(text) = self.transaction.in_vain.clone() => self.refuse(&text, of),
                // These go to the server, to be answered in their turn.
                Handling::Local(Local::Ping | Local::Echo)
                | Handling::Forward
                | Handling::Split(_)
                | Handling::Pin(Pin::Blocking | Pin::Watch) => {
                    return self.queue(call, of, up);
                }
                Handling::FanOut(..) | Handling::Local(_) | Handling::Pin(_) => {
                    let name = call.name();
                    let text = format!("ERR command '{name}' is not supported inside MULTI");
                    self.refuse(text.as_bytes(), of);
                }
            },
        }
        Ok(Flow::Next)
    }

    /// Sends a command to be queued by the server.
    fn queue(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) -> Result<Flow, T> {
        if self.transaction.open.is_some_and(|open| open.is_refused) {
            self.refuse(b"ERR upstream refused MULTI", of);
            return Ok(Flow::Next);
        }
        match self.hold(&call, up) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(open) = &mut self.transaction.open {
                    open.queued += 1;
                }
                self.answer(of, |_, reply| encoder::simple(b"QUEUED", reply));
                return Ok(Flow::Next);
            }
            Err(lost) => {
                self.lose(lost, of);
                return Ok(Flow::Next);
            }
        }
        let to = match self.own_connection(&call, up) {
            Ok(to) => to,
            Err(Unable::Wait) => return Err(of),
            Err(Unable::NoPlace(no_place)) => {
                self.nowhere(no_place, of);
                return Ok(Flow::Next);
            }
        };
        if let Err(lost) = self.begin(up) {
            self.lose(lost, of);
            return Ok(Flow::Next);
        }
        if let Some(open) = &mut self.transaction.open {
            open.queued += 1;
        }
        self.send(to, call, of, up);
        Ok(Flow::Next)
    }

    /// Tells the server of MULTI and of what was held, if it does not know. If that cannot be sent, nothing may be that comes behind it.
    fn begin(&mut self, up: &mut impl Upstreams) -> Result<(), Lost> {
        let Some((to, pin)) = self.transaction.own else {
            return Ok(());
        };
        if self.transaction.open.is_some_and(|open| !open.is_sent) {
            self.begin_tracked(pin, up)?;
            up.send_pinned(pin, MULTI, Some(Ticket::Own))?;
            if let Some(open) = &mut self.transaction.open {
                open.is_sent = true;
            }
        }
        let held = self.transaction.held.take();
        let held = held.into_iter().flat_map(|held| held.commands);
        for (index, (id, command)) in (0..).zip(held) {
            let call = Call::new(id, command.as_ref());
            let Outgoing { wire, named } = Outgoing::new(to.way, &call, &call.command, up)?;
            if let Some(named) = named {
                self.transaction.on_named(index, named);
            }
            up.send_pinned(pin, &wire, Some(Ticket::Own))?;
            if to.way != 0 {
                up.on_sent(&call, self.speaks, Sent::Queued);
            }
        }
        Ok(())
    }

    fn exec(&mut self, of: T, up: &mut impl Upstreams) -> Result<Flow, T> {
        let open = self.transaction.open.unwrap_or_default();
        if open.is_poisoned {
            let in_vain = self.transaction.in_vain.take();
            self.abandon(up);
            match in_vain {
                Some(text) => self.deny(Some(CommandId::EXEC), &text, of, up),
                None => self.answer(of, |_, reply| encoder::error(ABORTED, reply)),
            }
            return Ok(Flow::Next);
        }
        if self.transaction.own.is_none() {
            let Some(to) = self.transaction.held.as_ref().map(|held| held.to) else {
                self.transaction.open = None;
                self.answer(of, |_, reply| encoder::array(0, reply));
                return Ok(Flow::Next);
            };
            match self.take_connection(to, up) {
                Ok(()) => {}
                Err(Unable::Wait) => return Err(of),
                Err(Unable::NoPlace(no_place)) => {
                    self.abandon(up);
                    self.nowhere(no_place, of);
                    return Ok(Flow::Next);
                }
            }
        }
        // Watched keys decide even over nothing.
        match self.begin(up) {
            Ok(()) => self.end_with(EXEC, of, up),
            Err(lost) => {
                self.abandon(up);
                self.lose(lost, of);
            }
        }
        Ok(Flow::Next)
    }

    fn discard(&mut self, of: T, up: &mut impl Upstreams) {
        let is_sent = self.transaction.open.is_some_and(|open| open.is_sent);
        if is_sent {
            return self.end_with(DISCARD, of, up);
        }
        if self.transaction.has_connection() {
            return self.end_with(UNWATCH, of, up);
        }
        self.transaction.take_pin();
        self.answer(of, |_, reply| encoder::ok(reply));
    }

    /// Sends the command that ends it, whose reply is the client's. The connection goes back when that is here.
    fn end_with(&mut self, command: &'static [u8], of: T, up: &mut impl Upstreams) {
        let named = self.transaction.take_named();
        let Some(pin) = self.transaction.take_pin() else {
            return self.answer(of, |_, reply| encoder::ok(reply));
        };
        let slot = self.owe(of, named.filter(|_| command == EXEC));
        let ticket = Ticket::Slot { slot, part: 0 };
        let sent = up.send_pinned(pin, command, Some(ticket));
        // What was not sent does not end it.
        let end = sent.map_or(PinEnd::Dirty, |()| PinEnd::Clean);
        self.give_back(pin, end);
        if let Err(lost) = sent {
            self.on_piece(ticket, Piece::Lost(lost));
        }
    }

    /// A transaction begins of which nothing will be carried out, for this reason.
    pub(super) fn begin_in_vain(&mut self, text: &[u8]) {
        self.transaction.open = Some(Open::default());
        self.transaction.poison();
        self.transaction.in_vain = Some(text.into());
    }

    /// Ends it without a word to the client.
    pub(super) fn abandon(&mut self, up: &mut impl Upstreams) {
        let is_sent = self.transaction.open.is_some_and(|open| open.is_sent);
        let Some(pin) = self.transaction.take_pin() else {
            return;
        };
        let command = if is_sent { DISCARD } else { UNWATCH };
        let told = up.send_pinned(pin, command, Some(Ticket::Own));
        let end = told.map_or(PinEnd::Dirty, |()| PinEnd::Clean);
        self.give_back(pin, end);
    }

    /// The connection is needed no more, unless it is one on which keys are tracked.
    fn give_back(&mut self, pin: PinId, end: PinEnd) {
        match &mut self.tracking {
            Some(tracking) if tracking.has(pin) => tracking.on_transaction_over(end),
            _ => self.ending.push((pin, end)),
        }
    }

    /// Ends it with the connection.
    pub(super) fn end_transaction_now(&mut self, up: &mut impl Upstreams) {
        if let Some(pin) = self.transaction.take_pin()
            && !self.tracking.as_ref().is_some_and(|it| it.has(pin))
        {
            up.unpin(pin, PinEnd::Dirty);
        }
    }
}

/// Why there is no connection to be had now.
enum Unable {
    /// Something is under way.
    Wait,
    NoPlace(NoPlace),
}

impl From<NoPlace> for Unable {
    fn from(no_place: NoPlace) -> Self {
        Self::NoPlace(no_place)
    }
}
