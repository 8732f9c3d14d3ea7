//! The files of a cluster's TLS, for the control side: loaded once, then looked at again whenever they may have changed.
//!
//! The roots and the certificate stand for themselves: one that cannot be used leaves what was made of its last good
//! contents in place. The system's roots are read once. Start at [`ClientTlsFiles::load`].

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use portcullis_cluster::{
    ClientCertificate, ClusterConfig, TrustedRoots, UpstreamTls, UpstreamTlsVersion,
};
use portcullis_config::{Located, Span};
use portcullis_filter::Fingerprint;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::ClientTls;
use crate::tls::SanPattern;
use crate::tls::certificates::{self, Certificate, TlsFileError};
use crate::tls::client_identity::fingerprint;
use crate::tls::config::CertificateConfig;
use crate::tls::server::Refreshed;
use crate::tls::verify::{EndpointVerifier, Trust};

/// Sessions that are kept for each endpoint, to be taken up again. rustls keeps up to eight of one server.
const SESSIONS_PER_NAME: usize = 8;

/// The files of one cluster's TLS and what was made of them.
#[derive(Debug)]
pub struct ClientTlsFiles {
    config: UpstreamTls,
    provider: Arc<CryptoProvider>,
    patterns: Vec<SanPattern>,
    roots: Watched<RootCertStore>,
    certificate: Option<Watched<Certificate>>,
    shared: Arc<ClientTls>,
}

/// Something that was made of files.
#[derive(Debug)]
struct Watched<T> {
    /// What is in use.
    value: T,
    /// The contents that were tried last, whether or not they could be used. `None`: they could not be read.
    seen: Option<Fingerprint>,
}

/// Something that a cluster's TLS cannot be made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTlsError {
    /// Where the configuration says it.
    pub span: Span,
    reason: String,
}

impl fmt::Display for ClientTlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for ClientTlsError {}

impl From<TlsFileError> for ClientTlsError {
    fn from(error: TlsFileError) -> Self {
        Self::new(error.span, &error)
    }
}

impl ClientTlsError {
    fn new(span: Span, reason: impl fmt::Display) -> Self {
        Self {
            span,
            reason: reason.to_string(),
        }
    }
}

impl ClientTlsFiles {
    /// Reads the files and names of a cluster; `None` if it has no TLS.
    ///
    /// # Errors
    /// Everything that cannot be used. An expired certificate can: whether it will do is the endpoint's to say.
    pub fn load(cluster: &ClusterConfig) -> Result<Option<Self>, Vec<ClientTlsError>> {
        let Some(config) = &cluster.tls else {
            return Ok(None);
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut errors = Vec::new();
        let names = read_names(cluster, config, &mut errors);
        let patterns = read_patterns(config, &mut errors);
        let roots = match read_roots(config) {
            (seen, Ok(value)) => Some(Watched { value, seen }),
            (_, Err(error)) => {
                errors.push(error);
                None
            }
        };
        let mut certificate = None;
        if let Some(files) = &config.client_certificate {
            match read_certificate(files, &provider) {
                (seen, Ok(value)) => certificate = Some(Watched { value, seen }),
                (_, Err(error)) => errors.push(error.into()),
            }
        }
        let (Some(roots), true) = (roots, errors.is_empty()) else {
            return Err(errors);
        };
        let parts = Parts {
            config,
            provider: &provider,
            patterns: &patterns,
            roots: &roots.value,
            certificate: certificate.as_ref().map(|watched| &watched.value),
            names: names.len(),
        };
        let failed = |error| vec![ClientTlsError::new(Span::NONE, error)];
        let built = parts.build().map_err(failed)?;
        let alpn = config.alpn.as_ref();
        let shared = Arc::new(ClientTls {
            names,
            alpn: alpn.map(|names| names.iter().map(|name| name.as_bytes().to_vec()).collect()),
            config: ArcSwap::from_pointee(built),
        });
        Ok(Some(Self {
            config: config.clone(),
            provider,
            patterns,
            roots,
            certificate,
            shared,
        }))
    }

    /// For the workers.
    #[must_use]
    pub const fn shared(&self) -> &Arc<ClientTls> {
        &self.shared
    }

    /// Every file that it is made from.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pair = self.config.client_certificate.iter();
        let pair = pair.flat_map(|pair| [pair.cert.as_path(), pair.key.as_path()]);
        pair.chain(self.roots_file())
    }

