//! Which versions of HTTP a test runs over: the ones that it was written for, unless the environment says others.
//!
//! `PORTCULLIS_MATRIX=h2-h1` puts HTTP/2 between clients and the gateway, `h1-h2` between the gateway and its upstreams, `h2-h2`
//! both; `h2-h1-tls` and the like encrypt both sides as well. `h3` stands for HTTP/3, which is encrypted in any case. Tests go on to speak HTTP/1 in the clear;
//! [translators](crate::translate) stand between. Start at [`Versions::chosen`].

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use rustls::ServerConnection;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::connection::Connection;
use crate::http2_origin::Http2Origin;
use crate::http3_origin::Http3Origin;
use crate::scratch::Scratch;
use crate::tls::{Authority, Issued};
use crate::translate;

/// What stands for the folder of the gateway's files in a configuration.
const FOLDER: &str = "MATRIX";

/// What stands for the folder of what HTTP/3 upstreams are known by.
const HTTP3_FOLDER: &str = "HTTP3FILES";

/// The first byte of a record that begins a handshake (RFC 8446 section 5.1).
pub(crate) const HANDSHAKE_RECORD: u8 = 22;

/// The versions on both sides of the gateway, and whether they are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Clients speak HTTP/2.
    pub downstream_http2: bool,
    /// Upstreams speak HTTP/2.
    pub upstream_http2: bool,
    /// Upstreams speak HTTP/3.
    pub upstream_http3: bool,
    /// Both sides speak TLS.
    pub tls: bool,
}

impl Versions {
    /// What the environment says.
    #[must_use]
    pub fn chosen() -> Self {
        let chosen = std::env::var("PORTCULLIS_MATRIX").unwrap_or_default();
        let mut words = chosen.split('-');
        let mut next = || words.next().unwrap_or_default();
        let (downstream, upstream, tls) = (next(), next(), next());
        Self {
            downstream_http2: downstream == "h2",
            upstream_http2: upstream == "h2",
            upstream_http3: upstream == "h3",
            tls: tls == "tls",
        }
    }

    /// What a cluster of HTTP origins must say.
    #[must_use]
    pub fn cluster_keys(self) -> &'static [&'static str] {
        if self.upstream_http3 {
            return &[
                "tls: { roots: HTTP3FILES/authority.pem }",
                "http: { version: http3 }",
            ];
        }
        match (self.upstream_http2, self.tls) {
            (false, false) => &[],
            (true, false) => &["http: { version: http2 }"],
            (false, true) => &["tls: { roots: MATRIX/authority.pem }"],
            (true, true) => &[
                "tls: { roots: MATRIX/authority.pem }",
                "http: { version: http2 }",
            ],
        }
    }

    /// How requests of clients reach the gateway.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// What an HTTP listener must say.
    #[must_use]
    pub fn listener_keys(self) -> &'static [&'static str] {
        if self.tls {
            &["tls: { certificates: [{ cert: MATRIX/gateway.pem, key: MATRIX/gateway.key }] }"]
        } else {
            &[]
        }
    }
}

/// Fills in where the files of the matrix are, and writes them there.
pub(crate) fn configuration(config: &str, scratch: &Scratch) -> String {
    let config = config.replace(HTTP3_FOLDER, &Http3Origin::trust_folder());
    if !Versions::chosen().tls {
        return config;
    }
    let issued = Encryption::of_process();
    scratch.write("authority.pem", &issued.authority);
    scratch.write("gateway.pem", &issued.gateway.cert);
    scratch.write("gateway.key", &issued.gateway.key);
    config.replace(FOLDER, &scratch.path().display().to_string())
}

/// Who may speak TLS with whom; the same for the life of the process.
struct Encryption {
    authority: String,
    gateway: Issued,
    client: Arc<rustls::ClientConfig>,
    client_http2: Arc<rustls::ClientConfig>,
    origin: Arc<rustls::ServerConfig>,
    origin_http2: Arc<rustls::ServerConfig>,
}

impl Encryption {
    fn of_process() -> &'static Self {
        static ISSUED: OnceLock<Encryption> = OnceLock::new();
        ISSUED.get_or_init(Self::new)
    }

    fn new() -> Self {
        let authority = Authority::new("matrix");
        let mut client = authority.client(None);
        let mut client_http2 = client.clone();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        client_http2.alpn_protocols = vec![b"h2".to_vec()];
        let mut origin = authority.issue(&["127.0.0.1"]).server();
        let mut origin_http2 = origin.clone();
        origin.alpn_protocols = vec![b"http/1.1".to_vec()];
        origin_http2.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            authority: authority.pem(),
            gateway: authority.issue(&["127.0.0.1"]),
            client: Arc::new(client),
            client_http2: Arc::new(client_http2),
            origin: Arc::new(origin),
            origin_http2: Arc::new(origin_http2),
        }
    }
}

