//! Endpoints by number, for guides: the same number for the same endpoint in every worker.
//!
//! Start at [`lane_of`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::quality::FixedState;
use portcullis_cluster::{Cluster, EndpointId, Picked};

use super::guide::Lane;

/// The number of an endpoint of a cluster.
#[must_use]
pub fn lane_of(cluster: &str, endpoint: EndpointId) -> Lane {
    FixedState::with_seed(0x006c_616e_6573).hash_one((cluster, endpoint))
}

/// The endpoints that this worker has led clients to.
#[derive(Default)]
pub(super) struct Lanes(RefCell<HashMap<Lane, Place>>);

struct Place {
    cluster: Rc<Cluster>,
    endpoint: EndpointId,
}

impl Lanes {
    /// The number of an endpoint. Those that are gone from their clusters come back, to be forgotten.
    pub(super) fn of(&self, cluster: &Rc<Cluster>, picked: &Picked) -> (Lane, Vec<Lane>) {
        let lane = lane_of(cluster.name(), picked.id());
        if self.0.borrow().contains_key(&lane) {
            return (lane, Vec::new());
        }
        let gone = self.forget_gone();
        self.insert(lane, cluster, picked.id());
        (lane, gone)
    }

    /// The endpoint of a number, for one more flow, and its cluster: one that is known here, or another of `clusters`, which
    /// another worker has led somebody to. `None` if it is gone.
    pub(super) fn pick(
        &self,
        lane: Lane,
        clusters: impl Iterator<Item = Rc<Cluster>>,
    ) -> Option<(Rc<Cluster>, Picked)> {
        self.look_for(lane, clusters);
        let lanes = self.0.borrow();
        let place = lanes.get(&lane)?;
        let picked = place.cluster.pick_again(place.endpoint)?;
        Some((Rc::clone(&place.cluster), picked))
    }

    fn look_for(&self, lane: Lane, clusters: impl Iterator<Item = Rc<Cluster>>) {
        if self.0.borrow().contains_key(&lane) {
            return;
        }
        for cluster in clusters {
            let endpoints = cluster.endpoints();
            let is_it = |id: &EndpointId| lane_of(cluster.name(), *id) == lane;
            if let Some(id) = endpoints.iter().map(|endpoint| endpoint.id()).find(is_it) {
                return self.insert(lane, &cluster, id);
            }
        }
    }

    fn insert(&self, lane: Lane, cluster: &Rc<Cluster>, endpoint: EndpointId) {
        let place = Place {
            cluster: Rc::clone(cluster),
            endpoint,
        };
        self.0.borrow_mut().insert(lane, place);
    }

    fn forget_gone(&self) -> Vec<Lane> {
        let mut gone = Vec::new();
        self.0.borrow_mut().retain(|lane, place| {
            let is_there = place.cluster.has_endpoint(place.endpoint);
            if !is_there {
                gone.push(*lane);
            }
            is_there
        });
        gone
    }
}
