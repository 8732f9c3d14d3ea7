//! The protocol as the gateway runs it: one listener on one worker, and what all its sessions have in common.
//!
//! Start at [`Postgres`] and [`PostgresServer`].

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_cluster::Cluster;
use portcullis_config::{BuildError, Node};
use portcullis_filter::{Context, FilterChain, Interest, Random};
use portcullis_net::{Downstream, DrainSignal, Sniff, Timer};
use portcullis_proxy::{
    AcceptBalance, ListenerContext, Protocol, ReadContext, Reload, Server, TlsStart,
};
use serde_json::Value;

use super::cancel::CancelKeys;
use super::names::Alike;
use super::pools::{OpenOptions, Pools};
use super::records::Kept;
use super::route::Places;
use super::startup::{self, Negotiated};
use super::stats::PostgresStats;
use super::users::{self, Asked, Users};
use crate::config::{self, PostgresConfig};
use crate::limits::FrameLimits;
use crate::machine::{Mode, Recent, Registry, Rooms, Setup, StatePolicy, StatementLimits};
use crate::request::{PostgresMessages, Record, StatementRequest};
use crate::sql;
use crate::stats::{StatementTables, TableLimits, WorkerStatements};

/// The protocol `postgres`.
#[derive(Debug, Clone, Copy)]
pub struct Postgres;

impl Protocol for Postgres {
    const NAME: &'static str = "postgres";
    const ALPN: &'static [&'static str] = &["postgresql"];
    const TLS: TlsStart = TlsStart::ByProtocol;
    const BALANCE: AcceptBalance = AcceptBalance::Exact;
    type Config = PostgresConfig;
    type Server = PostgresServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<PostgresConfig> {
        let config = PostgresConfig::read(raw, cx)?;
        users::check(&config.auth, cx.diagnostics);
        Some(config)
    }

    fn schema() -> Value {
        PostgresConfig::schema()
    }

    fn sniff(prefix: &[u8]) -> Sniff {
        startup::sniff(prefix)
    }

    fn build(config: &PostgresConfig, cx: &ListenerContext) -> Result<PostgresServer, BuildError> {
        let path = format!("{}.filters", cx.path());
        let chain = config.filters.build(&cx.filters(&path))?;
        let common: Arc<Common> = cx.common(Common::default);
        let limits = TableLimits {
            top: config.statements.top.value,
            text: config.statements.text.value.0 as usize,
        };
        let statements = cx.common(|| Statements(StatementTables::new(limits)));
        let own = Rc::new(statements.0.worker());
        keep_copying(&own);
        common.pools.set_limits(|key| {
            let user = config.auth.users.get(&*key.user);
            let size = user.and_then(|user| user.pool_size.as_ref().map(|size| size.value));
            config.pool.limits(size)
        });
        common.pools.forget_endpoints();
        let setup = setup(config, &chain, &common, limits.top > 0);
        let counted = (own.is_on() && !setup.inspect).then(|| Rc::clone(&own));
        Ok(PostgresServer {
            listener: Arc::clone(&cx.listener),
            has_timeouts: !chain.is_empty() || config.timeouts.are_any_for_statements(),
            places: Rc::new(Places::new(config, &common, cx, counted.clone())?),
            counted,
            setup,
            chain,
            stats: Rc::new(PostgresStats::new(&cx.stats)),
            config: config.clone(),
            drain: cx.drain.clone(),
            random: Rc::clone(&cx.worker.random),
            worker: cx.worker.id,
            users: users(config, cx)?,
            statements: own,
            spares: Kept::default(),
            alike: Alike::default(),
            rooms: Rooms::default(),
            tables: statements,
            auth_cluster: auth_cluster(config, cx)?,
            reload: cx.worker.shared.service(),
            common,
        })
    }
}