/// Begins TLS as a client of the gateway; to be called where the matrix says so.
pub(crate) async fn encrypt(
    stream: tokio::net::TcpStream,
    http2: bool,
) -> io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let encryption = Encryption::of_process();
    let config = if http2 {
        &encryption.client_http2
    } else {
        &encryption.client
    };
    let name = Ipv4Addr::LOCALHOST.into();
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await
}

/// Begins TLS as an HTTP/2 upstream.
pub(crate) async fn accept_http2(
    stream: tokio::net::TcpStream,
) -> io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
    let config = &Encryption::of_process().origin_http2;
    TlsAcceptor::from(Arc::clone(config)).accept(stream).await
}

/// Begins TLS on a connection of a test itself, which no translator stands in front of.
pub(crate) fn encrypt_blocking(connection: &mut Connection) -> io::Result<()> {
    if !Versions::chosen().tls {
        return Ok(());
    }
    let config = Arc::clone(&Encryption::of_process().client);
    let session = rustls::ClientConnection::new(config, Ipv4Addr::LOCALHOST.into());
    connection.start_tls(session.map_err(io::Error::other)?)
}

/// Begins TLS as an HTTP/1 upstream, if the matrix and the gateway want it: clusters that a test adds may be in the clear.
/// The answer is whether it did: then it is also to be ended in order, as the test ends its connection.
pub(crate) fn accept_blocking(connection: &mut Connection) -> io::Result<bool> {
    if !Versions::chosen().tls {
        return Ok(false);
    }
    let mut first = [0];
    let peeked = connection.peek(&mut first)?;
    if first[..peeked] != [HANDSHAKE_RECORD] {
        return Ok(false);
    }
    let config = Arc::clone(&Encryption::of_process().origin);
    connection.start_tls(ServerConnection::new(config).map_err(io::Error::other)?)?;
    Ok(true)
}

/// Translators in front of addresses, for the life of the test.
static FRONTS: Mutex<Fronts> = Mutex::new(Fronts {
    origins: BTreeMap::new(),
    listeners: BTreeMap::new(),
});

struct Fronts {
    origins: BTreeMap<SocketAddr, Front>,
    listeners: BTreeMap<SocketAddr, SocketAddr>,
}

/// A translator in front of an upstream.
enum Front {
    Http2(Http2Origin),
    Http3(Http3Origin),
}

impl Front {
    fn of(origin: SocketAddr, versions: Versions) -> Self {
        if versions.upstream_http3 {
            Self::Http3(Http3Origin::in_front_of(origin))
        } else {
            Self::Http2(Http2Origin::in_front_of(origin))
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Http2(front) => front.address(),
            Self::Http3(front) => front.address(),
        }
    }

    fn connections(&self) -> usize {
        match self {
            Self::Http2(front) => front.connections(),
            Self::Http3(front) => front.connections(),
        }
    }
}

/// A new origin has this address: what stood in front of an earlier one counts no more.
pub(crate) fn on_new_origin(address: SocketAddr) {
    let mut fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    fronts.origins.remove(&address);
}

/// Where an origin is reached.
pub(crate) fn origin(address: SocketAddr) -> SocketAddr {
    let versions = Versions::chosen();
    if !versions.upstream_http2 && !versions.upstream_http3 {
        return address;
    }
    let mut fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    let front = fronts.origins.entry(address);
    front
        .or_insert_with(|| Front::of(address, versions))
        .address()
}

/// How many connections the translator in front of an origin has accepted, if there is one.
pub(crate) fn connections(address: SocketAddr) -> Option<usize> {
    let fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    Some(fronts.origins.get(&address)?.connections())
}

/// Where a listener is reached.
pub(crate) fn listener(address: SocketAddr) -> SocketAddr {
    let versions = Versions::chosen();
    if !versions.downstream_http2 && !versions.tls {
        return address;
    }
    let mut fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    let front = fronts.listeners.entry(address);
    *front.or_insert_with(|| {
        if versions.downstream_http2 {
            serve(move |client| translate::to_http2(client, address, versions.tls))
        } else {
            serve(move |client| translate::to_tls(client, address))
        }
    })
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
