//! What Postgres does on the control thread: the page of statements, health checks, and finding out which server is the
//! primary.
//!
//! A role is asked for with the credentials of `upstream`; where there are none that work, roles are what the configuration
//! says. Start at the implementation of [`ControlSide`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use portcullis_cluster::{ClusterShared, Endpoint, EndpointRole, EndpointSet, ProtocolProbe};
use portcullis_config::Node;
use portcullis_filter::ReadContext;
use portcullis_net::clock;
use portcullis_proxy::control::probe;
use portcullis_proxy::{
    AdminAnswer, AdminRequest, CheckFailed, CheckTarget, ControlContext, ControlSide, LocalFuture,
    Probe,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::open::{self, Credentials};
use super::pools::{OpenOptions, close};
use super::server::{Common, Postgres, Statements};
use crate::auth::Secret;
use crate::config::{self, AuthMinimum, PostgresConfig, Role};
use crate::message::backend::DataRow;
use crate::stats::{Order, to_json, to_text};

/// How often roles are asked for: a failover is seen within a second.
const ROLES: Duration = Duration::from_millis(500);

/// How many statements a page shows if it is not told otherwise.
const SHOWN: usize = 100;

impl ControlSide for Postgres {
    const ADMIN: &'static [&'static str] = &["GET statements"];

    fn probe_schema() -> Option<Value> {
        Some(schemars::schema_for!(ProbeConfig).to_value())
    }

    fn read_probe(raw: &Node, cx: &mut ReadContext<'_>) -> Option<ProtocolProbe> {
        let config: ProbeConfig = raw.read(cx.diagnostics)?;
        Some(probe("postgres", config))
    }

    fn admin(request: &AdminRequest<'_>) -> Option<AdminAnswer> {
        if request.path != "statements" || request.is_post {
            return None;
        }
        let order = match request.parameter("order").map(str::parse::<Order>) {
            None => Order::Time,
            Some(Ok(order)) => order,
            Some(Err(error)) => return Some(AdminAnswer::Refused(error.to_string())),
        };
        let most = match request.parameter("limit").map(str::parse::<usize>) {
            None => SHOWN,
            Some(Ok(most)) => most,
            Some(Err(_)) => return Some(AdminAnswer::Refused("limit is a number".to_owned())),
        };
        let mut all = Vec::new();
        for (_, statements) in request.shared.all::<Statements>() {
            all.extend(statements.0.statements());
        }
        order.apply(&mut all, most);
        Some(if request.is_json {
            AdminAnswer::Json(to_json(&all))
        } else {
            AdminAnswer::Text(to_text(&all))
        })
    }

    fn task(config: &PostgresConfig, cx: ControlContext) -> Option<LocalFuture> {
        let mut names: Vec<&str> = Vec::new();
        for route in &config.routes {
            let particular = route.role != Role::Any && !names.contains(&&*route.cluster);
            if particular {
                names.push(&route.cluster);
            }
        }
        // One server needs no role, and a configuration that gives them all needs no questions.
        let clusters: Vec<Arc<ClusterShared>> = names
            .into_iter()
            .filter_map(|name| cx.cluster(name).cloned())
            .collect();
        let discovery = Discovery {
            credentials: discovery_credentials(config)?,
            options: OpenOptions::of(config),
            common: cx.common(Common::default),
        };
        // Until the first answers are there nobody is taken for a primary; without any, roles are what is written.
        discovery.common.finds_roles.store(true, Ordering::Relaxed);
        Some(Box::pin(async move {
            let follow = clusters
                .into_iter()
                .map(|cluster| follow(cluster, &discovery));
            join(follow.collect()).await;
        }))
    }
}

/// With what servers are asked for their roles.
fn discovery_credentials(config: &PostgresConfig) -> Option<Credentials> {
    let (user, password) =
        if let (Some(user), password) = (&config.upstream.user, &config.upstream.password) {
            (user.clone(), password.as_ref())
        } else {
            let found = config.auth.users.iter().find_map(|(name, user)| {
                let plain = user
                    .password
                    .as_ref()
                    .filter(|password| password.plain().is_some());
                plain.map(|password| (name.clone(), Some(&password.value)))
            });
            match found {
                Some(found) => found,
                None if config.upstream.auth_minimum == AuthMinimum::Trust => {
                    ("postgres".to_owned(), None)
                }
                None => return None,
            }
        };
    let secret = password.and_then(|password| Secret::parse(password.expose().as_bytes()).ok());
    Some(Credentials {
        user,
        secret: secret.map(Arc::new),
        keys: None,
    })
}

