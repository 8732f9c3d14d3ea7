//! Test helpers for codecs and machines: split sweeps, laws, readable vectors, a virtual clock, seeded choices.
//!
//! Only tests, fuzz bodies and benches depend on this. It is not a framework: plain functions that panic with a
//! message that says what differed. It knows no protocol.
//!
//! Start at [`laws`] when you write a codec, at [`vectors`] when you add a readable case.

// A test helper that cannot go on fails loudly: that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc
)]

pub mod choices;
pub mod clock;
pub mod laws;
pub mod random;
pub mod vectors;

pub use choices::Choices;
pub use clock::VirtualClock;
pub use random::Random;
