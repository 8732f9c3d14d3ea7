//! The protocol `redis`, and what a worker builds for one listener.
//!
//! Start at [`RedisServer`].

use std::cell::{self, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{BuildError, Node};
use portcullis_filter::{Context, Random};
use portcullis_net::{AcceptBalance, Downstream, DrainSignal, clock, sleep, spawn_local};
use portcullis_proxy::{ClusterMistake, ListenerContext, Protocol, ReadContext, Server};
use serde_json::Value;

use super::cell::Cell;
use super::client;
use super::cluster;
use super::foreign::Foreigners;
use super::keys::{Keys, Sketch};
use super::mailbox::Mailboxes;
use super::rights::Rights;
use super::scripts::{Remembered, Scripts};
use super::shared::SharedReads;
use super::slow::{Noticed, Slow};
use super::stats::RedisStats;
use super::upstream::Upstream;
use super::way::Ways;
use crate::config::RedisConfig;
use crate::machine::{Lost, node_id};
use crate::route::Condition;

/// The protocol `redis`.
#[derive(Debug, Clone, Copy)]
pub struct Redis;

impl Protocol for Redis {
    const NAME: &'static str = "redis";
    // Clients keep their connections.
    const BALANCE: AcceptBalance = AcceptBalance::Exact;
    type Config = RedisConfig;
    type Server = RedisServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<RedisConfig> {
        RedisConfig::read(raw, cx)
    }

    fn warning(one: &RedisConfig, other: &RedisConfig) -> Option<String> {
        one.shared_prefix(other)
    }

    fn cluster_mistakes(
        config: &RedisConfig,
        name: &str,
        cluster: &ClusterConfig,
    ) -> Vec<ClusterMistake> {
        if config.uses(name) {
            cluster::mistakes(name, cluster)
        } else {
            Vec::new()
        }
    }

    fn schema() -> Value {
        RedisConfig::schema()
    }

    fn build(config: &RedisConfig, cx: &ListenerContext) -> Result<RedisServer, BuildError> {
        let path = format!("{}.filters", cx.path());
        let stats = Rc::new(RedisStats::new(&cx.stats));
        let mut upstreams: Vec<Upstream> = Vec::new();
        let mut upstream = |name: &str| -> Result<Lead, BuildError> {
            let known = upstreams.iter().position(|known| known.name() == name);
            let index = if let Some(index) = known {
                index
            } else {
                let cluster = cx.cluster(name)?;
                let upstream = Upstream::new(cluster, config, Rc::clone(&stats), &cx.worker.random);
                upstreams.push(upstream.map_err(|reason| BuildError::new(cx.path(), reason))?);
                upstreams.len() - 1
            };
            Ok(cell::Cell::new(index as u16))
        };
        let mut rules = Vec::new();
        for route in &config.routes {
            let reads = route.read_cluster.as_deref();
            rules.push(Rule {
                name: route.name.clone(),
                condition: route.condition.clone(),
                upstream: upstream(&route.cluster)?,
                reads: reads.map(&mut upstream).transpose()?,
                way: 0,
            });
        }
        let mut ways = Ways::default();
        for (rule, route) in rules.iter_mut().zip(&config.routes) {
            let mirror = route.way.mirror.as_ref();
            let lead = mirror.map(|mirror| upstream(&mirror.cluster)).transpose()?;
            rule.way = ways.add(&route.way, lead, &stats);
        }
        let mut policy = config.policy();
        // Where copies go does not matter to clients.
        let is_cluster = |lead: &Lead| {
            let upstream = upstreams.get(lead.get() as usize);
            upstream.is_some_and(|upstream| upstream.members().is_some())
        };
        if rules.iter().flat_map(Rule::leads).all(is_cluster)
            && let Some(policy) = Arc::get_mut(&mut policy)
        {
            policy.is_cluster = true;
            policy.node = node_id(&cx.listener);
        }
        let chain = config.filters.build(&cx.filters(&path))?;
        Ok(RedisServer {
            is_plain: config.slow_log.is_none() && rules.first().is_some_and(Rule::is_plain),
            listener: Arc::clone(&cx.listener),
            rights: Rights::new(policy, chain),
            rules: rules.into(),
            ways,
            shared: SharedReads::default(),
            random: Rc::clone(&cx.worker.random),
            upstreams: RefCell::new(upstreams.into_iter().map(Rc::new).collect()),
            stats,
            keys: Keys::new(cx.common(Sketch::default), Rc::clone(&cx.worker.random)),
            slow: Slow::new(cx.common(Noticed::default), config.slow_log),
            foreigners: Foreigners::new(config),
            scripts: Scripts::new(cx.common(Remembered::default), config.limits.scripts.get()),
            mailboxes: cx.common(Mailboxes::default),
            config: config.clone(),
            drain: cx.drain.clone(),
            is_watched: cell::Cell::new(false),
        })
    }
}

/// A rule and where it leads.
pub(super) struct Rule {
    /// As filters and logs know it.
    pub(super) name: Option<Arc<str>>,
    pub(super) condition: Condition,
    /// Rules with the same cluster share one.
    upstream: Lead,
    /// Where commands go that only read, if that is elsewhere.
    reads: Option<Lead>,
    /// What is done with commands on their way.
    pub(super) way: u16,
}

/// Which of the listener's upstreams something leads to.
pub(super) type Lead = cell::Cell<u16>;

impl Rule {
    /// Where it leads for a command, which only reads or not.
    #[inline]
    pub(super) fn lead(&self, reads: bool) -> &Lead {
        match &self.reads {
            Some(lead) if reads => lead,
            _ => &self.upstream,
        }
    }

    /// Whether it takes all commands, and they go one way, as they are.
    fn is_plain(&self) -> bool {
        self.condition == Condition::default() && self.reads.is_none() && self.way == 0
    }

    fn leads(&self) -> impl Iterator<Item = &Lead> {
        std::iter::once(&self.upstream).chain(&self.reads)
    }
}

/// Redis, configured for one listener on one worker.
pub struct RedisServer {
    pub(super) listener: Arc<str>,
    pub(super) rights: Rc<Rights>,
    pub(super) rules: Box<[Rule]>,
    pub(super) ways: Ways,
    pub(super) shared: SharedReads,
    pub(super) random: Rc<Random>,
    /// Those of now, and those that they have taken the place of: a number is never another's.
    upstreams: RefCell<Vec<Rc<Upstream>>>,
    pub(super) stats: Rc<RedisStats>,
    pub(super) keys: Keys,
    pub(super) scripts: Scripts,
    pub(super) foreigners: Foreigners,
    pub(super) slow: Slow,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) config: RedisConfig,
    pub(super) drain: DrainSignal,
    /// There is nothing to be done with a command that no filter sees but to send it where the first rule says: no other rule may
    /// take it, nothing is changed or noted.
    is_plain: bool,
    /// Whether [`watch`] runs.
    is_watched: cell::Cell<bool>,
}

