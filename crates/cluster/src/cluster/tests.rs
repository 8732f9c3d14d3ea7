mod roles;

use std::collections::HashSet;

use portcullis_stats::Registry;

use super::*;
use crate::testing::{cluster_json, config, resolved, shard, shared, start};
use crate::{BalanceConfig, EndpointHealth};

const SECOND: Duration = Duration::from_secs(1);

struct Fixture {
    registry: Registry,
    shared: Arc<ClusterShared>,
    cluster: Cluster,
    now: Instant,
}

impl Fixture {
    fn new(count: usize, settings: &str) -> Self {
        let shared = shared(count, settings);
        let registry = Registry::new(2);
        let now = start();
        let cluster = Cluster::new(Arc::clone(&shared), &registry.shard(0), now);
        Self {
            registry,
            shared,
            cluster,
            now,
        }
    }

    fn pick(&self, tried: &[EndpointId]) -> Result<Picked, PickError> {
        self.cluster.pick(&PickContext {
            now: self.now,
            random: 42,
            hash: None,
            tried,
            accept: None,
        })
    }

    /// The endpoints that a dozen picks reach.
    fn reachable(&self) -> HashSet<u64> {
        (0..12).map(|_| self.pick(&[]).unwrap().id().0).collect()
    }

    fn fail(&self, id: u64, times: usize) {
        let endpoint = self
            .cluster
            .endpoints()
            .iter()
            .find(|e| e.id().0 == id)
            .cloned()
            .unwrap();
        for _ in 0..times {
            endpoint.on_start();
            let picked = Picked {
                endpoint: Rc::clone(&endpoint),
            };
            self.cluster
                .on_done(&picked, Outcome::Failure("refused"), SECOND, self.now);
        }
    }

    fn set_healthy(&self, id: u64, healthy: bool) {
        let set = self.shared.set();
        let endpoint = set.endpoints().iter().find(|e| e.id().0 == id).unwrap();
        self.shared.set_healthy(endpoint, healthy);
    }

    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let labels: Vec<_> = [("cluster", "api")].iter().chain(labels).copied().collect();
        self.registry.snapshot().counter(name, &labels)
    }

    fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let labels: Vec<_> = [("cluster", "api")].iter().chain(labels).copied().collect();
        self.registry.snapshot().gauge(name, &labels)
    }
}

#[test]
fn failures_in_a_row_eject_until_time_passes() {
    let mut f = Fixture::new(3, "");
    f.fail(0, 4);
    assert_eq!(f.reachable().len(), 3);
    f.fail(0, 1);
    assert_eq!(f.reachable(), HashSet::from([1, 2]));
    assert_eq!(f.gauge("portcullis_cluster_endpoints_available", &[]), 2);
    let endpoint = [("endpoint", "10.0.0.1:80")];
    assert_eq!(
        f.counter("portcullis_endpoint_ejections_total", &endpoint),
        1
    );
    let reason = [endpoint[0], ("reason", "refused")];
    assert_eq!(f.counter("portcullis_endpoint_failures_total", &reason), 5);
    f.now += SECOND * 29;
    assert_eq!(f.reachable().len(), 2);
    assert_eq!(f.shared.statuses(f.now)[0].ejected_for_ms, Some(1000));
    f.now += SECOND;
    assert_eq!(f.reachable().len(), 3, "back without anybody's doing");
    assert_eq!(f.shared.statuses(f.now)[0].ejected_for_ms, None);
}

#[test]
fn a_success_or_no_verdict_breaks_or_leaves_the_row() {
    let f = Fixture::new(2, "");
    f.fail(0, 4);
    let picked = f.pick(&[EndpointId(1)]).unwrap();
    f.cluster.on_done(&picked, Outcome::Neutral, SECOND, f.now);
    assert_eq!(picked.state().consecutive_failures(), 4);
    f.cluster.on_done(&picked, Outcome::Success, SECOND, f.now);
    f.fail(0, 4);
    assert_eq!(f.reachable().len(), 2);
}

#[test]
fn ejections_in_a_row_last_longer_up_to_a_maximum() {
    let mut f = Fixture::new(
        2,
        "\"ejection\": {\"base_time\": \"10s\", \"max_time\": \"25s\"}",
    );
    for expected in [10, 20, 25, 25] {
        assert_eq!(
            f.shared.eject(EndpointId(0), f.now),
            Ejection::Ejected(SECOND * expected)
        );
        assert_eq!(
            f.shared.eject(EndpointId(0), f.now),
            Ejection::AlreadyEjected
        );
        f.now += SECOND * (expected + 5);
    }
    f.now += SECOND * 26;
    assert_eq!(
        f.shared.eject(EndpointId(0), f.now),
        Ejection::Ejected(SECOND * 10),
        "it stayed"
    );
    assert_eq!(f.shared.eject(EndpointId(9), f.now), Ejection::Gone);
}

