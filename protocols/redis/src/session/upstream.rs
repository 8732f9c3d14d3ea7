//! A cluster as Redis uses it on one worker: its shards, the connections that clients share, and those that one client has
//! for itself.
//!
//! Which shard has a key is [`crate::hash`]'s. Start at [`Upstream::send`] and [`Upstream::pin`].

use std::cell::{Cell as Value, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use portcullis_cluster::{Cluster, ClusterConfig, KeyDistribution, RedisTopology, UpstreamRedis};
use portcullis_config::TargetAddress;
use portcullis_filter::Random;
use portcullis_net::{clock, spawn_local};

use super::cell::Cell;
use super::link::{self, Link, Pending};
use super::open::open;
use super::stats::RedisStats;
use crate::config::{RedisConfig, UpstreamConfig};
use crate::hash::{self, Distribution, HashTag, Placement};
use crate::machine::{Lost, PinEnd, PinId, Purpose, Speaks};

/// The pause after a connection that failed; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many connections that nobody has for himself are kept for each shard.
const KEPT_PINS: usize = 16;

/// A cluster as Redis uses it on one worker.
pub(super) struct Upstream {
    common: Rc<Common>,
    /// `None`: there is one shard.
    placement: Option<Placement>,
    shards: Box<[Shard]>,
    /// Connections of each kind that clients share.
    connections: u16,
    patience: Option<Duration>,
}

/// What links need of their cluster.
struct Common {
    cluster: Rc<Cluster>,
    credentials: UpstreamConfig,
    stats: Rc<RedisStats>,
    random: Rc<Random>,
}

/// One shard.
struct Shard {
    /// As its endpoints are configured. `None`: any of the cluster's.
    name: Option<Rc<str>>,
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
        let topology = redis.topology(settings.endpoints.len());
        let (placement, names) = match topology {
            Some(RedisTopology::Standalone) => (None, vec![None]),
            Some(RedisTopology::Shards) => {
                let (placement, names) = shards(&settings, redis);
                (Some(placement), names)
            }
            None => {
                return Err(format!(
                    "cluster '{}' has several endpoints and does not say what they are to each other: \
                     write `redis: {{ topology: shards }}`",
                    cluster.name()
                ));
            }
        };
        let shard = |name: Option<String>| Shard {
            name: name.map(Rc::from),
            shared: RefCell::default(),
            idle: RefCell::default(),
            health: Rc::default(),
        };
        Ok(Self {
            placement,
            shards: names.into_iter().map(shard).collect(),
            connections: redis.connections.get(),
            patience: config.timeouts.command.get(),
            common: Rc::new(Common {
                cluster,
                credentials: config.upstream.clone(),
                stats,
                random: Rc::clone(random),
            }),
        })
    }

    /// The cluster's name.
    pub(super) fn name(&self) -> &str {
        self.common.cluster.name()
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// The shard that has the key.
    #[inline]
    pub(super) fn shard(&self, key: &[u8]) -> Result<u16, Lost> {
        match &self.placement {
            None => Ok(0),
            Some(placement) => placement
                .shard(key)
                .map(|shard| shard as u16)
                .ok_or(Lost::NoEndpoint),
        }
    }

    /// Sends a command over a connection that clients share.
    #[inline]
    pub(super) fn send(
        &self,
        shard: u16,
        speaks: Speaks,
        client: u64,
        wire: &[u8],
        pending: Pending,
    ) -> Result<(), Lost> {
        let shard = self.shards.get(shard as usize).ok_or(Lost::NoEndpoint)?;
        let number = (client % u64::from(self.connections)) as u16;
        let mut shared = shard.shared.borrow_mut();
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
        let link = self.open(shard, speaks, self.patience)?;
        shared.push((speaks, number, Rc::clone(&link)));
        link.push(wire, Some(pending))
    }

    /// Opens a connection in a task of its own; commands may be put into it already.
    #[cold]
    fn open(
        &self,
        shard: &Shard,
        speaks: Speaks,
        patience: Option<Duration>,
    ) -> Result<Rc<Link>, Lost> {
        shard.health.check(speaks, clock::now())?;
        let link = Link::new(patience);
        let task = Opening {
            link: Rc::clone(&link),
            common: Rc::clone(&self.common),
            name: shard.name.clone(),
            health: Rc::clone(&shard.health),
            speaks,
        };
        spawn_local(task.run());
        Ok(link)
    }

    /// A connection for one client alone.
    pub(super) fn pin(
        &self,
        shard: u16,
        speaks: Speaks,
        purpose: Purpose,
        client: &Rc<Cell>,
        pin: PinId,
    ) -> Result<Rc<Link>, Lost> {
        let shard = self.shards.get(shard as usize).ok_or(Lost::NoEndpoint)?;
        let patience = match purpose {
            // It waits as long as it says, and its client with it.
            Purpose::Blocking { at_most } => at_most
                .zip(self.patience)
                .map(|(wait, patience)| wait.saturating_add(patience)),
            Purpose::Subscription => None,
            Purpose::Transaction | Purpose::Large => self.patience,
        };
        let link = match shard.take_idle(speaks) {
            Some(link) => {
                link.set_patience(patience);
                link
            }
            None => self.open(shard, speaks, patience)?,
        };
        link.set_owner(Some((Rc::clone(client), pin)));
        self.common.stats.on_pin();
        Ok(link)
    }

    /// Takes a client's own connection back.
    pub(super) fn unpin(&self, shard: u16, speaks: Speaks, link: &Rc<Link>, end: PinEnd) {
        self.common.stats.on_unpin();
        link.set_owner(None);
        let Some(shard) = self.shards.get(shard as usize) else {
            return link.abandon();
        };
        let mut idle = shard.idle.borrow_mut();
        let is_reusable = end == PinEnd::Clean && link.is_clean();
        if is_reusable && idle.len() < KEPT_PINS {
            link.set_patience(self.patience);
            idle.push((speaks, Rc::clone(link)));
        } else {
            link.abandon();
        }
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        for shard in &self.shards {
            for (_, _, link) in shard.shared.take() {
                link.retire();
            }
            for (_, link) in shard.idle.take() {
                link.abandon();
            }
        }
    }
}

impl Shard {
    fn take_idle(&self, speaks: Speaks) -> Option<Rc<Link>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(_, link)| !link.is_closed());
        let index = idle.iter().rposition(|(spoken, _)| *spoken == speaks)?;
        Some(idle.swap_remove(index).1)
    }
}

