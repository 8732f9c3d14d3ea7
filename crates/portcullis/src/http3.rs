//! HTTP/3 as the rest of this crate sees it: a side of `http` listeners, and a pool of clusters.
//!
//! Connections, streams and frames are `portcullis-http3`'s; here is only what a build without the feature `http3` has to have
//! something else for, which is `http3_absent.rs`. Start at [`Side`] and [`pool_of`].

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, StatusCode};
use portcullis_cluster::{Cluster, ClusterShared, Endpoint};
use portcullis_http::service::{Alternative, Handle, ServiceHandle};
use portcullis_http::stream::UpstreamPool;
use portcullis_http3::session::{downstream, upstream};
use portcullis_net::Datagrams;
use portcullis_proxy::ListenerContext;
use portcullis_stats::{Counter, Shard};

pub(crate) use portcullis_http3::Http3Config;
pub(crate) use upstream::CheckFailed;

/// What a listener's other versions tell clients about this one.
pub(crate) fn alternative(config: &Http3Config) -> Alternative {
    Alternative::new(config.alt_svc.get())
}

/// A listener's HTTP/3 on one worker.
#[derive(Clone)]
pub(crate) struct Side(Rc<downstream::Session>);

impl Side {
    pub(crate) fn new(
        config: &Http3Config,
        service: ServiceHandle,
        connections: Counter,
        cx: &ListenerContext,
    ) -> Self {
        Self(Rc::new(downstream::Session {
            listener: Arc::clone(&cx.listener),
            worker: cx.worker.id,
            service,
            config: Handle::new(config.clone()),
            stats: downstream::Http3Stats::new(&cx.stats),
            connections,
            common: cx.common(downstream::Common::default),
        }))
    }

    pub(crate) async fn serve_datagrams(self, datagrams: Datagrams) {
        downstream::serve_datagrams(self.0, datagrams).await;
    }

    /// Connections that stay open go on with what the successor has.
    pub(crate) fn replace(&self, successor: &Self) {
        self.0.service.replace(&successor.0.service);
        self.0.config.replace(&successor.0.config);
    }
}

/// The pool of a cluster on this worker. `shard` makes its counters.
pub(crate) fn pool_of(cluster: &Rc<Cluster>, shard: &Shard) -> Rc<dyn UpstreamPool> {
    upstream::pool_of(cluster, shard)
}

/// The status that an endpoint answers with, over a connection of its own.
pub(crate) async fn check(
    cluster: &Arc<ClusterShared>,
    endpoint: &Endpoint,
    request: Request<()>,
) -> Result<StatusCode, CheckFailed> {
    upstream::check(cluster, endpoint, request).await
}
