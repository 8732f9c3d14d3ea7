//! What a client's machine reaches: the rules of its listener, and the connections of its worker.
//!
//! Made for each command out of what the client's task has. Start at [`Reach`].

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::cell::{Cell, Flight};
use super::link::{Link, Pending, Replay};
use super::mailbox::Mailbox;
use super::receiver::Receiver;
use super::scripts::ScriptCall;
use super::server::{RedisServer, Rule};
use super::shard::Shard;
use super::upstream::{Sender, Upstream};
use super::way::Way;
use super::written::Written;
use super::{mirror, shared};
use crate::command::handling::Scope;
use crate::command::{Categories, Flags};
use crate::machine::{
    Call, Client, Destination, Destinations, Lost, PinEnd, PinId, Purpose, Sent, Speaks, Ticket,
    Upstreams,
};
use crate::renaming::Renaming;
use crate::route::Asked;

/// A connection of the client's own.
pub(super) struct Pinned {
    pub(super) id: PinId,
    pub(super) link: Rc<Link>,
    at: Destination,
    speaks: Speaks,
    /// It is for one command, which may go on to another node.
    is_blocking: bool,
    /// Keys are tracked on it.
    is_tracked: bool,
}

/// A client's own connections.
#[derive(Default)]
pub(super) struct Pins {
    next: u32,
    list: Vec<Pinned>,
    written: Written,
    /// Which shard of which upstream was chosen for what may go anywhere, as long as something is under way.
    anywhere: Option<(u16, u16)>,
}

impl Pins {
    /// Nothing is under way that another server could overtake.
    #[inline]
    pub(super) const fn forget_chosen(&mut self) {
        self.anywhere = None;
    }

    /// Where the client has written.
    pub(super) const fn written(&mut self) -> &mut Written {
        &mut self.written
    }

    /// The way that commands over this connection are on.
    pub(super) fn way_of(&self, link: &Rc<Link>) -> Option<u16> {
        let mut list = self.list.iter();
        let found = list.find(|pinned| Rc::ptr_eq(&pinned.link, link));
        found.map(|pinned| pinned.at.way)
    }

    /// The connection with this number.
    pub(super) fn find(&self, id: PinId) -> Option<&Rc<Link>> {
        let found = self.list.iter().find(|pinned| pinned.id == id);
        found.map(|pinned| &pinned.link)
    }
}

/// What one client's machine reaches.
pub(super) struct Reach<'a> {
    pub(super) cell: &'a Rc<Cell>,
    pub(super) pins: &'a mut Pins,
    pub(super) asking: Asking,
    pub(super) user: &'a [u8],
    pub(super) database: u32,
    /// How many shared requests had been sent when it was last answered.
    pub(super) answered: u64,
    /// It is in no transaction and watches nothing.
    pub(super) may_read_elsewhere: bool,
    /// The script of the command that is carried out.
    pub(super) script: Option<Rc<ScriptCall>>,
    /// How often the command was sent on already.
    pub(super) hops: u8,
    /// Any server will do for it.
    is_anywhere: bool,
    /// Whom messages about tracked keys are for from now on.
    redirect: Option<Arc<Mailbox>>,
}

/// The client that asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// Its number.
    pub(super) client: u64,
    /// Since when it has had something under way, or had.
    pub(super) busy_since: Instant,
    pub(super) address: IpAddr,
    /// The command that it says now only reads, and a replica may answer it.
    pub(super) is_read: bool,
    /// The command may write.
    pub(super) is_write: bool,
}

