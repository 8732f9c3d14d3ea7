//! SUBSCRIBE and its relatives: over connections of the client's own, one for each shard that has something for it.
//!
//! Upstream it is RESP3, where messages cannot be taken for replies; the counts that a client is told are its own, not a
//! server's. Start at [`Client::subscription_command`] and [`Client::on_push`].

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use super::{Assembly, Client, Flow, How, way};
use crate::command::CommandId;
use crate::command::channels::{ChannelUse, Channels, channels};
use crate::command::handling::Scope;
use crate::encoder;
use crate::machine::elements::{elements, text};
use crate::machine::slots::SlotId;
use crate::machine::upstreams::{
    Call, Destination, Lost, Piece, PinEnd, PinId, Purpose, Speaks, Ticket, Upstreams,
};
use crate::message::RespVersion;
use crate::renaming::{asks_for_notifications, is_notification};
use crate::reply::ReplyKind;

/// What a client wants to hear. Most want nothing, and hold nothing for it.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    listening: Option<Box<Listening>>,
}

/// Of a client that has asked for messages.
#[derive(Debug, Default)]
struct Listening {
    // By `Kind`.
    sets: [BTreeSet<Bytes>; 3],
    links: Vec<Link>,
    /// Messages that came while a large reply was half with the client.
    late: BytesMut,
}

/// A connection that messages come over.
#[derive(Debug)]
struct Link {
    to: Destination,
    pin: PinId,
    /// What is to be confirmed, in order.
    waiting: VecDeque<(SlotId, u32)>,
    /// A push that is not whole.
    partial: BytesMut,
    /// Keys have other names there: messages that tell of keys are not for this client.
    is_renamed: bool,
}

/// The three things that can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Channel = 0,
    Pattern = 1,
    Sharded = 2,
}

impl Kind {
    const fn of(channels: &Channels) -> Self {
        match (channels.patterns, channels.sharded) {
            (true, _) => Self::Pattern,
            (_, true) => Self::Sharded,
            _ => Self::Channel,
        }
    }
}

impl Listening {
    /// Channels, patterns and sharded channels.
    fn counts(&self) -> (usize, usize, usize) {
        let [channels, patterns, sharded] = &self.sets;
        (channels.len(), patterns.len(), sharded.len())
    }

    fn is_empty(&self) -> bool {
        self.sets.iter().all(BTreeSet::is_empty)
    }

    fn set(&mut self, kind: Kind) -> &mut BTreeSet<Bytes> {
        let [channels, patterns, sharded] = &mut self.sets;
        match kind {
            Kind::Channel => channels,
            Kind::Pattern => patterns,
            Kind::Sharded => sharded,
        }
    }
}

impl Subscriptions {
    /// Whether there never were any, or nothing is left of them.
    pub(super) const fn holds_nothing(&self) -> bool {
        self.listening.is_none()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.listening
            .as_ref()
            .is_none_or(|listening| listening.is_empty())
    }

