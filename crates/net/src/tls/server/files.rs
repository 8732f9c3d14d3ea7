//! The files of a listener's TLS, for the control side: loaded once, then looked at again whenever they may have changed.
//!
//! Each pair of certificate and key, and the roots, stand for themselves: one that cannot be used leaves what was made
//! of its last good contents in place. Start at [`TlsFiles::load`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use portcullis_config::Located;
use portcullis_filter::Fingerprint;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::ServerTls;
use crate::tls::certificates::{self, Certificate, CertificateChoice, TlsFileError};
use crate::tls::client_identity::{self, fingerprint};
use crate::tls::config::{CertificateConfig, ClientCertificatesConfig, TlsConfig, TlsVersion};

/// The files of one listener's TLS and what was made of them.
#[derive(Debug)]
pub struct TlsFiles {
    config: TlsConfig,
    alpn: Vec<Vec<u8>>,
    provider: Arc<CryptoProvider>,
    pairs: Vec<Watched<Certificate>>,
    roots: Option<Watched<RootCertStore>>,
    /// Makes tickets for the rules about client certificates that hold now: a ticket spares its client the proof, so it
    /// must not outlive them.
    ticketer: Option<Arc<dyn ProducesTickets>>,
    shared: Arc<ServerTls>,
}

/// Something that was made of files.
#[derive(Debug)]
struct Watched<T> {
    /// What is in use.
    value: T,
    /// The contents that were tried last, whether or not they could be used. `None`: they could not be read.
    seen: Option<Fingerprint>,
}

/// A certificate that is in use.
#[derive(Debug, Clone, Copy)]
pub struct Loaded<'a> {
    /// Its file, as the configuration names it.
    pub path: &'a Path,
    /// The certificate.
    pub certificate: &'a Certificate,
}

/// A file that has other contents than when it was looked at last.
#[derive(Debug)]
pub struct Refreshed {
    /// The certificate or the roots, as the configuration names them.
    pub path: PathBuf,
    /// Whether it is in use now.
    pub result: Result<(), TlsFileError>,
}

impl TlsFiles {
    /// Reads all files. `alpn` are the protocols to agree on. Tickets of `before` stay good if clients must prove the same as
    /// they had to prove there.
    ///
    /// # Errors
    /// Everything that cannot be used. An expired certificate can: it would be worse to serve nobody.
    pub fn load(
        config: &TlsConfig,
        alpn: Vec<Vec<u8>>,
        now: Instant,
        before: Option<&Self>,
    ) -> Result<Self, Vec<TlsFileError>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut errors = Vec::new();
        let mut pairs = Vec::new();
        for pair in config.certificates.iter() {
            match read_pair(pair, &provider) {
                (seen, Ok(value)) => pairs.push(Watched { value, seen }),
                (_, Err(error)) => errors.push(error),
            }
        }
        let mut roots = None;
        if let Some(file) = roots_of(config) {
            match read_roots(file) {
                (seen, Ok(value)) => roots = Some(Watched { value, seen }),
                (_, Err(error)) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let parts = Parts {
            config,
            alpn: &alpn,
            provider: &provider,
            pairs: &pairs,
            roots: roots.as_ref(),
        };
        let failed = |error: rustls::Error| vec![parts.error(&error)];
        let kept = before.filter(|before| before.asks_the_same(config, roots.as_ref()));
        let ticketer = match kept {
            Some(before) => before.ticketer.clone(),
            None => parts.ticketer().map_err(failed)?,
        };
        let current = parts.build(ticketer.as_ref()).map_err(failed)?;
        Ok(Self {
            shared: Arc::new(ServerTls::new(config, current, now)),
            config: config.clone(),
            alpn,
            provider,
            pairs,
            roots,
            ticketer,
        })
    }

    /// What it was loaded for.
    #[must_use]
    pub const fn config(&self) -> &TlsConfig {
        &self.config
    }

    /// The application protocols that it agrees on.
    #[must_use]
    pub fn alpn(&self) -> &[Vec<u8>] {
        &self.alpn
    }

    /// For the workers.
    #[must_use]
    pub const fn shared(&self) -> &Arc<ServerTls> {
        &self.shared
    }

    /// The certificates in use, in the configuration's order.
    pub fn certificates(&self) -> impl Iterator<Item = Loaded<'_>> {
        let pairs = self.config.certificates.iter().zip(&self.pairs);
        pairs.map(|(config, pair)| Loaded {
            path: &config.cert,
            certificate: &pair.value,
        })
    }

    /// The file with the authorities of client certificates.
    #[must_use]
    pub fn roots(&self) -> Option<&Path> {
        roots_of(&self.config).map(|roots| roots.as_path())
    }

    /// Whether these settings ask clients for the same proof, and say the same about tickets.
    fn asks_the_same(&self, config: &TlsConfig, roots: Option<&Watched<RootCertStore>>) -> bool {
        let seen = |roots: Option<&Watched<RootCertStore>>| roots.map(|roots| roots.seen);
        self.config.client_certificates == config.client_certificates
            && self.config.session_tickets == config.session_tickets
            && seen(self.roots.as_ref()) == seen(roots)
    }

