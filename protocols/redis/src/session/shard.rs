//! One place that keys are at: a server, the connections to it that clients share, and those that one client has for itself.
//!
//! Which place that is, is not decided here: see [`super::upstream`] and [`super::members`]. Start at [`Shard::send`] and
//! [`Shard::pin`].

use std::cell::{Cell as Value, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use portcullis_cluster::Cluster;
use portcullis_filter::Random;
use portcullis_net::resolve::Resolver;
use portcullis_net::{clock, spawn_local};

use super::link::{self, Link, Pending};
use super::members::Members;
use super::open::open;
use super::stats::RedisStats;
use crate::cluster::NodeAddress;
use crate::config::UpstreamConfig;
use crate::machine::{Lost, PinEnd, Speaks};

/// The pause after a connection that failed; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many connections that nobody has for himself are kept for each shard.
const KEPT_PINS: usize = 16;

/// What links need of their cluster.
pub(super) struct Common {
    pub(super) cluster: Rc<Cluster>,
    pub(super) credentials: UpstreamConfig,
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
    /// What a node of a Redis Cluster said.
    Found(Rc<NodeAddress>),
}

/// The Redis Cluster that a shard is a node of.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) members: Weak<Members>,
    pub(super) node: Weak<Shard>,
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

/// Whether connections can be opened.
#[derive(Default)]
struct Health {
    /// None is opened before this.
    not_before: Value<Option<Instant>>,
    pause: Value<Duration>,
    /// The server would have none of these: not asked again before this.
    refused: RefCell<Vec<(Speaks, Instant)>>,
}

impl Health {
    fn on_failed(&self, now: Instant, random: u64) {
        let pause = (self.pause.get() * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.pause.set(pause);
        // Between half and all of it, so that workers do not come back together.
        let share = 0.5 + (random >> 40) as f64 / (1_u64 << 25) as f64;
        self.not_before
            .set(now.checked_add(pause.mul_f64(share.min(1.0))));
    }

    fn on_open(&self) {
        self.pause.set(Duration::ZERO);
        self.not_before.set(None);
    }

    /// A server that is there refused to go where commands were to go: a database that it has not, a version.
    fn on_refused(&self, speaks: Speaks, now: Instant) {
        let mut refused = self.refused.borrow_mut();
        refused.retain(|(spoken, time)| *spoken != speaks && *time > now);
        if let Some(time) = now.checked_add(LONGEST_PAUSE) {
            refused.push((speaks, time));
        }
    }

    fn check(&self, speaks: Speaks, now: Instant) -> Result<(), Lost> {
        if self.not_before.get().is_some_and(|time| now < time) {
            return Err(Lost::Connect);
        }
        let refused = self.refused.borrow();
        let is_refused = |(spoken, time): &(Speaks, Instant)| *spoken == speaks && now < *time;
        if refused.iter().any(is_refused) {
            return Err(Lost::Refused);
        }
        Ok(())
    }
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

    /// A node of a Redis Cluster: its links tell that of redirections.
    pub(super) fn node(address: NodeAddress, members: &Weak<Members>) -> Rc<Self> {
        Rc::new_cyclic(|node| Self {
            home: Some(Home {
                members: Weak::clone(members),
                node: Weak::clone(node),
            }),
            ..Self::new(Target::Found(Rc::new(address)))
        })
    }

    /// Sends a command over a connection that clients share.
    #[inline]
    pub(super) fn send(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        client: u64,
        wire: &[u8],
        pending: Pending,
    ) -> Result<(), Lost> {
        let number = common.number(client);
        let mut shared = self.shared.borrow_mut();
        let known = shared
            .iter()
            .position(|(spoken, at, _)| *spoken == speaks && *at == number);
        if let Some((_, _, link)) = known.and_then(|index| shared.get(index))
            && !link.is_closed()
        {
            return link.push(wire, Some(pending));
        }
        if let Some(index) = known {
            shared.swap_remove(index);
        }
        let link = self.open(common, speaks, common.patience)?;
        shared.push((speaks, number, Rc::clone(&link)));
        link.push(wire, Some(pending))
    }

    /// Opens a connection in a task of its own; commands may be put into it already.
    #[cold]
    pub(super) fn open(
        &self,
        common: &Rc<Common>,
        speaks: Speaks,
        patience: Option<Duration>,
    ) -> Result<Rc<Link>, Lost> {
        self.health.check(speaks, clock::now())?;
        let link = Link::new(patience, speaks, self.home.clone());
        let task = Opening {
            link: Rc::clone(&link),
            common: Rc::clone(common),
            target: self.target.clone(),
            health: Rc::clone(&self.health),
            speaks,
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
            None => self.open(common, speaks, patience),
        }
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
}

impl Opening {
    async fn run(self) {
        let common = &self.common;
        let lost = match open(common, &self.target, self.speaks).await {
            Err(lost) => {
                let now = clock::now();
                match lost {
                    Lost::Refused => self.health.on_refused(self.speaks, now),
                    _ => self.health.on_failed(now, common.random.next()),
                }
                lost
            }
            Ok(mut opened) => {
                self.health.on_open();
                let _counted = common.stats.on_link();
                let idle = common
                    .cluster
                    .with_config(|config| config.pool.idle_timeout.get());
                link::run(&self.link, &mut opened.stream, Some(idle)).await
            }
        };
        // A node that is gone: others know more. An end alone may be the node's, or nobody's, wish.
        if lost != Lost::Closed
            && let Some(members) = self.link.members()
        {
            members.want_map();
        }
        self.link.close(lost);
    }
}
