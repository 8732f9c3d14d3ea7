//! The nodes of a Redis Cluster as one worker knows them: which has which slot, and what becomes of a command that another
//! node is to be asked for.
//!
//! What nodes say is read by [`crate::cluster`], and asked for by [`super::discovery`]. Only nodes that the map has are sent
//! anything: a redirection to another waits for the next map, and is refused if that does not have it either.
//!
//! Start at [`Members::locate`], [`Members::node`] and [`Members::redirect`].

mod nodes;

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use portcullis_cluster::ClusterConfig;
use portcullis_net::{clock, spawn_local};

use self::nodes::{Node, free_id};
use super::cell::Cell;
use super::discovery;
use super::group::Group;
use super::inquiry::Inquiry;
use super::link::{Link, Pending};
use super::receiver::Receiver;
use super::shard::{Common, Shard};
use super::tracked;
use super::upstream::Sender;
use crate::cluster::{Moves, NodeAddress, Redirect, RedirectKind, SlotMap};
use crate::command::CommandId;
use crate::hash::{SLOTS, slot};
use crate::machine::{Lost, Piece, Ticket};

/// How often one command is sent on. A slot moves once, and a failover may come on top.
const MOST_HOPS: u8 = 5;

/// Commands that may wait for the next map.
const MOST_HELD: usize = 1024;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// The nodes of a Redis Cluster on one worker.
pub(super) struct Members {
    pub(super) common: Rc<Common>,
    pub(super) has_tls: bool,
    follows_unknown: bool,
    /// Replicas may be read from.
    has_readers: bool,
    me: Weak<Self>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) map: Option<SlotMap>,
    /// As the map numbers them.
    nodes: Vec<Node>,
    moves: Moves<Rc<Shard>>,
    next_id: u16,
    pub(super) inquiry: Inquiry,
    /// How often the map was asked for.
    pub(super) asked: u64,
    held: Vec<Held>,
    /// Connections of clients that hear of all keys.
    broadcasts: Vec<Weak<Link>>,
}

/// A command whose answer was a redirection.
pub(super) struct Turned {
    pub(super) pending: Pending,
    pub(super) redirect: Redirect,
    /// The server's own words.
    pub(super) reply: Bytes,
}

/// A command that waits for the map, since it is to go to a node that is not known.
struct Held {
    turned: Turned,
    from: Rc<Link>,
    address: NodeAddress,
    /// The question whose answer decides.
    until: u64,
}

impl Members {
    /// Where a command goes that may go to any node. Below are slots, and nodes by their numbers.
    pub(super) const ANY: u16 = u16::MAX;

    /// Nodes of which nothing is known yet; a task asks for them.
    pub(super) fn start(common: Rc<Common>, config: &ClusterConfig) -> Rc<Self> {
        let interval = config.redis.refresh_interval.get();
        let members = Rc::new_cyclic(|me| Self {
            common,
            has_tls: config.has_tls(),
            follows_unknown: config.redis.follow_unknown_nodes,
            has_readers: config.redis.read_from.has_replicas(),
            me: Weak::clone(me),
            state: RefCell::new(State {
                map: None,
                nodes: Vec::new(),
                moves: Moves::default(),
                next_id: 0,
                inquiry: Inquiry::new(interval),
                asked: 0,
                held: Vec::new(),
                broadcasts: Vec::new(),
            }),
        });
        spawn_local(discovery::follow(Rc::downgrade(&members)));
        members
    }

    /// Whether this is a slot, so that the command may be sent on.
    pub(super) const fn is_slot(to: u16) -> bool {
        to < SLOTS
    }

    /// Where a command's key is: keys of one slot are together, and those of others may part at any time. Subscriptions stay
    /// where they are made.
    #[inline]
    pub(super) fn locate(&self, id: CommandId, key: &[u8]) -> Result<u16, Lost> {
        match id {
            // Nodes tell each other of messages.
            CommandId::PUBLISH | CommandId::SUBSCRIBE | CommandId::UNSUBSCRIBE => Ok(Self::ANY),
            CommandId::SSUBSCRIBE | CommandId::SUNSUBSCRIBE => {
                let state = self.state.borrow();
                let map = state.map.as_ref().ok_or(Lost::NoEndpoint)?;
                let owner = map.owner(slot(key));
                let node = owner.and_then(|owner| state.nodes.get(owner as usize));
                Ok(node.map_or(Self::ANY, |node| SLOTS + node.id))
            }
            _ => Ok(slot(key)),
        }
    }

