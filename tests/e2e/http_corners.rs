//! What goes wrong at the edges of an exchange: clients that leave, answers that end early, fields where nobody looks for them.

use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Gate, Origin, Reply, Step};

use crate::support::{Site, assert_local};

/// A client that is gone while upstream has nothing to say does not keep the exchange.
#[test]
fn a_reset_ends_a_quiet_response() {
    let gate = Gate::new();
    let wait = gate.clone();
    let origin = Origin::http(move |_| {
        Reply::steps([
            Step::send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: x\n\n"),
            Step::Wait(wait.clone()),
        ])
    });
    let site = Site::new(&origin)
        .routes("- cluster: site\n  idle_timeout: 1h")
        .start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.read_until("data: x");
    client.reset();
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |count| count == 0,
    );
    gate.open();
    site.neighbour_is_well();
}

/// What came of an answer is the client's, also if it ended with what came.
#[test]
fn a_truncated_answer_is_passed_on_as_far_as_it_came() {
    let rows = [
        (
            "of a length",
            "content-length: 100000\r\n\r\n".to_owned() + &"x".repeat(30_000),
        ),
        (
            "in chunks",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".to_owned(),
        ),
    ];
    for (name, rest) in rows {
        let whole = format!("HTTP/1.1 200 OK\r\n{rest}");
        let origin = Origin::http(move |_| Reply::steps([Step::send(&whole), Step::Close]));
        let site = Site::new(&origin).start();
        for round in 0..5 {
            let mut client = site.client();
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let (came, _) = client.read_to_end();
            assert!(
                came.starts_with(b"HTTP/1.1 200 OK"),
                "{name}, round {round}"
            );
        }
        site.neighbour_is_well();
    }
}

#[test]
fn response_fields_of_a_route_are_in_every_answer() {
    let origin = Origin::http(|_| Reply::ok("origin"));
    let site = Site::new(&origin)
        .routes(
            "
- match: { path: /hello }
  respond: { status: 200, body: hi }
  response_headers: { set: { x-frame-options: DENY } }
- match: { path: /old }
  redirect: { path: /new }
  response_headers: { set: { x-frame-options: DENY } }
- match: { path: /dead }
  cluster: dead
  response_headers: { add: { x-frame-options: DENY } }
- cluster: site
  response_headers: { add: { x-frame-options: DENY } }
",
        )
        .clusters("dead: { endpoints: ['127.0.0.1:1'] }")
        .start();
    let mut client = site.client();
    for (path, status) in [("/hello", 200), ("/old", 302), ("/dead", 503), ("/", 200)] {
        let response = client.get(path, "a");
        assert_eq!(response.status, status, "{path}");
        let is_it = |(name, _): &&(String, String)| name == "x-frame-options";
        assert_eq!(response.headers.iter().filter(is_it).count(), 1, "{path}");
    }
}

/// RFC 9112 section 3.2.4.
#[test]
fn options_of_a_whole_server_in_absolute_form() {
    let origin = Origin::http(|request| Reply::ok(&request.target));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for (target, path) in [
        ("http://a", "*"),
        ("http://a/", "/"),
        ("http://a/x", "/x"),
        ("*", "*"),
    ] {
        client.send(format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!(client.read_response().text(), path, "{target}");
    }
}

#[test]
fn underscores_do_not_pass_in_trailers() {
    for how in ["drop", "reject"] {
        let origin = Origin::http(|_| Reply::ok("x"));
        let site = Site::new(&origin)
            .listener(&format!("normalize: {{ underscores: {how} }}"))
            .start();
        let mut client = site.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx_user: root\r\nx-sum: 1\r\n\r\n");
        assert_eq!(client.read_response().status, 200, "{how}");
        let requests = origin.take_requests();
        let names: Vec<&str> = requests[0]
            .trailers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["x-sum"], "{how}");
    }
}

/// H16.
#[test]
fn h16_every_forwarding_field_is_the_gateways() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(
        "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-port: 1\r\nx-forwarded-prefix: /p\r\nX-Forwarded-Server: s\r\n\
         x-forwarded-ssl: on\r\nx-real-ip: 1.2.3.4\r\nx-forwarded-for: 1.2.3.4\r\nx-mine: 1\r\n\r\n",
    );
    assert_eq!(client.read_response().status, 200);
    let requests = origin.take_requests();
    let names: Vec<String> = requests[0]
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    for name in [
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-ssl",
        "x-real-ip",
    ] {
        assert!(!names.iter().any(|known| known == name), "{name}");
    }
    assert!(names.iter().any(|name| name == "x-mine"));
    let client_address = requests[0]
        .headers
        .iter()
        .find(|(name, _)| name == "x-forwarded-for");
    assert_eq!(client_address.unwrap().1, "127.0.0.1");
}

