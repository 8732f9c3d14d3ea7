//! Which pool a request to an endpoint goes to: HTTP/1's or HTTP/2's.
//!
//! The pools belong to their versions; here the cluster's configuration chooses. It is asked for each request, so that a
//! reload of the cluster alone is enough to change it. Start at [`pool_of`].

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

use portcullis_cluster::{Cluster, Endpoint, UpstreamVersion};
use portcullis_filter::Connection;
use portcullis_http::stream::{BoxedUpstream, Connecting, UpstreamPool};
use portcullis_stats::Shard;

/// The pool of a cluster on this worker. `shard` makes its counters.
pub(crate) fn pool_of(cluster: &Rc<Cluster>, shard: &Shard) -> Rc<dyn UpstreamPool> {
    Rc::new(Upstreams {
        cluster: Rc::clone(cluster),
        shard: shard.clone(),
        http1: OnceCell::new(),
        http2: OnceCell::new(),
    })
}

/// The pools of one cluster, each made when it is first needed.
struct Upstreams {
    cluster: Rc<Cluster>,
    shard: Shard,
    http1: OnceCell<Rc<dyn UpstreamPool>>,
    http2: OnceCell<Rc<portcullis_http2::session::Pool>>,
}

impl Upstreams {
    fn http1(&self) -> &dyn UpstreamPool {
        &**self
            .http1
            .get_or_init(|| portcullis_http1::session::pool_of(&self.cluster))
    }

    fn http2(&self) -> &portcullis_http2::session::Pool {
        self.http2
            .get_or_init(|| portcullis_http2::session::pool_of(&self.cluster, &self.shard))
    }
}

impl UpstreamPool for Upstreams {
    fn take(&self, endpoint: &Endpoint, careful: bool, now: Instant) -> Option<BoxedUpstream> {
        match self.cluster.config().http_version() {
            UpstreamVersion::Http1 | UpstreamVersion::Auto => {
                self.http1().take(endpoint, careful, now)
            }
            UpstreamVersion::Http2 => self.http2().take(endpoint, careful, now),
        }
    }

    fn connect<'a>(&'a self, endpoint: &'a Endpoint, client: &'a Connection) -> Connecting<'a> {
        match self.cluster.config().http_version() {
            UpstreamVersion::Http1 | UpstreamVersion::Auto => {
                self.http1().connect(endpoint, client)
            }
            UpstreamVersion::Http2 => self.http2().connect(endpoint, client),
        }
    }
}
