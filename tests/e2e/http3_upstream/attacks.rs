//! Endpoints that attack by HTTP/3 (tests/ATTACKS.md T9, T10, Q5, Q6): each is cut or its stream is, its request is answered, everybody else
//! goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{
    Gate, H3_OK, Http3Origin, h3_field, h3_frame as frame, h3_frame_header as header, h3_head,
    h3_indexed, h3_number,
};

use super::{CUTS, SITE, STREAMS, post, site};
use crate::support::assert_local;

/// What an endpoint does, and the reason that it is counted by.
type Row = (&'static str, fn() -> Vec<u8>, &'static str);

fn ok() -> Vec<u8> {
    frame(1, H3_OK)
}

/// On the stream of a request.
const ON_THE_STREAM: &[Row] = &[
    (
        "DATA before a head",
        || frame(0, "early"),
        "h3_frame_unexpected",
    ),
    ("SETTINGS", || frame(4, []), "h3_frame_unexpected"),
    ("GOAWAY", || frame(7, [0]), "h3_frame_unexpected"),
    (
        "a frame of HTTP/2",
        || frame(6, [0; 8]),
        "h3_frame_unexpected",
    ),
    ("a push", || frame(5, [0, 0, 0, 0xd9]), "h3_push"),
    (
        "frames without end that mean nothing",
        || frame(0x21, "grease").repeat(2000),
        "h3_frame_flood",
    ),
    (
        "a dynamic table",
        || frame(1, [2, 0, 0x80]),
        "h3_broken_compression",
    ),
    (
        "an index that is not in the table",
        || frame(1, [0, 0, 0xff, 0x40]),
        "h3_broken_compression",
    ),
    (
        "a field that goes on behind its section",
        || frame(1, [0, 0, 0xd9, 0x27, 0xff]),
        "h3_broken_compression",
    ),
    (
        "a number without end",
        || frame(1, [&[0, 0, 0xd9, 0xff][..], &[0x80; 64]].concat()),
        "h3_broken_compression",
    ),
];

/// Whatever an endpoint does on a request's stream against the protocol, its connection is cut and counted.
#[test]
fn t10_attacks_cut_the_connection() {
    for (name, attack, reason) in ON_THE_STREAM {
        let origin = Http3Origin::raw(move |gateway| async move {
            let _control = gateway.control().await;
            let mut exchange = gateway.request().await.unwrap();
            exchange.write(attack()).await;
            gateway.closed().await;
        });
        let site = site(origin.address(), "").start();
        // Not idempotent, so that it is not tried again.
        let response = post(&mut site.client(), "");
        assert_local(name, &response, 502, reason);
        let labels = [("cluster", "site"), ("reason", *reason)];
        site.wait_stat(CUTS, &labels, |value| value == 1);
        site.neighbour_is_well();
    }
}

/// What a connection may not do beside its requests.
#[test]
fn q6_attacks_beside_the_streams() {
    let rows: &[Row] = &[
        ("a push stream", || vec![1, 0], "h3_push"),
        (
            "no settings",
            || [&[0][..], &frame(7, [0])].concat(),
            "h3_settings",
        ),
        (
            "settings twice",
            || [&[0][..], &frame(4, []), &frame(4, [])].concat(),
            "h3_frame_unexpected",
        ),
        (
            "settings of HTTP/2",
            || [&[0][..], &frame(4, [3, 100])].concat(),
            "h3_settings",
        ),
        (
            "settings that are too many",
            || [&[0][..], &header(4, 1 << 40)].concat(),
            "h3_frame_too_large",
        ),
        (
            "frames without end that mean nothing",
            || [&[0][..], &frame(4, []), &frame(0x21, "x").repeat(2000)].concat(),
            "h3_frame_flood",
        ),
        (
            "DATA",
            || [&[0][..], &frame(4, []), &frame(0, "x")].concat(),
            "h3_frame_unexpected",
        ),
        (
            "an id that grows",
            || {
                let goaway = |id| frame(7, h3_number(id));
                [&[0][..], &frame(4, []), &goaway(400), &goaway(800)].concat()
            },
            "h3_id",
        ),
    ];
    for (name, attack, reason) in rows {
        let origin = Http3Origin::raw(move |gateway| async move {
            let _attack = gateway.unidirectional(attack()).await;
            gateway.closed().await;
        });
        let site = site(origin.address(), "").start();
        let response = post(&mut site.client(), "");
        // A connection that is cut before the request was sent is no reason not to try another one.
        let labels = [("cluster", "site"), ("reason", *reason)];
        site.wait_stat(CUTS, &labels, |value| value >= 1);
        assert_eq!(response.status, 502, "{name}");
        site.neighbour_is_well();
    }
}

