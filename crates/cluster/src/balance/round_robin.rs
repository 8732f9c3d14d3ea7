//! In turn, by weight, as evenly spaced as the weights allow.
//!
//! Each endpoint has a deadline that grows by `1 / weight` with every turn; the earliest is next. That is
//! exact for any weights, costs a logarithm, and needs no table whose size depends on them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::weights::WeightTable;
use super::{LoadBalancer, PickContext, mix};
use crate::{EndpointId, LocalEndpoint};

/// Smooth weighted round robin. Where not every endpoint will do it is by weight at random instead: a turn that others
/// keep passing over would come back as a burst.
#[derive(Debug)]
pub struct RoundRobin {
    endpoints: Rc<[Rc<LocalEndpoint>]>,
    turns: BinaryHeap<Reverse<Turn>>,
    /// For requests that not every endpoint will do for.
    weights: WeightTable,
    /// Turns of tried endpoints during a pick; kept for its memory.
    skipped: Vec<Reverse<Turn>>,
    seed: u64,
}

/// Ordered by deadline, then by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// Virtual time in units of `1 / STRIDE` turns of an endpoint of weight 1. 128 bits do not run out.
    deadline: u128,
    position: usize,
}

impl RoundRobin {
    /// `seed` decides which endpoint is first.
    pub fn new(seed: u64) -> Self {
        Self {
            endpoints: Rc::default(),
            turns: BinaryHeap::new(),
            weights: WeightTable::default(),
            skipped: Vec::new(),
            seed,
        }
    }

    /// The deadlines of endpoints by identity, and the virtual time now.
    fn deadlines(&self) -> (HashMap<EndpointId, u128, RandomState>, u128) {
        let deadlines = self
            .turns
            .iter()
            .filter_map(|Reverse(turn)| {
                Some((self.endpoints.get(turn.position)?.id(), turn.deadline))
            })
            .collect();
        let now = self.turns.peek().map_or(0, |Reverse(turn)| turn.deadline);
        (deadlines, now)
    }
}

/// The time between two turns.
fn stride(endpoint: &LocalEndpoint) -> u128 {
    u128::from(STRIDE / u64::from(endpoint.weight().max(1)))
}

impl LoadBalancer for RoundRobin {
    fn update(&mut self, endpoints: &Rc<[Rc<LocalEndpoint>]>) {
        let (deadlines, now) = self.deadlines();
        self.turns = endpoints
            .iter()
            .enumerate()
            .map(|(position, endpoint)| {
                // Somewhere within its first stride, so that not all workers begin with the same one.
                let phase =
                    || u128::from(mix(self.seed ^ endpoint.id().0)) % stride(endpoint).max(1);
                let deadline = deadlines
                    .get(&endpoint.id())
                    .copied()
                    .unwrap_or_else(|| now + phase());
                // A weight that grew must not wait out the long stride it had.
                let deadline = deadline.min(now + stride(endpoint));
                Reverse(Turn { deadline, position })
            })
            .collect();
        self.endpoints = Rc::clone(endpoints);
        self.weights = WeightTable::new(endpoints.iter().map(|endpoint| endpoint.weight()));
    }

    fn pick(&mut self, cx: &PickContext<'_>) -> Option<Rc<LocalEndpoint>> {
        if cx.accept.is_some() {
            let refused =
                |position: usize| self.endpoints.get(position).is_none_or(|e| !cx.allows(e));
            let position = self.weights.pick_unless(cx.random, refused)?;
            return self.endpoints.get(position).cloned();
        }
        if cx.tried.is_empty()
            && let Some(mut next) = self.turns.peek_mut()
            && let Some(endpoint) = self.endpoints.get(next.0.position)
        {
            next.0.deadline += stride(endpoint);
            return Some(Rc::clone(endpoint));
        }
        let mut picked = None;
        while let Some(Reverse(turn)) = self.turns.pop() {
            let Some(endpoint) = self.endpoints.get(turn.position) else {
                continue;
            };
            if cx.has_tried(endpoint) {
                self.skipped.push(Reverse(turn));
                continue;
            }
            let deadline = turn.deadline + stride(endpoint);
            self.turns.push(Reverse(Turn { deadline, ..turn }));
            picked = Some(Rc::clone(endpoint));
            break;
        }
        self.turns.extend(self.skipped.drain(..));
        picked
    }
}

/// Fine enough that the rounding of `1 / weight` does not show.
const STRIDE: u64 = 1 << 40;
