//! An HTTP/3 upstream: by the `h3` crate for what a real server does, or frame by frame for what none should do.
//!
//! A thread with a runtime of its own. Start at [`Http3Origin::start`] and [`Http3Origin::raw`]; [`Http3Origin::in_front_of`] makes an
//! HTTP/3 server of an HTTP/1 one.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::thread;

use bytes::Bytes;
use h3::server::RequestStream;
use http::Request;
use quinn::crypto::rustls::QuicServerConfig;
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

use crate::http3_quic::{Bidi, Quic, Stopped, Stops};
use crate::scratch::Scratch;
use crate::tls::{Authority, Issued};
use crate::translate;
use crate::watched::Watched;

/// A stream of `h3`'s: the response goes there, and the body comes from there.
pub type Http3Stream = RequestStream<Bidi, Bytes>;

/// An HTTP/3 upstream on a port of its own. It ends with the process unless it is [killed](Self::kill).
#[derive(Debug)]
pub struct Http3Origin {
    address: SocketAddr,
    connections: Arc<Watched<usize>>,
    kill: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

/// Who vouches for the origins of this process.
struct Trust {
    authority: Authority,
    folder: Scratch,
}

fn trust() -> &'static Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST.get_or_init(|| {
        let authority = Authority::new("http3");
        let folder = Scratch::new();
        folder.write(AUTHORITY, authority.pem());
        Trust { authority, folder }
    })
}

/// What a configuration calls where the authority's certificate is.
const AUTHORITY: &str = "authority.pem";

impl Http3Origin {
    /// A server that does `serve` with every request.
    pub fn start<S, F>(serve: S) -> Self
    where
        S: Fn(Request<()>, Http3Stream) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        Self::start_with(quinn::TransportConfig::default(), serve)
    }

    /// As [`start`](Self::start), with other limits.
    pub fn start_with<S, F>(transport: quinn::TransportConfig, serve: S) -> Self
    where
        S: Fn(Request<()>, Http3Stream) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        Self::http3(transport, move |request, stream, _| serve(request, stream))
    }

    /// Speaks HTTP/3 in front of an HTTP/1 upstream. What comes by TCP passes as it is.
    #[must_use]
    pub fn in_front_of(origin: SocketAddr) -> Self {
        let front = Self::http3(
            quinn::TransportConfig::default(),
            move |request, stream, stopped| {
                translate::http3_to_http1(origin, request, stream, stopped)
            },
        );
        match TcpListener::bind(front.address) {
            Ok(listener) => {
                thread::spawn(move || pass(listener, origin));
                front
            }
            // Somebody else has the port.
            Err(_) => Self::in_front_of(origin),
        }
    }

    /// A server that does `serve` with every connection, below HTTP/3.
    pub fn raw<S, F>(serve: S) -> Self
    where
        S: Fn(RawHttp3) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let transport = quinn::TransportConfig::default();
        Self::run(certified(&["127.0.0.1"]), transport, move |connection| {
            serve(RawHttp3 { connection })
        })
    }

    /// A server whose certificate has another name.
    #[must_use]
    pub fn misnamed() -> Self {
        let transport = quinn::TransportConfig::default();
        Self::run(
            certified(&["other.test"]),
            transport,
            |connection| async move {
                connection.closed().await;
            },
        )
    }

    /// A server that asks for a certificate of its own authority; it answers `ok`.
    #[must_use]
    pub fn asking() -> Self {
        let trust = trust();
        let issued = trust.authority.issue(&["127.0.0.1"]);
        let mut tls = issued.server_of(rustls::ALL_VERSIONS, Some(&trust.authority));
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let transport = quinn::TransportConfig::default();
        Self::run(tls, transport, |connection| async move {
            let gateway = RawHttp3 { connection };
            let _control = gateway.control().await;
            gateway.serve("ok").await;
        })
    }

    /// A server that does not speak HTTP/3 but something else over QUIC.
    #[must_use]
    pub fn of_another_protocol() -> Self {
        let mut tls = certified(&["127.0.0.1"]);
        tls.alpn_protocols = vec![b"doq".to_vec()];
        let transport = quinn::TransportConfig::default();
        Self::run(tls, transport, |connection| async move {
            connection.closed().await;
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.update(|connections| *connections)
    }

    /// What the cluster of such an origin must say about TLS.
    #[must_use]
    pub fn tls() -> String {
        format!("tls: {{ roots: {} }}", Self::roots())
    }

    /// The file of who vouches for such origins.
    #[must_use]
    pub fn roots() -> String {
        format!("{}/{AUTHORITY}", Self::trust_folder())
    }

    /// The certificate of who vouches for such origins, and one that it issued, in PEM form.
    #[must_use]
    pub fn authority() -> (String, Issued) {
        let authority = &trust().authority;
        (authority.pem(), authority.issue(&["gateway.test"]))
    }

    /// Where what such origins are known by is.
    pub(crate) fn trust_folder() -> String {
        trust().folder.path().display().to_string()
    }

    /// Ends it in the middle of whatever it does: its socket is closed, and it says goodbye to nobody.
    pub fn kill(&mut self) {
        if let Some((kill, thread)) = self.kill.take() {
            let _ = kill.send(());
            let _ = thread.join();
        }
    }

    fn http3<S, F>(transport: quinn::TransportConfig, serve: S) -> Self
    where
        S: Fn(Request<()>, Http3Stream, Stopped) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        // Shared by the connections of its thread alone, which begins with the first one.
        let serve = Arc::new(std::sync::Mutex::new(serve));
        Self::run(certified(&["127.0.0.1"]), transport, move |connection| {
            let serve = Arc::clone(&serve);
            async move {
                let stops = Stops::default();
                let quic = Quic::new(connection, &stops);
                let Ok(mut connection) = h3::server::Connection::new(quic).await else {
                    return;
                };
                while let Ok(Some(resolver)) = connection.accept().await {
                    let Ok((request, stream)) = resolver.resolve_request().await else {
                        continue;
                    };
                    let stopped = stops.borrow_mut().remove(&stream.id().into_inner());
                    let stopped = stopped.expect("a stream that was accepted");
                    let serve = serve.lock().expect("the thread's own");
                    spawn_local(serve(request, stream, stopped));
                }
            }
        })
    }

    fn run<S, F>(tls: rustls::ServerConfig, transport: quinn::TransportConfig, serve: S) -> Self
    where
        S: Fn(quinn::Connection) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = socket.local_addr().expect("a bound address");
        let connections = Arc::<Watched<usize>>::default();
        let counter = Arc::clone(&connections);
        let (kill, killed) = oneshot::channel();
        let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3");
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let accept = async {
                let endpoint = quinn::Endpoint::new(
                    quinn::EndpointConfig::default(),
                    Some(config),
                    socket,
                    Arc::new(quinn::TokioRuntime),
                );
                let endpoint = endpoint.expect("an endpoint");
                while let Some(incoming) = endpoint.accept().await {
                    let Ok(connection) = incoming.await else {
                        continue;
                    };
                    counter.update(|connections| *connections += 1);
                    spawn_local(serve(connection));
                }
            };
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = accept => {}
                    // One that nobody holds any more goes on.
                    Ok(()) = killed => {}
                }
            });
        });
        Self {
            address,
            connections,
            kill: Some((kill, thread)),
        }
    }
}

