//! Connections of HTTP/2 towards clients from their first byte to their last: deadlines, goodbyes, reloads.

use harness::{
    Gate, Gateway, H2_PREFACE, H2Client, Origin, RawFrame, RawH2, Reply, Signal, Step, h2_frame,
    h2_numbers as n, read_h2_response,
};

use crate::support::{Running, Site};

/// The stream that a first GOAWAY names: every one that may still be on its way.
const ALL: u32 = 0x7fff_ffff;

fn refusals(site: &Running, reason: &str) -> u64 {
    let labels = [("listener", "web"), ("reason", reason)];
    site.stats()
        .counter("portcullis_http2_refusals_total", &labels)
}

/// An origin that answers `/slow` when the gate opens, and everything else at once.
fn gated() -> (Origin, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |request| {
        if request.target == "/slow" {
            Reply::steps([
                Step::Wait(held.clone()),
                Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate"),
            ])
        } else {
            Reply::ok("quick")
        }
    });
    (origin, gate)
}

fn is_ping(frame: &RawFrame) -> bool {
    frame.kind == n::PING && !frame.has(n::ACK)
}

fn pong(client: &mut RawH2, ping: &RawFrame) {
    client.send(h2_frame(n::PING, n::ACK, 0, &ping.payload));
}

/// F8: a first GOAWAY stops new streams, a second says which was the last, and what is open is finished.
#[test]
fn f8_drain_says_goodbye_twice() {
    let (origin, gate) = gated();
    let gateway = Gateway::start(&format!(
        "drain: {{ timeout: 2m, spread: 1ms }}\nlisteners:\n  web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }}\n\
         clusters:\n  site: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    let mut client = RawH2::connect(gateway.addr("web"));
    let mut idle = RawH2::connect(gateway.addr("web"));
    idle.get(1, "/", "a");
    assert_eq!(idle.read_response(1).data, b"quick");
    client.get(1, "/slow", "a");
    gateway.wait_stat("portcullis_http_requests_active", &[], |count| count == 1);

    gateway.signal(Signal::TERM);
    let first = client.read_until(|frame| frame.kind == n::GOAWAY);
    assert_eq!((first.number(0), first.number(4)), (ALL, n::NO_ERROR));
    let ping = client.read_until(is_ping);
    // A stream that was on its way when the first GOAWAY came is still served.
    client.get(3, "/", "a");
    assert_eq!(client.read_response(3).data, b"quick");
    pong(&mut client, &ping);
    let second = client.read_until(|frame| frame.kind == n::GOAWAY);
    assert_eq!((second.number(0), second.number(4)), (3, n::NO_ERROR));
    gate.open();
    let response = client.read_response(1);
    assert_eq!(
        (response.status, response.data.as_slice()),
        (Some(200), &b"late"[..])
    );
    assert_eq!(client.read_end().resets, []);

    assert_eq!(idle.read_end().goaways, [(ALL, 0), (1, 0)]);
    let exit = gateway.wait_exit();
    assert_eq!(exit.code(), Some(0), "{:?}", exit.stderr);
}

/// F8 with a client that is a library: nothing that it asked for is lost.
#[test]
fn f8_a_library_sees_a_clean_end() {
    let (origin, gate) = gated();
    let gateway = Gateway::start(&format!(
        "drain: {{ timeout: 2m, spread: 1ms }}\nlisteners:\n  web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }}\n\
         clusters:\n  site: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    let client = H2Client::connect(gateway.addr("web"));
    let (response, _) = client
        .open(H2Client::head("GET", "/slow", "a"), true)
        .unwrap();
    origin.wait_connections(1);
    gateway.signal(Signal::TERM);
    gateway.wait_log("draining");
    gate.open();
    assert_eq!(
        client.run(read_h2_response(response)).unwrap().text(),
        "late"
    );
    client.ended().unwrap();
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn unused_connections_are_said_goodbye() {
    let (origin, _gate) = gated();
    let rows = [
        ("idle", "timeouts: { idle: 200ms }", 1),
        ("old", "timeouts: { max_connection_age: 200ms }", 1),
        ("used up", "http2: { max_requests: 1 }", 1),
        ("never used", "timeouts: { head: 2s }", 0),
    ];
    for (name, keys, requests) in rows {
        let site = Site::new(&origin).listener(keys).start();
        let mut client = RawH2::connect(site.addr("web"));
        if requests > 0 {
            client.get(1, "/", "site.test");
        }
        let end = client.read_end();
        assert_eq!(end.goaways, [(ALL, 0), (requests, 0)], "{name}");
        assert_eq!(end.resets, [], "{name}");
        assert_eq!(end.ended.len(), requests as usize, "{name}");
    }
}

#[test]
fn a_client_that_does_not_answer_a_goodbye_is_left() {
    let (origin, _gate) = gated();
    let site = Site::new(&origin)
        .listener("timeouts: { idle: 100ms }")
        .start();
    let mut client = RawH2::connect(site.addr("web"));
    client.get(1, "/", "site.test");
    let mut goaways = 0;
    while let Some(frame) = client.read_frame() {
        goaways += u32::from(frame.kind == n::GOAWAY);
    }
    assert_eq!(goaways, 2);
    site.wait_stat(
        "portcullis_http2_connections_active",
        &[("listener", "web")],
        |count| count == 0,
    );
}

#[test]
fn a_connection_that_does_not_begin_is_closed() {
    let (origin, _gate) = gated();
    let site = Site::new(&origin)
        .listener("timeouts: { head: 2s }")
        .start();
    let (most, _) = H2_PREFACE.split_at(20);
    let mut client = RawH2::silent(site.addr("web"));
    client.send(most);
    client.read_ending();
    assert_eq!(refusals(&site, "h2_head_timeout"), 1);
    // What may still be HTTP/1 is answered as such.
    let mut client = site.client();
    client.send("PRI * HT");
    assert_eq!(client.read_response().status, 408);
    site.neighbour_is_well();
}

#[test]
fn more_streams_than_allowed_are_refused_and_may_come_again() {
    let (origin, gate) = gated();
    let site = Site::new(&origin)
        .listener("http2: { max_streams: 2 }")
        .start();
    let mut client = RawH2::connect(site.addr("web"));
    for stream in [1, 3, 5] {
        client.get(stream, "/slow", "site.test");
    }
    let refused = client.read_until(|frame| frame.stream != 0);
    assert_eq!(
        (refused.kind, refused.stream, refused.number(0)),
        (n::RST_STREAM, 5, n::REFUSED_STREAM)
    );
    gate.open();
    for stream in [1, 3] {
        client.read_until(|frame| frame.stream != 0 && frame.has(n::END_STREAM));
        let _ = stream;
    }
    client.get(7, "/", "site.test");
    assert_eq!(client.read_response(7).data, b"quick");
}

#[test]
fn a_silent_client_is_asked_whether_it_is_there() {
    let (origin, gate) = gated();
    let asking = "http2: { keep_alive: { interval: 100ms, timeout: 400ms } }";
    let site = Site::new(&origin).listener(asking).start();
    let mut present = RawH2::connect(site.addr("web"));
    present.get(1, "/slow", "site.test");
    for _ in 0..3 {
        let ping = present.read_until(is_ping);
        pong(&mut present, &ping);
    }
    assert_eq!(refusals(&site, "h2_keep_alive_timeout"), 0);
    drop(present);
    let mut absent = RawH2::connect(site.addr("web"));
    absent.get(1, "/slow", "site.test");
    absent.read_until(is_ping);
    let goodbye = absent.read_until(|frame| frame.kind == n::GOAWAY);
    assert_eq!(goodbye.number(4), n::NO_ERROR);
    absent.read_ending();
    assert_eq!(refusals(&site, "h2_keep_alive_timeout"), 1);
    gate.open();
    site.neighbour_is_well();
}

#[test]
fn a_client_that_goes_takes_its_requests_with_it() {
    let (origin, gate) = gated();
    let site = Site::new(&origin).start();
    for ending in ["close", "reset"] {
        let mut client = RawH2::connect(site.addr("web"));
        for stream in [1, 3, 5] {
            client.get(stream, "/slow", "site.test");
        }
        let active = [("listener", "web")];
        site.wait_stat("portcullis_http_requests_active", &active, |count| {
            count == 3
        });
        if ending == "reset" {
            client.connection().reset();
        }
        drop(client);
        site.wait_stat("portcullis_http_requests_active", &active, |count| {
            count == 0
        });
        site.wait_stat("portcullis_http2_streams_active", &active, |count| {
            count == 0
        });
        site.wait_stat("portcullis_http2_connections_active", &active, |count| {
            count == 0
        });
    }
    gate.open();
    origin.wait_open(0);
    site.neighbour_is_well();
}

#[test]
fn a_reload_reaches_connections_that_stay_open() {
    let origin = Origin::http(|_| Reply::ok("one"));
    let other = Origin::http(|_| Reply::ok("two"));
    let first = Site::new(&origin);
    let site = first.start();
    let client = H2Client::connect(site.addr("web"));
    assert_eq!(client.get("/", "site.test").text(), "one");
    let response = site.reload(
        &Site::new(&origin)
            .clusters(&format!(
                "other: {{ endpoints: [\"{}\"] }}",
                other.address()
            ))
            .routes("- cluster: other")
            .yaml(&site.beside),
    );
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(client.get("/", "site.test").text(), "two");
    let labels = [("listener", "web"), ("version", "http2")];
    assert_eq!(
        site.stats()
            .counter("portcullis_http_connections_total", &labels),
        1
    );
}

#[test]
fn mistakes_in_the_block_have_places() {
    let origin = Origin::http(|_| Reply::ok("never"));
    let rows = [
        (
            "http2: { max_stream: 3 }",
            "unknown key 'max_stream', did you mean 'max_streams'?",
        ),
        (
            "http2: { initial_window: 1KiB }",
            "http2.initial_window is out of range",
        ),
        (
            "http2: { guard: { max_frame: 1KiB } }",
            "http2.guard.max_frame is out of range",
        ),
        ("http2: { guard: { ping: { rate: 5/s } } }", "burst"),
        ("http2: { max_streams: 0 }", "max_streams"),
    ];
    for (keys, expected) in rows {
        let exit = Gateway::run(&Site::new(&origin).listener(keys).yaml(&origin));
        assert_eq!(exit.code(), Some(78), "{keys}");
        let printed = exit.stderr.join("\n");
        assert!(printed.contains(expected), "{keys}: {printed}");
    }
}

/// A client that reads slowly gets the last of what it asked for: nothing is being served any more, but it is still on its
/// way when the connection is to end.
#[test]
fn a_slow_reader_gets_everything_before_the_end() {
    const STREAMS: u32 = 24;
    const LENGTH: usize = 1 << 20;
    let origin = Origin::http(|_| Reply::ok(vec![b'x'; LENGTH]));
    let http2 = format!("http2: {{ send_buffer: 2MiB, max_requests: {STREAMS} }}");
    let site = Site::new(&origin).listener(&http2).start();
    let windows = [(n::INITIAL_WINDOW_SIZE, 1 << 30)];
    let mut client = RawH2::connect_with(site.addr("web"), &windows);
    client.open_window(0, 1 << 30);
    for number in 0..STREAMS {
        client.get(1 + 2 * number, "/", "a");
    }
    // All of it is in the gateway, more than the kernel takes.
    let done = [("listener", "web"), ("code_class", "2xx")];
    site.wait_stat("portcullis_http_responses_total", &done, |count| {
        count >= u64::from(STREAMS)
    });
    let mut read = vec![0; STREAMS as usize];
    let mut ended = 0;
    let mut frames = 0;
    while ended < STREAMS {
        let frame = client.read_frame().expect("everything before the end");
        match frame.kind {
            n::PING if !frame.has(n::ACK) => pong(&mut client, &frame),
            n::DATA => {
                read[(frame.stream / 2) as usize] += frame.payload.len();
                ended += u32::from(frame.has(n::END_STREAM));
                frames += 1;
                // Longer in all than a peer that does not answer is waited for.
                if frames <= 8 {
                    std::thread::park_timeout(std::time::Duration::from_secs(1));
                }
            }
            _ => assert_ne!(frame.kind, n::RST_STREAM),
        }
    }
    assert!(read.iter().all(|&read| read == LENGTH), "{read:?}");
    site.neighbour_is_well();
}
