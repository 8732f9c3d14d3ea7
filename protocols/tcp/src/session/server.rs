//! The life of one connection: filters, an endpoint, the relay, the ledger.
//!
//! Start at [`TcpServer`].

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_cluster::Cluster;
use portcullis_config::{BuildError, Node};
use portcullis_filter::{Context, FilterChain, Random, Stop};
use portcullis_net::{Downstream, DrainSignal, clock};
use portcullis_proxy::{ListenerContext, Protocol, ReadContext, Server};
use portcullis_route::Weighted;
use serde_json::Value;

use super::connect::{Upstream, connect};
use super::ledger::Ledger;
use super::relay::Session;
use super::stats::TcpStats;
use crate::config::TcpConfig;
use crate::machine::Relay;
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
        let share = |(name, weight): &(String, u32)| Ok((cx.cluster(name)?, *weight));
        let shares: Vec<_> = config
            .clusters
            .iter()
            .map(share)
            .collect::<Result<_, _>>()?;
        Ok(TcpServer {
            listener: Arc::clone(&cx.listener),
            clusters: Weighted::new(shares)
                .map_err(|error| BuildError::new(cx.path(), error.to_string()))?,
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
    pub(super) clusters: Weighted<Rc<Cluster>>,
    pub(super) chain: FilterChain<TcpMessages>,
    pub(super) stats: TcpStats,
    pub(super) config: TcpConfig,
    pub(super) drain: DrainSignal,
    pub(super) random: Rc<Random>,
}

impl Server for TcpServer {
    async fn serve(self: Rc<Self>, downstream: Downstream) {
        let mut ledger = Ledger::open(self, &downstream);
        // What is needed only until the relay begins is in a box of its own, so that a connection is small while
        // it lasts.
        let reason = match Box::pin(prepare(&mut ledger)).await {
            Ok(upstream) => relay(&mut ledger, downstream, upstream).await,
            // TCP has no words for a refusal: the connection is closed.
            Err(reason) => reason,
        };
        ledger.record.reason = reason;
    }
}

/// Asks the filters and connects an endpoint. The error is the `reason` label.
async fn prepare(ledger: &mut Ledger) -> Result<Upstream, &'static str> {
    let server = Rc::clone(&ledger.server);
    let mut request = TcpConnection;
    let asked = server
        .chain
        .on_request(&mut request, &mut ledger.cx, &RuntimeTimer);
    asked.await.map_err(|stop| reason(&stop))?;
    connect(&server, &mut ledger.record, &ledger.cx).await
}

async fn relay(ledger: &mut Ledger, downstream: Downstream, upstream: Upstream) -> &'static str {
    let server = Rc::clone(&ledger.server);
    let now = clock::now();
    let idle = server.config.idle_timeout.get();
    let expires_at = |limit| ledger.record.started.checked_add(limit);
    let machine = Relay::new(
        now,
        idle.unwrap_or(std::time::Duration::MAX),
        server.config.max_duration.get().and_then(expires_at),
    );
    let Downstream {
        stream,
        prefix,
        guard,
        ..
    } = downstream;
    let end = Session::new(ledger, machine, stream, prefix, upstream.stream).await;
    drop(guard);
    end.label()
}

/// The `reason` label of a refusal.
pub(super) const fn reason(stop: &Stop<TcpMessages>) -> &'static str {
    match stop {
        Stop::Reject(rejection) => rejection.reason,
        Stop::Close(reason) => reason,
        Stop::Reply(()) => "refused",
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
    /// What filters know of a connection.
    pub(super) fn context(&self, downstream: &Downstream) -> Context {
        Context::new(Rc::new(downstream.facts(&self.listener)), clock::now())
    }
}
