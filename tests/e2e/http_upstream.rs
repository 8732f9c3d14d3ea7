//! Upstreams that lie, break, stall or are full: the client gets a clear answer, and nothing of it reaches
//! another client (tests/ATTACKS.md H15).

use harness::{ClosedPort, Gate, Origin, Reply, Step};

use crate::support::{BlackHole, Site, assert_local};

/// H15: doubt about a response before it was begun is a 502, and the connection is never used again.
#[test]
fn h15_heads_that_are_refused() {
    let fields = "x: y\r\n".repeat(200);
    let many = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n");
    let large = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n",
        "v".repeat(100_000)
    );
    let rows = [
        (
            "length and coding",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "length_and_coding",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            "invalid_content_length",
        ),
        (
            "signed length",
            "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc",
            "invalid_content_length",
        ),
        (
            "unknown coding",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
            "unknown_transfer_coding",
        ),
        (
            "coding in HTTP/1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "transfer_encoding_in_http10",
        ),
        (
            "204 with a body",
            "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc",
            "unexpected_framing",
        ),
        (
            "101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "unexpected_upgrade",
        ),
        (
            "no HTTP",
            "220 mail.example.com ESMTP\r\n\r\n",
            "invalid_status_line",
        ),
        (
            "letters for a status",
            "HTTP/1.1 abc OK\r\n\r\n",
            "invalid_status_code",
        ),
        (
            "bare LF",
            "HTTP/1.1 200 OK\ncontent-length: 0\n\n",
            "bare_line_feed",
        ),
        (
            "folded field",
            "HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n",
            "obs_fold",
        ),
        ("too many fields", &many, "too_many_fields"),
        ("too large", &large, "head_too_large"),
    ];
    for (name, bytes, reason) in rows {
        let bytes = bytes.to_owned();
        let origin = Origin::http(move |request| match request.target.as_str() {
            "/bad" => Reply::bytes(&bytes),
            _ => Reply::ok("good"),
        });
        let site = Site::new(&origin).start();
        let mut client = site.client();
        assert_local(name, &client.get("/bad", "a"), 502, reason);
        site.wait_local_replies(reason, 1);
        // Our client did nothing wrong and goes on; the upstream's connection does not.
        assert_eq!(client.get("/", "a").text(), "good", "{name}");
        assert_eq!(origin.connections(), 2, "{name}");
        site.neighbour_is_well();
    }
}

/// H15: no response at all.
#[test]
fn h15_connections_that_break() {
    let rows = [
        ("closed at once", vec![Step::Close], "upstream_closed"),
        ("reset at once", vec![Step::Reset], "upstream_reset"),
        (
            "half a head",
            vec![Step::send("HTTP/1.1 200 OK\r\nconte"), Step::Close],
            "upstream_closed",
        ),
        (
            "half a head, reset",
            vec![Step::send("HTTP/1.1 200 OK\r\nconte"), Step::Reset],
            "upstream_reset",
        ),
    ];
    for (name, steps, reason) in rows {
        let origin = Origin::http(move |request| match request.target.as_str() {
            "/bad" => Reply::steps(steps.clone()),
            _ => Reply::ok("good"),
        });
        let site = Site::new(&origin).start();
        let mut client = site.client();
        let response = client.get("/bad", "a");
        assert_local(name, &response, 502, reason);
        site.wait_local_replies(reason, 1);
        assert_eq!(client.get("/", "a").text(), "good", "{name}");
        site.neighbour_is_well();
    }
}

/// H15: a response that breaks after it was begun is cut, so that nobody takes it for whole.
#[test]
fn h15_bodies_that_break() {
    let rows = [
        (
            "truncated length",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            "upstream_truncated",
        ),
        (
            "truncated chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
            "upstream_truncated",
        ),
        (
            "no last chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "upstream_truncated",
        ),
        (
            "bad chunk size",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
            "invalid_chunk_size",
        ),
        (
            "bad chunk end",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "missing_chunk_end",
        ),
    ];
    for (name, bytes, reason) in rows {
        let origin = Origin::http(move |request| match request.target.as_str() {
            "/bad" => Reply::bytes(bytes).close(),
            _ => Reply::ok("good"),
        });
        let site = Site::new(&origin).start();
        let mut client = site.client();
        client.send("GET /bad HTTP/1.1\r\nhost: a\r\n\r\n");
        let (received, _) = client.read_to_end();
        let text = String::from_utf8_lossy(&received);
        // Either the head had not left yet and a 502 stands in its place, or what came is visibly not whole.
        let whole = text.ends_with("0\r\n\r\n")
            || text.contains("\r\n\r\nabc") && text.contains("content-length: 3\r\n");
        assert!(!whole, "{name}: {text:?}");
        site.wait_local_replies(reason, 1);
        assert_eq!(site.client().get("/", "a").text(), "good", "{name}");
        site.neighbour_is_well();
    }
}

