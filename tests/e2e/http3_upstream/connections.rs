//! Connections over HTTP/3: how many there are, and how they end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use harness::{Gate, Http3Origin, Http3Stream, h3_frame, h3_number};
use http::Response;

use super::{RESETS, SITE, UNPROCESSED, post, site, wait_streams};
use crate::support::assert_local;

/// Answers `ok`.
async fn ok(_: http::Request<()>, mut stream: Http3Stream) {
    let _ = stream.send_response(Response::new(())).await;
    let _ = stream.send_data(Bytes::from_static(b"ok")).await;
    let _ = stream.finish().await;
}

fn limited(streams: u32) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(streams.into());
    transport
}

/// More requests than one connection takes: by our limit, by the peer's, and with a limit on connections.
#[test]
fn full_connections_spill() {
    let rows = [
        ("ours", ", max_streams: 2", 100, 3),
        ("the peer's", "", 2, 3),
        (
            "no more connections",
            ", max_streams: 2, max_connections_per_endpoint: 2",
            100,
            2,
        ),
    ];
    for (name, http, peers, connections) in rows {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Http3Origin::start_with(limited(peers), move |request, stream| {
            let held = held.clone();
            async move {
                let waited = tokio::task::spawn_blocking(move || held.wait());
                waited.await.unwrap();
                ok(request, stream).await;
            }
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
        assert_eq!(origin.connections(), connections, "{name}");
        // What the peer allowed for those that have ended is used again.
        for client in &mut clients {
            assert_eq!(client.get("/", "a").text(), "ok", "{name}");
        }
        assert_eq!(origin.connections(), connections, "{name}");
        site.neighbour_is_well();
    }
}

/// RFC 9114 section 5.2: streams below the id that is named finish, others are sent again, and new ones go elsewhere.
#[test]
fn goaway_lets_streams_finish_and_gives_back_the_rest() {
    let gate = Gate::new();
    let held = gate.clone();
    let counter = AtomicUsize::new(0);
    let counter = Arc::new(counter);
    let origin = Http3Origin::raw(move |gateway| {
        let (held, counter) = (held.clone(), Arc::clone(&counter));
        async move {
            let mut control = gateway.control().await;
            if counter.fetch_add(1, Ordering::Relaxed) > 0 {
                return gateway.serve("second").await;
            }
            let mut first = gateway.request().await.unwrap();
            let second = gateway.request().await.unwrap();
            let id = u64::from(quinn::VarInt::from(second.send.id()));
            control
                .write_all(&h3_frame(7, h3_number(id)))
                .await
                .unwrap();
            let waited = tokio::task::spawn_blocking(move || held.wait());
            waited.await.unwrap();
            first.respond("first").await;
            gateway.closed().await;
        }
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
    assert_eq!(kept.get("/", "a").text(), "second");
    assert_eq!(origin.connections(), 2);
    site.neighbour_is_well();
}

/// RFC 9114 section 8.1: a rejected request was not looked at. Twice is enough.
#[test]
fn rejected_requests_are_sent_again_within_bounds() {
    let rows = [("once", 1, 200), ("twice", 2, 200), ("always", 9, 502)];
    for (name, refusals, status) in rows {
        let origin = Http3Origin::raw(move |gateway| async move {
            let _control = gateway.control().await;
            for _ in 0..refusals {
                let Some(mut exchange) = gateway.request().await else {
                    return;
                };
                let _ = exchange.receive.stop(0x10b_u32.into());
                let _ = exchange.send.reset(0x10b_u32.into());
            }
            gateway.serve("ok").await;
        });
        let site = site(origin.address(), "").start();
        let response = post(&mut site.client(), "");
        assert_eq!(response.status, status, "{name}");
        if status == 502 {
            assert_local(name, &response, 502, "upstream_unprocessed");
        }
        site.neighbour_is_well();
    }
}

/// Any other reset may have had an effect.
#[test]
fn a_reset_is_not_sent_again() {
    let origin = Http3Origin::raw(|gateway| async move {
        let _control = gateway.control().await;
        let mut exchange = gateway.request().await.unwrap();
        let _ = exchange.send.reset(0x102_u32.into());
        gateway.serve("again").await;
    });
    let site = site(origin.address(), "").start();
    let mut client = site.client();
    let response = post(&mut client, "");
    assert_local("reset", &response, 502, "upstream_reset");
    let by_endpoint = [("cluster", "site"), ("by", "endpoint")];
    site.wait_stat(RESETS, &by_endpoint, |value| value == 1);
    assert_eq!(client.get("/", "a").text(), "again");
    assert_eq!(origin.connections(), 1);
}

/// Connections end by age, by use and by rest.
#[test]
fn connections_end() {
    let rows = [
        ("rest", "pool: { idle_timeout: 1s }", ""),
        ("use", "pool: { max_requests: 1 }", ""),
        ("none kept", "pool: { max_idle: 0 }", ""),
        ("age", "", ", max_connection_age: 1s"),
    ];
    for (name, cluster, http) in rows {
        let closed = Gate::new();
        let told = closed.clone();
        let origin = Http3Origin::raw(move |gateway| {
            let told = told.clone();
            async move {
                let _control = gateway.control().await;
                let code = Rc::new(Cell::new(None));
                gateway.serve("ok").await;
                code.set(gateway.closed().await);
                assert_eq!(code.get(), Some(0x100), "H3_NO_ERROR");
                told.open();
            }
        });
        let site = site(origin.address(), http).cluster(cluster).start();
        let mut client = site.client();
        assert_eq!(client.get("/", "a").text(), "ok", "{name}");
        closed.wait();
        assert_eq!(client.get("/", "a").text(), "ok", "{name}");
        assert_eq!(origin.connections(), 2, "{name}");
    }
}

/// A connection that waits for requests to one endpoint keeps none to another from a place within the limit.
#[test]
fn idle_connections_make_room() {
    let (one, two) = (Http3Origin::start(ok), Http3Origin::start(ok));
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
