//! Endpoints that attack by HTTP/2 (tests/ATTACKS.md T10): each is cut, its request is answered, everybody else goes on.

use std::io;

use harness::{Frames, Gate, Origin, h2_block, h2_frame as frame, h2_numbers as n, response_block};

use crate::support::{Running, Site, assert_local};

const CUTS: &str = "portcullis_http2_upstream_cuts_total";

fn start(origin: &Origin, http: &str) -> Running {
    Site::new(origin)
        .cluster(&format!("http: {{ version: http2{http} }}"))
        .start()
}

/// A peer that answers a request so, and then waits to be left.
fn attacker(
    attack: impl Fn(&mut Frames<'_>, u32) -> io::Result<()> + Send + Sync + 'static,
) -> Origin {
    Origin::raw(move |connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let stream = frames.request()?;
        // Being left in the middle of it is the point.
        let _ = attack(&mut frames, stream);
        frames.until_gone();
        Ok(())
    })
}

/// One attack, and the reason that it is counted by.
type Row = (&'static str, fn(u32) -> Vec<u8>, &'static str);

fn many(count: usize, frame: &[u8]) -> Vec<u8> {
    frame.repeat(count)
}

const BEHIND_OUR_BACK: &[Row] = &[
    (
        "CONTINUATION without end",
        |stream| {
            let mut bytes = frame(n::HEADERS, 0, stream, response_block(200, &[]));
            bytes.extend(many(2000, &frame(n::CONTINUATION, 0, stream, [])));
            bytes
        },
        "h2_continuation_flood",
    ),
    (
        "a block too large",
        |stream| {
            let mut bytes = frame(n::HEADERS, 0, stream, response_block(200, &[]));
            let large = h2_block(&[("x", "y".repeat(160 << 10))]);
            for piece in large.chunks(16 << 10) {
                bytes.extend(frame(n::CONTINUATION, 0, stream, piece));
            }
            bytes
        },
        "h2_header_block_too_large",
    ),
    (
        "a bomb of fields",
        |stream| {
            // One field in the table, then 12000 times a byte that stands for it.
            let mut bomb = vec![0x40, 1, b'a', 1, b'b'];
            bomb.extend([0xbe; 12_000]);
            let mut whole = response_block(200, &[]);
            whole.extend(bomb);
            frame(n::HEADERS, n::END_HEADERS, stream, whole)
        },
        "h2_too_many_fields",
    ),
    (
        "SETTINGS",
        |_| many(2000, &frame(n::SETTINGS, 0, 0, [])),
        "h2_settings_flood",
    ),
    (
        "PING",
        |_| many(2000, &frame(n::PING, 0, 0, [0; 8])),
        "h2_ping_flood",
    ),
    (
        "PING answers that nobody asked for",
        |_| many(2000, &frame(n::PING, n::ACK, 0, [0; 8])),
        "h2_ping_flood",
    ),
    (
        "WINDOW_UPDATE",
        |_| many(20_000, &frame(n::WINDOW_UPDATE, 0, 0, 1_u32.to_be_bytes())),
        "h2_window_update_flood",
    ),
    (
        "PRIORITY",
        |stream| many(20_000, &frame(n::PRIORITY, 0, stream, [0, 0, 0, 0, 1])),
        "h2_priority_flood",
    ),
    (
        "resets",
        |stream| many(2000, &frame(n::RST_STREAM, 0, stream, 8_u32.to_be_bytes())),
        "h2_reset_flood",
    ),
    (
        "empty DATA",
        |stream| {
            let mut bytes = frame(n::HEADERS, n::END_HEADERS, stream, response_block(200, &[]));
            bytes.extend(many(5000, &frame(n::DATA, 0, stream, [])));
            bytes
        },
        "h2_empty_data_flood",
    ),
    (
        "unknown frames",
        |_| many(2000, &frame(0x42, 0, 0, [])),
        "h2_unknown_flood",
    ),
    (
        "a frame too large",
        |stream| frame(n::DATA, 0, stream, vec![0; 20_000]),
        "h2_frame_too_large",
    ),
    (
        "DATA of no stream",
        |_| frame(n::DATA, 0, 99, "x"),
        "h2_protocol_error",
    ),
    // Names and values that cannot be are taken for broken compression by `h2`.
    (
        "a name in upper case",
        |stream| whole(stream, &[("X-Upper", "1")]),
        "h2_protocol_error",
    ),
    (
        "a line feed in a value",
        |stream| whole(stream, &[("x-a", "b\r\nc: d")]),
        "h2_protocol_error",
    ),
    (
        "a push that was switched off",
        |stream| {
            let mut promise = 2_u32.to_be_bytes().to_vec();
            promise.extend([0x82, 0x84, 0x86]);
            frame(n::PUSH_PROMISE, n::END_HEADERS, stream, promise)
        },
        "h2_protocol_error",
    ),
    (
        "a window that overflows",
        |_| {
            many(
                2,
                &frame(n::WINDOW_UPDATE, 0, 0, 0x7fff_ffff_u32.to_be_bytes()),
            )
        },
        "h2_flow_control",
    ),
    (
        "a number that overflows in a block",
        |stream| frame(n::HEADERS, n::END_HEADERS, stream, [0xff; 12]),
        "h2_broken_compression",
    ),
    (
        "a field that is not in the table",
        |stream| frame(n::HEADERS, n::END_HEADERS, stream, [0xff, 0x10]),
        "h2_protocol_error",
    ),
];