/// An upstream that says nothing, or stops in the middle of what it says.
#[test]
fn upstream_timeouts() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |request| match request.target.as_str() {
        "/body" => Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
            .then(Step::Wait(held.clone())),
        _ => Reply::steps([Step::Wait(held.clone())]),
    });
    let site = Site::new(&origin)
        .listener("timeouts: { body_progress: 300ms }")
        .routes("- match: { path: /head }\n  cluster: site\n  timeout: 200ms\n- cluster: site")
        .start();
    let mut client = site.client();
    assert_local(
        "no head",
        &client.get("/head", "a"),
        504,
        "upstream_timeout",
    );
    site.wait_local_replies("upstream_timeout", 1);
    // The connection that an answer may still come on is not used again.
    origin.wait_open(1);

    let mut client = site.client();
    client.send("GET /body HTTP/1.1\r\nhost: a\r\n\r\n");
    let (received, _) = client.read_to_end();
    assert!(
        received.ends_with(b"\r\n\r\nab"),
        "{:?}",
        String::from_utf8_lossy(&received)
    );
    site.wait_local_replies("upstream_stalled", 1);
    site.neighbour_is_well();
    gate.open();
}

/// A host that does not answer at all.
#[test]
fn connect_timeout() {
    let hole = BlackHole::new();
    let site = Site::default()
        .endpoint(hole.address())
        .cluster("connect_timeout: 200ms")
        .routes("- cluster: site\n  retry: { attempts: 0, on: [reset] }")
        .start();
    assert_local(
        "blackhole",
        &site.client().get("/", "a"),
        503,
        "connect_timeout",
    );
    site.wait_local_replies("connect_timeout", 1);
    site.neighbour_is_well();
}

/// Circuit breakers answer at once and say which limit it was.
#[test]
fn cluster_limits() {
    let rows = [
        ("requests: 2", "requests", "upstream_request_limit"),
        ("connections: 2", "connections", "upstream_connection_limit"),
    ];
    for (limit, label, reason) in rows {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::http(move |_| {
            Reply::steps([Step::Wait(held.clone())])
                .then(Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
        });
        let site = Site::new(&origin)
            .cluster(&format!("limits: {{ {limit} }}"))
            .start();
        let mut held = [site.client(), site.client()];
        for client in &mut held {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        }
        origin.wait_connections(2);
        assert_local(limit, &site.client().get("/", "a"), 503, reason);
        site.wait_local_replies(reason, 1);
        site.wait_stat(
            "portcullis_cluster_overflows_total",
            &[("cluster", "site"), ("limit", label)],
            |count| count >= 1,
        );
        site.neighbour_is_well();
        gate.open();
        for client in &mut held {
            assert_eq!(client.read_response().status, 200);
        }
        assert_eq!(held[0].get("/", "a").status, 200, "room again");
    }
}

/// A client that goes away takes its request along.
#[test]
fn gone_client_frees_its_upstream() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| Reply::steps([Step::Wait(held.clone())]));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    origin.wait_connections(1);
    client.reset();
    site.wait_local_replies("downstream_reset", 1);
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |active| active == 0,
    );
    gate.open();
    origin.wait_open(0);
    site.neighbour_is_well();
}

/// Nobody listens anywhere.
#[test]
fn all_endpoints_refuse() {
    let ports = [ClosedPort::new(), ClosedPort::new()];
    let site = Site::default()
        .endpoint(ports[0].address())
        .endpoint(ports[1].address())
        .cluster("ejection: { max_ejected: 0% }")
        .start();
    let response = site.client().get("/", "a");
    assert_eq!(response.status, 503);
    site.wait_stat(
        "portcullis_http_retries_total",
        &[("listener", "web")],
        |count| count >= 1,
    );
    site.neighbour_is_well();
}
