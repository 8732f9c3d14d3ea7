//! The control loop: one place where everything that is asked of a running gateway comes together.
//!
//! Signals, the admin address, the file watch and DNS only ask; here it is done, one thing after the other, so that
//! no two reloads and no reload and drain ever meet. Start at [`Control::run`].

use std::sync::Arc;

use portcullis_proxy::Registry;
use portcullis_stats::{Counter, Shard, SharedGauge};
use tokio::sync::{mpsc, oneshot};

use super::clusters::Clusters;
use super::listener_tasks::ListenerTasks;
use super::listening::Listening;
use super::plan::Changes;
use super::signals::{Asked, Signals};
use super::tls::ListenerTls;
use super::watch::{FileChanges, FileWatch, FilesWatch};
use super::workers::Workers;
use crate::admin::{Admin, ControlRequest, Refused};
use crate::load::ConfigSource;
use crate::logs::access::AccessLogs;

/// The control side of a running gateway.
pub(super) struct Control {
    /// Where the configuration comes from.
    pub source: ConfigSource,
    /// The text that runs, or was refused last: what the watch compares with.
    pub seen: Option<String>,
    /// The protocols.
    pub registry: Registry,
    /// What the admin address shows.
    pub admin: Arc<Admin>,
    /// The clusters' process-wide side.
    pub clusters: Clusters,
    /// The sockets.
    pub listening: Listening,
    /// The listeners' certificates.
    pub tls: ListenerTls,
    /// Says when their files may have changed.
    pub certificates: FilesWatch,
    /// The threads that move traffic.
    pub workers: Workers,
    /// What protocols do here.
    pub tasks: ListenerTasks,
    /// The access logs.
    pub access_logs: AccessLogs,
    /// Counters of the control side.
    pub counters: ControlCounters,
}

/// What the control side counts about itself.
pub(super) struct ControlCounters {
    /// Whether the configuration on disk is not the one that runs.
    pub reload_failed: SharedGauge,
    /// Reloads that changed something.
    pub reloads_applied: Counter,
    /// Reloads of a configuration that means the same.
    pub reloads_unchanged: Counter,
    /// Reloads of a configuration that cannot run.
    pub reloads_refused: Counter,
    /// Which build this is.
    _build_info: SharedGauge,
}

impl ControlCounters {
    /// The counters, in this shard.
    pub(super) fn new(shard: &Shard) -> Self {
        let reloads = |result| {
            shard.counter(
                "portcullis_config_reloads_total",
                "Times the configuration was read again, by what came of it.",
                &[("result", result)],
            )
        };
        let build_info = shard.registry().shared_gauge(
            "portcullis_build_info",
            "Always 1; the labels say what is running.",
            &[("version", env!("CARGO_PKG_VERSION"))],
        );
        build_info.set(1);
        Self {
            _build_info: build_info,
            reload_failed: shard.registry().shared_gauge(
                "portcullis_config_reload_failed",
                "1 while the last configuration that was tried is not the one that runs.",
                &[],
            ),
            reloads_applied: reloads("applied"),
            reloads_unchanged: reloads("unchanged"),
            reloads_refused: reloads("refused"),
        }
    }
}

/// Where the control loop hears what it should do.
pub(super) struct Inbox {
    /// Signals.
    pub signals: Signals,
    /// The admin address.
    pub requests: mpsc::Receiver<ControlRequest>,
    /// The file watch, where there is a file.
    pub watch: Option<FileWatch>,
    /// The watch on certificates.
    pub certificates: FileChanges,
    /// Names of clusters whose endpoints DNS has changed.
    pub resolved: mpsc::UnboundedReceiver<Arc<str>>,
}

/// One thing to do.
pub(super) enum Event {
    /// A signal.
    Signal(Asked),
    /// A request of the admin address.
    Request(ControlRequest),
    /// The configuration file may have changed.
    FileChanged,
    /// A file that certificates come from may have changed.
    CertificatesChanged,
    /// DNS changed the endpoints of this cluster.
    Resolved(Arc<str>),
}

impl Inbox {
    /// The next thing to do.
    pub(super) async fn next(&mut self) -> Event {
        let file_changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            asked = self.signals.next() => Event::Signal(asked),
            Some(request) = self.requests.recv() => Event::Request(request),
            Some(cluster) = self.resolved.recv() => Event::Resolved(cluster),
            () = file_changed => Event::FileChanged,
            () = self.certificates.next() => Event::CertificatesChanged,
        }
    }
}

/// What comes after an event.
enum Next {
    GoOn,
    Drain,
    Stop,
}

impl Control {
    /// Does what is asked until it is to end; then all connections are finished or closed.
    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let next = loop {
            match self.handle(inbox.next().await).await {
                Next::GoOn => {}
                next => break next,
            }
        };
        if matches!(next, Next::Drain) {
            self.drain(&mut inbox).await;
        }
        self.stop();
    }

    async fn handle(&mut self, event: Event) -> Next {
        match event {
            Event::Signal(Asked::Stop) => return Next::Stop,
            Event::Signal(Asked::Drain) | Event::Request(ControlRequest::Quit) => {
                return Next::Drain;
            }
            Event::Signal(Asked::Reload) => self.reload_and_log("HUP").await,
            Event::Signal(asked) => self.handle_small(asked),
            Event::Request(ControlRequest::Reload(answer)) => self.reload_and_answer(answer).await,
            Event::Request(ControlRequest::DrainListeners) => self.drain_listeners(),
            Event::FileChanged => {
                if self.has_news() {
                    self.reload_and_log("file").await;
                }
            }
            Event::CertificatesChanged => self.refresh_certificates(),
            Event::Resolved(cluster) => self.clusters.on_resolved(&cluster),
        }
        Next::GoOn
    }

    /// Signals that change nothing about the traffic.
    pub(super) fn handle_small(&self, asked: Asked) {
        match asked {
            Asked::ReopenLogs => {
                tracing::info!("opening the log files again");
                self.access_logs.reopen();
                self.admin.log.reopen();
            }
            Asked::Upgrade => tracing::warn!("USR2: upgrading the binary is not supported yet"),
            Asked::Reload | Asked::Drain | Asked::Stop => {}
        }
    }

    async fn reload_and_log(&mut self, trigger: &'static str) {
        // What there is to say is said in the log, whoever asked.
        let _ = self.reload(trigger).await;
    }

    pub(super) async fn reload_and_answer(
        &mut self,
        answer: oneshot::Sender<Result<Changes, Refused>>,
    ) {
        let result = self.reload("admin").await;
        // Whoever asked may have gone away; the reload counts all the same.
        let _ = answer.send(result);
    }

    /// Whether the configuration file holds something else than what was tried last.
    fn has_news(&self) -> bool {
        match self.source.text() {
            Ok(text) => self.seen.as_ref() != Some(&text),
            // A reload says what is wrong with it; in the middle of a replacement there may be no file.
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
    }

    /// Ends the workers and closes what is open.
    pub(super) fn stop(self) {
        self.workers.stop();
        self.access_logs.stop();
        tracing::info!("ended");
    }
}
