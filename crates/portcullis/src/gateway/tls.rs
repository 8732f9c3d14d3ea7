//! The certificates of all listeners: loaded before their listeners run, looked at again when files change.
//!
//! Which files there are is the configuration's to say, how they are read `portcullis_net::tls`'s; here is when, and
//! what is counted and logged about it. A change of a file never goes through the workers: they take what is in place at
//! each handshake. Start at [`ListenerTls::stage`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_config::BuildError;
use portcullis_net::clock;
use portcullis_net::tls::server::{Refreshed, ServerTls, TlsFiles};
use portcullis_stats::{Counter, Gauge, Shard};

use super::plan::Delta;
use crate::model::{ListenerModel, Model};

/// The TLS of all listeners that have any.
pub(super) struct ListenerTls {
    shard: Shard,
    running: BTreeMap<Arc<str>, Terminator>,
}

/// The TLS of listeners that are about to run; `None` for those without.
pub(super) struct StagedTls(BTreeMap<Arc<str>, Option<Staged>>);

enum Staged {
    /// What runs already is what is wanted.
    Kept(Arc<ServerTls>),
    New(Box<Terminator>),
}

/// The TLS of one listener.
struct Terminator {
    files: TlsFiles,
    certificates: Vec<CertificateStats>,
    reloads: Counter,
}

/// What is shown of one certificate, under the path that the configuration gives it.
struct CertificateStats {
    path: PathBuf,
    /// Roots have none: theirs is rarely what matters.
    expiry: Option<Gauge>,
    failed: Counter,
}

impl ListenerTls {
    /// No listeners yet. What there is to count goes to `shard`.
    pub(super) const fn new(shard: Shard) -> Self {
        Self {
            shard,
            running: BTreeMap::new(),
        }
    }

    /// Loads the files of the listeners that come, and of those whose TLS changes. Nothing that runs is touched.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(super) fn stage(&self, model: &Model, delta: &Delta) -> Result<StagedTls, Vec<BuildError>> {
        let mut staged = BTreeMap::new();
        let mut errors = Vec::new();
        for name in delta.to_build() {
            let Some(wanted) = model.listeners.get(name) else {
                continue;
            };
            match self.stage_one(name, wanted) {
                Ok(tls) => {
                    staged.insert(Arc::clone(name), tls);
                }
                Err(failed) => errors.extend(failed),
            }
        }
        if errors.is_empty() {
            Ok(StagedTls(staged))
        } else {
            Err(errors)
        }
    }

    fn stage_one(
        &self,
        name: &Arc<str>,
        wanted: &ListenerModel,
    ) -> Result<Option<Staged>, Vec<BuildError>> {
        let Some(config) = &wanted.tls else {
            return Ok(None);
        };
        let alpn = config.alpn_names(&wanted.protocol.alpn());
        let running = self.running.get(name).map(|terminator| &terminator.files);
        if let Some(running) = running
            && running.config() == config
            && running.alpn() == alpn
        {
            return Ok(Some(Staged::Kept(Arc::clone(running.shared()))));
        }
        let files = TlsFiles::load(config, alpn, clock::now(), running).map_err(|errors| {
            let path = format!("listeners.{name}.tls");
            let errors = errors.into_iter();
            errors
                .map(|error| BuildError::new(path.as_str(), error.to_string()))
                .collect::<Vec<_>>()
        })?;
        let terminator = Terminator::new(files, &self.shard.scoped(&[("listener", name)]));
        Ok(Some(Staged::New(Box::new(terminator))))
    }

    /// Keeps what was staged and forgets what is gone. Connections keep what they were made with.
    pub(super) fn commit(&mut self, staged: StagedTls, model: &Model) {
        for (name, tls) in staged.0 {
            match tls {
                Some(Staged::New(terminator)) => {
                    terminator.show_expiry();
                    self.running.insert(name, *terminator);
                }
                Some(Staged::Kept(_)) => {}
                None => {
                    self.running.remove(&name);
                }
            }
        }
        self.running
            .retain(|name, _| model.listeners.contains_key(name));
    }

    /// Every file that the certificates of the running listeners come from.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.running
            .values()
            .flat_map(|terminator| terminator.files.paths())
    }

    /// Looks at all files again. What cannot be used leaves what is in place.
    pub(super) fn refresh(&mut self) {
        for (name, terminator) in &mut self.running {
            terminator.refresh(name);
        }
    }
}

impl StagedTls {
    /// What the workers need for a listener.
    pub(super) fn shared(&self, name: &str) -> Option<Arc<ServerTls>> {
        match self.0.get(name)?.as_ref()? {
            Staged::Kept(shared) => Some(Arc::clone(shared)),
            Staged::New(terminator) => Some(Arc::clone(terminator.files.shared())),
        }
    }
}

impl Terminator {
    fn new(files: TlsFiles, shard: &Shard) -> Self {
        let stats = |path: &Path| CertificateStats::new(path, shard);
        let certificates = files
            .certificates()
            .map(|one| stats(one.path).with_expiry(shard));
        Self {
            certificates: certificates.chain(files.roots().map(stats)).collect(),
            reloads: shard.counter(
                "portcullis_tls_certificate_reloads_total",
                "Times that a changed certificate, or changed roots, took the place of those before.",
                &[],
            ),
            files,
        }
    }

    fn refresh(&mut self, listener: &str) {
        let news = self.files.refresh(clock::wall());
        for Refreshed { path, result } in &news {
            let file = path.display();
            match result {
                Ok(()) => {
                    tracing::info!(listener, %file, "certificate file reloaded");
                    self.reloads.inc();
                }
                Err(error) => {
                    tracing::error!(listener, %error, "certificate file refused, the old one stays");
                    let stats = self.certificates.iter().find(|one| one.path == *path);
                    if let Some(stats) = stats {
                        stats.failed.inc();
                    }
                }
            }
        }
        if !news.is_empty() {
            self.show_expiry();
        }
    }

    fn show_expiry(&self) {
        for loaded in self.files.certificates() {
            let stats = self.certificates.iter().find(|one| one.path == loaded.path);
            if let Some(expiry) = stats.and_then(|stats| stats.expiry.as_ref()) {
                expiry.set(loaded.certificate.not_after());
            }
        }
    }
}

impl CertificateStats {
    fn new(path: &Path, shard: &Shard) -> Self {
        Self {
            path: path.into(),
            expiry: None,
            failed: shard.counter(
                "portcullis_tls_certificate_reload_failed_total",
                "Times that a changed certificate, or changed roots, could not be used.",
                &[("certificate", &path.display().to_string())],
            ),
        }
    }

    fn with_expiry(mut self, shard: &Shard) -> Self {
        self.expiry = Some(shard.gauge(
            "portcullis_tls_certificate_expiry_seconds",
            "When the certificate in use expires, in seconds since 1970.",
            &[("certificate", &self.path.display().to_string())],
        ));
        self
    }
}
