//! One place that keys are at: a server, the connections to it that clients share, and those that one client has for itself.
//!
//! Which place that is, is not decided here: see [`super::upstream`] and [`super::members`]. Start at [`Shard::send`] and
//! [`Shard::pin`].

use std::cell::{OnceCell, RefCell};
use std::num::NonZeroU64;
use std::rc::{Rc, Weak};
use std::time::Duration;

use portcullis_cluster::{Cluster, ConnectionPermit};
use portcullis_filter::Random;
use portcullis_net::resolve::Resolver;
use portcullis_net::{clock, spawn_local};

use super::followed::Followed;
use super::health::Health;
use super::link::{self, Condition, Link, Pending};
use super::members::Members;
use super::open::{Opened, open};
use super::stats::RedisStats;
use crate::cluster::NodeAddress;
use crate::config::UpstreamConfig;
use crate::machine::{Lost, PinEnd, Speaks};

/// How many connections that nobody has for himself are kept for each shard.
const KEPT_PINS: usize = 16;

/// One of so many places within the cluster's limit of connections is kept for those that clients share. With the default limit
/// that is 256: eight workers with four connections each to eight servers.
const SHARED_PLACES: NonZeroU64 = const { NonZeroU64::new(4).unwrap() };

/// What links need of their cluster.
pub(super) struct Common {
    pub(super) cluster: Rc<Cluster>,
    pub(super) credentials: UpstreamConfig,
    /// Who the gateway is to sentinels.
    pub(super) sentinel: UpstreamConfig,
    pub(super) stats: Rc<RedisStats>,
    pub(super) random: Rc<Random>,
    /// Connections of each kind that clients share.
    pub(super) connections: u16,
    pub(super) patience: Option<Duration>,
    /// For nodes that say a name; made when one does.
    pub(super) resolver: OnceCell<Resolver>,
}

impl Common {
    /// Which of the connections that clients share is this client's.
    #[inline]
    pub(super) fn number(&self, client: u64) -> u16 {
        (client % u64::from(self.connections)) as u16
    }
}

/// Where a connection goes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// Any of the cluster's endpoints.
    Any,
    /// The endpoint that is configured so.
    Named(Rc<str>),
    /// A server that another named, and what it is to be.
    Found(Rc<NodeAddress>, Part),
    /// The sentinel that is configured so.
    Sentinel(Rc<str>),
}

/// What a server that was found is to be. What it is by its own word is asked where nothing else would tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A node of a Redis Cluster.
    Node,
    /// A node of a Redis Cluster, to be read from though it is a replica.
    Reader,
    /// A primary, as it says itself.
    Primary,
    /// A replica, as it says itself.
    Replica,
    /// A sentinel.
    Sentinel,
}

/// Where a shard was found, to be told of what its links notice.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) of: Of,
    pub(super) node: Weak<Shard>,
}

/// Who found a shard.
#[derive(Clone)]
pub(super) enum Of {
    Cluster(Weak<Members>),
    Sentinels(Weak<Followed>),
}

/// Whether a shard has a connection that a command could go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It is open.
    Open,
    /// It is being opened, and did not fail of late.
    Fresh,
    /// It cannot be opened, or could not the last time.
    Away,
}

/// One shard.
pub(super) struct Shard {
    pub(super) target: Target,
    home: Option<Home>,
    shared: RefCell<Vec<(Speaks, u16, Rc<Link>)>>,
    /// Connections that were somebody's own.
    idle: RefCell<Vec<(Speaks, Rc<Link>)>>,
    health: Rc<Health>,
}

