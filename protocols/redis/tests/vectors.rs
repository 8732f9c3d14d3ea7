//! The cases in `tests/vectors/`: bytes on the left, what the codec says about them on the right.
//!
//! Options of a case: `whole=`, `arguments=`, `bulk=`, `inline` and `stranger` (a client that is not known) for commands;
//! `whole=`, `bulk=`, `elements=`, `depth=` and `line=` for replies. Every case is split everywhere.
//! `PORTCULLIS_BLESS=1` rewrites what is expected.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test fails loudly

mod support;
mod words;

use bytes::BytesMut;
use portcullis_redis::encoder;
use portcullis_redis::limits::{ReplyLimits, RequestLimits};
use portcullis_testkit::{laws, vectors};
use support::{Replies, client};
use vectors::Vector;

fn file(name: &str) -> String {
    format!("{}/tests/vectors/{name}.md", env!("CARGO_MANIFEST_DIR"))
}

/// Inputs up to this are split at every place.
const SHORT: usize = 600;

#[test]
fn commands() {
    vectors::check_file(file("commands"), command_words);
}

#[test]
fn inline() {
    vectors::check_file(file("inline"), command_words);
}

#[test]
fn replies() {
    vectors::check_file(file("replies"), reply_words);
}

#[test]
fn resp3() {
    vectors::check_file(file("resp3"), reply_words);
}

fn pieces(vector: &Vector) -> Vec<&[u8]> {
    portcullis_testkit::Random::from_seed(64).pieces(&vector.input, 2000)
}

fn command_words(vector: &Vector) -> String {
    let default = RequestLimits::default();
    let limits = RequestLimits {
        whole: vector.number("whole", default.whole),
        arguments: vector.number("arguments", default.arguments as usize) as u32,
        bulk: vector.number("bulk", default.bulk as usize) as u64,
        inline: vector.has("inline"),
        ..default
    };
    let make = || client(limits, !vector.has("stranger"));
    let seen = if vector.input.len() > SHORT {
        laws::split_agrees(make, pieces(vector), support::requests)
    } else {
        laws::every_split_agrees(make, &vector.input, support::requests)
    };
    let mut said: Vec<_> = seen.items.iter().map(words::asked).collect();
    if let Some(label) = seen.error {
        let mut told = BytesMut::new();
        let error = support::request_error(make(), &vector.input).unwrap();
        encoder::protocol_error(error, &mut told);
        said.push(format!("error: {label}\n{}", words::bytes(&told)));
    }
    said.join("\n") + "\n"
}

fn reply_words(vector: &Vector) -> String {
    let default = ReplyLimits::default();
    let limits = ReplyLimits {
        whole: vector.number("whole", default.whole),
        bulk: vector.number("bulk", default.bulk as usize) as u64,
        elements: vector.number("elements", default.elements as usize) as u32,
        depth: vector.number("depth", default.depth as usize) as u32,
        line: vector.number("line", default.line),
    };
    let make = || Replies::new(limits);
    let seen = if vector.input.len() > SHORT {
        laws::split_agrees(make, pieces(vector), support::replies)
    } else {
        laws::every_split_agrees(make, &vector.input, support::replies)
    };
    let mut said: Vec<_> = seen.items.iter().map(words::said).collect();
    said.extend(seen.error.map(|label| format!("error: {label}")));
    said.join("\n") + "\n"
}
