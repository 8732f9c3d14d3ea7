//! Who a client proved to be: the verifier of client certificates, and what is kept of a certificate.
//!
//! Signatures, chains and dates are verified by rustls; this adds bounds on what is looked at and the names that may
//! connect. Start at [`verifier`] and [`identify`].

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_filter::{AlternativeName, ClientCertificate, Fingerprint};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use super::SanPattern;
use super::config::{ClientCertificatesConfig, ClientMode};

/// Certificates that a client may send, its own included. Real chains have two to four.
const LONGEST_CHAIN: usize = 8;

/// Bytes of all of them. Real chains have some 5 KiB, with post-quantum signatures some 20.
const LARGEST_CHAIN: usize = 32 * 1024;

/// Names that are looked at and kept of one certificate.
const MOST_NAMES: usize = 100;

/// The verifier of client certificates for a listener.
///
/// # Errors
/// The roots are of no use.
pub(super) fn verifier(
    config: &ClientCertificatesConfig,
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    if config.mode.value == ClientMode::Off {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match config.mode.value {
        ClientMode::Optional => builder.allow_unauthenticated(),
        ClientMode::Off | ClientMode::Required => builder,
    };
    Ok(Arc::new(BoundedVerifier {
        inner: builder.build()?,
        names: config.san.value.clone(),
    }))
}

/// Verifies chains of a bounded size, and then that one of the certificate's names may connect.
#[derive(Debug)]
struct BoundedVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<SanPattern>,
}

impl ClientCertVerifier for BoundedVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = intermediates
            .iter()
            .map(|certificate| certificate.len())
            .sum();
        if intermediates.len() >= LONGEST_CHAIN || bytes + end_entity.len() > LARGEST_CHAIN {
            return Err(ChainTooLong.into());
        }
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        if !self.names.is_empty() && !self.is_named(end_entity) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl BoundedVerifier {
    fn is_named(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        alternative_names(&certificate)
            .iter()
            .any(|name| self.names.iter().any(|pattern| pattern.matches(name)))
    }
}

/// A chain that is longer than anybody needs; not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate chain is too long")]
pub(super) struct ChainTooLong;

impl From<ChainTooLong> for Error {
    fn from(error: ChainTooLong) -> Self {
        let other = rustls::OtherError(Arc::new(error));
        CertificateError::Other(other).into()
    }
}

/// What is kept of a verified certificate. `None` if it cannot be taken apart, which a verified one always can.
#[must_use]
pub fn identify(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut serial = certificate
        .raw_serial()
        .iter()
        .skip_while(|byte| **byte == 0)
        .fold(String::new(), |mut text, byte| {
            // Writing to memory cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
    if serial.is_empty() {
        serial.push_str("00");
    }
    Some(ClientCertificate {
        subject: distinguished_name(certificate.subject()).into(),
        issuer: distinguished_name(certificate.issuer()).into(),
        serial: serial.into(),
        names: alternative_names(&certificate),
        fingerprint: fingerprint(der)?,
    })
}

/// The SHA-256 hash of some bytes.
pub(super) fn fingerprint(bytes: &[u8]) -> Option<Fingerprint> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?;
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().try_into().ok().map(Fingerprint)
}

/// The alternative names that are of a known kind and can do no harm in a log or a field.
fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<AlternativeName> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter().filter_map(|name| {
        let text = |text: &str| -> Option<Box<str>> {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
            (is_plain && !text.is_empty()).then(|| text.into())
        };
        Some(match name {
            GeneralName::URI(name) => AlternativeName::Uri(text(name)?),
            GeneralName::DNSName(name) => AlternativeName::Dns(text(&name.to_ascii_lowercase())?),
            GeneralName::RFC822Name(name) => AlternativeName::Email(text(name)?),
            GeneralName::IPAddress(bytes) => {
                AlternativeName::Ip(address(bytes)?.to_string().into())
            }
            _ => return None,
        })
    });
    names.take(MOST_NAMES).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// A distinguished name in the form of RFC 4514: the last part first, special characters escaped.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes = rdn.iter().map(|attribute| {
                let kind = attribute.attr_type().to_id_string();
                let value = attribute.as_str().map(escape);
                let value = value.unwrap_or_else(|_| hexadecimal(attribute.as_slice()));
                format!("{}={value}", short_name(&kind).unwrap_or(&kind))
            });
            attributes.collect::<Vec<_>>().join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// RFC 4514 section 3, and what OpenSSL writes beyond it.