/// How often a worker whose clients say nothing looks for news of its clusters.
const WATCH: Duration = Duration::from_secs(1);

/// Takes up what a reload has changed, for clients that only listen.
async fn watch(server: Weak<RedisServer>) {
    loop {
        sleep(WATCH).await;
        let Some(server) = server.upgrade() else {
            return;
        };
        for lead in server.leads() {
            // What is wrong was said.
            let _ = server.current(lead);
        }
    }
}

impl Server for RedisServer {
    fn serve(self: Rc<Self>, downstream: Downstream) -> impl Future<Output = ()> + 'static {
        if !self.is_watched.replace(true) {
            spawn_local(watch(Rc::downgrade(&self)));
        }
        client::serve(self, downstream)
    }

    /// Connections that stay open see the new users and filters at their next command; where commands go stays as it was.
    fn on_replaced(&self, successor: &Rc<Self>) {
        self.rights.replace(&successor.rights);
    }
}

impl RedisServer {
    /// The upstream with this number.
    #[inline]
    pub(super) fn upstream(&self, number: u16) -> Result<Rc<Upstream>, Lost> {
        let upstreams = self.upstreams.borrow();
        upstreams.get(number as usize).cloned().ok_or(Lost::NoRoute)
    }

    /// All leads of rules and of what is done on the way.
    pub(super) fn leads(&self) -> impl Iterator<Item = &Lead> {
        self.rules
            .iter()
            .flat_map(Rule::leads)
            .chain(self.ways.leads())
    }

