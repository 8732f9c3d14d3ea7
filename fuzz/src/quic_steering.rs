//! QUIC steering: clients, servers and strangers around the machine; the bytes decide who says what, and what becomes of it.
//!
//! The simulator of the machine, which the crate's own tests run over seeds, with the fuzzer's bytes for choices. Its laws: what
//! belongs to a connection goes to its server, an address that proved nothing is not flooded, bounds hold. Start at [`steering`].

#[path = "../../protocols/quic/tests/sim/mod.rs"]
mod sim;

use portcullis_testkit::Choices;

use crate::quic::support;

/// More than any input has choices for.
const STEPS: usize = 100_000;

/// One run of the simulator, for as long as there are bytes.
pub fn steering(data: &[u8]) {
    sim::run(Choices::Bytes(data), STEPS);
}