fn short_name(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514 section 2.4. Quotes, backslashes and all that is no visible ASCII are written as hexadecimal bytes: so the
/// text can stand in logs and, quoted, in fields, and every reader finds the same end of it.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let at_edge =
            (index == 0 && matches!(character, ' ' | '#')) || (index == last && character == ' ');
        let is_plain = character == ' ' || character.is_ascii_graphic();
        if !is_plain || matches!(character, '"' | '\\') {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                let _ = write!(text, "\\{byte:02X}");
            }
            continue;
        }
        if at_edge || matches!(character, '+' | ',' | ';' | '<' | '>') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A value that is no text.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("#".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(
        names: &[(rcgen::DnType, &str)],
        sans: Vec<rcgen::SanType>,
    ) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            parameters.distinguished_name.push(kind.clone(), *value);
        }
        parameters.subject_alt_names = sans;
        parameters.serial_number = Some(rcgen::SerialNumber::from(vec![0x0a, 0xbc]));
        parameters.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn what_is_kept_of_a_certificate() {
        use rcgen::{DnType, SanType};
        let der = certificate(
            &[
                (DnType::CountryName, "FR"),
                (DnType::OrganizationName, "Acm\u{e9}, \"Inc\""),
                (DnType::CommonName, " al\u{7}ice"),
            ],
            vec![
                SanType::URI("spiffe://corp/ns/shop".try_into().unwrap()),
                SanType::DnsName("Shop.Corp".try_into().unwrap()),
                SanType::Rfc822Name("a@corp".try_into().unwrap()),
                SanType::IpAddress([10, 0, 0, 1].into()),
            ],
        );
        let kept = identify(&der).unwrap();
        assert_eq!(
            &*kept.subject,
            "CN=\\ al\\07ice,O=Acm\\C3\\A9\\, \\22Inc\\22,C=FR"
        );
        assert_eq!(kept.subject, kept.issuer);
        assert_eq!(&*kept.serial, "0abc");
        let names: Vec<&str> = kept.names.iter().map(AlternativeName::as_str).collect();
        assert_eq!(
            names,
            ["spiffe://corp/ns/shop", "shop.corp", "a@corp", "10.0.0.1"]
        );
    }

    #[test]
    fn the_fingerprint_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(b"abc").unwrap().to_string(), expected);
    }

    #[test]
    fn long_chains_are_not_looked_at() {
        let der = certificate(&[], vec![]);
        let mut roots = RootCertStore::empty();
        let authority = {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut parameters = rcgen::CertificateParams::default();
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            parameters.self_signed(&key).unwrap().der().clone()
        };
        roots.add(authority).unwrap();
        let config = ClientCertificatesConfig {
            mode: ClientMode::Required.into(),
            roots: None,
            san: Vec::new().into(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = verifier(&config, roots, &provider).unwrap();
        let too_long = Error::from(ChainTooLong).to_string();
        let large = CertificateDer::from(vec![0x30; LARGEST_CHAIN]);
        for (row, intermediates, refused) in [
            ("alone", vec![], false),
            (
                "as many as may be",
                vec![der.clone(); LONGEST_CHAIN - 1],
                false,
            ),
            ("one more", vec![der.clone(); LONGEST_CHAIN], true),
            ("too large", vec![large], true),
        ] {
            let error = verifier
                .verify_client_cert(&der, &intermediates, UnixTime::now())
                .unwrap_err();
            assert_eq!(error.to_string() == too_long, refused, "{row}: {error}");
        }
    }
}
