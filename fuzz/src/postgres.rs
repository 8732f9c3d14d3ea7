//! Postgres: the laws of the codec, and agreement with another implementation.
//!
//! An input is raw wire bytes, and where it is cut follows from its own hash, so that a seed is a stream that was written
//! down in a vector. Start at [`frontend_decode`]; the comparison with postgres-protocol is in
//! [`diff`], conversations of several clients are in [`session`].

mod diff;
#[path = "../../protocols/postgres/tests/round/mod.rs"]
mod round;
mod session;
#[path = "../../protocols/postgres/tests/relay/sim/mod.rs"]
mod sim;
#[path = "../../protocols/postgres/tests/support/mod.rs"]
mod support;

use bytes::BytesMut;
use portcullis_codec::Decoder;
use portcullis_postgres::frame::{Frame, FrameScanner, HEADER, Side};
use portcullis_postgres::limits::{FrameLimits, LARGEST, StartupLimits};
use portcullis_postgres::message::replication::{FromServer, FromStandby};
use portcullis_postgres::message::{backend, frontend};
use portcullis_postgres::startup::{EncryptionReply, Startup, StartupDecoder};
use portcullis_testkit::{Random, laws};
use support::{Event, Messages, merged};

pub use diff::{ACCEPTED, REFUSED, diff};
pub use session::session;

/// Limits small enough for a fuzzer to find their edges.
const SMALL: FrameLimits = FrameLimits {
    whole: 24,
    largest: 64,
    authentication: 32,
    batch: true,
};
const SMALL_START: StartupLimits = StartupLimits {
    bytes: 64,
    parameters: 3,
};

/// What a client sends: packets, messages, and messages behind packets. Every split agrees, limits hold, and what can be
/// read can be walked.
pub fn frontend_decode(data: &[u8]) {
    let mut random = Random::from_seed(hash(data));
    for limits in [StartupLimits::default(), SMALL_START] {
        let longest = 1 + random.below(64);
        let pieces = random.pieces(data, longest);
        let make = || StartupDecoder::new(limits);
        let seen = laws::split_agrees(make, pieces, laws::plain);
        for packet in &seen.items {
            check_packet(packet, &limits);
        }
    }
    messages(data, Side::Frontend, &mut random);
    messages(behind_startup(data), Side::Frontend, &mut random);
}

/// What a server sends: an answer to a request for encryption, or messages.
pub fn backend_decode(data: &[u8]) {
    let mut random = Random::from_seed(hash(data));
    if let Ok(Some(EncryptionReply::Accepted)) = EncryptionReply::read(data) {
        assert_eq!(data.len(), 1, "bytes before the handshake");
    }
    messages(data, Side::Backend, &mut random);
}

fn check_packet(packet: &Startup, limits: &StartupLimits) {
    match packet {
        Startup::Cancel { key, .. } => assert!((4..=256).contains(&key.len())),
        Startup::Start {
            version,
            parameters,
        } => {
            assert_eq!(version.major, 3);
            assert!(parameters.count() <= limits.parameters);
            let bytes = |(name, value): (&[u8], &[u8])| name.len() + value.len() + 2;
            let bytes: usize = parameters.iter().map(bytes).sum();
            assert!(bytes + 9 <= limits.bytes);
        }
        Startup::SslRequest | Startup::GssEncRequest => {}
    }
}

fn behind_startup(data: &[u8]) -> &[u8] {
    let mut src = BytesMut::from(data);
    let mut decoder = StartupDecoder::new(StartupLimits::default());
    loop {
        match decoder.decode(&mut src) {
            Ok(Some(Startup::Start { .. })) => return &data[data.len() - src.len()..],
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return &[],
        }
    }
}

