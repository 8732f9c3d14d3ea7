//! Asking the servers of a cluster who they are, again and again, and publishing what follows.
//!
//! What follows is [`crate::roles`]'s to say; sessions read it off the endpoints when they look for one. Each server is asked on a
//! connection of its own that stays open, and by itself, so that one that hangs delays nobody's failover. It is asked with
//! the credentials of `upstream`; where there are none that work, roles are what the configuration says. Start at [`task`].

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portcullis_cluster::{ClusterShared, Endpoint, EndpointId, EndpointRole};
use portcullis_net::clock;
use portcullis_proxy::{ControlContext, LocalFuture};

use super::connection::ServerConnection;
use super::open::{self, Credentials};
use super::pools::OpenOptions;
use super::server::Common;
use crate::auth::Secret;
use crate::config::{PostgresConfig, ReadYourWrites, Role};
use crate::message::backend::DataRow;
use crate::roles::{Answer, QUESTION, SHORT_QUESTION, Servers, Standing};

/// How long after an answer a server is asked again: with the answers' own time a failover is seen within a second.
const EVERY: Duration = Duration::from_millis(250);

/// How long a server may take to answer, a new connection included.
const PATIENCE: Duration = Duration::from_secs(1);

/// Follows the clusters that a listener names with particular roles. `None` if there is nobody to ask as.
pub(super) fn task(config: &PostgresConfig, cx: &ControlContext) -> Option<LocalFuture> {
    let mut names: Vec<&str> = Vec::new();
    for route in &config.routes {
        let particular = route.role != Role::Any && !names.contains(&&*route.cluster);
        if particular {
            names.push(&route.cluster);
        }
    }
    let common = cx.common(Common::default);
    let Some((user, password)) = config.asks_as() else {
        // What an earlier configuration wanted to find out will not be.
        for name in names {
            common.finds_roles(name).store(false, Ordering::Relaxed);
        }
        return None;
    };
    let secret = password.and_then(|password| Secret::parse(password.expose().as_bytes()).ok());
    let discovery = Rc::new(Discovery {
        credentials: Credentials {
            user,
            secret: secret.map(Arc::new),
            keys: None,
        },
        options: OpenOptions::of(config),
        common,
        measures: config.max_lag.is_some() || config.read_your_writes == ReadYourWrites::Lsn,
    });
    let groups = names.into_iter().filter_map(|name| {
        let cluster = cx.cluster(name)?;
        let finds = discovery.common.finds_roles(name);
        // Until the first answers are there nobody is taken for a primary; without any, roles are what is written.
        finds.store(true, Ordering::Relaxed);
        Some(Group {
            cluster: Arc::clone(cluster),
            discovery: Rc::clone(&discovery),
            servers: RefCell::default(),
            finds,
        })
    });
    let mut all: Vec<LocalFuture> = groups
        .map(|group| {
            Box::pin(async move {
                let _: Infallible = follow(Rc::new(group)).await;
            }) as LocalFuture
        })
        .collect();
    Some(Box::pin(poll_fn(move |task| {
        // None of them ends.
        all.retain_mut(|group| group.as_mut().poll(task).is_pending());
        std::task::Poll::Pending
    })))
}

/// With what servers are asked, and who is told of changes.
struct Discovery {
    credentials: Credentials,
    options: OpenOptions,
    common: Arc<Common>,
    /// Roles that are all given are not enough: it is also asked for positions.
    measures: bool,
}

/// The servers of one cluster.
struct Group {
    cluster: Arc<ClusterShared>,
    discovery: Rc<Discovery>,
    servers: RefCell<Servers<EndpointId>>,
    finds: Arc<AtomicBool>,
}

/// One server being asked again and again.
type Watch = (EndpointId, LocalFuture);

/// Asks the servers that a cluster has at the time.
async fn follow(group: Rc<Group>) -> Infallible {
    let mut watches: Vec<Watch> = Vec::new();
    loop {
        group.adopt(&mut watches);
        let mut tick = pin!(portcullis_net::sleep(EVERY));
        poll_fn(|task| {
            watches.retain_mut(|(_, watch)| watch.as_mut().poll(task).is_pending());
            tick.as_mut().poll(task)
        })
        .await;
    }
}

/// Asks one server until it leaves the cluster.
async fn watch(group: Rc<Group>, id: EndpointId) {
    let mut connection = None;
    while let Some(endpoint) = group.endpoint(id) {
        let asked = clock::now();
        let answer = super::within(PATIENCE, Box::pin(group.ask(&endpoint, &mut connection))).await;
        let answer = answer.flatten();
        if answer.is_none() {
            // It may be in the middle of a message.
            connection = None;
        }
        group.servers.borrow_mut().on_answer(id, asked, answer);
        group.publish();
        portcullis_net::sleep(EVERY).await;
    }
}

/// A connection for questions.
struct Asking {
    connection: ServerConnection,
    /// How many times in a row the server has not understood the long one.
    misunderstood: u8,
}

/// After so many it is not asked that any more. One that is just being promoted may not understand it once.
const MISUNDERSTOOD: u8 = 3;

