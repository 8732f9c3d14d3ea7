//! Bodies and their lengths, both ways and in both versions: what arrives is what was sent, framed for its reader.

use harness::{Origin, Reply, Step};

use crate::support::{Site, assert_local, checksum, noise};

/// An origin that answers with what it got, under a length.
fn echo() -> Origin {
    Origin::http(|request| Reply::ok(&request.body))
}

/// A body in chunks of this size.
fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size.max(1)) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn lengths_and_chunks_up() {
    let origin = echo();
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for size in [0, 1, 15, 16, 4096, 65_537, 300_000] {
        let body = noise(size);
        client.send(format!(
            "POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n"
        ));
        client.send(&body);
        let response = client.read_response();
        assert_eq!(checksum(&response.body), checksum(&body), "length {size}");
        let request = origin.next_request();
        assert_eq!(
            request.header("content-length"),
            Some(size.to_string().as_str())
        );
        assert_eq!(request.header("transfer-encoding"), None);

        client.send("POST /chunked HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n");
        client.send(chunked(&body, 1000));
        let response = client.read_response();
        assert_eq!(checksum(&response.body), checksum(&body), "chunked {size}");
        let request = origin.next_request();
        assert_eq!(request.header_all("transfer-encoding"), ["chunked"]);
        assert_eq!(request.header("content-length"), None);
    }
    assert_eq!(origin.connections(), 1);
    site.neighbour_is_well();
}

#[test]
fn requests_arrive_in_any_pieces() {
    let origin = echo();
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for size in [1, 2, 3, 7, 1000] {
        let mut bytes =
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        bytes.extend(chunked(b"0123456789abcdef", 5));
        client.send_in_pieces(&bytes, size);
        assert_eq!(client.read_response().text(), "0123456789abcdef", "{size}");
    }
    site.neighbour_is_well();
}

#[test]
fn responses_arrive_in_any_pieces() {
    let response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwiki\r\n5;x\r\npedia\r\n0\r\na: b\r\n\r\n";
    let origin = Origin::http(|_| Reply::steps(response.as_bytes().chunks(1).map(Step::send)));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for _ in 0..3 {
        let response = client.get("/", "a");
        assert_eq!(response.text(), "wikipedia");
        assert_eq!(response.trailers, [("a".to_owned(), "b".to_owned())]);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::http(|_| {
        Reply::bytes(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: down\r\n\r\n",
        )
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         1\r\na\r\n0\r\nx-sum: up\r\nx-more: 1\r\n\r\n",
    );
    let response = client.read_response();
    assert_eq!(response.trailers, [("x-sum".to_owned(), "down".to_owned())]);
    let request = origin.next_request();
    let expected =
        [("x-sum", "up"), ("x-more", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(request.trailers, expected);
    assert_eq!(request.header("te"), Some("trailers"));
}

/// RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5: the length is told, the body is not sent.
#[test]
fn responses_without_a_body() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/204" => Reply::bytes("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => {
            Reply::bytes("HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\netag: \"x\"\r\n\r\n")
        }
        "/chunked" => Reply::bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        _ => Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n"),
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    let response = client.read_head_response();
    assert_eq!(
        (response.status, response.header("content-length")),
        (200, Some("12345"))
    );
    client.send("HEAD /chunked HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_head_response().status, 200);
    assert_eq!(client.get("/204", "a").header("content-length"), None);
    let response = client.get("/304", "a");
    assert_eq!(
        (response.status, response.header("etag")),
        (304, Some("\"x\""))
    );
    // All of it on one connection each: nobody waited for a body.
    assert_eq!(client.get("/204", "a").status, 204);
    assert_eq!(origin.connections(), 1);
    site.neighbour_is_well();
}

/// A local reply to HEAD tells the length of what GET would have brought.
#[test]
fn head_of_a_local_reply() {
    let origin = echo();
    let site = Site::new(&origin)
        .routes("- match: { path: /x }\n  respond: { status: 200, body: hello }\n- cluster: site")
        .start();
    let mut client = site.client();
    client.send("HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n");
    let response = client.read_head_response();
    assert_eq!(
        (response.status, response.header("content-length")),
        (200, Some("5"))
    );
    assert_eq!(client.get("/x", "a").text(), "hello");
}

#[test]
fn http10_client() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/length" => Reply::ok("measured"),
        "/interim" => Reply::bytes(
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ),
        _ => Reply::bytes(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: x\r\n\r\n",
        ),
    });
    let site = Site::new(&origin).start();

    let mut client = site.client();
    client.send("GET /chunked HTTP/1.0\r\n\r\n");
    let response = client.read_response();
    assert_eq!(
        (
            response.header("transfer-encoding"),
            response.text().as_str()
        ),
        (None, "abc")
    );
    client.expect_closed();

    // Without keep-alive it is one request; with it and a length, the connection stays.
    let mut client = site.client();
    client.send("GET /length HTTP/1.0\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "measured");
    client.expect_closed();
    let mut client = site.client();
    for _ in 0..2 {
        client.send("GET /length HTTP/1.0\r\nhost: a\r\nconnection: Keep-Alive\r\n\r\n");
        let response = client.read_response();
        assert_eq!(
            response
                .header("connection")
                .map(str::to_ascii_lowercase)
                .as_deref(),
            Some("keep-alive")
        );
    }
    // RFC 9110 section 15.2: an HTTP/1.0 client is not sent interim responses.
    client.send("GET /interim HTTP/1.0\r\nhost: a\r\n\r\n");
    let response = client.read_response();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    client.expect_closed();
    site.neighbour_is_well();
}

/// The end of an HTTP/1.0 server's connection is the end of its body; our client's connection goes on.
#[test]
fn http10_server() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/kept" => Reply::bytes(
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 4\r\n\r\nkept",
        ),
        "/length" => Reply::bytes("HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nsize").close(),
        _ => Reply::bytes("HTTP/1.0 200 OK\r\n\r\nuntil the end").close(),
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    for _ in 0..2 {
        let response = client.get("/", "a");
        assert_eq!(response.text(), "until the end");
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        assert_eq!(client.get("/length", "a").text(), "size");
    }
    assert_eq!(client.get("/kept", "a").text(), "kept");
    assert_eq!(client.get("/kept", "a").text(), "kept");
    assert_eq!(origin.connections(), 5);

    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_response().text(), "until the end");
    client.expect_closed();
    site.neighbour_is_well();
}

