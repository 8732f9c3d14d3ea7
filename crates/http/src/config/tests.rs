//! Tables for what is written.
