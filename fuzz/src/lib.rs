//! Fuzz bodies: plain functions from bytes to nothing that panic when a law is broken.
//!
//! Not the fuzzer: the wrappers in `fuzz_targets/` hand these functions to libFuzzer, and `tests/replay.rs`
//! runs the corpus through them on stable. One module per family; start at [`TARGETS`], then `README.md`.

pub mod client_hello;
pub mod client_hello_diff;
pub mod config;
pub mod grpc;
pub mod http1;
pub mod http1_session;
pub mod http2;
pub mod http2_session;
pub mod http3;
pub mod postgres;
pub mod postgres_scram;
pub mod postgres_sql;
pub mod proxy_header;
pub mod quic;
pub mod quic_diff;
pub mod quic_steering;
pub mod redis;
pub mod redis_session;
pub mod udp_session;

/// What a target does with one input.
pub type Body = fn(&[u8]);

/// Every target by name. Names are `family_kind`, where the kind is `decode`, `roundtrip`, `diff` or `session`.
pub const TARGETS: &[(&str, Body)] = &[
    ("http1_decode", http1::decode),
    ("http1_roundtrip", http1::roundtrip),
    ("http1_diff", http1::diff),
    ("http1_session", http1_session::session),
    ("http2_frame_decode", http2::decode),
    ("http2_frame_roundtrip", http2::roundtrip),
    ("http2_diff", http2::diff),
    ("http2_session", http2_session::session),
    ("http3_frames_decode", http3::frames_decode),
    ("proxy_header_decode", proxy_header::decode),
    ("config_parse", config::parse),
    ("grpc_message_decode", grpc::message_decode),
    ("grpc_web_decode", grpc::web_decode),
    ("client_hello_decode", client_hello::decode),
    ("client_hello_diff", client_hello_diff::diff),
    ("postgres_scram", postgres_scram::session),
    ("postgres_sql", postgres_sql::sql),
    ("postgres_frontend_decode", postgres::frontend_decode),
    ("postgres_backend_decode", postgres::backend_decode),
    ("postgres_roundtrip", postgres::roundtrip),
    ("postgres_diff", postgres::diff),
    ("postgres_session", postgres::session),
    ("redis_decode", redis::decode),
    ("redis_roundtrip", redis::roundtrip),
    ("redis_diff", redis::diff),
    ("redis_session", redis_session::session),
    ("udp_session", udp_session::session),
    ("quic_header_decode", quic::header_decode),
    ("quic_initial_decode", quic::initial_decode),
    ("quic_diff", quic_diff::diff),
    ("quic_steering", quic_steering::steering),
];
