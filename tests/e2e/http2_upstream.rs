//! HTTP/2 towards endpoints: messages, connections that are shared, and how they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use harness::{
    Client, Exchange, Frames, Gate, Http2Origin, Origin, RawResponse, Reply, Step, h2_numbers as n,
    response_block,
};
use http::{HeaderMap, Response};

use crate::support::{Running, Site, assert_local, checksum, noise};

/// One worker, so that there is one pool.
const ALONE: &str = "runtime: { workers: { count: 1 } }";

const CONNECTIONS: &str = "portcullis_http2_upstream_connections_total";
const STREAMS: &str = "portcullis_http2_upstream_streams_total";
const UNPROCESSED: &str = "portcullis_http2_upstream_unprocessed_total";
const RESETS: &str = "portcullis_http2_upstream_resets_total";
const CUTS: &str = "portcullis_http2_upstream_cuts_total";

const SITE: [(&str, &str); 1] = [("cluster", "site")];

/// A site whose endpoint speaks HTTP/2 by prior knowledge.
fn site(address: std::net::SocketAddr, http: &str) -> Site {
    Site::default()
        .endpoint(address)
        .cluster(&format!("http: {{ version: http2{http} }}"))
        .top(ALONE)
}

fn post(client: &mut Client, body: &str) -> RawResponse {
    let length = body.len();
    client.send(format!(
        "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    client.read_response()
}

/// Waits until the streams that were opened are so many.
fn wait_streams(site: &Running, count: u64) {
    site.wait_stat(STREAMS, &SITE, |value| value == count);
}

#[test]
fn messages_pass_both_ways() {
    let origin = Origin::http(|request| {
        let trailers = request.trailers.len();
        Reply::bytes(format!(
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\nx-method: {}\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: {trailers}\r\n\r\n",
            request.method
        ))
    });
    let front = Http2Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let mut client = site.client();
    client.send(
        "POST /path?q=1 HTTP/1.1\r\nhost: a.test\r\nX-Upper: Case\r\ncookie: a=1; b=2\r\nte: trailers\r\n\
         connection: te, x-hop\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n",
    );
    let interim = client.read_response();
    assert_eq!(
        (interim.status, interim.header("link")),
        (103, Some("</a>"))
    );
    let response = client.read_response();
    assert_eq!((response.status, response.text().as_str()), (201, "hello"));
    assert_eq!(response.header("x-method"), Some("POST"));
    assert_eq!(response.trailers, [("x-sum".into(), "1".into())]);
    let request = origin.next_request();
    assert_eq!(
        (request.target.as_str(), request.header("host")),
        ("/path?q=1", Some("a.test"))
    );
    assert_eq!(request.header("x-upper"), Some("Case"));
    assert_eq!(request.header("cookie"), Some("a=1; b=2"));
    assert_eq!(request.header("te"), Some("trailers"));
    assert_eq!(request.header("x-hop"), None);
    assert_eq!(request.body, b"abc");
    assert_eq!(request.trailers, [("x-end".into(), "1".into())]);
    site.neighbour_is_well();
}

#[test]
fn heads_without_bodies() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/304" => Reply::bytes("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
        "/204" => Reply::bytes("HTTP/1.1 204 No Content\r\n\r\n"),
        _ if request.method == "HEAD" => {
            Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n")
        }
        _ => Reply::ok(""),
    });
    let front = Http2Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let mut client = site.client();
    for (request, status, length) in [
        ("HEAD / ", 200, Some("7")),
        ("GET /304 ", 304, Some("9")),
        ("GET /204 ", 204, None),
        ("GET / ", 200, Some("0")),
    ] {
        client.send(format!("{request}HTTP/1.1\r\nhost: a\r\n\r\n"));
        let response = client.read_head_response();
        assert_eq!(
            (response.status, response.header("content-length")),
            (status, length),
            "{request}"
        );
    }
    client.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_response().status, 200, "no host");
}

#[test]
fn large_bodies_pass_both_ways() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let front = Http2Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let body = noise(3 << 20);
    let mut client = site.client();
    let length = body.len();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
    ));
    client.send(&body);
    assert_eq!(checksum(&client.read_response().body), checksum(&body));
}

/// Requests share a connection, those that come before there is one as well.
#[test]
fn one_connection_carries_many_requests() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| {
        Reply::steps([Step::Wait(held.clone())])
            .then(Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    });
    let front = Http2Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let mut clients: Vec<_> = (0..20).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    wait_streams(&site, 20);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    assert_eq!(front.connections(), 1);
    for client in &mut clients {
        assert_eq!(client.get("/", "a").status, 200);
    }
    assert_eq!(front.connections(), 1);
}

