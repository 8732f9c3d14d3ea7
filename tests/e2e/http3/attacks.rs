//! Attacks on HTTP/3 by clients: each ends its own connection at most, is counted, and others notice nothing.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use harness::{
    Gate, H3Client, Origin, RawH3, Reply, Step, h3_frame, h3_get, h3_number, quic_config,
};
use quinn::{TransportConfig, VarInt};

use super::{client, others_are_well, site};
use crate::support::noise;
use crate::tls::Running;

const FRAME_UNEXPECTED: u64 = 0x105;
const EXCESSIVE_LOAD: u64 = 0x107;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const STREAM_CREATION_ERROR: u64 = 0x103;
const MISSING_SETTINGS: u64 = 0x10a;
const FRAME_ERROR: u64 = 0x106;
const DECOMPRESSION_FAILED: u64 = 0x200;

const REFUSALS: &str = "portcullis_http3_refusals_total";

fn well() -> Origin {
    Origin::http(|_| Reply::ok("well"))
}

fn raw(site: &Running) -> RawH3 {
    RawH3::connect(site.addr("web"), &site.plain(), "a.test")
}

#[track_caller]
fn wait_refused(site: &Running, reason: &str) {
    let labels = [("listener", "web"), ("reason", reason)];
    site.wait_stat(REFUSALS, &labels, |count| count > 0);
}

/// Q6: what breaks the rules of frames, streams and QPACK ends the connection, with the code that says why.
#[test]
fn q6_broken_rules_end_the_connection() {
    type Attack = fn(&mut RawH3);
    let rows: [(&str, Attack, u64, &str); 12] = [
        (
            "a head of any length",
            |raw| drop(raw.request(&[h3_number(1), h3_number(1 << 60)].concat(), false)),
            EXCESSIVE_LOAD,
            "h3_field_section_too_large",
        ),
        (
            "a frame of any length",
            |raw| drop(raw.request(&[h3_number(0x21), h3_number(1 << 60)].concat(), false)),
            EXCESSIVE_LOAD,
            "h3_frame_too_large",
        ),
        (
            "settings of any length",
            |raw| assert!(raw.say(&[h3_number(0x21), h3_number(1 << 40)].concat())),
            EXCESSIVE_LOAD,
            "h3_frame_too_large",
        ),
        (
            "data without a head",
            |raw| drop(raw.request(&h3_frame(0, b"x"), false)),
            FRAME_UNEXPECTED,
            "h3_frame_unexpected",
        ),
        (
            "settings with a request",
            |raw| drop(raw.request(&[h3_get("/"), h3_frame(4, b"")].concat(), false)),
            FRAME_UNEXPECTED,
            "h3_frame_unexpected",
        ),
        (
            "a request cut in a frame",
            |raw| drop(raw.request(&[h3_get("/"), vec![0, 10, 1]].concat(), true)),
            FRAME_ERROR,
            "h3_frame_error",
        ),
        (
            "the control stream closed",
            |raw| raw.control().finish().unwrap(),
            CLOSED_CRITICAL_STREAM,
            "h3_closed_critical_stream",
        ),
        (
            "the control stream reset",
            |raw| {
                // One that was not read yet was never there.
                let (_send, mut receive) = raw.request(&h3_get("/"), true).unwrap();
                raw.run(receive.read_to_end(1000)).unwrap();
                raw.control().reset(VarInt::from_u32(0)).unwrap();
            },
            CLOSED_CRITICAL_STREAM,
            "h3_closed_critical_stream",
        ),
        (
            "two control streams",
            |raw| std::mem::forget(raw.open(&[0, 4, 0])),
            STREAM_CREATION_ERROR,
            "h3_stream_creation_error",
        ),
        (
            "two SETTINGS",
            |raw| assert!(raw.say(&[4, 0])),
            FRAME_UNEXPECTED,
            "h3_frame_unexpected",
        ),
        (
            "a field of a table that nobody filled",
            |raw| drop(raw.request(&h3_frame(1, [2, 0, 0x80]), true)),
            DECOMPRESSION_FAILED,
            "h3_qpack_decompression_failed",
        ),
        (
            "an index out of the table",
            |raw| drop(raw.request(&h3_frame(1, [0, 0, 0xff, 0xff, 0x7f]), true)),
            DECOMPRESSION_FAILED,
            "h3_qpack_decompression_failed",
        ),
    ];
    let site = site("true", well());
    for (name, attack, code, reason) in rows {
        let mut raw = raw(&site);
        attack(&mut raw);
        assert_eq!(raw.code(), Some(code), "{name}");
        wait_refused(&site, reason);
    }
    others_are_well(&site);
}

