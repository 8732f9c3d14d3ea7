//! A weighted random endpoint. No state, no herd, and no notion of load.

use std::rc::Rc;

use super::weights::WeightTable;
use super::{LoadBalancer, PickContext};
use crate::LocalEndpoint;

/// Picks by weight at random.
#[derive(Debug, Default)]
pub struct Random {
    endpoints: Rc<[Rc<LocalEndpoint>]>,
    weights: WeightTable,
}

impl LoadBalancer for Random {
    fn update(&mut self, endpoints: &Rc<[Rc<LocalEndpoint>]>) {
        self.endpoints = Rc::clone(endpoints);
        self.weights = WeightTable::new(endpoints.iter().map(|endpoint| endpoint.weight()));
    }

    fn pick(&mut self, cx: &PickContext<'_>) -> Option<Rc<LocalEndpoint>> {
        let position = if cx.allows_all() {
            self.weights.pick(cx.random)
        } else {
            let refused =
                |position: usize| self.endpoints.get(position).is_none_or(|e| !cx.allows(e));
            self.weights.pick_unless(cx.random, refused)
        };
        self.endpoints.get(position?).cloned()
    }
}
