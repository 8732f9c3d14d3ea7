//! An HTTP/3 client that keeps to the rules: `quinn` and `h3`, driven from a plain test thread.
//!
//! For what a well-behaved client sees; what a hostile one does it does with [`H3Client::quic`], or [`RawH3`]. Start at
//! [`H3Client::connect`].

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::OpenStreams;
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::ClientConfig;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::http3_origin::h3_frame;
use crate::{CEILING, H2Response};

/// A whole response of HTTP/3.
pub type H3Response = H2Response;

/// A stream with a request.
pub type H3Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A connection, and the thread that drives it.
#[derive(Debug)]
pub struct H3Client {
    runtime: Runtime,
    endpoint: Endpoint,
    connection: Connection,
    sender: Sender,
    driver: JoinHandle<h3::error::ConnectionError>,
}

struct Sender(SendRequest<OpenStreams, Bytes>);

impl std::fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sender")
    }
}

/// TLS of a client, for QUIC. `config` should remember sessions where early data is wanted.
#[must_use]
pub fn quic_config(config: &ClientConfig) -> quinn::ClientConfig {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.enable_early_data = true;
    let crypto = QuicClientConfig::try_from(config).expect("TLS 1.3");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(CEILING.try_into().expect("a timeout")));
    transport.keep_alive_interval(Some(Duration::from_secs(5)));
    config.transport_config(Arc::new(transport));
    config
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

impl H3Client {
    /// Connects, and asks for this name.
    ///
    /// # Errors
    /// The handshake failed.
    #[track_caller]
    pub fn connect(
        address: SocketAddr,
        config: &ClientConfig,
        name: &str,
    ) -> Result<Self, ConnectionError> {
        Self::connect_with(address, quic_config(config), name)
    }

    /// As [`H3Client::connect`], with these settings.
    ///
    /// # Errors
    /// The handshake failed.
    #[track_caller]
    pub fn connect_with(
        address: SocketAddr,
        config: quinn::ClientConfig,
        name: &str,
    ) -> Result<Self, ConnectionError> {
        let runtime = runtime();
        let (endpoint, connection) = run(&runtime, async {
            let endpoint =
                Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
            let connecting = endpoint.connect_with(config, address, name).expect("begin");
            connecting.await.map(|connection| (endpoint, connection))
        })?;
        Ok(Self::over(runtime, endpoint, connection))
    }

    fn over(runtime: Runtime, endpoint: Endpoint, connection: Connection) -> Self {
        let (sender, driver) = run(&runtime, async {
            let over = h3_quinn::Connection::new(connection.clone());
            let (mut driver, sender) = h3::client::new(over).await.expect("begin HTTP/3");
            #[allow(clippy::disallowed_methods)] // tests have threads of their own
            let driver =
                tokio::spawn(
                    async move { std::future::poll_fn(|task| driver.poll_close(task)).await },
                );
            (sender, driver)
        });
        Self {
            runtime,
            endpoint,
            connection,
            sender: Sender(sender),
            driver,
        }
    }

    /// Runs something to its end, at most for [`CEILING`].
    #[track_caller]
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        run(&self.runtime, future)
    }

    /// The connection itself.
    #[must_use]
    pub const fn quic(&self) -> &Connection {
        &self.connection
    }

    /// What opens streams.
    #[must_use]
    pub fn sender(&self) -> SendRequest<OpenStreams, Bytes> {
        self.sender.0.clone()
    }

    /// Goes on from another port, or address, without a word.
    #[track_caller]
    pub fn move_to(&self, from: SocketAddr) {
        let _inside = self.runtime.enter();
        let socket = UdpSocket::bind(from).expect("a socket");
        self.endpoint.rebind(socket).expect("rebind");
    }

    /// Where it sends from.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("an address")
    }

    /// A request for a path of a host.
    #[must_use]
    pub fn head(method: &str, path: &str, host: &str) -> Request<()> {
        let uri = format!("https://{host}{path}");
        let request = Request::builder().method(method).uri(uri);
        request.body(()).expect("a request")
    }

    /// A GET.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str, host: &str) -> H3Response {
        self.exchange(Self::head("GET", path, host), None)
            .expect("a response")
    }

    /// A request with its body, and the whole response.
    ///
    /// # Errors
    /// The stream was reset, or the connection ended.
    #[track_caller]
    pub fn exchange(
        &self,
        request: Request<()>,
        body: Option<&[u8]>,
    ) -> Result<H3Response, h3::error::StreamError> {
        let mut sender = self.sender();
        self.run(async {
            let mut stream = sender.send_request(request).await?;
            if let Some(body) = body {
                stream.send_data(Bytes::copy_from_slice(body)).await?;
            }
            stream.finish().await?;
            read_h3_response(&mut stream).await
        })
    }

    /// How the connection ends.
    #[track_caller]
    pub fn ended(self) -> ConnectionError {
        let ended = self.run(self.connection.closed());
        drop(self.driver);
        ended
    }
}