#[test]
fn q6_settings_come_first() {
    let site = site("true", well());
    let client = client(&site);
    let quic = client.quic();
    client.run(async {
        // The client's own control stream is one too many then; what counts is that the connection ends.
        let mut stream = quic.open_uni().await.unwrap();
        stream.write_all(&[0, 7, 1, 0]).await.unwrap();
        quic.closed().await
    });
    let mut raw = raw(&site);
    assert!(
        raw.say(&h3_frame(0xf0700, b"\0u=1")),
        "priority is no error"
    );
    let (_send, mut receive) = raw.request(&h3_get("/"), true).unwrap();
    assert!(
        raw.run(receive.read_to_end(1000))
            .unwrap()
            .ends_with(b"well")
    );
    let _ = MISSING_SETTINGS;
    others_are_well(&site);
}

/// Q6: one byte stands for a field of some size, thousands of times.
#[test]
fn q6_a_bomb_of_fields_is_answered_and_not_held() {
    let site = site("true", well());
    let raw = raw(&site);
    let before = site.resident_bytes();
    // Number 98 of the static table, `x-frame-options: sameorigin`, which costs 57 bytes.
    let bomb = [&[0, 0][..], &[0xff, 35].repeat(30_000)].concat();
    for _ in 0..20 {
        let (_send, mut receive) = raw.request(&h3_frame(1, &bomb), true).unwrap();
        let answer = raw.run(receive.read_to_end(1000)).unwrap();
        assert!(!answer.is_empty(), "431");
    }
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 30_000_000, "{grown}");
    let labels = [("listener", "web"), ("reason", "head_too_large")];
    site.wait_stat("portcullis_http_local_replies_total", &labels, |count| {
        count == 20
    });
    others_are_well(&site);
}

/// T5 and its like: frames and streams that cost something and ask for nothing have budgets.
#[test]
fn q6_floods_end_the_connection() {
    type Attack = fn(&mut RawH3);
    let rows: [(&str, Attack, &str); 6] = [
        (
            "frames on the control stream",
            |raw| {
                for _ in 0..2000 {
                    if !raw.say(&h3_frame(0x21, b"x").repeat(10)) {
                        return;
                    }
                }
            },
            "h3_control_flood",
        ),
        (
            "unknown frames",
            |raw| {
                let flood = h3_frame(0x21, b"").repeat(20_000);
                drop(raw.request(&flood, false));
            },
            "h3_control_flood",
        ),
        (
            "empty data",
            |raw| {
                let flood = [h3_get("/held"), h3_frame(0, b"").repeat(20_000)].concat();
                drop(raw.request(&flood, false));
            },
            "h3_empty_data_flood",
        ),
        (
            "tiny data",
            |raw| {
                let flood = [h3_get("/held"), h3_frame(0, b"x").repeat(2000)].concat();
                drop(raw.request(&flood, false));
            },
            "h3_tiny_data_flood",
        ),
        (
            "unidirectional streams",
            |raw| {
                for _ in 0..200 {
                    let Some(mut stream) = raw.open(&[0x21, 1]) else {
                        return;
                    };
                    let _ = stream.finish();
                }
            },
            "h3_stream_flood",
        ),
        (
            "requests given up",
            |raw| {
                for _ in 0..3000 {
                    let Some((mut send, mut receive)) = raw.request(&h3_get("/held"), false) else {
                        return;
                    };
                    let _ = send.reset(VarInt::from_u32(0x10c));
                    let _ = receive.stop(VarInt::from_u32(0x10c));
                }
            },
            "h3_reset_flood",
        ),
    ];
    let gate = Gate::new();
    let origin = Origin::http(move |request| {
        if request.target == "/held" {
            Reply::steps([Step::Wait(gate.clone())])
        } else {
            Reply::ok("well")
        }
    });
    let few = "{ guard: { tiny_data: { rate: 1/s, burst: 100 } } }";
    let site = site(few, origin);
    for (name, attack, reason) in rows {
        let mut raw = raw(&site);
        attack(&mut raw);
        assert_eq!(raw.code(), Some(EXCESSIVE_LOAD), "{name}");
        wait_refused(&site, reason);
        others_are_well(&site);
    }
}

/// T4: a client that takes a byte now and then does not hold what waits for it.
#[test]
fn t4_drips_do_not_keep_a_response() {
    let origin = Origin::http(|request| {
        Reply::ok(if request.target == "/large" {
            noise(4_000_000)
        } else {
            b"well".to_vec()
        })
    });
    let site = site("{ stall: { bytes: 4KiB, window: 500ms } }", origin);
    let mut config = quic_config(&site.plain());
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(2000));
    config.transport_config(Arc::new(transport));
    let client = H3Client::connect_with(site.addr("web"), config, "a.test").unwrap();
    let mut sender = client.sender();
    client.run(async {
        let request = H3Client::head("GET", "/large", "a.test");
        let mut stream = sender.send_request(request).await.unwrap();
        stream.finish().await.unwrap();
        stream.recv_response().await.unwrap();
        // It reads on only when the connection has ended.
        client.quic().closed().await
    });
    wait_refused(&site, "h3_stalled");
    let active = "portcullis_http3_streams_active";
    site.wait_stat(active, &[("listener", "web")], |count| count == 0);
    others_are_well(&site);
}

