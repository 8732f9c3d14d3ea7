use proptest::prelude::*;

use super::*;
use crate::testing::{cluster_json, config, shard, shared, start};

fn check(settings: &str) -> HealthCheckConfig {
    let json = cluster_json(&format!("\"health_check\": {{\"tcp\": {{}} {settings}}}"));
    config(&json).health_check.clone().unwrap()
}

/// `+` is a pass, `-` a failure; `H` and `U` in the expectation are changes after that result.
#[test]
fn thresholds() {
    let cases = [
        ("stays up", true, "++-+--+", "......."),
        ("three failures in a row", true, "--+---", ".....U"),
        ("two passes to come back", true, "---+-++", "..U...H"),
        ("up at once if the first passes", false, "+", "H"),
        ("else by the threshold", false, "-++", "..H"),
        (
            "a second fall needs its own streak",
            true,
            "---++---",
            "..U.H..U",
        ),
        (
            "flapping around the thresholds changes nothing",
            true,
            "--+--+--+--+",
            "............",
        ),
        ("nor while down", true, "---+-+-+-+-", "..U........"),
    ];
    for (name, healthy, results, expected) in cases {
        let mut machine = HealthMachine::new(&check(""), healthy);
        let changes: String = results
            .chars()
            .map(|result| match machine.on_result(result == '+', start()) {
                None => '.',
                Some(Transition::BecameHealthy) => 'H',
                Some(Transition::BecameUnhealthy) => 'U',
            })
            .collect();
        assert_eq!(changes, expected, "{name}");
    }
}

#[test]
fn checks_are_spread_by_the_jitter() {
    let machine = HealthMachine::new(&check(", \"interval\": \"10s\", \"jitter\": \"20%\""), true);
    let now = start();
    let next = |random| machine.next_check(now, random) - now;
    let near = |a: Duration, b: Duration| a.abs_diff(b) < Duration::from_micros(1);
    assert!(near(next(0), Duration::from_secs(8)));
    assert!(near(next(u64::MAX / 2), Duration::from_secs(10)));
    assert!(near(next(u64::MAX), Duration::from_secs(12)));
    assert_eq!(machine.first_check(now, 0), now);
    assert!(machine.first_check(now, u64::MAX) <= now + Duration::from_secs(10));
}

proptest! {
    /// Each change comes with the streak that its threshold asks for, and changes alternate.
    #[test]
    fn changes_need_their_streak(results in proptest::collection::vec(any::<bool>(), 0..200), up: bool) {
        let mut machine = HealthMachine::new(&check(""), up);
        let mut last = up;
        for (index, &ok) in results.iter().enumerate() {
            let Some(transition) = machine.on_result(ok, start()) else {
                prop_assert_eq!(machine.is_healthy(), last);
                continue;
            };
            let healthy = transition == Transition::BecameHealthy;
            prop_assert_ne!(healthy, last);
            prop_assert_eq!(machine.is_healthy(), healthy);
            last = healthy;
            let needed = if healthy { 2 } else { 3 };
            let streak = results[..=index].iter().rev().take_while(|r| **r == healthy).count();
            prop_assert!(streak >= needed || (index == 0 && healthy));
        }
    }
}

#[test]
fn results_reach_state_generation_and_stats() {
    let shared = shared(2, "");
    let endpoint = Arc::clone(&shared.set().endpoints()[0]);
    let shard = shard();
    let mut health = EndpointHealth::new(
        Arc::clone(&shared),
        Arc::clone(&endpoint),
        &check(""),
        &shard,
    );
    let labels = [("cluster", "api"), ("endpoint", "10.0.0.1:80")];
    let gauge = || {
        shard
            .registry()
            .snapshot()
            .gauge("portcullis_endpoint_healthy", &labels)
    };
    assert_eq!(gauge(), 1);
    let before = shared.generation();
    assert_eq!(health.on_result(false, start()), None);
    assert_eq!(health.on_result(false, start()), None);
    assert_eq!(shared.generation(), before);
    assert_eq!(
        health.on_result(false, start()),
        Some(Transition::BecameUnhealthy)
    );
    assert!(shared.generation() > before);
    assert!(!endpoint.state().is_healthy());
    assert_eq!(gauge(), 0);
    let failed = [labels[0], labels[1], ("result", "failed")];
    let snapshot = shard.registry().snapshot();
    assert_eq!(
        snapshot.counter("portcullis_endpoint_health_checks_total", &failed),
        3
    );
    // Without any worker that picks.
    let of_cluster = |name| snapshot.gauge(name, &[("cluster", "api")]);
    assert_eq!(of_cluster("portcullis_cluster_endpoints"), 2);
    assert_eq!(of_cluster("portcullis_cluster_endpoints_available"), 1);

    let restarted = EndpointHealth::new(shared, endpoint, &check(""), &shard);
    assert!(
        !restarted.machine().is_healthy(),
        "a reload forgets no result"
    );
}
