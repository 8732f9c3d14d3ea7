//! CLIENT TRACKING: the server tells which keys that the client has read were changed.
//!
//! A server tracks what is read over one connection, so the client has one of its own to each shard as long as tracking is on, and
//! all of its commands go over these. If one is lost the client is closed: it would not hear of changes any more. What the
//! options mean is the servers' to say. What they say is in `tracking/heard.rs` and `tracking/message.rs`, what they are told in
//! `tracking/options.rs`. Start at [`Client::tracking_command`] and [`Client::send_tracked`].

mod ears;
mod heard;
mod links;
mod message;
mod options;

use std::sync::Arc;

use bytes::BytesMut;

use self::ears::Ears;
pub(in crate::machine) use self::message::CHANNEL;
use self::options::{Options, Redirect};
use super::answers::Answers;
use super::{Client, Flow, way};
use crate::command::handling::Merge;
use crate::command::{CommandId, Flags};
use crate::encoder;
use crate::machine::assembly::{Assembly, How};
use crate::machine::upstreams::{
    Call, Destination, Destinations, Lost, Piece, PinEnd, PinId, Ticket, Upstreams,
};
use crate::message::RespVersion;
use crate::renaming::Renaming;
use crate::request::{Command, CommandRef};

/// A node is told that another has named it.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// What a server says of a client that there is not.
const NOBODY: &[u8] = b"ERR The client ID you want redirect to does not exist";

/// Commands with prefixes that one client may have turned tracking on with.
const MOST_SAID: usize = 256;

/// What a client wants to be told of.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    links: Vec<Link>,
    /// What turned it on, for connections that come later.
    said: Vec<Command>,
    options: Options,
    /// All keys are heard of, not only those that were read.
    is_broadcast: bool,
    /// What is being asked for, and what was answered.
    asking: Option<Asking>,
    /// The next command's keys are to be tracked, or not.
    caching: Option<bool>,
    /// What servers do is not what the client was told.
    is_broken: bool,
    late: BytesMut,
    /// Connections that messages come over, if they cannot come over those that keys are read on.
    ears: Ears,
    /// Another client is told.
    is_redirected: bool,
    /// Messages for that.
    redirected: Vec<Vec<u8>>,
}

/// A connection over which keys are read and messages come.
#[derive(Debug)]
struct Link {
    to: Destination,
    pin: PinId,
    /// What keys are called there.
    renaming: Option<Arc<Renaming>>,
    /// A message that is not whole.
    partial: BytesMut,
}

/// A command that all shards were told.
#[derive(Debug)]
struct Asking {
    answers: Answers,
    command: Command,
    options: Options,
}