/// What all workers share of a listener. It is found by the listener's name, and stays over reloads as long as any server
/// holds it.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) pools: Pools,
    pub(super) cancel: Arc<CancelKeys>,
    pub(super) registry: Arc<Registry>,
    pub(super) asked: Asked,
    /// By cluster: roles are being found out, or were, so that a server without one is no primary.
    finds_roles: Mutex<HashMap<Arc<str>, Arc<AtomicBool>>>,
}

impl Common {
    /// Whether the roles of a cluster are being found out, or were.
    pub(super) fn finds_roles(&self, cluster: &str) -> Arc<AtomicBool> {
        let mut all = self
            .finds_roles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(cluster.into()).or_default())
    }
}

/// The tables of statements of a listener, for its workers and the control side.
#[derive(Debug)]
pub(super) struct Statements(pub(super) Arc<StatementTables>);

/// Postgres, configured for one listener on one worker.
pub struct PostgresServer {
    pub(super) listener: Arc<str>,
    pub(super) setup: Setup,
    pub(super) places: Rc<Places>,
    pub(super) chain: FilterChain<PostgresMessages>,
    pub(super) stats: Rc<PostgresStats>,
    pub(super) config: PostgresConfig,
    pub(super) drain: DrainSignal,
    pub(super) random: Rc<Random>,
    pub(super) worker: usize,
    pub(super) common: Arc<Common>,
    pub(super) users: Arc<Users>,
    pub(super) statements: Rc<WorkerStatements>,
    /// The same where nothing else asks for records: then none are made.
    pub(super) counted: Option<Rc<WorkerStatements>>,
    /// Whether anything has a time of its own but half messages.
    pub(super) has_timeouts: bool,
    /// Records that clients keep for their next statements.
    pub(super) spares: Kept,
    /// What clients have alike.
    pub(super) alike: Alike,
    /// Room for replies that clients leave to each other.
    pub(super) rooms: Rooms,
    /// Keeps the tables known to the control side.
    pub(super) tables: Arc<Statements>,
    /// Has the process read its configuration again, where it does.
    pub(super) reload: Option<Arc<dyn Reload>>,
    /// Where users are looked up, if not where their statements go.
    pub(super) auth_cluster: Option<Rc<Cluster>>,
}

impl Server for PostgresServer {
    // What a start-up needs is in a box that goes away when the conversation begins.
    fn serve(self: Rc<Self>, downstream: Downstream) -> impl Future<Output = ()> + 'static {
        let starting = Box::pin(start(self, downstream));
        // Of no type, so that its code is made in this package, by whose settings it is fast, and not in the one that polls it.
        let session: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            if let Some(session) = starting.await {
                session.run().await;
            }
        });
        session
    }
}

/// Everything up to a session that can talk.
async fn start(
    server: Rc<PostgresServer>,
    downstream: Downstream,
) -> Option<Box<super::run::Session>> {
    server.stats.on_connection();
    let mut timer = Timer::new();
    let deadline = startup::deadline(&server);
    let (downstream, negotiated) =
        startup::negotiate(&server, downstream, &mut timer, deadline).await;
    match negotiated {
        Negotiated::Start(started) => {
            super::login::login(server, downstream?, started, timer, deadline).await
        }
        Negotiated::Cancel { process, key } => {
            let outcome = server.common.cancel.cancel(process, &key).await;
            server.stats.on_cancel(outcome);
            None
        }
        Negotiated::Refused(reason, message) => {
            server.stats.on_rejected(reason);
            if let (Some(downstream), Some(message)) = (downstream, message) {
                super::goodbye(downstream.stream, &message, &mut timer).await;
            }
            None
        }
    }
}

impl PostgresServer {
    /// Whether clients must encrypt.
    pub(super) fn requires_tls(&self, offers: bool) -> bool {
        self.config.auth.method.needs_tls() || self.config.auth.require_tls.unwrap_or(offers)
    }

    /// How connections to servers are opened.
    pub(super) fn open_options(&self) -> OpenOptions {
        OpenOptions::of(&self.config)
    }

