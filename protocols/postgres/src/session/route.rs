//! Where a client's statements go: the rules that are left for it, with the clusters that they name.
//!
//! Which rule takes a statement is [`crate::route`]'s to say, which endpoint of its cluster the balancer's. Start at [`Way`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use portcullis_cluster::{Cluster, Endpoint, EndpointId, EndpointRole, LocalEndpoint};
use portcullis_config::BuildError;
use portcullis_net::clock;
use portcullis_proxy::ListenerContext;

use super::open::Credentials;
use super::pools::PoolHandle;
use super::server::Common;
use crate::config::{MaxLag, PostgresConfig, ReadYourWrites, Role};
use crate::machine::relay::Router;
use crate::machine::{Demand, Target, unknown_demand};
use crate::route::{Client, ClientRoutes, Routes, Text};
use crate::sql::{self, Access, Analysis, Effects, Fingerprint, Hint};
use crate::stats::WorkerStatements;

/// What a statement is taken for that says itself that it is a read.
const READ: &[u8] = b"SELECT 1";

/// The rules of one listener on one worker.
pub(super) struct Places {
    routes: Routes,
    /// In the order of the rules.
    places: Vec<Place>,
    max_lag: MaxLag,
    read_your_writes: ReadYourWrites,
    /// What [`READ`] does.
    read: Analysis,
    /// Who counts statements that nobody else asks for.
    counted: Option<Rc<WorkerStatements>>,
}

/// Where one rule leads.
struct Place {
    name: Option<Arc<str>>,
    cluster: Rc<Cluster>,
    role: Role,
    /// Its roles are being found out, or were.
    finds_roles: Arc<AtomicBool>,
    /// The database there, if it has another name than the client's.
    database: Option<Arc<str>>,
}

impl Places {
    pub(super) fn new(
        config: &PostgresConfig,
        common: &Common,
        cx: &ListenerContext,
        counted: Option<Rc<WorkerStatements>>,
    ) -> Result<Self, BuildError> {
        let place = |rule: &crate::config::RouteConfig| {
            Ok(Place {
                name: rule.name.clone(),
                cluster: cx.cluster(&rule.cluster)?,
                role: rule.role,
                finds_roles: common.finds_roles(&rule.cluster),
                database: rule.database.as_deref().map(Arc::from),
            })
        };
        let mut read = Analysis::default();
        sql::analyse(READ, &sql::Options::default(), &mut read);
        Ok(Self {
            read,
            counted,
            max_lag: config.max_lag,
            read_your_writes: config.read_your_writes,
            routes: Routes::new(&config.routes),
            places: config.routes.iter().map(place).collect::<Result<_, _>>()?,
        })
    }

    /// Something that is a read.
    fn read(&self) -> Demand<'_> {
        Demand {
            analysis: &self.read,
            sql: READ,
        }
    }

    /// The way of a client; `None` if no rule takes it.
    pub(super) fn of_client(self: &Rc<Self>, client: &Client<'_>) -> Option<Way> {
        let of_client = self.routes.of_client(client);
        if of_client.is_empty() {
            return None;
        }
        Some(Way {
            asks: self.routes.asks_statement(&of_client),
            of_client,
            places: Rc::clone(self),
            user: client.user.into(),
            database: client.database.into(),
            credentials: Arc::default(),
            written: Cell::default(),
            pools: RefCell::default(),
        })
    }
}

/// Where one client's statements go.
pub(super) struct Way {
    places: Rc<Places>,
    of_client: ClientRoutes,
    /// Rules depend on the statement.
    asks: bool,
    /// Who the client is to servers.
    pub(super) user: Arc<str>,
    pub(super) database: Arc<str>,
    pub(super) credentials: Arc<Credentials>,
    /// What its reads must not miss.
    written: Cell<Written>,
    /// The pools that were found last: finding one takes a key of four parts and a lock.
    pools: RefCell<Vec<KnownPool>>,
}

/// What a client has written, as far as it matters for its reads.
#[derive(Debug, Clone, Copy, Default)]
enum Written {
    /// Nothing, or so long ago that it does not matter.
    #[default]
    Nothing,
    /// Reads go to the primary until then.
    Until(Instant),
    /// Something, by a transaction that may be open.
    Something,
    /// Something, by then.
    Before(Instant),
    /// Something, which lies before this position in the log of the cluster of this target.
    At(Instant, Target, u64),
}

