//! When a request is sent again, and when never (tests/ATTACKS.md F10).

use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{ClosedPort, Origin, Reply, Step};

use crate::support::Site;

const RETRIES: &str = "portcullis_http_retries_total";

/// Nothing was sent: safe for every method.
#[test]
fn connect_failure_goes_to_another_endpoint() {
    let closed = ClosedPort::new();
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let site = Site::new(&origin)
        .endpoint(closed.address())
        .cluster("ejection: { max_ejected: 0% }")
        .listener("retry_budget: { percent: 100% }")
        .start();
    let mut client = site.client();
    for number in 0..10 {
        assert_eq!(client.get("/", "a").status, 200, "GET {number}");
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(client.read_response().text(), "hi", "POST {number}");
    }
    assert_eq!(origin.requests(), 20);
    site.wait_stat(RETRIES, &[("listener", "web")], |count| count >= 5);
    site.neighbour_is_well();
}

/// A listed status goes to another endpoint, if the method says that once and twice are the same.
#[test]
fn listed_statuses() {
    let good = Origin::http(|_| Reply::ok("good"));
    let bad = Origin::http(|_| Reply::status(503, "bad"));
    let site = Site::new(&good)
        .endpoint(bad.address())
        .cluster("ejection: { max_ejected: 0% }")
        .listener("retry_budget: { percent: 100% }")
        .routes("- cluster: site\n  retry: { attempts: 1, on: [503] }")
        .start();
    let mut client = site.client();
    for number in 0..10 {
        assert_eq!(client.get("/", "a").text(), "good", "{number}");
    }
    assert!(bad.requests() >= 1);
    // A POST may have done something before it was answered 503.
    let tried = bad.requests();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        statuses.push(client.read_response().status);
    }
    assert!(statuses.contains(&503), "{statuses:?}");
    assert_eq!(
        statuses.iter().filter(|status| **status == 503).count(),
        bad.requests() - tried
    );
    site.neighbour_is_well();
}

/// A status may pass on the endpoint that gave it: with no other, the same one is asked again.
#[test]
fn listed_status_with_one_endpoint() {
    let count = AtomicUsize::new(0);
    let origin = Origin::http(move |_| {
        if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            Reply::status(503, "not now")
        } else {
            Reply::ok("good")
        }
    });
    let site = Site::new(&origin)
        .cluster("ejection: { max_ejected: 0% }")
        .listener("retry_budget: { percent: 100% }")
        .routes("- cluster: site\n  retry: { attempts: 1, on: [503] }")
        .start();
    let mut client = site.client();
    for number in 0..5 {
        assert_eq!(client.get("/", "a").text(), "good", "{number}");
    }
    assert_eq!(origin.requests(), 10);
    site.neighbour_is_well();
}

/// Statuses that are not listed pass as they are.
#[test]
fn unlisted_statuses_pass() {
    let origin = Origin::http(|_| Reply::status(500, "broken"));
    let site = Site::new(&origin)
        .cluster("ejection: { max_ejected: 0% }")
        .routes("- cluster: site\n  retry: { attempts: 2, on: [503, connect_failure] }")
        .start();
    let response = site.client().get("/", "a");
    assert_eq!((response.status, response.text().as_str()), (500, "broken"));
    assert_eq!(origin.requests(), 1);
}

/// An origin that answers its first request on each connection and drops the second after it was read.
fn drops_the_second() -> Origin {
    let seen = AtomicUsize::new(0);
    Origin::http(move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) == 1 {
            Reply::steps([Step::Reset])
        } else {
            Reply::ok("answer")
        }
    })
}

/// F10: a kept connection that turns out to be dead is replaced for a GET.
#[test]
fn f10_idle_reset_is_retried_for_get() {
    let origin = drops_the_second();
    let site = Site::new(&origin).start();
    let mut client = site.client();
    assert_eq!(client.get("/1", "a").text(), "answer");
    assert_eq!(client.get("/2", "a").text(), "answer");
    assert_eq!((origin.requests(), origin.connections()), (3, 2));
    site.neighbour_is_well();
}

