//! Time and memory: pipelines, large bodies, back-pressure, and peers that are slow on purpose (tests/ATTACKS.md H12, H13).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use harness::{Client, Gate, Origin, Reply, Step};

use crate::support::{Running, Site, assert_local, checksum, noise};

/// Memory that a connection with everything buffered may cost, with room for what the allocator keeps.
const BUFFERS: u64 = 24 * 1024 * 1024;

#[test]
fn h13_pipelined_requests_are_answered_in_order() {
    let origin = Origin::http(|request| Reply::ok(&request.target));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    let requests = (0..100).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
    client.send(requests.collect::<Vec<_>>().concat());
    for number in 0..100 {
        assert_eq!(client.read_response().text(), format!("/{number}"));
    }
    client.expect_quiet();
    site.neighbour_is_well();
}

/// H13: what is pipelined behind a refused request is not served.
#[test]
fn h13_nothing_behind_a_refusal() {
    let origin = Origin::http(|request| Reply::ok(&request.target));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    assert_eq!(client.read_response().text(), "/1");
    assert_local("second", &client.read_response(), 400, "space_before_colon");
    client.expect_closed();
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

/// H13: a flood of requests behind one that takes long is left in the client's own buffers.
#[test]
fn h13_pipelining_flood() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| {
        Reply::steps([Step::Wait(held.clone())])
            .then(Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    });
    let site = Site::new(&origin).start();
    let before = site.resident_bytes();
    let filler = "f".repeat(8000);
    let requests = 4000;
    let flood = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {filler}\r\n\r\n").repeat(requests);
    let mut client = site.client();
    let socket = client.connection().socket().try_clone().unwrap();
    let writer = thread::spawn(move || std::io::Write::write_all(&mut &socket, flood.as_bytes()));
    origin.wait_connections(1);
    settle(&site, || origin.requests() as u64);
    assert_eq!(origin.requests(), 1, "one at a time");
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < BUFFERS, "grown by {grown} bytes");
    site.neighbour_is_well();
    gate.open();
    for _ in 0..requests {
        assert_eq!(client.read_response().status, 200);
    }
    writer.join().unwrap().unwrap();
}

#[test]
fn large_bodies_arrive_whole() {
    let body = noise(8 * 1024 * 1024);
    let sum = checksum(&body);
    let origin = Origin::http(|request| {
        if request.method == "POST" {
            Reply::ok(checksum(&request.body).to_string())
        } else {
            Reply::ok(noise(8 * 1024 * 1024))
        }
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    assert_eq!(client.read_response().text(), sum.to_string());
    let response = client.get("/", "a");
    assert_eq!(
        (response.body.len(), checksum(&response.body)),
        (body.len(), sum)
    );
    site.neighbour_is_well();
}

/// A client that reads nothing stops its origin, not the gateway.
#[test]
fn slow_reader_stops_the_origin() {
    let total = 64 * 1024 * 1024_u64;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::raw(move |connection| {
        connection.read_head()?;
        connection.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n"
        ))?;
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..total / piece.len() as u64 {
            connection.send(&piece)?;
            counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        connection.read_to_end().map(drop)
    });
    let site = Site::new(&origin).start();
    let before = site.resident_bytes();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    origin.wait_connections(1);
    settle(&site, || sent.load(Ordering::Relaxed));
    assert!(
        sent.load(Ordering::Relaxed) < total,
        "the origin was not stopped"
    );
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < BUFFERS, "grown by {grown} bytes");
    site.neighbour_is_well();
    assert_eq!(client.read_response().body.len() as u64, total);
}