    /// Where it leads, by the cluster's settings of now.
    #[inline]
    pub(super) fn current(&self, lead: &Lead) -> Result<(u16, Rc<Upstream>), Lost> {
        let number = lead.get();
        let upstream = self.upstream(number)?;
        if upstream.is_stale() {
            return Ok(self.renew(number, upstream));
        }
        Ok((number, upstream))
    }

    /// Where plain commands go, if that is all that there is to be done with them.
    #[inline]
    pub(super) fn plain_lead(&self) -> Option<Rc<Upstream>> {
        if !self.is_plain || self.rights.is_filtered() {
            return None;
        }
        let (_, upstream) = self.current(self.rules.first()?.lead(false)).ok()?;
        Some(upstream)
    }

    /// Makes an upstream anew after a reload. If that cannot be, the old one goes on.
    #[cold]
    fn renew(&self, number: u16, old: Rc<Upstream>) -> (u16, Rc<Upstream>) {
        let mut upstreams = self.upstreams.borrow_mut();
        let next = u16::try_from(upstreams.len());
        let (next, renewed) = match (next, old.renewed(&self.config)) {
            (Ok(next), Ok(renewed)) => (next, Rc::new(renewed)),
            (next, renewed) => {
                let error = renewed.err().unwrap_or_default();
                let cluster = old.name();
                tracing::error!(cluster, error, ?next, "a Redis cluster stays as it was");
                return (number, old);
            }
        };
        upstreams.push(Rc::clone(&renewed));
        for lead in self.leads().filter(|lead| lead.get() == number) {
            lead.set(next);
        }
        old.replace();
        (next, renewed)
    }

    /// Whether servers that are found by asking are being asked for, for the first time.
    pub(super) fn is_awaiting_nodes(&self) -> bool {
        let upstreams = self.upstreams.borrow();
        let mut awaited = self.awaited(&upstreams);
        awaited.next().is_some()
    }

    /// Those of whom no server is known yet, and one is asked for. Nobody waits for those that only get copies.
    fn awaited<'a>(
        &'a self,
        upstreams: &'a [Rc<Upstream>],
    ) -> impl Iterator<Item = &'a Rc<Upstream>> {
        let leads = self.rules.iter().flat_map(Rule::leads);
        let upstreams = leads.filter_map(|lead| upstreams.get(lead.get() as usize));
        upstreams.filter(|upstream| upstream.is_awaited())
    }

    /// As [`is_awaiting_nodes`](Self::is_awaiting_nodes); the client is woken when that is over.
    #[inline]
    pub(super) fn awaits_nodes(&self, client: &Rc<Cell>) -> bool {
        if !self
            .upstreams
            .borrow()
            .iter()
            .any(|upstream| upstream.asks())
        {
            return false;
        }
        // What a reload has changed is asked for before a command needs it.
        for lead in self.leads() {
            let _ = self.current(lead);
        }
        let upstreams = self.upstreams.borrow();
        let awaited = self.awaited(&upstreams);
        awaited.inspect(|upstream| upstream.wait(client)).count() > 0
    }

    /// How many replies a client may be owed before it has to wait.
    #[inline]
    pub(super) fn most_owed(&self) -> usize {
        self.config.limits.pipeline.get() as usize
    }

    /// What filters know of a connection.
    pub(super) fn context(&self, downstream: &Downstream) -> Context {
        Context::new(Rc::new(downstream.facts(&self.listener)), clock::now())
    }
}

impl Drop for RedisServer {
    /// A listener that is gone needs no connections: links hold nothing of it, so that they end when asked.
    fn drop(&mut self) {
        for upstream in &*self.upstreams.borrow() {
            upstream.close();
        }
    }
}