/// A pool that a client was led to before.
struct KnownPool {
    target: Target,
    endpoint: EndpointId,
    /// What [`super::pools::Pools::version`] was then.
    version: u64,
    pool: Rc<PoolHandle>,
}

/// Pools that one client remembers.
const KNOWN: usize = 4;

impl Router for Way {
    fn target(&self, demand: Demand<'_>) -> Target {
        if !self.asks {
            // What is left for the client begins with a rule that takes whatever it says.
            return self
                .of_client
                .first()
                .copied()
                .map_or(Target::NOWHERE, Target);
        }
        let demand = match demand.analysis.hint {
            Some(Hint::Primary) => unknown_demand(),
            Some(Hint::Replica) => self.places.read(),
            None if may_write_later(demand.analysis) => unknown_demand(),
            None => demand,
        };
        let text = Text {
            sql: demand.sql,
            analysis: demand.analysis,
        };
        let found = self.places.routes.find(&self.of_client, Some(&text));
        match found {
            Some((place, _)) => Target(place),
            None => Target::NOWHERE,
        }
    }

    fn looks_at_statements(&self) -> bool {
        self.asks
    }

    fn counts(&self) -> bool {
        self.places.counted.is_some()
    }

    fn knows(&self, fingerprint: Fingerprint) -> bool {
        let counted = self.places.counted.as_ref();
        counted.is_none_or(|statements| statements.knows(fingerprint))
    }
}

impl Way {
    fn place(&self, target: Target) -> Option<&Place> {
        self.places.places.get(usize::from(target.0))
    }

    /// The rule's name.
    pub(super) fn name_of(&self, target: Target) -> Option<Arc<str>> {
        self.place(target)?.name.clone()
    }

    pub(super) fn cluster(&self, target: Target) -> Option<&Rc<Cluster>> {
        Some(&self.place(target)?.cluster)
    }

    /// The database's name there.
    pub(super) fn database(&self, target: Target) -> &Arc<str> {
        self.place(target)
            .and_then(|place| place.database.as_ref())
            .unwrap_or(&self.database)
    }

    /// The cluster of the first rule.
    pub(super) fn any_cluster(&self) -> Option<Rc<Cluster>> {
        let first = self.of_client.first()?;
        let place = self.places.places.get(usize::from(*first))?;
        Some(Rc::clone(&place.cluster))
    }

    /// The pool that `find` found for this target and endpoint before, or finds now. `version` is that of all pools.
    pub(super) fn pool(
        &self,
        target: Target,
        endpoint: EndpointId,
        version: u64,
        find: impl FnOnce() -> PoolHandle,
    ) -> Rc<PoolHandle> {
        let mut pools = self.pools.borrow_mut();
        let is_it = |known: &&KnownPool| known.target == target && known.endpoint == endpoint;
        if let Some(known) = pools.iter().find(is_it).filter(|it| it.version == version) {
            return Rc::clone(&known.pool);
        }
        pools.retain(|known| known.version == version);
        if pools.len() >= KNOWN {
            pools.remove(0);
        }
        let pool = Rc::new(find());
        // Most clients are led to one.
        pools.reserve_exact(1);
        pools.push(KnownPool {
            target,
            endpoint,
            version,
            pool: Rc::clone(&pool),
        });
        pool
    }

    /// A write has been carried out.
    pub(super) fn on_write(&self, now: Instant) {
        self.written.set(match self.places.read_your_writes {
            ReadYourWrites::Off => return,
            ReadYourWrites::PrimaryFor(time) => now
                .checked_add(time.get())
                .map_or(Written::Nothing, Written::Until),
            ReadYourWrites::Lsn => Written::Something,
        });
    }

    /// The client has no server connection any more: what it has written is committed, or never will be.
    pub(super) fn on_released(&self) {
        if matches!(self.written.get(), Written::Something) {
            // The exact time: the log's position is asked for by another thread.
            self.written.set(Written::Before(clock::refresh()));
        }
    }

