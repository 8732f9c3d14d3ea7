//! Where a client's statements go: the rules that are left for it, with the clusters that they name.
//!
//! Which rule takes a statement is [`crate::route`]'s to say, which endpoint of its cluster the balancer's. Start at [`Way`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_cluster::{Cluster, Endpoint, EndpointId, EndpointRole};
use portcullis_config::BuildError;
use portcullis_proxy::ListenerContext;

use super::open::Credentials;
use super::pools::PoolHandle;
use crate::config::{PostgresConfig, Role};
use crate::machine::relay::Router;
use crate::machine::{Demand, Target, unknown_demand};
use crate::route::{Client, ClientRoutes, Routes, Text};
use crate::sql::{self, Access, Analysis, Effects, Hint};

/// What a statement is taken for that says itself that it is a read.
const READ: &[u8] = b"SELECT 1";

/// The rules of one listener on one worker.
pub(super) struct Places {
    routes: Routes,
    /// In the order of the rules.
    places: Vec<Place>,
    /// What [`READ`] does.
    read: Analysis,
}

/// Where one rule leads.
struct Place {
    name: Option<Arc<str>>,
    cluster: Rc<Cluster>,
    role: Role,
    /// The database there, if it has another name than the client's.
    database: Option<Arc<str>>,
}

impl Places {
    pub(super) fn new(config: &PostgresConfig, cx: &ListenerContext) -> Result<Self, BuildError> {
        let place = |rule: &crate::config::RouteConfig| {
            Ok(Place {
                name: rule.name.clone(),
                cluster: cx.cluster(&rule.cluster)?,
                role: rule.role,
                database: rule.database.as_deref().map(Arc::from),
            })
        };
        let mut read = Analysis::default();
        sql::analyse(READ, &sql::Options::default(), &mut read);
        Ok(Self {
            read,
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
            primary_until: Cell::new(None),
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
    database: Arc<str>,
    pub(super) credentials: Arc<Credentials>,
    /// Until when reads go where writes went.
    primary_until: Cell<Option<Instant>>,
    /// The pools that were found last: finding one takes a key of four parts and a lock.
    pools: RefCell<Vec<KnownPool>>,
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

    pub(super) fn role(&self, target: Target) -> Role {
        self.place(target).map_or(Role::Any, |place| place.role)
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

    /// A write has been carried out: reads stay with it for a while.
    pub(super) fn on_write(&self, until: Option<Instant>) {
        self.primary_until.set(until);
    }

    /// Whether reads go to the primary for now.
    pub(super) fn stays_with_writes(&self, now: Instant) -> bool {
        match self.primary_until.get() {
            Some(until) if now < until => true,
            Some(_) => {
                self.primary_until.set(None);
                false
            }
            None => false,
        }
    }
}

/// Whether a text begins a transaction that is not declared READ ONLY: its other statements go where it went.
fn may_write_later(analysis: &Analysis) -> bool {
    analysis.statements.iter().any(|statement| {
        statement.effects.contains(Effects::TRANSACTION_BEGIN)
            && statement.transaction.access != Some(Access::ReadOnly)
    })
}

/// Whether any endpoint of a cluster is known to be its primary.
pub(super) fn knows_primary(cluster: &Cluster) -> bool {
    let endpoints = cluster.endpoints();
    endpoints
        .iter()
        .any(|endpoint| endpoint.role() == Some(EndpointRole::Primary))
}

/// Whether an endpoint has a role that is asked for.
pub(super) fn accepts(role: Role, endpoint: &Endpoint, knows_primary: bool) -> bool {
    match role {
        Role::Any | Role::PreferReplica => true,
        // In a cluster that knows no roles every server counts as the primary.
        Role::Primary if knows_primary => endpoint.role() == Some(EndpointRole::Primary),
        Role::Primary => endpoint.role() != Some(EndpointRole::Replica),
        Role::Replica => endpoint.role() == Some(EndpointRole::Replica),
    }
}