/// RFC 9110 section 7.8: the server says what it switches to, and that must have been asked for.
#[test]
fn a_101_about_something_else_is_refused() {
    for field in ["upgrade: h2c\r\n", "", "upgrade: websocket, h2c\r\n"] {
        let answer =
            format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{field}\r\n");
        let origin = Origin::http(move |_| Reply::steps([Step::send(&answer), Step::ReadToEnd]));
        let site = Site::new(&origin).start();
        let mut client = site.client();
        client
            .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        assert_local(field, &client.read_response(), 502, "unexpected_upgrade");
        site.neighbour_is_well();
    }
}

/// RFC 9110 section 8.6.
#[test]
fn a_304_keeps_the_length_that_it_speaks_of() {
    let origin = Origin::http(|_| {
        Reply::steps([Step::send(
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        )])
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let response = client.read_head_response();
        assert_eq!(
            (response.status, response.header("content-length")),
            (304, Some("5"))
        );
    }
}

/// RFC 9110 section 10.1.4.
#[test]
fn te_is_named_in_connection() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    let requests = origin.take_requests();
    let value = |wanted: &str| {
        let mut fields = requests[0].headers.iter();
        fields
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (value("te"), value("connection")),
        (Some("trailers"), Some("te"))
    );
}

/// A reload forgets nothing of why requests were refused.
#[test]
fn reasons_stay_counted_over_reloads() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let beside = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin);
    let before = site.yaml(&beside);
    let after = Site::new(&origin)
        .listener("limits: { head: 16KiB }")
        .yaml(&beside);
    let gateway = harness::Gateway::start(&before);
    let mut client = gateway.connect("web");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_local("no host", &client.read_response(), 400, "missing_host");
    let labels = [("listener", "web"), ("reason", "missing_host")];
    gateway.wait_stat(crate::support::LOCAL_REPLIES, &labels, |count| count == 1);
    assert_eq!(gateway.reload(&after).status, 200);
    assert_eq!(gateway.reload(&before).status, 200);
    gateway.wait_stat(crate::support::LOCAL_REPLIES, &labels, |count| count == 1);
}

/// Once some of an answer has come, the request was seen: it is not sent again.
#[test]
fn reset_after_some_of_an_answer_is_not_retried() {
    let rows = [
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-le"),
        ("no head", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"),
        ("an interim head", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ];
    for (name, bytes) in rows {
        let origin = Origin::http(move |_| Reply::steps([Step::send(bytes), Step::Close]));
        let second = Origin::http(move |_| Reply::steps([Step::send(bytes), Step::Close]));
        let site = Site::new(&origin)
            .endpoint(second.address())
            .cluster("ejection: { max_ejected: 0% }")
            .listener("retry_budget: { percent: 100% }")
            .routes("- cluster: site\n  retry: { attempts: 2, on: [reset] }")
            .start();
        let mut client = site.client();
        client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
        assert_eq!(client.read_response().status, 502, "{name}");
        assert_eq!(origin.requests() + second.requests(), 1, "{name}");
        site.neighbour_is_well();
    }
}

/// F10: what is sent again since a connection was closed while idle is sent again once, on a new connection, and is counted.
#[test]
fn f10_idle_reset_is_retried_once() {
    let seen = AtomicUsize::new(0);
    let origin = Origin::http(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::ok("answer"),
        _ => Reply::steps([Step::Reset]),
    });
    let site = Site::new(&origin)
        .cluster("ejection: { max_ejected: 0% }")
        .start();
    let mut client = site.client();
    assert_eq!(client.get("/1", "a").text(), "answer");
    assert_eq!(client.get("/2", "a").status, 502);
    assert_eq!((origin.requests(), origin.connections()), (3, 2));
    site.wait_stat(
        "portcullis_http_retries_total",
        &[("listener", "web")],
        |count| count == 1,
    );
    site.neighbour_is_well();
}
