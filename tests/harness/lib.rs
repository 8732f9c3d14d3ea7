//! What end-to-end tests are written with: the gateway as a child process, scripted upstreams, a raw client.
//!
//! Everything is a plain thread and a plain blocking socket, so that a test reads from top to bottom and a
//! failure has one place. Nothing here parses with the gateway's own codecs: a test must not agree with the
//! code that it tests by sharing it. Nothing sleeps: tests wait on events, and [`CEILING`] only turns a
//! test that would hang into one that fails.
//!
//! Start at [`Gateway::start`], then [`Origin`] for the upstream side and [`Client`] for the downstream side.

// A harness fails loudly: a panic here is a failed test with a message.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc
)]

mod binary;
mod client;
mod connection;
mod frames;
mod gateway;
mod h2_client;
mod h2_frames;
mod h3_client;
mod http;
mod http2_origin;
mod http3_origin;
mod http3_quic;
mod matrix;
mod origin;
pub mod postgres;
pub mod redis;
pub mod redis_cluster;
pub mod redis_sentinel;
mod scratch;
mod script;
mod stats;
pub mod tls;
mod tools;
mod translate;
pub mod udp;
mod watched;

use std::thread;
use std::time::Duration;

pub use binary::portcullis;
pub use client::Client;
pub use connection::{Connection, Ending};
pub use frames::{Frames, response_block};
pub use gateway::{Exit, Gateway};
pub use h2_client::{H2Client, H2Response, read_h2_body, read_h2_response};
pub use h2_frames::{
    H2_PREFACE, RawFrame, RawH2, RawH2End, RawH2Response, h2_block, h2_frame, h2_indexed_field,
    h2_numbers, h2_settings, read_h2_frame,
};
pub use h3_client::{
    H3Client, H3Response, H3Stream, RawH3, h3_get, h3_section, quic_config, read_h3_response,
};
pub use http::{RawRequest, RawResponse};
pub use http2_origin::{Exchange, Http2Origin};
pub use http3_origin::{
    H3_OK, Http3Origin, Http3Stream, RawExchange, RawHttp3, h3_field, h3_frame, h3_frame_header,
    h3_head, h3_indexed, h3_number,
};
pub use matrix::Versions;
pub use origin::{ClosedPort, Origin};
/// The signals that [`Gateway::signal`] sends: `Signal::TERM`, `HUP`, `USR1`, `USR2`, `INT`, `KILL`.
pub use rustix::process::Signal;
pub use scratch::Scratch;
pub use script::{Gate, Reply, Step};
pub use stats::{Series, Stats};
pub use tools::{Tool, tool};

/// How long a test waits for something that must happen before it fails.
///
/// Never part of what a test asserts; generous, because test machines are shared.
pub const CEILING: Duration = Duration::from_mins(2);

/// Asks again and again until the answer is yes, for what tells nobody when it happens. Fails after [`CEILING`], naming `what`.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..CEILING.as_millis() / PAUSE.as_millis() {
        if holds() {
            return;
        }
        thread::park_timeout(PAUSE);
    }
    panic!("not in {CEILING:?}: {what}");
}

/// How long to rest between two questions.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