/// An origin that reads nothing stops its client, not the gateway.
#[test]
fn slow_origin_stops_the_client() {
    let total = 64 * 1024 * 1024_u64;
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::raw(move |connection| {
        connection.read_head()?;
        held.wait();
        connection.read_exact(usize::try_from(total).unwrap())?;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let site = Site::new(&origin).start();
    let before = site.resident_bytes();
    let mut client = site.client();
    let sent = Arc::new(AtomicU64::new(0));
    let writer = upload(&mut client, total, &sent);
    origin.wait_connections(1);
    settle(&site, || sent.load(Ordering::Relaxed));
    assert!(
        sent.load(Ordering::Relaxed) < total,
        "the client was not stopped"
    );
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < BUFFERS, "grown by {grown} bytes");
    site.neighbour_is_well();
    gate.open();
    assert_eq!(client.read_response().text(), "ok");
    writer.join().unwrap();
}

/// Writes a long request from a thread of its own.
fn upload(client: &mut Client, total: u64, sent: &Arc<AtomicU64>) -> thread::JoinHandle<()> {
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {total}\r\n\r\n"
    ));
    let socket = client.connection().socket().try_clone().unwrap();
    let sent = Arc::clone(sent);
    thread::spawn(move || {
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..total / piece.len() as u64 {
            std::io::Write::write_all(&mut &socket, &piece).unwrap();
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    })
}

/// Waits until a number stays the same while the gateway answers its admin address a number of times.
fn settle(site: &Running, number: impl Fn() -> u64) {
    let mut last = None;
    let mut same = 0;
    while same < 40 {
        let _ = site.stats();
        let now = Some(number());
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
}

/// H12.
#[test]
fn h12_slow_head() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    // Long enough for the neighbour, whose new connection it is too.
    let site = Site::new(&origin)
        .listener("timeouts: { head: 1s }")
        .start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n");
    assert_local("half a head", &client.read_response(), 408, "head_timeout");
    client.expect_closed();
    site.wait_local_replies("head_timeout", 1);

    // A drip does not help.
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n");
    while client.try_send("x: y\r\n")
        && client.connection().buffered().is_empty()
        && is_silent(&mut client)
    {
        let _ = site.stats();
    }
    let response = client.read_response();
    assert_local("drip", &response, 408, "head_timeout");
    site.wait_local_replies("head_timeout", 2);

    // A connection on which nothing ever came is closed without a word.
    site.client().expect_closed();
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

/// Whether nothing has come yet.
fn is_silent(client: &mut Client) -> bool {
    let socket = client.connection().socket();
    socket.set_nonblocking(true).unwrap();
    let peeked = socket.peek(&mut [std::mem::MaybeUninit::uninit(); 1]);
    socket.set_nonblocking(false).unwrap();
    matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// H12.
#[test]
fn h12_slow_body() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin)
        .listener("timeouts: { body_progress: 300ms }")
        .start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    assert_local("stalled body", &client.read_response(), 408, "body_timeout");
    client.expect_closed();
    site.wait_local_replies("body_timeout", 1);
    assert_eq!(origin.requests(), 0);
    origin.wait_open(0);
    site.neighbour_is_well();
}

/// H12: progress, however slow, ends at the hard cap.
#[test]
fn h12_hard_cap() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin)
        .listener("timeouts: { request: 600ms }")
        .start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
    while is_silent(&mut client) && client.try_send("x") {
        let _ = site.stats();
    }
    assert_local(
        "dripped body",
        &client.read_response(),
        504,
        "request_timeout",
    );
    site.wait_local_replies("request_timeout", 1);
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

/// H12.
#[test]
fn h12_slow_reader() {
    let origin = Origin::http(|_| Reply::ok(vec![b'x'; 32 * 1024 * 1024]));
    let site = Site::new(&origin)
        .listener("timeouts: { body_progress: 300ms }")
        .start();
    let before = site.resident_bytes();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    site.wait_local_replies("downstream_stalled", 1);
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < BUFFERS, "grown by {grown} bytes");
    let (bytes, _) = client.read_to_end();
    assert!(bytes.len() < 32 * 1024 * 1024);
    origin.wait_open(0);
    site.neighbour_is_well();
}

/// H12: an idle connection is closed without a word, and not before its time.
#[test]
fn idle_connections_are_closed() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .listener("timeouts: { idle: 300ms }")
        .start();
    let mut client = site.client();
    assert_eq!(client.get("/", "a").status, 200);
    assert_eq!(client.get("/", "a").status, 200);
    client.expect_closed();
    assert_eq!(site.local_replies("head_timeout"), 0);
}
