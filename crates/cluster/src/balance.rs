//! Balancers: which of the available endpoints takes the next request.
//!
//! They know weights and load, not health: [`crate::Cluster`] hands them only endpoints that may be
//! picked. Adding one is a file here and a line in [`BalanceConfig::build`]; the laws in `laws` check it.
//! Start at [`LoadBalancer`].

#[cfg(test)]
mod laws;
mod least_request;
mod random;
mod rendezvous;
mod round_robin;
mod weights;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use least_request::LeastRequest;
pub use random::Random;
pub(crate) use rendezvous::rendezvous;
pub use round_robin::RoundRobin;

use crate::{BalanceConfig, Endpoint, EndpointId, LocalEndpoint, Outcome};

/// What a choice may depend on.
#[derive(Clone, Copy)]
pub struct PickContext<'a> {
    /// The time.
    pub now: Instant,
    /// Uniform over all of `u64`, fresh for each pick.
    pub random: u64,
    /// The hash of what requests are to be spread by, where the cluster's configuration does not say how. Equal hashes lead to
    /// one endpoint, as long as it is available, in every process.
    pub hash: Option<u64>,
    /// Endpoints that this request has tried. They are not picked again.
    pub tried: &'a [EndpointId],
    /// Which endpoints will do for this request, whatever else is wrong with the others: panic mode does not change it.
    /// `None`: all. Called a few times for each endpoint.
    pub accept: Option<&'a dyn Fn(&Endpoint) -> bool>,
}

impl PickContext<'_> {
    /// Whether this request has tried the endpoint.
    pub fn has_tried(&self, endpoint: &Endpoint) -> bool {
        self.tried.contains(&endpoint.id())
    }

    /// Whether the endpoint will do for this request.
    pub fn accepts(&self, endpoint: &Endpoint) -> bool {
        self.accept.is_none_or(|accept| accept(endpoint))
    }

    /// Whether the endpoint may be picked: it will do, and has not been tried.
    pub fn allows(&self, endpoint: &Endpoint) -> bool {
        !self.has_tried(endpoint) && self.accepts(endpoint)
    }

    /// Whether every endpoint may be picked, so that nobody has to ask.
    pub fn allows_all(&self) -> bool {
        self.tried.is_empty() && self.accept.is_none()
    }
}

impl fmt::Debug for PickContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PickContext")
            .field("tried", &self.tried)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// A way to spread requests over endpoints.
pub trait LoadBalancer {
    /// The endpoints to choose among from now on. Tables are built here, never in `pick`; what was
    /// learnt about endpoints that stay is kept.
    fn update(&mut self, endpoints: &Rc<[Rc<LocalEndpoint>]>);

    /// One of the endpoints of the last update that the context [allows](PickContext::allows); `None` when there is none. Those
    /// that will do for a request share such requests by weight, whoever else there is.
    fn pick(&mut self, cx: &PickContext<'_>) -> Option<Rc<LocalEndpoint>>;

    /// A request on `endpoint` ended.
    fn on_done(&mut self, endpoint: &LocalEndpoint, outcome: Outcome, elapsed: Duration) {
        let _ = (endpoint, outcome, elapsed);
    }
}

impl BalanceConfig {
    /// The configured balancer, without endpoints yet. `seed` sets workers apart: without it all would
    /// begin with the same endpoint.
    pub fn build(&self, seed: u64) -> Box<dyn LoadBalancer> {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::new(seed)),
            Self::LeastRequest => Box::new(LeastRequest::default()),
            Self::Random => Box::new(Random::default()),
        }
    }
}

/// One step of splitmix64: another uniform number from one.
fn mix(random: u64) -> u64 {
    let mut z = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
