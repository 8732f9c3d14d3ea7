//! Faults of machine and network: descriptors that run out, peers that leave at every byte (tests/ATTACKS.md F1, F2, F7).
//!
//! F7, jumps of the wall clock, needs no test here: every deadline is an `Instant`, and the clippy configuration
//! refuses `SystemTime::now` outside of `net::clock`, whose wall time is only ever printed.

use harness::{Client, Connection, Origin, Reply, eventually};

use crate::support::{Running, Site};

const REQUEST: &str = "POST /x HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\nx-field: value\r\n\r\n\
    5;e=1\r\nhello\r\n3\r\nyou\r\n0\r\nx-trailer: t\r\n\r\n";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-field: value\r\n\r\n\
    5\r\nhello\r\n3\r\nyou\r\n0\r\nx-trailer: t\r\n\r\n";

/// Waits until as many descriptors are open as before, or fewer.
#[track_caller]
fn wait_descriptors(site: &Running, most: usize) {
    eventually("descriptors are given back", || {
        let _ = site.stats();
        site.descriptors() <= most
    });
}

/// F2: the client leaves after every byte of a request, in order and with a reset.
#[test]
fn f2_client_cut_at_every_byte() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(REQUEST);
    assert_eq!(client.read_response().text(), "helloyou");
    drop(client);
    let _ = origin.take_requests();
    origin.reset_open();
    let before = site.descriptors();
    for cut in 0..REQUEST.len() {
        for reset in [false, true] {
            let mut client = site.client();
            client.send(&REQUEST[..cut]);
            if reset {
                client.reset();
            } else {
                client.half_close();
                let (bytes, _) = client.read_to_end();
                let text = String::from_utf8_lossy(&bytes);
                assert!(
                    text.is_empty() || text.starts_with("HTTP/1.1 4"),
                    "cut at {cut}: {text}"
                );
            }
        }
        if cut % 20 == 0 {
            site.neighbour_is_well();
        }
    }
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |active| active == 0,
    );
    assert!(
        origin.take_requests().is_empty(),
        "half a request was taken for a whole one"
    );
    site.neighbour_is_well();
    wait_descriptors(&site, before + 2);
}

/// F2: the client leaves after every byte of the response that it is being sent.
#[test]
fn f2_client_leaves_at_every_byte_of_the_response() {
    let origin = Origin::http(|_| Reply::bytes(RESPONSE));
    let site = Site::new(&origin).start();
    let whole = {
        let mut client = site.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        client.read_to_close().len()
    };
    let before = site.descriptors();
    // A connection that is kept does not say that it is closed.
    for cut in 0..whole - "connection: close\r\n".len() {
        let mut client = site.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let _ = client.read_exact(cut);
        client.reset();
    }
    site.neighbour_is_well();
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |active| active == 0,
    );
    wait_descriptors(&site, before + 2);
}

/// F2: the upstream leaves after every byte of a response.
#[test]
fn f2_upstream_cut_at_every_byte() {
    let origin = Origin::http(|request| {
        let cut: usize = request.header("x-cut").unwrap().parse().unwrap();
        let reply = Reply::bytes(&RESPONSE[..cut]);
        if request.target == "/reset" {
            reply.reset()
        } else {
            reply.close()
        }
    });
    let site = Site::new(&origin)
        .cluster("ejection: { max_ejected: 0% }")
        .start();
    let before = site.descriptors();
    for cut in 0..RESPONSE.len() {
        for target in ["/close", "/reset"] {
            let mut client = site.client();
            client.send(format!(
                "GET {target} HTTP/1.1\r\nhost: a\r\nx-cut: {cut}\r\n\r\n"
            ));
            client.half_close();
            let (bytes, _) = client.read_to_end();
            let text = String::from_utf8_lossy(&bytes);
            let whole = text.starts_with("HTTP/1.1 200") && text.contains("\r\n0\r\n");
            let refused = text.starts_with("HTTP/1.1 502");
            let cut_short = text.is_empty() || text.starts_with("HTTP/1.1 200") && !whole;
            assert!(!whole && (refused || cut_short), "cut at {cut}: {text:?}");
        }
        if cut % 20 == 0 {
            site.neighbour_is_well();
        }
    }
    site.neighbour_is_well();
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |active| active == 0,
    );
    wait_descriptors(&site, before + 2);
}

