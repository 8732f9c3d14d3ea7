//! Runs the files of `vectors/sql`: what each text is said to be, to do, to name, and how it looks without its values.
//!
//! Options of a fence: `backslashes` for `standard_conforming_strings = off`, `truncated`, `hints`, `unsafe_encoding`.
//! `PORTCULLIS_BLESS=1` writes what happened into the files.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod sql {
    pub(crate) mod corpus;
    mod laws;
    mod oracle;
    mod show;
}
