//! UDP over real sockets: flows, where they go, and when they end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use harness::udp::{UdpClient, UdpOrigin};
use harness::{ClosedPort, Gateway, Scratch, Signal, Tool, eventually, tool};
use serde_json::Value;

const OPENED: &str = "portcullis_udp_flows_total";
const ACTIVE: &str = "portcullis_udp_flows_active";
const ENDED: &str = "portcullis_udp_flows_ended_total";
const REFUSED: &str = "portcullis_udp_flows_refused_total";

/// A configuration with the listener `dns` in front of these endpoints.
pub(crate) fn config(listener: &str, endpoints: &[SocketAddr], cluster: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| format!("'{endpoint}'"))
        .collect();
    format!(
        "runtime: {{ workers: {{ count: 2 }} }}\n\
         listeners:\n  dns:\n    listen: udp://127.0.0.1:0\n    protocol: udp\n    cluster: resolvers\n{}\
         clusters:\n  resolvers:\n    endpoints: [{}]\n{}",
        indented(listener),
        endpoints.join(", "),
        indented(cluster),
    )
}

fn indented(text: &str) -> String {
    text.lines()
        .fold(String::new(), |text, line| text + "    " + line + "\n")
}

pub(crate) fn start(listener: &str, origins: &[&UdpOrigin]) -> Gateway {
    let endpoints: Vec<_> = origins.iter().map(|origin| origin.address()).collect();
    Gateway::start(&config(listener, &endpoints, ""))
}

/// A client of the gateway.
#[track_caller]
pub(crate) fn client(gateway: &Gateway) -> UdpClient {
    UdpClient::connect(gateway.addr("dns"))
}

#[test]
fn datagrams_keep_their_bounds_and_order() {
    let origin = UdpOrigin::echo();
    let gateway = start("", &[&origin]);
    let client = client(&gateway);
    for length in [0, 1, 512, 1472, 1473, 9000, 65_507] {
        let sent = vec![b'x'; length];
        assert_eq!(client.ask(&sent), sent, "{length}");
    }
    // Bursts of all kinds of lengths, which batches and runs are made of.
    for round in 0..20_usize {
        let sent: Vec<Vec<u8>> = (0..40_usize)
            .map(|number| vec![number as u8; 1 + (number * round) % 97])
            .collect();
        for datagram in &sent {
            client.send(datagram);
        }
        let received: Vec<_> = sent.iter().map(|_| client.receive()).collect();
        assert_eq!(received, sent, "{round}");
    }
    assert_eq!(origin.peers().len(), 1, "one client is one flow");
    let stats = gateway.stats();
    let passed = "portcullis_udp_datagrams_total";
    assert_eq!(stats.counter(passed, &[("direction", "up")]), 807);
    assert_eq!(stats.counter(passed, &[("direction", "down")]), 807);
    assert_eq!(stats.counter(OPENED, &[]), 1);
    assert_eq!(stats.gauge(ACTIVE, &[]), 1);
}

#[test]
fn each_client_gets_its_own_answers() {
    let origin = UdpOrigin::echo();
    let gateway = start("", &[&origin]);
    let clients: Vec<_> = (0..100).map(|_| client(&gateway)).collect();
    for round in 0..5 {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{number} {round}"));
        }
        for (number, client) in clients.iter().enumerate() {
            let expected = format!("{number} {round}");
            assert_eq!(client.receive(), expected.as_bytes());
        }
    }
    assert_eq!(origin.peers().len(), 100);
    assert_eq!(gateway.stats().gauge(ACTIVE, &[]), 100);
}

