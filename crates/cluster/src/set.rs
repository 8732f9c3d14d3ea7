//! The endpoints of a cluster at one moment.
//!
//! Immutable: a change of configuration or of DNS makes a new set that shares the endpoints that stay.
//! Start at [`EndpointSet::diffed_from`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::{Endpoint, EndpointId, EndpointState, ResolvedAddress, ResolvedEndpoint};

/// An immutable list of endpoints.
#[derive(Debug, Default)]
pub struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
    /// Ids below this one have been given out, to these endpoints or to some before them.
    next_id: u64,
}

impl EndpointSet {
    /// The first set of a cluster.
    ///
    /// `healthy` is the state of new endpoints until an active check has something to say.
    pub fn new(endpoints: impl IntoIterator<Item = ResolvedEndpoint>, healthy: bool) -> Self {
        Self::diffed_from(&Self::default(), endpoints, healthy)
    }

    /// The set that follows `old`. An endpoint with the same name and address keeps its identity and its
    /// state, and is the same object unless its weight or its given role changed. A repeated endpoint counts once.
    pub fn diffed_from(
        old: &Self,
        endpoints: impl IntoIterator<Item = ResolvedEndpoint>,
        healthy: bool,
    ) -> Self {
        let key = |name: &Arc<str>, address: &ResolvedAddress| (Arc::clone(name), address.clone());
        let known: HashMap<_, _, RandomState> = old
            .endpoints
            .iter()
            .map(|known| (key(known.name(), known.address()), known))
            .collect();
        let mut seen: HashSet<_, RandomState> = HashSet::default();
        let mut set = Self {
            endpoints: Vec::new(),
            next_id: old.next_id,
        };
        for resolved in endpoints {
            let key = key(&resolved.name, &resolved.address);
            let same = known.get(&key);
            if !seen.insert(key) {
                continue;
            }
            let endpoint = match same {
                Some(same) if same.is_as(&resolved) => Arc::clone(same),
                Some(same) => {
                    Arc::new(Endpoint::new(same.id(), resolved, Arc::clone(same.state())))
                }
                None => {
                    let id = EndpointId(set.next_id);
                    set.next_id += 1;
                    let state = Arc::new(EndpointState::new(healthy));
                    Arc::new(Endpoint::new(id, resolved, state))
                }
            };
            set.endpoints.push(endpoint);
        }
        set
    }

    /// The same endpoints with new identities and no history.
    pub(crate) fn renewed(&self, healthy: bool) -> Self {
        let nobody = Self {
            endpoints: Vec::new(),
            next_id: self.next_id,
        };
        let resolved = |endpoint: &Arc<Endpoint>| ResolvedEndpoint {
            name: Arc::clone(endpoint.name()),
            address: endpoint.address().clone(),
            weight: endpoint.weight(),
            role: endpoint.given_role(),
        };
        Self::diffed_from(&nobody, self.endpoints.iter().map(resolved), healthy)
    }

    /// The endpoints, in configured order.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether both hold the same objects in the same order, so that a change would change nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .endpoints
                .iter()
                .zip(&other.endpoints)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, address: &str, weight: u32) -> ResolvedEndpoint {
        ResolvedEndpoint {
            name: name.into(),
            address: ResolvedAddress::Socket(address.parse().unwrap()),
            weight,
            role: None,
        }
    }

    #[test]
    fn endpoints_that_stay_keep_identity_and_state() {
        let a = || resolved("10.0.0.1:80", "10.0.0.1:80", 1);
        let b = || resolved("api:80", "10.0.0.2:80", 1);
        let c = || resolved("api:80", "10.0.0.3:80", 1);
        let first = EndpointSet::new([a(), b()], true);
        let state = first.endpoints()[1].state();
        state.set_healthy(false);

        let second = EndpointSet::diffed_from(&first, [c(), b(), c()], true);
        let ids: Vec<u64> = second.endpoints().iter().map(|e| e.id().0).collect();
        assert_eq!(
            ids,
            [2, 1],
            "a repeated endpoint counts once, a new one gets a new id"
        );
        assert!(Arc::ptr_eq(&first.endpoints()[1], &second.endpoints()[1]));
        assert!(!second.endpoints()[1].state().is_healthy());

        let third =
            EndpointSet::diffed_from(&second, [a(), resolved("api:80", "10.0.0.2:80", 5)], true);
        assert_eq!(
            third.endpoints()[0].id(),
            EndpointId(3),
            "who left and came back is new"
        );
        assert_eq!(third.endpoints()[1].id(), EndpointId(1));
        assert_eq!(third.endpoints()[1].weight(), 5);
        assert!(Arc::ptr_eq(third.endpoints()[1].state(), state));

        assert!(EndpointSet::diffed_from(&second, [c(), b()], true).is_same(&second));
        let renewed = second.renewed(true);
        let ids: Vec<u64> = renewed.endpoints().iter().map(|e| e.id().0).collect();
        assert_eq!(ids, [3, 4], "an identity is never given twice");
        assert!(renewed.endpoints()[1].state().is_healthy());
        assert!(!third.is_same(&second));
    }

    #[test]
    fn labels_name_the_address_that_dns_found() {
        let set = EndpointSet::new(
            [
                resolved("10.0.0.1:80", "10.0.0.1:80", 0),
                resolved("api:80", "[::1]:80", 1),
                ResolvedEndpoint {
                    name: "unix:/run/a".into(),
                    address: ResolvedAddress::Unix("/run/a".into()),
                    weight: 1,
                    role: None,
                },
            ],
            true,
        );
        let labels: Vec<&str> = set.endpoints().iter().map(|e| &**e.label()).collect();
        assert_eq!(labels, ["10.0.0.1:80", "api:80/::1", "unix:/run/a"]);
        assert_eq!(set.endpoints()[0].weight(), 1);
    }
}