#[test]
fn the_ejected_share_is_capped() {
    let cases = [
        (1, "50%", 0),
        (2, "50%", 1),
        (3, "50%", 1),
        (4, "50%", 2),
        (1, "100%", 1),
        (4, "0%", 0),
    ];
    for (count, share, most) in cases {
        let f = Fixture::new(
            count,
            &format!("\"ejection\": {{\"max_ejected\": \"{share}\"}}"),
        );
        for id in 0..count as u64 {
            f.fail(id, 5);
        }
        let out = f
            .shared
            .statuses(f.now)
            .iter()
            .filter(|s| s.ejected_for_ms.is_some())
            .count();
        assert_eq!(out, most, "{count} endpoints, {share}");
        let refused = f.counter("portcullis_cluster_ejections_refused_total", &[]);
        assert_eq!(refused, (count - most) as u64, "{count} endpoints, {share}");
    }
}

#[test]
fn the_cap_is_exact_across_threads() {
    let shared = shared(64, "");
    let now = start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                for id in 0..64 {
                    shared.eject(EndpointId((id + thread * 16) % 64), now);
                }
            });
        }
    });
    let out = shared
        .statuses(now)
        .iter()
        .filter(|s| s.ejected_for_ms.is_some())
        .count();
    assert_eq!(out, 32);
}

#[test]
fn unhealthy_endpoints_are_not_picked_until_panic() {
    let f = Fixture::new(4, "");
    f.set_healthy(0, false);
    f.set_healthy(1, false);
    assert_eq!(f.reachable(), HashSet::from([2, 3]));
    assert!(!f.cluster.is_panic(), "exactly the threshold is enough");
    assert_eq!(f.gauge("portcullis_cluster_panic", &[]), 0);

    f.set_healthy(2, false);
    assert_eq!(f.reachable().len(), 4);
    assert!(f.cluster.is_panic());
    assert_eq!(f.gauge("portcullis_cluster_panic", &[]), 1);
    assert_eq!(f.counter("portcullis_cluster_panic_picks_total", &[]), 12);

    f.set_healthy(2, true);
    assert_eq!(f.reachable(), HashSet::from([2, 3]));
    assert_eq!(f.gauge("portcullis_cluster_panic", &[]), 0);
    assert_eq!(f.gauge("portcullis_cluster_endpoints", &[]), 4);
}

/// F9 of tests/ATTACKS.md: all checks fail and come back again, over and over; nothing but the thresholds and panic mode decide.
#[test]
fn health_flaps_are_damped_and_panic_shows() {
    let f = Fixture::new(2, "\"health_check\": {\"tcp\": {}}");
    let check = f.shared.config().health_check.clone().unwrap();
    let shard = f.registry.shard(1);
    let mut checks: Vec<_> = (f.shared.set().endpoints().iter())
        .map(|e| EndpointHealth::new(Arc::clone(&f.shared), Arc::clone(e), &check, &shard))
        .collect();
    for round in 0..50 {
        for health in &mut checks {
            health.on_result(round % 3 == 2, f.now);
        }
        assert_eq!(f.reachable().len(), 2);
        assert!(!f.cluster.is_panic(), "two failures of three are no streak");
    }
    for _ in 0..3 {
        for health in &mut checks {
            health.on_result(false, f.now);
        }
    }
    assert_eq!(f.reachable().len(), 2, "all down: all are used");
    assert!(f.cluster.is_panic());
    assert_eq!(f.gauge("portcullis_cluster_endpoints_available", &[]), 0);
    for _ in 0..2 {
        checks[0].on_result(true, f.now);
    }
    assert_eq!(f.reachable(), HashSet::from([0]));
    assert_eq!(f.gauge("portcullis_cluster_panic", &[]), 0);
}

#[test]
fn reasons_for_no_endpoint() {
    let f = Fixture::new(2, "\"panic_threshold\": \"0%\"");
    let all = [EndpointId(0), EndpointId(1)];
    assert_eq!(f.pick(&all).err(), Some(PickError::AllTried));
    f.set_healthy(0, false);
    assert_eq!(f.pick(&[EndpointId(1)]).err(), Some(PickError::AllTried));
    f.set_healthy(1, false);
    assert_eq!(f.pick(&[]).err(), Some(PickError::NoneAvailable));
    assert!(f.shared.publish_endpoints([]));
    assert_eq!(f.pick(&[]).err(), Some(PickError::NoEndpoints));
    for (reason, count) in [("all_tried", 2), ("none_available", 1), ("no_endpoints", 1)] {
        let counted = f.counter(
            "portcullis_cluster_pick_failures_total",
            &[("reason", reason)],
        );
        assert_eq!(counted, count, "{reason}");
    }
}