    /// Which endpoints will do now, apart from those that were tried.
    pub(super) fn choice(&self, target: Target, tried: &[EndpointId], now: Instant) -> Choice {
        let Some(place) = self.place(target) else {
            return Choice::default();
        };
        let mut choice = Choice {
            role: place.role,
            max_lag: self.places.max_lag,
            knows: knows_primary(place),
            ..Choice::default()
        };
        if place.role == Role::PreferReplica {
            choice.prefers = true;
            choice.role = match self.reads_from(target, &place.cluster, now) {
                Some(position) => {
                    choice.position = position;
                    Role::Replica
                }
                None => Role::Primary,
            };
            let nanos = place.cluster.shared().epoch().nanos(now);
            let will_do = |endpoint: &Endpoint| {
                choice.accepts(endpoint)
                    && !tried.contains(&endpoint.id())
                    && endpoint.state().is_available(nanos)
            };
            let endpoints = place.cluster.endpoints();
            if !endpoints.iter().any(|endpoint| will_do(endpoint)) {
                choice.role = Role::Primary;
            }
        }
        choice
    }

    /// Up to which position a replica must have replayed to be read from. `None`: only the primary will do.
    fn reads_from(&self, target: Target, cluster: &Cluster, now: Instant) -> Option<u64> {
        self.on_released();
        let at = match self.written.get() {
            Written::Nothing => return Some(0),
            Written::Until(until) if now < until => return None,
            Written::Until(_) => {
                self.written.set(Written::Nothing);
                return Some(0);
            }
            Written::At(_, known, position) if known == target => return Some(position),
            Written::Something => return None,
            Written::Before(at) | Written::At(at, ..) => at,
        };
        let since = cluster.shared().epoch().nanos(at);
        let endpoints = cluster.endpoints();
        let mut primaries = endpoints
            .iter()
            .filter(|endpoint| endpoint.role() == Some(EndpointRole::Primary));
        let position = primaries
            .next()?
            .state()
            .replication()
            .position_since(since)?;
        self.written.set(Written::At(at, target, position));
        Some(position)
    }
}

/// Which endpoints will do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Choice {
    role: Role,
    /// Whether it is known which endpoint is the primary.
    knows: bool,
    max_lag: MaxLag,
    /// Up to where replicas must have replayed.
    position: u64,
    /// The primary will do as well.
    prefers: bool,
}

impl Choice {
    /// Whether this one will do.
    pub(super) fn accepts(&self, endpoint: &Endpoint) -> bool {
        let replication = endpoint.state().replication();
        if replication.is_fenced() {
            return false;
        }
        match (self.role, endpoint.role()) {
            (Role::Primary, Some(role)) => role == EndpointRole::Primary,
            // In a cluster that knows no roles every server counts as the primary.
            (Role::Primary, None) => !self.knows,
            (Role::Replica, Some(EndpointRole::Replica)) => {
                self.max_lag
                    .admits(replication.lag_bytes(), replication.lag())
                    && (self.position == 0
                        || replication
                            .position()
                            .is_some_and(|position| position >= self.position))
            }
            (Role::Replica, _) => false,
            (Role::Any | Role::PreferReplica, Some(EndpointRole::Replica)) => self
                .max_lag
                .admits(replication.lag_bytes(), replication.lag()),
            (Role::Any | Role::PreferReplica, _) => true,
        }
    }

    /// Whether others will do when none of these does.
    pub(super) fn has_more(&self) -> bool {
        self.prefers && self.role == Role::Replica
    }
}

/// Whether a text begins a transaction that is not declared READ ONLY: its other statements go where it went.
fn may_write_later(analysis: &Analysis) -> bool {
    analysis.statements.iter().any(|statement| {
        statement.effects.contains(Effects::TRANSACTION_BEGIN)
            && statement.transaction.access != Some(Access::ReadOnly)
    })
}

/// Whether it is known which endpoint is the primary, or at least that one without a role is not. One that is alone says itself
/// what it is.
fn knows_primary(place: &Place) -> bool {
    let endpoints = place.cluster.endpoints();
    let is_primary = |endpoint: &Rc<LocalEndpoint>| endpoint.role() == Some(EndpointRole::Primary);
    endpoints.len() > 1
        && (place.finds_roles.load(Ordering::Relaxed) || endpoints.iter().any(is_primary))
}
