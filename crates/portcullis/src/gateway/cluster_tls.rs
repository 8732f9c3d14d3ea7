//! The TLS of a cluster: loaded before its endpoints are connected to, looked at again when files change.
//!
//! How files are read and what is made of them is `portcullis_net::tls`'s; here is what is counted and logged about it.
//! Workers take what is in place at each handshake, so a change of a file never goes through them. Start at
//! [`ClusterTls::load`].

use std::path::{Path, PathBuf};

use portcullis_cluster::{ClusterConfig, Transport};
use portcullis_config::BuildError;
use portcullis_net::clock;
use portcullis_net::tls::server::Refreshed;
use portcullis_net::tls::upstream::ClientTlsFiles;
use portcullis_stats::{Counter, Gauge, Shard};

/// The TLS of one cluster.
pub(super) struct ClusterTls {
    files: ClientTlsFiles,
    reloads: Counter,
    failed: Vec<(PathBuf, Counter)>,
    /// When the client certificate expires, where there is one.
    expiry: Option<Gauge>,
}

impl ClusterTls {
    /// Loads what the cluster's configuration names; `None` if it has no TLS. What there is to count goes to `shard`.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(super) fn load(
        name: &str,
        config: &ClusterConfig,
        shard: &Shard,
    ) -> Result<Option<Self>, Vec<BuildError>> {
        let files = ClientTlsFiles::load(config).map_err(|errors| {
            let path = format!("clusters.{name}.tls");
            let errors = errors.iter();
            errors
                .map(|error| BuildError::new(path.as_str(), error.to_string()))
                .collect::<Vec<_>>()
        })?;
        Ok(files.map(|files| Self::new(files, &shard.scoped(&[("cluster", name)]))))
    }

    fn new(files: ClientTlsFiles, shard: &Shard) -> Self {
        let failed = |path: &Path| {
            let counter = shard.counter(
                "portcullis_cluster_tls_reload_failed_total",
                "Times that changed roots, or a changed client certificate, could not be used.",
                &[("file", &path.display().to_string())],
            );
            (path.to_owned(), counter)
        };
        let expiry = files.certificate().map(|(path, _)| {
            shard.gauge(
                "portcullis_cluster_tls_certificate_expiry_seconds",
                "When the client certificate in use expires, in seconds since 1970.",
                &[("certificate", &path.display().to_string())],
            )
        });
        let tls = Self {
            failed: files.paths().map(failed).collect(),
            reloads: shard.counter(
                "portcullis_cluster_tls_reloads_total",
                "Times that changed roots, or a changed client certificate, took the place of those before.",
                &[],
            ),
            expiry,
            files,
        };
        tls.show_expiry();
        tls
    }

    /// For the workers.
    pub(super) fn transport(&self) -> Transport {
        Transport::new(self.files.shared().clone())
    }

    /// Every file that it is made from.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.paths()
    }

    /// Looks at all files again. What cannot be used leaves what is in place.
    pub(super) fn refresh(&mut self, cluster: &str) {
        let news = self.files.refresh(clock::wall());
        for Refreshed { path, result } in &news {
            let file = path.display();
            match result {
                Ok(()) => {
                    tracing::info!(cluster, %file, "TLS file reloaded");
                    self.reloads.inc();
                }
                Err(error) => {
                    tracing::error!(cluster, %error, "TLS file refused, the old one stays");
                    let failed = self.failed.iter().find(|(of, _)| of == path);
                    if let Some((_, failed)) = failed {
                        failed.inc();
                    }
                }
            }
        }
        self.show_expiry();
    }

    fn show_expiry(&self) {
        if let (Some(expiry), Some((_, at))) = (&self.expiry, self.files.certificate()) {
            expiry.set(at);
        }
    }
}
