//! Requests and responses over HTTP/3.

use bytes::{Buf as _, Bytes};
use harness::{Gate, Http3Origin, Http3Stream, Origin, Reply, Step};
use http::{HeaderMap, HeaderValue, Request, Response};

use super::{CONNECTIONS, RESETS, SITE, site, wait_streams};
use crate::support::{assert_local, checksum, noise};

#[test]
fn messages_pass_both_ways() {
    let origin = Origin::http(|request| {
        let trailers = request.trailers.len();
        Reply::bytes(format!(
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\nx-method: {}\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: {trailers}\r\n\r\n",
            request.method
        ))
    });
    let front = Http3Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let mut client = site.client();
    client.send(
        "POST /path?q=1 HTTP/1.1\r\nhost: a.test\r\nX-Upper: Case\r\ncookie: a=1; b=2\r\nte: trailers\r\n\
         connection: te, x-hop\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n",
    );
    let interim = client.read_response();
    assert_eq!(
        (interim.status, interim.header("link")),
        (103, Some("</a>"))
    );
    let response = client.read_response();
    assert_eq!((response.status, response.text().as_str()), (201, "hello"));
    assert_eq!(response.header("x-method"), Some("POST"));
    assert_eq!(response.trailers, [("x-sum".into(), "1".into())]);
    let request = origin.next_request();
    assert_eq!(
        (request.target.as_str(), request.header("host")),
        ("/path?q=1", Some("a.test"))
    );
    assert_eq!(request.header("x-upper"), Some("Case"));
    assert_eq!(request.header("cookie"), Some("a=1; b=2"));
    assert_eq!(request.header("te"), Some("trailers"));
    assert_eq!(request.header("x-hop"), None);
    assert_eq!(request.body, b"abc");
    assert_eq!(request.trailers, [("x-end".into(), "1".into())]);
    site.neighbour_is_well();
}

#[test]
fn heads_without_bodies() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/304" => Reply::bytes("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
        "/204" => Reply::bytes("HTTP/1.1 204 No Content\r\n\r\n"),
        _ if request.method == "HEAD" => {
            Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n")
        }
        _ => Reply::ok(""),
    });
    let front = Http3Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let mut client = site.client();
    for (request, status, length) in [
        ("HEAD / ", 200, Some("7")),
        ("GET /304 ", 304, Some("9")),
        ("GET /204 ", 204, None),
        ("GET / ", 200, Some("0")),
    ] {
        client.send(format!("{request}HTTP/1.1\r\nhost: a\r\n\r\n"));
        let response = client.read_head_response();
        assert_eq!(
            (response.status, response.header("content-length")),
            (status, length),
            "{request}"
        );
    }
    client.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_response().status, 200, "no host");
}

#[test]
fn large_bodies_pass_both_ways() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let front = Http3Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let body = noise(3 << 20);
    let mut client = site.client();
    let length = body.len();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
    ));
    client.send(&body);
    assert_eq!(checksum(&client.read_response().body), checksum(&body));
}

/// Requests share a connection, those that come before there is one as well.
#[test]
fn one_connection_carries_many_requests() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| {
        Reply::steps([Step::Wait(held.clone())])
            .then(Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    });
    let front = Http3Origin::in_front_of(origin.address());
    let site = site(front.address(), "").start();
    let mut clients: Vec<_> = (0..20).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    wait_streams(&site, 20);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    assert_eq!(front.connections(), 1);
    for client in &mut clients {
        assert_eq!(client.get("/", "a").status, 200);
    }
    assert_eq!(front.connections(), 1);
    site.wait_stat(CONNECTIONS, &SITE, |value| value == 1);
}

/// An answer in the middle of an upload, and the end of it that RFC 9114 section 4.1 allows behind it.
#[test]
fn an_early_answer_counts() {
    let origin = Http3Origin::start(|_, mut stream| async move {
        let head = Response::builder().status(413).body(()).unwrap();
        let _ = stream.send_response(head).await;
        let _ = stream.send_data(Bytes::from_static(b"too much")).await;
        let _ = stream.finish().await;
        stream.stop_sending(h3::error::Code::H3_NO_ERROR);
    });
    let site = site(origin.address(), "").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nbegin");
    let response = client.read_response();
    assert_eq!(
        (response.status, response.text().as_str()),
        (413, "too much")
    );
}

