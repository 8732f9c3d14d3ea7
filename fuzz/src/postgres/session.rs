//! Clients over server connections: the bytes decide what is said, where it is cut, in which order it arrives, and what breaks.
//!
//! The simulator of the relay, which the crate's own tests run over seeds, with the fuzzer's bytes for choices. Its law is the
//! first one: every client hears what a server of its own would say. Start at [`session`].

use super::sim::site;
use portcullis_testkit::Choices;

/// More than any input has choices for.
const STEPS: usize = 100_000;

/// One run of the simulator, for as long as there are bytes.
pub fn session(data: &[u8]) {
    site::run(Choices::Bytes(data), STEPS);
}
