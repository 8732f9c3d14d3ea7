//! Which versions of HTTP a test runs over: the ones that it was written for, unless the environment says others.
//!
//! `PORTCULLIS_MATRIX=h2-h1` puts HTTP/2 between clients and the gateway, `h1-h2` between the gateway and its upstreams, `h2-h2`
//! both. Tests go on to speak HTTP/1; [translators](crate::translate) stand between. Start at [`Versions::chosen`].

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tokio::task::{LocalSet, spawn_local};

use crate::http2_origin::Http2Origin;
use crate::translate;

/// The versions on both sides of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Clients speak HTTP/2.
    pub downstream_http2: bool,
    /// Upstreams speak HTTP/2.
    pub upstream_http2: bool,
}

impl Versions {
    /// What the environment says.
    #[must_use]
    pub fn chosen() -> Self {
        let chosen = std::env::var("PORTCULLIS_MATRIX").unwrap_or_default();
        let (downstream, upstream) = chosen.split_once('-').unwrap_or_default();
        Self {
            downstream_http2: downstream == "h2",
            upstream_http2: upstream == "h2",
        }
    }

    /// What a cluster of HTTP origins must say.
    #[must_use]
    pub fn cluster_keys(self) -> &'static str {
        if self.upstream_http2 {
            "http: { version: http2 }"
        } else {
            ""
        }
    }
}

/// Translators in front of addresses, for the life of the test.
static FRONTS: Mutex<Fronts> = Mutex::new(Fronts {
    origins: BTreeMap::new(),
    listeners: BTreeMap::new(),
});

struct Fronts {
    origins: BTreeMap<SocketAddr, Http2Origin>,
    listeners: BTreeMap<SocketAddr, SocketAddr>,
}

/// Where an origin is reached.
pub(crate) fn origin(address: SocketAddr) -> SocketAddr {
    if !Versions::chosen().upstream_http2 {
        return address;
    }
    let mut fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    let front = fronts.origins.entry(address);
    front
        .or_insert_with(|| Http2Origin::in_front_of(address))
        .address()
}

/// How many connections the translator in front of an origin has accepted, if there is one.
pub(crate) fn connections(address: SocketAddr) -> Option<usize> {
    let fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    Some(fronts.origins.get(&address)?.connections())
}

/// Where a listener is reached.
pub(crate) fn listener(address: SocketAddr) -> SocketAddr {
    if !Versions::chosen().downstream_http2 {
        return address;
    }
    let mut fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    let front = fronts.listeners.entry(address);
    *front.or_insert_with(|| serve(move |client| translate::to_http2(client, address)))
}

/// Accepts on a thread of its own until the process ends.
fn serve<F>(each: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    let address = listener.local_addr().expect("a bound address");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            listener.set_nonblocking(true).expect("non-blocking");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((client, _)) = listener.accept().await {
                spawn_local(each(client));
            }
        });
    });
    address
}