    /// The certificate in use: its file, and when it expires, in seconds since 1970.
    #[must_use]
    pub fn certificate(&self) -> Option<(&Path, i64)> {
        let path = self.config.client_certificate.as_ref()?.cert.as_path();
        Some((path, self.certificate.as_ref()?.value.not_after()))
    }

    fn roots_file(&self) -> Option<&Path> {
        match &self.config.roots.value {
            TrustedRoots::System => None,
            TrustedRoots::File(path) => Some(path),
        }
    }

    /// Looks at all files again, and puts what has changed and can be used in place, for connections that begin from now
    /// on. An expired certificate does not take the place of another.
    pub fn refresh(&mut self, now: SystemTime) -> Vec<Refreshed> {
        let mut news = Vec::new();
        if let (Some(files), Some(certificate)) =
            (&self.config.client_certificate, &mut self.certificate)
        {
            let (seen, read) = read_certificate(files, &self.provider);
            let read = read.and_then(|read| fresh(files, read, now));
            news.extend(certificate.refresh(&files.cert, seen, read));
        }
        if let TrustedRoots::File(path) = &self.config.roots.value {
            let file = Located::new(path.clone(), self.config.roots.span);
            let (seen, read) = read_roots_file(&file);
            news.extend(self.roots.refresh(&file, seen, read));
        }
        if news.iter().any(|news| news.result.is_ok()) {
            let parts = Parts {
                config: &self.config,
                provider: &self.provider,
                patterns: &self.patterns,
                roots: &self.roots.value,
                certificate: self.certificate.as_ref().map(|watched| &watched.value),
                names: self.shared.names.len(),
            };
            // The parts were each good by themselves, and nothing else has changed.
            if let Ok(built) = parts.build() {
                self.shared.config.store(Arc::new(built));
            }
        }
        news
    }
}

impl<T> Watched<T> {
    /// Takes what was read if it is other than before. The answer is what there is to say about it.
    fn refresh(
        &mut self,
        file: &Located<PathBuf>,
        seen: Option<Fingerprint>,
        read: Result<T, TlsFileError>,
    ) -> Option<Refreshed> {
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        let result = read.map(|value| self.value = value);
        let path = file.value.clone();
        Some(Refreshed { path, result })
    }
}

/// What rustls's configuration is made of.
struct Parts<'a> {
    config: &'a UpstreamTls,
    provider: &'a Arc<CryptoProvider>,
    patterns: &'a [SanPattern],
    roots: &'a RootCertStore,
    certificate: Option<&'a Certificate>,
    names: usize,
}

impl Parts<'_> {
    fn build(&self) -> Result<ClientConfig, rustls::Error> {
        let trust = if self.config.danger_accept_invalid_certificates.value {
            Trust::Anybody
        } else if self.patterns.is_empty() {
            Trust::ByName(self.roots.clone())
        } else {
            Trust::ByPatterns(self.roots.clone(), self.patterns.to_vec())
        };
        let verifier = Arc::new(EndpointVerifier::new(trust, self.provider));
        let builder = ClientConfig::builder_with_provider(Arc::clone(self.provider))
            .with_protocol_versions(&versions(self.config.min_version))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut built = match self.certificate {
            Some(certificate) => {
                let key = SingleCertAndKey::from(Arc::clone(certificate.key()));
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        };
        // A session is taken up without another look at the certificate, so it must not outlive what trusted it: the
        // store belongs to this configuration.
        built.resumption = Resumption::in_memory_sessions(SESSIONS_PER_NAME * self.names.max(1));
        Ok(built)
    }
}

