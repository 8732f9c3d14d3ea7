//! The filters of TCP over real connections: who may come in, how many, how fast, and what is written about them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use harness::{Client, Ending, Origin};
use serde_json::Value;

use crate::support::{checksum, noise};
use crate::tcp::{Running, Tcp};

/// A client at `127.0.0.<last>`.
fn client_at(tcp: &Running, last: u8) -> Client {
    Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), tcp.addr("tcp"))
}

#[track_caller]
fn is_served(client: &mut Client) {
    client.send("x");
    assert_eq!(client.read_exact(1), b"x");
}

#[test]
fn networks_are_allowed_and_denied() {
    let origin = Origin::echo();
    let mut tcp = Tcp::to(&[origin.address()])
        .listener(
            "filters:\n  - allow: { client: [127.0.0.0/30, 127.0.0.9/32] }\n  - deny: { client: [127.0.0.2/32] }",
        )
        .start();
    for (last, served) in [(1, true), (2, false), (3, true), (4, false), (9, true)] {
        let mut client = client_at(&tcp, last);
        if served {
            is_served(&mut client);
        } else {
            client.expect_closed();
        }
    }
    tcp.wait_rejected("denied", 2);
    let stats = tcp.stats();
    for rule in ["allow", "deny"] {
        let labels = [("listener", "tcp"), ("rule", rule)];
        assert_eq!(
            stats.counter("portcullis_access_denied_total", &labels),
            1,
            "{rule}"
        );
    }
    assert_eq!(
        origin.connections(),
        3,
        "who is refused never reaches the origin"
    );
    tcp.neighbour_is_well();
}

#[test]
fn connections_are_limited_by_rate() {
    let origin = Origin::echo();
    let mut tcp = Tcp::to(&[origin.address()])
        .listener("filters: [{ rate_limit: { per: [client.ip], rate: 2/h } }]")
        .start();
    for _ in 0..2 {
        is_served(&mut client_at(&tcp, 1));
    }
    client_at(&tcp, 1).expect_closed();
    is_served(&mut client_at(&tcp, 2));
    tcp.wait_rejected("rate_limited", 1);
    tcp.neighbour_is_well();
}

#[test]
fn connections_are_limited_in_number() {
    let origin = Origin::echo();
    let mut tcp = Tcp::to(&[origin.address()])
        .listener("filters: [{ concurrency: { per: [client.ip], max: 1 } }]")
        .start();
    let mut first = client_at(&tcp, 1);
    is_served(&mut first);
    client_at(&tcp, 1).expect_closed();
    is_served(&mut client_at(&tcp, 2));
    first.half_close().expect_closed();
    tcp.wait_ended("closed", 2);
    is_served(&mut client_at(&tcp, 1));
    tcp.wait_rejected("concurrency", 1);
    tcp.neighbour_is_well();
}

/// The bytes arrive whole and not sooner than the rate allows.
#[test]
fn bandwidth_is_kept() {
    const BYTES: usize = 96 * 1024;
    let sent = noise(BYTES);
    let origin = {
        let sent = sent.clone();
        Origin::raw(move |connection| connection.send(&sent))
    };
    let mut tcp = Tcp::to(&[origin.address()])
        .listener("filters: [{ bandwidth: { rate: 64KiB/s, burst: 32KiB, direction: down } }]")
        .start();
    #[allow(clippy::disallowed_methods)] // Outside of the gateway time is just time.
    let started = Instant::now();
    let (received, ending) = tcp.client().read_to_end();
    assert_eq!(
        (checksum(&received), ending),
        (checksum(&sent), Ending::Closed)
    );
    assert!(
        started.elapsed() >= Duration::from_millis(990),
        "{:?}",
        started.elapsed()
    );
    tcp.neighbour_is_well();
}

#[test]
fn each_connection_is_one_line() {
    let origin = Origin::echo();
    let tcp = Tcp::to(&[origin.address()])
        .listener("filters:\n  - deny: { client: [127.0.0.2/32] }\n  - access_log")
        .start();
    let mut client = client_at(&tcp, 1);
    is_served(&mut client);
    client.half_close().expect_closed();
    let line: Value = serde_json::from_str(&tcp.wait_stdout("\"closed\"")).expect("JSON");
    let field = |name: &str| line.get(name).cloned().unwrap_or_default();
    assert_eq!(field("listener"), "tcp");
    assert_eq!(field("client"), client.local_address().to_string());
    assert_eq!(field("cluster"), "origin");
    assert_eq!(field("endpoint"), origin.address().to_string());
    assert_eq!(
        (field("bytes_received"), field("bytes_sent")),
        (1.into(), 1.into())
    );
    assert_eq!(field("attempts"), 1);
    // Refused by a filter that is listed before it, and logged all the same.
    client_at(&tcp, 2).expect_closed();
    let line: Value = serde_json::from_str(&tcp.wait_stdout("\"denied\"")).expect("JSON");
    assert_eq!(line.get("endpoint"), Some(&Value::Null));
}
