//! What a hostile client of HTTP/2 may try (T1 to T9), and what becomes of it: the code, the counter, and a neighbour
//! who notices nothing.

use harness::{
    Gate, H2_PREFACE, Origin, RawH2, Reply, Step, h2_block, h2_frame, h2_indexed_field,
    h2_numbers as n, h2_settings,
};

use crate::support::{Running, Site};

/// What the guard, or the session, has ended or refused for a reason.
#[track_caller]
fn wait_refusals(site: &Running, reason: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    let labels = [("listener", "web"), ("reason", reason)];
    site.wait_stat("portcullis_http2_refusals_total", &labels, wanted)
}

/// Asserts that the connection ends with this GOAWAY, that it was counted once, and that the neighbour is well.
#[track_caller]
fn expect_ended(site: &Running, client: &mut RawH2, code: u32, reason: &str) {
    client.expect_goaway(code);
    wait_refusals(site, reason, |count| count == 1);
    site.neighbour_is_well();
}

fn quiet_origin() -> Origin {
    Origin::http(|_| Reply::ok("here"))
}

#[test]
fn t1_rapid_reset() {
    let origin = quiet_origin();
    let site = Site::new(&origin).start();
    let mut client = RawH2::connect(site.addr("web"));
    let mut stream = 1;
    for _ in 0..300 {
        let mut burst = Vec::new();
        for _ in 0..10 {
            burst.extend(RawH2::get_frame(stream, "/", "site.test"));
            burst.extend(h2_frame(n::RST_STREAM, 0, stream, n::CANCEL.to_be_bytes()));
            stream += 2;
        }
        if !client.try_send(burst) {
            break;
        }
    }
    expect_ended(&site, &mut client, n::ENHANCE_YOUR_CALM, "h2_reset_flood");
    let resets = [("listener", "web"), ("type", "rst_stream")];
    site.wait_stat("portcullis_http2_frames_received_total", &resets, |count| {
        (500..3000).contains(&count)
    });
}

#[test]
fn t2_resets_that_the_client_makes_us_send() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| Reply::steps([Step::Wait(held.clone())]).close());
    let site = Site::new(&origin)
        .listener("http2: { guard: { resets_sent: { rate: 1/s, burst: 20 } } }")
        .start();
    let mut client = RawH2::connect(site.addr("web"));
    for number in 0..60 {
        let stream = 1 + 2 * number;
        // The second update takes the window past 2^31-1: the stream must be reset.
        let mut bytes = RawH2::get_frame(stream, "/", "site.test");
        bytes.extend(h2_frame(
            n::WINDOW_UPDATE,
            0,
            stream,
            0x7fff_ffff_u32.to_be_bytes(),
        ));
        if !client.try_send(bytes) {
            break;
        }
    }
    client.expect_goaway(n::ENHANCE_YOUR_CALM);
    wait_refusals(&site, "h2_reset_sent_flood", |count| count == 1);
    // Nothing is left behind at the upstream.
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |count| count == 0,
    );
    gate.open();
    origin.wait_open(0);
    site.neighbour_is_well();
}

