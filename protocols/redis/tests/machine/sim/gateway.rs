//! The gateway's connections: those that clients share, those that one has for itself, and those that wait for the next.
//!
//! What the session does with sockets, done with buffers. Start at [`Gateway`] and [`Reach`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use portcullis_redis::command::handling::Scope;
use portcullis_redis::limits::ReplyLimits;
use portcullis_redis::machine::{
    Call, Destination, Destinations, Lost, PinEnd, PinId, Pipeline, Purpose, SlotId, Speaks,
    Ticket, Upstreams, Waiting,
};
use portcullis_redis::renaming::Renaming;

use super::model::{Peer, Server};
use portcullis_testkit::Choices;

/// Replies above this come in pieces.
pub const WHOLE: usize = 192;

/// Whose reply comes when.
#[derive(Debug)]
pub struct Pending {
    pub client: usize,
    pub ticket: Ticket,
    /// Replies to a run that are still to come.
    run: u32,
}

impl Pending {
    fn new(client: usize, ticket: Ticket) -> Self {
        Self {
            client,
            ticket,
            run: 0,
        }
    }

    pub fn of_run(client: usize, first: SlotId, count: u32) -> Self {
        let ticket = Ticket::Slot {
            slot: first,
            part: 0,
        };
        Self {
            run: count,
            ..Self::new(client, ticket)
        }
    }

    /// The tickets of all replies that it waits for.
    pub fn tickets(mut self) -> Vec<Ticket> {
        let first = std::iter::from_fn(|| self.split_first().map(|first| first.ticket));
        let mut all: Vec<_> = first.collect();
        all.push(self.ticket);
        all
    }
}

impl Waiting for Pending {
    fn run(&self) -> u32 {
        self.run
    }

    fn split_first(&mut self) -> Option<Self> {
        if self.run < 2 {
            return None;
        }
        let first = Self::new(self.client, self.ticket);
        self.pass(1);
        Some(first)
    }

    fn pass(&mut self, count: u32) {
        let Ticket::Slot { slot, part } = self.ticket else {
            panic!("no run has this ticket");
        };
        let slot = slot.plus(count);
        self.ticket = Ticket::Slot { slot, part };
        self.run -= count;
    }
}

/// A connection to a server. Its number is the server's number of it too.
pub struct Link {
    pub shard: usize,
    pub speaks: Speaks,
    pub pipeline: Pipeline<Pending>,
    /// Not with the server yet.
    pub out: BytesMut,
    /// Not taken in yet.
    pub input: BytesMut,
    pub owner: Option<(usize, PinId)>,
}

/// A connection of a client's own, as long as the client thinks that it has it.
struct Pinned {
    client: usize,
    pin: PinId,
    link: usize,
}

/// All connections, and the servers behind them.
pub struct Gateway<'a> {
    pub choices: Choices<'a>,
    pub servers: Vec<Server>,
    pub links: BTreeMap<usize, Link>,
    shared: Vec<usize>,
    idle: Vec<usize>,
    pins: Vec<Pinned>,
    next: usize,
    /// Whether anything breaks.
    pub breaks: bool,
    /// Whether each client's keys have its number in front of them upstream.
    pub renames: bool,
}

impl<'a> Gateway<'a> {
    pub fn new(choices: Choices<'a>, shards: usize, breaks: bool) -> Self {
        Self {
            choices,
            servers: (0..shards).map(|_| Server::default()).collect(),
            links: BTreeMap::new(),
            shared: Vec::new(),
            idle: Vec::new(),
            pins: Vec::new(),
            next: 0,
            breaks,
            renames: false,
        }
    }

    fn fails(&mut self) -> bool {
        self.breaks && self.choices.once_in(64)
    }

    fn open(&mut self, shard: usize, speaks: Speaks) -> Result<usize, Lost> {
        if self.fails() {
            return Err(Lost::Connect);
        }
        let number = self.next;
        self.next += 1;
        let limits = ReplyLimits {
            whole: WHOLE,
            ..ReplyLimits::default()
        };
        let link = Link {
            shard,
            speaks,
            pipeline: Pipeline::new(limits),
            out: BytesMut::new(),
            input: BytesMut::new(),
            owner: None,
        };
        self.links.insert(number, link);
        let peer = Peer::new(speaks.database, speaks.version);
        self.servers[shard].peers.insert(number, peer);
        Ok(number)
    }

    fn push(&mut self, link: usize, wire: &[u8], pending: Option<Pending>) -> Result<(), Lost> {
        if self.fails() {
            return Err(Lost::Overflow);
        }
        let link = self.links.get_mut(&link).ok_or(Lost::Closed)?;
        link.out.extend_from_slice(wire);
        if let Some(pending) = pending {
            link.pipeline.expect(pending);
        }
        Ok(())
    }

    /// The connection that clients share.
    fn shared(&mut self, shard: usize, speaks: Speaks) -> Result<usize, Lost> {
        let fits = |number: &&usize| {
            let link = &self.links[*number];
            link.shard == shard && link.speaks == speaks
        };
        if let Some(link) = self.shared.iter().find(fits) {
            return Ok(*link);
        }
        let link = self.open(shard, speaks)?;
        self.shared.push(link);
        Ok(link)
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        let letter = key.first().map_or(0, |letter| usize::from(*letter));
        letter % self.servers.len()
    }

    /// The shard of a key, where there is nothing more to a plain command than to send it there.
    pub fn plain_shard(&self, key: &[u8]) -> Option<usize> {
        (!self.renames).then(|| self.shard_of(key))
    }

    /// Sends a run of plain commands.
    pub fn send_run(
        &mut self,
        shard: usize,
        speaks: Speaks,
        wire: &[u8],
        pending: Pending,
    ) -> Result<(), Lost> {
        let link = self.shared(shard, speaks)?;
        self.push(link, wire, Some(pending))
    }