fn versions(oldest: UpstreamTlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match oldest {
        UpstreamTlsVersion::V12 => vec![&TLS13, &TLS12],
        UpstreamTlsVersion::V13 => vec![&TLS13],
    }
}

fn read_names(
    cluster: &ClusterConfig,
    config: &UpstreamTls,
    errors: &mut Vec<ClientTlsError>,
) -> HashMap<Box<str>, ServerName<'static>> {
    let mut names = HashMap::new();
    for endpoint in cluster.endpoints.iter() {
        let Some(name) = config.name_of(&endpoint.address) else {
            errors.push(ClientTlsError::new(
                endpoint.span,
                "there is no name to ask for",
            ));
            continue;
        };
        match ServerName::try_from(name.into_owned()) {
            Ok(name) => {
                names.insert(endpoint.address.to_string().into(), name);
            }
            Err(error) => {
                let span = config.sni.as_ref().map_or(endpoint.span, |sni| sni.span);
                let error = ClientTlsError::new(span, format_args!("no name for TLS: {error}"));
                // A wrong `sni` is wrong for every endpoint.
                if !errors.contains(&error) {
                    errors.push(error);
                }
            }
        }
    }
    names
}

fn read_patterns(config: &UpstreamTls, errors: &mut Vec<ClientTlsError>) -> Vec<SanPattern> {
    let mut patterns = Vec::new();
    for text in config.san.iter() {
        match text.parse() {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => errors.push(ClientTlsError::new(text.span, error)),
        }
    }
    patterns
}

fn read_roots(
    config: &UpstreamTls,
) -> (Option<Fingerprint>, Result<RootCertStore, ClientTlsError>) {
    match &config.roots.value {
        _ if config.danger_accept_invalid_certificates.value => (None, Ok(RootCertStore::empty())),
        TrustedRoots::File(path) => {
            let file = Located::new(path.clone(), config.roots.span);
            let (seen, read) = read_roots_file(&file);
            (seen, read.map_err(ClientTlsError::from))
        }
        TrustedRoots::System => (None, system_roots(config.roots.span)),
    }
}

/// The system's authorities. Some systems carry a few that nobody can parse; those are left out.
fn system_roots(span: Span) -> Result<RootCertStore, ClientTlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let why = found.errors.first();
    let why = why.map_or_else(String::new, |error| format!(": {error}"));
    let reason = format!("this system has no trusted authorities{why}; name a file in `roots`");
    Err(ClientTlsError::new(span, reason))
}

type Read<T> = (Option<Fingerprint>, Result<T, TlsFileError>);

fn read_roots_file(file: &Located<PathBuf>) -> Read<RootCertStore> {
    match certificates::read(file) {
        Ok(pem) => (fingerprint(&pem), certificates::parse_roots(file, &pem)),
        Err(error) => (None, Err(error)),
    }
}

fn read_certificate(files: &ClientCertificate, provider: &CryptoProvider) -> Read<Certificate> {
    let config = CertificateConfig {
        cert: files.cert.clone(),
        key: files.key.clone(),
    };
    let read = certificates::read(&config.cert).and_then(|cert| {
        let key = certificates::read(&config.key)?;
        Ok((cert, key))
    });
    match read {
        Ok((cert, key)) => {
            let seen = fingerprint(&[&cert[..], &key[..]].concat());
            (seen, Certificate::parse(&config, (&cert, &key), provider))
        }
        Err(error) => (None, Err(error)),
    }
}

fn fresh(
    files: &ClientCertificate,
    certificate: Certificate,
    now: SystemTime,
) -> Result<Certificate, TlsFileError> {
    if certificate.is_expired(now) {
        return Err(TlsFileError {
            path: files.cert.value.clone(),
            span: files.cert.span,
            reason: "it has expired".to_owned(),
        });
    }
    Ok(certificate)
}
