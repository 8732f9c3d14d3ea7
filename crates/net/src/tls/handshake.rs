//! One downstream handshake: from a connected socket to an encrypted stream, within a time.
//!
//! rustls speaks; this reads and writes, keeps the bounds and gives every refusal its reason. Whether a handshake may
//! begin at all is `server`'s to say. Start at [`accept`].

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::BytesMut;
use portcullis_filter::TlsInfo;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{CertificateError, Error, HandshakeKind, ProtocolVersion, ServerConnection};

use super::certificates::RememberedChoice;
use super::client_identity::{self, ChainTooLong};
use super::{HandshakeError, TlsStream};
use crate::{Stream, Timer};

/// The most that is read at once before the ClientHello is whole.
const READ: usize = 4 * 1024;

/// The most that is read for a ClientHello, record headers included. One with post-quantum keys has some 2 KiB; a client
/// that sends it in records of one byte each needs six times that.
const LARGEST_HELLO: usize = 32 * 1024;

/// Why a connection was closed in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TlsRefusal {
    /// It was not over in time.
    #[error("the handshake took too long")]
    Timeout,
    /// This client has begun too many of late.
    #[error("the client has begun too many handshakes")]
    Rate,
    /// As many as may be are in progress.
    #[error("too many handshakes are in progress")]
    InFlight,
    /// What came first is no ClientHello, or a bad one.
    #[error("the first bytes are no ClientHello")]
    BadClientHello,
    /// No version, cipher suite or key exchange in common.
    #[error("nothing in common")]
    Incompatible,
    /// No application protocol in common.
    #[error("no application protocol in common")]
    NoAlpn,
    /// There is no client certificate, or not a right one.
    #[error("no right client certificate")]
    ClientCertificate,
    /// The client's chain of certificates is longer than anybody needs.
    #[error("the client's certificate chain is too long")]
    ChainTooLong,
    /// The client said that it does not want to go on.
    #[error("the client refused")]
    Alert,
    /// The client broke the rules after its hello.
    #[error("the client broke the rules of TLS")]
    Protocol,
    /// The connection ended or broke.
    #[error("the connection ended in its handshake")]
    Closed,
    /// The gateway itself failed.
    #[error("the handshake failed here")]
    Internal,
}

impl TlsRefusal {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "tls_handshake_timeout",
            Self::Rate => "tls_handshake_rate",
            Self::InFlight => "tls_handshakes_in_flight",
            Self::BadClientHello => "tls_bad_client_hello",
            Self::Incompatible => "tls_incompatible",
            Self::NoAlpn => "tls_no_alpn",
            Self::ClientCertificate => "tls_client_certificate",
            Self::ChainTooLong => "tls_chain_too_long",
            Self::Alert => "tls_alert",
            Self::Protocol => "tls_protocol",
            Self::Closed => "tls_closed",
            Self::Internal => "tls_internal",
        }
    }
}

impl From<&Error> for TlsRefusal {
    fn from(error: &Error) -> Self {
        match error {
            Error::NoApplicationProtocol => Self::NoAlpn,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::NoCertificatesPresented => Self::ClientCertificate,
            Error::InvalidCertificate(CertificateError::Other(other))
                if other.0.is::<ChainTooLong>() =>
            {
                Self::ChainTooLong
            }
            Error::InvalidCertificate(_) => Self::ClientCertificate,
            Error::AlertReceived(_) => Self::Alert,
            Error::General(_)
            | Error::FailedToGetCurrentTime
            | Error::FailedToGetRandomBytes
            | Error::EncryptError => Self::Internal,
            _ => Self::Protocol,
        }
    }
}

impl From<&HandshakeError> for TlsRefusal {
    fn from(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::Tls(error) => error.into(),
            HandshakeError::Io(_) => Self::Closed,
        }
    }
}