    /// All nodes that have slots.
    pub(super) fn everywhere(&self, id: CommandId) -> Result<Vec<u16>, Lost> {
        if matches!(id, CommandId::PSUBSCRIBE | CommandId::PUNSUBSCRIBE) {
            return Ok(vec![Self::ANY]);
        }
        self.primaries()
    }

    /// All nodes that have slots.
    pub(super) fn primaries(&self) -> Result<Vec<u16>, Lost> {
        let state = self.state.borrow();
        let map = state.map.as_ref().ok_or(Lost::NoEndpoint)?;
        let nodes = map.primaries().iter();
        let nodes = nodes.filter_map(|number| state.nodes.get(*number as usize));
        Ok(nodes.map(|node| SLOTS + node.id).collect())
    }

    /// The node for a slot, a node's number, or any. What nobody has is any node's to answer: it knows why.
    #[inline]
    pub(super) fn node(&self, to: u16, client: u64) -> Result<Rc<Shard>, Lost> {
        let state = self.state.borrow();
        let map = state.map.as_ref().ok_or(Lost::NoEndpoint)?;
        let number = match to {
            Self::ANY => None,
            to if Self::is_slot(to) => map.owner(to),
            to => {
                let mut nodes = state.nodes.iter();
                let node = nodes.find(|node| SLOTS + node.id == to);
                return node
                    .map(|node| Rc::clone(&node.shard))
                    .ok_or(Lost::NoEndpoint);
            }
        };
        let any = || {
            let primaries = map.primaries();
            let first = client % primaries.len().max(1) as u64;
            let (before, from) = primaries.split_at_checked(first as usize)?;
            let is_there = |number: &&u16| {
                let node = state.nodes.get(usize::from(**number));
                node.is_some_and(|node| !node.shard.health().is_failing())
            };
            let found = from.iter().chain(before).find(is_there);
            found.or_else(|| from.first()).copied()
        };
        let node = number.or_else(any);
        let node = node.and_then(|number| state.nodes.get(number as usize));
        node.map(|node| Rc::clone(&node.shard))
            .ok_or(Lost::NoEndpoint)
    }

    /// As [`node`](Self::node), for a command that must not overtake what its client has under way.
    #[inline]
    pub(super) fn node_for(&self, to: u16, sender: Sender) -> Result<Rc<Shard>, Lost> {
        let state = self.state.borrow();
        if let Some(old) = state.moves.before(to, sender.busy_since) {
            return Ok(Rc::clone(old));
        }
        drop(state);
        self.node(to, sender.client)
    }

    /// The node for a slot, or of a number, with its replicas, if those may be read from and it has any.
    #[inline]
    pub(super) fn group(&self, to: u16) -> Option<Rc<Group>> {
        if !self.has_readers {
            return None;
        }
        let state = self.state.borrow();
        let node = if Self::is_slot(to) {
            let owner = state.map.as_ref()?.owner(to)?;
            state.nodes.get(owner as usize)
        } else {
            state.nodes.iter().find(|node| SLOTS + node.id == to)
        };
        node?.group.clone()
    }

    /// The number that commands to this node alone go by, if it is one still.
    pub(super) fn place_of(&self, node: &Rc<Shard>) -> Option<u16> {
        let state = self.state.borrow();
        let mut nodes = state.nodes.iter();
        let known = nodes.find(|known| Rc::ptr_eq(&known.shard, node))?;
        Some(SLOTS + known.id)
    }

    /// A client hears of all keys over such connections, to each node that has slots: they end when there is one more.
    pub(super) fn note_broadcast(&self, link: &Rc<Link>) {
        let broadcasts = &mut self.state.borrow_mut().broadcasts;
        if broadcasts.len() == broadcasts.capacity() {
            broadcasts.retain(|link| link.strong_count() > 0);
        }
        broadcasts.push(Rc::downgrade(link));
    }

