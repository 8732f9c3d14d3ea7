//! Upgrades, WebSocket and CONNECT: a tunnel begins when both sides have said so (tests/ATTACKS.md H6, H17).

use harness::{Client, Gate, Origin, Reply, Step};

use crate::support::{Site, assert_local, row};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A masked text frame, as a client sends it.
fn masked(text: &str) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let length = u8::try_from(text.len()).unwrap();
    let mut frame = vec![0x81, 0x80 | length];
    frame.extend_from_slice(&mask);
    frame.extend(
        text.bytes()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A text frame as a server sends it.
fn plain(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, u8::try_from(text.len()).unwrap()];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// An origin that switches and then sends back whatever comes.
fn websocket_origin() -> Origin {
    Origin::raw(|connection| {
        connection.read_head()?;
        connection.send(SWITCHING)?;
        loop {
            if connection.buffered().is_empty() && connection.fill()? == 0 {
                return Ok(());
            }
            let bytes = connection.read_exact(connection.buffered().len())?;
            connection.send(bytes)?;
        }
    })
}

fn switched(client: &mut Client) {
    client.send(UPGRADE);
    let response = client.read_response();
    assert_eq!(
        (response.status, response.header("upgrade")),
        (101, Some("websocket"))
    );
    assert!(
        response
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("upgrade"))
    );
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}

#[test]
fn websocket_frames_pass() {
    let origin = Origin::script(vec![
        Step::read_until("\r\n\r\n"),
        Step::send(SWITCHING),
        Step::send(plain("welcome")),
        Step::expect(masked("hello")),
        Step::send(plain("hi")),
        Step::ReadToEnd,
        Step::send(plain("bye")),
    ]);
    let site = Site::new(&origin).start();
    let mut client = site.client();
    switched(&mut client);
    assert_eq!(client.read_exact(9), plain("welcome"));
    client.send_in_pieces(masked("hello"), 1);
    assert_eq!(client.read_exact(4), plain("hi"));
    // A half close passes, and the other direction still works.
    client.half_close();
    assert_eq!(client.read_exact(5), plain("bye"));
    client.expect_closed();
    site.neighbour_is_well();
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |active| active == 0,
    );
}

/// H6: bytes behind the request wait until upstream has switched.
#[test]
fn h6_bytes_before_101_are_held() {
    let gate = Gate::new();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            connection.read_head()?;
            gate.wait();
            assert_eq!(connection.buffered(), b"", "bytes came before the 101");
            connection.socket().set_nonblocking(true)?;
            let early = connection.fill();
            connection.socket().set_nonblocking(false)?;
            if early.is_ok() {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "bytes came before the 101",
                ));
            }
            connection.send(SWITCHING)?;
            let bytes = connection.read_exact(masked("early").len())?;
            connection.send(bytes)
        }
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send([UPGRADE.as_bytes(), &masked("early")].concat());
    origin.wait_connections(1);
    site.neighbour_is_well();
    client.expect_quiet();
    gate.open();
    assert_eq!(client.read_response().status, 101);
    assert_eq!(client.read_exact(11), masked("early"));
    site.neighbour_is_well();
}