#[test]
fn requests_in_flight_end_however_the_attempt_does() {
    let f = Fixture::new(1, "");
    let endpoint = [("endpoint", "10.0.0.1:80")];
    let first = f.pick(&[]).unwrap();
    let second = f.pick(&[]).unwrap();
    assert_eq!(first.active(), 2);
    assert_eq!(f.gauge("portcullis_endpoint_requests_active", &endpoint), 2);
    f.cluster.on_done(&first, Outcome::Success, SECOND, f.now);
    drop(first);
    assert_eq!(second.active(), 1);
    drop(second);
    assert_eq!(f.gauge("portcullis_endpoint_requests_active", &endpoint), 0);
    assert_eq!(
        f.counter("portcullis_endpoint_requests_total", &endpoint),
        2
    );
}

#[test]
fn changes_arrive_in_place() {
    let f = Fixture::new(2, "");
    let version = f.cluster.set_version();
    let busy = f.pick(&[EndpointId(1)]).unwrap();
    assert!(
        !f.shared.publish_endpoints(resolved(&[1, 1])),
        "nothing changed"
    );

    assert!(f.shared.publish_endpoints(resolved(&[3, 1, 1])));
    assert_eq!(f.cluster.set_version(), version, "only when somebody looks");
    assert_eq!(f.reachable(), HashSet::from([0, 1, 2]));
    assert!(f.cluster.set_version() > version);
    let heavy = f.cluster.endpoints()[0].clone();
    assert_eq!(
        (heavy.weight(), heavy.active()),
        (3, 1),
        "the load survives a change of weight"
    );
    drop(busy);
    assert_eq!(heavy.active(), 0);

    f.shared.publish_endpoints(resolved(&[1]));
    f.cluster.refresh(f.now);
    assert!(f.cluster.has_endpoint(EndpointId(0)) && !f.cluster.has_endpoint(EndpointId(1)));

    let other = config(&cluster_json(
        "\"balance\": \"random\", \"limits\": {\"requests\": 1}",
    ));
    f.shared.publish_config(other);
    f.cluster.refresh(f.now);
    assert_eq!(f.cluster.config().balance(), BalanceConfig::Random);
    let permit = f.cluster.try_request();
    assert!(permit.is_ok() && f.cluster.try_request().is_err());
}

#[test]
fn without_checks_nobody_stays_unhealthy() {
    let f = Fixture::new(
        2,
        "\"health_check\": {\"tcp\": {}, \"initial\": \"unhealthy\"}, \"panic_threshold\": \"0%\"",
    );
    assert_eq!(f.pick(&[]).err(), Some(PickError::NoneAvailable));
    f.shared.publish_config(config(&cluster_json("")));
    assert_eq!(f.reachable().len(), 2);
}

#[test]
fn limits_refuse_at_once_and_give_back() {
    let f = Fixture::new(
        1,
        "\"limits\": {\"connections\": 1, \"pending\": \"unlimited\"}",
    );
    let other_worker = Cluster::new(Arc::clone(&f.shared), &f.registry.shard(1), f.now);
    let held = f.cluster.try_connection().unwrap();
    let refused = other_worker.try_connection().unwrap_err();
    assert_eq!(refused.limit, BreakerKind::Connections);
    let limit = [("limit", "connections")];
    assert_eq!(f.counter("portcullis_cluster_overflows_total", &limit), 1);
    assert_eq!(f.gauge("portcullis_cluster_active", &limit), 1);
    drop(held);
    assert_eq!(f.gauge("portcullis_cluster_active", &limit), 0);
    assert!(other_worker.try_connection().is_ok());

    let pending: Vec<_> = (0..5000)
        .map(|_| f.cluster.try_pending().unwrap())
        .collect();
    assert_eq!(
        f.gauge("portcullis_cluster_active", &[("limit", "pending")]),
        5000
    );
    drop(pending);
}

#[test]
fn extensions_are_made_once_and_do_not_outlive_the_cluster() {
    struct Pool(RefCell<Vec<ConnectionPermit>>);
    let f = Fixture::new(1, "");
    let pool = f.cluster.extension(|| Pool(RefCell::default()));
    let again = f.cluster.extension::<Pool>(|| unreachable!());
    assert!(Rc::ptr_eq(&pool, &again));
    let number = f.cluster.extension(|| 7_u32);
    assert_eq!(*number, 7);

    pool.0
        .borrow_mut()
        .push(f.cluster.try_connection().unwrap());
    drop(again);
    let weak = Rc::downgrade(&pool);
    drop(pool);
    let shared = Arc::clone(&f.shared);
    drop(f.cluster);
    assert!(
        weak.upgrade().is_none(),
        "a pooled connection's permit keeps nothing alive"
    );
    assert_eq!(shared.breaker(BreakerKind::Connections).active(), 0);
}

