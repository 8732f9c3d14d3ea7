//! Connections towards endpoints.
//!
//! One attempt to one address, TLS and PROXY header included: choosing another endpoint and keeping idle connections is for whoever calls. Start at
//! [`to_endpoint`] and [`connect`].

mod quic;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use portcullis_cluster::{
    Cluster, ClusterConfig, ClusterShared, Endpoint, ProxyProtocolVersion, ResolvedAddress,
    Transport,
};
use portcullis_codec::Encoder as _;
use portcullis_filter::Connection;
use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError};
use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream};

use crate::listen::apply;
use crate::proxy_header::{ProxyHeaderEncoder, Version};
use crate::tls::upstream::ClientTls;
use crate::tls::{AlpnOffer, HandshakeError, TlsStream};
use crate::{ProxyHeader, SocketOptions, Stream};

pub use self::quic::{QuicTarget, to_endpoint_quic};

/// Why a connection could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there, or its queue is full.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("connect timed out")]
    TimedOut,
    /// There is no way there.
    #[error("unreachable")]
    Unreachable,
    /// It was accepted and cut at once.
    #[error("connection reset")]
    Reset,
    /// This process has no descriptor left: not the endpoint's fault.
    #[error("no file descriptors left")]
    DescriptorLimit,
    /// All local ports towards this address are in use: not the endpoint's fault.
    #[error("no local port left")]
    NoLocalPort,
    /// The system forbids it.
    #[error("permission denied")]
    Denied,
    /// There is no such Unix socket.
    #[error("no such socket")]
    NotFound,
    /// Its certificate is from nobody who is trusted, or is none.
    #[error("the certificate is not trusted")]
    TlsCertificate,
    /// Its certificate has expired, or is not valid yet.
    #[error("the certificate is out of date")]
    TlsCertificateExpired,
    /// Its certificate is somebody else's.
    #[error("the certificate has another name")]
    TlsCertificateName,
    /// It does not speak the application protocol that it has to.
    #[error("no application protocol in common")]
    TlsAlpn,
    /// It does not want to go on with the handshake, and says so.
    #[error("the TLS handshake was refused")]
    TlsAlert,
    /// It does not speak TLS, or not so that there is an agreement.
    #[error("the TLS handshake failed")]
    TlsHandshake,
    /// What the cluster needs for TLS was never made: not the endpoint's fault.
    #[error("TLS is not set up")]
    TlsUnavailable,
    /// Something else.
    #[error("connect failed")]
    Other,
}

impl ConnectError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::DescriptorLimit => "fd_limit",
            Self::NoLocalPort => "no_local_port",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::TlsCertificate => "tls_certificate",
            Self::TlsCertificateExpired => "tls_certificate_expired",
            Self::TlsCertificateName => "tls_certificate_name",
            Self::TlsAlpn => "tls_alpn",
            Self::TlsAlert => "tls_alert",
            Self::TlsHandshake => "tls_handshake",
            Self::TlsUnavailable => "tls_unavailable",
            Self::Other => "connect_error",
        }
    }

    /// Whether the cause is on this side, so that it says nothing about the endpoint.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(
            self,
            Self::DescriptorLimit | Self::NoLocalPort | Self::TlsUnavailable
        )
    }

    /// Whether it was reached, and TLS is what failed.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(
            self,
            Self::TlsCertificate
                | Self::TlsCertificateExpired
                | Self::TlsCertificateName
                | Self::TlsAlpn
                | Self::TlsAlert
                | Self::TlsHandshake
                | Self::TlsUnavailable
        )
    }
}

impl From<&io::Error> for ConnectError {
    fn from(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            // A Unix socket whose queue is full says "again".
            Some(Errno::CONNREFUSED | Errno::AGAIN) => Self::Refused,
            Some(Errno::TIMEDOUT) => Self::TimedOut,
            Some(
                Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::NETDOWN
                | Errno::HOSTDOWN
                | Errno::AFNOSUPPORT,
            ) => Self::Unreachable,
            Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => Self::Reset,
            Some(Errno::MFILE | Errno::NFILE) => Self::DescriptorLimit,
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => Self::NoLocalPort,
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied,
            Some(Errno::NOENT) => Self::NotFound,
            _ => Self::Other,
        }
    }
}

