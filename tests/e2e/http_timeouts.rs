//! Bounds on time and on waiting: one attempt, a connection's age, connections to an upstream that are being made.
//!
//! What a slow client or origin does in the middle of a message is in `http_flow` and `http_upstream`.

use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Gate, Gateway, Origin, Reply, Step, Versions};

use crate::support::{BlackHole, Running, Site, assert_local};

const RETRIES: &str = "portcullis_http_retries_total";
const FAILURES: &str = "portcullis_endpoint_failures_total";

/// An origin that leaves its first `silent` requests unanswered until the gate opens.
fn silent_at_first(silent: usize, gate: &Gate) -> Origin {
    let (seen, gate) = (AtomicUsize::new(0), gate.clone());
    Origin::http(move |request| {
        if request.target != "/well" && seen.fetch_add(1, Ordering::Relaxed) < silent {
            return Reply::steps([Step::Wait(gate.clone())]).close();
        }
        Reply::ok("answered")
    })
}

/// A site whose only endpoint is this one, with no ejection and retries as wanted.
fn site(origin: &Origin, route: &str) -> Running {
    Site::new(origin)
        .cluster("ejection: { max_ejected: 0% }")
        .listener("retry_budget: { percent: 100% }")
        .routes(&format!("- cluster: site\n  {route}"))
        .start()
}

#[track_caller]
fn wait_timeouts(site: &Running, attempts: u64) {
    let labels = [("cluster", "site"), ("reason", "timeout")];
    site.wait_stat(FAILURES, &labels, |count| count == attempts);
}

/// Each attempt has its own bound below the route's; the connection that an answer may still come on is closed.
#[test]
fn per_try_timeout_goes_to_the_next_attempt() {
    let gate = Gate::new();
    let origin = silent_at_first(1, &gate);
    let site = site(
        &origin,
        "timeout: 10m\n  retry: { attempts: 1, on: [timeout], per_try_timeout: 1s }",
    );
    let mut client = site.client();
    assert_eq!(client.get("/", "a").text(), "answered");
    assert_eq!((origin.requests(), origin.connections()), (2, 2));
    site.wait_stat(RETRIES, &[("listener", "web")], |count| count == 1);
    wait_timeouts(&site, 1);
    assert_eq!(site.local_replies("upstream_timeout"), 0);
    gate.open();
    origin.wait_open(1);
    assert_eq!(client.get("/", "a").text(), "answered", "the same client");
    site.neighbour_is_well();
}

/// The attempts have an end, and then the client hears of it.
#[test]
fn per_try_timeout_of_every_attempt() {
    let gate = Gate::new();
    let origin = silent_at_first(usize::MAX, &gate);
    let site = site(
        &origin,
        "timeout: 10m\n  retry: { attempts: 2, on: [timeout], per_try_timeout: 100ms }",
    );
    let mut client = site.client();
    let response = client.get("/", "a");
    assert_local("three attempts", &response, 504, "upstream_timeout");
    assert_eq!(origin.requests(), 3);
    site.wait_local_replies("upstream_timeout", 1);
    site.wait_stat(RETRIES, &[("listener", "web")], |count| count == 2);
    wait_timeouts(&site, 3);
    site.neighbour_is_well();
    gate.open();
}

/// What was sent may have been done: without `timeout` in the list, or with a method that is not for twice, one
/// attempt is all, and its bound holds all the same.
#[test]
fn per_try_timeout_without_another_try() {
    let rows = [
        ("not listed", "GET", "reset, 503, connect_failure"),
        ("not idempotent", "POST", "timeout"),
    ];
    for (name, method, on) in rows {
        let gate = Gate::new();
        let origin = silent_at_first(usize::MAX, &gate);
        let route =
            format!("timeout: 10m\n  retry: {{ attempts: 3, on: [{on}], per_try_timeout: 100ms }}");
        let site = site(&origin, &route);
        let mut client = site.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        ));
        assert_local(name, &client.read_response(), 504, "upstream_timeout");
        assert_eq!(origin.requests(), 1, "{name}");
        site.wait_local_replies("upstream_timeout", 1);
        assert_eq!(site.stats().counter(RETRIES, &[]), 0, "{name}");
        site.neighbour_is_well();
        gate.open();
    }
}