/// Carries out the handshake. `prefix` was read already and belongs to it. What the client sends behind it is kept in
/// the stream.
///
/// # Errors
/// The connection must be closed; the client was told why where TLS has a word for it.
pub(crate) async fn accept(
    mut socket: Stream,
    prefix: BytesMut,
    config: Arc<rustls::ServerConfig>,
    deadline: Option<Instant>,
) -> Result<(TlsStream, TlsInfo), TlsRefusal> {
    let mut timer = Timer::new();
    let mut received = prefix;
    let accepted = read_hello(&mut socket, &mut received, &mut timer, deadline).await?;
    let connection = match accepted.into_connection(config) {
        Ok(connection) => connection,
        Err((error, alert)) => {
            send_alert(&mut socket, alert);
            return Err(TlsRefusal::from(&error));
        }
    };
    let stream = TlsStream::new(socket, connection, &received);
    let mut stream = stream.map_err(|error| TlsRefusal::from(&error))?;
    poll_fn(|cx| {
        if let Poll::Ready(done) = stream.poll_handshake(cx) {
            return Poll::Ready(done.map_err(|error| TlsRefusal::from(&error)));
        }
        timer
            .poll_expired(cx, deadline)
            .map(|()| Err(TlsRefusal::Timeout))
    })
    .await?;
    let info = match stream.connection() {
        rustls::Connection::Server(connection) => info(connection),
        rustls::Connection::Client(_) => return Err(TlsRefusal::Internal),
    };
    Ok((stream, info))
}

/// As [`accept`], and remembers which certificate the client was shown. That takes a copy of the configuration.
///
/// # Errors
/// As [`accept`].
pub(crate) async fn accept_and_remember(
    socket: Stream,
    prefix: BytesMut,
    config: &rustls::ServerConfig,
    deadline: Option<Instant>,
) -> Result<(TlsStream, TlsInfo), TlsRefusal> {
    let choice = Arc::new(RememberedChoice::new(&config.cert_resolver));
    let mut config = config.clone();
    config.cert_resolver = Arc::clone(&choice) as _;
    let (stream, mut info) = accept(socket, prefix, Arc::new(config), deadline).await?;
    info.local_certificate = choice.certificate();
    Ok((stream, info))
}

/// Reads until the ClientHello is whole. What follows it stays in `received`.
async fn read_hello(
    socket: &mut Stream,
    received: &mut BytesMut,
    timer: &mut Timer,
    deadline: Option<Instant>,
) -> Result<Accepted, TlsRefusal> {
    let mut acceptor = Acceptor::default();
    let mut total = 0_usize;
    loop {
        while !received.is_empty() {
            let mut rest: &[u8] = received;
            let taken = acceptor.read_tls(&mut rest);
            let taken = taken.map_err(|_| TlsRefusal::BadClientHello)?;
            total = total.saturating_add(taken);
            drop(received.split_to(taken.min(received.len())));
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err((error, alert)) => {
                    send_alert(socket, alert);
                    return Err(match TlsRefusal::from(&error) {
                        TlsRefusal::Protocol => TlsRefusal::BadClientHello,
                        other => other,
                    });
                }
            }
        }
        if total > LARGEST_HELLO {
            return Err(TlsRefusal::BadClientHello);
        }
        let read: Option<io::Result<usize>> = poll_fn(|cx| {
            if let Poll::Ready(read) = socket.poll_read_at_most(cx, received, READ) {
                return Poll::Ready(Some(read));
            }
            timer.poll_expired(cx, deadline).map(|()| None)
        })
        .await;
        match read {
            Some(Ok(1..)) => {}
            Some(Ok(0) | Err(_)) => return Err(TlsRefusal::Closed),
            None => return Err(TlsRefusal::Timeout),
        }
    }
}

/// Tells the client why, as far as the socket takes it at once: nobody waits for one that is refused.
fn send_alert(socket: &mut Stream, mut alert: AcceptedAlert) {
    let mut text = Vec::new();
    if alert.write_all(&mut text).is_ok() {
        let _ = socket.try_write(&text);
    }
}

/// What the handshake said.
fn info(connection: &ServerConnection) -> TlsInfo {
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    TlsInfo {
        server_name: connection
            .server_name()
            .map(|name| name.to_ascii_lowercase().into()),
        alpn: connection.alpn_protocol().map(Into::into),
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .and_then(|suite| registered(suite.suite()))
            .unwrap_or("unknown"),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        client: certificate.and_then(|leaf| client_identity::identify(leaf)),
        local_certificate: None,
    }
}

/// The suite's name in the registry, where those of TLS 1.3 have no number in front.
fn registered(suite: rustls::CipherSuite) -> Option<&'static str> {
    use rustls::CipherSuite as S;
    Some(match suite {
        S::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        S::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        S::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str()?,
    })
}