/// RFC 9000 section 4.6: an endpoint may not open streams for requests of its own, and an honest one waits for ever to.
#[test]
fn q6_streams_of_its_own() {
    let origin = Http3Origin::raw(|gateway| async move {
        let _control = gateway.control().await;
        let _held = gateway.request().await;
        let opened = gateway.connection.open_bi();
        tokio::select! {
            _ = opened => panic!("a stream was allowed"),
            () = gateway.serve("ok") => {}
        }
    });
    let site = site(origin.address(), "").start();
    let (mut waiting, mut beside) = (site.client(), site.client());
    waiting.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    super::wait_streams(&site, 1);
    assert_eq!(beside.get("/", "a").text(), "ok");
    site.neighbour_is_well();
}

/// The streams that HTTP/3 stands on may not end.
#[test]
fn q6_a_control_stream_that_ends() {
    let origin = Http3Origin::raw(|gateway| async move {
        let mut control = gateway.control().await;
        let _held = gateway.request().await;
        let _ = control.finish();
        gateway.closed().await;
    });
    let site = site(origin.address(), "").start();
    let response = post(&mut site.client(), "");
    assert_local("control", &response, 502, "h3_closed_critical_stream");
    site.neighbour_is_well();
}

/// A response that breaks a rule is one bad response; the connection and the streams on it go on.
#[test]
fn t10_bad_responses_harm_nobody_else() {
    let rows: &[Row] = &[
        (
            "connection field",
            || frame(1, h3_head(&[("connection", "close")])),
            "connection_field",
        ),
        (
            "transfer-encoding",
            || frame(1, h3_head(&[("transfer-encoding", "chunked")])),
            "connection_field",
        ),
        (
            "length that does not come",
            || frame(1, h3_head(&[("content-length", "5")])),
            "invalid_content_length",
        ),
        (
            "two lengths",
            || {
                frame(
                    1,
                    h3_head(&[("content-length", "0"), ("content-length", "0")]),
                )
            },
            "invalid_content_length",
        ),
        (
            "a line end in a value",
            || frame(1, h3_head(&[("x-split", "a\r\nset-cookie: b")])),
            "h3_malformed_response",
        ),
        (
            "a capital",
            || frame(1, h3_head(&[("X-Capital", "1")])),
            "h3_malformed_response",
        ),
        (
            "too many fields",
            || frame(1, h3_head(&[("x-many", "1"); 150])),
            "too_many_fields",
        ),
        (
            "too many bytes",
            || frame(1, h3_head(&[("x-large", &"y".repeat(40 << 10))])),
            "head_too_large",
        ),
        (
            "far too many bytes",
            || header(1, 1 << 40),
            "head_too_large",
        ),
        (
            "a bomb of indices",
            || frame(1, [&H3_OK[..], &vec![h3_indexed(57); 60 << 10]].concat()),
            "head_too_large",
        ),
        (
            "no status",
            || frame(1, [&[0, 0][..], &h3_field("x", "y")].concat()),
            "invalid_pseudo_header",
        ),
        (
            "two statuses",
            || frame(1, [&H3_OK[..], &[h3_indexed(26)]].concat()),
            "invalid_pseudo_header",
        ),
        (
            "a status behind a field",
            || {
                frame(
                    1,
                    [&[0, 0][..], &h3_field("x", "y"), &[h3_indexed(25)]].concat(),
                )
            },
            "invalid_pseudo_header",
        ),
        (
            "a path",
            || frame(1, [&H3_OK[..], &[h3_indexed(1)]].concat()),
            "invalid_pseudo_header",
        ),
        ("no head", Vec::new, "h3_incomplete_message"),
    ];
    for (name, bad, reason) in rows {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Http3Origin::raw(move |gateway| {
            let held = held.clone();
            async move {
                let _control = gateway.control().await;
                let mut beside = gateway.request().await.unwrap();
                let mut exchange = gateway.request().await.unwrap();
                exchange.write(bad()).await;
                let _ = exchange.send.finish();
                let waited = tokio::task::spawn_blocking(move || held.wait());
                waited.await.unwrap();
                beside.respond("beside").await;
                gateway.serve("ok").await;
            }
        });
        let site = site(origin.address(), "").start();
        let (mut beside, mut client) = (site.client(), site.client());
        beside.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        site.wait_stat(STREAMS, &SITE, |value| value == 1);
        let response = post(&mut client, "");
        assert_local(name, &response, 502, reason);
        gate.open();
        assert_eq!(beside.read_response().text(), "beside", "{name}");
        assert_eq!(client.get("/", "a").text(), "ok", "{name}");
        assert_eq!(origin.connections(), 1, "{name}");
        site.neighbour_is_well();
    }
}

