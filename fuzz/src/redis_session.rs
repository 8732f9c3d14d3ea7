//! Redis: clients over shards; the bytes decide what is said, where it is cut, in which order it arrives, and what breaks.
//!
//! The simulator of the client's machine, which the crate's own tests run over seeds, with the fuzzer's bytes for choices; one
//! client may say any bytes. Its law: each client hears its own, in order, one answer for each command, and no connection
//! is handed on with anything in it. Start at [`session`].

#[path = "../../protocols/redis/tests/machine/sim/mod.rs"]
mod sim;

use portcullis_testkit::Choices;
use sim::site;

/// More than any input has choices for.
const STEPS: usize = 100_000;

/// One run of the simulator, for as long as there are bytes.
pub fn session(data: &[u8]) {
    site::run(Choices::Bytes(data), STEPS);
}
