//! A cluster as Redis uses it on one worker: its shards, and which of them has what.
//!
//! Which shard has a key is [`crate::hash`]'s, or what the nodes of a Redis Cluster say ([`super::members`]). Connections are
//! [`super::shard`]'s. Start at [`Upstream::locate`] and [`Upstream::send`].

mod anywhere;
mod made;

use std::cell::{Cell as Value, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_cluster::{Cluster, ClusterConfig, RedisTopology};
use portcullis_filter::Random;
use portcullis_net::{clock, spawn_local};

use self::made::{groups, named, only, shards};
use super::cell::Cell;
use super::cluster::no_topology;
use super::followed::Followed;
use super::group::Group;
use super::link::{Link, Pending, Replay};
use super::members::Members;
use super::shard::{Common, Shard};
use super::stats::RedisStats;
use crate::command::CommandId;
use crate::config::{RedisConfig, UpstreamConfig};
use crate::hash::Placement;
use crate::machine::{Lost, PinEnd, PinId, Purpose, Speaks};

/// Who sends a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    /// The client's number.
    pub(super) client: u64,
    /// Since when the client has had something under way.
    pub(super) busy_since: Instant,
    /// The command only reads, and a replica may answer it.
    pub(super) is_read: bool,
    /// It may write.
    pub(super) is_write: bool,
    /// It may go anywhere.
    pub(super) is_anywhere: bool,
}

/// Which of the connections that clients share: of a shard, by its place in memory, and of those to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Over {
    shard: usize,
    number: u16,
}

/// A cluster as Redis uses it on one worker.
pub(super) struct Upstream {
    common: Rc<Common>,
    place: Place,
    /// The shards with their replicas, in the order of the shards, where those are configured and read from.
    groups: Box<[Rc<Group>]>,
    /// What it was made of.
    settings: RefCell<Arc<ClusterConfig>>,
    /// When the cluster was last asked for news.
    asked: Value<Instant>,
    /// Connections that messages come over.
    listening: RefCell<Vec<Weak<Link>>>,
}

/// Where things are.
enum Place {
    /// All at one.
    One(Rc<Shard>),
    /// Spread by hashing here.
    Hashed(Placement, Box<[Rc<Shard>]>),
    /// The nodes of a Redis Cluster know.
    Slots(Rc<Members>),
    /// All at one, and sentinels know which.
    Followed(Rc<Followed>),
}

impl Upstream {
    /// The cluster's shards, without connections yet. The error says what the cluster's configuration lacks.
    pub(super) fn new(
        cluster: Rc<Cluster>,
        config: &RedisConfig,
        stats: Rc<RedisStats>,
        random: &Rc<Random>,
    ) -> Result<Self, String> {
        let settings = cluster.config();
        let redis = &settings.redis;
        let topology = redis.topology(&settings.endpoints);
        let topology = topology.ok_or_else(|| no_topology(cluster.name()))?;
        let common = Rc::new(Common {
            cluster,
            credentials: config.upstream.clone(),
            sentinel: UpstreamConfig {
                user: redis.sentinel_user.clone(),
                password: redis.sentinel_password.clone(),
            },
            stats,
            random: Rc::clone(random),
            connections: redis.connections.get(),
            patience: config.timeouts.command.get(),
            resolver: OnceCell::new(),
        });
        let place = match topology {
            RedisTopology::Standalone => Place::One(Rc::new(Shard::new(only(&settings)))),
            RedisTopology::Shards => {
                let (placement, names) = shards(&settings, redis);
                let shards = names.into_iter().map(|name| named(&name));
                Place::Hashed(placement, shards.collect())
            }
            RedisTopology::RedisCluster => {
                Place::Slots(Members::start(Rc::clone(&common), &settings))
            }
            RedisTopology::Sentinel => {
                Place::Followed(Followed::start(Rc::clone(&common), &settings))
            }
        };
        Ok(Self {
            groups: groups(&common, &place, &settings),
            common,
            place,
            settings: RefCell::new(settings),
            asked: Value::new(clock::now()),
            listening: RefCell::default(),
        })
    }