#[test]
fn expect_continue_passes() {
    let origin = echo();
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(client.read_response().status, 100);
    client.send("abc");
    assert_eq!(client.read_response().text(), "abc");
    assert_eq!(origin.next_request().header("expect"), Some("100-continue"));
    site.neighbour_is_well();
}

/// A client that is refused instead of told to go on keeps its body.
#[test]
fn expect_continue_refused() {
    let origin = Origin::raw(|connection| {
        connection.read_head()?;
        connection.send("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n")?;
        connection.read_to_end().map(drop)
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(client.read_response().status, 417);
    // The three bytes may still come: if they do, they are the body and not the next request.
    client.send("abcGET / HTTP/1.1\r\nhost: neighbour.test\r\n\r\n");
    assert_eq!(client.read_response().text(), "well");
}

#[test]
fn interim_responses_pass() {
    let origin = Origin::http(|_| {
        Reply::bytes(
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )
    });
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_response().status, 102);
    let hints = client.read_response();
    assert_eq!(
        (hints.status, hints.header("link")),
        (103, Some("</style.css>"))
    );
    assert_eq!(client.read_response().text(), "ok");
    assert_eq!(client.get("/", "a").text(), "ok");
}

/// H14.
#[test]
fn h14_interim_flood() {
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(40);
    let origin = Origin::http(move |_| {
        Reply::bytes(format!(
            "{flood}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        ))
    });
    let site = Site::new(&origin)
        .listener("limits: { interim_responses: 8 }")
        .start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut interim = 0;
    let response = loop {
        let response = client.read_response();
        if response.status >= 200 {
            break response;
        }
        interim += 1;
    };
    assert_local("flood", &response, 502, "too_many_interim");
    assert_eq!(interim, 8);
    site.wait_local_replies("too_many_interim", 1);
    origin.wait_open(0);
    site.neighbour_is_well();
}

/// H8: what is not read of a body is no request, whoever answered.
#[test]
fn h8_unread_bodies() {
    let origin = Origin::raw(|connection| {
        while connection.read_head()?.is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")?;
        }
        Ok(())
    });
    let site = Site::new(&origin)
        .routes(
            "- match: { path: /local }\n  respond: { status: 200, body: local }\n- cluster: site",
        )
        .start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: neighbour.test\r\n\r\n";
    for (target, text) in [("/local", "local"), ("/early", "early")] {
        let mut client = site.client();
        let length = smuggled.len();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
        ));
        assert_eq!(client.read_response().text(), text);
        client
            .send(smuggled)
            .send("GET /after HTTP/1.1\r\nhost: neighbour.test\r\n\r\n");
        assert_eq!(client.read_response().text(), "well");
        client.expect_quiet();
    }
    let seen = site.beside.take_requests();
    assert!(
        seen.iter().all(|request| request.target != "/smuggled"),
        "{seen:?}"
    );
    site.neighbour_is_well();
}

/// H8: a body too long to read for nothing ends the connection.
#[test]
fn h8_unread_body_past_the_bound() {
    let origin = echo();
    let site = Site::new(&origin)
        .routes(
            "- match: { path: /local }\n  respond: { status: 200, body: local }\n- cluster: site",
        )
        .start();
    let mut client = site.client();
    client.send("POST /local HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n");
    assert_eq!(client.read_response().text(), "local");
    let piece = vec![b'x'; 64 * 1024];
    while client.try_send(&piece) {}
    site.wait_stat(
        "portcullis_http_downstream_errors_total",
        &[("listener", "web"), ("reason", "unread_body")],
        |count| count == 1,
    );
    site.neighbour_is_well();
}

/// H11: bodies past the limit, told or not.
#[test]
fn h11_body_limits() {
    let origin = echo();
    let site = Site::new(&origin)
        .listener("limits: { body: 10 }")
        .routes("- match: { path: /more }\n  cluster: site\n  max_body: 20\n- cluster: site")
        .start();
    let rows = [
        (
            "length within",
            "/",
            "content-length: 10\r\n\r\n0123456789",
            None,
        ),
        (
            "length beyond",
            "/",
            "content-length: 11\r\n\r\n0123456789a",
            Some("body_too_large"),
        ),
        (
            "chunks within",
            "/",
            "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
            None,
        ),
        (
            "chunks beyond",
            "/",
            "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n",
            Some("body_too_large"),
        ),
        (
            "route's own",
            "/more",
            "content-length: 11\r\n\r\n0123456789a",
            None,
        ),
        (
            "beyond the route's own",
            "/more",
            "content-length: 21\r\n\r\n0123456789a0123456789",
            Some("body_too_large"),
        ),
    ];
    let mut refused = 0;
    for (name, target, rest, reason) in rows {
        let mut client = site.client();
        client.send(format!("POST {target} HTTP/1.1\r\nhost: a\r\n{rest}"));
        let response = client.read_response();
        match reason {
            None => assert_eq!(response.status, 200, "{name}"),
            Some(reason) => {
                assert_local(name, &response, 413, reason);
                refused += 1;
                site.wait_local_replies(reason, refused);
            }
        }
    }
    site.neighbour_is_well();
}
