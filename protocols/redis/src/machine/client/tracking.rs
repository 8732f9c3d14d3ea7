//! CLIENT TRACKING: the server tells which keys that the client has read were changed.
//!
//! A server tracks what is read over one connection, so the client has one of its own to each shard as long as tracking is on, and
//! all of its commands go over these. If one is lost the client is closed: it would not hear of changes any more. What the
//! options mean is the servers' to say. Start at [`Client::tracking_command`] and [`Client::send_tracked`].

use bytes::{Bytes, BytesMut};

use super::answers::Answers;
use super::{Client, Flow};
use crate::command::handling::Merge;
use crate::command::{CommandId, Flags};
use crate::encoder;
use crate::machine::assembly::{Assembly, How};
use crate::machine::upstreams::{
    Call, Destination, Destinations, Lost, Piece, PinEnd, PinId, Purpose, Ticket, Upstreams,
};
use crate::message::RespVersion;
use crate::request::CommandRef;

/// All that the client has kept is to be thrown away.
const FORGET_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// Messages that are held back before they become [`FORGET_ALL`].
const MOST_LATE: usize = 256 << 10;

/// Commands with prefixes that one client may have turned tracking on with.
const MOST_SAID: usize = 256;

/// What a client wants to be told of.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    links: Vec<Link>,
    /// What turned it on, for connections that come later.
    said: Vec<Bytes>,
    options: Options,
    /// What is being asked for, and what was answered.
    asking: Option<Asking>,
    /// The next command's keys are to be tracked, or not.
    caching: Option<bool>,
    /// What servers do is not what the client was told.
    is_broken: bool,
    late: BytesMut,
}

/// A connection over which keys are read and messages come.
#[derive(Debug)]
struct Link {
    to: Destination,
    pin: PinId,
    /// A message that is not whole.
    partial: BytesMut,
}

/// A command that all shards were told.
#[derive(Debug)]
struct Asking {
    answers: Answers,
    wire: Bytes,
    options: Options,
}

/// What the gateway has to know of the options.
#[derive(Debug, Default, Clone, Copy)]
struct Options {
    is_optin: bool,
    is_optout: bool,
    is_redirect: bool,
}

impl Options {
    fn read(command: CommandRef<'_>) -> Self {
        let mut options = Self::default();
        let mut index = 3;
        while let Some(word) = command.argument(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            options.is_optin |= is(b"OPTIN");
            options.is_optout |= is(b"OPTOUT");
            options.is_redirect |= is(b"REDIRECT");
            index += if is(b"PREFIX") || is(b"REDIRECT") {
                2
            } else {
                1
            };
        }
        options
    }
}

impl Tracking {
    /// Whether the client waits to hear whether it is on.
    pub(super) const fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn has(&self, pin: PinId) -> bool {
        self.links.iter().any(|link| link.pin == pin)
    }

    /// A part of the answer to what is being asked for.
    pub(super) fn note(&mut self, piece: Piece<'_>) {
        if let Some(asking) = &mut self.asking {
            asking.answers.note(piece);
        }
    }

    /// A server answered what the machine said of its own.
    pub(super) fn on_own_reply(&mut self, piece: Piece<'_>) {
        self.is_broken |= match piece {
            Piece::Whole { kind, .. } => kind.is_error(),
            _ => true,
        };
    }

    /// A command was refused. What was to be tracked still is.
    pub(super) fn on_refused(&mut self) {
        self.caching = self.caching.filter(|is_yes| *is_yes);
    }

    /// A transaction was on one of the connections, and is over unless it could not be said.
    pub(super) fn on_transaction_over(&mut self, end: PinEnd) {
        self.is_broken |= end == PinEnd::Dirty;
    }

    /// What is said for one command ends with it.
    pub(super) fn on_executed(&mut self, id: CommandId) {
        if !id.name().starts_with("client|") {
            self.caching = None;
        }
    }