/// F10: the same for a POST is the client's to decide, because the origin may have acted on it.
#[test]
fn f10_idle_reset_is_not_retried_for_post() {
    let origin = drops_the_second();
    let site = Site::new(&origin)
        .routes("- cluster: site\n  retry: { attempts: 3, on: [reset, 503, 5xx, connect_failure] }")
        .start();
    let mut client = site.client();
    assert_eq!(client.get("/1", "a").text(), "answer");
    client.send("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nonce");
    let response = client.read_response();
    assert_eq!(
        (response.status, response.header("x-portcullis-reason")),
        (502, Some("upstream_reset"))
    );
    assert_eq!(origin.requests(), 2);
    site.wait_local_replies("upstream_reset", 1);
    site.neighbour_is_well();
}

/// A connection that its origin closed while it was idle is noticed before a POST is risked on it.
#[test]
fn closed_idle_connection_is_not_used_for_post() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for number in 0..5 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
        assert_eq!(client.read_response().status, 200, "{number}");
        origin.reset_open();
        origin.wait_open(0);
    }
    assert_eq!(origin.requests(), 5);
    site.neighbour_is_well();
}

/// A reset on a fresh connection is retried where the route says so, once per attempt.
#[test]
fn reset_is_retried_where_listed() {
    let seen = AtomicUsize::new(0);
    let origin = Origin::http(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Reply::steps([Step::Reset]),
        _ => Reply::ok("third time"),
    });
    let second = Origin::http(|_| Reply::steps([Step::Reset]));
    let third = Origin::http(|_| Reply::steps([Step::Reset]));
    let site = Site::new(&origin)
        .endpoint(second.address())
        .endpoint(third.address())
        .cluster("ejection: { max_ejected: 0% }")
        .routes("- cluster: site\n  retry: { attempts: 2, on: [reset] }")
        .start();
    let response = site.client().get("/", "a");
    // Three endpoints, each tried once, all of them reset.
    assert_eq!(
        (response.status, response.header("x-portcullis-reason")),
        (502, Some("upstream_reset"))
    );
    assert_eq!(origin.requests() + second.requests() + third.requests(), 3);
}

/// F10: retries add at most a fifth to the load of an upstream that fails everything.
#[test]
fn f10_budget() {
    let failing = [
        Origin::http(|_| Reply::status(503, "")),
        Origin::http(|_| Reply::status(503, "")),
    ];
    let site = Site::new(&failing[0])
        .endpoint(failing[1].address())
        .cluster("ejection: { max_ejected: 0% }")
        .listener("retry_budget: { percent: 20%, min_per_second: 0 }")
        .routes("- cluster: site\n  retry: { attempts: 1, on: [503], backoff: 1ms }")
        .start();
    let requests = 200;
    let mut client = site.client();
    for _ in 0..requests {
        assert_eq!(client.get("/", "a").status, 503);
    }
    let arrived = failing[0].requests() + failing[1].requests();
    let retries = arrived - requests;
    assert!(
        (10..=requests / 5).contains(&retries),
        "{retries} retries of {requests} requests"
    );
    site.wait_stat(RETRIES, &[("listener", "web")], |count| {
        count == retries as u64
    });
    site.neighbour_is_well();
}

/// The body of a request that was streamed is gone: it is not sent again.
#[test]
fn streamed_body_is_not_retried() {
    let origins = [
        Origin::http(|_| Reply::status(503, "no")),
        Origin::http(|_| Reply::status(503, "no")),
    ];
    let site = Site::new(&origins[0])
        .endpoint(origins[1].address())
        .cluster("ejection: { max_ejected: 0% }")
        .routes("- cluster: site\n  retry: { attempts: 1, on: [503] }")
        .start();
    let mut client = site.client();
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(client.read_response().status, 503);
    assert_eq!(origins[0].requests() + origins[1].requests(), 1);
}
