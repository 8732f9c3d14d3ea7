//! What one hop may tell the next: hop-by-hop fields, and who the client is (tests/ATTACKS.md H16).

use harness::{Client, Origin, RawRequest, Reply, Versions};

use crate::support::{Site, assert_local, row};

fn origin() -> Origin {
    Origin::http(|_| {
        Reply::bytes(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-authenticate: Basic\r\nx-end: 2\r\nserver: theirs\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n",
        )
    })
}

/// What the origin got for these fields.
#[track_caller]
fn forwarded(listener: &str, fields: &str) -> RawRequest {
    let origin = origin();
    let site = Site::new(&origin).listener(listener).start();
    let mut client = site.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"));
    assert_eq!(client.read_response().status, 200);
    site.neighbour_is_well();
    origin.next_request()
}

/// H16.
#[test]
fn h16_hop_by_hop_fields() {
    let request = forwarded(
        "",
        "connection: x-auth, keep-alive\r\nx-auth: secret\r\nkeep-alive: 300\r\nproxy-connection: keep-alive\r\n\
         proxy-authorization: Basic eA==\r\nte: gzip, trailers\r\nhttp2-settings: AAMAAABk\r\nupgrade: h2c\r\nx-kept: 1\r\n",
    );
    for name in [
        "x-auth",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "http2-settings",
        "upgrade",
    ] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("te"), Some("trailers"));
    assert_eq!(request.header("x-kept"), Some("1"));
    // RFC 9110 section 10.1.4.
    assert_eq!(request.header("connection"), Some("te"));
}

/// H16: Connection cannot take away what says where a message goes and who sent it.
#[test]
fn h16_connection_names_protected_fields() {
    let request = forwarded(
        "",
        "connection: host, x-forwarded-for, x-request-id, cookie, authorization, content-length, via\r\n\
         cookie: a=b\r\nauthorization: Bearer x\r\n",
    );
    assert_eq!(request.header("host"), Some("a.test"));
    assert_eq!(request.header("cookie"), Some("a=b"));
    assert_eq!(request.header("authorization"), Some("Bearer x"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(request.header("x-request-id").is_some());
    assert!(request.header("via").is_some());
}

/// H16: fields that a route sets are not the client's to remove.
#[test]
fn h16_connection_cannot_remove_what_we_set() {
    let origin = origin();
    let site = Site::new(&origin)
        .routes("- cluster: site\n  request_headers: { set: { x-user: gateway } }")
        .start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: x-user\r\nx-user: mallory\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(origin.next_request().header_all("x-user"), ["gateway"]);
    site.neighbour_is_well();
}

#[test]
fn response_hop_by_hop_fields() {
    let origin = origin();
    let site = Site::new(&origin).start();
    let response = site.client().get("/", "a");
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "connection"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_eq!(response.header("x-end"), Some("2"));
    assert_eq!(response.header("server"), Some("theirs"));
    assert_eq!(response.header_all("set-cookie"), ["a=1", "b=2"]);
    assert!(response.header("date").is_some());
    assert!(
        response
            .header("via")
            .is_some_and(|via| via.contains("portcullis"))
    );
}

/// H16: what a stranger says about who it is does not count.
#[test]
fn h16_spoofed_forwarding_fields() {
    let scheme = Versions::chosen().scheme();
    let other = if scheme == "http" { "https" } else { "http" };
    let request = forwarded(
        "",
        &format!(
            "x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: {other}\r\nx-forwarded-host: bank.test\r\n\
             forwarded: for=10.0.0.1\r\nx-request-id: chosen-by-the-client\r\n"
        ),
    );
    assert_eq!(request.header_all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.header_all("x-forwarded-proto"), [scheme]);
    assert_eq!(request.header_all("x-forwarded-host"), ["a.test"]);
    assert_eq!(request.header("forwarded"), None);
    let id = request.header("x-request-id").unwrap();
    assert_eq!((id.len(), id.contains("chosen")), (36, false), "{id}");
}

/// H16: a proxy that is trusted may say it, and the chain goes on.
#[test]
fn h16_trusted_proxy() {
    let request = forwarded(
        "forward: { trusted_proxies: [127.0.0.1, 10.0.0.0/8], forwarded: true }",
        "x-forwarded-for: 192.0.2.7, 10.1.2.3\r\nx-forwarded-proto: https\r\nx-forwarded-host: bank.test\r\n\
         x-request-id: 0123-from-the-proxy\r\n",
    );
    let chain = request.header_all("x-forwarded-for").join(", ");
    assert_eq!(chain, "192.0.2.7, 10.1.2.3, 127.0.0.1");
    assert_eq!(request.header_all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.header_all("x-forwarded-host"), ["bank.test"]);
    assert_eq!(request.header_all("x-request-id"), ["0123-from-the-proxy"]);
    assert!(
        request
            .header("forwarded")
            .is_some_and(|value| value.contains("for=127.0.0.1"))
    );
}

/// H16: the rightmost address that no trusted proxy stands for is the client, whatever it wrote to the left.
#[test]
fn h16_client_of_a_chain() {
    let origin = origin();
    let site = Site::new(&origin)
        .listener("forward: { trusted_proxies: [127.0.0.1] }")
        .routes("- cluster: site\n  filters:\n    - deny: { client: [192.0.2.7] }")
        .start();
    let rows = [
        ("denied", "192.0.2.7", 403),
        ("spoofed to the left", "198.51.100.1, 192.0.2.7", 403),
        ("another", "192.0.2.8", 200),
        ("denied address to the left", "192.0.2.7, 192.0.2.8", 200),
    ];
    for (name, chain, status) in rows {
        let mut client = site.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {chain}\r\n\r\n"
        ));
        assert_eq!(client.read_response().status, status, "{name}");
    }
    site.wait_local_replies("denied", 2);
    site.neighbour_is_well();
}