    /// More of a large command, over the connection that it began on.
    pub fn push_more(&mut self, client: usize, pin: PinId, bytes: &[u8]) -> bool {
        let link = self.pinned(client, pin);
        let link = link.and_then(|link| self.links.get_mut(&link));
        link.is_some_and(|link| {
            link.out.extend_from_slice(bytes);
            true
        })
    }

    fn pinned(&self, client: usize, pin: PinId) -> Option<usize> {
        let mut pins = self.pins.iter();
        pins.find(|pinned| pinned.client == client && pinned.pin == pin)
            .map(|pinned| pinned.link)
    }

    /// How many connections the client thinks that it has for itself.
    pub fn pins(&self, client: usize) -> usize {
        let pins = self.pins.iter();
        pins.filter(|pinned| pinned.client == client).count()
    }

    /// Removes a connection. Those who waited are told by whoever calls.
    pub fn remove(&mut self, number: usize) -> Option<Link> {
        self.shared.retain(|link| *link != number);
        self.idle.retain(|link| *link != number);
        let link = self.links.remove(&number)?;
        self.servers[link.shard].peers.remove(&number);
        Some(link)
    }

    /// Nobody's state may be in a connection that others use.
    pub fn check(&self) {
        for number in self.shared.iter().chain(&self.idle) {
            let link = &self.links[number];
            let peer = &self.servers[link.shard].peers[number];
            assert_eq!(peer.state(), None, "in a connection that clients share");
            assert_eq!(peer.database, link.speaks.database);
            assert_eq!(peer.version, link.speaks.version);
        }
    }

    fn check_clean(&self, number: usize) {
        let link = &self.links[&number];
        let peer = &self.servers[link.shard].peers[&number];
        assert_eq!(peer.state(), None, "in a connection that goes back");
        assert!(peer.input.is_empty(), "half a command goes back");
        assert!(peer.output.is_empty() && link.input.is_empty());
    }
}

/// What one client's machine reaches.
pub struct Reach<'a, 'b> {
    pub gateway: &'a mut Gateway<'b>,
    pub client: usize,
}

impl Reach<'_, '_> {
    fn destination(&self, shard: usize) -> Destination {
        Destination {
            upstream: 0,
            shard: shard as u16,
            way: u16::from(self.gateway.renames),
        }
    }
}

impl Upstreams for Reach<'_, '_> {
    fn locate(&mut self, _: &Call<'_>, key: &[u8]) -> Result<Destination, Lost> {
        if self.gateway.fails() {
            return Err(Lost::NoEndpoint);
        }
        Ok(self.destination(self.gateway.shard_of(key)))
    }

    fn anywhere(&mut self, _: &Call<'_>) -> Result<Destination, Lost> {
        Ok(self.destination(self.client % self.gateway.servers.len()))
    }

    fn everywhere(&mut self, _: &Call<'_>, _: Scope) -> Result<Destinations, Lost> {
        let shards = 0..self.gateway.servers.len();
        Ok(shards.map(|shard| self.destination(shard)).collect())
    }

    fn renaming(&self, way: u16) -> Option<Arc<Renaming>> {
        (way == 1).then(|| {
            Arc::new(Renaming {
                strip: Box::default(),
                add: format!("t{}:", self.client).into_bytes().into(),
                allows_scripts: false,
            })
        })
    }

    fn shards(&mut self) -> Result<Destinations, Lost> {
        let shards = 0..self.gateway.servers.len();
        Ok(shards.map(|shard| self.destination(shard)).collect())
    }

    fn send(
        &mut self,
        to: Destination,
        speaks: Speaks,
        wire: &[u8],
        ticket: Ticket,
    ) -> Result<(), Lost> {
        let link = self.gateway.shared(usize::from(to.shard), speaks)?;
        let pending = Pending::new(self.client, ticket);
        self.gateway.push(link, wire, Some(pending))
    }

    fn pin(&mut self, to: Destination, speaks: Speaks, _: Purpose) -> Result<PinId, Lost> {
        let gateway = &mut *self.gateway;
        let shard = usize::from(to.shard);
        let fits = |number: &usize| {
            let link = &gateway.links[number];
            link.shard == shard && link.speaks == speaks
        };
        let link = match gateway.idle.iter().position(fits) {
            Some(index) => gateway.idle.swap_remove(index),
            None => gateway.open(shard, speaks)?,
        };
        let pin = PinId(gateway.next as u32);
        gateway.next += 1;
        let client = self.client;
        gateway.pins.push(Pinned { client, pin, link });
        if let Some(link) = gateway.links.get_mut(&link) {
            link.owner = Some((client, pin));
        }
        Ok(pin)
    }

    fn send_pinned(&mut self, pin: PinId, wire: &[u8], ticket: Option<Ticket>) -> Result<(), Lost> {
        let client = self.client;
        let link = self.gateway.pinned(client, pin).ok_or(Lost::Closed)?;
        let pending = ticket.map(|ticket| Pending::new(client, ticket));
        self.gateway.push(link, wire, pending)
    }

    fn unpin(&mut self, pin: PinId, end: PinEnd) {
        let gateway = &mut *self.gateway;
        let mine = |pinned: &Pinned| pinned.client == self.client && pinned.pin == pin;
        let index = gateway.pins.iter().position(mine);
        let number = gateway.pins.swap_remove(index.expect("a pin")).link;
        let Some(link) = gateway.links.get_mut(&number) else {
            return;
        };
        link.owner = None;
        if end == PinEnd::Clean && link.pipeline.is_empty() && link.out.is_empty() {
            gateway.check_clean(number);
            gateway.idle.push(number);
        } else {
            gateway.remove(number);
        }
    }
}
