//! Tunnels through HTTP/2 connections to endpoints: WebSocket as extended CONNECT (RFC 8441), and CONNECT.

use bytes::Bytes;
use harness::{Client, Exchange, Http2Origin};
use http::{Method, Response};

use crate::support::{Running, Site, assert_local};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn start(origin: &Http2Origin, routes: &str) -> Running {
    let site = Site::default()
        .endpoint(origin.address())
        .cluster("http: { version: http2 }");
    if routes.is_empty() {
        site.start()
    } else {
        site.routes(routes).start()
    }
}

/// Sends back what comes, after saying what was asked for.
async fn echo((request, mut respond): Exchange) {
    let protocol = request.extensions().get::<h2::ext::Protocol>();
    let protocol = protocol.map_or("none", h2::ext::Protocol::as_str);
    let asked = format!(
        "{} {protocol} {} key={}",
        request.method(),
        request.uri(),
        request.headers().contains_key("sec-websocket-key"),
    );
    if request.uri().path() == "/refused" {
        let response = Response::builder().status(403).body(()).unwrap();
        let _ = respond.send_response(response, true);
        return;
    }
    let response = Response::builder()
        .header("x-asked", asked)
        .body(())
        .unwrap();
    let Ok(mut send) = respond.send_response(response, false) else {
        return;
    };
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        let _ = send.send_data(data, false);
    }
    let _ = send.send_data(Bytes::from_static(b"bye"), true);
}

#[test]
fn websocket_goes_as_extended_connect() {
    let origin = Http2Origin::start_extended(echo);
    let site = start(&origin, "");
    let mut client = site.client();
    client.send(UPGRADE);
    let response = client.read_response();
    assert_eq!(response.status, 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(
        response.header("x-asked"),
        Some("CONNECT websocket http://a/chat key=false")
    );
    echoes(&mut client);
    site.neighbour_is_well();
}

fn echoes(client: &mut Client) {
    for text in ["hello", "again"] {
        client.send(text);
        assert_eq!(client.read_exact(text.len()), text.as_bytes());
    }
    client.half_close();
    assert_eq!(client.read_to_close(), b"bye");
}

#[test]
fn a_refused_upgrade_is_a_response() {
    let origin = Http2Origin::start_extended(echo);
    let site = start(&origin, "");
    let mut client = site.client();
    client.send(UPGRADE.replace("/chat", "/refused"));
    assert_eq!(client.read_response().status, 403);
    assert_eq!(client.get("/refused", "a").status, 403, "goes on");
}

#[test]
fn endpoints_that_know_no_extended_connect() {
    let origin = Http2Origin::start(echo);
    let site = start(&origin, "");
    let mut client = site.client();
    client.send(UPGRADE);
    let response = client.read_response();
    assert_local("refused", &response, 502, "extended_connect_unsupported");
    site.neighbour_is_well();
}

#[test]
fn connect_leads_to_the_endpoint() {
    let origin = Http2Origin::start(echo);
    let site = start(&origin, "- connect: \"*:443\"\n  cluster: site");
    let mut client = site.client();
    client.send("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n");
    assert_eq!(client.read_head_response().status, 200);
    echoes(&mut client);
}

/// What the test's own origin takes for a CONNECT is one.
#[test]
fn the_origin_sees_a_plain_connect() {
    let origin = Http2Origin::start(|(request, mut respond): Exchange| async move {
        let is_connect = request.method() == Method::CONNECT && request.uri().path().is_empty();
        let status = if is_connect { 200 } else { 500 };
        let response = Response::builder().status(status).body(()).unwrap();
        let _ = respond.send_response(response, true);
    });
    let site = start(&origin, "- connect: \"*:443\"\n  cluster: site");
    let mut client = site.client();
    client.send("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n");
    assert_eq!(client.read_head_response().status, 200);
    client.half_close();
    client.expect_closed();
}