/// T10: whatever an endpoint does, its connection is cut and counted, the request has an answer, and others go on.
#[test]
fn t10_attacks_cut_the_connection() {
    for (name, attack, reason) in BEHIND_OUR_BACK {
        let origin = attacker(|frames, stream| frames.send_bytes(attack(stream)));
        let site = start(&origin, "");
        let mut client = site.client();
        // Not idempotent, so that it is not tried again; the reset of a stream that is answered is no reason to.
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        let response = client.read_response();
        let labels = [("cluster", "site"), ("reason", *reason)];
        site.wait_stat(CUTS, &labels, |value| value == 1);
        match response.status {
            502 => assert_local(name, &response, 502, reason),
            // The attack began behind a head that had passed.
            status => assert_eq!((*name, status), ("empty DATA", 200)),
        }
        origin.wait_open(0);
        site.neighbour_is_well();
    }
}

/// T10: a response that breaks a rule is one bad response; the connection and the streams on it go on.
#[test]
fn t10_bad_responses_harm_nobody_else() {
    type Bad = fn(u32) -> Vec<u8>;
    let rows: &[(&str, Bad, &str)] = &[
        (
            "connection field",
            |stream| whole(stream, &[("connection", "close")]),
            "h2_malformed_response",
        ),
        (
            "transfer-encoding",
            |stream| whole(stream, &[("transfer-encoding", "chunked")]),
            "h2_malformed_response",
        ),
        (
            "length that does not come",
            |stream| whole(stream, &[("content-length", "5")]),
            "h2_malformed_response",
        ),
        (
            "two lengths",
            |stream| whole(stream, &[("content-length", "0"), ("content-length", "0")]),
            "invalid_content_length",
        ),
        (
            "too many fields",
            |stream| {
                let fields: Vec<_> = (0..150).map(|_| ("x-many", "1")).collect();
                whole(stream, &fields)
            },
            "too_many_fields",
        ),
        (
            "no status",
            |stream| {
                frame(
                    n::HEADERS,
                    n::END_HEADERS | n::END_STREAM,
                    stream,
                    h2_block(&[("x", "y")]),
                )
            },
            "h2_malformed_response",
        ),
    ];
    for (name, bad, reason) in rows {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::raw(move |connection| {
            let mut frames = Frames::accept(connection, &[])?;
            let beside = frames.request()?;
            let stream = frames.request()?;
            frames.send_bytes(bad(stream))?;
            held.wait();
            frames.respond(beside, 200, "beside")?;
            frames.serve("ok")
        });
        let site = Site::new(&origin)
            .cluster("http: { version: http2 }")
            .top("runtime: { workers: { count: 1 } }")
            .start();
        let (mut beside, mut client) = (site.client(), site.client());
        beside.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let streams = "portcullis_http2_upstream_streams_total";
        site.wait_stat(streams, &[("cluster", "site")], |value| value == 1);
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        let response = client.read_response();
        assert_local(name, &response, 502, reason);
        gate.open();
        assert_eq!(beside.read_response().text(), "beside", "{name}");
        assert_eq!(client.get("/", "a").text(), "ok", "{name}");
        assert_eq!(origin.connections(), 1, "{name}");
        site.neighbour_is_well();
    }
}

/// T10: an endpoint that allows no stream at all has a request wait for it, and gets no flood of connections.
#[test]
fn t10_no_streams_allowed() {
    let origin = Origin::raw(|connection| {
        let mut frames = Frames::accept(connection, &[(n::MAX_CONCURRENT_STREAMS, 0)])?;
        frames.until_gone();
        Ok(())
    });
    let site = Site::new(&origin)
        .cluster("http: { version: http2 }\nconnect_timeout: 1s")
        .start();
    let mut client = site.client();
    let response = client.get("/", "a");
    assert_local("no streams", &response, 503, "upstream_connection_limit");
    assert_eq!(origin.connections(), 1);
    site.neighbour_is_well();
}

/// A head that is a whole response.
fn whole(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(
        n::HEADERS,
        n::END_HEADERS | n::END_STREAM,
        stream,
        response_block(200, fields),
    )
}

/// The budgets are the operator's to set.
#[test]
fn budgets_are_configured() {
    let origin = attacker(|frames, _| frames.send_bytes(frame(n::PING, 0, 0, [0; 8]).repeat(3)));
    let site = start(&origin, ", guard: { ping: { rate: 1/s, burst: 2 } }");
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let response = client.read_response();
    assert_local("ping", &response, 502, "h2_ping_flood");
}