/// Reads a whole response, interim ones included.
///
/// # Errors
/// The stream was reset, or the connection ended.
pub async fn read_h3_response(stream: &mut H3Stream) -> Result<H3Response, h3::error::StreamError> {
    let mut interim = Vec::new();
    let head = loop {
        let head = stream.recv_response().await?;
        if !head.status().is_informational() {
            break head;
        }
        interim.push((head.status().as_u16(), head.headers().clone()));
    };
    let mut body = Vec::new();
    while let Some(mut piece) = stream.recv_data().await? {
        while piece.has_remaining() {
            body.extend_from_slice(piece.chunk());
            let length = piece.chunk().len();
            piece.advance(length);
        }
    }
    let trailers = stream.recv_trailers().await?;
    Ok(H3Response {
        status: head.status().as_u16(),
        headers: head.headers().clone(),
        interim,
        body,
        trailers,
    })
}

/// A connection of QUIC that speaks HTTP/3 as its test wants it.
#[derive(Debug)]
pub struct RawH3 {
    runtime: Runtime,
    _endpoint: Endpoint,
    connection: Connection,
    control: Option<SendStream>,
}

impl RawH3 {
    /// Connects, and sends empty SETTINGS.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr, config: &ClientConfig, name: &str) -> Self {
        let runtime = runtime();
        let (endpoint, connection, control) = run(&runtime, async {
            let endpoint =
                Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
            let connecting = endpoint.connect_with(quic_config(config), address, name);
            let connection = connecting.expect("begin").await.expect("a handshake");
            // The gateway may have ended it already: TLS is over for a client before it is for the other side.
            let control = match connection.open_uni().await {
                Ok(mut control) => control.write_all(&[0, 4, 0]).await.ok().map(|()| control),
                Err(_) => None,
            };
            (endpoint, connection, control)
        });
        Self {
            runtime,
            _endpoint: endpoint,
            connection,
            control,
        }
    }

    /// The connection itself.
    #[must_use]
    pub const fn quic(&self) -> &Connection {
        &self.connection
    }

    /// The stream that frames about the connection go on.
    #[track_caller]
    pub const fn control(&mut self) -> &mut SendStream {
        self.control.as_mut().expect("the connection has ended")
    }

    /// Runs something to its end, at most for [`CEILING`].
    #[track_caller]
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        run(&self.runtime, future)
    }

    /// Sends bytes on the control stream.
    #[track_caller]
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        let Self {
            runtime, control, ..
        } = self;
        let control = control.as_mut().expect("the connection has ended");
        run(runtime, control.write_all(bytes)).is_ok()
    }

    /// Sends bytes on a new unidirectional stream, and leaves it open.
    #[track_caller]
    pub fn open(&self, bytes: &[u8]) -> Option<SendStream> {
        self.run(async {
            let mut stream = self.connection.open_uni().await.ok()?;
            stream.write_all(bytes).await.ok()?;
            Some(stream)
        })
    }

    /// Sends bytes as a request; `ended` says that there is no more.
    #[track_caller]
    pub fn request(&self, bytes: &[u8], ended: bool) -> Option<(SendStream, RecvStream)> {
        self.run(async {
            let (mut send, receive) = self.connection.open_bi().await.ok()?;
            send.write_all(bytes).await.ok()?;
            if ended {
                send.finish().ok()?;
            }
            Some((send, receive))
        })
    }

    /// How the gateway ends the connection: its code.
    #[track_caller]
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        match self.run(self.connection.closed()) {
            ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
            _ => None,
        }
    }
}

/// A field section of literals only (RFC 9204 section 4.5.6).
#[must_use]
pub fn h3_section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        h3_prefixed(&mut section, 0x20, 3, name.len());
        section.extend_from_slice(name.as_bytes());
        h3_prefixed(&mut section, 0, 7, value.len());
        section.extend_from_slice(value.as_bytes());
    }
    section
}

/// An integer with a prefix of so many bits (RFC 9204 section 4.1.1).
fn h3_prefixed(into: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        into.push(first | value as u8);
        return;
    }
    into.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

/// HEADERS of a GET for this path of `a.test`.
#[must_use]
pub fn h3_get(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", path),
    ];
    h3_frame(1, h3_section(&fields))
}

#[track_caller]
fn run<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    let limited = async { tokio::time::timeout(CEILING, future).await };
    runtime
        .block_on(limited)
        .unwrap_or_else(|_| panic!("nothing for {CEILING:?}"))
}
