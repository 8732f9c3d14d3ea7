//! What the TLS handshake of a downstream connection said: the names, the versions, who the client proved to be.
//!
//! Plain values, made once per connection by whoever ends TLS; no library's types, and nothing is verified here. Start
//! at [`TlsInfo`].

use std::fmt;
use std::sync::Arc;

use crate::SanPattern;

/// What is known of an encrypted downstream connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// The server name that the client asked for (SNI, RFC 6066 section 3), in lower case. `None` if it named none, as
    /// clients that connect to an address do.
    pub server_name: Option<Box<str>>,
    /// The protocol that was agreed on (ALPN, RFC 7301).
    pub alpn: Option<Box<[u8]>>,
    /// The version, as Envoy writes it: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its name in the registry, such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// Whether an earlier session was taken up again. The client's certificate is then the one shown in that session.
    pub resumed: bool,
    /// The client's certificate, which was verified. `None` if it showed none.
    pub client: Option<ClientCertificate>,
    /// The certificate that the client was shown, in DER form (what RFC 5929 section 4 hashes). Only where the protocol
    /// chooses when TLS begins; others do not ask. In a session that was taken up again it is the one that would be shown
    /// now, which may be another than the client has seen.
    pub local_certificate: Option<Arc<[u8]>>,
}

/// A client's verified certificate, as far as rules, limits, logs and upstreams want to know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCertificate {
    /// The subject's distinguished name in the form of RFC 4514, such as `CN=alice,O=Example`.
    pub subject: Box<str>,
    /// The issuer's, likewise.
    pub issuer: Box<str>,
    /// The serial number in hexadecimal, without leading zeros.
    pub serial: Box<str>,
    /// The alternative names (RFC 5280 section 4.2.1.6), in the certificate's order. Names of other kinds are left out.
    pub names: Vec<AlternativeName>,
    /// The SHA-256 hash of the whole certificate.
    pub fingerprint: Fingerprint,
}

/// One alternative name of a certificate. The text is ASCII without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A URI, such as `spiffe://corp/ns/shop`.
    Uri(Box<str>),
    /// A DNS name in lower case, maybe with `*` as its first label.
    Dns(Box<str>),
    /// A mail address.
    Email(Box<str>),
    /// An address in its usual notation.
    Ip(Box<str>),
}

impl AlternativeName {
    /// The name, whatever kind it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Uri(name) | Self::Dns(name) | Self::Email(name) | Self::Ip(name) => name,
        }
    }
}

impl ClientCertificate {
    /// The name that stands for the client where only one can: the first URI, else the first DNS name, else the first of
    /// any kind.
    #[must_use]
    pub fn name(&self) -> Option<&AlternativeName> {
        let first =
            |wanted: fn(&AlternativeName) -> bool| self.names.iter().find(|name| wanted(name));
        first(|name| matches!(name, AlternativeName::Uri(_)))
            .or_else(|| first(|name| matches!(name, AlternativeName::Dns(_))))
            .or_else(|| self.names.first())
    }

    /// Whether one of its names is meant by one of these patterns.
    #[must_use]
    pub fn is_named(&self, patterns: &[SanPattern]) -> bool {
        let is_meant = |name| patterns.iter().any(|pattern| pattern.matches(name));
        self.names.iter().any(is_meant)
    }

    /// The URIs among the alternative names.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| match name {
            AlternativeName::Uri(name) => Some(&**name),
            _ => None,
        })
    }

    /// The DNS names among the alternative names.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| match name {
            AlternativeName::Dns(name) => Some(&**name),
            _ => None,
        })
    }
}

/// A SHA-256 hash; it prints as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_stands_for_the_client() {
        let uri = || AlternativeName::Uri("spiffe://corp/a".into());
        let dns = || AlternativeName::Dns("a.corp".into());
        let email = || AlternativeName::Email("a@corp".into());
        for (row, names, expected) in [
            ("none", vec![], None),
            ("a URI first", vec![dns(), email(), uri()], Some(uri())),
            ("then a DNS name", vec![email(), dns()], Some(dns())),
            ("then any", vec![email()], Some(email())),
        ] {
            let certificate = ClientCertificate {
                names,
                ..ClientCertificate::default()
            };
            assert_eq!(certificate.name(), expected.as_ref(), "{row}");
        }
    }

    #[test]
    fn fingerprints_are_hexadecimal() {
        let mut fingerprint = Fingerprint::default();
        fingerprint.0[0] = 0xa5;
        assert_eq!(fingerprint.to_string(), format!("a5{}", "0".repeat(62)));
    }
}