/// Lets a client's machine act on all that it reaches, and counts what is over then.
#[inline]
pub(super) fn act<R>(
    cell: &Rc<Cell>,
    pins: &mut Pins,
    asking: Asking,
    act: impl FnOnce(&mut Client<Flight>, &mut Reach<'_>) -> R,
) -> R {
    let mut state = cell.state.borrow_mut();
    if let Some(mut redirected) = state.redirected.take() {
        pins.written.append(&mut redirected);
    }
    let user = state.machine.user_name().clone();
    let mut reach = Reach {
        cell,
        pins,
        asking,
        user: &user,
        database: state.machine.database(),
        answered: state.answered,
        may_read_elsewhere: !state.machine.holds_transaction(),
        script: None,
        hops: 0,
        is_anywhere: false,
        redirect: None,
    };
    let result = act(&mut state.machine, &mut reach);
    if let Some(redirect) = reach.redirect {
        state.redirect = Some(redirect);
    }
    cell.count(&mut state);
    result
}

impl<'a> Reach<'a> {
    fn server(&self) -> &'a RedisServer {
        &self.cell.server
    }

    #[inline]
    fn send_for(
        &self,
        receiver: Receiver,
        to: Destination,
        speaks: Speaks,
        wire: &[u8],
        ticket: Ticket,
    ) -> Result<(), Lost> {
        let pending = self.pending(receiver, ticket);
        self.server()
            .upstream(to.upstream)?
            .send(to.shard, speaks, self.sender(), wire, pending)
    }

    pub(super) const fn sender(&self) -> Sender {
        Sender {
            client: self.asking.client,
            busy_since: self.asking.busy_since,
            is_read: self.asking.is_read && self.may_read_elsewhere,
            is_write: self.asking.is_write,
            is_anywhere: self.is_anywhere,
        }
    }

    /// Where a server has its place, if it is one of those that rules lead to now.
    pub(super) fn place_of(&self, shard: &Rc<Shard>) -> Option<Destination> {
        let server = self.server();
        let mut upstreams = server.leads().map(|lead| server.current(lead));
        upstreams.find_map(|found| {
            let (upstream, at) = found.ok()?;
            let shard = at.place_of(shard)?;
            let way = 0;
            Some(Destination {
                upstream,
                shard,
                way,
            })
        })
    }

    /// A command that may write was sent over a connection that clients share.
    fn note_written(&mut self, to: Destination, speaks: Speaks) {
        let Ok(upstream) = self.server().upstream(to.upstream) else {
            return;
        };
        if let Ok(shard) = upstream.shard(to.shard, self.sender()) {
            let link = || upstream.shared_link(&shard, speaks, self.asking.client);
            self.pins.written.note(&shard, link);
        }
    }

    /// As [`note_written`](Self::note_written), over a connection of the client's own.
    fn note_pinned(&mut self, pin: PinId) {
        let Some(pinned) = self.pins.list.iter().find(|pinned| pinned.id == pin) else {
            return;
        };
        let Ok(upstream) = self.server().upstream(pinned.at.upstream) else {
            return;
        };
        let node = pinned.link.node();
        let shard = node.or_else(|| upstream.shard(pinned.at.shard, self.sender()).ok());
        if let Some(shard) = shard {
            // One that clients share lasts longer.
            let shared = upstream.shared_link(&shard, pinned.speaks, self.asking.client);
            let shared = shared.filter(|link| !link.is_over());
            let link = || shared.or_else(|| Some(Rc::clone(&pinned.link)));
            self.pins.written.note(&shard, link);
        }
    }

    /// What a key of this command, or a channel, is called upstream.
    #[inline]
    pub(super) fn upstream_name<'k>(
        &self,
        call: &Call<'_>,
        way: u16,
        key: &'k [u8],
    ) -> Result<Cow<'k, [u8]>, Lost> {
        match self.renaming(way) {
            // Channels are called upstream as they are here.
            Some(renaming) if !call.id.categories().contains(Categories::PUBSUB) => {
                renaming.upstream(key).map(Cow::Owned)
            }
            _ => Ok(Cow::Borrowed(key)),
        }
    }

    /// A reply that somebody waits for. What the machine says of its own has no script.
    #[inline]
    fn pending(&self, receiver: Receiver, ticket: Ticket) -> Pending {
        let is_the_clients = matches!(ticket, Ticket::Slot { .. });
        let mut pending = Pending::new(receiver, ticket);
        pending.script = self.script.clone().filter(|_| is_the_clients);
        pending
    }

    /// The rule for a command with this key, or without.
    #[inline]
    pub(super) fn rule(&self, call: &Call<'_>, key: Option<&[u8]>) -> Result<&Rule, Lost> {
        let asked = Asked {
            command: call.id,
            foreign: call.foreign,
            key,
            database: self.database,
            user: self.user,
            address: self.asking.address,
        };
        let mut rules = self.server().rules.iter();
        rules
            .find(|rule| rule.condition.takes(&asked))
            .ok_or(Lost::NoRoute)
    }

    /// Where the rule for a command leads: to which upstream, on which way, at a shard that is still to be said.
    #[inline]
    fn lead(
        &self,
        call: &Call<'_>,
        key: Option<&[u8]>,
    ) -> Result<(Destination, Rc<Upstream>), Lost> {
        let rule = self.rule(call, key)?;
        let (upstream, at) = self.server().current(rule.lead(self.reads(call)))?;
        let to = Destination {
            upstream,
            shard: 0,
            way: rule.way,
        };
        Ok((to, at))
    }

    /// Whether a command may go where commands go that only read. Scripts may not: nobody looks at what they do.
    fn reads(&self, call: &Call<'_>) -> bool {
        self.may_read_elsewhere
            && call.flags().contains(Flags::READONLY)
            && !call.id.categories().contains(Categories::SCRIPTING)
    }
}

