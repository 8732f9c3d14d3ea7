//! What clients get: one connection, many streams.
