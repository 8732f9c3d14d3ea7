//! Every version-neutral HTTP test again, over the other versions of HTTP and with TLS on both sides.
//!
//! The tests themselves are run again by this very binary with `PORTCULLIS_MATRIX` set, which puts translators between
//! them and the gateway (`tests/harness/matrix.rs`): the gateway speaks the other version, or TLS, and the tests go on to speak
//! HTTP/1 in the clear. With TLS no test is left out: those that see the scheme ask which one it is.
//! A new test of these modules takes part by itself; one that is about HTTP/1's own bytes or connections is listed in
//! [`ABOUT_HTTP1`] with the reason.

use std::process::Command;

/// Modules whose tests are about HTTP, whatever its version.
const MODULES: &[&str] = &[
    "http_bodies::",
    "http_filters::",
    "http_flow::",
    "http_hops::",
    "http_retries::",
    "http_routes::",
    "http_timeouts::",
    "http_tunnels::",
    "http_upstream::",
];

/// Tests of HTTP/1's own connections: closing, lingering, keeping alive, and the bytes on them.
const ABOUT_HTTP1: &[&str] = &[
    "http10_server",
    // HTTP/1 says them in `connection`, which HTTP/2 does not have.
    "hop_by_hop_fields",
    "f10_idle_reset_is_retried_for_get",
    // An upgrade is another request in HTTP/2: its 200 is not a refusal, and its key means nothing.
    "h6_no_tunnel_on_200",
    "h17_h2c_upgrade",
];

/// As [`ABOUT_HTTP1`], where upstreams speak HTTP/2.
const ABOUT_HTTP1_UPSTREAM: &[&str] = &[
    // A CONNECT to raw bytes.
    "h17_connect_by_route",
    // A connection for each request.
    "cluster_limits",
    "per_try_timeout_goes_to_the_next_attempt",
    // Broken HTTP/1; what is broken in HTTP/2 is in http2_upstream_attacks.
    "h15_",
];

/// As [`ABOUT_HTTP1`], where upstreams speak HTTP/3.
const ABOUT_HTTP1_OR_TCP_UPSTREAM: &[&str] = &[
    "h17_connect_by_route",
    "cluster_limits",
    "per_try_timeout_goes_to_the_next_attempt",
    // Broken HTTP/1; what is broken in HTTP/3 is in http3_upstream.
    "h15_",
    // No WebSocket passes it, which http3_upstream shows.
    "h6_bytes_before_101_are_held",
    "h6_no_tunnel_on_403",
    "idle_tunnel_ends",
    "upgrade_by_route",
    "websocket_frames_pass",
    // Their endpoint does not accept: a word of TCP's. Those of QUIC are in http3_upstream.
    "http_upstream::connect_timeout",
    "pending_limit",
];

/// As [`ABOUT_HTTP1`], where clients speak HTTP/2: their own tests are in http2, http2_life and http2_tunnels.
const ABOUT_HTTP1_DOWNSTREAM: &[&str] = &[
    "http10_client",
    "expect_continue_refused",
    // Its connection is reset, not a stream.
    "gone_client_frees_its_upstream",
    "h8_unread_bod",
    "h12_slow_body",
    "h12_slow_head",
    "h13_nothing_behind_a_refusal",
    "idle_connections_are_closed",
    "max_connection_age",
    "h16_underscores",
    "h17_connect_is_refused",
    // Their origins do not answer the gateway's own key.
    "h6_bytes_before_101_are_held",
    "h6_no_tunnel_on_403",
    "idle_tunnel_ends",
    "upgrade_by_route",
    "upgrade_with_a_body_is_a_plain_request",
    "websocket_frames_pass",
];

/// Calls are HTTP, and know no version either.
const CALLS: &[&str] = &[
    "grpc::calls::",
    "grpc::deadlines::",
    "grpc::messages::",
    "grpc::web::",
];

/// A reset leaves out what came before it and was not read yet (RFC 9000 section 19.4).
const ABOUT_RESETS: &[&str] = &["broken_answers_end_with_a_status"];

const TO_HTTP2: &[&[&str]] = &[ABOUT_HTTP1, ABOUT_HTTP1_UPSTREAM];
const TO_HTTP3: &[&[&str]] = &[ABOUT_HTTP1, ABOUT_HTTP1_OR_TCP_UPSTREAM];
const HTTP2_TO_HTTP3: &[&[&str]] = &[
    ABOUT_HTTP1,
    ABOUT_HTTP1_OR_TCP_UPSTREAM,
    ABOUT_HTTP1_DOWNSTREAM,
];
const FROM_HTTP2: &[&[&str]] = &[ABOUT_HTTP1, ABOUT_HTTP1_DOWNSTREAM];
const ALL_HTTP2: &[&[&str]] = &[ABOUT_HTTP1, ABOUT_HTTP1_UPSTREAM, ABOUT_HTTP1_DOWNSTREAM];

fn run(versions: &str, skipped: &[&[&str]]) {
    run_modules(MODULES, 40, versions, skipped);
}

/// Runs the tests of modules, of which there are more than `least`.
fn run_modules(modules: &[&str], least: usize, versions: &str, skipped: &[&[&str]]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("PORTCULLIS_MATRIX", versions).args(modules);
    for name in skipped.iter().copied().flatten() {
        command.args(["--skip", name]);
    }
    command.args(["--test-threads", "2"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{versions}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A filter that matches nothing would pass as well.
    let ran = text.matches("... ok").count();
    assert!(ran > least, "only {ran} tests ran over {versions}");
}

#[test]
fn http1_to_http1_tls() {
    run("h1-h1-tls", &[]);
}

#[test]
fn http1_to_http2() {
    run("h1-h2", TO_HTTP2);
}

#[test]
fn http1_to_http2_tls() {
    run("h1-h2-tls", TO_HTTP2);
}

#[test]
fn http1_to_http3() {
    run("h1-h3", TO_HTTP3);
}

#[test]
fn calls_to_http3() {
    run_modules(CALLS, 15, "h1-h3", &[ABOUT_RESETS]);
}

#[test]
fn http2_to_http1() {
    run("h2-h1", FROM_HTTP2);
}

#[test]
fn http2_to_http1_tls() {
    run("h2-h1-tls", FROM_HTTP2);
}

#[test]
fn http2_to_http2() {
    run("h2-h2", ALL_HTTP2);
}

#[test]
fn http2_to_http2_tls() {
    run("h2-h2-tls", ALL_HTTP2);
}

#[test]
fn http2_to_http3() {
    run("h2-h3", HTTP2_TO_HTTP3);
}

#[test]
fn http2_to_http3_tls() {
    run("h2-h3-tls", HTTP2_TO_HTTP3);
}
