//! From the configuration that runs to the next one: parse, check, compare, build, swap.
//!
//! Up to the swap nothing that runs is touched, so whatever goes wrong leaves everything as it was. What did not
//! change is not looked at. Start at [`Control::reload`].

use std::io::{self, Write as _};
use std::sync::Arc;

use portcullis_config::BuildError;
use portcullis_net::{clock, descriptors};

use super::control::Control;
use super::plan::{Changes, Delta, plan, unchangeable};
use super::workers::Ready;
use crate::admin::{Refused, Running};
use crate::limits::default_connections;
use crate::load::load_text;
use crate::model::Model;

impl Control {
    /// Reads the configuration again and runs it, or says why not. `trigger` is who asked, for the log.
    pub(super) async fn reload(&mut self, trigger: &'static str) -> Result<Changes, Refused> {
        let result = self.try_reload().await;
        match &result {
            Ok(changes) => {
                tracing::info!(trigger, %changes, "configuration reloaded");
                self.counters.reload_failed.set(0);
                if changes.is_empty() {
                    self.counters.reloads_unchanged.inc();
                } else {
                    self.counters.reloads_applied.inc();
                }
            }
            Err(Refused(why)) => {
                tracing::error!(trigger, "configuration refused, the old one runs on\n{why}");
                self.counters.reload_failed.set(1);
                self.counters.reloads_refused.inc();
            }
        }
        result
    }

    async fn try_reload(&mut self) -> Result<Changes, Refused> {
        if self.admin.readiness.is_draining() {
            return Err(Refused("the gateway is draining\n".to_owned()));
        }
        let text = self.source.text();
        self.seen = text.as_ref().ok().cloned();
        let loaded = load_text(&self.source.name(), text, &self.registry);
        let logs = loaded.logs().clone();
        let (model, report) = loaded.into_parts();
        let Some(model) = model else {
            return Err(Refused(report.text(false)));
        };
        report.log_warnings();
        let old = Arc::clone(&self.admin.running.load().model);
        let mut fixed = unchangeable(&old, &model);
        fixed.extend(self.admin.log.unchangeable(&logs));
        if !fixed.is_empty() {
            let what = fixed.join(" and ");
            return Err(Refused(format!(
                "{what} cannot change while the gateway runs; restart it\n"
            )));
        }
        let mut changes = plan(&old, &model);
        self.apply(Arc::new(model), &changes)
            .await
            .map_err(|errors| Refused(describe(&errors)))?;
        if self.admin.log.configure(&logs) {
            changes.settings.push("logs");
        }
        Ok(changes)
    }

    /// Builds everything that is new, then swaps it in: new clusters first, then listeners, then what goes.
    ///
    /// # Errors
    /// Something cannot be built; nothing has changed.
    pub(super) async fn apply(
        &mut self,
        model: Arc<Model>,
        changes: &Changes,
    ) -> Result<(), Vec<BuildError>> {
        let new_clusters = self.clusters.stage(&model, &changes.clusters).await?;
        let sockets = self.listening.open(&model, &changes.listeners)?;
        let tls = self.tls.stage(&model, &changes.listeners)?;
        let ready = Ready {
            listening: &self.listening,
            opened: &sockets,
            tls: &tls,
        };
        self.workers
            .prepare(&model, changes, &new_clusters.shared(), &ready)
            .await?;
        self.clusters
            .commit(new_clusters, &model, &changes.clusters);
        self.listening.commit(sockets, &model);
        self.tls.commit(tls, &model);
        self.workers.commit().await;
        self.listening
            .set_limits(&model, default_connections(descriptors::limit()));
        self.tasks
            .follow(&model, &changes.listeners, &self.clusters.shared());
        self.publish(model);
        self.refresh_certificates();
        self.announce(&changes.listeners);
        self.admin.stats.retain_live();
        Ok(())
    }

    /// Watches all certificate files where they are now, and then looks at them, so that no change is missed.
    pub(super) fn refresh_certificates(&mut self) {
        let paths = self.tls.paths().chain(self.clusters.tls_paths());
        self.certificates.watch(paths);
        self.tls.refresh();
        self.clusters.refresh_tls();
    }

    /// Tells whoever started the process where to connect now. Not the log: its form is a promise to programs.
    fn announce(&self, listeners: &Delta) {
        let running = self.admin.running.load();
        let new: Vec<&Arc<str>> = listeners.to_build().collect();
        for listener in running
            .listeners
            .iter()
            .filter(|listener| new.contains(&&listener.name))
        {
            let (name, address) = (&listener.name, &listener.address);
            // Nobody may be listening on standard error any more; the gateway runs all the same.
            let _ = writeln!(
                io::stderr(),
                "portcullis: listening name={name} address={address}"
            );
        }
    }

    fn publish(&self, model: Arc<Model>) {
        let generation = self.admin.running.load().generation + 1;
        self.admin.running.store(Arc::new(Running {
            listeners: self.listening.views(&model),
            clusters: self.clusters.shared(),
            model,
            generation,
            since: clock::wall(),
        }));
    }
}

/// One line for each.
pub(super) fn describe(errors: &[BuildError]) -> String {
    errors.iter().fold(String::new(), |mut text, error| {
        text.push_str(&error.to_string());
        text.push('\n');
        text
    })
}
