//! Endpoints by number, for guides: a number means one endpoint for as long as that is in its cluster or has flows.
//!
//! Start at [`Lanes::of`].

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{Cluster, EndpointId, Picked};

use super::guide::Lane;

/// The endpoints that clients were led to.
#[derive(Default)]
pub(super) struct Lanes {
    next: Lane,
    lanes: HashMap<Lane, Place>,
    numbers: HashMap<(Arc<str>, EndpointId), Lane>,
}

struct Place {
    cluster: Rc<Cluster>,
    name: Arc<str>,
    endpoint: EndpointId,
}

impl Lanes {
    /// The number of an endpoint, and those that nobody is led by any more.
    pub(super) fn of(&mut self, cluster: &Rc<Cluster>, picked: &Picked) -> (Lane, Vec<Lane>) {
        let name: Arc<str> = cluster.name().into();
        let key = (name, picked.id());
        if let Some(lane) = self.numbers.get(&key) {
            return (*lane, Vec::new());
        }
        let gone = self.forget_gone();
        let lane = self.next;
        self.next += 1;
        let place = Place {
            cluster: Rc::clone(cluster),
            name: Arc::clone(&key.0),
            endpoint: key.1,
        };
        self.lanes.insert(lane, place);
        self.numbers.insert(key, lane);
        (lane, gone)
    }

    /// The endpoint of a number, for one more flow, and its cluster; `None` if it is gone.
    pub(super) fn pick(&self, lane: Lane) -> Option<(Rc<Cluster>, Picked)> {
        let place = self.lanes.get(&lane)?;
        let picked = place.cluster.pick_again(place.endpoint)?;
        Some((Rc::clone(&place.cluster), picked))
    }

    fn forget_gone(&mut self) -> Vec<Lane> {
        let is_gone = |place: &Place| !place.cluster.has_endpoint(place.endpoint);
        let gone: Vec<Lane> = self
            .lanes
            .iter()
            .filter(|(_, place)| is_gone(place))
            .map(|(lane, _)| *lane)
            .collect();
        for lane in &gone {
            if let Some(place) = self.lanes.remove(lane) {
                self.numbers.remove(&(place.name, place.endpoint));
            }
        }
        gone
    }
}
