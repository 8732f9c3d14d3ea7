//! Certificates, keys and roots from PEM files, and the choice of a certificate by the name that a client asks for.
//!
//! Nothing is watched here and nothing is kept: `server` does that. Start at [`Certificate::load`] and
//! [`CertificateChoice`].

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use portcullis_config::{Located, Span};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::config::CertificateConfig;

/// The largest file that is read. A chain has a few kilobytes, the system's roots some hundred.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFileError {
    /// The file.
    pub path: PathBuf,
    /// Where the configuration names it.
    pub span: Span,
    /// What is wrong with it.
    pub reason: String,
}

impl TlsFileError {
    fn new(file: &Located<PathBuf>, reason: impl fmt::Display) -> Self {
        Self {
            path: file.value.clone(),
            span: file.span,
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for TlsFileError {}

/// A certificate with its chain and key, and what it says about itself.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<Box<str>>,
    not_after: i64,
}

impl Certificate {
    /// Reads a pair of files. The dates are not looked at: see [`is_expired`](Self::is_expired).
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or the key does not belong to the certificate.
    pub fn load(
        config: &CertificateConfig,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsFileError> {
        let (chain, key) = (read(&config.cert)?, read(&config.key)?);
        Self::parse(config, (&chain, &key), provider)
    }

    /// As [`load`](Self::load), when the files' contents are at hand.
    pub(super) fn parse(
        config: &CertificateConfig,
        (chain, key): (&[u8], &[u8]),
        provider: &CryptoProvider,
    ) -> Result<Self, TlsFileError> {
        let chain = parse_certificates(&config.cert, chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            TlsFileError::new(&config.key, format_args!("no private key: {error}"))
        })?;
        let leaf = chain.first().map(|leaf| Facts::of(leaf));
        let facts = leaf
            .unwrap_or_else(|| Err("it holds no certificate".to_owned()))
            .map_err(|reason| TlsFileError::new(&config.cert, reason))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsFileError::new(
                &config.key,
                format_args!("the key does not belong to {}", config.cert.display()),
            ),
            error => TlsFileError::new(&config.key, error),
        })?;
        Ok(Self {
            key: Arc::new(key),
            names: facts.names,
            not_after: facts.not_after,
        })
    }

    /// What signs for it.
    pub(super) const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The DNS names that it serves, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// When it expires, in seconds since 1970.
    #[must_use]
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Whether clients will refuse it for its age.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.as_ref().map_or(0, Duration::as_secs);
        i64::try_from(seconds).is_ok_and(|now| self.not_after < now)
    }
}

/// What a certificate says about itself.
struct Facts {
    names: Vec<Box<str>>,
    not_after: i64,
}

impl Facts {
    fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| format!("not a certificate: {error}"))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| format!("bad alternative names: {error}"))?;
        let names = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
                _ => None,
            });
        Ok(Self {
            names: names.collect(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// The authorities in the contents of a PEM file.
///
/// # Errors
/// It holds no certificate, or one that cannot be an authority.
pub(super) fn parse_roots(
    file: &Located<PathBuf>,
    pem: &[u8],
) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates(file, pem)? {
        roots
            .add(certificate)
            .map_err(|error| TlsFileError::new(file, format_args!("not an authority: {error}")))?;
    }
    Ok(roots)
}

fn parse_certificates(
    file: &Located<PathBuf>,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsFileError::new(file, format_args!("not in PEM form: {error}")))?;
    if chain.is_empty() {
        return Err(TlsFileError::new(file, "it holds no certificate"));
    }
    Ok(chain)
}

/// The contents of a file of reasonable size.
pub(super) fn read(file: &Located<PathBuf>) -> Result<Vec<u8>, TlsFileError> {
    read_path(file).map_err(|reason| TlsFileError::new(file, reason))
}

fn read_path(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read it: {error}");
    let file = File::open(path).map_err(failed)?;
    // A pipe would keep the control side waiting.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut contents = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut contents)
        .map_err(failed)?;
    if contents.len() as u64 > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    Ok(contents)
}

/// Chooses among certificates by the name that a client asks for: one for exactly this name, else one for all names of
/// its domain, else the first. Among several for one name it takes the first whose signature the client can verify.
#[derive(Debug, Default)]
pub(super) struct CertificateChoice {
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what follows the `*.`.
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl CertificateChoice {
    /// A choice among these; the first is the default.
    pub(super) fn new<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> Self {
        let mut choice = Self::default();
        let mut first = None;
        for (index, certificate) in certificates.into_iter().enumerate() {
            let key = &certificate.key;
            for name in certificate.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(domain) => (&mut choice.wildcard, domain),
                    None => (&mut choice.exact, name),
                };
                names.entry(name.into()).or_default().push(Arc::clone(key));
            }
            if index == 0 {
                choice.default.push(Arc::clone(key));
                first = certificate.names().next().map(str::to_owned);
            }
        }
        // Others for the first's name serve clients that cannot verify its signature.
        let of_first = choice.candidates(first.as_deref()).to_vec();
        choice.default = of_first;
        choice
    }

    /// The certificates for a name in lower case, best first.
    fn candidates(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let exact = name.and_then(|name| self.exact.get(name));
        // RFC 6125 section 6.4.3: `*` stands for one label.
        let domain = || name.and_then(|name| name.split_once('.'));
        exact
            .or_else(|| self.wildcard.get(domain()?.1))
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for CertificateChoice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = self.candidates(name.as_deref());
        let schemes = hello.signature_schemes();
        let can_verify = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let chosen = candidates
            .iter()
            .find(can_verify)
            .or_else(|| candidates.first());
        chosen.cloned()
    }
}

/// Chooses as another does and remembers what it chose, for one handshake: rustls does not tell.
#[derive(Debug)]
pub(super) struct RememberedChoice {
    choice: Arc<dyn ResolvesServerCert>,
    chosen: ArcSwapOption<CertifiedKey>,
}

impl RememberedChoice {
    /// Nothing is chosen yet.
    pub(super) fn new(choice: &Arc<dyn ResolvesServerCert>) -> Self {
        Self {
            choice: Arc::clone(choice),
            chosen: ArcSwapOption::empty(),
        }
    }

    /// The certificate that was chosen, in DER form.
    pub(super) fn certificate(&self) -> Option<Arc<[u8]>> {
        let chosen = self.chosen.load();
        Some(Arc::from(&**chosen.as_ref()?.cert.first()?))
    }
}

impl ResolvesServerCert for RememberedChoice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.choice.resolve(hello);
        self.chosen.store(chosen.clone());
        chosen
    }
}

#[cfg(test)]
mod tests;
