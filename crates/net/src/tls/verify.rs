//! Whether an endpoint is who it is taken for.
//!
//! Signatures, chains and dates are verified by webpki through rustls; what is decided here is by which names. Revocation
//! is not looked at: endpoints are one's own, and their authorities take a certificate back by not renewing it. Start at
//! [`EndpointVerifier`].

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::SanPattern;
use super::client_identity::identify;

/// Verifies the certificates of a cluster's endpoints.
#[derive(Debug)]
pub(super) struct EndpointVerifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who is believed.
#[derive(Debug)]
pub(super) enum Trust {
    /// Anybody: `danger_accept_invalid_certificates`.
    Anybody,
    /// Whom one of these authorities vouches for, by the name that was asked for.
    ByName(RootCertStore),
    /// Whom one of these authorities vouches for, by one of these names instead. A SPIFFE certificate has no other.
    ByPatterns(RootCertStore, Vec<SanPattern>),
}

impl EndpointVerifier {
    /// A verifier that uses the provider's algorithms.
    pub(super) fn new(trust: Trust, provider: &CryptoProvider) -> Self {
        Self {
            trust,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn verify_chain(
        &self,
        roots: &RootCertStore,
        (end_entity, intermediates): (&ParsedCertificate<'_>, &[CertificateDer<'_>]),
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(end_entity, roots, intermediates, now, algorithms)
    }
}

impl ServerCertVerifier for EndpointVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = || ParsedCertificate::try_from(end_entity);
        match &self.trust {
            Trust::Anybody => {}
            Trust::ByName(roots) => {
                let parsed = parsed()?;
                self.verify_chain(roots, (&parsed, intermediates), now)?;
                verify_server_name(&parsed, server_name)?;
            }
            Trust::ByPatterns(roots, patterns) => {
                self.verify_chain(roots, (&parsed()?, intermediates), now)?;
                let names = identify(end_entity).map(|certificate| certificate.names);
                let is_meant = names
                    .iter()
                    .flatten()
                    .any(|name| patterns.iter().any(|pattern| pattern.matches(name)));
                if !is_meant {
                    return Err(CertificateError::ApplicationVerificationFailure.into());
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    fn issue(
        authority: &Authority,
        names: Vec<SanType>,
        is_expired: bool,
    ) -> CertificateDer<'static> {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = names;
        if is_expired {
            parameters.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        parameters.signed_by(&key, authority).unwrap().der().clone()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    #[test]
    fn who_is_believed() {
        let (ours, other) = (authority(), authority());
        let roots = || {
            let mut roots = RootCertStore::empty();
            roots.add(ours.der().clone()).unwrap();
            roots
        };
        let patterns = |patterns: &[&str]| {
            let patterns = patterns.iter().map(|text| text.parse().unwrap());
            Trust::ByPatterns(roots(), patterns.collect())
        };
        let by_name = || Trust::ByName(roots());
        let api = || vec![dns("api.corp")];
        let ip = || vec![SanType::IpAddress([10, 0, 0, 1].into())];
        let spiffe = || vec![uri("spiffe://corp/ns/api")];
        let wrong_name = "not valid for name";
        let rows = [
            ("the name", by_name(), &ours, api(), "api.corp", Ok(())),
            (
                "another name",
                by_name(),
                &ours,
                api(),
                "web.corp",
                Err(wrong_name),
            ),
            (
                "a wildcard",
                by_name(),
                &ours,
                vec![dns("*.eu.corp")],
                "a.eu.corp",
                Ok(()),
            ),
            ("an address", by_name(), &ours, ip(), "10.0.0.1", Ok(())),
            (
                "another address",
                by_name(),
                &ours,
                ip(),
                "10.0.0.2",
                Err(wrong_name),
            ),
            (
                "no name",
                by_name(),
                &ours,
                spiffe(),
                "api.corp",
                Err(wrong_name),
            ),
            (
                "another authority",
                by_name(),
                &other,
                api(),
                "api.corp",
                Err("BadSignature"),
            ),
            (
                "anybody",
                Trust::Anybody,
                &other,
                vec![],
                "api.corp",
                Ok(()),
            ),
            (
                "a pattern",
                patterns(&["spiffe://corp/*"]),
                &ours,
                spiffe(),
                "x",
                Ok(()),
            ),
            (
                "one of two",
                patterns(&["*.corp", "a"]),
                &ours,
                api(),
                "x",
                Ok(()),
            ),
            (
                "a pattern in place of the name",
                patterns(&["web.corp"]),
                &ours,
                api(),
                "api.corp",
                Err("ApplicationVerificationFailure"),
            ),
            (
                "a pattern of another authority",
                patterns(&["*.corp"]),
                &other,
                api(),
                "api.corp",
                Err("BadSignature"),
            ),
        ];
        for (row, trust, authority, names, asked, expected) in rows {
            let certificate = issue(authority, names, false);
            let result = verify(trust, &certificate, asked);
            match (result, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{row}: {error}"),
                (result, _) => panic!("{row}: {result:?}"),
            }
        }
        let expired = issue(&ours, api(), true);
        let error = verify(by_name(), &expired, "api.corp").unwrap_err();
        assert!(error.contains("expired"), "{error}");
        assert!(verify(Trust::Anybody, &expired, "api.corp").is_ok());
    }

    fn verify(trust: Trust, certificate: &CertificateDer<'_>, asked: &str) -> Result<(), String> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let name = ServerName::try_from(asked).unwrap();
        // Some day of 2026.
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000));
        EndpointVerifier::new(trust, &provider)
            .verify_server_cert(certificate, &[], &name, &[], now)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}