    /// Every file that it is made from.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.config.certificates.iter();
        let pairs = pairs.flat_map(|pair| [pair.cert.as_path(), pair.key.as_path()]);
        pairs.chain(self.roots())
    }

    /// Looks at all files again, and puts what has changed and can be used in place, for handshakes that begin from now
    /// on. An expired certificate does not take the place of another.
    pub fn refresh(&mut self, now: SystemTime) -> Vec<Refreshed> {
        let mut news = Vec::new();
        for (config, pair) in self.config.certificates.iter().zip(&mut self.pairs) {
            let (seen, read) = read_pair(config, &self.provider);
            let read = read.and_then(|read| fresh(config, read, now));
            news.extend(pair.refresh(&config.cert, seen, read));
        }
        let mut new_roots = None;
        if let (Some(file), Some(roots)) = (roots_of(&self.config), &mut self.roots) {
            let (seen, read) = read_roots(file);
            new_roots = roots.refresh(file, seen, read);
        }
        let has_new_rules = new_roots.as_ref().is_some_and(|news| news.result.is_ok());
        news.extend(new_roots);
        if news.iter().any(|news| news.result.is_ok())
            && let Err(error) = self.rebuild(has_new_rules)
        {
            news.push(Refreshed {
                path: error.path.clone(),
                result: Err(error),
            });
        }
        news
    }

    fn rebuild(&mut self, has_new_rules: bool) -> Result<(), TlsFileError> {
        let parts = Parts {
            config: &self.config,
            alpn: &self.alpn,
            provider: &self.provider,
            pairs: &self.pairs,
            roots: self.roots.as_ref(),
        };
        let failed = |error: rustls::Error| parts.error(&error);
        let ticketer = if has_new_rules {
            parts.ticketer().map_err(failed)?
        } else {
            self.ticketer.clone()
        };
        let config = parts.build(ticketer.as_ref()).map_err(failed)?;
        self.ticketer = ticketer;
        self.shared.replace(config);
        Ok(())
    }
}

impl<T> Watched<T> {
    /// Takes in what was read; `None` if it is what was tried last.
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
        Some(Refreshed {
            path: file.value.clone(),
            result: read.map(|value| self.value = value),
        })
    }
}

/// Everything that rustls's configuration is made from.
struct Parts<'a> {
    config: &'a TlsConfig,
    alpn: &'a [Vec<u8>],
    provider: &'a Arc<CryptoProvider>,
    pairs: &'a [Watched<Certificate>],
    roots: Option<&'a Watched<RootCertStore>>,
}

impl Parts<'_> {
    /// New keys for tickets, if there are to be any.
    fn ticketer(&self) -> Result<Option<Arc<dyn ProducesTickets>>, rustls::Error> {
        self.config.session_tickets.then(Ticketer::new).transpose()
    }

    fn build(
        &self,
        ticketer: Option<&Arc<dyn ProducesTickets>>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions = match self.config.min_version {
            TlsVersion::V12 => &[&TLS13, &TLS12][..],
            TlsVersion::V13 => &[&TLS13][..],
        };
        let verifier = match (&self.config.client_certificates, self.roots) {
            (Some(client), Some(roots)) => {
                client_identity::verifier(client, roots.value.clone(), self.provider)
                    .map_err(|error| rustls::Error::General(error.to_string()))?
            }
            _ => WebPkiClientVerifier::no_client_auth(),
        };
        let choice = CertificateChoice::new(self.pairs.iter().map(|pair| &pair.value));
        let builder = ServerConfig::builder_with_provider(Arc::clone(self.provider));
        let mut config = builder
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(choice));
        config.alpn_protocols = self.alpn.to_vec();
        // Sessions live in tickets alone: a store would be this process's memory at a client's disposal.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match ticketer {
            Some(ticketer) => config.ticketer = Arc::clone(ticketer),
            None => config.send_tls13_tickets = 0,
        }
        Ok(Arc::new(config))
    }

    /// An error about all of it, at the file that is likeliest to be its cause.
    fn error(&self, error: &rustls::Error) -> TlsFileError {
        let first = self.config.certificates.first().map(|pair| &pair.cert);
        let file = roots_of(self.config).or(first);
        TlsFileError {
            path: file.map(|file| file.value.clone()).unwrap_or_default(),
            span: file.map_or(portcullis_config::Span::NONE, |file| file.span),
            reason: error.to_string(),
        }
    }
}

/// The file with the roots, if client certificates are asked for.
fn roots_of(config: &TlsConfig) -> Option<&Located<PathBuf>> {
    let client: &ClientCertificatesConfig = config.client_certificates.as_ref()?;
    client.roots.as_ref()
}

/// Reads a pair; the fingerprint tells whether it is the one that was seen before.
fn read_pair(
    config: &CertificateConfig,
    provider: &CryptoProvider,
) -> (Option<Fingerprint>, Result<Certificate, TlsFileError>) {
    let contents = certificates::read(&config.cert)
        .and_then(|chain| certificates::read(&config.key).map(|key| (chain, key)));
    match contents {
        Ok((chain, key)) => {
            let both = [fingerprint(&chain), fingerprint(&key)];
            let both: Vec<u8> = both.into_iter().flatten().flat_map(|hash| hash.0).collect();
            let read = Certificate::parse(config, (&chain, &key), provider);
            (fingerprint(&both), read)
        }
        Err(error) => (None, Err(error)),
    }
}

fn read_roots(
    file: &Located<PathBuf>,
) -> (Option<Fingerprint>, Result<RootCertStore, TlsFileError>) {
    match certificates::read(file) {
        Ok(pem) => (fingerprint(&pem), certificates::parse_roots(file, &pem)),
        Err(error) => (None, Err(error)),
    }
}

fn fresh(
    config: &CertificateConfig,
    certificate: Certificate,
    now: SystemTime,
) -> Result<Certificate, TlsFileError> {
    if !certificate.is_expired(now) {
        return Ok(certificate);
    }
    Err(TlsFileError {
        path: config.cert.value.clone(),
        span: config.cert.span,
        reason: "it has expired".to_owned(),
    })
}