    /// Whether it is one of the nodes still.
    pub(super) fn has(&self, node: &Rc<Shard>) -> bool {
        let state = self.state.borrow();
        state
            .nodes
            .iter()
            .any(|known| Rc::ptr_eq(&known.shard, node))
    }

    /// Whether there is no map yet, and one is asked for.
    pub(super) fn is_awaited(&self) -> bool {
        let state = self.state.borrow();
        state.map.is_none() && state.inquiry.may_be_awaited()
    }

    /// Wakes the client when the first question is answered.
    pub(super) fn wait(&self, client: &Rc<Cell>) {
        self.state.borrow_mut().inquiry.wait(client);
    }

    /// Something says that the map is wrong.
    pub(super) fn want_map(&self) {
        self.state.borrow_mut().inquiry.want();
    }

    /// A node answered a command with a redirection: it goes on to the node that was named, or the client is told.
    #[cold]
    pub(super) fn redirect(&self, from: &Rc<Link>, mut turned: Turned) {
        let stats = &self.common.stats;
        stats.on_redirect(turned.redirect.kind.label());
        let hops = turned.pending.replay.as_mut().map_or(MOST_HOPS, |replay| {
            replay.hops = replay.hops.saturating_add(1);
            replay.hops
        });
        if hops > MOST_HOPS {
            stats.on_rejected("redirect_limit");
            return turned.answer();
        }
        let node = from.node();
        let address = node.as_ref().and_then(|node| node.address());
        let host = address.map(NodeAddress::host).unwrap_or_default();
        let Some(address) = turned.redirect.node(host) else {
            return turned.answer();
        };
        let has_moved = turned.redirect.kind == RedirectKind::Moved;
        let found = self.find(&address, &turned.redirect);
        if has_moved || found.is_none() {
            self.want_map();
        }
        match found {
            Some(node) => self.send_on(from, &node, turned),
            None => self.hold(Rc::clone(from), turned, address),
        }
    }

