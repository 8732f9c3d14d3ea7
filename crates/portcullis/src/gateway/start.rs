//! From a configuration to a running gateway: everything that can fail is tried before anything is announced.
//!
//! The first configuration goes the way of every later one: it is the change from no listeners to some. Start at
//! [`run`].

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use portcullis_filter::log::LogSinks;
use portcullis_filter::{Random, SharedStore};
use portcullis_limit::Seed;
use portcullis_net::resolve::Resolver;
use portcullis_net::{clock, descriptors};
use portcullis_proxy::Registry;
use portcullis_stats::Registry as Stats;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::RunError;
use super::clusters::Clusters;
use super::control::{Control, ControlCounters, Inbox};
use super::dns::Names;
use super::listener_tasks::ListenerTasks;
use super::listening::Listening;
use super::plan::plan;
use super::reload::describe;
use super::signals::Signals;
use super::tls::ListenerTls;
use super::watch::{FileWatch, FilesWatch};
use super::workers::{Shared, Workers};
use crate::admin::{Admin, AdminSocket, Readiness, Running, router};
use crate::load::{ConfigSource, load_text};
use crate::logs::ProcessLog;
use crate::logs::access::AccessLogs;
use crate::model::{Model, RuntimeConfig};

/// How many requests of the admin address may wait for the control loop.
const REQUESTS: usize = 16;

/// What the gateway is run with.
pub(super) struct Options {
    /// Where the configuration comes from.
    pub source: ConfigSource,
    /// The protocols.
    pub registry: Registry,
    /// The log.
    pub log: ProcessLog,
}

/// Runs the gateway on this thread until it is told to end.
///
/// # Errors
/// It could not start.
pub(super) fn run(options: Options) -> Result<(), RunError> {
    let text = options.source.text();
    let seen = text.as_ref().ok().cloned();
    let loaded = load_text(&options.source.name(), text, &options.registry);
    let logs = loaded.logs().clone();
    let (model, report) = loaded.into_parts();
    let Some(model) = model else {
        return Err(RunError::Configuration(Box::new(report)));
    };
    options.log.start(&logs).context("cannot open the log")?;
    report.log_warnings();
    descriptors::raise_limit();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control runtime")?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, start_and_run(options, Arc::new(model), seen))?;
    Ok(())
}

async fn start_and_run(
    options: Options,
    model: Arc<Model>,
    seen: Option<String>,
) -> anyhow::Result<()> {
    let signals = Signals::listen().context("cannot handle signals")?;
    let socket = AdminSocket::bind(&model.admin.listen)?;
    let admin_address = socket.address()?;
    let (requests, inbox_requests) = mpsc::channel(REQUESTS);
    let (resolved, inbox_resolved) = mpsc::unbounded_channel();
    let (certificates, inbox_certificates) = FilesWatch::new();
    let senders = (requests, resolved, certificates);
    let mut control = make(options, &model, seen, senders)?;
    let admin = Arc::clone(&control.admin);
    spawn_local(async move { axum::serve(socket, router(admin)).await });

    let changes = plan(&model.without_traffic(), &model);
    if let Err(errors) = control.apply(Arc::clone(&model), &changes).await {
        control.stop();
        return Err(anyhow!("{}", describe(&errors).trim_end()));
    }
    control.admin.readiness.on_started();
    let watch = watch(&control.source);
    announce_ready(&admin_address);
    let inbox = Inbox {
        signals,
        requests: inbox_requests,
        watch,
        certificates: inbox_certificates,
        resolved: inbox_resolved,
    };
    control.run(inbox).await;
    Ok(())
}

type Senders = (
    mpsc::Sender<crate::admin::ControlRequest>,
    mpsc::UnboundedSender<Arc<str>>,
    FilesWatch,
);

/// The control side with workers that have nothing to do yet.
fn make(
    options: Options,
    model: &Model,
    seen: Option<String>,
    (requests, resolved, certificates): Senders,
) -> anyhow::Result<Control> {
    let workers = Workers::count(&model.runtime);
    // One shard for each worker, one for the control side, one for the writer of access logs.
    let stats = Stats::new(workers + 2);
    let shard = stats.shard(workers);
    let access_logs =
        AccessLogs::start(&stats, workers + 1).context("cannot start the access log")?;
    let store = SharedStore::new();
    store.provide::<Arc<dyn LogSinks>>(Arc::new(access_logs.clone()));
    let shared = Arc::new(Shared {
        stats: stats.clone(),
        store,
        seed: Seed::random(),
    });
    let random = Rc::new(Random::new(random_number()));
    let names = Names::new(resolver(&model.runtime), shard.clone(), resolved);
    let admin = Admin {
        readiness: Readiness::new(stats.shared_gauge(
            "portcullis_ready",
            "1 while new connections are welcome.",
            &[],
        )),
        uptime: stats.shared_gauge(
            "portcullis_uptime_seconds",
            "Seconds since the process started.",
            &[],
        ),
        running: ArcSwap::from_pointee(Running::nothing(model)),
        requests,
        log: options.log,
        started: clock::now(),
        workers,
        stats,
        registry: options.registry.clone(),
        shared: Arc::clone(&shared.store),
    };
    let admin = Arc::new(admin);
    shared
        .store
        .provide::<Arc<dyn portcullis_grpc::filters::Readiness>>(Arc::<Admin>::clone(&admin));
    shared
        .store
        .provide::<Arc<dyn portcullis_proxy::Reload>>(Arc::<Admin>::clone(&admin));
    Ok(Control {
        source: options.source,
        seen,
        registry: options.registry,
        admin,
        clusters: Clusters::new(names, shard.clone(), Rc::clone(&random)),
        tasks: ListenerTasks::new(shard.clone(), Arc::clone(&shared.store), random),
        listening: Listening::new(workers),
        tls: ListenerTls::new(shard.clone()),
        certificates,
        workers: Workers::start(&model.runtime, &shared)?,
        access_logs,
        counters: ControlCounters::new(&shard),
    })
}

fn resolver(config: &RuntimeConfig) -> Resolver {
    let server = config
        .name_server
        .as_ref()
        .and_then(|server| server.as_socket());
    server.map_or_else(Resolver::new, Resolver::with_server)
}

fn announce_ready(admin: &str) {
    // Nobody may be listening on standard error any more; the gateway runs all the same.
    let _ = writeln!(io::stderr(), "portcullis: ready admin={admin}");
}

fn watch(source: &ConfigSource) -> Option<FileWatch> {
    let ConfigSource::File(path) = source else {
        return None;
    };
    match FileWatch::start(path) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "cannot watch the configuration file; use HUP or POST /reload");
            None
        }
    }
}

/// A number that nobody outside can guess, as far as the standard library's hash keys allow.
pub(super) fn random_number() -> u64 {
    RandomState::new().build_hasher().finish()
}