impl Shard {
    /// A shard without connections yet.
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            home: None,
            shared: RefCell::default(),
            idle: RefCell::default(),
            health: Rc::default(),
        }
    }

    /// A server that was found: its links tell whoever found it of what they notice.
    pub(super) fn found(address: NodeAddress, part: Part, of: Of) -> Rc<Self> {
        Rc::new_cyclic(|node| Self {
            home: Some(Home {
                of,
                node: Weak::clone(node),
            }),
            ..Self::new(Target::Found(Rc::new(address), part))
        })
    }

    /// Where it is, if it was found.
    pub(super) fn address(&self) -> Option<&NodeAddress> {
        match &self.target {
            Target::Found(address, _) => Some(address),
            Target::Any | Target::Named(_) | Target::Sentinel(_) => None,
        }
    }

    /// Whether a command that may go anywhere had better go here: checks find it well, it could be reached the last time, and
    /// has a connection still if it ever had.
    pub(super) fn is_there(&self, common: &Common) -> bool {
        let is_well = match &self.target {
            Target::Named(name) => common.cluster.is_well(name, clock::now()),
            Target::Any | Target::Found(..) | Target::Sentinel(_) => true,
        };
        let is_open = |(_, _, link): &(Speaks, u16, Rc<Link>)| link.condition() == Condition::Open;
        let is_open = || self.shared.borrow().iter().any(is_open);
        is_well && !self.health.is_failing() && (!self.health.is_known() || is_open())
    }

    /// Whether it can be connected.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Sends a command over a connection that clients share. While that is being opened commands wait in it; but not if the
    /// last attempt failed: then all but the first fail at once.
    #[inline]
    pub(super) fn send(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        client: u64,
        wire: &[u8],
        pending: Pending,
    ) -> Result<(), Lost> {
        self.with_shared(common, speaks, client, |link, known| match known {
            Some(Condition::Opening) if self.health.is_failing() => Err(Lost::Connect),
            _ => link.push(wire, Some(pending)),
        })?
    }

    /// Makes sure that a connection which this client shares is being opened, if none is open and it may be tried.
    pub(super) fn prepare(&self, common: &Rc<Common>, speaks: Speaks, client: u64) -> Readiness {
        let readiness = self.with_shared(common, speaks, client, |_, known| match known {
            Some(Condition::Open) => Readiness::Open,
            _ if self.health.is_failing() => Readiness::Away,
            _ => Readiness::Fresh,
        });
        readiness.unwrap_or(Readiness::Away)
    }

    /// Acts on the connection that this client shares, and how it is: the one that there is, or else one that is now being
    /// opened, of which nothing is known.
    #[inline]
    fn with_shared<R>(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        client: u64,
        act: impl FnOnce(&Link, Option<Condition>) -> R,
    ) -> Result<R, Lost> {
        let number = common.number(client);
        let mut shared = self.shared.borrow_mut();
        let known = shared
            .iter()
            .position(|(spoken, at, _)| *spoken == speaks && *at == number);
        if let Some((_, _, link)) = known.and_then(|index| shared.get(index)) {
            match link.condition() {
                Condition::Closed => {}
                condition => return Ok(act(link, Some(condition))),
            }
        }
        if let Some(index) = known {
            shared.swap_remove(index);
        }
        let link = self.open(common, speaks, common.patience, None)?;
        shared.push((speaks, number, Rc::clone(&link)));
        Ok(act(&link, None))
    }

    /// The connection of this number that clients share, if there is one.
    pub(super) fn shared_link(&self, speaks: Speaks, number: u16) -> Option<Rc<Link>> {
        let shared = self.shared.borrow();
        let mut known = shared.iter();
        let (_, _, link) = known.find(|(spoken, at, _)| *spoken == speaks && *at == number)?;
        Some(Rc::clone(link))
    }

    /// Whether the connection of this number that clients share is open.
    pub(super) fn is_open(&self, speaks: Speaks, number: u16) -> bool {
        let link = self.shared_link(speaks, number);
        link.is_some_and(|link| link.condition() == Condition::Open)
    }

    /// Opens a connection in a task of its own; commands may be put into it already. Without a permit its place is asked for when
    /// it is opened.
    #[cold]
    fn open(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        patience: Option<Duration>,
        permit: Option<ConnectionPermit>,
    ) -> Result<Rc<Link>, Lost> {
        self.open_to(self.target.clone(), common, speaks, patience, permit)
    }

    fn open_to(
        &self,
        target: Target,
        common: &Rc<Common>,
        speaks: Speaks,
        patience: Option<Duration>,
        permit: Option<ConnectionPermit>,
    ) -> Result<Rc<Link>, Lost> {
        self.health.check(speaks, clock::now())?;
        let link = Link::new(patience, speaks, self.home.clone());
        let task = Opening {
            link: Rc::clone(&link),
            common: Rc::clone(common),
            target,
            health: Rc::clone(&self.health),
            speaks,
            permit,
        };
        spawn_local(task.run());
        Ok(link)
    }

    /// A connection for one client alone.
    pub(super) fn pin(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        patience: Option<Duration>,
    ) -> Result<Rc<Link>, Lost> {
        match self.take_idle(speaks) {
            Some(link) => {
                link.set_patience(patience);
                Ok(link)
            }
            None => self.open_own(common, speaks, patience),
        }
    }

    /// Opens one for one client alone: who has one must not keep all others from those that they share.
    #[cold]
    pub(super) fn open_own(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        patience: Option<Duration>,
    ) -> Result<Rc<Link>, Lost> {
        let permit = common.cluster.try_connection_leaving(SHARED_PLACES);
        let permit = permit.map_err(|_| Lost::OwnFull)?;
        self.open(common, speaks, patience, Some(permit))
    }

    /// As [`pin`](Self::pin), to a server that is too busy to say what it is. Not for others afterwards. It takes any place: it ends
    /// what keeps the server.
    #[cold]
    pub(super) fn pin_as_it_is(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        patience: Option<Duration>,
    ) -> Result<Rc<Link>, Lost> {
        let target = match &self.target {
            Target::Found(address, _) => Target::Found(Rc::clone(address), Part::Node),
            configured => configured.clone(),
        };
        self.open_to(target, common, speaks, patience, None)
    }

    fn take_idle(&self, speaks: Speaks) -> Option<Rc<Link>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(_, link)| !link.is_closed());
        let index = idle.iter().rposition(|(spoken, _)| *spoken == speaks)?;
        Some(idle.swap_remove(index).1)
    }

    /// Takes a client's own connection back.
    pub(super) fn unpin(&self, common: &Common, speaks: Speaks, link: &Rc<Link>, end: PinEnd) {
        let mut idle = self.idle.borrow_mut();
        let is_reusable = end == PinEnd::Clean && link.is_clean();
        if is_reusable && idle.len() < KEPT_PINS {
            link.set_patience(common.patience);
            idle.push((speaks, Rc::clone(link)));
        } else {
            link.abandon();
        }
    }

    /// Closes all connections that nobody has for himself, when what is under way is answered.
    pub(super) fn close(&self) {
        for (_, _, link) in self.shared.take() {
            link.retire();
        }
        for (_, link) in self.idle.take() {
            link.abandon();
        }
    }
}