    /// The node with this address, if it is one to follow to. What has moved is noted.
    fn find(&self, address: &NodeAddress, redirect: &Redirect) -> Option<Rc<Shard>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let map = state.map.as_mut()?;
        let number = match map.find(address) {
            Some(known) => known,
            None if self.follows_unknown => {
                let number = map.add(address)?;
                let id = free_id(&mut state.next_id, [&state.nodes, &[]]);
                let node = Node::new(id, address, &self.me);
                state.nodes.push(node);
                number
            }
            None => return None,
        };
        if redirect.kind == RedirectKind::Moved {
            let old = map.owner(redirect.slot).filter(|old| *old != number);
            if let Some(old) = old.and_then(|old| state.nodes.get(old as usize)) {
                let old = Rc::clone(&old.shard);
                state.moves.record(redirect.slot, old, clock::now());
            }
            map.assign(redirect.slot, number);
        }
        let node = state.nodes.get(number as usize)?;
        Some(Rc::clone(&node.shard))
    }

    fn hold(&self, from: Rc<Link>, turned: Turned, address: NodeAddress) {
        let mut state = self.state.borrow_mut();
        let lost = match state.held.len() {
            _ if state.inquiry.is_closed() => Some(Lost::Closed),
            MOST_HELD.. => Some(Lost::Redirect),
            _ => None,
        };
        if let Some(lost) = lost {
            drop(state);
            return turned.pending.lose(lost);
        }
        // An answer that is under way may be older than the redirection.
        let until = state.asked + 1;
        state.held.push(Held {
            turned,
            from,
            address,
            until,
        });
    }

    /// Sends a command to another node, in the turn that it has there.
    fn send_on(&self, from: &Rc<Link>, node: &Rc<Shard>, turned: Turned) {
        let common = &self.common;
        let Turned {
            pending, redirect, ..
        } = turned;
        let Some(replay) = &pending.replay else {
            return;
        };
        if replay.is_tracked {
            // Its client has a connection of its own there too, or will.
            return tracked::send_on(from, node, redirect.kind, pending);
        }
        let (client, ticket) = (pending.client.clone(), pending.ticket);
        let (wire, number) = (replay.wire.clone(), replay.client);
        let speaks = from.speaks();
        let open = |patience| node.open_own(common, speaks, patience);
        let own = replay.is_own.then(|| from.succeed(open));
        let push = |wire: &[u8], pending: Pending| match &own {
            Some(Ok(link)) => link.push(wire, Some(pending)),
            Some(Err(lost)) => Err(*lost),
            None => node.send(common, speaks, number, wire, pending),
        };
        let asked = match redirect.kind {
            RedirectKind::Moved => Ok(()),
            RedirectKind::Ask => push(ASKING, Pending::new(client.clone(), Ticket::Own)),
        };
        if let Err(lost) = asked.and_then(|()| push(&wire, pending)) {
            return Pending::new(client, ticket).lose(lost);
        }
        if let Receiver::Client(client) = &client {
            let own = own.and_then(Result::ok);
            let shared = || node.shared_link(speaks, common.number(number));
            client.note_redirected(node, || own.or_else(shared));
        }
    }

    /// A question for the map was answered, or not.
    pub(super) fn on_answer(&self, map: Option<SlotMap>) {
        let mut state = self.state.borrow_mut();
        let random = self.common.random.next();
        let is_map = map.is_some();
        let now = clock::now();
        state.inquiry.policy.on_end(is_map, now, random);
        let map = map.filter(|_| !state.inquiry.is_closed());
        let before = state.primaries();
        let gone = map.map(|map| {
            let gone = state.replace(map, &self.me);
            if self.has_readers {
                state.regroup(&self.common, &self.me);
            }
            gone
        });
        let is_known = state.map.is_some();
        let asked = state.asked;
        let waiting = state.inquiry.settle(is_known);
        let held = std::mem::take(&mut state.held);
        let is_known = |node: &Rc<Shard>| before.iter().any(|known| Rc::ptr_eq(known, node));
        let deaf = if state.primaries().iter().all(is_known) {
            Vec::new()
        } else {
            std::mem::take(&mut state.broadcasts)
        };
        drop(state);
        for link in deaf.iter().filter_map(Weak::upgrade) {
            link.close(Lost::Closed);
        }
        for node in gone.into_iter().flatten() {
            node.close();
        }
        for client in waiting {
            client.wake();
        }
        for held in held {
            match self.find(&held.address, &held.turned.redirect) {
                // Also before its time: those behind it go there from now on.
                Some(node) => self.send_on(&held.from, &node, held.turned),
                None if held.until <= asked => held.turned.pending.lose(Lost::Redirect),
                None => self.state.borrow_mut().held.push(held),
            }
        }
    }

    /// Closes all connections, and ends the task that asks.
    pub(super) fn close(&self) {
        let mut state = self.state.borrow_mut();
        let nodes = std::mem::take(&mut state.nodes);
        let held = std::mem::take(&mut state.held);
        state.map = None;
        state.moves = Moves::default();
        let waiting = state.inquiry.close();
        drop(state);
        for node in nodes {
            node.close();
        }
        if waiting.is_empty() && held.is_empty() {
            return;
        }
        // Not from here: whoever asks for this may be one of those that are told.
        spawn_local(async move {
            for held in held {
                held.turned.pending.lose(Lost::Closed);
            }
            for client in waiting {
                client.wake();
            }
        });
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.state.get_mut().inquiry.wake();
    }
}

impl State {
    /// The nodes that have slots.
    fn primaries(&self) -> Vec<Rc<Shard>> {
        let primaries = self.map.iter().flat_map(SlotMap::primaries);
        let nodes = primaries.filter_map(|number| self.nodes.get(*number as usize));
        nodes.map(|node| Rc::clone(&node.shard)).collect()
    }

    /// The map is asked for.
    pub(super) fn on_ask(&mut self) {
        self.inquiry.policy.on_start(clock::now());
        self.asked += 1;
    }
}

impl Turned {
    /// Tells the client what the server said.
    fn answer(self) {
        let Pending { client, ticket, .. } = self.pending;
        let kind = crate::reply::ReplyKind::Error;
        let bytes = &self.reply;
        client.on_piece(ticket, Piece::Whole { kind, bytes });
        client.flush();
    }
}
