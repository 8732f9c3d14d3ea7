//! Connections from their first datagram to their last: handshakes, retries, early data, addresses that change, goodbyes, reloads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use harness::tls::Order;
use harness::{
    Client, ClosedPort, Gate, Gateway, H3Client, Origin, RawH3, Reply, Signal, Step, eventually,
    h3_get, quic_config, read_h3_response,
};
use quinn::{ConnectionError, Endpoint, TokenMemoryCache};

use super::messages::NO_ERROR;
use super::{client, others_are_well, site};
use crate::tls::{REFUSED, Running, Tls, put};

/// An origin that answers `/slow` when the gate opens, and everything else at once.
fn gated() -> (Origin, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |request| {
        if request.target == "/slow" {
            Reply::steps([
                Step::Wait(held.clone()),
                Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate"),
            ])
        } else {
            Reply::ok("well")
        }
    });
    (origin, gate)
}

fn well() -> Origin {
    Origin::http(|_| Reply::ok("well"))
}

fn code(error: &ConnectionError) -> Option<u64> {
    match error {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

/// F8: GOAWAY, what is open is finished, and then the connection closes without an error.
#[test]
fn f8_drain_finishes_what_is_open() {
    let (origin, gate) = gated();
    let site = site("true", origin);
    let [busy, idle] = [client(&site), client(&site)];
    assert_eq!(idle.get("/", "a.test").text(), "well");
    let mut sender = busy.sender();
    let mut slow = busy.run(async {
        let request = H3Client::head("GET", "/slow", "a.test");
        let mut stream = sender.send_request(request).await.unwrap();
        stream.finish().await.unwrap();
        stream
    });
    site.wait_stat("portcullis_http_requests_active", &[], |count| count == 1);
    site.signal(Signal::TERM);
    assert_eq!(code(&idle.ended()), Some(NO_ERROR));
    // A request that comes after the goodbye is refused so that it can be sent elsewhere.
    let refused = busy.run(async {
        loop {
            let request = H3Client::head("GET", "/", "a.test");
            let mut sender = busy.sender();
            match sender.send_request(request).await {
                Err(error) => break format!("{error:?}"),
                Ok(mut stream) => {
                    let _ = stream.finish().await;
                    if let Err(error) = read_h3_response(&mut stream).await {
                        break format!("{error:?}");
                    }
                }
            }
        }
    });
    assert!(
        refused.contains("H3_REQUEST_REJECTED") || refused.contains("Clos"),
        "{refused}"
    );
    gate.open();
    let slow = busy.run(read_h3_response(&mut slow)).unwrap();
    assert_eq!(slow.text(), "late");
    assert_eq!(code(&busy.ended()), Some(NO_ERROR));
}

#[test]
fn a_drain_has_an_end() {
    let (origin, _gate) = gated();
    let tls = Tls::new().listener("http3: true");
    let yaml = tls.yaml(&origin).replace("timeout: 2m", "timeout: 200ms");
    let gateway = Gateway::start(&yaml);
    let config = tls.authority.client(None);
    let stuck = RawH3::connect(gateway.addr("web"), &config, "a.test");
    let _halves = stuck.request(&h3_get("/slow"), true).unwrap();
    gateway.wait_stat("portcullis_http_requests_active", &[], |count| count == 1);
    gateway.signal(Signal::TERM);
    let _ = gateway.wait_exit();
}

#[test]
fn a_reload_changes_routes_and_certificates_and_no_connection() {
    let origin = Origin::http(|request| Reply::ok(&*request.target));
    let site = site("true", origin);
    let before = client(&site);
    assert_eq!(before.get("/a", "a.test").text(), "/a");
    let yaml = std::fs::read_to_string(site.config_path()).unwrap();
    let routes =
        "routes: [{ match: { path: /gone }, respond: { status: 410 } }, { cluster: origin }]";
    let changed = yaml.replace("routes: [{ cluster: origin }]", routes);
    let changed = changed.replace("http3: true", "http3: { max_streams: 7 }");
    assert_eq!(site.reload(&changed).status, 200);
    assert_eq!(before.get("/gone", "a.test").status, 410);
    let again = changed.replace("410", "451");
    assert_eq!(site.reload(&again).status, 200);
    assert_eq!(before.get("/gone", "a.test").status, 451);

    let other = harness::tls::Authority::new("others");
    put(site.scratch(), "a", &other.issue(&["a.test"]));
    site.wait_stat("portcullis_tls_certificate_reloads_total", &[], |count| {
        count > 0
    });
    let trusting = other.client(None);
    let after = H3Client::connect(site.addr("web"), &trusting, "a.test").unwrap();
    assert_eq!(after.get("/", "a.test").text(), "/");
    assert!(H3Client::connect(site.addr("web"), &site.plain(), "a.test").is_err());
    assert_eq!(before.get("/b", "a.test").text(), "/b");
}

#[test]
fn http3_comes_and_goes_with_its_key() {
    let origin = well();
    let tls = Tls::new().listener("http3: false");
    let listen = format!("listen: {}", ClosedPort::new().address());
    let without = tls
        .yaml(&origin)
        .replacen("listen: 127.0.0.1:0", &listen, 1);
    let with = without.replace("http3: false", "http3: true");
    let gateway = Gateway::start(&without);
    let address = gateway.addr("web");
    let config = tls.authority.client(None);
    let by_tcp = || {
        let config = Arc::new(config.clone());
        let mut client = Client::connect_tls(address, &config, "a.test").unwrap();
        client.get("/", "a.test")
    };
    assert_eq!(by_tcp().header("alt-svc"), None);
    assert_eq!(gateway.reload(&with).status, 200);
    let open = H3Client::connect(address, &config, "a.test").unwrap();
    assert_eq!(open.get("/", "a.test").text(), "well");
    assert!(by_tcp().header("alt-svc").is_some());
    assert_eq!(gateway.reload(&without).status, 200);
    assert_eq!(code(&open.ended()), Some(NO_ERROR));
    assert_eq!(by_tcp().header("alt-svc"), None);
}

#[test]
fn client_certificates_and_names_are_known() {
    let site = Tls::new()
        .tls("client_certificates: { mode: required, roots: ROOTS }")
        .listener("http3: true")
        .start();
    let alice = site
        .authority()
        .fill(Order::of(&["alice.corp"]).subject("alice", "Acme"));
    let config = site.authority().client(Some(&alice));
    let shown = H3Client::connect(site.addr("web"), &config, "a.test").unwrap();
    assert_eq!(shown.get("/", "a.test").text(), "well");
    let request = site.origin.next_request();
    let certificate = request.header("x-forwarded-client-cert").unwrap();
    assert!(certificate.contains("CN=alice"), "{certificate}");

    let hidden = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let ConnectionError::ConnectionClosed(closed) = hidden.run(hidden.quic().closed()) else {
        panic!("no certificate");
    };
    assert_eq!(
        u64::from(closed.error_code),
        0x100 + 116,
        "certificate_required"
    );
    let labels = [("listener", "web"), ("reason", "tls_client_certificate")];
    site.wait_stat(REFUSED, &labels, |count| count == 1);
}

#[test]
fn other_protocols_are_refused() {
    let site = site("true", well());
    let mut config = site.authority().client(None);
    config.alpn_protocols = vec![b"hq-interop".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let error = H3Client::connect_with(site.addr("web"), config, "a.test").unwrap_err();
    assert!(error.to_string().contains("120"), "{error}");
    let labels = [("listener", "web"), ("reason", "tls_no_alpn")];
    site.wait_stat(REFUSED, &labels, |count| count == 1);
    others_are_well(&site);
}

/// Q1: who was not seen at its address yet is asked to come back with a token.
#[test]
fn q1_retry_when_it_is_asked_for() {
    for (mode, expected) in [("always", 1), ("never", 0), ("auto", 0)] {
        let site = site(&format!("{{ retry: {mode} }}"), well());
        assert_eq!(client(&site).get("/", "a.test").text(), "well");
        let labels = [("listener", "web")];
        let retries = site
            .stats()
            .counter("portcullis_http3_retries_total", &labels);
        assert_eq!(retries, expected, "{mode}");
    }
}

#[test]
fn connections_count_against_the_limits() {
    let site = Tls::new()
        .listener("http3: true\n    limits: { connections: 2 }")
        .start();
    let [first, _second] = [client(&site), client(&site)];
    let refused = H3Client::connect(site.addr("web"), &site.plain(), "a.test").unwrap_err();
    let ConnectionError::ConnectionClosed(closed) = refused else {
        panic!("{refused}");
    };
    assert_eq!(u64::from(closed.error_code), 2, "CONNECTION_REFUSED");
    let labels = [("listener", "web"), ("reason", "listener_limit")];
    site.wait_stat(REFUSED, &labels, |count| count == 1);
    assert_eq!(first.get("/", "a.test").text(), "well");
    drop(first);
    let active = "portcullis_listener_connections_active";
    site.wait_stat(active, &[("listener", "web")], |count| count == 1);
    assert_eq!(client(&site).get("/", "a.test").text(), "well");
}

/// A connection stays on its worker, whose socket is another than the kernel chooses for the client's next address.
#[test]
fn a_client_that_moves_keeps_its_connection() {
    let (origin, gate) = gated();
    let site = site("true", origin);
    let client = client(&site);
    let mut sender = client.sender();
    let mut slow = client.run(async {
        let request = H3Client::head("GET", "/slow", "a.test");
        let mut stream = sender.send_request(request).await.unwrap();
        stream.finish().await.unwrap();
        stream
    });
    let labels = [("listener", "web"), ("outcome", "passed_on")];
    let strays = || {
        site.stats()
            .counter("portcullis_http3_strays_total", &labels)
    };
    for number in 2..40 {
        let host = Ipv4Addr::new(127, 0, 0, number);
        client.move_to(SocketAddr::new(IpAddr::V4(host), 0));
        assert_eq!(client.get("/", "a.test").text(), "well", "{number}");
        if number > 8 && strays() > 0 {
            break;
        }
    }
    gate.open();
    assert_eq!(
        client.run(read_h3_response(&mut slow)).unwrap().text(),
        "late"
    );
    site.wait_stat("portcullis_http3_strays_total", &labels, |count| count > 0);
    let labels = [("listener", "web"), ("outcome", "received")];
    site.wait_stat("portcullis_http3_strays_total", &labels, |count| count > 0);
    let labels = [("listener", "web")];
    let handshakes = site
        .stats()
        .counter("portcullis_http3_handshakes_total", &labels);
    assert_eq!(handshakes, 1);
    // Q4: an address is believed when it has been shown for long.
    for request in site.origin.take_requests() {
        assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    }
}

/// Settings of a client that comes back with a session and a token.
fn returning(site: &Running) -> quinn::ClientConfig {
    let mut config = quic_config(&site.plain());
    config.token_store(Arc::new(TokenMemoryCache::default()));
    config
}

/// Sends a request as early as it can. The answer is whether it was early, its status, and what came back.
fn early(site: &Running, config: &quinn::ClientConfig, method: &str) -> (bool, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let connecting = endpoint
            .connect_with(config.clone(), site.addr("web"), "a.test")
            .unwrap();
        let (connection, accepted) = match connecting.into_0rtt() {
            Ok((connection, accepted)) => (connection, Some(accepted)),
            Err(connecting) => (connecting.await.unwrap(), None),
        };
        let over = h3_quinn::Connection::new(connection.clone());
        let (mut driver, mut sender) = h3::client::new(over).await.unwrap();
        let driving = std::future::poll_fn(move |task| driver.poll_close(task));
        let asking = async {
            let request = H3Client::head(method, "/", "a.test");
            let mut stream = sender.send_request(request).await.unwrap();
            stream.finish().await.unwrap();
            let response = stream.recv_response().await.unwrap();
            let was_early = match accepted {
                Some(accepted) => accepted.await,
                None => false,
            };
            (was_early, response.status().as_u16().to_string())
        };
        tokio::select! {
            answer = asking => answer,
            _ = driving => panic!("the connection ended"),
        }
    })
}

/// Q7: early requests only where they are wanted, only safe ones, each session once, and upstreams are told.
#[test]
fn q7_early_requests_are_safe_ones() {
    let site = site("{ early_data: true }", well());
    let config = returning(&site);
    // Brings a session and a token, twice: each is good for one connection.
    assert_eq!(early(&site, &config, "GET"), (false, "200".to_owned()));
    assert_eq!(site.origin.next_request().header("early-data"), None);
    assert_eq!(early(&site, &config, "GET"), (true, "200".to_owned()));
    assert_eq!(site.origin.next_request().header("early-data"), Some("1"));
    assert_eq!(early(&site, &config, "POST"), (true, "425".to_owned()));
    let counter = |outcome| {
        let labels = [("listener", "web"), ("outcome", outcome)];
        site.stats()
            .counter("portcullis_http3_early_requests_total", &labels)
    };
    assert_eq!((counter("served"), counter("refused")), (1, 1));
    others_are_well(&site);
}

#[test]
fn q7_early_requests_are_off_by_default() {
    let site = site("true", well());
    let config = returning(&site);
    for _ in 0..2 {
        assert_eq!(early(&site, &config, "POST"), (false, "200".to_owned()));
        assert_eq!(site.origin.next_request().header("early-data"), None);
    }
}

#[test]
fn requests_have_an_end() {
    let site = Tls::new()
        .listener("http3: { max_requests: 3 }\n    timeouts: { head: 300ms, idle: 200ms }")
        .start();
    let few = client(&site);
    for _ in 0..3 {
        assert_eq!(few.get("/", "a.test").text(), "well");
    }
    assert_eq!(code(&few.ended()), Some(NO_ERROR));
    let idle = client(&site);
    assert_eq!(idle.get("/", "a.test").text(), "well");
    assert_eq!(code(&idle.ended()), Some(NO_ERROR));
    let silent = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    assert_eq!(silent.code(), Some(NO_ERROR), "asked for nothing");
    let slow = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let (_send, mut receive) = slow.request(&h3_get("/")[..10], false).unwrap();
    assert!(slow.run(receive.read_to_end(10)).is_err(), "half a head");
    let labels = [("listener", "web"), ("reason", "h3_head_timeout")];
    site.wait_stat("portcullis_http3_refusals_total", &labels, |count| {
        count == 1
    });
}

/// F1: connections of QUIC need no descriptors, and what has none upstream is answered.
#[test]
fn f1_descriptors_run_out() {
    let site = site("true", well());
    let kept = client(&site);
    assert_eq!(kept.get("/", "a.test").text(), "well");
    site.limit_descriptors(site.descriptors() as u64);
    let crowd: Vec<H3Client> = (0..10).map(|_| client(&site)).collect();
    for one in &crowd {
        let status = one.get("/", "a.test").status;
        assert!(status == 200 || status == 503, "{status}");
    }
    assert_eq!(kept.get("/", "a.test").text(), "well");
}

/// What a connection took comes back when it has ended: many in turn need no more memory than few.
#[test]
fn connections_that_ended_leave_nothing_behind() {
    let site = site("true", Origin::http(|_| Reply::ok("ok")));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (config, to) = (quic_config(&site.plain()), site.addr("web"));
    let connect = |count: usize| {
        runtime.block_on(async {
            let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            for _ in 0..count {
                let connecting = endpoint.connect_with(config.clone(), to, "a.test").unwrap();
                let connection = connecting.await.unwrap();
                // The gateway has begun to serve it.
                connection.accept_uni().await.unwrap();
                connection.close(NO_ERROR_CODE, b"");
            }
            endpoint.wait_idle().await;
        });
        let labels = [("listener", "web")];
        eventually("all of them have ended", || {
            site.stats()
                .gauge("portcullis_http3_connections_active", &labels)
                == 0
        });
        site.resident_bytes()
    };
    let few = connect(100);
    let many = connect(400);
    let grown = many.saturating_sub(few);
    assert!(grown < 8 * 1024 * 1024, "{grown} bytes for 400 connections");
}

const NO_ERROR_CODE: quinn::VarInt = quinn::VarInt::from_u32(0x100);