/// F2: every byte alone, in both directions at once.
#[test]
fn f2_one_byte_at_a_time() {
    let origin = Origin::http(|request| {
        assert_eq!(request.body, b"helloyou");
        Reply::steps(RESPONSE.as_bytes().chunks(1).map(harness::Step::send))
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for _ in 0..3 {
        client.send_in_pieces(REQUEST, 1);
        let response = client.read_response();
        assert_eq!(response.text(), "helloyou");
        assert_eq!(
            response.trailers,
            [("x-trailer".to_owned(), "t".to_owned())]
        );
    }
    site.neighbour_is_well();
}

/// F2: a client that has said everything and closed its direction still gets its answer.
#[test]
fn f2_half_closed_client_is_answered() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(REQUEST).half_close();
    assert_eq!(client.read_response().text(), "helloyou");
    client.expect_closed();
}

/// F1: without descriptors, new connections wait or are refused; what is open goes on, and the operator can look.
#[test]
fn f1_descriptors_run_out() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    let mut kept = site.client();
    assert_eq!(kept.get("/", "a").status, 200);
    site.neighbour_is_well();
    let limit = site.descriptors() as u64 + 20;
    site.limit_descriptors(limit);
    let mut crowd: Vec<Connection> = Vec::new();
    for _ in 0..60 {
        crowd.push(Connection::connect(site.addr("web")).unwrap());
    }
    let labels = [("listener", "web"), ("reason", "fd_limit")];
    let shed = || {
        let stats = site.stats();
        stats.counter("portcullis_listener_refused_total", &labels)
            + stats.counter("portcullis_listener_accept_errors_total", &labels)
    };
    eventually("something is shed", || shed() > 0);
    // The open ones are served, though no new connection upstream can be made.
    assert_eq!(kept.get("/", "a").status, 200);
    for target in ["/ready", "/metrics", "/clusters"] {
        assert_eq!(site.admin_get(target).status, 200, "{target}");
    }
    drop(crowd);
    // It recovers by itself, as soon as what the crowd held is given back.
    eventually("it recovers", || {
        let mut client = site.client();
        client.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let response = client.connection().read_response(false);
        response.is_ok_and(|response| response.status == 200)
    });
    let active = "portcullis_listener_connections_active";
    site.wait_stat(active, &[("listener", "web")], |active| active <= 4);
    site.neighbour_is_well();
}

/// F1: the limit of a listener is reached before the system's, and is counted.
#[test]
fn f1_listener_limit() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .listener("limits: { connections: 5 }")
        .start();
    // The neighbour's is one of the five, once its second one is gone.
    let active = "portcullis_listener_connections_active";
    site.wait_stat(active, &[("listener", "web")], |active| active == 1);
    let mut clients: Vec<Client> = (0..4).map(|_| site.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/", "a").status, 200);
    }
    let mut refused = site.client();
    refused.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    refused.expect_gone();
    site.wait_stat(
        "portcullis_listener_refused_total",
        &[("listener", "web"), ("reason", "listener_limit")],
        |count| count >= 1,
    );
    for client in &mut clients {
        assert_eq!(client.get("/", "a").status, 200);
    }
    drop(clients);
    site.wait_stat(
        "portcullis_listener_connections_active",
        &[("listener", "web")],
        |active| active <= 1,
    );
    site.neighbour_is_well();
}

/// Many idle connections are cheap, and all of them are let go.
#[test]
fn f1_idle_connections_are_cheap() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    let warm: Vec<Client> = (0..100).map(|_| served(&site)).collect();
    drop(warm);
    let (memory, descriptors) = (site.resident_bytes(), site.descriptors());
    let crowd: Vec<Client> = (0..400).map(|_| served(&site)).collect();
    let grown = site.resident_bytes().saturating_sub(memory);
    assert!(
        grown < 400 * 16 * 1024,
        "{grown} bytes for 400 idle connections"
    );
    drop(crowd);
    wait_descriptors(&site, descriptors);
    site.neighbour_is_well();
}

fn served(site: &Running) -> Client {
    let mut client = site.client();
    assert_eq!(client.get("/", "a").status, 200);
    client
}
