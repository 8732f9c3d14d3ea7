//! The cases in `tests/vectors/`: bytes on the left, what the codec says about them on the right.
//!
//! Options of a case: `whole=`, `largest=` and `authentication=` set limits of frames, `bytes=` and `parameters=` those of
//! start-up packets; `batch` asks for runs of rows; `reply` reads a server's answer to a request for encryption; `standby`
//! and `wal` read what CopyData carries in replication. Every case is split everywhere. `PORTCULLIS_BLESS=1` rewrites what
//! is expected.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails loudly

mod support;
mod words;

use std::fmt::Write as _;

use portcullis_codec::WireError as _;
use portcullis_postgres::frame::Side;
use portcullis_postgres::limits::{FrameLimits, StartupLimits};
use portcullis_postgres::startup::{EncryptionReply, Startup, StartupDecoder};
use portcullis_testkit::{laws, vectors};
use support::{Messages, merged};
use vectors::Vector;

fn file(name: &str) -> String {
    format!("{}/tests/vectors/{name}.md", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn startup() {
    vectors::check_file(file("startup"), |vector| {
        if vector.has("reply") {
            return match EncryptionReply::read(&vector.input) {
                Ok(reply) => format!("{reply:?}\n"),
                Err(error) => format!("error: {}\n", error.label()),
            };
        }
        let default = StartupLimits::default();
        let limits = StartupLimits {
            bytes: vector.number("bytes", default.bytes),
            parameters: vector.number("parameters", default.parameters),
        };
        let make = || StartupDecoder::new(limits);
        let seen = laws::every_split_agrees(make, &vector.input, laws::plain);
        let mut said = String::new();
        for packet in &seen.items {
            words::line(&mut said, packet_words(packet));
        }
        end(said, seen.error)
    });
}

fn packet_words(packet: &Startup) -> String {
    match packet {
        Startup::SslRequest => "SSLRequest".into(),
        Startup::GssEncRequest => "GSSENCRequest".into(),
        Startup::Cancel { process, key } => {
            format!("CancelRequest process={process} key={}", words::hex(key))
        }
        Startup::Start {
            version,
            parameters,
        } => {
            let mut said = format!("StartupMessage {version}");
            for (name, value) in parameters.iter() {
                let _ = write!(
                    said,
                    "\n  {} = {}",
                    name.escape_ascii(),
                    value.escape_ascii()
                );
            }
            said
        }
    }
}

#[test]
fn frontend() {
    vectors::check_file(file("frontend"), |vector| messages(vector, Side::Frontend));
}

#[test]
fn backend() {
    vectors::check_file(file("backend"), |vector| messages(vector, Side::Backend));
}

fn messages(vector: &Vector, side: Side) -> String {
    let default = FrameLimits::default();
    let limits = FrameLimits {
        whole: vector.number("whole", default.whole),
        largest: vector.number("largest", default.largest as usize) as u64,
        authentication: vector.number("authentication", default.authentication),
        batch: vector.has("batch"),
    };
    let make = || Messages::new(side, limits);
    let seen = if vector.input.len() > 500 {
        let pieces = portcullis_testkit::Random::from_seed(64).pieces(&vector.input, 2000);
        laws::split_agrees(make, pieces, merged)
    } else {
        laws::every_split_agrees(make, &vector.input, merged)
    };
    let mut said = String::new();
    for event in &seen.items {
        words::line(&mut said, words::event(event, side, vector));
    }
    end(said, seen.error)
}

fn end(mut said: String, error: Option<&'static str>) -> String {
    if let Some(error) = error {
        words::line(&mut said, format!("error: {error}"));
    }
    said
}