/// More requests than one connection takes: by our limit, by the peer's, and with a limit on connections.
#[test]
fn full_connections_spill() {
    let rows = [
        ("ours", ", max_streams: 2", None, 3),
        ("the peer's", "", Some(2), 3),
        (
            "no more connections",
            ", max_streams: 2, max_connections_per_endpoint: 2",
            None,
            2,
        ),
    ];
    for (name, http, peers, connections) in rows {
        let gate = Gate::new();
        let held = gate.clone();
        let counter = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&counter);
        let origin = Origin::raw(move |connection| {
            accepted.fetch_add(1, Ordering::Relaxed);
            let settings: Vec<_> = peers.map(|most| (3, most)).into_iter().collect();
            let mut frames = Frames::accept(connection, &settings)?;
            let mut first = true;
            while let Ok(stream) = frames.request() {
                if std::mem::take(&mut first) {
                    held.wait();
                }
                frames.respond(stream, 200, "ok")?;
            }
            Ok(())
        });
        let site = site(origin.address(), http).start();
        let mut clients: Vec<_> = (0..5).map(|_| site.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        }
        wait_streams(&site, if connections == 3 { 5 } else { 4 });
        gate.open();
        for client in &mut clients {
            assert_eq!(client.read_response().text(), "ok", "{name}");
        }
        assert_eq!(counter.load(Ordering::Relaxed), connections, "{name}");
        site.neighbour_is_well();
    }
}

/// RFC 9113 section 6.8: streams up to the last one named finish, others are sent again, and new ones go elsewhere.
#[test]
fn goaway_lets_streams_finish_and_gives_back_the_rest() {
    let gate = Gate::new();
    let held = gate.clone();
    let counter = AtomicUsize::new(0);
    let origin = Origin::raw(move |connection| {
        let mut frames = Frames::accept(connection, &[])?;
        if counter.fetch_add(1, Ordering::Relaxed) > 0 {
            return frames.serve("second");
        }
        let first = frames.request()?;
        frames.request()?;
        let mut payload = first.to_be_bytes().to_vec();
        payload.extend([0; 4]);
        frames.send(n::GOAWAY, 0, 0, payload)?;
        held.wait();
        frames.respond(first, 200, "first")?;
        frames.until_gone();
        Ok(())
    });
    let site = site(origin.address(), "").start();
    let (mut kept, mut given_back) = (site.client(), site.client());
    kept.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_streams(&site, 1);
    // Not even idempotent, but nobody has looked at it.
    given_back.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(given_back.read_response().text(), "second");
    site.wait_stat(UNPROCESSED, &SITE, |value| value == 1);
    gate.open();
    assert_eq!(kept.read_response().text(), "first");
    origin.wait_open(1);
    assert_eq!(kept.get("/", "a").text(), "second");
    site.neighbour_is_well();
}

/// RFC 9113 section 8.7: a refused stream was not looked at. Twice is enough.
#[test]
fn refused_streams_are_sent_again_within_bounds() {
    let rows = [("once", 1, 200), ("twice", 2, 200), ("always", 9, 502)];
    for (name, refusals, status) in rows {
        let origin = Origin::raw(move |connection| {
            let mut frames = Frames::accept(connection, &[])?;
            for _ in 0..refusals {
                let Ok(stream) = frames.request() else {
                    return Ok(());
                };
                frames.send(n::RST_STREAM, 0, stream, 7_u32.to_be_bytes())?;
            }
            frames.serve("ok")
        });
        let site = site(origin.address(), "").start();
        let response = post(&mut site.client(), "");
        assert_eq!(response.status, status, "{name}");
        if status == 502 {
            assert_local(name, &response, 502, "upstream_unprocessed");
        }
        let tries = if status == 200 { refusals } else { 3 };
        site.wait_stat(UNPROCESSED, &SITE, |value| value == tries);
        assert_eq!(site.stats().counter(CONNECTIONS, &SITE), 1, "{name}");
        site.neighbour_is_well();
    }
}

/// A body that has left cannot be sent again, refused or not.
#[test]
fn a_request_whose_body_has_begun_is_not_sent_again() {
    let origin = Origin::raw(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let stream = frames.request()?;
        frames.next(n::DATA)?;
        frames.send(n::RST_STREAM, 0, stream, 7_u32.to_be_bytes())?;
        frames.until_gone();
        Ok(())
    });
    let site = site(origin.address(), "").start();
    let response = post(&mut site.client(), "body");
    assert_local("body", &response, 502, "upstream_unprocessed");
    wait_streams(&site, 1);
}

/// An endpoint that speaks something else is found out before a request is risked.
#[test]
fn other_protocols_are_no_connection() {
    let origin = Origin::http(|_| Reply::ok("HTTP/1"));
    let silent = Origin::raw(|connection| connection.read_to_end().map(drop));
    for (name, address, reason) in [
        ("http1", origin.address(), "upstream_protocol_mismatch"),
        ("silence", silent.address(), "connect_timeout"),
    ] {
        let site = site(address, "").cluster("connect_timeout: 1s").start();
        let response = post(&mut site.client(), "x");
        assert_local(name, &response, 503, reason);
        site.neighbour_is_well();
    }
}

