//! Runs the readable cases of `vectors/`, each whole and in pieces.
//!
//! `messages.md` holds streams of gRPC messages, `web.md` gRPC-Web bodies, `text.md` their base64. How a case is
//! written: see `portcullis_testkit::vectors`. The options are limits.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;

use portcullis_codec::Decoder;
use portcullis_grpc::web::{TextDecoder, WebDecoder};
use portcullis_grpc::{MessageDecoder, MessageLimits};
use portcullis_testkit::laws::{self, Transcript};
use portcullis_testkit::vectors::{self, Vector};
use support::{Seen, joined, merged, merged_web};

#[test]
fn messages() {
    run("messages.md", |vector| {
        said(&laws::every_split_agrees(
            || MessageDecoder::new(limits(vector)),
            &vector.input,
            merged,
        ))
    });
}

#[test]
fn web() {
    run("web.md", |vector| {
        let make = || WebDecoder::new(limits(vector), vector.number("trailers", 1000));
        said(&laws::every_split_agrees(make, &vector.input, merged_web))
    });
}

#[test]
fn text() {
    run("text.md", |vector| {
        let seen = laws::every_split_agrees(|| TextDecoder, &vector.input, joined);
        let mut text = String::new();
        for bytes in &seen.items {
            let _ = writeln!(text, "bytes {}", bytes.escape_ascii());
        }
        end(&mut text, &seen);
        text
    });
}

fn run(file: &str, said: impl Fn(&Vector) -> String) {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    vectors::check_file(path, said);
}

fn limits(vector: &Vector) -> MessageLimits {
    MessageLimits {
        message_bytes: vector.number("message", 1000).try_into().unwrap(),
        compressed: !vector.has("identity"),
    }
}

/// The transcript in the words of the vectors.
fn said(seen: &Transcript<Seen>) -> String {
    let mut text = String::new();
    for item in &seen.items {
        match item {
            Seen::Message(compressed, data, ended) => {
                let kind = if *compressed { "compressed" } else { "message" };
                let data = data.escape_ascii();
                let rest = if *ended { "" } else { " (cut)" };
                let _ = writeln!(text, "{}", format!("{kind} {data}{rest}").trim_end());
            }
            Seen::Trailers(fields) => {
                text.push_str("trailers\n");
                for field in fields.iter() {
                    let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
                    let _ = writeln!(text, "{}", format!("field {name}: {value}").trim_end());
                }
            }
        }
    }
    end(&mut text, seen);
    text
}

fn end<R>(text: &mut String, seen: &Transcript<R>) {
    if let Some(label) = seen.error {
        let _ = writeln!(text, "error: {label}");
    }
    if !seen.left.is_empty() {
        let _ = writeln!(text, "left {}", seen.left.escape_ascii());
    }
}

/// The decoders ask for what they can use.
#[test]
fn hints_are_what_is_missing() {
    let mut decoder = MessageDecoder::new(MessageLimits::default());
    assert_eq!(decoder.wants(), 5);
    let mut src = bytes::BytesMut::from(&b"\0\0\0\x01\0"[..]);
    decoder.decode(&mut src).unwrap();
    assert_eq!(decoder.wants(), 256);
}
