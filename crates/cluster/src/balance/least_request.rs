//! The less loaded of two random endpoints.
//!
//! Two choices avoid both the herd that "the least loaded of all" makes of many workers and the tail of
//! blind ones. Load is this worker's own count of requests in flight, by weight: counting for all workers
//! would share a cache line per request.

use std::rc::Rc;

use super::weights::WeightTable;
use super::{LoadBalancer, PickContext, mix};
use crate::LocalEndpoint;

/// Draws two different endpoints by weight and takes the one with fewer requests per weight; the first
/// drawn when they are even, so that shares follow the weights at rest.
#[derive(Debug, Default)]
pub struct LeastRequest {
    endpoints: Rc<[Rc<LocalEndpoint>]>,
    weights: WeightTable,
}

impl LeastRequest {
    fn less_loaded(&self, first: usize, second: Option<usize>) -> Option<Rc<LocalEndpoint>> {
        let first = self.endpoints.get(first)?;
        let second = second.and_then(|position| self.endpoints.get(position));
        let better = match second {
            Some(second) if load(second, first.weight()) < load(first, second.weight()) => second,
            _ => first,
        };
        Some(Rc::clone(better))
    }
}

/// Requests in flight, scaled by the other's weight: comparing two such products compares the ratios.
fn load(endpoint: &LocalEndpoint, other_weight: u32) -> u64 {
    u64::from(endpoint.active()) * u64::from(other_weight)
}

impl LoadBalancer for LeastRequest {
    fn update(&mut self, endpoints: &Rc<[Rc<LocalEndpoint>]>) {
        self.endpoints = Rc::clone(endpoints);
        self.weights = WeightTable::new(endpoints.iter().map(|endpoint| endpoint.weight()));
    }

    fn pick(&mut self, cx: &PickContext<'_>) -> Option<Rc<LocalEndpoint>> {
        let again = mix(cx.random);
        if cx.allows_all() {
            let first = self.weights.pick(cx.random)?;
            return self.less_loaded(first, self.weights.pick_other(first, again));
        }
        let refused = |position: usize| self.endpoints.get(position).is_none_or(|e| !cx.allows(e));
        let first = self.weights.pick_unless(cx.random, refused)?;
        let second = self
            .weights
            .pick_unless(again, |position| position == first || refused(position));
        self.less_loaded(first, second)
    }
}