/// Sends 32 MiB, as the gateway lets it.
async fn flood(_: Request<()>, mut stream: Http3Stream) {
    let chunk = Bytes::from(vec![b'x'; 64 << 10]);
    let _ = stream.send_response(Response::new(())).await;
    for _ in 0..512 {
        if stream.send_data(chunk.clone()).await.is_err() {
            return;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static("1"));
    let _ = stream.send_trailers(trailers).await;
    let _ = stream.finish().await;
}

/// A body that its window holds back waits, and takes no memory but the window's.
#[test]
fn a_slow_client_holds_the_endpoint_back() {
    let origin = Http3Origin::start(flood);
    let site = site(origin.address(), "").start();
    let mut slow = site.client();
    slow.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.read_until("\r\n\r\n");
    let before = site.resident_bytes();
    // Others on the same connection are not held up by it.
    let mut quick = site.client();
    quick.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let whole = quick.read_response();
    assert_eq!(whole.body.len(), 32 << 20);
    assert_eq!(whole.trailers, [("x-end".into(), "1".into())]);
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "grown by {grown}");
    assert_eq!(origin.connections(), 1);
}

/// An endpoint that does not read yet has its client wait.
#[test]
fn a_slow_endpoint_holds_the_client_back() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Http3Origin::start(move |_, mut stream: Http3Stream| {
        let held = held.clone();
        async move {
            tokio::task::spawn_blocking(move || held.wait())
                .await
                .unwrap();
            let mut read = 0;
            while let Ok(Some(data)) = stream.recv_data().await {
                read += data.remaining();
            }
            let _ = stream.send_response(Response::new(())).await;
            let _ = stream.send_data(read.to_string().into()).await;
            let _ = stream.finish().await;
        }
    });
    let site = site(origin.address(), "").start();
    let mut client = site.client();
    let body = noise(24 << 20);
    let length = body.len().to_string();
    let sending = std::thread::spawn(move || {
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        client.read_response().text()
    });
    wait_streams(&site, 1);
    site.neighbour_is_well();
    gate.open();
    assert_eq!(sending.join().unwrap(), length);
}

/// A client that leaves is felt upstream, and nobody else is.
#[test]
fn a_client_that_leaves_resets_its_stream() {
    let origin = Http3Origin::raw(|gateway| async move {
        let _control = gateway.control().await;
        let mut exchange = gateway.request().await.unwrap();
        let code = exchange.send.stopped().await.unwrap().unwrap();
        assert_eq!(code.into_inner(), 0x10c, "H3_REQUEST_CANCELLED");
        let _ = exchange.send.finish();
        gateway.serve("ok").await;
    });
    let site = site(origin.address(), "").start();
    let mut leaving = site.client();
    leaving.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_streams(&site, 1);
    leaving.reset();
    let by_gateway = [("cluster", "site"), ("by", "gateway")];
    site.wait_stat(RESETS, &by_gateway, |value| value == 1);
    assert_eq!(site.client().get("/", "a").text(), "ok");
    assert_eq!(origin.connections(), 1);
}

/// Neither has a way through HTTP/3, and each is told so.
#[test]
fn tunnels_are_refused() {
    let origin = Http3Origin::start(|_, mut stream| async move {
        let _ = stream.send_response(Response::new(())).await;
        let _ = stream.finish().await;
    });
    let site = site(origin.address(), "")
        .routes("- connect: \"*:443\"\n  cluster: site\n- cluster: site")
        .start();
    let mut client = site.client();
    client.send(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    let response = client.read_response();
    assert_local("websocket", &response, 502, "extended_connect_unsupported");
    let mut client = site.client();
    client.send("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n");
    let response = client.read_response();
    assert_local("connect", &response, 502, "connect_unsupported");
    site.neighbour_is_well();
}