/// H6: without a 101 there is no tunnel: what stands behind is the next request, and goes through the routes.
#[test]
fn h6_no_tunnel_on_200() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/chat" => Reply::ok("not switching"),
        _ => Reply::ok("reached the origin"),
    });
    let site = Site::new(&origin)
        .routes("- match: { path: /admin }\n  respond: { status: 403, body: no }\n- cluster: site")
        .start();
    let mut client = site.client();
    client.send(format!("{UPGRADE}GET /admin HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(client.read_response().text(), "not switching");
    let second = client.read_response();
    assert_eq!((second.status, second.text().as_str()), (403, "no"));
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

/// H6: garbage behind a request that was not upgraded is garbage.
#[test]
fn h6_no_tunnel_on_403() {
    let origin = Origin::http(|_| Reply::status(403, "no"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send([UPGRADE.as_bytes(), &masked("early")].concat());
    assert_eq!(client.read_response().status, 403);
    let refused = client.read_response();
    assert!(refused.status >= 400, "{}", refused.status);
    client.expect_closed();
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

/// H17: h2c is not offered to any upstream, whatever is configured around it.
#[test]
fn h17_h2c_upgrade() {
    let origin = Origin::http(|_| Reply::ok("plain"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(client.read_response().text(), "plain");
    let request = origin.next_request();
    for name in ["upgrade", "http2-settings"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert!(
        !String::from_utf8_lossy(&request.head)
            .to_ascii_lowercase()
            .contains("h2c")
    );
    site.neighbour_is_well();
}

/// An upgrade with a body could be taken for either: it is a plain request.
#[test]
fn upgrade_with_a_body_is_a_plain_request() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(client.read_response().text(), "hi");
    assert_eq!(origin.next_request().header("upgrade"), None);
}

/// Routes say which protocols may be switched to.
#[test]
fn upgrade_by_route() {
    let origin = websocket_origin();
    let plain = Origin::http(|request| Reply::ok(request.header("upgrade").unwrap_or("none")));
    let site = Site::new(&origin)
        .routes("- match: { path: /plain }\n  cluster: plain\n  upgrade: []\n- match: { path: /other }\n  cluster: plain\n  upgrade: [other]\n- cluster: site")
        .clusters(&format!("plain: {{ endpoints: [{}] }}", plain.address()))
        .start();
    let mut client = site.client();
    for (target, protocol, seen) in [
        ("/plain", "websocket", "none"),
        ("/other", "websocket", "none"),
        ("/other", "other", "other"),
    ] {
        client.send(format!(
            "GET {target} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        ));
        assert_eq!(client.read_response().text(), seen, "{target} {protocol}");
    }
    switched(&mut client);
    client.send("any bytes");
    assert_eq!(client.read_exact(9), b"any bytes");
}

#[test]
fn idle_tunnel_ends() {
    let origin = websocket_origin();
    let site = Site::new(&origin)
        .listener("timeouts: { tunnel_idle: 300ms }")
        .start();
    let mut client = site.client();
    switched(&mut client);
    client.send("x");
    assert_eq!(client.read_exact(1), b"x");
    let _ = client.read_to_end();
    site.wait_local_replies("tunnel_idle", 1);
    origin.wait_open(0);
    site.neighbour_is_well();
}

/// H17.
#[test]
fn h17_connect_is_refused() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(format!(
        "CONNECT {} HTTP/1.1\r\nhost: {}\r\n\r\n",
        origin.address(),
        origin.address()
    ));
    let response = client.read_response();
    assert_local("not listed", &response, 404, "no_route");
    site.wait_local_replies("no_route", 1);
    assert_eq!(origin.connections(), 0);
    site.refuses(&row(
        "no port",
        "CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n",
        400,
        "invalid_target",
    ));
    site.refuses(&row(
        "path",
        "CONNECT /x HTTP/1.1\r\nhost: a\r\n\r\n",
        400,
        "invalid_target",
    ));
    site.neighbour_is_well();
}

/// H17: an allowed CONNECT leads to the route's cluster, nowhere else, and only for the places listed.
#[test]
fn h17_connect_by_route() {
    let origin = Origin::echo();
    let site = Site::new(&origin)
        .routes("- connect: [\"git.test:22\", \"*.db.test:5432\"]\n  cluster: site")
        .start();
    let rows = [
        ("listed", "git.test:22", true),
        ("wildcard", "a.db.test:5432", true),
        ("another port", "git.test:80", false),
        ("another host", "evil.test:22", false),
        ("address", "127.0.0.1:22", false),
        ("metadata service", "169.254.169.254:80", false),
    ];
    for (name, place, allowed) in rows {
        let mut client = site.client();
        client.send(format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n\r\n"));
        let head = client.read_until("\r\n\r\n");
        let head = String::from_utf8_lossy(&head).into_owned();
        assert_eq!(head.starts_with("HTTP/1.1 200 "), allowed, "{name}: {head}");
        if allowed {
            assert!(
                !head.to_ascii_lowercase().contains("content-length"),
                "{head}"
            );
            client.send("through the tunnel");
            assert_eq!(client.read_exact(18), b"through the tunnel", "{name}");
        }
    }
    assert_eq!(origin.connections(), 2);
    site.neighbour_is_well();
}

/// H17: a tunnel to nowhere is an answer, not a hang.
#[test]
fn h17_connect_to_a_closed_port() {
    let closed = harness::ClosedPort::new();
    let site = Site::default()
        .endpoint(closed.address())
        .routes("- connect: \"*:443\"\n  cluster: site")
        .start();
    let mut client = site.client();
    client.send("CONNECT any.test:443 HTTP/1.1\r\nhost: any.test:443\r\n\r\n");
    assert_local(
        "closed port",
        &client.read_response(),
        503,
        "connect_refused",
    );
    site.wait_local_replies("connect_refused", 1);
    site.neighbour_is_well();
}
