//! grpcio, which is the C core of gRPC: its client and its server, over HTTP/2 on both sides of the gateway.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};

use harness::{Gateway, Tool};

use crate::python::Python;

/// A Python that has grpcio. `None` is to skip the test.
fn python() -> Option<Python> {
    Python::with("grpc", &["grpcio", "grpcio-health-checking"])
}

/// The server in `server.py`.
struct Server {
    port: u16,
    lines: BufReader<ChildStdout>,
    _process: Tool,
}

impl Server {
    fn start(python: &Python) -> Self {
        let mut process = Tool::start(&mut python.run(include_str!("server.py")));
        let mut lines = BufReader::new(process.child().stdout.take().unwrap());
        let port = line(&mut lines).parse().unwrap();
        Self {
            port,
            lines,
            _process: process,
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn line(&mut self) -> String {
        line(&mut self.lines)
    }
}

fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A gateway between both, with more keys for its listener and its route.
fn gateway(server: &Server, listener: &str, route: &str) -> Gateway {
    Gateway::start(&format!(
        "listeners:\n  web:\n    listen: 127.0.0.1:0\n    protocol: http\n    {listener}\n    routes:\n      \
         - match: {{ grpc: [test.Echo/Unary, test.Echo, grpc.health.v1.Health] }}\n        cluster: echo\n        {route}\n\
         clusters:\n  echo: {{ endpoints: [\"{}\"], http: {{ version: http2 }} }}\n",
        server.address()
    ))
}

/// The client in `client.py`, with a pipe to its input.
fn client(python: &Python, gateway: &Gateway, case: &str) -> Child {
    let mut command = python.run(include_str!("client.py"));
    command.arg(gateway.addr("web").to_string()).arg(case);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

/// The lines that a case prints.
fn said(python: &Python, gateway: &Gateway, case: &str) -> Vec<String> {
    let output = client(python, gateway, case).wait_with_output().unwrap();
    assert!(output.status.success(), "{case}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_calls(gateway: &Gateway, method: &str, status: &str, calls: u64) {
    let labels = [
        ("service", "test.Echo"),
        ("method", method),
        ("status", status),
    ];
    gateway.wait_stat("portcullis_grpc_calls_total", &labels, |count| {
        count == calls
    });
}

#[test]
fn every_kind_of_call() {
    let Some(python) = python() else { return };
    let server = Server::start(&python);
    for filters in ["filters: []", "filters: [grpc_health, grpc_web, grpc]"] {
        let gateway = gateway(&server, filters, "");
        let kinds = said(&python, &gateway, "kinds");
        let expected = [
            "b'echo hi'",
            "[b'0', b'1', b'2']",
            "b'a,b'",
            "[b'<a>', b'<b>']",
        ];
        assert_eq!(kinds, expected, "{filters}");
        let in_step: Vec<String> = (0..10).map(|number| format!("b'<{number}>'")).collect();
        assert_eq!(said(&python, &gateway, "in_step"), in_step, "{filters}");
        assert_eq!(said(&python, &gateway, "metadata"), ["True"], "{filters}");
        assert_eq!(
            said(&python, &gateway, "compressed"),
            ["100005", "3"],
            "{filters}"
        );
        if filters.contains("grpc,") {
            assert_calls(&gateway, "Unary", "ok", 3);
            assert_calls(&gateway, "other", "ok", 5);
        }
    }
}

/// Those of the server come as they are; those of the gateway look no different.
#[test]
fn errors_have_their_statuses() {
    let Some(python) = python() else { return };
    let server = Server::start(&python);
    let gateway = gateway(&server, "filters: [grpc]", "");
    let mut expected: Vec<String> = [
        "CANCELLED",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "INTERNAL",
        "UNAVAILABLE",
        "UNAUTHENTICATED",
    ]
    .iter()
    .map(|code| format!("{code} because \u{f6} 100%"))
    .collect();
    expected.push("UNIMPLEMENTED Method not found!".to_owned());
    expected.push("UNIMPLEMENTED Not Found: no_route".to_owned());
    assert_eq!(said(&python, &gateway, "errors"), expected);
    assert_calls(&gateway, "Unary", "permission_denied", 1);
    assert_calls(&gateway, "other", "unimplemented", 1);
}

#[test]
fn large_messages_pass_up_to_the_limit() {
    let Some(python) = python() else { return };
    let server = Server::start(&python);
    let gateway = gateway(&server, "filters: [grpc]", "");
    let expected = [
        "100005",
        "3000005",
        "RESOURCE_EXHAUSTED Content Too Large: grpc_message_too_large",
        "b'echo still here'",
    ];
    assert_eq!(said(&python, &gateway, "large"), expected);
}

/// The caller asks for a minute, the route gives five seconds; then the caller's own time is up. Either the gateway's
/// answer or the client's own clock ends the call: both say the same.
#[test]
fn deadlines_are_clamped_and_kept() {
    let Some(python) = python() else { return };
    let mut server = Server::start(&python);
    let gateway = gateway(&server, "filters: [grpc]", "timeout: 5s");
    let lines = said(&python, &gateway, "deadline");
    assert_eq!(lines[0], "True");
    assert!(lines[1].starts_with("DEADLINE_EXCEEDED "), "{lines:?}");
    assert_eq!([server.line(), server.line()], ["hangs", "cancelled"]);
}

#[test]
fn cancellation_reaches_the_server() {
    let Some(python) = python() else { return };
    let mut server = Server::start(&python);
    let gateway = gateway(&server, "filters: [grpc]", "");
    let mut client = client(&python, &gateway, "cancel");
    assert_eq!(server.line(), "hangs");
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(server.line(), "cancelled");
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "CANCELLED\n");
    assert_calls(&gateway, "Unary", "cancelled", 1);
}

/// The server dies in the middle of a stream: the client hears of it in trailers.
#[test]
fn a_broken_stream_ends_with_a_status() {
    let Some(python) = python() else { return };
    let server = Server::start(&python);
    let gateway = gateway(&server, "filters: [grpc]", "");
    let mut client = client(&python, &gateway, "broken");
    let mut lines = BufReader::new(client.stdout.take().unwrap());
    assert_eq!(line(&mut lines), "b'one'");
    drop(server);
    let end = line(&mut lines);
    assert!(end.starts_with("UNAVAILABLE upstream_"), "{end}");
    assert!(client.wait().unwrap().success());
    assert_calls(&gateway, "other", "unavailable", 1);
}

/// The gateway's own health where it is asked for, else the server's.
#[test]
fn health_is_the_servers_or_the_gateways() {
    let Some(python) = python() else { return };
    let server = Server::start(&python);
    let own = gateway(
        &server,
        "filters: [{ grpc_health: { services: [shop.Cart] } }]",
        "",
    );
    let expected = [
        "1",
        "1",
        "NOT_FOUND unknown service",
        // Watched.
        "1",
    ];
    assert_eq!(said(&python, &own, "health"), expected);
    let through = gateway(&server, "filters: [grpc]", "");
    let checks = said(&python, &through, "health_checks");
    assert_eq!(checks[0], "1");
    assert!(checks[1].starts_with("NOT_FOUND"), "{checks:?}");
}
