//! Where a connection over QUIC goes, and what it begins TLS with. QUIC itself is for who speaks it.
//!
//! Start at [`to_endpoint_quic`].

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use portcullis_cluster::{Endpoint, ResolvedAddress};
use rustls::{AlertDescription, ClientConfig};

use super::{ConnectError, Settings};
use crate::tls::AlpnOffer;

/// Where a connection over QUIC goes.
#[derive(Debug)]
pub struct QuicTarget {
    /// A socket that sends to the endpoint and hears nobody else; non-blocking. ICMP errors come out of it.
    pub socket: UdpSocket,
    /// The endpoint.
    pub address: SocketAddr,
    /// Whom it must prove to be.
    pub name: String,
    /// What proves it, application protocols included.
    pub tls: ClientConfig,
    /// How long it may take.
    pub timeout: Duration,
}

/// What it takes to connect to an endpoint over QUIC, as its cluster is configured.
///
/// # Errors
/// See [`ConnectError`]: here only what is wrong on this side.
pub fn to_endpoint_quic(
    cluster: impl Into<Settings>,
    endpoint: &Endpoint,
    offer: AlpnOffer,
) -> Result<QuicTarget, ConnectError> {
    let settings = cluster.into();
    let tls = settings.tls()?.ok_or(ConnectError::TlsUnavailable)?;
    let begun = tls.quic(endpoint.name(), offer);
    let (tls, name) = begun.map_err(|_| ConnectError::TlsUnavailable)?;
    let &ResolvedAddress::Socket(address) = endpoint.address() else {
        return Err(ConnectError::NotFound);
    };
    let socket = open(address).map_err(|error| ConnectError::from(&error))?;
    Ok(QuicTarget {
        socket,
        address,
        name: name.to_str().into_owned(),
        tls,
        timeout: settings.config.connect_timeout.get(),
    })
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(socket)
}

impl ConnectError {
    /// What a TLS alert means that ended a handshake over QUIC (RFC 9001 section 4.8); `ours` if this side found the fault.
    /// The alert is all that QUIC keeps of it.
    #[must_use]
    pub fn of_alert(alert: u8, ours: bool) -> Self {
        match AlertDescription::from(alert) {
            AlertDescription::NoApplicationProtocol => Self::TlsAlpn,
            _ if !ours => Self::TlsAlert,
            AlertDescription::CertificateExpired => Self::TlsCertificateExpired,
            // What rustls says of another name, and our own rules of none that is allowed.
            AlertDescription::BadCertificate | AlertDescription::AccessDenied => {
                Self::TlsCertificateName
            }
            AlertDescription::UnknownCA
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError => Self::TlsCertificate,
            _ => Self::TlsHandshake,
        }
    }
}
