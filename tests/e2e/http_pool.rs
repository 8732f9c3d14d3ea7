//! Connections to upstreams between requests: which are kept, and that nothing on them reaches the wrong request
//! (tests/ATTACKS.md H15).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Client, Connection, Origin, Reply, Step};

use crate::support::{Site, assert_local};

#[test]
fn h15_extra_bytes_are_never_a_response() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let rows = [
        (
            "at once",
            vec![Step::send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{poison}"
            ))],
        ),
        (
            "behind the last chunk",
            vec![Step::send(format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}"
            ))],
        ),
        (
            "behind a 204",
            vec![Step::send(format!(
                "HTTP/1.1 204 No Content\r\n\r\n{poison}"
            ))],
        ),
        (
            "behind a 304",
            vec![Step::send(format!(
                "HTTP/1.1 304 Not Modified\r\n\r\n{poison}"
            ))],
        ),
    ];
    for (name, steps) in rows {
        let origin = Origin::http(move |_| Reply::steps(steps.clone()));
        let site = Site::new(&origin).start();
        let mut client = site.client();
        for round in 0..20 {
            let response = client.get("/", "a");
            assert_ne!(response.text(), "poison", "{name}, round {round}");
        }
        // HEAD: the body that a confused origin sends is extra as well.
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
        let _ = client.read_head_response();
        client.expect_quiet();
        site.neighbour_is_well();
    }
}

#[test]
fn h15_late_bytes_are_never_a_response() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::raw(move |connection| {
        connection.read_head()?;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")?;
        counted.fetch_add(1, Ordering::Relaxed);
        connection.read_to_end().map(drop)
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for round in 1..=20 {
        assert_eq!(client.get("/", "a").text(), "ok", "round {round}");
        while sent.load(Ordering::Relaxed) < round {
            let _ = site.stats();
        }
    }
    assert_eq!(origin.connections(), 20);
    site.neighbour_is_well();
}

#[test]
fn endpoint_killed_under_keep_alive() {
    let mut origin = Origin::http(|_| Reply::ok("alive"));
    let site = Site::new(&origin)
        .cluster("ejection: { max_ejected: 0% }")
        .start();
    let mut client = site.client();
    assert_eq!(client.get("/", "a").text(), "alive");
    origin.kill();
    // A process that another test is just starting may hold a copy of the listener until it is what it will be.
    while Connection::connect(origin.address()).is_ok() {}
    assert_local("dead", &client.get("/", "a"), 503, "connect_refused");
    site.wait_local_replies("connect_refused", 1);
    site.neighbour_is_well();
    origin.restart();
    assert_eq!(client.get("/", "a").text(), "alive");
}

#[test]
fn connections_that_are_not_kept() {
    let rows = [
        ("close", "connection: close\r\n", ""),
        ("close among others", "connection: x, Close\r\n", ""),
        ("no idle ones", "", "pool: { max_idle: 0 }"),
        ("one request each", "", "pool: { max_requests: 1 }"),
    ];
    for (name, field, cluster) in rows {
        let response = format!("HTTP/1.1 200 OK\r\n{field}content-length: 2\r\n\r\nok");
        let origin = Origin::http(move |_| Reply::bytes(&response));
        let site = Site::new(&origin).cluster(cluster).start();
        let mut client = site.client();
        for _ in 0..3 {
            let response = client.get("/", "a");
            assert_eq!(
                (response.text().as_str(), response.header("connection")),
                ("ok", None)
            );
        }
        assert_eq!(origin.connections(), 3, "{name}");
        origin.wait_open(0);
    }
}

#[test]
fn idle_upstream_connections_are_closed() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .cluster("pool: { idle_timeout: 300ms }")
        .start();
    let mut client = site.client();
    assert_eq!(client.get("/", "a").status, 200);
    origin.wait_open(0);
    assert_eq!(client.get("/", "a").status, 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn proxy_header_upstream_names_the_right_client() {
    let origin = Origin::raw(|connection| {
        let header = connection.read_until(b"\r\n")?;
        let header = String::from_utf8_lossy(&header).trim_end().to_owned();
        while connection.read_head()?.is_some() {
            let length = header.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{header}"
            ))?;
        }
        Ok(())
    });
    let site = Site::new(&origin).cluster("proxy_protocol: v1").start();
    let mut clients: Vec<Client> = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        .map(|ip| Client::connect_from(ip.parse().unwrap(), site.addr("web")))
        .into();
    for _ in 0..4 {
        for client in &mut clients {
            let header = client.get("/", "a").text();
            let ip = client.local_address().ip();
            assert!(
                header.starts_with(&format!("PROXY TCP4 {ip} ")),
                "{ip}: {header}"
            );
        }
    }
    site.neighbour_is_well();
}

/// A connection that waits on one worker, or for one endpoint, keeps nobody from a place within the limit.
#[test]
fn idle_connections_make_room() {
    let origin = Origin::http(|_| Reply::ok("one"));
    let other = Origin::http(|_| Reply::ok("two"));
    let site = Site::new(&origin)
        .endpoint(other.address())
        .cluster("limits: { connections: 2 }")
        .top("runtime: { workers: { count: 2 } }")
        .start();
    for number in 0..40 {
        let mut client = site.client();
        assert_eq!(client.get("/", "a").status, 200, "{number}");
    }
    site.neighbour_is_well();
}