#[test]
fn workers_share_state_not_load() {
    let f = Fixture::new(2, "\"balance\": \"least_request\"");
    let other = Cluster::new(Arc::clone(&f.shared), &shard(), f.now);
    let busy = f.pick(&[]).unwrap();
    let theirs = other
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.active())
        .sum::<u32>();
    assert_eq!((busy.active(), theirs), (1, 0));
    f.fail(busy.id().0, 5);
    let cx = PickContext {
        now: f.now,
        random: 0,
        hash: None,
        tried: &[],
        accept: None,
    };
    assert_ne!(other.pick(&cx).unwrap().id(), busy.id());
}

#[test]
fn connections_that_move_count_with_those_that_do_not() {
    let f = Fixture::new(1, r#""limits": {"connections": 2}"#);
    let limit = [("limit", "connections")];
    let active = || f.gauge("portcullis_cluster_active", &limit);
    let ours = f.cluster.try_connection().unwrap();
    let moving = f.cluster.try_shared_connection().unwrap();
    assert_eq!(active(), 2);
    let refused = f.cluster.try_shared_connection().unwrap_err();
    assert_eq!(refused.limit, BreakerKind::Connections);
    assert!(f.cluster.try_connection().is_err());
    assert_eq!(f.counter("portcullis_cluster_overflows_total", &limit), 2);
    std::thread::spawn(move || drop(moving)).join().unwrap();
    assert_eq!(active(), 1);
    let elsewhere = Arc::clone(&f.shared);
    let moved = std::thread::spawn(move || elsewhere.try_connection().unwrap());
    let moved = moved.join().unwrap();
    assert_eq!(active(), 2);
    drop(ours);
    drop(moved);
    assert_eq!(active(), 0);
    assert_eq!(f.shared.breaker(BreakerKind::Connections).active(), 0);
}

#[test]
fn what_a_protocol_found_is_counted_and_in_no_set() {
    let f = Fixture::new(1, "");
    let address: std::net::SocketAddr = "10.0.0.9:7000".parse().unwrap();
    let found = f
        .cluster
        .found("node:7000", ResolvedAddress::Socket(address));
    assert_eq!(
        &**found.name(),
        "10.0.0.1:80",
        "TLS is told the first endpoint's name"
    );
    let endpoint = [("endpoint", "node:7000")];
    assert_eq!(f.gauge("portcullis_endpoint_requests_active", &endpoint), 1);
    for _ in 0..10 {
        let outcome = Outcome::Failure("refused");
        f.cluster.on_done(&found, outcome, Duration::ZERO, f.now);
    }
    assert!(!f.cluster.has_endpoint(found.id()));
    drop(found);
    assert_eq!(f.gauge("portcullis_endpoint_requests_active", &endpoint), 0);
    assert_eq!(f.reachable().len(), 1);
}

#[test]
fn one_that_nobody_can_stand_in_for_is_there_although_it_failed() {
    let f = Fixture::new(2, r#""panic_threshold": "0%""#);
    let named = |name: &str| {
        let cx = PickContext {
            now: f.now,
            random: 42,
            hash: None,
            tried: &[],
            accept: None,
        };
        let picked = f.cluster.pick_named(name, &cx);
        picked.map(|picked| picked.id().0)
    };
    f.fail(0, 5);
    assert_eq!(f.reachable(), HashSet::from([1]), "it is ejected");
    assert_eq!(named("10.0.0.1:80"), Ok(0));
    assert_eq!(named("10.0.0.3:80"), Err(PickError::NoEndpoints));
    let is_well = |name: &str| f.cluster.is_well(name, f.now);
    assert!(is_well("10.0.0.1:80") && !is_well("10.0.0.3:80"));
    f.set_healthy(0, false);
    assert_eq!(named("10.0.0.1:80"), Err(PickError::NoneAvailable));
    assert!(!is_well("10.0.0.1:80"));
}

#[test]
fn a_hash_is_followed_unless_the_configuration_says_how_to_spread() {
    let reached = |settings: &str| {
        let f = Fixture::new(8, settings);
        let pick = |hash| {
            let cx = PickContext {
                now: f.now,
                random: 42,
                hash: Some(hash),
                tried: &[],
                accept: None,
            };
            f.cluster.pick(&cx).unwrap().id().0
        };
        let same: HashSet<u64> = (0..12).map(|_| pick(7)).collect();
        let others: HashSet<u64> = (0..100).map(pick).collect();
        assert_eq!(others.len(), 8);
        same.len()
    };
    assert_eq!(reached(""), 1);
    assert_eq!(reached(r#""balance": "round_robin""#), 8);
}
