//! What a cluster's configuration says of its shards.
//!
//! Start at [`shards`] and [`groups`].

use std::rc::Rc;

use portcullis_cluster::{ClusterConfig, EndpointConfig, KeyDistribution, UpstreamRedis};
use portcullis_config::TargetAddress;

use super::Place;
use crate::hash::{self, Distribution, HashTag, Placement};
use crate::session::group::Group;
use crate::session::shard::{Common, Shard, Target};

/// The shards that keys are spread over: each configured endpoint is one.
pub(super) fn shards(settings: &ClusterConfig, redis: &UpstreamRedis) -> (Placement, Vec<String>) {
    let primaries = || settings.endpoints.iter().filter(|at| !at.is_replica());
    let ring: Vec<hash::Shard> = primaries()
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
    let names = primaries().map(|endpoint| endpoint.address.to_string());
    (placement, names.collect())
}

/// Where a single server is: at any of the addresses of the only endpoint, or at the one that is no replica.
pub(super) fn only(settings: &ClusterConfig) -> Target {
    let mut primaries = settings.endpoints.iter().filter(|at| !at.is_replica());
    match primaries.next() {
        Some(primary) if settings.endpoints.len() > 1 => {
            Target::Named(primary.address.to_string().into())
        }
        _ => Target::Any,
    }
}

pub(super) fn named(name: &str) -> Rc<Shard> {
    Rc::new(Shard::new(Target::Named(name.into())))
}

/// The shards with the replicas that are configured for them, if those are read from.
pub(super) fn groups(
    common: &Rc<Common>,
    place: &Place,
    settings: &ClusterConfig,
) -> Box<[Rc<Group>]> {
    if !settings.redis.read_from.has_replicas() {
        return Box::default();
    }
    let group = |shard: &Rc<Shard>, is_of: &dyn Fn(&EndpointConfig) -> bool| {
        let replicas = settings.endpoints.iter();
        let replicas = replicas.filter(|at| at.is_replica() && is_of(at));
        let replicas = replicas.map(|at| named(&at.address.to_string()));
        let group = Group::new(Rc::clone(common));
        group.set(Some(Rc::clone(shard)), replicas.collect());
        group
    };
    match place {
        Place::One(shard) => Box::new([group(shard, &|_| true)]),
        Place::Hashed(_, shards) => {
            let primaries = settings.endpoints.iter().filter(|at| !at.is_replica());
            let all = primaries.zip(shards.iter());
            let all = all.map(|(primary, shard)| {
                group(shard, &|at| {
                    at.replica_of.as_ref() == Some(&primary.address)
                })
            });
            all.collect()
        }
        Place::Slots(_) | Place::Followed(_) => Box::default(),
    }
}
