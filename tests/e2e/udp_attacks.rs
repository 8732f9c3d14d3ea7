//! Hostile clients and endpoints of UDP (tests/ATTACKS.md Q8, Q9, F1).

use std::net::{Ipv4Addr, UdpSocket};

use harness::udp::{UdpClient, UdpOrigin};
use harness::{Gateway, eventually};

use crate::udp::{client, config, start};

const REFUSED: &str = "portcullis_udp_flows_refused_total";
const ENDED: &str = "portcullis_udp_flows_ended_total";
const DROPPED: &str = "portcullis_udp_datagrams_dropped_total";
const ACTIVE: &str = "portcullis_udp_flows_active";

/// Sends one datagram from each of so many sockets, as somebody who forges its addresses does.
fn flood(gateway: &Gateway, count: usize) {
    for number in 0..count {
        let last = u8::try_from(100 + number % 50).unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
        socket.send_to(b"flood", gateway.addr("dns")).unwrap();
    }
}

/// Q9: the table is full, exactly for the process; those who have a flow go on.
#[test]
fn q9_a_full_table_refuses_and_counts() {
    let origin = UdpOrigin::echo();
    let gateway = start("limits: { flows: 20 }", &[&origin]);
    let neighbour = client(&gateway);
    assert_eq!(neighbour.ask("first"), b"first");
    flood(&gateway, 60);
    gateway.wait_stat(REFUSED, &[("reason", "flow_limit")], |count| count == 41);
    assert_eq!(gateway.stats().gauge(ACTIVE, &[]), 20);
    assert_eq!(neighbour.ask("still"), b"still");
    assert_eq!(gateway.admin_get("/ready").status, 200);
}

/// Q9: or those who are silent longest make room.
#[test]
fn q9_a_full_table_forgets_who_is_idle_longest() {
    let origin = UdpOrigin::echo();
    let config = config(
        "limits: { flows: 20, when_full: evict_idle }",
        &[origin.address()],
        "",
    );
    // A worker ends flows of its own only, so there is one.
    let gateway = Gateway::start(&config.replace("count: 2", "count: 1"));
    let neighbour = client(&gateway);
    for round in 0..6 {
        flood(&gateway, 5);
        let word = format!("{round}");
        assert_eq!(neighbour.ask(&word), word.as_bytes());
    }
    gateway.wait_stat(ENDED, &[("reason", "evicted")], |count| count == 11);
    let stats = gateway.stats();
    assert_eq!(stats.counter(REFUSED, &[]), 0);
    assert_eq!(stats.gauge(ACTIVE, &[]), 20);
    let neighbour_again = stats.counter("portcullis_udp_flows_total", &[]);
    assert_eq!(neighbour_again, 31, "the neighbour kept its flow");
}

/// Q9: one source does not take the table.
#[test]
fn q9_a_source_has_so_many_flows() {
    let origin = UdpOrigin::echo();
    let gateway = start("limits: { flows_per_source: 5 }", &[&origin]);
    let clients: Vec<_> = (0..12).map(|_| client(&gateway)).collect();
    for client in &clients {
        client.send("x");
    }
    gateway.wait_stat(REFUSED, &[("reason", "source_limit")], |count| count == 7);
    origin.wait_received(5);
    assert_eq!(origin.peers().len(), 5);
    let neighbour = UdpClient::at(2, gateway.addr("dns"));
    assert_eq!(neighbour.ask("y"), b"y");
}

/// Q9: nobody is flooded by way of the gateway.
#[test]
fn q9_replies_are_bounded() {
    let origin = UdpOrigin::answering(|socket, from, datagram| {
        for _ in 0..10 {
            let _ = socket.send_to(datagram, from);
        }
    });
    let gateway = start("limits: { replies: 3 }", &[&origin]);
    let victim = client(&gateway);
    victim.send("x");
    let down = |reason| [("direction", "down"), ("reason", reason)];
    gateway.wait_stat(DROPPED, &down("too_many_replies"), |count| count == 7);
    for _ in 0..3 {
        assert_eq!(victim.receive(), b"x");
    }
    assert!(victim.is_silent());

    let large = UdpOrigin::answering(|socket, from, datagram| {
        for factor in [2, 1, 1, 9] {
            let _ = socket.send_to(&datagram.repeat(factor), from);
        }
    });
    let gateway = start("limits: { amplification: 3 }", &[&large]);
    let victim = client(&gateway);
    victim.send("ab");
    gateway.wait_stat(DROPPED, &down("amplification"), |count| count == 2);
    assert_eq!(victim.receive(), b"abab");
    assert_eq!(victim.receive(), b"ab");
    assert!(victim.is_silent());
}

/// Q9: an endpoint's datagrams come from that endpoint: others cannot speak into a flow.
#[test]
fn q9_only_the_endpoint_answers() {
    let origin = UdpOrigin::echo();
    let gateway = start("", &[&origin]);
    let client = client(&gateway);
    assert_eq!(client.ask("1"), b"1");
    let flow = *origin.peers().first().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"forged", flow).unwrap();
    assert_eq!(client.ask("2"), b"2");
    assert!(client.is_silent());
}

/// Q8: datagrams without bytes make nobody spin, and two gateways that point at each other stop somewhere.
#[test]
fn q8_empty_datagrams_are_datagrams() {
    let origin = UdpOrigin::echo();
    let gateway = start("", &[&origin]);
    let client = client(&gateway);
    for _ in 0..100 {
        client.send("");
    }
    for _ in 0..100 {
        assert_eq!(client.receive(), b"");
    }
    assert_eq!(client.ask("x"), b"x");
}

/// F1: without descriptors there are no new flows, and those that are there go on.
#[test]
fn f1_without_descriptors_flows_go_on() {
    let origin = UdpOrigin::echo();
    let gateway = start("", &[&origin]);
    let neighbour = client(&gateway);
    assert_eq!(neighbour.ask("1"), b"1");
    // The admin address has a spare one.
    gateway.limit_descriptors(gateway.descriptors() as u64 + 6);
    let clients: Vec<_> = (0..20).map(|_| client(&gateway)).collect();
    for client in &clients {
        client.send("x");
    }
    eventually("flows are refused", || {
        neighbour.ask("2") == b"2"
            && gateway
                .stats()
                .counter(REFUSED, &[("reason", "local_exhaustion")])
                >= 1
    });
    assert_eq!(neighbour.ask("3"), b"3");
    assert_eq!(gateway.admin_get("/ready").status, 200);
}