    /// Sends on messages that came before what they are about.
    pub(super) fn write_late(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.late);
        self.late = BytesMut::new();
    }

    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.late.len() + bytes.len() > MOST_LATE {
            self.late.clear();
            self.late.extend_from_slice(FORGET_ALL);
        } else {
            self.late.extend_from_slice(bytes);
        }
    }
}

impl<T> Client<T> {
    /// CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR.
    pub(super) fn tracking_command(
        &mut self,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        match call.id {
            CommandId::CLIENT_TRACKING => return self.track(call, of, up),
            CommandId::CLIENT_CACHING => self.caching(call.command, of),
            CommandId::CLIENT_TRACKINGINFO => self.tracking_info(call.command, of, up),
            _ => {
                let to = if self.tracking.is_some() { 0 } else { -1 };
                self.answer(of, |_, reply| encoder::integer(to, reply));
            }
        }
        Ok(Flow::Next)
    }

    fn track(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) -> Result<Flow, T> {
        let word = call.command.argument(2).unwrap_or_default();
        let options = Options::read(call.command);
        let is_off = word.eq_ignore_ascii_case(b"OFF") && call.command.len() == 3;
        let refusal: Option<&[u8]> = if self.speaks.version == RespVersion::Resp2 && !is_off {
            Some(b"ERR CLIENT TRACKING needs RESP3 at the gateway: say HELLO 3")
        } else if options.is_redirect {
            Some(b"ERR CLIENT TRACKING with REDIRECT is not supported by the gateway: use RESP3")
        } else if self.transaction.has_connection() {
            Some(b"ERR CLIENT TRACKING is not supported while keys are watched")
        } else {
            None
        };
        if let Some(text) = refusal {
            self.refuse(text, of);
            return Ok(Flow::Next);
        }
        // What was read before is not to be tracked, and what is read behind it is.
        if !self.slots.is_empty() {
            return Err(of);
        }
        if is_off {
            self.end_tracking_now(up);
            self.answer(of, |_, reply| encoder::ok(reply));
            return Ok(Flow::Next);
        }
        let Some(places) = up.shards() else {
            let text = b"ERR CLIENT TRACKING is not supported over a Redis Cluster";
            self.refuse(text, of);
            return Ok(Flow::Next);
        };
        if places.iter().any(|to| up.renaming(to.way).is_some()) {
            // Servers would tell of their own names, and prefixes of keys would be others there.
            let text = b"ERR CLIENT TRACKING is not supported where keys have other names upstream";
            self.refuse(text, of);
            return Ok(Flow::Next);
        }
        self.track_at(&places, call, options, of, up);
        Ok(Flow::Next)
    }

    /// Tells all shards, which know best what is wrong with the options.
    fn track_at(
        &mut self,
        places: &Destinations,
        call: Call<'_>,
        options: Options,
        of: T,
        up: &mut impl Upstreams,
    ) {
        let wire = call.command.wire();
        let tracking = self.tracking.get_or_insert_default();
        if tracking.said.len() >= MOST_SAID {
            return self.refuse(b"ERR too many CLIENT TRACKING commands", of);
        }
        // What turned it on before is said to a new connection first.
        let mut pins = Vec::new();
        for to in places {
            match tracking.pin_at(*to, self.speaks, up) {
                Ok(pin) => pins.push(pin),
                Err(lost) => {
                    if tracking.said.is_empty() {
                        self.end_tracking_now(up);
                    }
                    return self.lose(lost, of);
                }
            }
        }
        tracking.asking = Some(Asking {
            answers: Answers::default(),
            wire: Bytes::copy_from_slice(wire),
            options,
        });
        let assembly = Assembly::new(How::Merge(Merge::Same, Box::default()), pins.len());
        let is_silent = self.is_silent();
        let slot = self.slots.push_merging(of, is_silent, assembly);
        for (part, pin) in (0..).zip(pins) {
            let ticket = Ticket::Slot { slot, part };
            if let Err(lost) = up.send_pinned(pin, wire, Some(ticket)) {
                self.on_piece(ticket, Piece::Lost(lost));
            }
        }
    }

