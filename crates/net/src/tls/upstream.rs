//! TLS towards the endpoints of one cluster: what the workers share, and the files it is made from.
//!
//! The control side has the [`ClientTlsFiles`]: it reads, compares and builds. Workers have the [`ClientTls`]: they
//! take what was built last for each new connection, so files change without touching a connection. Connecting itself
//! is [`mod@crate::connect`]'s. Start at [`ClientTlsFiles::load`].

mod files;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error};

pub use files::{ClientTlsError, ClientTlsFiles};

/// The application protocols that whoever connects can speak (ALPN). A cluster can say others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlpnOffer {
    /// None are named: what is spoken is not for TLS to know.
    None,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2 rather than HTTP/1.1.
    AnyHttp,
    /// HTTP/3, over QUIC only.
    Http3,
    /// These, best first. An endpoint that agrees on none is taken too: whoever must have one looks at
    /// [`Stream::alpn`](crate::Stream::alpn).
    Named(&'static [&'static [u8]]),
}

impl AlpnOffer {
    /// The names, best first.
    const fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::None => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::AnyHttp => &[b"h2", b"http/1.1"],
            Self::Http3 => &[b"h3"],
            Self::Named(names) => names,
        }
    }

    /// Whether the outcome can be spoken. Servers without ALPN speak HTTP/1; HTTP/2 has to be agreed on (RFC 9113
    /// section 3.2).
    pub(crate) fn accepts(self, agreed: Option<&[u8]>) -> bool {
        match agreed {
            Some(agreed) => self == Self::None || self.names().contains(&agreed),
            None => !matches!(self, Self::Http2 | Self::Http3),
        }
    }
}

/// What the workers need for TLS to the endpoints of one cluster.
#[derive(Debug)]
pub struct ClientTls {
    /// Whom each endpoint must prove to be, by its name in the configuration.
    names: HashMap<Box<str>, ServerName<'static>>,
    /// In place of what is offered.
    alpn: Option<Vec<Vec<u8>>>,
    config: ArcSwap<ClientConfig>,
}

impl ClientTls {
    /// The client's side of a connection to the endpoint of this name.
    pub(crate) fn connection(
        &self,
        endpoint: &str,
        offer: AlpnOffer,
    ) -> Result<ClientConnection, Error> {
        let name = self.name(endpoint)?;
        let alpn = self.alpn(offer);
        let config = Arc::clone(&self.config.load());
        ClientConnection::new_with_alpn(config, name, alpn)
    }

    /// What QUIC to the endpoint of this name begins with: it makes its connections itself (RFC 9001).
    pub(crate) fn quic(
        &self,
        endpoint: &str,
        offer: AlpnOffer,
    ) -> Result<(ClientConfig, ServerName<'static>), Error> {
        let name = self.name(endpoint)?;
        let mut config = ClientConfig::clone(&self.config.load());
        config.alpn_protocols = self.alpn(offer);
        Ok((config, name))
    }

    fn name(&self, endpoint: &str) -> Result<ServerName<'static>, Error> {
        let name = self.names.get(endpoint).cloned();
        // One that a protocol has found: the cluster decides under which name, see `Cluster::found_by_name`.
        let name = name.or_else(|| name_of(endpoint));
        name.ok_or_else(|| Error::General("an endpoint without a name".into()))
    }

    fn alpn(&self, offer: AlpnOffer) -> Vec<Vec<u8>> {
        self.alpn.clone().unwrap_or_else(|| {
            let names = offer.names().iter();
            names.map(|name| name.to_vec()).collect()
        })
    }
}

/// What `host:port` has to prove. `None` if it is no name of DNS.
fn name_of(endpoint: &str) -> Option<ServerName<'static>> {
    let (host, _) = endpoint.rsplit_once(':')?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    matches!(name, ServerName::DnsName(_)).then_some(name)
}
