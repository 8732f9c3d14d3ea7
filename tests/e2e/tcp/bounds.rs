//! TCP when endpoints fail, and what bounds connections: limits, descriptors, silence, age, a drain.

use std::{io, thread};

use harness::{ClosedPort, Connection, Ending, Origin, Signal, eventually};

use super::{REJECTIONS, Running, Tcp, report, sink};
use crate::support::{BlackHole, checksum, noise};

/// F9: an endpoint that refuses costs no connection while another is there.
#[test]
fn f9_another_endpoint_is_tried() {
    let (origin, closed) = (Origin::echo(), ClosedPort::new());
    let mut tcp = Tcp::to(&[closed.address(), origin.address()]).start();
    for _ in 0..20 {
        let mut client = tcp.client();
        client.send("x");
        assert_eq!(client.read_exact(1), b"x");
    }
    let stats = tcp.stats();
    let retries = stats.counter(
        "portcullis_tcp_connect_retries_total",
        &[("listener", "tcp")],
    );
    let labels = [("cluster", "origin"), ("reason", "refused")];
    let failures = stats.counter("portcullis_endpoint_failures_total", &labels);
    assert!(retries > 0 && retries == failures, "{retries} {failures}");
    assert_eq!(stats.counter(REJECTIONS, &[("listener", "tcp")]), 0);
    tcp.neighbour_is_well();
}

/// F9: nobody is there: the connection is closed and counted, and later ones work.
#[test]
fn f9_all_endpoints_down_closes_and_counts() {
    let mut origin = Origin::echo();
    let closed = ClosedPort::new();
    let mut tcp = Tcp::to(&[origin.address(), closed.address()])
        .cluster("ejection: { consecutive_failures: 1000 }")
        .start();
    origin.kill();
    tcp.client().expect_closed();
    tcp.wait_rejected("upstream_connect", 1);
    origin.restart();
    let mut client = tcp.client();
    client.send("x");
    assert_eq!(client.read_exact(1), b"x");
    tcp.neighbour_is_well();
}

/// The cluster's own limit on connections refuses at once.
#[test]
fn f10_the_connection_limit_of_a_cluster() {
    let origin = Origin::echo();
    let mut tcp = Tcp::to(&[origin.address()])
        .cluster("limits: { connections: 1 }")
        .start();
    let mut first = tcp.client();
    first.send("x");
    assert_eq!(first.read_exact(1), b"x");
    tcp.client().expect_closed();
    tcp.wait_rejected("upstream_connection_limit", 1);
    first.half_close().expect_closed();
    tcp.wait_ended("closed", 1);
    let mut next = tcp.client();
    next.send("y");
    assert_eq!(next.read_exact(1), b"y");
    tcp.neighbour_is_well();
}

/// So does its limit on connections that are being made.
#[test]
fn f10_the_pending_limit_of_a_cluster() {
    let hole = BlackHole::new();
    let mut tcp = Tcp::to(&[hole.address()])
        .cluster("connect_timeout: 10m")
        .cluster("limits: { pending: 1 }")
        .start();
    let labels = [("cluster", "origin"), ("limit", "pending")];
    let pending = |count| {
        tcp.wait_stat("portcullis_cluster_active", &labels, |value| value == count);
    };
    let mut waiting = tcp.client();
    pending(1);
    tcp.client().expect_closed();
    tcp.wait_rejected("upstream_pending_limit", 1);
    tcp.wait_stat("portcullis_cluster_overflows_total", &labels, |count| {
        count == 1
    });
    waiting.expect_quiet();
    pending(1);
    tcp.neighbour_is_well();
}

#[test]
fn silence_and_age_end_a_connection() {
    for (key, reason) in [
        ("idle_timeout", "idle_timeout"),
        ("max_duration", "max_duration"),
    ] {
        let (origin, reports) = sink();
        let mut tcp = Tcp::to(&[origin.address()])
            .listener(&format!("{key}: 200ms"))
            .start();
        let mut client = tcp.client();
        client.send("x").expect_closed();
        assert_eq!(report(&reports), (b"x".to_vec(), Ending::Closed), "{key}");
        tcp.wait_ended(reason, 1);
        tcp.neighbour_is_well();
    }
}

/// F1: the limit of a listener is counted, and what is open goes on.
#[test]
fn f1_listener_limit() {
    let origin = Origin::echo();
    let mut tcp = Tcp::to(&[origin.address()])
        .listener("limits: { connections: 2 }")
        .start();
    let mut open = [tcp.client(), tcp.client()];
    for client in &mut open {
        client.send("x");
        assert_eq!(client.read_exact(1), b"x");
    }
    tcp.client().expect_gone();
    let labels = [("listener", "tcp"), ("reason", "listener_limit")];
    tcp.wait_stat("portcullis_listener_refused_total", &labels, |count| {
        count == 1
    });
    for client in &mut open {
        client.send("y");
        assert_eq!(client.read_exact(1), b"y");
    }
    tcp.neighbour_is_well();
}

/// F1: without descriptors, what is open goes on, and it recovers by itself.
#[test]
fn f1_descriptors_run_out() {
    let origin = Origin::echo();
    let mut tcp = Tcp::to(&[origin.address()]).start();
    let mut kept = tcp.client();
    kept.send("x");
    assert_eq!(kept.read_exact(1), b"x");
    let limit = tcp.descriptors() as u64 + 20;
    tcp.limit_descriptors(limit);
    let address = tcp.addr("tcp");
    let crowd: Vec<Connection> = (0..60)
        .map(|_| Connection::connect(address).unwrap())
        .collect();
    eventually("no descriptor is left", || {
        tcp.descriptors() as u64 >= limit - 2
    });
    // Bulk needs a pipe for splicing: without descriptors it is copied.
    let sent = noise(1 << 20);
    let mut writer = kept.connection().socket().try_clone().unwrap();
    let received = thread::scope(|scope| {
        scope.spawn(|| io::Write::write_all(&mut writer, &sent).unwrap());
        kept.read_exact(sent.len())
    });
    assert_eq!(checksum(&received), checksum(&sent));
    drop(crowd);
    tcp.neighbour_is_well();
    eventually("it recovers", || {
        let mut client = tcp.client();
        client.try_send("x");
        client.connection().read_exact(1).is_ok()
    });
    let stats = tcp.stats();
    let labels = [("listener", "tcp")];
    let shed = stats.counter("portcullis_listener_accept_errors_total", &labels)
        + stats.counter(REJECTIONS, &[labels[0], ("reason", "fd_limit")]);
    assert!(shed > 0, "nothing was shed");
}

/// F8: a drain closes connections that are silent, and the process ends well.
#[test]
fn f8_drain_closes_silent_connections() {
    let origin = Origin::echo();
    let tcp = Tcp::to(&[origin.address()]).start();
    let mut client = tcp.client();
    client.send("x");
    assert_eq!(client.read_exact(1), b"x");
    tcp.signal(Signal::TERM);
    tcp.wait_log("draining");
    client.expect_closed();
    let Running { gateway, .. } = tcp;
    assert_eq!(gateway.wait_exit().code(), Some(0));
}