/// Follows the roles of a cluster's endpoints for as long as it is polled. All are asked at once, so that one that hangs delays
/// nobody's failover.
async fn follow(cluster: Arc<ClusterShared>, discovery: &Discovery) {
    loop {
        let set = cluster.set();
        let all_given = set
            .endpoints()
            .iter()
            .all(|endpoint| endpoint.given_role().is_some());
        if set.len() > 1 && !all_given {
            let asks = set.endpoints().iter().map(|endpoint| {
                let asked = ask_role(
                    &cluster,
                    endpoint,
                    &discovery.credentials,
                    discovery.options,
                );
                async move { super::within(ROLES * 2, asked).await.flatten() }
            });
            let found = join(asks.collect()).await;
            let found_any = found.iter().any(Option::is_some) || is_known(&set);
            discovery
                .common
                .finds_roles
                .store(found_any, Ordering::Relaxed);
            let has_primary = found.contains(&Some(EndpointRole::Primary));
            for (endpoint, role) in set.endpoints().iter().zip(found) {
                let known = endpoint.state().replication().role();
                // Who does not answer keeps its role, until another has it: a demoted primary must not be written to.
                let role = match role {
                    None if has_primary && known == Some(EndpointRole::Primary) => None,
                    None => known,
                    role => role,
                };
                if endpoint.state().replication().set_role(role) {
                    discovery.on_role(&cluster, endpoint, role);
                }
            }
        }
        portcullis_net::sleep(ROLES).await;
    }
}

/// Whether any role was found before.
fn is_known(set: &EndpointSet) -> bool {
    let mut endpoints = set.endpoints().iter();
    endpoints.any(|endpoint| endpoint.state().replication().role().is_some())
}

/// Runs all of them to their ends.
async fn join<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|task| {
        let mut pending = false;
        for (future, value) in &mut futures {
            if value.is_none() {
                match future.as_mut().poll(task) {
                    Poll::Ready(ready) => *value = Some(ready),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, value)| value).collect()
}

/// With what roles are asked for, and who is told of them.
struct Discovery {
    credentials: Credentials,
    options: OpenOptions,
    common: Arc<Common>,
}

impl Discovery {
    /// A role has changed: connections that were opened for another are closed when they come back.
    fn on_role(&self, cluster: &ClusterShared, endpoint: &Endpoint, role: Option<EndpointRole>) {
        tracing::info!(
            cluster = &**cluster.name(),
            endpoint = &**endpoint.label(),
            role = role.map_or("unknown", EndpointRole::label),
            "role found"
        );
        for pool in self.common.pools.all() {
            if pool.endpoint().id() == endpoint.id() && pool.key().cluster == *cluster.name() {
                // Whoever waits looks for another server.
                close(pool.pool().kill(clock::now()));
                pool.pool().resume(clock::now());
                pool.forget_welcomes();
            }
        }
    }
}

async fn ask_role(
    cluster: &Arc<ClusterShared>,
    endpoint: &Arc<Endpoint>,
    credentials: &Credentials,
    options: OpenOptions,
) -> Option<EndpointRole> {
    let opened = open::open(open::Request {
        cluster,
        endpoint,
        database: "postgres",
        credentials,
        options,
        parameters: &[],
        worker: 0,
    });
    let mut connection = opened.await.ok()?;
    let mut recovering = None;
    let answered = connection
        .query(b"SELECT pg_catalog.pg_is_in_recovery()", |body| {
            let row = DataRow::parse(body).ok();
            recovering =
                row.and_then(|row| row.values.iter().next().flatten().map(|text| text == b"t"));
        })
        .await;
    connection.goodbye();
    matches!(answered, Ok(Ok(()))).then_some(())?;
    recovering.map(|recovering| {
        if recovering {
            EndpointRole::Replica
        } else {
            EndpointRole::Primary
        }
    })
}

/// Settings of `health_check: { postgres: {} }`. Without a user the check is over when the server asks for one's proof, or
/// says that it is starting up.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct ProbeConfig {
    /// Who logs in. Default: nobody; that the server speaks Postgres is enough.
    user: Option<String>,
    /// That user's password.
    password: Option<config::Secret>,
    /// The database. Default `postgres`.
    database: Option<String>,
}

impl Probe for ProbeConfig {
    async fn check(&self, target: &CheckTarget) -> Result<(), CheckFailed> {
        let secret = self.password.as_ref();
        let secret = secret.and_then(|secret| Secret::parse(secret.expose().as_bytes()).ok());
        let credentials = Credentials {
            user: self.user.clone().unwrap_or_else(|| "portcullis".to_owned()),
            secret: secret.map(Arc::new),
            keys: None,
        };
        let opened = open::open(open::Request {
            cluster: &target.cluster,
            endpoint: &target.endpoint,
            database: self.database.as_deref().unwrap_or("postgres"),
            credentials: &credentials,
            options: OpenOptions {
                direct_tls: false,
                minimum: AuthMinimum::Trust,
            },
            parameters: &[],
            worker: 0,
        });
        match opened.await {
            Ok(connection) => {
                connection.goodbye();
                Ok(())
            }
            // It speaks, and does not know us: alive, if nobody was named.
            Err(error) if self.user.is_none() && error.is_about_identity() => Ok(()),
            Err(error) => Err(CheckFailed(error.failure.to_string().into())),
        }
    }
}
