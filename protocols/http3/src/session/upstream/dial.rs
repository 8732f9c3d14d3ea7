//! Opens a QUIC connection to an endpoint: a socket of its own, TLS as the cluster says, `h3` by ALPN.
//!
//! A socket for each connection, as TCP has it: the kernel then lets nobody else in, ICMP is told to whom it concerns, and each has
//! its own port, by which endpoints and what is in front of them spread connections. It knows no pool and no HTTP/3. Start at
//! [`Dialling::connect`].

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use portcullis_cluster::{Endpoint, UpstreamHttp};
use portcullis_http::stream::ConnectFailure;
use portcullis_net::connect::{self, Settings};
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{ConnectError, Timer, clock};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{ClientConfig, ConnectionError, EndpointConfig, IdleTimeout, TransportConfig, VarInt};

use super::socket::Socket;

/// How long a silence may be before a PING breaks it, if the cluster says nothing else: well below the 30s after which most
/// servers forget a connection, with all that runs on it.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// No more PINGs than this, whatever the cluster says.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Unidirectional streams that an endpoint may have at once: three that HTTP/3 has, and some that mean nothing.
const UNI_STREAMS: u8 = 8;

/// Bytes of requests on one connection that may wait to be sent and acknowledged.
const SEND_WINDOW: u64 = 4 * 1024 * 1024;

/// H3_NO_ERROR (RFC 9114 section 8.1).
pub(super) const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// RFC 9000 section 20.1.
const CONNECTION_REFUSED: u64 = 0x2;

/// RFC 9001 section 4.8: an alert is told as one of these.
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// A connection and its socket.
pub(super) struct Dialled {
    pub(super) connection: quinn::Connection,
    pub(super) socket: Arc<Socket>,
    /// By when HTTP/3 has to stand on it.
    pub(super) deadline: Option<Instant>,
}

/// Connects within the cluster's connect timeout.
///
/// # Errors
/// No connection could be made.
pub(super) async fn dial(
    settings: impl Into<Settings>,
    endpoint: &Endpoint,
    http: &UpstreamHttp,
) -> Result<Dialled, ConnectFailure> {
    let target =
        connect::to_endpoint_quic(settings, endpoint, AlpnOffer::Http3).map_err(failure)?;
    let deadline = clock::now().checked_add(target.timeout);
    let socket = Socket::new(target.socket).map_err(|error| failure((&error).into()))?;
    let tls = QuicClientConfig::try_from(target.tls)
        .map_err(|_| failure(ConnectError::TlsUnavailable))?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport(http)));
    let endpoint = quinn::Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        None,
        Arc::clone(&socket) as Arc<dyn quinn::AsyncUdpSocket>,
        Arc::new(quinn::TokioRuntime),
    );
    let endpoint = endpoint.map_err(|error| failure((&error).into()))?;
    let connecting = endpoint
        .connect_with(config, target.address, &target.name)
        .map_err(|_| failure(ConnectError::TlsUnavailable))?;
    let connection = shake_hands(connecting, &socket, deadline).await?;
    if !speaks_http3(&connection) {
        connection.close(NO_ERROR, b"");
        return Err(ConnectFailure::Mismatch);
    }
    Ok(Dialled {
        connection,
        socket,
        deadline,
    })
}

/// Waits for the handshake, for what ICMP says meanwhile, and for the deadline.
async fn shake_hands(
    connecting: quinn::Connecting,
    socket: &Socket,
    deadline: Option<Instant>,
) -> Result<quinn::Connection, ConnectFailure> {
    let (mut connecting, mut doubted) = (pin!(connecting), pin!(socket.doubted()));
    let mut timer = Timer::new();
    poll_fn(|task| {
        if let Poll::Ready(connected) = connecting.as_mut().poll(task) {
            return Poll::Ready(connected.map_err(|error| failure_of(&error)));
        }
        if let Poll::Ready(refused) = doubted.as_mut().poll(task) {
            return Poll::Ready(Err(if refused {
                ConnectFailure::Refused
            } else {
                ConnectFailure::Unreachable
            }));
        }
        // A send may have taken the error away from who waits for it.
        timer.poll_expired(task, deadline).map(|()| {
            Err(if socket.heard().is_refused() {
                ConnectFailure::Refused
            } else {
                ConnectFailure::TimedOut
            })
        })
    })
    .await
}

/// Whether both have agreed on HTTP/3: a cluster can offer other protocols.
fn speaks_http3(connection: &quinn::Connection) -> bool {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    data.is_some_and(|data| data.protocol.as_deref() == Some(b"h3"))
}

fn transport(http: &UpstreamHttp) -> TransportConfig {
    let keep_alive = http.keep_alive;
    let interval = keep_alive
        .interval
        .map_or(PING_INTERVAL, portcullis_config::Duration::get)
        .max(LEAST_INTERVAL);
    let idle = interval.saturating_add(keep_alive.timeout.get());
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from(UNI_STREAMS))
        .stream_receive_window(VarInt::from_u32(http.stream_window()))
        .receive_window(VarInt::from_u32(http.connection_window()))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(interval))
        .max_idle_timeout(IdleTimeout::try_from(idle).ok());
    transport
}

/// What the end of a connection that never stood means.
pub(super) fn failure_of(error: &ConnectionError) -> ConnectFailure {
    match error {
        ConnectionError::TransportError(error) => of_code(error.code.into(), true),
        ConnectionError::ConnectionClosed(close) => of_code(close.error_code.into(), false),
        ConnectionError::VersionMismatch => ConnectFailure::Mismatch,
        ConnectionError::TimedOut => ConnectFailure::TimedOut,
        _ => ConnectFailure::Unreachable,
    }
}

fn of_code(code: u64, ours: bool) -> ConnectFailure {
    if ALERTS.contains(&code) {
        let error = ConnectError::of_alert((code & 0xff) as u8, ours);
        return ConnectFailure::Tls(error.label());
    }
    if code == CONNECTION_REFUSED && !ours {
        return ConnectFailure::Refused;
    }
    ConnectFailure::Unreachable
}

const fn failure(error: ConnectError) -> ConnectFailure {
    match error {
        ConnectError::Refused => ConnectFailure::Refused,
        ConnectError::TimedOut => ConnectFailure::TimedOut,
        error if error.is_tls() => ConnectFailure::Tls(error.label()),
        error if error.is_local() => ConnectFailure::Exhausted,
        _ => ConnectFailure::Unreachable,
    }
}
