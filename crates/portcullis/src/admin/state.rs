//! What the admin endpoints read, and the words in which they ask the control loop for something.
//!
//! All of it can be read at any time without stopping anybody. Start at [`Admin`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use portcullis_cluster::ClusterShared;
use portcullis_filter::SharedStore;
use portcullis_proxy::Registry as Protocols;
use portcullis_stats::{Registry, SharedGauge};
use tokio::sync::{mpsc, oneshot, watch};

use crate::gateway::plan::Changes;
use crate::logs::ProcessLog;
use crate::model::Model;

/// What the admin endpoints know.
pub(crate) struct Admin {
    /// All counters.
    pub stats: Registry,
    /// What runs now.
    pub running: ArcSwap<Running>,
    /// Whether new work is welcome.
    pub readiness: Readiness,
    /// The way to the control loop.
    pub requests: mpsc::Sender<ControlRequest>,
    /// The log, to change its levels.
    pub log: ProcessLog,
    /// When the process started.
    pub started: Instant,
    /// The seconds since then, brought up to date whenever statistics are read.
    pub uptime: SharedGauge,
    /// How many workers there are.
    pub workers: usize,
    /// The protocols, which answer for themselves.
    pub registry: Protocols,
    /// Where they find what their workers share.
    pub shared: Arc<SharedStore>,
}

impl portcullis_grpc::filters::Readiness for Admin {
    fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    fn is_draining(&self) -> bool {
        self.readiness.is_draining()
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        let mut changes = self.readiness.changes.subscribe();
        Box::pin(async move {
            // An error is the end of the process.
            let _ = changes.changed().await;
        })
    }
}

/// One generation of the configuration, and what it became.
pub(crate) struct Running {
    /// The configuration.
    pub model: Arc<Model>,
    /// Which one since the process started, from 1.
    pub generation: u64,
    /// Since when it runs.
    pub since: SystemTime,
    /// The listeners with their real addresses, by name.
    pub listeners: Vec<ListenerView>,
    /// The clusters, by name.
    pub clusters: Vec<Arc<ClusterShared>>,
}

impl Running {
    /// No traffic yet.
    #[must_use]
    pub(crate) fn nothing(model: &Model) -> Self {
        Self {
            model: Arc::new(model.without_traffic()),
            generation: 0,
            since: portcullis_net::clock::wall(),
            listeners: Vec::new(),
            clusters: Vec::new(),
        }
    }
}

/// A listener as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerView {
    /// Its name.
    pub name: Arc<str>,
    /// Where it accepts, with the port that the system chose.
    pub address: String,
    /// Its protocol.
    pub protocol: &'static str,
}

/// What can be asked of the control loop.
#[derive(Debug)]
pub(crate) enum ControlRequest {
    /// Check the configuration file and run it. The answer says what changed, or why it was refused.
    Reload(oneshot::Sender<Result<Changes, Refused>>),
    /// Accept nothing more and let open connections finish; stay.
    DrainListeners,
    /// Let open connections finish, then end.
    Quit,
}

/// Has the control loop reload. `None`: the gateway is ending.
pub(super) async fn ask_for_reload(
    requests: mpsc::Sender<ControlRequest>,
) -> Option<Result<Changes, Refused>> {
    let (answer, answered) = oneshot::channel();
    requests.send(ControlRequest::Reload(answer)).await.ok()?;
    answered.await.ok()
}

impl portcullis_proxy::Reload for Admin {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), String>>>> {
        let asked = ask_for_reload(self.requests.clone());
        Box::pin(async move {
            match asked.await {
                Some(Ok(_)) => Ok(()),
                Some(Err(Refused(why))) => Err(why),
                None => Err("the gateway is ending".to_owned()),
            }
        })
    }
}

/// Why a configuration does not run, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub String);

/// Whether new work is welcome, as load balancers in front ask it.
#[derive(Debug)]
pub(crate) struct Readiness {
    started: AtomicBool,
    draining: AtomicBool,
    failed: AtomicBool,
    gauge: SharedGauge,
    /// For whoever waits to hear of a change.
    changes: watch::Sender<()>,
}

impl Readiness {
    /// Not ready yet. `gauge` shows it.
    #[must_use]
    pub(crate) fn new(gauge: SharedGauge) -> Self {
        Self {
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            gauge,
            changes: watch::Sender::default(),
        }
    }

    /// All listeners accept.
    pub(crate) fn on_started(&self) {
        self.started.store(true, Ordering::Release);
        self.show();
    }

    /// Nothing new is accepted, from now to the end.
    pub(crate) fn on_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.show();
    }

    /// The operator takes the process out of rotation, or puts it back.
    pub(crate) fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Release);
        self.show();
    }

    /// The state in Envoy's words.
    #[must_use]
    pub(crate) fn state(&self) -> &'static str {
        let is = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        if is(&self.draining) || is(&self.failed) {
            "DRAINING"
        } else if is(&self.started) {
            "LIVE"
        } else {
            "PRE_INITIALIZING"
        }
    }

    /// Whether the end has begun.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether new work is welcome.
    #[must_use]
    pub(crate) fn is_ready(&self) -> bool {
        self.state() == "LIVE"
    }

    fn show(&self) {
        self.gauge.set(i64::from(self.is_ready()));
        self.changes.send_replace(());
    }
}
