//! Connections towards endpoints.
//!
//! One attempt to one address: choosing another endpoint and keeping idle connections is for whoever calls. Start at
//! [`to_endpoint`] and [`connect`].

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use portcullis_cluster::{ClusterConfig, Endpoint, ProxyProtocolVersion, ResolvedAddress};
use portcullis_codec::Encoder as _;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream};

use crate::listen::apply;
use crate::proxy_header::{ProxyHeaderEncoder, Version};
use crate::{ProxyHeader, SocketOptions, Stream};

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
            Self::Other => "connect_error",
        }
    }

    /// Whether the cause is on this side, so that it says nothing about the endpoint.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::DescriptorLimit | Self::NoLocalPort)
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

/// Connects to an endpoint as its cluster is configured: within its timeout, and with a PROXY header in front that
/// names `client` and `local` if it wants one.
///
/// # Errors
/// See [`ConnectError`].
pub async fn to_endpoint(
    endpoint: &Endpoint,
    config: &ClusterConfig,
    client: Option<SocketAddr>,
    local: Option<SocketAddr>,
) -> Result<Stream, ConnectError> {
    let version = config.proxy_protocol.map(|version| match version {
        ProxyProtocolVersion::V1 => Version::V1,
        ProxyProtocolVersion::V2 => Version::V2,
    });
    let header = version.map(|version| {
        let mut bytes = BytesMut::new();
        let header = ProxyHeader::of_connection(client, local);
        // A header without values is never too long.
        let _ = ProxyHeaderEncoder::new(version).encode(&header, &mut bytes);
        bytes
    });
    let first = header.as_deref().unwrap_or_default();
    let address = endpoint.address();
    let options = SocketOptions::default();
    connect_with(address, config.connect_timeout.get(), &options, first).await
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
    let connecting = async {
        let mut stream = match address {
            ResolvedAddress::Socket(address) => connect_tcp(*address, options).await?,
            ResolvedAddress::Unix(path) => connect_unix(path).await?,
        };
        stream.write_all(first).await?;
        Ok(stream)
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::from(&error)),
        Err(_) => Err(ConnectError::TimedOut),
    }
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