impl From<&HandshakeError> for ConnectError {
    fn from(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::Io(error) => match Self::from(error) {
                // An end in the middle, most of all.
                Self::Other => Self::TlsHandshake,
                error => error,
            },
            HandshakeError::Tls(rustls::Error::InvalidCertificate(error)) => of_certificate(error),
            HandshakeError::Tls(
                rustls::Error::NoApplicationProtocol
                | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol),
            ) => Self::TlsAlpn,
            HandshakeError::Tls(rustls::Error::AlertReceived(_)) => Self::TlsAlert,
            HandshakeError::Tls(_) => Self::TlsHandshake,
        }
    }
}

const fn of_certificate(error: &CertificateError) -> ConnectError {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => ConnectError::TlsCertificateExpired,
        CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. }
        // One of our own rules: no name is among those that `san` allows.
        | CertificateError::ApplicationVerificationFailure => ConnectError::TlsCertificateName,
        _ => ConnectError::TlsCertificate,
    }
}

/// A cluster as whoever connects sees it: on a worker from a [`Cluster`], on the control side from a [`ClusterShared`].
#[derive(Debug)]
pub struct Settings {
    config: Arc<ClusterConfig>,
    transport: Option<Transport>,
}

impl From<&Cluster> for Settings {
    fn from(cluster: &Cluster) -> Self {
        Self {
            config: cluster.config(),
            transport: cluster.transport(),
        }
    }
}

impl From<&ClusterShared> for Settings {
    fn from(cluster: &ClusterShared) -> Self {
        Self {
            config: cluster.config(),
            transport: cluster.transport(),
        }
    }
}

/// Connects to an endpoint as its cluster is configured: within its timeout, with a PROXY header in the name of `client`
/// if it wants one, and encrypted if it has TLS, where `offer` is what can be spoken then.
///
/// # Errors
/// See [`ConnectError`].
pub async fn to_endpoint(
    cluster: &Cluster,
    endpoint: &Endpoint,
    offer: AlpnOffer,
    client: Option<&Connection>,
) -> Result<Stream, ConnectError> {
    let settings = Settings::from(cluster);
    let first = proxy_header(&settings.config, client);
    let first = first.as_deref().unwrap_or_default();
    settings.connect(endpoint, first, offer).await
}

/// Connects to an endpoint in nobody's name, as health checks do; without a PROXY header.
///
/// # Errors
/// See [`ConnectError`].
pub async fn to_check(
    cluster: &ClusterShared,
    endpoint: &Endpoint,
    offer: AlpnOffer,
) -> Result<Stream, ConnectError> {
    let settings = Settings::from(cluster);
    settings.connect(endpoint, &[], offer).await
}

/// Connects to an endpoint and leaves it at that, for protocols in which TLS begins inside the conversation: [`encrypt`]
/// follows where the cluster [has TLS](ClusterConfig::has_tls). Within the cluster's timeout. The PROXY header that the
/// endpoint may want is written: in the name of `client`, or in the gateway's own, as it must be for whatever serves
/// several clients.
///
/// # Errors
/// See [`ConnectError`].
pub async fn to_endpoint_plain(
    cluster: impl Into<Settings>,
    endpoint: &Endpoint,
    client: Option<&Connection>,
) -> Result<Stream, ConnectError> {
    let Settings { config, .. } = cluster.into();
    let first = proxy_header(&config, client);
    let first = first.as_deref().unwrap_or_default();
    let options = SocketOptions::default();
    let opening = open(endpoint.address(), &options, first);
    within(config.connect_timeout.get(), opening).await
}

/// Begins TLS on a connection from [`to_endpoint_plain`], as the cluster is configured, within another of its timeouts.
///
/// What the endpoint has sent and nobody has read belongs to the handshake, and ends it unless it is TLS. So nothing
/// that came before is taken for something that came after, as long as the caller reads no further than to the byte
/// that tells it to begin, and keeps nothing (CVE-2021-23222).
///
/// # Errors
/// See [`ConnectError`]. [`ConnectError::TlsUnavailable`] also if the cluster has no TLS, or the stream has it already.
pub async fn encrypt(
    cluster: impl Into<Settings>,
    endpoint: &Endpoint,
    stream: Stream,
    offer: AlpnOffer,
) -> Result<Stream, ConnectError> {
    let settings = cluster.into();
    let tls = settings.tls()?.ok_or(ConnectError::TlsUnavailable)?;
    if stream.is_encrypted() {
        return Err(ConnectError::TlsUnavailable);
    }
    let encrypting = begin_tls(stream, tls, endpoint.name(), offer);
    within(settings.config.connect_timeout.get(), encrypting).await
}

