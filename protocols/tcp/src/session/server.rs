//! The life of one connection: a route, filters, an endpoint, the relay, the ledger.
//!
//! Start at [`TcpServer`].

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_config::{BuildError, Node};
use portcullis_filter::{Context, FilterChain, Random, Stop};
use portcullis_net::{Downstream, DrainSignal, clock};
use portcullis_proxy::{ListenerContext, Protocol, ReadContext, Server};
use serde_json::Value;

use super::connect::connect;
use super::ledger::Ledger;
use super::opening::Routes;
use super::relay::{Connections, Session};
use super::stats::TcpStats;
use crate::config::TcpConfig;
use crate::machine::{End, Relay};
use crate::message::{TcpConnection, TcpMessages};

/// The protocol `tcp`.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

impl Protocol for Tcp {
    const NAME: &'static str = "tcp";
    type Config = TcpConfig;
    type Server = TcpServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<TcpConfig> {
        TcpConfig::read(raw, cx)
    }

    fn schema() -> Value {
        TcpConfig::schema()
    }

    fn build(config: &TcpConfig, cx: &ListenerContext) -> Result<TcpServer, BuildError> {
        let path = format!("{}.filters", cx.path());
        Ok(TcpServer {
            listener: Arc::clone(&cx.listener),
            routes: Routes::new(config, cx)?,
            chain: config.filters.build(&cx.filters(&path))?,
            stats: TcpStats::new(&cx.stats),
            config: config.clone(),
            drain: cx.drain.clone(),
            random: Rc::clone(&cx.worker.random),
        })
    }
}

/// TCP, configured for one listener on one worker.
pub struct TcpServer {
    pub(super) listener: Arc<str>,
    pub(super) routes: Routes,
    pub(super) chain: FilterChain<TcpMessages>,
    pub(super) stats: TcpStats,
    pub(super) config: TcpConfig,
    pub(super) drain: DrainSignal,
    pub(super) random: Rc<Random>,
}

impl Server for TcpServer {
    // What a connection needs only until it is relayed is in a box that goes away then, so that it is small while
    // it lasts. An `async fn` would keep its arguments beside that for ever.
    fn serve(self: Rc<Self>, downstream: Downstream) -> impl Future<Output = ()> + 'static {
        let preparing = Box::pin(prepare(self, downstream));
        async move {
            if let Some(session) = preparing.await {
                session.await;
            }
        }
    }
}

/// Finds a route, asks the filters and connects an endpoint. TCP has no words for a refusal: there is no session, and
/// the connection is closed.
async fn prepare(
    server: Rc<TcpServer>,
    mut downstream: Downstream,
) -> Option<Pin<Box<dyn Future<Output = End>>>> {
    let mut ledger = Ledger::open(Rc::clone(&server), &downstream);
    let connection = Rc::clone(&ledger.cx.connection);
    let found = match server.routes.find(&mut downstream, &connection).await {
        Ok(found) => found,
        Err(reason) => {
            ledger.record.reason = reason;
            return None;
        }
    };
    ledger.cx.now = clock::now();
    ledger.cx.route.clone_from(&found.route.name);
    ledger.record.server_name.clone_from(&found.server_name);
    let mut request = TcpConnection {
        server_name: found.server_name,
    };
    let asked = server
        .chain
        .on_request(&mut request, &mut ledger.cx, &RuntimeTimer);
    if let Err(stop) = asked.await {
        ledger.record.reason = reason(&stop);
        return None;
    }
    let clusters = &found.route.clusters;
    let upstream = match connect(&server, clusters, &mut ledger.record, &ledger.cx).await {
        Ok(upstream) => upstream,
        Err(reason) => {
            ledger.record.reason = reason;
            return None;
        }
    };
    let machine = server.relay(ledger.record.started);
    let connections = Connections {
        downstream: downstream.stream,
        prefix: downstream.prefix,
        upstream: upstream.stream,
        held: (downstream.guard, upstream.picked, upstream.permit),
    };
    Some(Box::pin(Session::new(ledger, machine, connections)))
}

/// The `reason` label of a refusal.
pub(super) const fn reason(stop: &Stop<TcpMessages>) -> &'static str {
    match stop {
        Stop::Reject(rejection) => rejection.reason,
        Stop::Close(reason) => reason,
        Stop::Reply(_) => "refused",
    }
}

/// Lets filters wait.
struct RuntimeTimer;

impl portcullis_filter::Timer for RuntimeTimer {
    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(portcullis_net::sleep_until(at))
    }
}

impl TcpServer {
    /// A relay with the listener's deadlines, for a connection accepted at `started`.
    fn relay(&self, started: Instant) -> Relay {
        let idle = self.config.idle_timeout.get().unwrap_or(Duration::MAX);
        let longest = self.config.max_duration.get();
        let expires_at = longest.and_then(|longest| started.checked_add(longest));
        Relay::new(clock::now(), idle, expires_at)
    }

    /// What filters know of a connection.
    pub(super) fn context(&self, downstream: &Downstream) -> Context {
        Context::new(Rc::new(downstream.facts(&self.listener)), clock::now())
    }
}