#[test]
fn a_source_stays_with_its_endpoint() {
    let origins: Vec<_> = ["a", "b", "c", "d"].map(UdpOrigin::named).into();
    let all: Vec<_> = origins.iter().collect();
    let endpoint_of = |gateway: &Gateway, last| {
        let client = UdpClient::at(last, gateway.addr("dns"));
        String::from_utf8(client.ask("?")).unwrap()
    };
    let gateway = start("", &all);
    let once: Vec<_> = (1..=20).map(|last| endpoint_of(&gateway, last)).collect();
    let again: Vec<_> = (1..=20).map(|last| endpoint_of(&gateway, last)).collect();
    assert_eq!(once, again);
    let different: BTreeSet<_> = once.iter().collect();
    assert!(different.len() > 1, "{once:?}");
    // Another process, another worker, the same endpoint.
    let other = start("", &all);
    let there: Vec<_> = (1..=20).map(|last| endpoint_of(&other, last)).collect();
    assert_eq!(once, there);
    let spread = [
        start("hash: off", &all),
        start("hash: source_port", &all),
        Gateway::start(&config(
            "",
            &all.iter()
                .map(|origin| origin.address())
                .collect::<Vec<_>>(),
            "balance: round_robin",
        )),
    ];
    for gateway in &spread {
        let of_one: BTreeSet<_> = (0..30).map(|_| endpoint_of(gateway, 1)).collect();
        assert!(of_one.len() > 1, "{of_one:?}");
    }
}

#[test]
fn a_flow_ends_when_nothing_moves_and_is_logged() {
    let origin = UdpOrigin::echo();
    let gateway = start("idle_timeout: 300ms\nfilters: [access_log]", &[&origin]);
    let client = client(&gateway);
    assert_eq!(client.ask("one"), b"one");
    assert_eq!(client.ask("three"), b"three");
    gateway.wait_stat(ENDED, &[("reason", "idle_timeout")], |count| count == 1);
    assert_eq!(gateway.stats().gauge(ACTIVE, &[]), 0);
    let line = gateway.wait_stdout("idle_timeout");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["client"], client.address().to_string());
    assert_eq!(line["endpoint"], origin.address().to_string());
    assert_eq!(line["cluster"], "resolvers");
    assert_eq!(line["datagrams_received"], 2);
    assert_eq!(line["bytes_sent"], 8);
    // What comes later begins anew.
    assert_eq!(client.ask("again"), b"again");
    assert_eq!(gateway.stats().counter(OPENED, &[]), 2);
}

#[test]
fn replies_keep_a_flow_open() {
    let origin = UdpOrigin::answering(|socket, from, datagram| {
        // Ten answers in two thirds of a second, each soon enough.
        for _ in 0..10 {
            let _ = socket.send_to(datagram, from);
            std::thread::park_timeout(std::time::Duration::from_millis(66));
        }
    });
    let gateway = start("idle_timeout: 500ms", &[&origin]);
    let client = client(&gateway);
    client.send("x");
    for _ in 0..10 {
        assert_eq!(client.receive(), b"x");
    }
    gateway.wait_stat(ENDED, &[("reason", "idle_timeout")], |count| count == 1);
    assert_eq!(gateway.stats().counter(OPENED, &[]), 1);
}

/// Nobody listens there: the network says so, and the next datagram goes elsewhere.
#[test]
fn what_the_network_says_is_heard() {
    let closed = ClosedPort::new();
    let alive = UdpOrigin::named("alive");
    let gateway = Gateway::start(&config(
        "hash: off",
        &[closed.address(), alive.address()],
        "ejection: { consecutive_failures: 1, base_time: 60s }",
    ));
    // In turn: one of the two gets no answer.
    let clients: Vec<_> = (0..8).map(|_| client(&gateway)).collect();
    for client in &clients {
        client.send("?");
    }
    gateway.wait_stat(ENDED, &[("reason", "refused")], |count| count >= 1);
    eventually("the closed endpoint is not chosen any more", || {
        gateway
            .stats()
            .gauge("portcullis_cluster_endpoints_available", &[])
            < 4
    });
    for client in &clients {
        client.send("?");
        assert_eq!(client.receive(), b"alive");
    }
}

/// An endpoint that leaves the cluster keeps the flows that it has.
#[test]
fn lame_ducks_keep_their_flows() {
    let (old, new) = (UdpOrigin::named("old"), UdpOrigin::named("new"));
    let gateway = start("", &[&old]);
    let kept = client(&gateway);
    assert_eq!(kept.ask("?"), b"old");
    let reloaded = gateway.reload(&config("", &[new.address()], ""));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(kept.ask("?"), b"old");
    assert_eq!(client(&gateway).ask("?"), b"new");
    assert_eq!(old.peers().len(), 1);
}