    /// Whether it is on is known now.
    pub(super) fn settle_tracking(&mut self, up: &mut impl Upstreams) {
        let Some(tracking) = &mut self.tracking else {
            return;
        };
        let Some(asking) = tracking.asking.take() else {
            return;
        };
        let Asking {
            answers,
            wire,
            options,
        } = asking;
        if answers.is_done() {
            tracking.options.is_optin |= options.is_optin;
            tracking.options.is_optout |= options.is_optout;
            if !tracking.said.contains(&wire) {
                tracking.said.push(wire);
            }
        } else if tracking.said.is_empty() {
            self.end_tracking_now(up);
        } else {
            // Refused by all, it is as it was.
            tracking.is_broken |= answers.is_taken || answers.is_lost;
        }
    }

    fn caching(&mut self, command: CommandRef<'_>, of: T) {
        let word = command.argument(2).unwrap_or_default();
        let is_yes = word.eq_ignore_ascii_case(b"YES");
        let text: &[u8] = match &mut self.tracking {
            None => {
                b"ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
            }
            Some(_) if !is_yes && !word.eq_ignore_ascii_case(b"NO") => b"ERR syntax error",
            Some(tracking) if is_yes && !tracking.options.is_optin => {
                b"ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
            }
            Some(tracking) if !is_yes && !tracking.options.is_optout => {
                b"ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
            }
            Some(tracking) => {
                tracking.caching = Some(is_yes);
                return self.answer(of, |_, reply| encoder::ok(reply));
            }
        };
        self.refuse(text, of);
    }

    fn tracking_info(&mut self, command: CommandRef<'_>, of: T, up: &mut impl Upstreams) {
        let link = self.tracking.as_ref().and_then(|it| it.links.first());
        if let Some(to) = link.map(|link| link.to) {
            return self.send_info(to, command.wire(), of, up);
        }
        self.answer(of, |version, reply| {
            encoder::map(3, version, reply);
            encoder::bulk(b"flags", reply);
            encoder::set(1, version, reply);
            encoder::bulk(b"off", reply);
            encoder::bulk(b"redirect", reply);
            encoder::integer(-1, reply);
            encoder::bulk(b"prefixes", reply);
            encoder::array(0, reply);
        });
    }

    fn send_info(&mut self, to: Destination, wire: &[u8], of: T, up: &mut impl Upstreams) {
        let is_silent = self.is_silent();
        let slot = self.slots.push(of, is_silent);
        let ticket = Ticket::Slot { slot, part: 0 };
        if let Err(lost) = self.send_tracked(to, wire, ticket, up) {
            self.on_piece(ticket, Piece::Lost(lost));
        }
    }

    /// Sends a command over the connection on which its keys are tracked.
    pub(super) fn send_tracked(
        &mut self,
        to: Destination,
        wire: &[u8],
        ticket: Ticket,
        up: &mut impl Upstreams,
    ) -> Result<(), Lost> {
        let tracking = self.tracking.get_or_insert_default();
        let pin = tracking.pin_at(to, self.speaks, up)?;
        tracking.say_caching(pin, up)?;
        up.send_pinned(pin, wire, Some(ticket))
    }

    /// The connection of its own that leads there, if tracking is on.
    pub(super) fn tracked_pin(
        &mut self,
        to: Destination,
        up: &mut impl Upstreams,
    ) -> Option<Result<PinId, Lost>> {
        let speaks = self.speaks;
        let tracking = self.tracking.as_mut()?;
        Some(tracking.pin_at(to, speaks, up))
    }

    /// What was said for the next command is meant for the transaction that begins.
    pub(super) fn begin_tracked(
        &mut self,
        pin: PinId,
        up: &mut impl Upstreams,
    ) -> Result<(), Lost> {
        match &mut self.tracking {
            Some(tracking) if tracking.has(pin) => tracking.say_caching(pin, up),
            _ => Ok(()),
        }
    }