    /// Channels, patterns and sharded channels.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        self.listening
            .as_ref()
            .map_or((0, 0, 0), |listening| listening.counts())
    }

    /// Whether this channel is among them.
    pub(super) fn has_channel(&self, channel: &[u8]) -> bool {
        self.listening.as_ref().is_some_and(|listening| {
            listening
                .sets
                .first()
                .is_some_and(|it| it.contains(channel))
        })
    }

    /// What a confirmation counts: sharded channels are counted apart.
    fn count(&self, kind: Kind) -> usize {
        let (channels, patterns, sharded) = self.counts();
        if kind == Kind::Sharded {
            sharded
        } else {
            channels + patterns
        }
    }

    fn listening(&mut self) -> &mut Listening {
        self.listening.get_or_insert_default()
    }

    fn set(&mut self, kind: Kind) -> &mut BTreeSet<Bytes> {
        self.listening().set(kind)
    }

    pub(super) fn take_pins(&mut self) -> impl Iterator<Item = PinId> + use<> {
        let links = self.listening.take().map(|listening| listening.links);
        links.into_iter().flatten().map(|link| link.pin)
    }

    /// Whether a server has not confirmed yet what it was asked for: what is said behind that must not overtake it, over another
    /// connection.
    #[inline]
    pub(super) fn is_asking(&self) -> bool {
        let is_asking = |link: &Link| !link.waiting.is_empty();
        let listening = self.listening.as_ref();
        listening.is_some_and(|listening| listening.links.iter().any(is_asking))
    }

    /// Whether there are connections that nothing is listened to on.
    #[inline]
    pub(super) fn has_unused(&self) -> bool {
        self.listening
            .as_ref()
            .is_some_and(|listening| !listening.links.is_empty() && listening.is_empty())
    }

    /// Sends on messages that had to wait for the end of a reply.
    #[inline]
    pub(super) fn write_late(&mut self, is_open: bool, out: &mut BytesMut) {
        if let Some(listening) = &mut self.listening
            && !is_open
            && !listening.late.is_empty()
        {
            out.extend_from_slice(&listening.late);
            listening.late = BytesMut::new();
        }
    }
}

/// Whether a client of RESP2 may say it while it has subscriptions.
pub(super) const fn is_allowed(id: CommandId) -> bool {
    matches!(
        id,
        CommandId::SUBSCRIBE
            | CommandId::PSUBSCRIBE
            | CommandId::SSUBSCRIBE
            | CommandId::UNSUBSCRIBE
            | CommandId::PUNSUBSCRIBE
            | CommandId::SUNSUBSCRIBE
            | CommandId::PING
            | CommandId::QUIT
            | CommandId::RESET
    )
}

/// What a server says to anything else.
pub(super) fn refusal(name: &str) -> String {
    format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )
}

/// A command to a shard, about one channel.
struct Request {
    to: Destination,
    wire: BytesMut,
}

impl<T> Client<T> {
    /// Subscribes or unsubscribes.
    pub(super) fn subscription_command(
        &mut self,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        let Some(channels) = channels(call.id, &call.command) else {
            return Ok(Flow::Next);
        };
        // A PUBLISH of its own that is under way would be missed, or heard though it came later.
        if !self.slots.is_empty() {
            return Err(of);
        }
        let kind = Kind::of(&channels);
        if asks_for_notifications(call.id, &call.command) && is_renamed(&call, kind, up) {
            self.lose(Lost::BeyondPrefix, of);
            return Ok(Flow::Next);
        }
        let mut reply = BytesMut::new();
        let mut requests = Vec::new();
        let wanted = self.wanted(&call, &channels, kind);
        for channel in &wanted {
            if let Err(lost) = self.change(&call, &channels, channel, &mut reply, &mut requests, up)
            {
                // What it is subscribed to now is not what it was told.
                self.lose(lost, of);
                return Ok(Flow::Close);
            }
        }
        if wanted.is_empty() {
            self.confirm(call.id, kind, None, &mut reply);
        }
        Ok(self.ask(requests, reply, of, up))
    }

    /// The channels that are named, or all.
    fn wanted(&mut self, call: &Call<'_>, channels: &Channels, kind: Kind) -> Vec<Bytes> {
        if channels.use_of == ChannelUse::Unsubscribe && channels.first >= channels.end {
            return self.subscriptions.set(kind).iter().cloned().collect();
        }
        let named = (channels.first..channels.end).filter_map(|index| call.command.argument(index));
        named.map(Bytes::copy_from_slice).collect()
    }