/// The route's own bound on the response is a cause to try again as well, on another endpoint first.
#[test]
fn timeout_goes_to_another_endpoint() {
    let gate = Gate::new();
    let (silent, good) = (
        silent_at_first(usize::MAX, &gate),
        Origin::http(|_| Reply::ok("good")),
    );
    let site = Site::new(&silent)
        .endpoint(good.address())
        .cluster("ejection: { max_ejected: 0% }")
        .listener("retry_budget: { percent: 100% }")
        .routes("- cluster: site\n  timeout: 500ms\n  retry: { attempts: 1, on: [timeout] }")
        .start();
    let mut client = site.client();
    for number in 0..6 {
        assert_eq!(client.get("/", "a").text(), "good", "{number}");
    }
    let tried = silent.requests() as u64;
    assert!(tried >= 1, "round robin begins with each in turn");
    site.wait_stat(RETRIES, &[("listener", "web")], |count| count == tried);
    wait_timeouts(&site, tried);
    site.neighbour_is_well();
    gate.open();
}

#[track_caller]
fn wait_pending(site: &Running, count: u64) {
    let labels = [("cluster", "site"), ("limit", "pending")];
    site.wait_stat("portcullis_cluster_active", &labels, |active| {
        active == count
    });
}

/// Connections being made are bounded: who comes when there are enough is answered at once.
#[test]
fn pending_limit() {
    let hole = BlackHole::new();
    let site = Site::default()
        .endpoint(hole.address())
        .cluster("connect_timeout: 10m\nlimits: { pending: 1 }")
        .start();
    let mut waiting = site.client();
    waiting.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_pending(&site, 1);
    let mut client = site.client();
    for number in 1..=3 {
        let response = client.get("/", "a");
        assert_local("one too many", &response, 503, "upstream_pending_limit");
        site.wait_local_replies("upstream_pending_limit", number);
    }
    let labels = [("cluster", "site"), ("limit", "pending")];
    site.wait_stat("portcullis_cluster_overflows_total", &labels, |count| {
        count == 3
    });
    waiting.expect_quiet();
    site.neighbour_is_well();
    // Whoever gives up makes room.
    waiting.reset();
    wait_pending(&site, 0);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_pending(&site, 1);
    client.expect_quiet();
    site.neighbour_is_well();
}

/// A listener that ages its connections, and one beside it that does not.
fn aged(origin: &Origin) -> Gateway {
    let tls = Versions::chosen().listener_keys().concat();
    let cluster = Versions::chosen().cluster_keys().join("\n    ");
    Gateway::start(&format!(
        "listeners:\n  aged:\n    listen: 127.0.0.1:0\n    protocol: http\n    timeouts: {{ max_connection_age: 1s }}\n    \
         routes: [{{ cluster: origin }}]\n    {tls}\n  beside:\n    listen: 127.0.0.1:0\n    protocol: http\n    \
         routes: [{{ cluster: origin }}]\n    {tls}\nclusters:\n  origin:\n    endpoints: [{}]\n    {cluster}\n",
        origin.address()
    ))
}

/// Old connections are closed between two requests; a request being served is answered first.
#[test]
fn max_connection_age() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |request| match request.target.as_str() {
        "/slow" => Reply::steps([Step::Wait(held.clone())]).then(Step::send(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate",
        )),
        _ => Reply::ok("quick"),
    });
    let gateway = aged(&origin);
    let mut neighbour = gateway.connect("beside");
    assert_eq!(neighbour.get("/", "a").text(), "quick");
    assert_eq!(origin.next_request().target, "/");

    let mut busy = gateway.connect("aged");
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(origin.next_request().target, "/slow");
    let mut idle = gateway.connect("aged");
    assert_eq!(idle.get("/", "a").text(), "quick");
    let mut silent = gateway.connect("aged");
    idle.expect_closed();
    silent.expect_closed();

    // It was there before those that were too old, so it is as well.
    busy.expect_quiet();
    gate.open();
    // And it is told, so that its next request does not meet the close.
    let late = busy.read_response();
    assert_eq!(late.text(), "late");
    assert_eq!(late.header("connection"), Some("close"));
    busy.expect_closed();

    let labels = [("listener", "aged")];
    let requests = "portcullis_http_requests_total";
    gateway.wait_stat(requests, &labels, |count| count == 2);
    let active = "portcullis_listener_connections_active";
    gateway.wait_stat(active, &labels, |count| count == 0);
    // The listener goes on, and the neighbour is not asked its age.
    assert_eq!(gateway.connect("aged").get("/", "a").text(), "quick");
    assert_eq!(neighbour.get("/", "a").text(), "quick");
}