fn pass(listener: TcpListener, origin: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        listener.set_nonblocking(true).expect("non-blocking");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((client, _)) = listener.accept().await {
            spawn_local(translate::pass(client, origin));
        }
    });
}

fn certified(names: &[&str]) -> rustls::ServerConfig {
    let mut tls = trust().authority.issue(names).server();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls
}

/// One connection of the gateway, below HTTP/3.
pub struct RawHttp3 {
    /// The connection.
    pub connection: quinn::Connection,
}

/// A stream of the gateway, below HTTP/3.
pub struct RawExchange {
    /// Where the response goes.
    pub send: quinn::SendStream,
    /// Where the request comes from.
    pub receive: quinn::RecvStream,
}

impl RawHttp3 {
    /// Opens a control stream, with settings that say nothing.
    pub async fn control(&self) -> quinn::SendStream {
        self.unidirectional([&[0][..], &h3_frame(4, [])].concat())
            .await
    }

    /// Opens a unidirectional stream that begins so.
    pub async fn unidirectional(&self, start: impl AsRef<[u8]>) -> quinn::SendStream {
        let mut stream = self.connection.open_uni().await.expect("a stream");
        let _ = stream.write_all(start.as_ref()).await;
        stream
    }

    /// The next request, once it has begun; `None` when the connection has ended.
    pub async fn request(&self) -> Option<RawExchange> {
        let (send, receive) = self.connection.accept_bi().await.ok()?;
        Some(RawExchange { send, receive })
    }

    /// Answers every request.
    pub async fn serve(&self, body: &str) {
        while let Some(mut exchange) = self.request().await {
            exchange.respond(body).await;
        }
    }

    /// Waits until the gateway ends the connection; the answer is the code that it says.
    pub async fn closed(&self) -> Option<u64> {
        match self.connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
            _ => None,
        }
    }
}

impl RawExchange {
    /// Sends bytes. A gateway that wants no more is no failure.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.send.write_all(bytes.as_ref()).await;
    }

    /// Sends a whole response.
    pub async fn respond(&mut self, body: &str) {
        let head = h3_frame(1, H3_OK);
        self.write([&head[..], &h3_frame(0, body)].concat()).await;
        let _ = self.send.finish();
    }
}

/// A field section that says 200 and nothing else.
pub const H3_OK: [u8; 3] = [0, 0, h3_indexed(25)];

/// A field of QPACK's static table.
#[must_use]
pub const fn h3_indexed(index: u8) -> u8 {
    0xc0 + index
}

/// A frame.
pub fn h3_frame(kind: u64, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = h3_frame_header(kind, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// The beginning of a frame that says it is so long.
#[must_use]
pub fn h3_frame_header(kind: u64, length: u64) -> Vec<u8> {
    [h3_number(kind), h3_number(length)].concat()
}

/// A number as QUIC writes it.
#[must_use]
pub fn h3_number(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A field section of fields that are written out, behind a status.
#[must_use]
pub fn h3_head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = H3_OK.to_vec();
    for field in fields {
        section.extend(h3_field(field.0, field.1));
    }
    section
}

/// A field that is written out: neither is compressed.
#[must_use]
pub fn h3_field(name: &str, value: &str) -> Vec<u8> {
    let mut field = prefixed(0x20, 3, name.len());
    field.extend(name.as_bytes());
    field.extend(prefixed(0, 7, value.len()));
    field.extend(value.as_bytes());
    field
}

/// A number with a prefix of so many bits.
fn prefixed(flags: u8, bits: u8, value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![flags | value as u8];
    }
    let mut bytes = vec![flags | most as u8];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(128 | (rest % 128) as u8);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}
