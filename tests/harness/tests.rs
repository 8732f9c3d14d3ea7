//! The harness tested against itself: its clients against its upstreams, its gateway against a shell script.

use std::process::Command;

use crate::{
    Client, ClosedPort, Ending, Gate, Gateway, Origin, Reply, Scratch, Signal, Stats, Step,
};

#[test]
fn http_upstream_records_and_replies() {
    let origin =
        Origin::http(|request| Reply::ok(format!("{} {}", request.method, request.target)));
    let mut client = Client::connect(origin.address());
    assert_eq!(client.get("/a", "x.test").text(), "GET /a");
    client.send(
        "POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\nt: 1\r\n\r\n",
    );
    assert_eq!(client.read_response().status, 200);

    let first = origin.next_request();
    assert_eq!(
        (first.header("HOST"), first.connection),
        (Some("x.test"), 0)
    );
    let second = origin.next_request();
    assert_eq!(second.body, b"abc");
    assert_eq!(second.trailers, [("t".to_owned(), "1".to_owned())]);
    assert_eq!((origin.connections(), origin.requests()), (1, 2));
}

#[test]
fn responses_end_in_every_way() {
    let rows = [
        (
            "length",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "hi",
        ),
        (
            "chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
            "hi",
        ),
        ("until close", "HTTP/1.0 200 OK\r\n\r\nhi", "hi"),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n", ""),
    ];
    for (name, bytes, body) in rows {
        let origin = Origin::http(move |_| Reply::bytes(bytes).close());
        let mut client = Client::connect(origin.address());
        assert_eq!(client.get("/", "x").text(), body, "{name}");
        client.expect_closed();
    }
}

#[test]
fn script_waits_at_its_gate_and_resets() {
    let gate = Gate::new();
    let origin = Origin::script(vec![
        Step::expect("ping"),
        Step::Wait(gate.clone()),
        Step::send("pong"),
        Step::ReadUntil(b"!".to_vec()),
        Step::Reset,
    ]);
    let mut client = Client::connect(origin.address());
    client.send_in_pieces("ping", 1);
    client.expect_quiet();
    gate.open();
    assert_eq!(client.read_exact(4), b"pong");
    client.send("bye!").expect_reset();
}

#[test]
#[should_panic(expected = "expected \"ping\", received \"pong\"")]
fn script_that_is_not_met_fails_the_test() {
    let origin = Origin::script(vec![Step::expect("ping")]);
    let mut client = Client::connect(origin.address());
    client.send("pong").expect_closed();
    origin.wait_open(0);
}

#[test]
fn echo_sees_a_half_close() {
    let origin = Origin::echo();
    let mut client = Client::connect_from("127.0.0.9".parse().unwrap(), origin.address());
    assert_eq!(client.local_address().ip().to_string(), "127.0.0.9");
    client.send("abc").half_close();
    assert_eq!(client.read_to_end(), (b"abc".to_vec(), Ending::Closed));
}

#[test]
fn killed_upstream_resets_refuses_and_comes_back() {
    let mut origin = Origin::echo();
    let address = origin.address();
    let mut client = Client::connect(address);
    client.send("a");
    assert_eq!(client.read_exact(1), b"a");

    origin.kill();
    client.expect_reset();
    assert!(crate::Connection::connect(address).is_err());

    origin.restart();
    let mut client = Client::connect(address);
    client.send("b");
    assert_eq!(client.read_exact(1), b"b");
    client.reset();
    origin.wait_open(0);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn closed_port_refuses() {
    let port = ClosedPort::new();
    let error = crate::Connection::connect(port.address()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn stats_are_summed_over_matching_series() {
    let stats = Stats::parse(concat!(
        "# HELP portcullis_requests_total Requests.\n",
        "portcullis_requests_total{listener=\"web\",code=\"2xx\"} 3\n",
        "portcullis_requests_total{listener=\"web\",code=\"5xx\"} 4\n",
        "portcullis_requests_total{listener=\"a\\\"}b\\n\"} 5\n",
        "portcullis_up 1\n",
    ));
    let rows: &[(&[(&str, &str)], u64)] = &[
        (&[], 12),
        (&[("listener", "web")], 7),
        (&[("listener", "web"), ("code", "5xx")], 4),
        (&[("listener", "a\"}b\n")], 5),
        (&[("listener", "none")], 0),
    ];
    for (labels, sum) in rows {
        assert_eq!(
            stats.counter("portcullis_requests_total", labels),
            *sum,
            "{labels:?}"
        );
    }
    assert_eq!(stats.gauge("portcullis_up", &[]), 1);
    assert_eq!(stats.value("portcullis_down", &[]), None);
}

/// Something that announces itself as the gateway does and answers as its admin endpoint does.
fn pretend(origin: &Origin) -> Gateway {
    let scratch = Scratch::new();
    let config = scratch.write("portcullis.yaml", "");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "trap 'echo drained; exit 3' TERM
         echo 'portcullis: listening name=web address=0.0.0.0:81' >&2
         echo 'portcullis: ready admin={}' >&2
         while :; do sleep 0.01; done",
        origin.address()
    ));
    Gateway::launch(command, config, scratch)
}

#[test]
fn gateway_is_followed_asked_and_stopped() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/metrics" => Reply::ok("portcullis_up{a=\"b\"} 1\n"),
        _ => Reply::status(409, "no"),
    });
    let gateway = pretend(&origin);
    assert_eq!(gateway.addr("web").to_string(), "127.0.0.1:81");
    gateway.wait_log("ready");
    assert_eq!(
        gateway.wait_stat("portcullis_up", &[("a", "b")], |value| value == 1),
        1
    );
    let reply = gateway.reload("listeners: {}");
    assert_eq!((reply.status, reply.text().as_str()), (409, "no"));
    let written = std::fs::read_to_string(gateway.config_path()).unwrap();
    assert_eq!(written, "listeners: {}\nadmin: { listen: 127.0.0.1:0 }\n");
    assert!(gateway.descriptors() > 2 && gateway.resident_bytes() > 0);

    let exit = gateway.stop();
    assert_eq!(
        (exit.code(), exit.stdout),
        (Some(3), vec!["drained".to_owned()])
    );
}

#[test]
fn gateway_dies_with_its_handle() {
    let origin = Origin::echo();
    let gateway = pretend(&origin);
    gateway.wait_log("ready");
    gateway.signal(Signal::CONT);
    let folder = format!("/proc/{}", gateway.pid());
    drop(gateway);
    assert!(!std::path::Path::new(&folder).exists());
}
