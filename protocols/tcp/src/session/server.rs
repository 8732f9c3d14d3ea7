//! The life of one connection: filters, an endpoint, the relay, the ledger.
//!
//! Start at [`TcpServer`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_cluster::Cluster;
use portcullis_config::{BuildError, Node};
use portcullis_filter::{Context, FilterChain, Random, Stop};
use portcullis_net::{Downstream, DrainSignal, clock};
use portcullis_proxy::{ListenerContext, Protocol, ReadContext, Server};
use serde_json::Value;

use super::connect::connect;
use super::relay::relay;
use super::stats::TcpStats;
use crate::config::{Settings, TcpConfig};
use crate::message::{Record, TcpConnection, TcpMessages};

/// The protocol `tcp`.
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
            cluster: cx.cluster(&config.settings.cluster)?,
            chain: config.filters.build(&cx.filters(&path))?,
            stats: TcpStats::new(&cx.stats),
            settings: config.settings.clone(),
            drain: cx.drain.clone(),
            timer: portcullis_proxy::session_timer(),
            random: Rc::clone(&cx.worker.random),
        })
    }
}

/// TCP, configured for one listener on one worker.
pub struct TcpServer {
    listener: Arc<str>,
    pub(super) cluster: Rc<Cluster>,
    pub(super) chain: FilterChain<TcpMessages>,
    pub(super) stats: TcpStats,
    pub(super) settings: Settings,
    pub(super) drain: DrainSignal,
    pub(super) timer: Rc<dyn portcullis_filter::Timer>,
    pub(super) random: Rc<Random>,
}

impl Server for TcpServer {
    async fn serve(self: Rc<Self>, downstream: Downstream) {
        self.stats.on_start();
        let facts = Rc::new(downstream.facts(&self.listener));
        let mut record = Record {
            started_at: clock::wall(),
            started: downstream.accepted_at,
            duration: Duration::ZERO,
            bytes_up: 0,
            bytes_down: 0,
            cluster: None,
            endpoint: None,
            attempts: 0,
            reason: "closed",
        };
        let mut cx = Context::new(facts, clock::now());
        record.reason = match self.proxy(downstream, &mut record, &mut cx).await {
            Ok(reason) | Err(reason) => reason,
        };
        cx.now = clock::now();
        record.duration = cx.now.saturating_duration_since(record.started);
        self.stats.on_end(&record);
        self.chain.on_complete(&record, &cx);
    }
}

impl TcpServer {
    /// The answer, good or bad, is the `reason` label of the end.
    async fn proxy(
        &self,
        downstream: Downstream,
        record: &mut Record,
        cx: &mut Context,
    ) -> Result<&'static str, &'static str> {
        let asked = self
            .chain
            .on_request(&mut TcpConnection, cx, &*self.timer)
            .await;
        // TCP has no words for a refusal: the connection is closed.
        asked.map_err(|stop| match stop {
            Stop::Reject(rejection) => rejection.reason,
            Stop::Close(reason) => reason,
            Stop::Reply(()) => "refused",
        })?;
        record.cluster = Some(Arc::from(self.cluster.name()));
        let upstream = connect(self, record, cx).await?;
        let ended = relay(self, downstream, upstream, record, cx).await;
        Ok(ended.label())
    }
}