/// Whether another client can be told of changes.
enum Prepared {
    /// It can, or need not.
    Ready,
    /// Servers are being asked for the numbers of connections.
    Waits,
    /// There is no such client.
    ForNobody,
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
        self.links.iter().any(|link| link.pin == pin) || self.ears.has(pin)
    }

    /// Whether numbers of connections are still to come.
    pub(super) fn awaits_ears(&self) -> bool {
        self.ears.is_asking()
    }

    /// A server told the number of a connection, or will not.
    pub(super) fn on_ear(&mut self, pin: PinId, piece: Piece<'_>) {
        self.ears.on_answer(pin, piece);
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
            CommandId::CLIENT_TRACKINGINFO => self.tracking_info(of),
            _ => {
                let options = self.tracking.as_ref().map(|tracking| &tracking.options);
                let to = options::redirect(options);
                self.answer(of, |_, reply| encoder::integer(to, reply));
            }
        }
        Ok(Flow::Next)
    }

    fn track(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) -> Result<Flow, T> {
        let word = call.command.argument(2).unwrap_or_default();
        let options = Options::read(call.command);
        let is_off = word.eq_ignore_ascii_case(b"OFF") && call.command.len() == 3;
        if let Some(text) = self.refusal_to_track(&options, is_off) {
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
        let prepared = up.shards().and_then(|places| {
            let prepared = self.prepare_redirect(&options, &places, up)?;
            Ok((prepared, places))
        });
        match prepared {
            Ok((Prepared::Ready, places)) => self.track_at(&places, call, options, of, up),
            Ok((Prepared::Waits, _)) => return Err(of),
            Ok((Prepared::ForNobody, _)) => self.refuse(NOBODY, of),
            Err(lost) => self.lose(lost, of),
        }
        Ok(Flow::Next)
    }

    fn refusal_to_track(&self, options: &Options, is_off: bool) -> Option<&'static [u8]> {
        match options.redirect {
            None if self.speaks.version == RespVersion::Resp2 && !is_off => {
                Some(b"ERR CLIENT TRACKING needs RESP3 or REDIRECT at the gateway")
            }
            Some(Redirect::Wrong) => Some(b"ERR value is not an integer or out of range"),
            Some(Redirect::Many) => {
                Some(b"ERR A client can only redirect to a single other client")
            }
            _ if self.transaction.has_connection() => {
                Some(b"ERR CLIENT TRACKING is not supported while keys are watched")
            }
            _ => None,
        }
    }

    /// Makes sure that another client can be told, if one is to be.
    fn prepare_redirect(
        &mut self,
        options: &Options,
        places: &Destinations,
        up: &mut impl Upstreams,
    ) -> Result<Prepared, Lost> {
        let Some(Redirect::To(client)) = options.redirect else {
            return Ok(Prepared::Ready);
        };
        if self.speaks.version == RespVersion::Resp2 {
            let are_open = self.open_ears(places, up);
            if are_open.is_err() {
                self.end_tracking_now(up);
            }
            if !are_open? {
                return Ok(Prepared::Waits);
            }
        }
        if up.redirect_to(client) {
            return Ok(Prepared::Ready);
        }
        if self.tracking.as_ref().is_some_and(|it| it.said.is_empty()) {
            self.end_tracking_now(up);
        }
        Ok(Prepared::ForNobody)
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
        let ears = self.tracking.as_ref().map(|tracking| &tracking.ears);
        let told = |to: &Destination| {
            let renaming = way::renaming(to.way, up);
            let ear = ears.and_then(|ears| ears.number(*to));
            options::told(call.command, &options, renaming.as_deref(), ear)
        };
        let wires: Result<Vec<BytesMut>, Lost> = places.iter().map(told).collect();
        let wires = match wires {
            Ok(wires) => wires,
            Err(lost) => return self.lose(lost, of),
        };
        let tracking = self.tracking.get_or_insert_default();
        if tracking.said.len() >= MOST_SAID {
            return self.refuse(b"ERR too many CLIENT TRACKING commands", of);
        }
        // What turned it on before is said to a new connection first.
        tracking.is_broadcast |= options.is_broadcast;
        tracking.is_redirected = options.redirect.is_some();
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
        let words: Vec<&[u8]> = call.command.arguments().collect();
        tracking.asking = Some(Asking {
            answers: Answers::default(),
            command: Command::new(&words),
            options,
        });
        let assembly = Assembly::new(How::Merge(Merge::Same, Box::default()), pins.len());
        let is_silent = self.is_silent();
        let slot = self.slots.push_merging(of, is_silent, assembly);
        for (part, (pin, wire)) in (0..).zip(pins.into_iter().zip(wires)) {
            let ticket = Ticket::Slot { slot, part };
            if let Err(lost) = up.send_pinned(pin, &wire, Some(ticket)) {
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
            command,
            options,
        } = asking;
        if answers.is_done() {
            tracking.options.add(options);
            if !tracking.said.contains(&command) {
                tracking.said.push(command);
            }
        } else if tracking.said.is_empty() {
            self.end_tracking_now(up);
        } else {
            // Refused by all, it is as it was, but for who is told.
            let is_other = options.redirect != tracking.options.redirect;
            tracking.is_broken |= answers.is_taken || answers.is_lost || is_other;
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

    fn tracking_info(&mut self, of: T) {
        let info = self.tracking.as_ref();
        let info = info.map(|tracking| (tracking.options.clone(), tracking.caching));
        self.answer(of, |version, reply| {
            options::write_info(info.as_ref(), version, reply);
        });
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

    /// A node of a Redis Cluster says that another has the slot: the command goes there, over the client's own connection.
    pub fn send_on(
        &mut self,
        to: Result<Destination, Lost>,
        is_ask: bool,
        wire: &[u8],
        ticket: Ticket,
        up: &mut impl Upstreams,
    ) {
        let speaks = self.speaks;
        let tracking = self.tracking.as_mut().ok_or(Lost::Closed);
        let sent = to.and_then(|to| {
            let tracking = tracking?;
            let pin = tracking.link_to(to, speaks, up)?;
            if is_ask {
                up.send_pinned(pin, ASKING, Some(Ticket::Own))?;
            }
            if tracking.options.is_optin {
                // Whether it was said of this command is not known any more. A key that is tracked in vain does no harm.
                tracking.say(true, pin, up)?;
            }
            up.send_pinned(pin, wire, Some(ticket))
        });
        if let Err(lost) = sent {
            self.on_piece(ticket, Piece::Lost(lost));
        }
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
            for link in &tracking.links {
                up.unpin(link.pin, PinEnd::Dirty);
            }
            for pin in tracking.ears.pins() {
                up.unpin(pin, PinEnd::Dirty);
            }
        }
    }
}
