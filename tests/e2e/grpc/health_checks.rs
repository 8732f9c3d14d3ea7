//! Health checks of endpoints by `grpc.health.v1.Health`, against tonic's own server of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use harness::{Http2Origin, Versions};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use super::{ask, message, status};
use crate::support::{Running, Site};
use crate::tls_upstream::Behind;

/// The service that is checked.
pub(super) const CART: &str = "shop.Cart";

/// A server whose health has a switch. Only it knows the service of its own name, so it can be told from others.
pub(super) struct Served {
    pub(super) runtime: Runtime,
    reporter: HealthReporter,
    pub(super) address: SocketAddr,
}

impl Served {
    pub(super) fn start(name: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (reporter, service) = health_reporter();
        let listener = runtime.block_on(async {
            for name in [name, CART] {
                reporter
                    .set_service_status(name, ServingStatus::Serving)
                    .await;
            }
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
        });
        let address = listener.local_addr().unwrap();
        let incoming = TcpIncoming::from(listener);
        runtime.spawn(Server::builder().serve_with_incoming(service, incoming));
        Self {
            runtime,
            reporter,
            address,
        }
    }

    /// As [`start`](Self::start), over TLS alone.
    fn start_tls(name: &str, mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut served = Self::start(name);
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = served.runtime.block_on(bound).unwrap();
        let plain = std::mem::replace(&mut served.address, listener.local_addr().unwrap());
        let handle = served.runtime.handle().clone();
        served
            .runtime
            .spawn(decrypt(handle, listener, Arc::new(config), plain));
        served
    }

    pub(super) fn report(&self, status: ServingStatus) {
        let reporting = self.reporter.set_service_status(CART, status);
        self.runtime.block_on(reporting);
    }
}

/// Ends TLS in front of a server.
async fn decrypt(
    handle: Handle,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    plain: SocketAddr,
) {
    let acceptor = TlsAcceptor::from(config);
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        handle.spawn(async move {
            let mut inside = acceptor.accept(stream).await?;
            let mut outside = TcpStream::connect(plain).await?;
            tokio::io::copy_bidirectional(&mut inside, &mut outside).await
        });
    }
}

/// A cluster of these that is checked, and spoken to, over HTTP/2.
fn checked(endpoints: &[SocketAddr]) -> Site {
    let site = endpoints
        .iter()
        .fold(Site::default(), Site::endpoint)
        .cluster("health_check: { grpc: { service: shop.Cart }, interval: 50ms, timeout: 2s, healthy_threshold: 1, unhealthy_threshold: 1 }")
        .cluster("panic_threshold: 0%");
    if Versions::chosen().upstream_http2 {
        site
    } else {
        site.cluster("http: { version: http2 }")
    }
}

fn wait_healthy(site: &Running, endpoint: SocketAddr, healthy: u64) {
    let endpoint = endpoint.to_string();
    let labels = [("cluster", "site"), ("endpoint", endpoint.as_str())];
    site.wait_stat("portcullis_endpoint_healthy", &labels, |value| {
        value == healthy
    });
}

fn wait_available(site: &Running, count: u64) {
    let labels = [("cluster", "site")];
    site.wait_stat("portcullis_cluster_endpoints_available", &labels, |value| {
        value == count
    });
}

/// Which endpoints answer calls: the one that knows the name, others, or both.
fn answering(site: &Running, name: &str) -> (bool, bool) {
    let mut client = site.client();
    let asked = message(&[&[10, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat());
    (0..10).fold((false, false), |(named, others), _| {
        let response = ask(&mut client, "/grpc.health.v1.Health/Check", &[], &asked);
        let (_, said) = status(&response);
        let known = said.starts_with("0 ");
        assert!(known || said.starts_with("5 "), "{said}");
        (named || known, others || !known)
    })
}

fn line_of(clusters: &str, endpoint: SocketAddr) -> &str {
    let endpoint = endpoint.to_string();
    let mut lines = clusters.lines();
    lines
        .find(|line| line.contains(&endpoint) && line.contains("health"))
        .unwrap_or_else(|| panic!("{endpoint} in {clusters}"))
}

/// The first endpoint stops serving and serves again; the second one is never touched.
fn follows_the_status(site: &Running, first: &Served, second: &Served) {
    let failed = |endpoint: SocketAddr| {
        let endpoint = endpoint.to_string();
        let labels = [("endpoint", endpoint.as_str()), ("result", "failed")];
        let stats = site.stats();
        stats.counter("portcullis_endpoint_health_checks_total", &labels)
    };
    assert_eq!(answering(site, "first"), (true, true));

    for (status, why) in [
        (ServingStatus::NotServing, "not serving"),
        (ServingStatus::Unknown, "serving status unknown"),
    ] {
        first.report(status);
        wait_healthy(site, first.address, 0);
        wait_available(site, 1);
        site.wait_log(why);
        assert_eq!(answering(site, "first"), (false, true), "{why}");
        let clusters = site.admin_get("/clusters").text();
        assert!(line_of(&clusters, first.address).contains("unhealthy"));
        assert!(!line_of(&clusters, second.address).contains("unhealthy"));

        first.report(ServingStatus::Serving);
        wait_healthy(site, first.address, 1);
        wait_available(site, 2);
        assert_eq!(answering(site, "first"), (true, true), "{why}");
    }
    assert!(failed(first.address) >= 2);
    assert_eq!(failed(second.address), 0);
    site.neighbour_is_well();
}

#[test]
fn health_follows_the_serving_status() {
    let (first, second) = (Served::start("first"), Served::start("second"));
    let site = checked(&[first.address, second.address]).start();
    follows_the_status(&site, &first, &second);
}

#[test]
fn health_follows_the_serving_status_over_tls() {
    let behind = Behind::new();
    let first = Served::start_tls("first", behind.server());
    let second = Served::start_tls("second", behind.server());
    let site = checked(&[first.address, second.address])
        .cluster(&behind.fill("tls: { roots: DIR/ca.pem }"))
        .start();
    follows_the_status(&site, &first, &second);
}

/// Everything else that an endpoint may do with the call is a failure with its reason.
#[test]
fn what_does_not_serve_is_left_out() {
    let good = Served::start("good");
    let unimplemented = Http2Origin::start(|(_, mut respond)| async move {
        let head = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "12");
        let _ = respond.send_response(head.body(()).unwrap(), true);
    });
    let silent = Http2Origin::start(|(_, respond)| async move {
        let _kept = respond;
        std::future::pending::<()>().await;
    });
    let resetting = Http2Origin::start(|(_, mut respond)| async move {
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    let bad = [
        unimplemented.address(),
        silent.address(),
        resetting.address(),
    ];
    let site = checked(&[&[good.address], &bad[..]].concat()).start();
    for why in ["gRPC status unimplemented", "timeout", "no response: "] {
        site.wait_log(why);
    }
    for endpoint in bad {
        wait_healthy(&site, endpoint, 0);
    }
    wait_available(&site, 1);
    assert_eq!(answering(&site, "good"), (true, false));
    site.neighbour_is_well();
}