    /// Whether a command reads what would have to be tracked, over a connection where it is not.
    pub(super) fn escapes_tracking(&self, call: &Call<'_>) -> bool {
        self.tracking.is_some() && !call.flags().contains(Flags::WRITE)
    }

    /// Ends it with its connections.
    pub(super) fn end_tracking_now(&mut self, up: &mut impl Upstreams) {
        if let Some(tracking) = self.tracking.take() {
            for link in tracking.links {
                up.unpin(link.pin, PinEnd::Dirty);
            }
        }
    }

    /// Something that a server said unasked over one of the connections. Whether it was one of them.
    pub(super) fn on_tracking_push(&mut self, pin: PinId, piece: Piece<'_>) -> bool {
        let Some(tracking) = &mut self.tracking else {
            return false;
        };
        let Some(link) = tracking.links.iter_mut().find(|link| link.pin == pin) else {
            return false;
        };
        match piece {
            Piece::Whole { bytes, .. } => self.on_invalidated(bytes),
            Piece::Begin { bytes, .. } | Piece::More { bytes, last: false } => {
                link.partial.extend_from_slice(bytes);
            }
            Piece::More { bytes, last: true } => {
                let mut whole = std::mem::take(&mut link.partial);
                whole.extend_from_slice(bytes);
                self.on_invalidated(&whole);
            }
            Piece::Lost(_) => {}
        }
        true
    }

    /// Keys were changed. Replies that came before and wait for their turn may hold what they were: the client is told now for
    /// what it has, and again behind them.
    fn on_invalidated(&mut self, bytes: &[u8]) {
        if !bytes.starts_with(b">2\r\n$10\r\ninvalidate\r\n") {
            return;
        }
        let (is_open, has_held) = (self.slots.is_open(), self.slots.has_held());
        if !is_open {
            self.out.extend_from_slice(bytes);
        }
        if (is_open || has_held)
            && let Some(tracking) = &mut self.tracking
        {
            tracking.hold(bytes);
        }
    }
}

impl Tracking {
    /// The connection that leads there; a new one is told all that turned tracking on.
    fn pin_at(
        &mut self,
        to: Destination,
        speaks: super::Speaks,
        up: &mut impl Upstreams,
    ) -> Result<PinId, Lost> {
        if let Some(link) = self.links.iter().find(|link| link.to == to) {
            return Ok(link.pin);
        }
        let pin = up.pin(to, speaks, Purpose::Tracking)?;
        self.links.push(Link {
            to,
            pin,
            partial: BytesMut::new(),
        });
        for wire in &self.said {
            let told = up.send_pinned(pin, wire, Some(Ticket::Tracking));
            if told.is_err() {
                // Nothing may be read over it that is not tracked.
                self.is_broken = true;
                return told.map(|()| pin);
            }
        }
        Ok(pin)
    }

    fn say_caching(&self, pin: PinId, up: &mut impl Upstreams) -> Result<(), Lost> {
        let Some(is_yes) = self.caching else {
            return Ok(());
        };
        let mut wire = BytesMut::new();
        let word = if is_yes { "YES" } else { "NO" };
        encoder::command(&["CLIENT", "CACHING", word], &mut wire);
        up.send_pinned(pin, &wire, Some(Ticket::Tracking))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_messages_that_wait_become_one() {
        let mut tracking = Tracking::default();
        let message = [b'x'; 1024];
        for _ in 0..MOST_LATE / message.len() {
            tracking.hold(&message);
        }
        assert_eq!(tracking.late.len(), MOST_LATE);
        tracking.hold(&message);
        assert_eq!(&*tracking.late, FORGET_ALL);
        tracking.hold(&message);
        assert_eq!(tracking.late.len(), FORGET_ALL.len() + message.len());
    }
}
