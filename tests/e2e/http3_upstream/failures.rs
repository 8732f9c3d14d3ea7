//! Endpoints that cannot be reached over HTTP/3, are not whom they should be, or are gone.

use std::net::UdpSocket;

use bytes::Bytes;
use harness::{Gate, Gateway, Http3Origin, Http3Stream, Origin, Reply, Scratch, eventually};
use http::Response;

use super::{CUTS, post, site};
use crate::support::{Site, assert_local};

/// What cannot be a connection, and how that is told.
#[test]
fn no_connection() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    let black_hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let misnamed = Http3Origin::misnamed();
    let other = Http3Origin::of_another_protocol();
    // Speaks HTTP, and not over QUIC.
    let tcp = Origin::http(|_| Reply::ok("tcp"));
    for (name, address, reason) in [
        ("nobody listens", closed, "connect_refused"),
        ("tcp only", tcp.address(), "connect_refused"),
        (
            "black hole",
            black_hole.local_addr().unwrap(),
            "connect_timeout",
        ),
        ("another name", misnamed.address(), "tls_certificate_name"),
        ("another protocol", other.address(), "tls_alpn"),
    ] {
        let site = site(address, "").cluster("connect_timeout: 1s").start();
        let response = post(&mut site.client(), "x");
        assert_local(name, &response, 503, reason);
        site.neighbour_is_well();
    }
}

/// An authority that nobody trusts, until its file says another.
#[test]
fn an_unknown_authority() {
    let origin = Http3Origin::asking();
    let (authority, issued) = Http3Origin::authority();
    let stranger = harness::tls::Authority::new("stranger");
    let folder = Scratch::new();
    let roots = folder.write("roots.pem", stranger.pem());
    let cert = folder.write("gateway.pem", &issued.cert);
    let key = folder.write("gateway.key", &issued.key);
    let site = Site::default()
        .endpoint(origin.address())
        .cluster(&format!(
            "tls: {{ roots: {}, client_certificate: {{ cert: {}, key: {} }} }}",
            roots.display(),
            cert.display(),
            key.display()
        ))
        .cluster("http: { version: http3 }")
        .start();
    let response = post(&mut site.client(), "");
    assert_local("stranger", &response, 503, "tls_certificate");
    site.neighbour_is_well();
    folder.write("roots.pem", authority);
    eventually("trusted, and trusts the gateway", || {
        site.client().get("/", "a").text() == "ok"
    });
}

/// A server that wants a certificate, and gets none.
#[test]
fn a_certificate_that_is_missing() {
    let origin = Http3Origin::asking();
    let site = site(origin.address(), "").start();
    let response = post(&mut site.client(), "");
    assert_eq!(response.status / 100, 5, "{}", response.text());
    site.neighbour_is_well();
}

/// The beginning of a response, and nothing behind it.
async fn half_an_answer(_: http::Request<()>, mut stream: Http3Stream) {
    let _ = stream.send_response(Response::new(())).await;
    let _ = stream.send_data(Bytes::from_static(b"half")).await;
    std::future::pending::<()>().await;
}

/// An endpoint that dies says nothing: ICMP does, and then silence.
#[test]
fn an_endpoint_that_dies_in_a_response() {
    let mut origin = Http3Origin::start(half_an_answer);
    let keep_alive = ", keep_alive: { interval: 1s, timeout: 10s }";
    let site = site(origin.address(), keep_alive).start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.read_until("half\r\n");
    origin.kill();
    client.expect_gone();
    let labels = [("cluster", "site"), ("reason", "upstream_gone")];
    site.wait_stat(CUTS, &labels, |value| value == 1);
    let response = post(&mut site.client(), "");
    assert_local("dead", &response, 503, "connect_refused");
    site.neighbour_is_well();
}

/// One that is there but does not answer any more is found out by a PING.
#[test]
fn an_endpoint_that_falls_silent() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Http3Origin::raw(move |gateway| {
        let held = held.clone();
        async move {
            let _control = gateway.control().await;
            let mut exchange = gateway.request().await.unwrap();
            exchange.respond("ok").await;
            gateway.request().await.unwrap();
            // Its thread does nothing more: to its peer it is gone.
            held.wait();
        }
    });
    let keep_alive = ", keep_alive: { interval: 1s, timeout: 1s }";
    let site = site(origin.address(), keep_alive).start();
    let mut client = site.client();
    assert_eq!(client.get("/", "a").text(), "ok");
    let response = post(&mut client, "");
    assert_local("silent", &response, 502, "upstream_ping_timeout");
    site.neighbour_is_well();
    gate.open();
}

/// A cluster of HTTP/3 is checked by it.
#[test]
fn health_checks_go_over_http3() {
    let origin = Http3Origin::start(|request, mut stream| async move {
        let status = if request.uri().path() == "/well" {
            204
        } else {
            503
        };
        let head = Response::builder().status(status).body(()).unwrap();
        let _ = stream.send_response(head).await;
        let _ = stream.finish().await;
    });
    for (path, healthy) in [("/well", 1), ("/ill", 0)] {
        let gateway = Gateway::start(&format!(
            "listeners: {{ web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }} }}\n\
             clusters:\n  site:\n    endpoints: ['{}']\n    {}\n    http: {{ version: http3 }}\n    \
             health_check: {{ http: {path}, interval: 1s, initial: {} }}\n",
            origin.address(),
            Http3Origin::tls(),
            if healthy == 1 { "unhealthy" } else { "healthy" },
        ));
        let labels = [("cluster", "site")];
        let healthy_now = "portcullis_endpoint_healthy";
        gateway.wait_stat(healthy_now, &labels, |value| value == healthy);
    }
}