/// A connection that is being opened, and then its task.
struct Opening {
    link: Rc<Link>,
    common: Rc<Common>,
    target: Target,
    health: Rc<Health>,
    speaks: Speaks,
    permit: Option<ConnectionPermit>,
}

impl Opening {
    async fn run(mut self) {
        let lost = match self.dial().await {
            Err(lost) => lost,
            Ok(mut opened) => {
                let common = &self.common;
                let _counted = common.stats.on_link();
                let idle = common
                    .cluster
                    .with_config(|config| config.pool.idle_timeout.get());
                link::run(&self.link, &mut opened.stream, Some(idle)).await
            }
        };
        // A server that is gone: others know more. An end alone may be the server's, or nobody's, wish.
        if let Some(home) = self
            .link
            .home()
            .filter(|_| !matches!(lost, Lost::Closed | Lost::Full))
        {
            home.on_lost();
        }
        self.link.close(lost);
    }

    /// Opens the connection, when it is its turn.
    async fn dial(&mut self) -> Result<Opened, Lost> {
        let turn = self.health.turn().await;
        let Some(_turn) = turn else {
            return Err(Lost::Connect);
        };
        if self.link.is_over() {
            return Err(Lost::Closed);
        }
        let permit = self.permit.take();
        let opened = open(&self.common, &self.target, self.speaks, permit).await;
        let now = clock::now();
        match &opened {
            Ok(_) => self.health.on_open(now),
            // Nobody has asked the server.
            Err(Lost::Full) => {}
            Err(Lost::Refused) => self.health.on_refused(self.speaks, now),
            Err(_) => self.health.on_failed(now, self.common.random.next()),
        }
        opened
    }
}

impl Home {
    /// A link to the shard was lost.
    fn on_lost(&self) {
        match &self.of {
            Of::Cluster(members) => {
                if let Some(members) = members.upgrade() {
                    members.want_map();
                }
            }
            Of::Sentinels(followed) => {
                if let Some(followed) = followed.upgrade() {
                    followed.doubt();
                }
            }
        }
    }
}
