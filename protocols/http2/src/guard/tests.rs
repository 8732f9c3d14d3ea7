//! Tables for each budget and bound, and the rules that hold between them.

mod blocks;
mod budgets;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_config::{ByteSize, Diagnostics, Source, load};
use portcullis_testkit::VirtualClock;

use super::*;
use crate::encoder::encode_header;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A frame, whether it makes sense or not.
fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let header = FrameHeader {
        length: payload.len() as u32,
        kind: FrameKind::from_number(kind),
        flags,
        stream: StreamId::new(stream),
    };
    encode_header(&header, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes.to_vec()
}

fn start() -> Instant {
    VirtualClock::new().now()
}

/// A guard past the beginning of the connection.
fn greeted(role: Role, limits: &GuardLimits, now: Instant) -> Guard {
    let mut guard = Guard::new(role, limits, now);
    if role == Role::Server {
        guard.handle_received(now, PREFACE).unwrap();
    } else {
        guard.handle_sent(now, PREFACE).unwrap();
    }
    guard
        .handle_received(now, &raw(SETTINGS, 0, 0, b""))
        .unwrap();
    guard.take_frames();
    guard
}

/// Budgets of three at once and one per second, and no credit but what is earned.
fn small() -> GuardLimits {
    let three = BudgetConfig {
        rate: portcullis_config::Rate::per_second(1),
        burst: 3,
    };
    GuardLimits {
        max_frame: ByteSize::kib(16),
        header_block: ByteSize(20),
        header_fields: 5,
        continuations: 2,
        resets_received: three,
        resets_sent: three,
        settings: BudgetConfig { burst: 4, ..three },
        settings_entries: 2,
        ping: three,
        priority: three,
        window_update: three,
        empty_data: three,
        tiny_data: three,
        tiny: ByteSize(8),
        goaway: three,
        unknown: three,
    }
}

/// Sends `frame` until it is refused: how often it was taken, and why not more often.
fn until_refused(guard: &mut Guard, now: Instant, frame: &[u8]) -> (usize, Option<GuardError>) {
    for taken in 0..100 {
        if let Err(error) = guard.handle_received(now, frame) {
            return (taken, Some(error));
        }
    }
    (100, None)
}

/// The bytes that a connection with us in this role begins with.
type Beginning<'a> = (&'a str, Role, Vec<u8>, Result<(), GuardError>);

#[test]
fn connections_begin_with_the_preface_and_settings() {
    let no_preface = Err(GuardError::NoPreface);
    let with_preface = |frame: Vec<u8>| [&PREFACE[..], &frame].concat();
    let settings = raw(SETTINGS, 0, 0, b"");
    let rows: &[Beginning<'_>] = &[
        ("nothing yet", Role::Server, Vec::new(), Ok(())),
        ("a part of it", Role::Server, PREFACE[..9].to_vec(), Ok(())),
        ("all", Role::Server, with_preface(settings.clone()), Ok(())),
        (
            "HTTP/1",
            Role::Server,
            b"GET / HTTP/1.1\r\n".to_vec(),
            no_preface,
        ),
        (
            "the end differs",
            Role::Server,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r ".to_vec(),
            no_preface,
        ),
        (
            "PING first",
            Role::Server,
            with_preface(raw(PING, 0, 0, &[0; 8])),
            no_preface,
        ),
        (
            "an answer first",
            Role::Server,
            with_preface(raw(SETTINGS, 1, 0, b"")),
            no_preface,
        ),
        ("a server sends none", Role::Client, settings, Ok(())),
        (
            "a server of HTTP/1",
            Role::Client,
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            no_preface,
        ),
    ];
    let now = start();
    for (name, role, bytes, expected) in rows {
        let mut whole = Guard::new(*role, &small(), now);
        assert_eq!(whole.handle_received(now, bytes), *expected, "{name}");
        let mut pieces = Guard::new(*role, &small(), now);
        let result = bytes
            .chunks(1)
            .try_for_each(|piece| pieces.handle_received(now, piece));
        assert_eq!(result, *expected, "{name}, byte by byte");
    }
}

#[test]
fn what_passed_is_counted() {
    let now = start();
    let mut guard = greeted(Role::Server, &GuardLimits::default(), now);
    let padded = raw(DATA, 8, 1, &[3, b'a', b'b', 0, 0, 0]);
    let bytes = [raw(HEADERS, 4, 1, b"\x82"), padded, raw(0x77, 0, 1, b"")].concat();
    guard.handle_received(now, &bytes).unwrap();
    guard.handle_sent(now, &raw(DATA, 1, 1, &[0; 500])).unwrap();
    assert!(!guard.has_sent_goaway());
    guard.handle_sent(now, &raw(GOAWAY, 0, 0, &[0; 8])).unwrap();
    assert!(guard.has_sent_goaway());
    let progress = Progress {
        received: 2,
        sent: 500,
    };
    assert_eq!(guard.streams_progress(), progress);
    let counts = guard.take_frames();
    assert_eq!(counts.total(), 3);
    for kind in [FrameKind::Headers, FrameKind::Data, FrameKind::Unknown(1)] {
        assert_eq!(counts.received(kind), 1, "{kind:?}");
    }
    assert_eq!(counts.iter().filter(|(_, count)| *count > 0).count(), 3);
    assert_eq!(guard.frames().total(), 0);
}

#[test]
fn labels_differ() {
    let labels: BTreeSet<_> = GuardError::ALL.iter().map(|error| error.label()).collect();
    assert_eq!(labels.len(), GuardError::ALL.len());
    assert!(labels.iter().all(|label| label.starts_with("h2_")));
}

#[test]
fn limits_are_read_from_configuration() {
    let read = |text: &str| -> Option<GuardLimits> {
        let source = Source::new("test.yaml", text);
        let mut diagnostics = Diagnostics::new(&source);
        let node = load(&source, &|_| None, &mut diagnostics)?;
        node.read(&mut diagnostics)
    };
    let limits = read("{ ping: { rate: 5/m, burst: 2 }, max_frame: 1MiB, tiny: 0 }").unwrap();
    assert_eq!(limits.max_frame_bytes(), 1 << 20);
    assert_eq!(
        (limits.ping.rate.to_string(), limits.ping.burst),
        ("5/m".to_owned(), 2)
    );
    assert_eq!(limits.settings, GuardLimits::default().settings);
    for wrong in [
        "{ pings: 5 }",
        "{ ping: { rate: 5/m } }",
        "{ ping: { rate: 0/m, burst: 1 } }",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
    for (configured, expected) in [("1", 16_384), ("16MiB", 16_777_215), ("16KiB", 16_384)] {
        let limits = read(&format!("{{ max_frame: {configured} }}")).unwrap();
        assert_eq!(limits.max_frame_bytes(), expected, "{configured}");
    }
}