impl Upstreams for Reach<'_> {
    #[inline]
    fn locate(&mut self, call: &Call<'_>, key: &[u8]) -> Result<Destination, Lost> {
        let (to, at) = self.lead(call, Some(key))?;
        let shard = at.locate(call.id, &self.upstream_name(call, to.way, key)?)?;
        Ok(Destination { shard, ..to })
    }

    fn anywhere(&mut self, call: &Call<'_>) -> Result<Destination, Lost> {
        let (to, at) = self.lead(call, None)?;
        let chosen = self
            .pins
            .anywhere
            .filter(|(known, _)| *known == to.upstream);
        let shard = at.anywhere(self.asking.client, chosen.map(|(_, shard)| shard));
        self.pins.anywhere = Some((to.upstream, shard));
        self.is_anywhere = true;
        Ok(Destination { shard, ..to })
    }

    fn everywhere(&mut self, call: &Call<'_>, _: Scope) -> Result<Destinations, Lost> {
        let (to, at) = self.lead(call, None)?;
        let shards = at.everywhere(call.id)?.into_iter();
        Ok(shards.map(|shard| Destination { shard, ..to }).collect())
    }

    fn renaming(&self, way: u16) -> Option<Arc<Renaming>> {
        if way == 0 {
            return None;
        }
        self.server().ways.find(way)?.renaming().cloned()
    }

    fn shards(&mut self) -> Result<Destinations, Lost> {
        let mut all = Destinations::new();
        let server = self.server();
        let (database, user, address) = (self.database, self.user, self.asking.address);
        let may_take = |rule: &&Rule| rule.condition.may_take(database, user, address);
        for rule in server.rules.iter().filter(may_take) {
            for reads in [false, true] {
                let (upstream, at) = server.current(rule.lead(reads))?;
                let way = rule.way;
                let is_it = |known: &Destination| known.upstream == upstream && known.way == way;
                if all.iter().any(is_it) {
                    continue;
                }
                all.extend(at.shards()?.into_iter().map(|shard| Destination {
                    upstream,
                    shard,
                    way,
                }));
            }
        }
        if all.is_empty() {
            return Err(Lost::NoRoute);
        }
        Ok(all)
    }

    fn server_of(&mut self, to: Destination) -> Result<Destination, Lost> {
        let upstream = self.server().upstream(to.upstream)?;
        let shard = upstream.server_of(to.shard, self.sender())?;
        Ok(Destination { shard, ..to })
    }

    #[inline]
    fn send(
        &mut self,
        to: Destination,
        speaks: Speaks,
        wire: &[u8],
        ticket: Ticket,
    ) -> Result<(), Lost> {
        let receiver = Receiver::Client(Rc::clone(self.cell));
        self.send_for(receiver, to, speaks, wire, ticket)?;
        if self.asking.is_write {
            self.note_written(to, speaks);
        }
        Ok(())
    }

    fn redirect_to(&mut self, client: u64) -> bool {
        let mailboxes = &self.server().mailboxes;
        self.redirect = mailboxes.find(client, self.user);
        self.redirect.is_some()
    }

    fn written(&mut self) -> Result<Destinations, Lost> {
        let mut written = std::mem::take(&mut self.pins.written);
        let found: Option<Destinations> = {
            let shards = written.shards()?;
            shards.map(|shard| self.place_of(shard)).collect()
        };
        // Once one of them has no place any more, all is forgotten.
        let found = found.ok_or(Lost::Closed)?;
        self.pins.written = written;
        Ok(found)
    }

    fn send_shared(
        &mut self,
        to: Destination,
        speaks: Speaks,
        wire: &[u8],
        ticket: Ticket,
    ) -> Result<(), Lost> {
        let server = self.server();
        if !server.ways.find(to.way).is_some_and(Way::collapses) {
            return self.send(to, speaks, wire, ticket);
        }
        let upstream = server.upstream(to.upstream)?;
        let Some(over) = upstream.over(to.shard, self.sender())? else {
            return self.send(to, speaks, wire, ticket);
        };
        let asked = shared::Asked {
            to,
            speaks,
            over,
            wire,
        };
        if server.shared.join(asked, self.answered, self.cell, ticket) {
            server.stats.on_collapsed();
            return Ok(());
        }
        let read = server.shared.begin(asked, self.cell, ticket);
        let receiver = Receiver::Shared(Rc::clone(&read));
        self.send_for(receiver, to, speaks, wire, ticket)?;
        server.shared.open(asked, &read);
        Ok(())
    }

    fn on_sent(&mut self, call: &Call<'_>, speaks: Speaks, sent: Sent) {
        if self.server().ways.have_mirrors() {
            mirror::copy(self, call, speaks, sent);
        }
    }

    fn pin(&mut self, to: Destination, speaks: Speaks, purpose: Purpose) -> Result<PinId, Lost> {
        let id = PinId(self.pins.next);
        let upstream = self.server().upstream(to.upstream)?;
        let client = (self.cell, self.asking.client);
        let link = upstream.pin(to.shard, speaks, purpose, client, id)?;
        self.pins.next = self.pins.next.wrapping_add(1);
        self.pins.list.push(Pinned {
            id,
            link,
            at: to,
            speaks,
            is_blocking: matches!(purpose, Purpose::Blocking { .. }),
            is_tracked: matches!(purpose, Purpose::Tracking { .. }),
        });
        Ok(id)
    }

    fn send_pinned(&mut self, pin: PinId, wire: &[u8], ticket: Option<Ticket>) -> Result<(), Lost> {
        let mut pins = self.pins.list.iter();
        let pinned = pins.find(|pinned| pinned.id == pin).ok_or(Lost::Closed)?;
        let mut pending = ticket.map(|ticket| {
            let receiver = Receiver::Client(Rc::clone(self.cell));
            self.pending(receiver, ticket)
        });
        // What is queued is not a command by itself.
        let is_tracked = pinned.is_tracked && self.may_read_elsewhere;
        if (pinned.is_blocking || is_tracked)
            && pinned.link.is_clustered()
            && let Some(pending) = &mut pending
        {
            let mut replay = Replay::new(wire, self.asking.client);
            replay.is_own = pinned.is_blocking;
            replay.is_tracked = is_tracked;
            replay.hops = self.hops;
            pending.replay = Some(Box::new(replay));
        }
        pinned.link.push(wire, pending)?;
        if self.asking.is_write {
            self.note_pinned(pin);
        }
        Ok(())
    }

    fn unpin(&mut self, pin: PinId, end: PinEnd) {
        let list = &mut self.pins.list;
        let Some(index) = list.iter().position(|pinned| pinned.id == pin) else {
            return;
        };
        let pinned = list.swap_remove(index);
        match self.cell.server.upstream(pinned.at.upstream) {
            Ok(upstream) => upstream.unpin(pinned.at.shard, pinned.speaks, &pinned.link, end),
            Err(_) => pinned.link.abandon(),
        }
    }
}
