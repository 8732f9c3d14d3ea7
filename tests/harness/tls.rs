//! Certificates made at run time, and TLS for either side of a test, by rustls.
//!
//! Start at [`Authority`], then [`crate::Client::connect_tls`] for a client and [`crate::Connection::start_tls`] for
//! anything else.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Somebody who issues certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    /// The certificate, in PEM form.
    pub cert: String,
    /// The key, in PEM form.
    pub key: String,
}

/// Which certificate to issue.
pub struct Order {
    parameters: CertificateParams,
}

impl Order {
    /// For a server or client with these names: DNS names, addresses, and URIs.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect();
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Self { parameters }
    }

    /// With this common name and organization.
    #[must_use]
    pub fn subject(mut self, common_name: &str, organization: &str) -> Self {
        let name = &mut self.parameters.distinguished_name;
        name.push(DnType::OrganizationName, organization);
        name.push(DnType::CommonName, common_name);
        self
    }

    /// That was good in the years between.
    #[must_use]
    pub fn years(mut self, from: i32, to: i32) -> Self {
        self.parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        self.parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        self
    }
}

fn alternative_name(name: &str) -> SanType {
    if let Ok(address) = name.parse::<IpAddr>() {
        SanType::IpAddress(address)
    } else if name.contains("://") {
        SanType::URI(name.try_into().expect("a URI"))
    } else {
        SanType::DnsName(name.try_into().expect("a DNS name"))
    }
}

impl Authority {
    /// One that nobody has heard of.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("make a key");
        let issuer = CertifiedIssuer::self_signed(parameters, key);
        Self {
            issuer: issuer.expect("sign an authority"),
        }
    }

    /// Its own certificate, in PEM form.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its own certificate.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate with these names: DNS names, addresses, and URIs.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.fill(Order::of(names))
    }

    /// The certificate of an order.
    #[must_use]
    pub fn fill(&self, order: Order) -> Issued {
        let key = KeyPair::generate().expect("make a key");
        let Order { parameters } = order;
        let certificate = parameters.signed_by(&key, &self.issuer);
        Issued {
            cert: certificate.expect("sign a certificate").pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that trusts this authority alone, and shows `identity` if it is asked.
    #[must_use]
    pub fn client(&self, identity: Option<&Issued>) -> ClientConfig {
        self.client_of(identity, rustls::ALL_VERSIONS)
    }

    /// As [`client`](Self::client), of these versions only.
    #[must_use]
    pub fn client_of(
        &self,
        identity: Option<&Issued>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        match identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain(), identity.private_key())
                .expect("a client certificate"),
            None => builder.with_no_client_auth(),
        }
    }
}

impl Issued {
    /// The chain, as rustls has it.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes());
        chain.collect::<Result<_, _>>().expect("certificates")
    }

    /// The key, as rustls has it.
    #[must_use]
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }

    /// A server with this certificate that asks clients for nothing.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        self.server_of(rustls::ALL_VERSIONS, None)
    }

    /// As [`server`](Self::server), of these versions only, and asking for a certificate of that authority.
    #[must_use]
    pub fn server_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        clients: Option<&Authority>,
    ) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("versions");
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der()).expect("an authority");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        builder
            .with_single_cert(self.chain(), self.private_key())
            .expect("a certificate")
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