/// A connection that is being opened, and then its task.
struct Opening {
    link: Rc<Link>,
    common: Rc<Common>,
    name: Option<Rc<str>>,
    health: Rc<Health>,
    speaks: Speaks,
}

impl Opening {
    async fn run(self) {
        let common = &self.common;
        let opened = open(
            &common.cluster,
            self.name.as_deref(),
            &common.credentials,
            self.speaks,
            &common.random,
        );
        let lost = match opened.await {
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
        self.link.close(lost);
    }
}

/// The shards that keys are spread over: each configured endpoint is one.
fn shards(settings: &ClusterConfig, redis: &UpstreamRedis) -> (Placement, Vec<Option<String>>) {
    let ring: Vec<hash::Shard> = settings
        .endpoints
        .iter()
        .map(|endpoint| hash::Shard {
            name: match &endpoint.address {
                TargetAddress::Tcp { host, port } => hash::shard_name(&host.to_string(), *port),
                unix @ TargetAddress::Unix(_) => unix.to_string(),
            },
            weight: endpoint.weight.get().into(),
        })
        .collect();
    let distribution = match redis.distribution {
        KeyDistribution::Ketama => Distribution::Ketama,
        KeyDistribution::Modula => Distribution::Modula,
        KeyDistribution::Maglev => Distribution::Maglev,
    };
    let tag = redis
        .hash_tag
        .0
        .map(|(open, close)| HashTag { open, close });
    let hash = hash::KeyHash::of(redis.hash.name()).unwrap_or_default();
    let placement = Placement::new(&ring, distribution, hash, tag);
    let names = settings.endpoints.iter();
    let names = names.map(|endpoint| Some(endpoint.address.to_string()));
    (placement, names.collect())
}