impl Asking {
    /// The answer, if it is one; an error is the server's. `None`: the connection is lost.
    async fn ask(&mut self, question: &[u8]) -> Option<Result<Option<Answer>, Bytes>> {
        let mut answer = None;
        let asked = self.connection.query(question, |body| {
            let row = DataRow::parse(body).ok();
            answer = row.and_then(|row| Answer::read(row.values.iter()));
        });
        Some(asked.await.ok()?.map(|()| answer))
    }
}

impl Group {
    /// Watches those who have come, and no longer those who have left.
    fn adopt(self: &Rc<Self>, watches: &mut Vec<Watch>) {
        let set = self.cluster.set();
        let endpoints = set.endpoints();
        let all_given = endpoints
            .iter()
            .all(|endpoint| endpoint.given_role().is_some());
        // One server needs no role, and a configuration that gives them all needs no questions.
        let asks = endpoints.len() > 1 && (!all_given || self.discovery.measures);
        let ids: Vec<EndpointId> = endpoints
            .iter()
            .filter(|_| asks)
            .map(|endpoint| endpoint.id())
            .collect();
        if !asks {
            self.finds.store(false, Ordering::Relaxed);
        }
        self.servers.borrow_mut().retain(&ids);
        watches.retain(|(id, _)| ids.contains(id));
        for id in ids {
            if !watches.iter().any(|(known, _)| *known == id) {
                watches.push((id, Box::pin(watch(Rc::clone(self), id))));
            }
        }
    }

    fn endpoint(&self, id: EndpointId) -> Option<Arc<Endpoint>> {
        let set = self.cluster.set();
        let mut endpoints = set.endpoints().iter();
        endpoints.find(|endpoint| endpoint.id() == id).cloned()
    }

    async fn ask(&self, endpoint: &Arc<Endpoint>, kept: &mut Option<Asking>) -> Option<Answer> {
        let asking = match kept {
            Some(asking) => asking,
            None => kept.insert(Asking {
                connection: self.open(endpoint).await?,
                misunderstood: 0,
            }),
        };
        if asking.misunderstood < MISUNDERSTOOD {
            if let Ok(answer) = asking.ask(QUESTION).await? {
                asking.misunderstood = 0;
                return answer;
            }
            asking.misunderstood += 1;
        }
        asking.ask(SHORT_QUESTION).await?.ok().flatten()
    }

    async fn open(&self, endpoint: &Arc<Endpoint>) -> Option<ServerConnection> {
        let opened = open::open(open::Request {
            cluster: &self.cluster,
            endpoint,
            database: "postgres",
            credentials: &self.discovery.credentials,
            options: self.discovery.options,
            parameters: &[],
            worker: 0,
        });
        opened.await.ok()
    }

    /// Lays down at the endpoints what is known of them.
    fn publish(&self) {
        let servers = self.servers.borrow();
        let all = servers.all();
        let has_primary = all
            .iter()
            .any(|server| server.standing == Standing::Primary);
        let mut is_known = false;
        for server in all {
            let Some(endpoint) = self.endpoint(server.key) else {
                continue;
            };
            let replication = endpoint.state().replication();
            let was = (replication.role(), replication.is_fenced());
            if let Some((asked, answer)) = server.heard {
                let timeline = answer.timeline.map(|timeline| u64::from(timeline.number));
                replication.set_timeline(timeline);
                replication.set_position(answer.position, self.cluster.epoch().nanos(asked));
                replication.set_lag_bytes(server.lag_bytes);
                replication.set_lag(server.lag);
            }
            let role = match server.standing {
                Standing::Primary => Some(EndpointRole::Primary),
                Standing::Replica => Some(EndpointRole::Replica),
                Standing::Fenced => None,
                // Who was never heard keeps its role until another has it.
                Standing::Unknown if server.heard.is_some() || has_primary => {
                    was.0.filter(|role| *role != EndpointRole::Primary)
                }
                Standing::Unknown => was.0,
            };
            let fenced = server.standing == Standing::Fenced;
            is_known |= role.is_some();
            replication.set_fenced(fenced);
            replication.set_role(role);
            if was != (role, fenced) {
                self.discovery
                    .on_change(&self.cluster, &endpoint, was, server.standing);
            }
        }
        self.finds
            .store(is_known || !servers.is_mute(), Ordering::Relaxed);
    }
}

impl Discovery {
    /// What is held of a server has changed. Who had it as the primary must not go on, and who has it from before is not given
    /// it again.
    fn on_change(
        &self,
        cluster: &ClusterShared,
        endpoint: &Endpoint,
        was: (Option<EndpointRole>, bool),
        standing: Standing,
    ) {
        let (cluster, role) = (cluster.name(), standing.label());
        if standing == Standing::Fenced {
            tracing::warn!(
                cluster = &**cluster,
                endpoint = &**endpoint.label(),
                "the server has another history than the primary and is not used"
            );
        } else {
            tracing::info!(
                cluster = &**cluster,
                endpoint = &**endpoint.label(),
                role,
                "role found"
            );
        }
        let demoted = was.0 == Some(EndpointRole::Primary) || standing == Standing::Fenced;
        for pool in self.common.pools.all() {
            if pool.endpoint().id() != endpoint.id() || pool.key().cluster != *cluster {
                continue;
            }
            if demoted {
                pool.demote();
            } else {
                super::pools::close(pool.pool().reconnect(clock::now()));
            }
            pool.forget_welcomes();
        }
        if demoted {
            self.common.cancel.wake_attached();
        }
    }
}