/// T9: what comes does not agree with the length that was stated, or breaks off; a client sees that its response is none.
#[test]
fn t9_bodies_that_break_off() {
    type Bad = (&'static str, fn() -> Vec<u8>);
    let rows: &[Bad] = &[
        ("too short", || {
            [
                frame(1, h3_head(&[("content-length", "9")])),
                frame(0, "half"),
            ]
            .concat()
        }),
        ("too long", || {
            let head = frame(1, h3_head(&[("content-length", "5")]));
            [head, frame(0, "half"), frame(0, "half")].concat()
        }),
        ("inside of a frame", || {
            [ok(), frame(0, "half"), header(0, 9), b"more".to_vec()].concat()
        }),
        ("inside of a frame's header", || {
            [ok(), frame(0, "half"), vec![0, 0x40]].concat()
        }),
        ("a second head", || [ok(), frame(0, "half"), ok()].concat()),
        ("a pseudo-header behind", || {
            let trailers = [&[0, 0][..], &h3_field("x", "y"), &[h3_indexed(25)]].concat();
            [ok(), frame(0, "half"), frame(1, trailers)].concat()
        }),
        ("DATA behind trailers", || {
            let trailers = [&[0, 0][..], &h3_field("x", "y")].concat();
            [ok(), frame(0, "half"), frame(1, trailers), frame(0, "x")].concat()
        }),
    ];
    for (name, bad) in rows {
        let first = Arc::new(AtomicBool::new(true));
        let origin = Http3Origin::raw(move |gateway| {
            let first = Arc::clone(&first);
            async move {
                let _control = gateway.control().await;
                if first.swap(false, Ordering::Relaxed) {
                    let mut exchange = gateway.request().await.unwrap();
                    exchange.write(bad()).await;
                    let _ = exchange.send.finish();
                }
                gateway.serve("ok").await;
            }
        });
        let site = site(origin.address(), "").start();
        let mut client = site.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let all = client.read_to_end().0;
        let all = String::from_utf8_lossy(&all);
        assert!(!all.ends_with("0\r\n\r\n"), "{name}: {all}");
        assert_eq!(site.client().get("/", "a").text(), "ok", "{name}");
        site.neighbour_is_well();
    }
}

/// What means nothing may stand anywhere, and DATA of no length is no end.
#[test]
fn what_means_nothing_is_left_out() {
    let origin = Http3Origin::raw(|gateway| async move {
        let _control = gateway.control().await;
        let _unknown = gateway.unidirectional([0x21, 1, 2, 3]).await;
        let grease = || frame(0x21, "grease");
        let trailers = [&[0, 0][..], &h3_field("x-end", "1")].concat();
        let mut exchange = gateway.request().await.unwrap();
        let pieces = [
            grease(),
            frame(1, [0, 0, h3_indexed(24)]),
            grease(),
            ok(),
            frame(0, []),
            frame(0, "a"),
            frame(0x41, "b"),
            frame(0, []),
            frame(0, "c"),
            grease(),
            frame(1, trailers),
            grease(),
        ];
        // Byte by byte, so that nothing comes in one piece.
        for byte in pieces.concat() {
            exchange.write([byte]).await;
            tokio::task::yield_now().await;
        }
        let _ = exchange.send.finish();
        gateway.closed().await;
    });
    let site = site(origin.address(), "").start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_response().status, 103);
    let response = client.read_response();
    assert_eq!(response.text(), "ac");
    assert_eq!(response.trailers, [("x-end".into(), "1".into())]);
}

/// Q5: an endpoint that cuts its body as small as can be costs time, not memory.
#[test]
fn q5_tiny_frames() {
    let origin = Http3Origin::raw(|gateway| async move {
        let _control = gateway.control().await;
        let mut exchange = gateway.request().await.unwrap();
        exchange.write(ok()).await;
        let tiny = frame(0, "x").repeat(1 << 12);
        for _ in 0..64 {
            exchange.write(&tiny).await;
        }
        let _ = exchange.send.finish();
        gateway.closed().await;
    });
    let site = site(origin.address(), "").start();
    let before = site.resident_bytes();
    let response = site.client().get("/", "a");
    assert_eq!(response.body.len(), 64 << 12);
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "grown by {grown}");
}

/// An endpoint that allows no stream at all has a request wait for it, and gets no flood of connections.
#[test]
fn t10_no_streams_allowed() {
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(0_u32.into());
    let origin = Http3Origin::start_with(transport, |_, _| std::future::pending());
    let site = site(origin.address(), "")
        .cluster("connect_timeout: 1s")
        .start();
    let mut client = site.client();
    let response = client.get("/", "a");
    assert_local("no streams", &response, 503, "upstream_connection_limit");
    assert_eq!(origin.connections(), 1);
    site.neighbour_is_well();
}