    /// Notes one channel, writes the client's confirmation, and says which shards have to hear of it.
    fn change(
        &mut self,
        call: &Call<'_>,
        channels: &Channels,
        channel: &Bytes,
        reply: &mut BytesMut,
        requests: &mut Vec<Request>,
        up: &mut impl Upstreams,
    ) -> Result<(), Lost> {
        let kind = Kind::of(channels);
        let is_new = match channels.use_of {
            ChannelUse::Subscribe => !self.subscriptions.set(kind).contains(channel),
            _ => self.subscriptions.set(kind).contains(channel),
        };
        if is_new {
            let targets = match kind {
                // A message is published at one shard, which a pattern does not tell.
                Kind::Pattern => up.everywhere(call, Scope::Primaries)?,
                Kind::Channel | Kind::Sharded => {
                    std::iter::once(up.locate(call, channel)?).collect()
                }
            };
            requests.extend(targets.into_iter().map(|to| {
                let mut wire = BytesMut::new();
                encoder::command(&[call.command.name(), channel], &mut wire);
                Request { to, wire }
            }));
            match channels.use_of {
                ChannelUse::Subscribe => self.subscriptions.set(kind).insert(channel.clone()),
                _ => self.subscriptions.set(kind).remove(channel),
            };
        }
        self.confirm(call.id, kind, Some(channel), reply);
        Ok(())
    }

    fn confirm(&self, id: CommandId, kind: Kind, channel: Option<&[u8]>, reply: &mut BytesMut) {
        let version = self.speaks.version;
        encoder::push(3, version, reply);
        encoder::bulk(id.name().as_bytes(), reply);
        match channel {
            Some(channel) => encoder::bulk(channel, reply),
            None => encoder::null(version, reply),
        }
        let count = i64::try_from(self.subscriptions.count(kind)).unwrap_or(i64::MAX);
        encoder::integer(count, reply);
    }

    /// Sends the requests; the reply is the client's when all are confirmed. If one cannot be sent, what the client listens to
    /// is not what it was told.
    fn ask(
        &mut self,
        requests: Vec<Request>,
        reply: BytesMut,
        of: T,
        up: &mut impl Upstreams,
    ) -> Flow {
        let mut flow = Flow::Next;
        if requests.is_empty() {
            self.answer(of, |_, out| out.extend_from_slice(&reply));
            return flow;
        }
        let parts = Assembly::new(How::Known(reply.freeze()), requests.len());
        let is_silent = self.is_silent();
        let slot = self.slots.push_merging(of, is_silent, parts);
        for (part, request) in (0..).zip(requests) {
            if let Err(lost) = self.ask_one(&request, (slot, part), up) {
                let ticket = Ticket::Slot { slot, part };
                self.on_piece(ticket, Piece::Lost(lost));
                flow = Flow::Close;
            }
        }
        flow
    }

    fn ask_one(
        &mut self,
        request: &Request,
        confirms: (SlotId, u32),
        up: &mut impl Upstreams,
    ) -> Result<(), Lost> {
        let links = &mut self.subscriptions.listening().links;
        let known = links.iter().position(|link| link.to == request.to);
        let index = if let Some(index) = known {
            index
        } else {
            let speaks = Speaks {
                version: RespVersion::Resp3,
                ..self.speaks
            };
            links.push(Link {
                to: request.to,
                pin: up.pin(request.to, speaks, Purpose::Subscription)?,
                waiting: VecDeque::new(),
                partial: BytesMut::new(),
                is_renamed: way::renaming(request.to.way, up).is_some(),
            });
            links.len() - 1
        };
        let link = links.get_mut(index).ok_or(Lost::NoEndpoint)?;
        up.send_pinned(link.pin, &request.wire, None)?;
        link.waiting.push_back(confirms);
        Ok(())
    }

    /// Whether messages come over this connection: without it some would be missed, and nobody would know.
    #[must_use]
    pub fn listens_on(&self, pin: PinId) -> bool {
        let listening = self.subscriptions.listening.as_ref();
        listening.is_some_and(|listening| listening.links.iter().any(|link| link.pin == pin))
            || self.tracking.as_ref().is_some_and(|it| it.has(pin))
            || self.monitor.as_ref().is_some_and(|it| it.has(pin))
    }

    pub(super) fn end_subscriptions_now(&mut self, up: &mut impl Upstreams) {
        for pin in self.subscriptions.take_pins() {
            up.unpin(pin, PinEnd::Dirty);
        }
    }

