//! Which versions of HTTP a test runs over: the ones that it was written for, unless the environment says others.
//!
//! `PORTCULLIS_MATRIX=h2-h1` puts HTTP/2 between clients and the gateway, `h1-h2` between the gateway and its upstreams, `h2-h2`
//! both; with `PORTCULLIS_MATRIX_TLS`, a directory of certificates, all of it is encrypted. Tests go on to speak plain HTTP/1:
//! [translators](crate::translate) stand between. Start at [`Versions::chosen`] and [`TlsFolder`].

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::task::{LocalSet, spawn_local};

use crate::http2_origin::Http2Origin;
use crate::scratch::Scratch;
use crate::tls::Authority;
use crate::translate;

/// The versions on both sides of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Clients speak HTTP/2.
    pub downstream_http2: bool,
    /// Upstreams speak HTTP/2.
    pub upstream_http2: bool,
    /// Both are encrypted, by what is in this directory.
    pub tls: Option<PathBuf>,
}

/// A directory of certificates that all translators use.
#[derive(Debug)]
pub struct TlsFolder(Scratch);

impl Default for TlsFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsFolder {
    /// Makes one, with an authority and a certificate for this machine.
    #[must_use]
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new("matrix");
        let issued = authority.issue(&["127.0.0.1", "localhost"]);
        scratch.write("ca.pem", authority.pem());
        scratch.write("cert.pem", issued.cert);
        scratch.write("key.pem", issued.key);
        Self(scratch)
    }

    /// What `PORTCULLIS_MATRIX_TLS` is to say.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
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
            tls: std::env::var_os("PORTCULLIS_MATRIX_TLS").map(PathBuf::from),
        }
    }

    /// What a listener must say.
    #[must_use]
    pub fn listener_keys(&self) -> String {
        self.tls.as_ref().map_or_else(String::new, |folder| {
            let folder = folder.display();
            format!(
                "    tls: {{ certificates: [{{ cert: {folder}/cert.pem, key: {folder}/key.pem }}] }}\n"
            )
        })
    }

    /// What a cluster of HTTP origins must say. With TLS its endpoints choose the version.
    #[must_use]
    pub fn cluster_keys(&self) -> String {
        match &self.tls {
            Some(folder) => format!("    tls: {{ roots: {}/ca.pem }}\n", folder.display()),
            None if self.upstream_http2 => "    http: { version: http2 }\n".to_owned(),
            None => String::new(),
        }
    }

    /// What an origin needs for TLS.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        let folder = self.tls.as_ref()?;
        let chain = CertificateDer::pem_file_iter(folder.join("cert.pem")).expect("a chain");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        config.alpn_protocols = vec![alpn(self.upstream_http2)];
        Some(Arc::new(config))
    }

    /// What a client needs for TLS.
    pub(crate) fn client(&self) -> Option<Arc<ClientConfig>> {
        let folder = self.tls.as_ref()?;
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(folder.join("ca.pem")).expect("an authority");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn(self.downstream_http2)];
        Some(Arc::new(config))
    }
}

fn alpn(http2: bool) -> Vec<u8> {
    if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }
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
    let versions = Versions::chosen();
    if !versions.upstream_http2 && versions.tls.is_none() {
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

/// Where a listener is reached. `encrypted` says that it ends TLS.
pub(crate) fn listener(address: SocketAddr, encrypted: bool) -> SocketAddr {
    let versions = Versions::chosen();
    let tls = versions.client().filter(|_| encrypted);
    if !versions.downstream_http2 && tls.is_none() {
        return address;
    }
    let mut fronts = FRONTS.lock().unwrap_or_else(PoisonError::into_inner);
    let front = fronts.listeners.entry(address);
    *front.or_insert_with(|| {
        serve(move |client| {
            translate::from_http1(client, address, tls.clone(), versions.downstream_http2)
        })
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