/// H16.
#[test]
fn h16_underscores() {
    let fields = "x_forwarded_for: 10.0.0.1\r\nx_user: admin\r\nx-user: joe\r\n";
    let dropped = forwarded("", fields);
    assert_eq!(
        (dropped.header("x_user"), dropped.header("x-user")),
        (None, Some("joe"))
    );
    let kept = forwarded("normalize: { underscores: keep }", fields);
    assert_eq!(kept.header("x_user"), Some("admin"));

    let origin = origin();
    let site = Site::new(&origin)
        .listener("normalize: { underscores: reject }")
        .start();
    let bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    site.refuses(&row("reject", &bytes, 400, "underscore_in_field_name"));
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

#[test]
fn forwarding_can_be_switched_off() {
    let request = forwarded(
        "forward: { x_forwarded: false, request_id: false, via: off }",
        "",
    );
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
        "via",
        "forwarded",
    ] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("host"), Some("a.test"));
}

/// RFC 9110 section 7.6.2: the count goes down by one, and at zero the request goes no further.
#[test]
fn max_forwards() {
    let origin = origin();
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for (method, status) in [("TRACE", 405), ("OPTIONS", 204)] {
        let ask = |client: &mut Client, count: &str| {
            client.send(format!(
                "{method} /x HTTP/1.1\r\nhost: a\r\nmax-forwards: {count}\r\n\r\n"
            ));
            client.read_response()
        };
        assert_eq!(ask(&mut client, "3").status, 200);
        assert_eq!(origin.next_request().header("max-forwards"), Some("2"));
        assert_local(method, &ask(&mut client, "0"), status, "max_forwards");
    }
    assert_eq!(origin.requests(), 2);
    site.wait_local_replies("max_forwards", 2);
}

/// The gateway's own answers say why, unless they are told not to; JSON for those who prefer it.
#[test]
fn local_replies() {
    let origin = origin();
    let site = Site::new(&origin)
        .routes("- match: { path: /x }\n  cluster: site")
        .start();
    let mut client = site.client();
    let text = client.get("/nowhere", "a");
    assert_eq!(
        (text.status, text.header("content-type")),
        (404, Some("text/plain; charset=utf-8"))
    );
    assert!(text.text().contains("no_route"), "{}", text.text());
    client.send("GET /nowhere HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n");
    let json = client.read_response();
    assert_eq!(json.header("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(
        (&body["status"], &body["reason"]),
        (&404.into(), &"no_route".into())
    );

    let silent = Site::new(&origin)
        .listener("local_reply: { reason_header: false }")
        .routes("- match: { path: /x }\n  cluster: site")
        .start();
    let response = silent.client().get("/nowhere", "a");
    assert_eq!(
        (response.status, response.header("x-portcullis-reason")),
        (404, None)
    );
    assert!(!response.text().contains("no_route"), "{}", response.text());
    silent.wait_local_replies("no_route", 1);
}
