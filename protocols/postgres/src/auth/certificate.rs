//! Certificates: the hash that a SCRAM exchange is bound to, and which users a client's certificate may be.
//!
//! It verifies nothing: chains and signatures are TLS's affair, and are done before anything here runs. Start at
//! [`EndPointHash::of`] and [`UserMap`].

#[cfg(test)]
pub(super) mod tests;

use aws_lc_rs::digest;
use portcullis_filter::ClientCertificate;
use smallvec::SmallVec;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

/// Bytes of the largest certificate that is looked at. Real ones have one to four KiB, with post-quantum signatures some ten.
const LARGEST_CERTIFICATE: usize = 64 * 1024;

/// RSA signatures that name their hash function in their parameters (RFC 4055 section 3.1).
const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";

/// What `tls-server-end-point` binds to: the hash of the server's certificate (RFC 5929 section 4). Public, like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndPointHash(SmallVec<[u8; 64]>);

impl EndPointHash {
    /// The hash of a certificate in DER, by the hash function of its signature; SHA-256 in place of MD5 and SHA-1.
    ///
    /// `None` if it is no certificate, or signed in a way that has no hash function of its own, as Ed25519: such a certificate
    /// cannot be bound to, and PostgreSQL does not either. Costs a hash of the certificate: once for each, not for each login.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        if certificate.len() > LARGEST_CERTIFICATE {
            return None;
        }
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let algorithm = hash_function(&parsed.signature_algorithm)?;
        let hash = digest::digest(algorithm, certificate);
        Some(Self(SmallVec::from_slice(hash.as_ref())))
    }

    /// The hash itself, 28 to 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Of a signature's object identifier, its hash function.
fn hash_function(signature: &AlgorithmIdentifier<'_>) -> Option<&'static digest::Algorithm> {
    let identifier = signature.algorithm.to_id_string();
    // Asked for by name first: the library prints whatever else it does not know.
    if identifier == RSASSA_PSS {
        let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) =
            SignatureAlgorithm::try_from(signature)
        else {
            return None;
        };
        return by_hash(&parameters.hash_algorithm_oid().to_id_string());
    }
    Some(match identifier.as_str() {
        // RSA (RFC 8017 appendix A.2.4): MD5, SHA-1, then SHA-2.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => {
            &digest::SHA256
        }
        "1.2.840.113549.1.1.12" => &digest::SHA384,
        "1.2.840.113549.1.1.13" => &digest::SHA512,
        "1.2.840.113549.1.1.14" => &digest::SHA224,
        // ECDSA (RFC 5758 section 3.2) with SHA-1, then SHA-2.
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.10045.4.3.1" => &digest::SHA224,
        "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.10045.4.3.4" => &digest::SHA512,
        // DSA (RFC 5758 section 3.1) with SHA-1, then SHA-2.
        "1.2.840.10040.4.3" | "2.16.840.1.101.3.4.3.2" => &digest::SHA256,
        "2.16.840.1.101.3.4.3.1" => &digest::SHA224,
        _ => return None,
    })
}

fn by_hash(identifier: &str) -> Option<&'static digest::Algorithm> {
    Some(match identifier {
        "1.2.840.113549.2.5" | "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => &digest::SHA256,
        "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        "2.16.840.1.101.3.4.2.4" => &digest::SHA224,
        _ => return None,
    })
}

/// Whether a client's certificate makes it the user that it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateMatch {
    /// There is no verified certificate.
    Absent,
    /// It may be this user.
    Fits,
    /// It may not.
    Other,
}

/// Which users a certificate may be. An empty map says: the one whose name is the common name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserMap {
    entries: Vec<UserMapEntry>,
}

/// One line of a [`UserMap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMapEntry {
    /// The common name, or one of the alternative names, letter for letter.
    pub name: Box<str>,
    /// The user, or `*` for each whose name is that name.
    pub user: Box<str>,
}

impl UserMap {
    /// The map of these lines. More than one may fit; one is enough.
    #[must_use]
    pub fn new(entries: Vec<UserMapEntry>) -> Self {
        Self { entries }
    }

    /// Whether a verified certificate may be this user.
    #[must_use]
    pub fn check(&self, certificate: Option<&ClientCertificate>, user: &[u8]) -> CertificateMatch {
        let Some(certificate) = certificate else {
            return CertificateMatch::Absent;
        };
        let common = common_name(&certificate.subject);
        let fits = if self.entries.is_empty() {
            common.as_deref() == Some(user)
        } else {
            let alternatives = certificate
                .names
                .iter()
                .map(|name| name.as_str().as_bytes());
            let mut names = alternatives.chain(common.as_deref());
            names.any(|name| self.entries.iter().any(|entry| entry.allows(name, user)))
        };
        if fits {
            CertificateMatch::Fits
        } else {
            CertificateMatch::Other
        }
    }
}

impl UserMapEntry {
    fn allows(&self, name: &[u8], user: &[u8]) -> bool {
        let wanted = if &*self.user == "*" {
            &self.name
        } else {
            &self.user
        };
        self.name.as_bytes() == name && wanted.as_bytes() == user
    }
}

/// The one common name of a subject in the form of RFC 4514. `None` where there is none, or more than one: which of them would
/// be meant?
fn common_name(subject: &str) -> Option<Vec<u8>> {
    let mut found = None;
    for attribute in attributes(subject) {
        if let Some(value) = attribute.strip_prefix("CN=") {
            if found.is_some() {
                return None;
            }
            found = Some(unescaped(value)?);
        }
    }
    found.filter(|name| !name.is_empty() && !name.contains(&0))
}

/// The attributes of a distinguished name, cut at `,` and `+` where these are not escaped.
fn attributes(subject: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    subject.split(move |character| {
        let cuts = !is_escaped && matches!(character, ',' | '+');
        is_escaped = !is_escaped && character == '\\';
        cuts
    })
}

/// A value without its escapes (RFC 4514 section 3). `None` of `#` and hexadecimal, which is no text, and of a broken escape.
fn unescaped(value: &str) -> Option<Vec<u8>> {
    if value.starts_with('#') {
        return None;
    }
    let mut text = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        match *rest {
            [high, low, ref behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text.push((digit(high) << 4) | digit(low));
                rest = behind;
            }
            [special, ref behind @ ..] if !special.is_ascii_alphanumeric() => {
                text.push(special);
                rest = behind;
            }
            _ => return None,
        }
    }
    Some(text)
}

/// The value of a hexadecimal digit.
fn digit(character: u8) -> u8 {
    char::from(character)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .unwrap_or(0)
}