fn messages(data: &[u8], side: Side, random: &mut Random) {
    let mut batched = None;
    for batch in [false, true] {
        for limits in [FrameLimits::default(), SMALL] {
            let limits = FrameLimits { batch, ..limits };
            let longest = 1 + random.below(64);
            let pieces = random.pieces(data, longest);
            let seen = laws::split_agrees(|| Messages::new(side, limits), pieces, merged);
            for event in &seen.items {
                check_event(event, side, &limits);
            }
            if limits.whole == SMALL.whole {
                let before = batched.get_or_insert_with(|| seen.clone());
                assert_eq!(*before, seen, "runs change what is seen");
            }
        }
    }
}

fn check_event(event: &Event, side: Side, limits: &FrameLimits) {
    match event {
        Event::Large {
            tag, total, bytes, ..
        } => {
            assert!(tag.may_stream(side), "{tag:?} in parts");
            assert!(*total > limits.whole as u64, "{total} in parts");
            assert!(bytes.len() >= limits.whole);
            assert!(*total <= u64::from(LARGEST) + 1);
            if side == Side::Backend {
                let front = backend::ErrorFields::of_front(&bytes[HEADER..]);
                assert!(front.iter().all(|(kind, _)| kind != 0));
            }
        }
        Event::Message(tag, bytes) => {
            if tag.may_stream(side) {
                assert!(bytes.len() <= limits.whole, "{tag:?} was to be in parts");
            }
            let body = &bytes[HEADER..];
            match side {
                Side::Frontend => walk_frontend(frontend::Message::parse(*tag, body).ok()),
                Side::Backend => walk_backend(backend::Message::parse(*tag, body).ok(), body),
            }
        }
    }
}

/// Lists have as many items as they say.
fn walk_frontend(message: Option<frontend::Message<'_>>) {
    use frontend::Message as M;
    match message {
        Some(M::Bind(bind)) => {
            assert_eq!(bind.parameters.iter().count(), bind.parameters.len());
            assert_eq!(bind.formats.iter().count(), bind.formats.len());
        }
        Some(M::FunctionCall(call)) => {
            assert_eq!(call.arguments.iter().count(), call.arguments.len());
        }
        Some(M::CopyData(copy)) => {
            let _ = FromStandby::parse(copy.data);
        }
        _ => {}
    }
}

fn walk_backend(message: Option<backend::Message<'_>>, body: &[u8]) {
    use backend::Message as M;
    match message {
        Some(M::DataRow(row)) => assert_eq!(row.values.iter().count(), row.values.len()),
        Some(M::RowDescription(row)) => assert_eq!(row.fields.iter().count(), row.fields.len()),
        Some(M::ErrorResponse(fields) | M::NoticeResponse(fields)) => {
            assert_eq!(backend::ErrorFields::of_front(body), fields);
            let _ = (fields.sqlstate(), fields.is_fatal());
        }
        Some(M::CommandComplete(done)) => {
            assert!(done.tag.starts_with(done.verb()));
            let _ = done.rows();
        }
        Some(M::CopyData(copy)) => {
            let _ = FromServer::parse(copy.data);
        }
        _ => {}
    }
}

/// What can be read is written again, byte for byte: packets, each message of a stream, and the whole input as one body
/// behind its type.
pub fn roundtrip(data: &[u8]) {
    round::startup(data);
    if let Some((&tag, body)) = data.split_first() {
        round::frontend(tag, body);
        round::backend(tag, body);
    }
    for side in [Side::Frontend, Side::Backend] {
        let mut scanner = FrameScanner::new(side, whole());
        let mut rest = data;
        while let Ok(Some(Frame::Whole { tag, len })) = scanner.next(rest) {
            let (message, behind) = rest.split_at(len);
            match side {
                Side::Frontend => round::frontend(tag.0, &message[HEADER..]),
                Side::Backend => round::backend(tag.0, &message[HEADER..]),
            };
            rest = behind;
        }
    }
}

/// Every message whole, however large.
fn whole() -> FrameLimits {
    FrameLimits {
        whole: usize::MAX,
        ..FrameLimits::default()
    }
}

/// FNV-1a: where to cut is decided by the input alone.
fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
