//! Fuzz bodies: plain functions from bytes to nothing that panic when a law is broken.
//!
//! Not the fuzzer: the wrappers in `fuzz_targets/` hand these functions to libFuzzer, and `tests/replay.rs`
//! runs the corpus through them on stable. One module per family; start at [`TARGETS`], then `README.md`.

/// What a target does with one input.
pub type Body = fn(&[u8]);

/// Every target by name. Names are `family_kind`, where the kind is `decode`, `roundtrip`, `diff` or `session`.
pub const TARGETS: &[(&str, Body)] = &[];