#[test]
fn t3_continuation_flood() {
    let origin = quiet_origin();
    // Nothing in any of them, and one field that goes on and on.
    let empty = vec![Vec::new(); 100];
    let endless = h2_block(&[(&b"a"[..], vec![b'v'; 200_000])]);
    let endless = endless.chunks(16_000).map(<[u8]>::to_vec).collect();
    let rows: [(&str, Vec<Vec<u8>>); 2] = [
        ("h2_continuation_flood", empty),
        ("h2_header_block_too_large", endless),
    ];
    for (reason, pieces) in rows {
        let site = Site::new(&origin).start();
        let mut client = RawH2::connect(site.addr("web"));
        let block = h2_block(&RawH2::head("GET", "/", "a"));
        let mut flood = h2_frame(n::HEADERS, n::END_STREAM, 1, block);
        for piece in pieces {
            flood.extend(h2_frame(n::CONTINUATION, 0, 1, piece));
        }
        client.try_send(flood);
        expect_ended(&site, &mut client, n::ENHANCE_YOUR_CALM, reason);
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn t3_a_header_block_that_never_ends() {
    let origin = quiet_origin();
    let site = Site::new(&origin)
        .listener("timeouts: { head: 2s }")
        .start();
    let mut client = RawH2::connect(site.addr("web"));
    client.send_frame(
        n::HEADERS,
        n::END_STREAM,
        1,
        h2_block(&RawH2::head("GET", "/", "a")),
    );
    expect_ended(&site, &mut client, n::ENHANCE_YOUR_CALM, "h2_head_timeout");
}

/// A block of one large field and references to it, a byte each.
fn bomb(references: usize) -> Vec<u8> {
    let mut block = h2_block(&RawH2::head("GET", "/", "site.test"));
    block.extend(h2_indexed_field(b"x", &[b'v'; 4000]));
    block.extend(std::iter::repeat_n(0xbe, references));
    block
}

#[test]
fn t4_field_bombs_are_refused() {
    let origin = quiet_origin();
    // What one request may be is answered; what only an attacker sends ends the connection.
    let answered = [
        ("head_too_large", bomb(8)),
        ("too_many_fields", {
            let mut block = h2_block(&RawH2::head("GET", "/", "site.test"));
            block.extend(h2_block(&[("cookie", "a"); 101]));
            block
        }),
    ];
    for (reason, block) in answered {
        let site = Site::new(&origin).start();
        let mut client = RawH2::connect(site.addr("web"));
        client.send_frame(n::HEADERS, n::END_HEADERS | n::END_STREAM, 1, block);
        assert_eq!(client.read_response(1).status, Some(431), "{reason}");
        site.wait_local_replies(reason, 1);
        client.expect_alive();
    }
    for (reason, block) in [
        ("h2_enhance_your_calm", bomb(200)),
        ("h2_too_many_fields", bomb(2000)),
    ] {
        let site = Site::new(&origin).start();
        let mut client = RawH2::connect(site.addr("web"));
        client.try_send(h2_frame(
            n::HEADERS,
            n::END_HEADERS | n::END_STREAM,
            1,
            block,
        ));
        expect_ended(&site, &mut client, n::ENHANCE_YOUR_CALM, reason);
    }
    assert_eq!(origin.requests(), 0);
}

/// What the defaults allow one connection to hold: heads, and for each of 100 streams a piece and two send buffers.
const BUDGET: u64 = (1024 + 100 * (80 + 2 * 64)) * 1024;

#[test]
fn t4_what_one_connection_holds_is_bounded() {
    let origin = Origin::http(|_| Reply::ok(vec![b'x'; 60_000]));
    let site = Site::new(&origin).start();
    let before = site.resident_bytes();
    let mut client = RawH2::connect_with(site.addr("web"), &[(n::INITIAL_WINDOW_SIZE, 0)]);
    let mut refused = 0;
    for number in 0..100 {
        let stream = 1 + 2 * number;
        client.send_frame(n::HEADERS, n::END_HEADERS | n::END_STREAM, stream, bomb(6));
        let answer = client.read_until(|frame| frame.stream == stream);
        refused += u32::from(answer.kind == n::RST_STREAM && answer.number(0) == n::REFUSED_STREAM);
    }
    assert!((50..80).contains(&refused), "{refused} refused");
    wait_refusals(&site, "h2_heads_limit", |count| count == u64::from(refused));
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < BUDGET, "{grown} bytes");
    site.neighbour_is_well();
}

#[test]
fn t4_a_dribble_does_not_hold_a_connection() {
    let origin = Origin::http(|_| Reply::ok(vec![b'x'; 60_000]));
    let site = Site::new(&origin)
        .listener("http2: { stall: { bytes: 1KiB, window: 500ms } }")
        .start();
    let mut client = RawH2::connect_with(site.addr("web"), &[(n::INITIAL_WINDOW_SIZE, 0)]);
    for stream in [1, 3, 5] {
        client.get(stream, "/", "site.test");
    }
    // A byte whenever a byte has come: always some progress, never enough.
    client.open_window(1, 1);
    let mut dribbled = 0;
    let mut goaway = None;
    while let Some(frame) = client.read_frame() {
        if frame.kind == n::DATA && frame.stream == 1 && dribbled < 200 {
            dribbled += 1;
            client.try_send(h2_frame(n::WINDOW_UPDATE, 0, 1, 1_u32.to_be_bytes()));
        }
        if frame.kind == n::GOAWAY {
            goaway = Some(frame.number(4));
        }
    }
    assert_eq!(goaway, Some(n::ENHANCE_YOUR_CALM), "after {dribbled} bytes");
    assert!(dribbled > 0);
    wait_refusals(&site, "h2_stalled", |count| count == 1);
    site.neighbour_is_well();
}

#[test]
fn t4_one_stalled_stream_is_reset_and_the_others_go_on() {
    let origin = Origin::http(|_| Reply::ok(vec![b'x'; 60_000]));
    let site = Site::new(&origin)
        .listener("http2: { stall: { bytes: 1KiB, window: 500ms } }")
        .start();
    let mut client = RawH2::connect_with(site.addr("web"), &[(n::INITIAL_WINDOW_SIZE, 0)]);
    client.get(1, "/", "site.test");
    let mut stream = 3;
    let reset = loop {
        client.get(stream, "/", "site.test");
        client.open_window(stream, 60_000).open_window(0, 60_000);
        let frame = client.read_until(|frame| {
            frame.kind == n::RST_STREAM || frame.stream == stream && frame.has(n::END_STREAM)
        });
        if frame.kind == n::RST_STREAM {
            break frame;
        }
        stream += 2;
    };
    assert_eq!((reset.stream, reset.number(0)), (1, n::CANCEL));
    wait_refusals(&site, "h2_stream_stalled", |count| count == 1);
    client.expect_alive();
    site.neighbour_is_well();
}

#[test]
fn t5_floods() {
    let origin = quiet_origin();
    let one = 1_u32.to_be_bytes();
    let post = h2_frame(
        n::HEADERS,
        n::END_HEADERS,
        1,
        h2_block(&RawH2::head("POST", "/", "site.test")),
    );
    let rows: [(&str, Vec<u8>, Vec<u8>, usize); 7] = [
        ("h2_settings_flood", Vec::new(), h2_settings(&[]), 300),
        (
            "h2_ping_flood",
            Vec::new(),
            h2_frame(n::PING, 0, 0, [0; 8]),
            300,
        ),
        (
            "h2_priority_flood",
            Vec::new(),
            h2_frame(n::PRIORITY, 0, 1, [0, 0, 0, 3, 1]),
            2000,
        ),
        (
            "h2_window_update_flood",
            Vec::new(),
            h2_frame(n::WINDOW_UPDATE, 0, 0, one),
            4000,
        ),
        (
            "h2_empty_data_flood",
            post.clone(),
            h2_frame(n::DATA, 0, 1, b""),
            1000,
        ),
        (
            "h2_tiny_data_flood",
            post,
            h2_frame(n::DATA, 0, 1, b"x"),
            3000,
        ),
        (
            "h2_unknown_flood",
            Vec::new(),
            h2_frame(0xbe, 0, 0, b"?"),
            300,
        ),
    ];
    for (reason, opening, frame, count) in rows {
        let site = Site::new(&origin)
            .listener("http2: { guard: { tiny_data: { rate: 1/s, burst: 100 } } }")
            .start();
        let mut client = RawH2::connect(site.addr("web"));
        client.send(opening);
        client.try_send(frame.repeat(count));
        expect_ended(&site, &mut client, n::ENHANCE_YOUR_CALM, reason);
    }
}

#[test]
fn t6_windows() {
    let origin = Origin::http(|_| Reply::ok(vec![b'x'; 60_000]));
    let huge = 0x7fff_ffff_u32.to_be_bytes();
    let overflow = |stream| h2_frame(n::WINDOW_UPDATE, 0, stream, huge);
    let get = RawH2::get_frame(1, "/", "site.test");
    let post = h2_frame(
        n::HEADERS,
        n::END_HEADERS,
        1,
        h2_block(&RawH2::head("POST", "/", "site.test")),
    );
    let rows: [(&str, Vec<u8>, &[u32]); 5] = [
        (
            "connection past 2^31-1",
            overflow(0),
            &[n::FLOW_CONTROL_ERROR],
        ),
        (
            "stream past 2^31-1",
            [get.clone(), overflow(1)].concat(),
            &[n::FLOW_CONTROL_ERROR],
        ),
        (
            "initial window past 2^31-1",
            h2_settings(&[(n::INITIAL_WINDOW_SIZE, 0x8000_0000)]),
            &[n::FLOW_CONTROL_ERROR, n::PROTOCOL_ERROR],
        ),
        (
            "a flip that takes an open stream past it",
            [
                h2_settings(&[(n::INITIAL_WINDOW_SIZE, 0)]),
                get,
                h2_frame(n::WINDOW_UPDATE, 0, 1, 100_u32.to_be_bytes()),
                h2_settings(&[(n::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]),
            ]
            .concat(),
            &[n::FLOW_CONTROL_ERROR],
        ),
        (
            "data past our window",
            [post, h2_frame(n::DATA, 0, 1, [b'x'; 16_384]).repeat(5)].concat(),
            &[n::FLOW_CONTROL_ERROR],
        ),
    ];
    for (name, bytes, codes) in rows {
        let site = Site::new(&origin)
            .listener("http2: { initial_window: 64KiB, connection_window: 64KiB }")
            .start();
        let mut client = RawH2::connect(site.addr("web"));
        client.try_send(bytes);
        let frame = client.read_until(|frame| matches!(frame.kind, n::GOAWAY | n::RST_STREAM));
        let code = frame.number(if frame.kind == n::GOAWAY { 4 } else { 0 });
        assert!(codes.contains(&code), "{name}: {frame:?}");
        site.neighbour_is_well();
    }
}

#[test]
fn t7_field_compression() {
    let origin = quiet_origin();
    let rows: [(&str, &[u8]); 5] = [
        ("an index that nothing has", &[0xff, 0x80, 0x01]),
        ("index 0", &[0x80]),
        ("a table larger than allowed", &[0x3f, 0xe2, 0x1f]),
        (
            "bad padding of a Huffman code",
            &[0x00, 0x81, 0x00, 0x81, 0x00],
        ),
        (
            "a number that overflows",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
    ];
    for (name, block) in rows {
        let site = Site::new(&origin).start();
        let mut client = RawH2::connect(site.addr("web"));
        client.send_frame(n::HEADERS, n::END_HEADERS | n::END_STREAM, 1, block);
        let end = client.read_end();
        // `h2` says PROTOCOL_ERROR where RFC 9113 section 4.3 asks for COMPRESSION_ERROR; the connection ends in either case.
        let code = end.goaways.last().map(|(_, code)| *code);
        assert!(
            matches!(code, Some(n::COMPRESSION_ERROR | n::PROTOCOL_ERROR)),
            "{name}: {end:?}"
        );
        site.neighbour_is_well();
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn t8_frames_where_none_may_be() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| Reply::steps([Step::Wait(held.clone())]));
    let get = |stream| RawH2::get_frame(stream, "/", "site.test");
    let data = |stream| h2_frame(n::DATA, 0, stream, b"x");
    let cancel = |stream| h2_frame(n::RST_STREAM, 0, stream, n::CANCEL.to_be_bytes());
    // `h2` ends the connection where RFC 9113 section 5.1 would have it end the stream.
    let closed = n::PROTOCOL_ERROR;
    let rows: [(&str, Vec<u8>, u32); 9] = [
        ("data on an idle stream", data(1), n::PROTOCOL_ERROR),
        ("reset of an idle stream", cancel(1), n::PROTOCOL_ERROR),
        (
            "window of an idle stream",
            h2_frame(n::WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]),
            n::PROTOCOL_ERROR,
        ),
        ("an even stream", get(2), n::PROTOCOL_ERROR),
        ("headers on the connection", get(0), n::PROTOCOL_ERROR),
        (
            "an older stream",
            [get(5), get(3)].concat(),
            n::PROTOCOL_ERROR,
        ),
        ("data behind the end", [get(1), data(1)].concat(), closed),
        (
            "a promise from a client",
            h2_frame(n::PUSH_PROMISE, n::END_HEADERS, 1, [0, 0, 0, 2]),
            n::PROTOCOL_ERROR,
        ),
        (
            "a frame too large",
            h2_frame(0xbe, 0, 0, vec![0; 20_000]),
            n::FRAME_SIZE_ERROR,
        ),
    ];
    for (name, bytes, expected) in rows {
        let site = Site::new(&origin).start();
        let mut client = RawH2::connect(site.addr("web"));
        client.try_send(bytes);
        let frame = client.read_until(|frame| matches!(frame.kind, n::GOAWAY | n::RST_STREAM));
        let code = frame.number(if frame.kind == n::GOAWAY { 4 } else { 0 });
        assert_eq!(code, expected, "{name}: {frame:?}");
        site.neighbour_is_well();
    }
    gate.open();
}

#[test]
fn t8_nothing_happens_for_a_stream_that_was_reset_at_once() {
    let origin = quiet_origin();
    let site = Site::new(&origin).start();
    let mut client = RawH2::connect(site.addr("web"));
    for number in 0..50 {
        let stream = 1 + 2 * number;
        let mut bytes = RawH2::get_frame(stream, "/", "site.test");
        bytes.extend(h2_frame(n::RST_STREAM, 0, stream, n::CANCEL.to_be_bytes()));
        // Data behind the reset is nobody's.
        bytes.extend(h2_frame(n::DATA, n::END_STREAM, stream, b"late"));
        client.send(bytes);
        client.expect_alive();
    }
    site.wait_stat(
        "portcullis_http2_streams_total",
        &[("listener", "web")],
        |count| count == 50,
    );
    let requests = site
        .stats()
        .counter("portcullis_http_requests_total", &[("listener", "web")]);
    assert_eq!(
        (origin.requests(), requests),
        (0, 2),
        "the neighbour's two and no other"
    );
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Answered(u16),
    Reset(u32),
    /// The whole connection ended.
    Ended(u32),
}

fn fate(client: &mut RawH2, stream: u32) -> Fate {
    loop {
        let frame = client.read_until(|frame| frame.stream == stream || frame.kind == n::GOAWAY);
        match frame.kind {
            n::GOAWAY => return Fate::Ended(frame.number(4)),
            n::RST_STREAM => return Fate::Reset(frame.number(0)),
            n::HEADERS => return Fate::Answered(frame.status().unwrap_or(0)),
            _ => {}
        }
    }
}

#[test]
fn t9_malformed_requests_reach_no_upstream() {
    let origin = quiet_origin();
    let site = Site::new(&origin).start();
    let get = RawH2::head("GET", "/", "site.test");
    let with = |name: &str, value: &str| {
        let mut block = h2_block(&get);
        block.extend(h2_block(&[(name, value)]));
        block
    };
    let only = |fields: &[(&str, &str)]| h2_block(fields);
    let malformed = Fate::Reset(n::PROTOCOL_ERROR);
    let broken = Fate::Ended(n::PROTOCOL_ERROR);
    let rows = [
        ("connection", with("connection", "x-user"), &malformed),
        ("keep-alive", with("keep-alive", "1"), &malformed),
        (
            "transfer-encoding",
            with("transfer-encoding", "chunked"),
            &malformed,
        ),
        ("upgrade", with("upgrade", "websocket"), &malformed),
        ("te", with("te", "gzip"), &malformed),
        ("space before a value", with("x-a", " b"), &malformed),
        ("tab behind a value", with("x-a", "b\t"), &malformed),
        (
            "length without content",
            with("content-length", "5"),
            &malformed,
        ),
        ("carriage return", with("x-a", "b\rc"), &broken),
        ("line feed", with("x-a", "b\nx-user: root"), &broken),
        ("nul", with("x-a", "b\0c"), &broken),
        ("upper case", with("X-A", "b"), &broken),
        ("colon in a name", with("x:a", "b"), &broken),
        ("space in a name", with("x a", "b"), &broken),
        ("empty name", with("", "b"), &broken),
        ("unknown pseudo-header", with(":user", "root"), &broken),
        ("two paths", with(":path", "/admin"), &malformed),
        (
            "pseudo-header behind a field",
            {
                let mut block = h2_block(&[("x-a", "b")]);
                block.extend(h2_block(&get));
                block
            },
            &malformed,
        ),
        (
            "no path",
            only(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "site.test"),
            ]),
            &malformed,
        ),
        (
            "no method",
            only(&[
                (":path", "/"),
                (":scheme", "http"),
                (":authority", "site.test"),
            ]),
            &malformed,
        ),
        (
            "no scheme",
            only(&[
                (":method", "GET"),
                (":path", "/"),
                (":authority", "site.test"),
            ]),
            &malformed,
        ),
        (
            "empty path",
            h2_block(&RawH2::head("GET", "", "site.test")),
            &malformed,
        ),
        (
            "space in the path",
            h2_block(&RawH2::head("GET", "/a HTTP/1.1", "site.test")),
            &malformed,
        ),
        (
            "line in the path",
            h2_block(&RawH2::head("GET", "/a\r\nx: y", "site.test")),
            &malformed,
        ),
        (
            "a path that is none",
            h2_block(&RawH2::head("GET", "a", "site.test")),
            &malformed,
        ),
        (
            "space in the method",
            h2_block(&RawH2::head("GET /", "/", "site.test")),
            &broken,
        ),
        (
            "host that differs",
            with("host", "other.test"),
            &Fate::Answered(400),
        ),
        (
            "user in the authority",
            h2_block(&RawH2::head("GET", "/", "me@site.test")),
            &Fate::Answered(400),
        ),
        ("status", with(":status", "200"), &malformed),
    ];
    for (name, block, expected) in rows {
        let mut client = RawH2::connect(site.addr("web"));
        client.send_frame(n::HEADERS, n::END_HEADERS | n::END_STREAM, 1, block);
        assert_eq!(&fate(&mut client, 1), expected, "{name}");
        if !matches!(expected, Fate::Ended(_)) {
            client.expect_alive();
        }
    }
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

#[test]
fn t9_content_must_be_as_long_as_stated() {
    let origin = Origin::http(|_| Reply::ok("taken"));
    let site = Site::new(&origin).start();
    let mut head = RawH2::head("POST", "/", "site.test");
    head.push(("content-length", "5"));
    let opening = h2_frame(n::HEADERS, n::END_HEADERS, 1, h2_block(&head));
    for (name, content) in [("shorter", &b"four"[..]), ("longer", b"sixsix")] {
        let mut client = RawH2::connect(site.addr("web"));
        let mut bytes = opening.clone();
        bytes.extend(h2_frame(n::DATA, n::END_STREAM, 1, content));
        client.send(bytes);
        assert_eq!(
            fate(&mut client, 1),
            Fate::Reset(n::PROTOCOL_ERROR),
            "{name}"
        );
        client.expect_alive();
    }
    assert_eq!(origin.requests(), 0, "no whole request came of it");
    site.neighbour_is_well();
}

#[test]
fn a_preface_that_goes_wrong_ends_the_connection() {
    let origin = quiet_origin();
    let site = Site::new(&origin).start();
    let mut wrong = H2_PREFACE.to_vec();
    wrong[20] = b'X';
    let rows = [
        ("the second half is another", wrong, "h2_no_preface"),
        (
            "something before SETTINGS",
            [H2_PREFACE, &h2_frame(n::PING, 0, 0, [0; 8])].concat(),
            "h2_no_preface",
        ),
    ];
    for (number, (name, bytes, reason)) in rows.into_iter().enumerate() {
        let mut client = RawH2::silent(site.addr("web"));
        client.send(bytes);
        let end = client.read_end();
        assert!(end.resets.is_empty(), "{name}: {end:?}");
        wait_refusals(&site, reason, |count| count == number as u64 + 1);
    }
    site.neighbour_is_well();
}