/// The PROXY header that endpoints of the cluster want.
fn proxy_header(config: &ClusterConfig, client: Option<&Connection>) -> Option<BytesMut> {
    let (source, target) = client.map_or((None, None), |client| (client.client, client.local));
    let version = config.proxy_protocol.map(|version| match version {
        ProxyProtocolVersion::V1 => Version::V1,
        ProxyProtocolVersion::V2 => Version::V2,
    });
    version.map(|version| {
        let mut bytes = BytesMut::new();
        let header = ProxyHeader::of_connection(source, target);
        // A header without values is never too long.
        let _ = ProxyHeaderEncoder::new(version).encode(&header, &mut bytes);
        bytes
    })
}

impl Settings {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        first: &[u8],
        offer: AlpnOffer,
    ) -> Result<Stream, ConnectError> {
        let tls = self.tls()?;
        let connecting = async {
            let options = SocketOptions::default();
            let stream = open(endpoint.address(), &options, first).await?;
            match tls {
                Some(tls) => begin_tls(stream, tls, endpoint.name(), offer).await,
                None => Ok(stream),
            }
        };
        within(self.config.connect_timeout.get(), connecting).await
    }

    /// What encrypts. Never nothing where the configuration wants it.
    fn tls(&self) -> Result<Option<&ClientTls>, ConnectError> {
        if !self.config.has_tls() {
            return Ok(None);
        }
        let transport = self.transport.as_ref().and_then(Transport::get);
        transport.map(Some).ok_or(ConnectError::TlsUnavailable)
    }
}

/// Makes the connection an encrypted one. What the endpoint sends before its answer to our hello is no TLS, and ends it.
async fn begin_tls(
    stream: Stream,
    tls: &ClientTls,
    endpoint: &str,
    offer: AlpnOffer,
) -> Result<Stream, ConnectError> {
    let connection = tls.connection(endpoint, offer);
    let connection = connection.map_err(|_| ConnectError::TlsUnavailable)?;
    let mut stream =
        TlsStream::new(stream, connection, &[]).map_err(|error| ConnectError::from(&error))?;
    if let Err(error) = stream.handshake().await {
        let reason = ConnectError::from(&error);
        tracing::debug!(endpoint, %error, reason = reason.label(), "TLS to an endpoint failed");
        return Err(reason);
    }
    if !offer.accepts(stream.connection().alpn_protocol()) {
        return Err(ConnectError::TlsAlpn);
    }
    Ok(stream.into())
}

/// Connects to an address.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    address: &ResolvedAddress,
    timeout: Duration,
    options: &SocketOptions,
) -> Result<Stream, ConnectError> {
    connect_with(address, timeout, options, &[]).await
}

/// Connects to an address and writes `first`, all within `timeout`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_with(
    address: &ResolvedAddress,
    timeout: Duration,
    options: &SocketOptions,
    first: &[u8],
) -> Result<Stream, ConnectError> {
    within(timeout, open(address, options, first)).await
}

async fn within(
    timeout: Duration,
    connecting: impl Future<Output = Result<Stream, ConnectError>>,
) -> Result<Stream, ConnectError> {
    let connected = crate::within(timeout, connecting).await;
    connected.unwrap_or(Err(ConnectError::TimedOut))
}

async fn open(
    address: &ResolvedAddress,
    options: &SocketOptions,
    first: &[u8],
) -> Result<Stream, ConnectError> {
    let opened = async {
        let mut stream = match address {
            ResolvedAddress::Socket(address) => connect_tcp(*address, options).await?,
            ResolvedAddress::Unix(path) => connect_unix(path).await?,
        };
        stream.write_all(first).await?;
        Ok(stream)
    };
    opened.await.map_err(|error: io::Error| (&error).into())
}

async fn connect_tcp(address: SocketAddr, options: &SocketOptions) -> io::Result<Stream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    apply(&SockRef::from(&socket), options)?;
    Ok(socket.connect(address).await?.into())
}

async fn connect_unix(path: &Path) -> io::Result<Stream> {
    Ok(UnixStream::connect(path).await?.into())
}

#[cfg(test)]
mod tests;