    /// Something that a server said unasked, over a connection of the client's own.
    pub fn on_push(&mut self, pin: PinId, piece: Piece<'_>) {
        if self.on_tracking_push(pin, piece) || self.on_monitor_push(pin, piece) {
            return;
        }
        let links = &mut self.subscriptions.listening().links;
        let Some(link) = links.iter_mut().find(|link| link.pin == pin) else {
            return;
        };
        match piece {
            Piece::Whole { bytes, .. } => self.on_whole_push(pin, bytes),
            Piece::Begin { bytes, .. } | Piece::More { bytes, last: false } => {
                link.partial.extend_from_slice(bytes);
            }
            Piece::More { bytes, last: true } => {
                let mut whole = std::mem::take(&mut link.partial);
                whole.extend_from_slice(bytes);
                self.on_whole_push(pin, &whole);
            }
            Piece::Lost(_) => {}
        }
    }

    /// A node of a Redis Cluster ended a subscription, since the channel's slot is another's now. The client is told as by a
    /// server, and may subscribe again.
    fn on_ended(&mut self, channel: &[u8]) {
        if !self.subscriptions.set(Kind::Sharded).remove(channel) {
            return;
        }
        let mut told = BytesMut::new();
        let id = CommandId::SUNSUBSCRIBE;
        self.confirm(id, Kind::Sharded, Some(channel), &mut told);
        self.tell(&told);
    }

    fn on_whole_push(&mut self, pin: PinId, bytes: &[u8]) {
        let mut all = elements(bytes).into_iter().flatten();
        let what = all.next().and_then(text);
        let is_confirmation = what.is_some_and(|what| what.ends_with(b"subscribe"));
        let links = &mut self.subscriptions.listening().links;
        let link = links.iter_mut().find(|link| link.pin == pin);
        if is_confirmation {
            if let Some((slot, part)) = link.and_then(|link| link.waiting.pop_front()) {
                let kind = ReplyKind::Push;
                let piece = Piece::Whole { kind, bytes };
                self.on_piece(Ticket::Slot { slot, part }, piece);
            } else if let Some(channel) = all.next().and_then(text) {
                self.on_ended(channel);
            }
            return;
        }
        if tells_of_keys(what, all) && link.is_some_and(|link| link.is_renamed) {
            return;
        }
        let is_resp2 = self.speaks.version == RespVersion::Resp2;
        let (to, start) = self.tell(bytes);
        // Messages hold nothing but strings: only the type of the whole is another in RESP2.
        if is_resp2 && let Some(kind) = to.get_mut(start) {
            *kind = b'*';
        }
    }

    /// Sends a message, or keeps it until a reply is whole. Where it is, and where it begins there.
    pub(super) fn tell(&mut self, bytes: &[u8]) -> (&mut BytesMut, usize) {
        let to = if self.slots.is_open() {
            &mut self.subscriptions.listening().late
        } else {
            &mut self.out
        };
        let start = to.len();
        to.extend_from_slice(bytes);
        (to, start)
    }
}

/// Whether keys have other names where messages of these channels come from.
fn is_renamed(call: &Call<'_>, kind: Kind, up: &mut impl Upstreams) -> bool {
    let to = match kind {
        Kind::Pattern => up
            .everywhere(call, Scope::Primaries)
            .map(|all| all.first().copied()),
        Kind::Channel | Kind::Sharded => {
            let channel = call.command.argument(1).unwrap_or_default();
            up.locate(call, channel).map(Some)
        }
    };
    // Where there is no way to it, that is found again and said.
    to.is_ok_and(|to| to.is_some_and(|to| way::renaming(to.way, up).is_some()))
}

/// Whether a message is a notification, by its kind and what is behind that: the pattern, if it has one, and the channel.
fn tells_of_keys<'a>(what: Option<&[u8]>, mut rest: impl Iterator<Item = &'a [u8]>) -> bool {
    let index = usize::from(what == Some(b"pmessage"));
    rest.nth(index).and_then(text).is_some_and(is_notification)
}
