//! Endpoints in and out of use: health checks, ejection, panic, weights (tests/ATTACKS.md F3, F9).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{ClosedPort, Origin, Reply};

use crate::support::{Running, Site, assert_local};

/// An origin with a switch for its health, which answers everything else with its name.
fn switched(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let healthy = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&healthy);
    let origin = Origin::http(move |request| match request.target.as_str() {
        "/healthz" if switch.load(Ordering::Relaxed) => Reply::ok("fine"),
        "/healthz" => Reply::status(500, "ill"),
        _ => Reply::ok(name),
    });
    (origin, healthy)
}

const QUICK_CHECK: &str = "health_check: { http: /healthz, interval: 50ms, timeout: 1s, healthy_threshold: 1, unhealthy_threshold: 1 }";

fn wait_healthy(site: &Running, origin: &Origin, healthy: u64) {
    let endpoint = origin.address().to_string();
    let labels = [("cluster", "site"), ("endpoint", endpoint.as_str())];
    site.wait_stat("portcullis_endpoint_healthy", &labels, |value| {
        value == healthy
    });
}

/// The names that a number of requests are answered with.
fn answers(site: &Running, count: usize) -> Vec<String> {
    let mut client = site.client();
    let mut names: Vec<String> = (0..count).map(|_| client.get("/", "a").text()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn health_checks_take_endpoints_out_and_in() {
    let (first, health) = switched("first");
    let (second, _healthy) = switched("second");
    let site = Site::new(&first)
        .endpoint(second.address())
        .cluster(QUICK_CHECK)
        .start();
    assert_eq!(answers(&site, 10), ["first", "second"]);

    health.store(false, Ordering::Relaxed);
    wait_healthy(&site, &first, 0);
    let available = [("cluster", "site")];
    site.wait_stat(
        "portcullis_cluster_endpoints_available",
        &available,
        |count| count == 1,
    );
    assert_eq!(answers(&site, 10), ["second"]);
    let clusters = site.admin_get("/clusters").text();
    let line = clusters
        .lines()
        .find(|line| line.contains(&first.address().to_string()) && line.contains("health"));
    assert!(
        line.is_some_and(|line| line.contains("unhealthy")),
        "{clusters}"
    );

    health.store(true, Ordering::Relaxed);
    wait_healthy(&site, &first, 1);
    site.wait_stat(
        "portcullis_cluster_endpoints_available",
        &available,
        |count| count == 2,
    );
    assert_eq!(answers(&site, 10), ["first", "second"]);
    site.neighbour_is_well();
}

#[test]
fn tcp_health_checks() {
    let origin = Origin::http(|_| Reply::ok("up"));
    let closed = ClosedPort::new();
    let site = Site::new(&origin)
        .endpoint(closed.address())
        .cluster("health_check: { tcp: {}, interval: 50ms, unhealthy_threshold: 1, initial: unhealthy }\npanic_threshold: 0%")
        .start();
    wait_healthy(&site, &origin, 1);
    let available = [("cluster", "site")];
    site.wait_stat(
        "portcullis_cluster_endpoints_available",
        &available,
        |count| count == 1,
    );
    assert_eq!(answers(&site, 6), ["up"]);
    assert_eq!(
        site.stats().counter("portcullis_http_retries_total", &[]),
        0
    );
}

/// F9: when almost nothing is left, all endpoints are used, and it shows.
#[test]
fn f9_panic_is_visible() {
    let (first, first_health) = switched("first");
    let (second, second_health) = switched("second");
    let site = Site::new(&first)
        .endpoint(second.address())
        .cluster(QUICK_CHECK)
        .start();
    for (origin, health) in [(&first, &first_health), (&second, &second_health)] {
        health.store(false, Ordering::Relaxed);
        wait_healthy(&site, origin, 0);
    }
    let labels = [("cluster", "site")];
    site.wait_stat("portcullis_cluster_panic", &labels, |panic| panic == 1);
    assert_eq!(answers(&site, 10), ["first", "second"]);
    assert!(
        site.stats()
            .counter("portcullis_cluster_panic_picks_total", &labels)
            >= 10
    );
    assert!(site.admin_get("/clusters").text().contains("panic"));

    first_health.store(true, Ordering::Relaxed);
    second_health.store(true, Ordering::Relaxed);
    site.wait_stat("portcullis_cluster_panic", &labels, |panic| panic == 0);
    site.neighbour_is_well();
}

/// F9: with panic switched off, nothing is sent to what is known to be down.
#[test]
fn f9_all_unhealthy_without_panic() {
    let (origin, health) = switched("only");
    let site = Site::new(&origin)
        .cluster(QUICK_CHECK)
        .cluster("panic_threshold: 0%")
        .start();
    assert_eq!(answers(&site, 2), ["only"]);
    health.store(false, Ordering::Relaxed);
    site.wait_stat(
        "portcullis_cluster_endpoints_available",
        &[("cluster", "site")],
        |count| count == 0,
    );
    assert_local(
        "all down",
        &site.client().get("/", "a"),
        503,
        "none_available",
    );
    site.wait_local_replies("none_available", 1);
    site.neighbour_is_well();
}

#[test]
fn failing_endpoint_is_ejected() {
    let good = Origin::http(|_| Reply::ok("good"));
    let bad = Origin::http(|_| Reply::status(500, "bad"));
    let site = Site::new(&good)
        .endpoint(bad.address())
        .cluster("ejection: { consecutive_failures: 3 }")
        .start();
    let mut client = site.client();
    let mut failures = 0;
    for _ in 0..40 {
        failures += usize::from(client.get("/", "a").status == 500);
    }
    // Each worker counts into the same endpoint, and this is one connection.
    assert_eq!(failures, 3);
    let endpoint = bad.address().to_string();
    site.wait_stat(
        "portcullis_endpoint_ejections_total",
        &[("cluster", "site"), ("endpoint", &endpoint)],
        |count| count == 1,
    );
    assert!(site.admin_get("/clusters").text().contains("ejected"));
    site.neighbour_is_well();
}

/// The share of ejected endpoints is bounded: both fail, one stays in use.
#[test]
fn ejection_is_capped() {
    let bad = [
        Origin::http(|_| Reply::status(500, "")),
        Origin::http(|_| Reply::status(500, "")),
    ];
    let site = Site::new(&bad[0])
        .endpoint(bad[1].address())
        .cluster("ejection: { consecutive_failures: 2, max_ejected: 50% }\npanic_threshold: 0%")
        .start();
    let mut client = site.client();
    for _ in 0..30 {
        assert_eq!(client.get("/", "a").status, 500);
    }
    let labels = [("cluster", "site")];
    site.wait_stat("portcullis_endpoint_ejections_total", &labels, |count| {
        count == 1
    });
    site.wait_stat(
        "portcullis_cluster_ejections_refused_total",
        &labels,
        |count| count >= 1,
    );
}

#[test]
fn weights_are_kept() {
    let heavy = Origin::http(|_| Reply::ok("heavy"));
    let light = Origin::http(|_| Reply::ok("light"));
    let site = Site::default()
        .endpoint(format!("{{ address: {}, weight: 3 }}", heavy.address()))
        .endpoint(format!("{{ address: {}, weight: 1 }}", light.address()))
        .start();
    let _ = answers(&site, 40);
    assert_eq!((heavy.requests(), light.requests()), (30, 10));
}

#[test]
fn balancers_reach_every_endpoint() {
    for balance in ["round_robin", "least_request", "random"] {
        let first = Origin::http(|_| Reply::ok("first"));
        let second = Origin::http(|_| Reply::ok("second"));
        let site = Site::new(&first)
            .endpoint(second.address())
            .cluster(&format!("balance: {balance}"))
            .start();
        assert_eq!(answers(&site, 60), ["first", "second"], "{balance}");
    }
}

/// F3: a name that cannot be resolved is a clear answer and a counter, and nobody else's trouble.
#[test]
fn f3_name_that_does_not_resolve() {
    let site = Site::default().endpoint("nowhere.invalid:80").start();
    assert_local(
        "no address",
        &site.client().get("/", "a"),
        503,
        "no_endpoints",
    );
    site.wait_local_replies("no_endpoints", 1);
    site.neighbour_is_well();
}

/// F3: a name that the machine itself knows.
#[test]
fn f3_localhost_resolves() {
    let origin = Origin::http(|_| Reply::ok("by name"));
    let port = origin.address().port();
    let site = Site::default()
        .endpoint(format!("localhost:{port}"))
        .cluster("dns: { family: v4 }")
        .start();
    site.wait_stat(
        "portcullis_cluster_endpoints",
        &[("cluster", "site")],
        |count| count == 1,
    );
    assert_eq!(site.client().get("/", "a").text(), "by name");
}