/// A client that leaves is felt upstream, and nobody else is.
#[test]
fn a_client_that_leaves_resets_its_stream() {
    let origin = Origin::raw(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let stream = frames.request()?;
        let reset = frames.next(n::RST_STREAM)?;
        let expected = (stream, 8_u32.to_be_bytes().to_vec());
        if (reset.stream, reset.payload) != expected {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        frames.serve("ok")
    });
    let site = site(origin.address(), "").start();
    let mut leaving = site.client();
    leaving.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_streams(&site, 1);
    leaving.reset();
    let by_gateway = [("cluster", "site"), ("by", "gateway")];
    site.wait_stat(RESETS, &by_gateway, |value| value == 1);
    assert_eq!(site.client().get("/", "a").text(), "ok");
    assert_eq!(origin.connections(), 1);
}

/// An answer in the middle of an upload, and the reset that RFC 9113 section 8.1 allows behind it.
#[test]
fn an_early_answer_counts() {
    let origin = Origin::raw(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let stream = frames.request()?;
        frames.respond(stream, 413, "too much")?;
        frames.send(n::RST_STREAM, 0, stream, 0_u32.to_be_bytes())?;
        frames.until_gone();
        Ok(())
    });
    let site = site(origin.address(), "").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nbegin");
    let response = client.read_response();
    assert_eq!(
        (response.status, response.text().as_str()),
        (413, "too much")
    );
}

/// A body that its window holds back waits, and takes no memory but the window's.
#[test]
fn a_slow_client_holds_the_endpoint_back() {
    let origin = Http2Origin::start(|(_, mut respond): Exchange| async move {
        let Ok(mut stream) = respond.send_response(Response::new(()), false) else {
            return;
        };
        let chunk = Bytes::from(vec![b'x'; 64 << 10]);
        for _ in 0..512 {
            stream.reserve_capacity(chunk.len());
            while stream.capacity() < chunk.len() {
                let more = std::future::poll_fn(|task| stream.poll_capacity(task)).await;
                if !matches!(more, Some(Ok(_))) {
                    return;
                }
            }
            if stream.send_data(chunk.clone(), false).is_err() {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", http::HeaderValue::from_static("1"));
        let _ = stream.send_trailers(trailers);
    });
    let site = site(origin.address(), "").start();
    let mut slow = site.client();
    slow.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.read_until("\r\n\r\n");
    let before = site.resident_bytes();
    // Others on the same connection are not held up by it.
    let mut quick = site.client();
    quick.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let whole = quick.read_response();
    assert_eq!(whole.body.len(), 32 << 20);
    assert_eq!(whole.trailers, [("x-end".into(), "1".into())]);
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "grown by {grown}");
    assert_eq!(origin.connections(), 1);
}

/// Connections end by age, by use, by rest, and when their peer is gone.
#[test]
fn connections_end() {
    let rows = [
        ("rest", "pool: { idle_timeout: 1s }", ""),
        ("use", "pool: { max_requests: 1 }", ""),
        ("none kept", "pool: { max_idle: 0 }", ""),
        ("age", "", ", max_connection_age: 1s"),
    ];
    for (name, cluster, http) in rows {
        let origin = Origin::raw(|connection| Frames::accept(connection, &[])?.serve("ok"));
        let site = site(origin.address(), http).cluster(cluster).start();
        let mut client = site.client();
        assert_eq!(client.get("/", "a").text(), "ok", "{name}");
        origin.wait_open(0);
        assert_eq!(client.get("/", "a").text(), "ok", "{name}");
        assert_eq!(origin.connections(), 2, "{name}");
    }
}

/// A connection that waits for requests to one endpoint keeps none to another from a place within the limit.
#[test]
fn idle_connections_make_room() {
    let serve = |text: &'static str| {
        Origin::raw(move |connection| Frames::accept(connection, &[])?.serve(text))
    };
    let (one, two) = (serve("one"), serve("two"));
    let site = site(one.address(), "")
        .endpoint(two.address())
        .cluster("limits: { connections: 1 }")
        .start();
    let mut client = site.client();
    for number in 0..10 {
        assert_eq!(client.get("/", "a").status, 200, "{number}");
    }
    assert!(one.connections() + two.connections() > 2);
}

#[test]
fn a_peer_that_is_gone_is_found_out() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::raw(move |connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let stream = frames.request()?;
        frames.respond(stream, 200, "ok")?;
        // Reads no more: to its peer it is gone.
        held.wait();
        Ok(())
    });
    let keep_alive = ", keep_alive: { interval: 1s, timeout: 1s }";
    let site = site(origin.address(), keep_alive).start();
    let mut client = site.client();
    assert_eq!(client.get("/", "a").text(), "ok");
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let response = client.read_response();
    assert_local("gone", &response, 502, "upstream_ping_timeout");
    let labels = [("cluster", "site"), ("reason", "upstream_ping_timeout")];
    site.wait_stat(CUTS, &labels, |value| value == 1);
    gate.open();
}

/// An interim head, then a head that never ends: nothing of it is a response.
#[test]
fn interim_heads_are_no_response() {
    let origin = Origin::raw(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let stream = frames.request()?;
        frames.send(n::HEADERS, n::END_HEADERS, stream, response_block(101, &[]))?;
        frames.until_gone();
        Ok(())
    });
    let site = site(origin.address(), "").start();
    let response = post(&mut site.client(), "");
    assert_local("101", &response, 502, "unexpected_upgrade");
}