/// Between a client and the gateway: datagrams pass, or not.
struct Path {
    address: SocketAddr,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
}

impl Path {
    /// `pass` says of each datagram whether it gets through, by whether it goes up and by its length.
    fn to(target: SocketAddr, pass: impl Fn(bool, usize) -> bool + Send + Sync + 'static) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.connect(target).unwrap();
        let address = near.local_addr().unwrap();
        let (up, down) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let client = Arc::new(Mutex::new(None));
        let pass = Arc::new(pass);
        let sockets = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let (counter, known, allowed) = (Arc::clone(&up), Arc::clone(&client), Arc::clone(&pass));
        thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok((length, from)) = sockets.0.recv_from(&mut buffer) {
                *known.lock().unwrap() = Some(from);
                if allowed(true, length) {
                    counter.fetch_add(length as u64, Ordering::Relaxed);
                    let _ = sockets.1.send(&buffer[..length]);
                }
            }
        });
        let counter = Arc::clone(&down);
        thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok(length) = far.recv(&mut buffer) {
                counter.fetch_add(length as u64, Ordering::Relaxed);
                if let Some(to) = *client.lock().unwrap()
                    && pass(false, length)
                {
                    let _ = near.send_to(&buffer[..length], to);
                }
            }
        });
        Self { address, up, down }
    }
}

/// Q1: whoever sends in the name of another makes that one hear three times as much at most.
#[test]
fn q1_an_address_that_was_not_shown_gets_little() {
    let site = site("{ retry: never }", well());
    let count = AtomicU64::new(0);
    // The first datagrams get through, and never an answer to what comes back.
    let path = Path::to(site.addr("web"), move |is_up, _| {
        is_up && count.fetch_add(1, Ordering::Relaxed) < 2
    });
    let mut config = quic_config(&site.plain());
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(Duration::from_secs(4).try_into().unwrap()));
    config.transport_config(Arc::new(transport));
    H3Client::connect_with(path.address, config, "a.test").unwrap_err();
    let (up, down) = (
        path.up.load(Ordering::Relaxed),
        path.down.load(Ordering::Relaxed),
    );
    assert!(down > 0 && down <= 3 * up, "{up} up, {down} down");
    others_are_well(&site);
}

/// Q10: a path that swallows large datagrams without a word.
#[test]
fn q10_a_path_that_swallows_large_datagrams() {
    let body = noise(400_000);
    let sent = body.clone();
    let site = site("true", Origin::http(move |_| Reply::ok(&sent)));
    let path = Path::to(site.addr("web"), |_, length| length <= 1250);
    let client = H3Client::connect(path.address, &site.plain(), "a.test").unwrap();
    assert!(client.get("/", "a.test").body == body);
    let up = client.exchange(H3Client::head("POST", "/", "a.test"), Some(&body));
    assert!(up.unwrap().body == body);
}

/// Q2, Q8: datagrams that are none of QUIC, and those that only look so, get no answer that is larger, and leave nothing behind.
#[test]
fn q8_nothing_answers_with_more_than_came() {
    let site = site("true", well());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(site.addr("web")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let before = site.resident_bytes();
    let garbage = noise(70_000);
    let long = |version: u32, kind: u8, length: usize| {
        let mut datagram = vec![0xc0 | kind];
        datagram.extend(version.to_be_bytes());
        datagram.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9]);
        datagram.extend(&garbage[..length - datagram.len()]);
        datagram
    };
    let short = |length: usize| [&[0x41][..], &garbage[..length - 1]].concat();
    let rows = [
        ("nothing", Vec::new()),
        ("one byte", vec![0x40]),
        ("another version", long(0x1a2a_3a4a, 0, 1200)),
        ("another version, short", long(0x1a2a_3a4a, 0, 100)),
        ("version negotiation", long(0, 0, 1200)),
        ("an Initial that is none", long(1, 0, 1200)),
        ("a short Initial", long(1, 0, 600)),
        ("a handshake of nobody", long(1, 0x20, 1200)),
        ("early data of nobody", long(1, 0x10, 1200)),
        ("a retry", long(1, 0x30, 1200)),
        ("an unknown connection", short(60)),
        ("one that looks like a reset", short(21)),
        ("large", short(1400)),
    ];
    let mut buffer = [0; 2000];
    for _ in 0..50 {
        for (name, datagram) in &rows {
            let _ = socket.send(datagram);
            if let Ok(length) = socket.recv(&mut buffer) {
                assert!(length <= datagram.len(), "{name}: {length}");
            }
        }
    }
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 10_000_000, "{grown}");
    others_are_well(&site);
}
