//! Clients and servers through the real machines, with every other part a model.
//!
//! Single talks are in `src/machine/client/tests.rs`; here all of it is tried at once. Start at `machine/sim/mod.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test fails loudly

#[path = "machine/sim/mod.rs"]
mod sim;
#[path = "machine/sim_tests.rs"]
mod sim_tests;