#[test]
fn a_reload_changes_what_new_flows_go_by_and_keeps_the_others() {
    let origin = UdpOrigin::echo();
    let gateway = start("", &[&origin]);
    let kept = client(&gateway);
    assert_eq!(kept.ask("1"), b"1");
    let denied = "filters: [{ deny: { client: [127.0.0.2/32] } }]";
    let reloaded = gateway.reload(&config(denied, &[origin.address()], ""));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(kept.ask("2"), b"2");
    UdpClient::at(2, gateway.addr("dns")).send("3");
    gateway.wait_stat(REFUSED, &[("reason", "denied")], |count| count == 1);
    assert_eq!(client(&gateway).ask("4"), b"4");
    assert_eq!(gateway.stats().counter(OPENED, &[]), 2);

    // Bounds count for flows that are there.
    let shorter = "idle_timeout: 200ms";
    let reloaded = gateway.reload(&config(shorter, &[origin.address()], ""));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(kept.ask("5"), b"5");
    gateway.wait_stat(ENDED, &[("reason", "idle_timeout")], |count| count >= 1);
}

#[test]
fn a_listener_that_is_removed_finishes_its_flows() {
    let origin = UdpOrigin::echo();
    let gateway = start("", &[&origin]);
    let kept = client(&gateway);
    assert_eq!(kept.ask("1"), b"1");
    let other = config("", &[origin.address()], "").replace("  dns:", "  other:");
    let reloaded = gateway.reload(&other);
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    gateway.wait_stat(ENDED, &[("reason", "drained")], |count| count == 1);
    let client = UdpClient::connect(gateway.addr("other"));
    assert_eq!(client.ask("2"), b"2");
}

/// F8: what is under way comes to its end.
#[test]
fn f8_answers_still_come_while_the_gateway_drains() {
    let (asked, may_answer) = std::sync::mpsc::channel::<()>();
    let origin = UdpOrigin::answering(move |socket, from, datagram| {
        let _ = may_answer.recv();
        let _ = socket.send_to(datagram, from);
    });
    let gateway = start("", &[&origin]);
    let client = client(&gateway);
    client.send("before");
    origin.wait_received(1);
    gateway.signal(Signal::TERM);
    gateway.wait_log("draining");
    asked.send(()).unwrap();
    assert_eq!(client.receive(), b"before");
    drop(asked);
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn filters_strike_datagrams() {
    let origin = UdpOrigin::echo();
    let limited = start(
        "filters: [{ rate_limit: { per: [client.ip], rate: 3/h } }]",
        &[&origin],
    );
    let one = client(&limited);
    for number in 0..5 {
        one.send(format!("{number}"));
    }
    let dropped = "portcullis_udp_datagrams_dropped_total";
    let reason = [("direction", "up"), ("reason", "rate_limited")];
    limited.wait_stat(dropped, &reason, |count| count == 2);
    for number in 0..3 {
        assert_eq!(one.receive(), format!("{number}").as_bytes());
    }
    let other = UdpClient::at(2, limited.addr("dns"));
    assert_eq!(other.ask("other"), b"other");

    let lossy = start(
        "filters: [{ fault: { loss: 100%, direction: down } }]",
        &[&origin],
    );
    client(&lossy).send("lost");
    let reason = [("direction", "down"), ("reason", "fault_loss")];
    lossy.wait_stat(dropped, &reason, |count| count == 1);

    let slow = start(
        "filters: [{ fault: { delay: { time: 50ms } } }]",
        &[&origin],
    );
    let client = client(&slow);
    assert_eq!(client.ask("late"), b"late");
    let delays = slow
        .stats()
        .counter("portcullis_udp_faults_total", &[("kind", "delay")]);
    assert_eq!(delays, 2);
}

/// The answer comes from the address that was asked, of which a machine has many.
#[test]
fn all_addresses_are_answered_from() {
    let origin = UdpOrigin::echo();
    let all = config("", &[origin.address()], "").replace("127.0.0.1:0", "0.0.0.0:0");
    let gateway = Gateway::start(&all);
    let port = gateway.addr("dns").port();
    for last in [1, 2, 77] {
        let client = UdpClient::connect(([127, 0, 0, last], port).into());
        assert_eq!(client.ask("?"), b"?", "{last}");
    }
}

#[test]
fn both_families_meet() {
    let six = UdpOrigin::at("[::1]:0".parse().unwrap(), |socket, from, datagram| {
        let _ = socket.send_to(datagram, from);
    });
    let both = config("", &[six.address()], "").replace("udp://127.0.0.1:0", "'udp://:0'");
    let gateway = Gateway::start(&both);
    let port = gateway.addr("dns").port();
    for to in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let client = UdpClient::connect(to.parse().unwrap());
        assert_eq!(client.ask("?"), b"?", "{to}");
        let large = vec![b'y'; 20_000];
        assert_eq!(client.ask(&large), large, "{to}");
    }
}

