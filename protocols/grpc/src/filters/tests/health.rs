//! `grpc_health`: what is asked, and what is said.

use portcullis_http::head::Version;

use super::play::{Play, message};

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

#[test]
fn check_says_whether_the_gateway_takes_work() {
    let filters = "- grpc_health: { services: [shop.Cart] }";
    let serving = Some((message(b"\x08\x01"), Some("grpc-status: 0".to_owned())));
    let not_serving = Some((message(b"\x08\x02"), Some("grpc-status: 0".to_owned())));
    let nothing = Some((vec![], None));
    let cart = message(b"\x0a\x09shop.Cart");
    let others = message(b"\x10\x05\x0a\x09shop.Cart\x1a\x01x");
    let unknown = message(b"\x0a\x01x");
    for (name, ready, body, expected, status) in [
        ("ready", true, message(b""), &serving, None),
        ("draining", false, message(b""), &not_serving, None),
        ("a service", true, cart, &serving, None),
        (
            "a service among fields of a later version",
            true,
            others,
            &serving,
            None,
        ),
        ("unknown service", true, unknown, &nothing, Some("5")),
        ("no message", true, vec![], &nothing, Some("13")),
        (
            "two messages",
            true,
            [message(b""), message(b"")].concat(),
            &nothing,
            Some("13"),
        ),
        ("garbage", true, message(b"\x0a\xff"), &nothing, Some("13")),
    ] {
        let mut play = Play::with_readiness(filters, CHECK, &[GRPC], ready);
        play.ask().unwrap();
        assert!(play.request.answered_by_filter, "{name}");
        assert_eq!(play.request.collect_body, Some(1024), "{name}");
        let said = play.send(&body, true).unwrap_err();
        assert_eq!((said.status, &said.body), (200, expected), "{name}");
        assert_eq!(said.field("grpc-status"), status, "{name}");
    }
}

#[test]
fn watch_over_http1_is_not_there_and_says_what_is() {
    let mut play = Play::new("- grpc_health", WATCH, &[GRPC]);
    play.request.head.version = Version::Http11;
    let said = play.ask().unwrap_err();
    assert_eq!(
        said.call(),
        "application/grpc | 12 | there are Check, and Watch over HTTP/2"
    );
}

/// What comes on the stream is tested end to end.
#[test]
fn watch_is_a_stream() {
    let mut play = Play::new("- grpc_health", WATCH, &[GRPC]);
    play.ask().unwrap();
    let said = play.send(&message(b""), true).unwrap_err();
    assert_eq!((said.status, &said.body), (200, &None));
    assert_eq!(said.field("grpc-status"), None);
}

#[test]
fn other_requests_pass() {
    for (name, path, fields) in [
        ("another service", "/shop.Cart/Add", &[GRPC][..]),
        ("no call", CHECK, &[]),
    ] {
        let mut play = Play::new("- grpc_health", path, fields);
        play.ask().unwrap();
        assert!(!play.request.answered_by_filter, "{name}");
        assert_eq!(play.send(b"abc", true).unwrap(), b"abc", "{name}");
    }
}

/// Asked in gRPC-Web, it answers in gRPC-Web.
#[test]
fn browsers_may_ask() {
    let web = ("content-type", "application/grpc-web");
    let mut play = Play::new("[grpc_web, grpc_health]", CHECK, &[web]);
    play.ask().unwrap();
    let said = play.send(&message(b""), true).unwrap_err();
    let lines = b"\x80\0\0\0\x10grpc-status: 0\r\n";
    let body = [&message(b"\x08\x01")[..], lines].concat();
    assert_eq!(said.body, Some((body, None)));
    assert_eq!(said.field("content-type"), Some("application/grpc-web"));
}