    /// A statement is over.
    pub(super) fn on_record(&self, record: &Record, cx: &Context) {
        if self.statements.is_on() {
            self.statements.record(record);
        }
        self.chain.on_complete(record, cx);
    }

    /// Whether a text is refused for not being understood.
    pub(super) fn refuses_unparsable(&self, request: &StatementRequest) -> bool {
        self.denies_unparsable() && !request.analysis().complete
    }

    /// Whether texts that are not understood are refused.
    pub(super) fn denies_unparsable(&self) -> bool {
        self.config.on_unparsable == config::OnUnparsable::Deny
    }

    /// Until when a statement that began then may take.
    pub(super) fn query_deadline(
        &self,
        since: Instant,
        filters: Option<Duration>,
    ) -> Option<Instant> {
        let timeouts = [self.config.timeouts.query.get(), filters];
        since.checked_add(timeouts.into_iter().flatten().min()?)
    }
}

/// Lays down what was counted last also when nothing follows, for as long as the server is there.
fn keep_copying(statements: &Rc<WorkerStatements>) {
    let weak = Rc::downgrade(statements);
    portcullis_net::spawn_local(async move {
        while let Some(statements) = weak.upgrade() {
            statements.copy();
            drop(statements);
            portcullis_net::sleep(COPY).await;
        }
    });
}

/// How old the page of statements may be.
const COPY: Duration = Duration::from_secs(1);

/// The users, read once for all workers.
fn users(config: &PostgresConfig, cx: &ListenerContext) -> Result<Arc<Users>, BuildError> {
    let mut key = [0; 32];
    for chunk in key.chunks_mut(8) {
        chunk.copy_from_slice(&super::secret().to_be_bytes());
    }
    Ok(Arc::new(Users::new(&config.auth, &cx.path(), key)?))
}

/// The cluster that is asked for users, where the configuration names one.
fn auth_cluster(
    config: &PostgresConfig,
    cx: &ListenerContext,
) -> Result<Option<Rc<Cluster>>, BuildError> {
    let query = config.auth.auth_query.as_ref();
    let name = query.and_then(|query| query.cluster.as_deref());
    name.map(|name| cx.cluster(name)).transpose()
}

fn setup(
    config: &PostgresConfig,
    chain: &FilterChain<PostgresMessages>,
    common: &Common,
    counts: bool,
) -> Setup {
    Setup {
        mode: match config.pool.mode {
            config::PoolMode::Session => Mode::Session,
            config::PoolMode::Transaction => Mode::Transaction,
            config::PoolMode::Statement => Mode::Statement,
        },
        state: match config.pool.state {
            config::StatePolicy::Pin => StatePolicy::Pin,
            config::StatePolicy::Replay => StatePolicy::Replay,
            config::StatePolicy::Refuse => StatePolicy::Refuse,
        },
        prepared: config.pool.prepared_statements,
        statements: StatementLimits {
            count: config.limits.client_statements.value,
            bytes: config.limits.client_statement_bytes.value.0 as usize,
        },
        pipeline: config.limits.pipeline.value,
        inspect: (counts && !chain.is_empty())
            || config.on_unparsable == config::OnUnparsable::Deny
            || chain.interest() != Interest::NONE,
        client_frames: FrameLimits {
            whole: config.limits.statement.value.0 as usize,
            ..FrameLimits::default()
        },
        sql: sql_options(config),
        registry: Arc::clone(&common.registry),
        unnamed: Recent::default(),
    }
}

/// How statements are read, but for what depends on the client.
fn sql_options(config: &PostgresConfig) -> sql::Options {
    let mut functions = sql::FunctionSet::default();
    for name in &config.safe_functions {
        // Reading has checked that they are names.
        functions.insert(name);
    }
    sql::Options {
        hints: config.hints,
        safe_functions: (!config.safe_functions.is_empty()).then(|| Arc::new(functions)),
        seen: Some(Rc::default()),
        ..sql::Options::default()
    }
}

/// How long a client is given to read why it is turned away.
pub(super) const LINGER: Duration = Duration::from_secs(2);