#[test]
fn what_cannot_be_is_refused_at_the_start() {
    let base = config("", &["127.0.0.1:1".parse().unwrap()], "");
    let rows = [
        ("an address of TCP", base.replace("udp://", ""), "udp://host:port"),
        ("TLS", config("tls: { certificates: [] }", &[], ""), "'tls' is for connections"),
        ("PROXY", config("proxy_protocol: { trusted: [] }", &[], ""), "'proxy_protocol' is for connections"),
        ("backlog", config("socket: { backlog: 3 }", &[], ""), "'backlog' is for connections"),
        ("no flows", config("limits: { flows: 0 }", &[], ""), "flows"),
        (
            "a cluster with a PROXY header",
            config("", &["127.0.0.1:1".parse().unwrap()], "proxy_protocol: v2"),
            "which datagrams cannot be sent with",
        ),
        (
            "a cluster behind a Unix socket",
            base.replace("['127.0.0.1:1']", "['unix:/tmp/nowhere']"),
            "which datagrams cannot be sent with",
        ),
        ("detection", base.replace(
            "udp://127.0.0.1:0\n    protocol: udp\n    cluster: resolvers\n",
            "127.0.0.1:0\n    protocol: detect\n    detect: { protocols: [{ protocol: udp, cluster: resolvers }] }\n",
        ), "only connections can be looked at"),
    ];
    for (name, config, expected) in rows {
        let exit = Gateway::run(&config);
        let said = exit.stderr.join("\n");
        assert!(said.contains(expected), "{name}: {said}");
        assert_ne!(exit.code(), Some(0), "{name}");
    }
}

/// The real thing: dnsmasq behind the gateway, asked by dig and dnsperf.
#[test]
fn names_are_resolved_through_the_gateway() {
    let (Some(dnsmasq), Some(dig), Some(dnsperf)) = (tool("dnsmasq"), tool("dig"), tool("dnsperf"))
    else {
        return;
    };
    let port = ClosedPort::new().address().port();
    let _server = Tool::start(Command::new(dnsmasq).args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
        "--address=/shop.test/192.0.2.80",
        "--txt-record=large.test,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        &format!("--port={port}"),
    ]));
    let endpoint = ([127, 0, 0, 1], port).into();
    let gateway = Gateway::start(&config("limits: { replies: 1 }", &[endpoint], ""));
    let at = gateway.addr("dns");
    let ask = |name: &str, kind: &str| {
        let arguments = [
            "@127.0.0.1",
            "-p",
            &at.port().to_string(),
            "+short",
            "+tries=1",
            "+timeout=2",
            name,
            kind,
        ];
        let output = Command::new(&dig).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    eventually("the name server answers", || {
        ask("shop.test", "A") == "192.0.2.80"
    });
    assert!(ask("large.test", "TXT").contains("aaaa"));

    let scratch = Scratch::new();
    let queries = scratch.write("queries", "shop.test A\nlarge.test TXT\n".repeat(1000));
    let arguments = [
        "-s",
        "127.0.0.1",
        "-p",
        &at.port().to_string(),
        "-c",
        "20",
        "-d",
    ];
    let load = Command::new(dnsperf)
        .args(arguments)
        .arg(queries)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&load.stdout);
    let line = report
        .lines()
        .find(|line| line.contains("Queries completed"));
    let line = line.unwrap_or_else(|| panic!("{report}"));
    assert!(line.contains("2000 (100.00%)"), "{report}");
}