    /// Whether a reload has changed what this was made of. Asks once in a turn of the loop.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        let now = clock::now();
        if self.asked.replace(now) == now {
            return false;
        }
        let cluster = &self.common.cluster;
        cluster.refresh(now);
        let made_of = Arc::as_ptr(&self.settings.borrow());
        let is_same = |config: &ClusterConfig| std::ptr::eq(config, made_of);
        !cluster.with_config(is_same) && self.has_changed(cluster.config())
    }

    /// Whether other settings are other ones for Redis.
    #[cold]
    fn has_changed(&self, config: Arc<ClusterConfig>) -> bool {
        let mut settings = self.settings.borrow_mut();
        if config.redis.value == settings.redis.value
            && config.endpoints.value == settings.endpoints.value
        {
            *settings = config;
            return false;
        }
        true
    }

    /// As this one, by the cluster's settings of now.
    pub(super) fn renewed(&self, config: &RedisConfig) -> Result<Self, String> {
        let Common {
            cluster,
            stats,
            random,
            ..
        } = &*self.common;
        Self::new(Rc::clone(cluster), config, Rc::clone(stats), random)
    }

    /// Another has taken its place. What is under way ends here; who listens would miss what is said elsewhere.
    pub(super) fn replace(&self) {
        self.close();
        let listening = self.listening.take();
        // Not from here: whoever asks is one of those that are told.
        spawn_local(async move {
            for link in listening.iter().filter_map(Weak::upgrade) {
                link.close(Lost::Closed);
            }
        });
    }

    /// The cluster's name.
    pub(super) fn name(&self) -> &str {
        self.common.cluster.name()
    }

    /// The nodes, if it is a Redis Cluster.
    pub(super) const fn members(&self) -> Option<&Rc<Members>> {
        match &self.place {
            Place::Slots(members) => Some(members),
            Place::One(_) | Place::Hashed(..) | Place::Followed(_) => None,
        }
    }

    /// Whether it finds its servers by asking.
    pub(super) const fn asks(&self) -> bool {
        matches!(self.place, Place::Slots(_) | Place::Followed(_))
    }

    /// Whether no server is known yet, and one is being asked for.
    pub(super) fn is_awaited(&self) -> bool {
        match &self.place {
            Place::Slots(members) => members.is_awaited(),
            Place::Followed(followed) => followed.is_awaited(),
            Place::One(_) | Place::Hashed(..) => false,
        }
    }

    /// Wakes the client when the first question for servers is answered.
    pub(super) fn wait(&self, client: &Rc<Cell>) {
        match &self.place {
            Place::Slots(members) => members.wait(client),
            Place::Followed(followed) => followed.wait(client),
            Place::One(_) | Place::Hashed(..) => {}
        }
    }

    /// The primary at a place and its replicas, if those may be read from.
    fn group(&self, to: u16) -> Option<Rc<Group>> {
        match &self.place {
            Place::One(_) | Place::Hashed(..) => self.groups.get(to as usize).cloned(),
            Place::Followed(followed) => followed.group().cloned(),
            Place::Slots(members) => members.group(to),
        }
    }

    /// The shard that has a key or channel of this command.
    #[inline]
    pub(super) fn locate(&self, id: CommandId, key: &[u8]) -> Result<u16, Lost> {
        match &self.place {
            Place::One(_) | Place::Followed(_) => Ok(0),
            Place::Hashed(placement, _) => placement
                .shard(key)
                .map(|shard| shard as u16)
                .ok_or(Lost::NoEndpoint),
            Place::Slots(members) => members.locate(id, key),
        }
    }

    /// All shards that a command is for that is for all.
    pub(super) fn everywhere(&self, id: CommandId) -> Result<Vec<u16>, Lost> {
        match &self.place {
            Place::One(_) | Place::Followed(_) => Ok(vec![0]),
            Place::Hashed(_, shards) => Ok((0..shards.len() as u16).collect()),
            Place::Slots(members) => members.everywhere(id),
        }
    }

    /// All shards; the nodes of a Redis Cluster that have slots now.
    pub(super) fn shards(&self) -> Result<Vec<u16>, Lost> {
        match &self.place {
            Place::One(_) | Place::Followed(_) => Ok(vec![0]),
            Place::Hashed(_, shards) => Ok((0..shards.len() as u16).collect()),
            Place::Slots(members) => members.primaries(),
        }
    }

    /// Where the server is that a command for this place would be sent to.
    pub(super) fn server_of(&self, to: u16, sender: Sender) -> Result<u16, Lost> {
        match &self.place {
            Place::One(_) | Place::Followed(_) | Place::Hashed(..) => Ok(to),
            Place::Slots(members) => {
                let node = members.node_for(to, sender)?;
                members.place_of(&node).ok_or(Lost::NoEndpoint)
            }
        }
    }

    /// Sends a command over a connection that clients share.
    #[inline]
    pub(super) fn send(
        self: &Rc<Self>,
        to: u16,
        speaks: Speaks,
        sender: Sender,
        wire: &[u8],
        mut pending: Pending,
    ) -> Result<(), Lost> {
        let (common, client) = (&self.common, sender.client);
        if sender.is_read
            && let Some(group) = self.group(to)
        {
            return group.send(speaks, client, wire, pending);
        }
        let may_be_refused = match &self.place {
            Place::Slots(_) => Members::is_slot(to),
            Place::Followed(_) => sender.is_write,
            Place::One(_) | Place::Hashed(..) => false,
        };
        if may_be_refused {
            pending.replay = Some(Box::new(Replay::new(wire, client)));
        }
        let shard = self.shard(to, sender)?;
        if sender.is_anywhere && self.has_others() && !shard.is_open(speaks, common.number(client))
        {
            let mut replay = Replay::new(wire, client);
            replay.elsewhere = Some((Rc::clone(self), Rc::clone(&shard)));
            pending.replay = Some(Box::new(replay));
        }
        shard.send(common, speaks, client, wire, pending)
    }

    /// The shard of a key, where all there is to a [plain](CommandId::plain_key) command is to send it there: no replica may
    /// answer it, and no server says that another is to be asked.
    #[inline]
    pub(super) fn plain_shard(&self, key: &[u8]) -> Option<u16> {
        match &self.place {
            _ if !self.groups.is_empty() => None,
            Place::One(_) => Some(0),
            Place::Hashed(placement, _) => placement.shard(key).map(|shard| shard as u16),
            Place::Followed(_) | Place::Slots(_) => None,
        }
    }

    /// Sends a run of plain commands to their [shard](Self::plain_shard), and says which server that is.
    #[inline]
    pub(super) fn send_plain(
        &self,
        to: u16,
        speaks: Speaks,
        client: u64,
        wire: &[u8],
        pending: Pending,
    ) -> Result<&Rc<Shard>, Lost> {
        let shard = match &self.place {
            Place::One(shard) => Some(shard),
            Place::Hashed(_, shards) => shards.get(to as usize),
            Place::Followed(_) | Place::Slots(_) => None,
        };
        let shard = shard.ok_or(Lost::NoEndpoint)?;
        shard.send(&self.common, speaks, client, wire, pending)?;
        Ok(shard)
    }

    /// Whom commands for a place are sent to over connections that clients share.
    #[inline]
    pub(super) fn shard(&self, to: u16, sender: Sender) -> Result<Rc<Shard>, Lost> {
        match &self.place {
            Place::Followed(followed) => followed.primary(),
            Place::One(shard) => Ok(Rc::clone(shard)),
            Place::Hashed(_, shards) => {
                let shard = shards.get(to as usize).ok_or(Lost::NoEndpoint)?;
                Ok(Rc::clone(shard))
            }
            Place::Slots(members) => members.node_for(to, sender),
        }
    }

    /// The connection to a server that this client shares, if there is one.
    pub(super) fn shared_link(
        &self,
        shard: &Shard,
        speaks: Speaks,
        client: u64,
    ) -> Option<Rc<Link>> {
        shard.shared_link(speaks, self.common.number(client))
    }

    /// Where a server has its place, if it is one of those of now.
    pub(super) fn place_of(&self, shard: &Rc<Shard>) -> Option<u16> {
        let is_it = |known: &Rc<Shard>| Rc::ptr_eq(known, shard);
        match &self.place {
            Place::One(only) => is_it(only).then_some(0),
            Place::Followed(followed) => followed.has(shard).then_some(0),
            Place::Hashed(_, shards) => shards.iter().position(is_it).map(|at| at as u16),
            Place::Slots(members) => members.place_of(shard),
        }
    }

    /// Which connection a command would be sent over. `None` if a replica may answer it, and so any of several.
    pub(super) fn over(&self, to: u16, sender: Sender) -> Result<Option<Over>, Lost> {
        if sender.is_read && self.group(to).is_some() {
            return Ok(None);
        }
        Ok(Some(Over {
            shard: Rc::as_ptr(&self.shard(to, sender)?).addr(),
            number: self.common.number(sender.client),
        }))
    }

    /// A connection for one client alone.
    pub(super) fn pin(
        &self,
        to: u16,
        speaks: Speaks,
        purpose: Purpose,
        client: (&Rc<Cell>, u64),
        pin: PinId,
    ) -> Result<Rc<Link>, Lost> {
        let common = &self.common;
        let patience = self.patience(purpose);
        let pin_at = |shard: &Shard| match purpose {
            Purpose::Kill => shard.pin_as_it_is(common, speaks, patience),
            _ => shard.pin(common, speaks, patience),
        };
        let link = match &self.place {
            Place::One(shard) => pin_at(shard)?,
            Place::Hashed(_, shards) => {
                let shard = shards.get(to as usize).ok_or(Lost::NoEndpoint)?;
                pin_at(shard)?
            }
            Place::Slots(members) => {
                let node = members.node(to, client.1)?;
                let link = pin_at(&node)?;
                if purpose == (Purpose::Tracking { is_broadcast: true }) {
                    members.note_broadcast(&link);
                }
                link
            }
            Place::Followed(followed) => {
                let link = pin_at(&*followed.primary()?)?;
                followed.note_pin(&link, purpose);
                link
            }
        };
        link.set_owner(Some((Rc::clone(client.0), pin)));
        common.stats.on_pin();
        if purpose == Purpose::Monitor {
            link.listen();
        }
        if matches!(
            purpose,
            Purpose::Subscription | Purpose::Tracking { .. } | Purpose::Monitor
        ) {
            let mut listening = self.listening.borrow_mut();
            listening.retain(|link| link.strong_count() > 0);
            listening.push(Rc::downgrade(&link));
        }
        Ok(link)
    }

    /// How long a server may say nothing on a client's own connection.
    fn patience(&self, purpose: Purpose) -> Option<Duration> {
        let patience = self.common.patience;
        match purpose {
            // It waits as long as it says, and its client with it.
            Purpose::Blocking { at_most } => at_most
                .zip(patience)
                .map(|(wait, patience)| wait.saturating_add(patience)),
            Purpose::Subscription => None,
            // Of its answer: what it hears then may take any time.
            Purpose::Monitor => patience,
            Purpose::Transaction | Purpose::Large | Purpose::Tracking { .. } => patience,
            Purpose::Kill => patience,
        }
    }

    /// Takes a client's own connection back.
    pub(super) fn unpin(&self, to: u16, speaks: Speaks, link: &Rc<Link>, end: PinEnd) {
        let common = &*self.common;
        common.stats.on_unpin();
        link.set_owner(None);
        match &self.place {
            Place::One(shard) => shard.unpin(common, speaks, link, end),
            Place::Hashed(_, shards) => match shards.get(to as usize) {
                Some(shard) => shard.unpin(common, speaks, link, end),
                None => link.abandon(),
            },
            Place::Followed(followed) => match link.node() {
                Some(shard) if followed.has(&shard) => shard.unpin(common, speaks, link, end),
                _ => link.abandon(),
            },
            // Its slot may be another node's by now.
            Place::Slots(members) => match link.node() {
                Some(node) if members.has(&node) => node.unpin(common, speaks, link, end),
                _ => link.abandon(),
            },
        }
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        match &self.place {
            Place::One(shard) => shard.close(),
            Place::Hashed(_, shards) => shards.iter().for_each(|shard| shard.close()),
            Place::Slots(members) => members.close(),
            Place::Followed(followed) => followed.close(),
        }
        for group in &self.groups {
            group.replicas().iter().for_each(|replica| replica.close());
        }
    }
}
