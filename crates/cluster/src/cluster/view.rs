//! The worker's picture of its cluster: which endpoints there are, which may be picked, and by whom.
//!
//! Rebuilt when the shared generation moved or the next ejection ends; between those a pick only compares
//! two numbers. Start at [`View::refresh`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_stats::Shard;

use super::PickError;
use super::stats::ClusterStats;
use crate::balance::rendezvous;
use crate::endpoint::Nanos;
use crate::shared::Published;
use crate::{
    ClusterConfig, ClusterShared, Endpoint, EndpointSet, LoadBalancer, LocalEndpoint, Outcome,
    PickContext, Transport,
};

pub(super) struct View {
    shard: Shard,
    generation: u64,
    config: Arc<ClusterConfig>,
    transport: Option<Transport>,
    set: Arc<EndpointSet>,
    set_version: u64,
    /// All of the set, in its order.
    endpoints: Rc<[Rc<LocalEndpoint>]>,
    balancer: Box<dyn LoadBalancer>,
    /// What the balancer picks among.
    choice: Rc<[Rc<LocalEndpoint>]>,
    panic: bool,
    /// When the earliest ejection ends.
    next_return: Option<Instant>,
}

impl View {
    pub(super) fn new(
        shared: &ClusterShared,
        shard: Shard,
        stats: &ClusterStats,
        now: Instant,
    ) -> Self {
        // The generation is read before what it stands for: a change in between is found by the next pick.
        let generation = shared.generation();
        let Published {
            config,
            set,
            transport,
        } = shared.published();
        let mut view = Self {
            balancer: config.balance().build(shard.index() as u64),
            shard,
            generation,
            config,
            transport,
            set: Arc::default(),
            set_version: 0,
            endpoints: Rc::default(),
            choice: Rc::default(),
            panic: false,
            next_return: None,
        };
        view.replace_set(set);
        view.rebuild(shared, stats, now);
        view
    }

    pub(super) fn config(&self) -> &Arc<ClusterConfig> {
        &self.config
    }

    pub(super) fn transport(&self) -> Option<&Transport> {
        self.transport.as_ref()
    }

    /// Counters with the cluster's name.
    pub(super) fn shard(&self) -> &Shard {
        &self.shard
    }

    pub(super) fn endpoints(&self) -> &Rc<[Rc<LocalEndpoint>]> {
        &self.endpoints
    }

    pub(super) fn set_version(&self) -> u64 {
        self.set_version
    }

    pub(super) fn is_panic(&self) -> bool {
        self.panic
    }

    pub(super) fn pick(&mut self, cx: &PickContext<'_>) -> Result<Rc<LocalEndpoint>, PickError> {
        let picked = match (&*self.choice, cx.hash) {
            // There is nothing to balance.
            ([only], _) if only.weight() > 0 => cx.allows(only).then(|| Rc::clone(only)),
            (choice, Some(hash)) if self.config.balance.is_none() => rendezvous(choice, hash, cx),
            _ => self.balancer.pick(cx),
        };
        picked.ok_or_else(|| self.why_none(cx))
    }

    /// One of the addresses that this name stands for, if checks find it well. `random` chooses among several.
    pub(super) fn named(&self, name: &str, random: u64) -> Result<Rc<LocalEndpoint>, PickError> {
        let is_it = |endpoint: &&Rc<LocalEndpoint>| **endpoint.name() == *name;
        if !self.endpoints.iter().any(|endpoint| is_it(&endpoint)) {
            return Err(PickError::NoEndpoints);
        }
        let is_well = |endpoint: &&Rc<LocalEndpoint>| self.panic || endpoint.state().is_healthy();
        let well = || self.endpoints.iter().filter(is_it).filter(is_well);
        let count = well().count() as u64;
        let index = random.checked_rem(count).unwrap_or(0);
        let found = well().nth(index as usize).cloned();
        found.ok_or(PickError::NoneAvailable)
    }

    fn why_none(&self, cx: &PickContext<'_>) -> PickError {
        if self.endpoints.is_empty() {
            PickError::NoEndpoints
        } else if self.choice.is_empty() {
            PickError::NoneAvailable
        } else if self.choice.iter().any(|endpoint| cx.accepts(endpoint)) {
            PickError::AllTried
        } else {
            PickError::NoneAccepted
        }
    }

    pub(super) fn on_done(
        &mut self,
        endpoint: &LocalEndpoint,
        outcome: Outcome,
        elapsed: Duration,
    ) {
        self.balancer.on_done(endpoint, outcome, elapsed);
    }

    /// Catches up when something was published or an ejection has ended.
    pub(super) fn refresh(&mut self, shared: &ClusterShared, stats: &ClusterStats, now: Instant) {
        let generation = shared.generation();
        let is_current =
            generation == self.generation && self.next_return.is_none_or(|at| now < at);
        if !is_current {
            self.catch_up(generation, shared, stats, now);
        }
    }

    #[cold]
    fn catch_up(
        &mut self,
        generation: u64,
        shared: &ClusterShared,
        stats: &ClusterStats,
        now: Instant,
    ) {
        if generation != self.generation {
            self.generation = generation;
            let Published {
                config,
                set,
                transport,
            } = shared.published();
            if config.balance() != self.config.balance() {
                self.balancer = config.balance().build(self.shard.index() as u64);
            }
            self.config = config;
            self.transport = transport;
            self.replace_set(set);
        }
        self.rebuild(shared, stats, now);
    }

    fn replace_set(&mut self, set: Arc<EndpointSet>) {
        if Arc::ptr_eq(&set, &self.set) {
            return;
        }
        let local = |endpoint: &Arc<Endpoint>| {
            let known = self
                .endpoints
                .iter()
                .find(|known| known.id() == endpoint.id());
            match known {
                Some(known) if Arc::ptr_eq(known.endpoint(), endpoint) => Rc::clone(known),
                Some(known) => Rc::new(known.with_endpoint(Arc::clone(endpoint))),
                None => Rc::new(LocalEndpoint::new(Arc::clone(endpoint), &self.shard)),
            }
        };
        self.endpoints = set.endpoints().iter().map(local).collect();
        self.set = set;
        self.set_version += 1;
    }

    /// Finds who is available and tells the balancer.
    fn rebuild(&mut self, shared: &ClusterShared, stats: &ClusterStats, now: Instant) {
        let epoch = shared.epoch();
        let nanos = epoch.nanos(now);
        let available: Rc<[_]> = self
            .endpoints
            .iter()
            .filter(|e| e.state().is_available(nanos))
            .cloned()
            .collect();
        self.next_return = self.earliest_return(nanos).and_then(|at| epoch.instant(at));
        self.panic = self.config.is_panic(available.len(), self.endpoints.len());
        stats
            .availability
            .set(self.endpoints.len(), available.len(), self.panic);
        let choice = if self.panic {
            &self.endpoints
        } else {
            &available
        };
        self.choice = Rc::clone(choice);
        self.balancer.update(choice);
    }

    fn earliest_return(&self, now: Nanos) -> Option<Nanos> {
        let ends = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.state().ejected_until());
        ends.filter(|end| now < *end).min()
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("generation", &self.generation)
            .field("set", &self.set)
            .field("panic", &self.panic)
            .finish_non_exhaustive()
    }
}
