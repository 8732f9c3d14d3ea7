//! Which pool a request to an endpoint goes to: HTTP/1's, HTTP/2's or HTTP/3's.
//!
//! The pools belong to their versions; here the cluster's configuration chooses, or the endpoint itself by ALPN. The
//! configuration is asked for each request, so that a reload of the cluster alone is enough to change it. Start at [`pool_of`].

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use portcullis_cluster::{Cluster, ClusterConfig, Endpoint, EndpointId, UpstreamVersion};
use portcullis_filter::Connection;
use portcullis_http::stream::{BoxedUpstream, ConnectFailure, Connecting, UpstreamPool};
use portcullis_http1::session as http1;
use portcullis_http2::session as http2;
use portcullis_stats::Shard;
use tokio::sync::Mutex;

use crate::http3;

/// The pool of a cluster on this worker: one, however many listeners use the cluster. `shard` makes its counters.
pub(crate) fn pool_of(cluster: &Rc<Cluster>, shard: &Shard) -> Rc<dyn UpstreamPool> {
    Rc::new(Upstreams {
        cluster: Rc::clone(cluster),
        shard: shard.clone(),
        http1: OnceCell::new(),
        http2: OnceCell::new(),
        http3: OnceCell::new(),
        choices: cluster.extension::<Choices>(Choices::default),
    })
}

/// What endpoints chose by ALPN.
#[derive(Default)]
struct Choices(RefCell<BTreeMap<EndpointId, Rc<Choice>>>);

/// What one endpoint chose, once it has; locked while it is asked, so that it is asked once.
#[derive(Default)]
struct Choice {
    version: Cell<Option<Version>>,
    asking: Mutex<()>,
    /// How often asking has failed, and how the last time: those who waited for it have failed as well.
    failures: Cell<(u64, Option<ConnectFailure>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
    Http3,
}

/// The pools of one cluster, each made when it is first needed.
struct Upstreams {
    cluster: Rc<Cluster>,
    shard: Shard,
    http1: OnceCell<Rc<dyn UpstreamPool>>,
    http2: OnceCell<Rc<http2::Pool>>,
    http3: OnceCell<Rc<dyn UpstreamPool>>,
    choices: Rc<Choices>,
}

impl Upstreams {
    fn http1(&self) -> &dyn UpstreamPool {
        &**self.http1.get_or_init(|| http1::pool_of(&self.cluster))
    }

    fn http2(&self) -> &http2::Pool {
        self.http2
            .get_or_init(|| http2::pool_of(&self.cluster, &self.shard))
    }

    fn http3(&self) -> &dyn UpstreamPool {
        &**self
            .http3
            .get_or_init(|| http3::pool_of(&self.cluster, &self.shard))
    }

    /// The version that an endpoint is spoken to in; `None` as long as it has not chosen.
    fn version(&self, endpoint: EndpointId) -> Option<Version> {
        match self.cluster.with_config(ClusterConfig::http_version) {
            UpstreamVersion::Http1 => Some(Version::Http1),
            UpstreamVersion::Http2 => Some(Version::Http2),
            UpstreamVersion::Http3 => Some(Version::Http3),
            UpstreamVersion::Auto => self.choices.0.borrow().get(&endpoint)?.version.get(),
        }
    }

    /// A stream on a new connection, in the version that the endpoint chooses now or has chosen.
    async fn choose(
        &self,
        endpoint: &Endpoint,
        client: &Connection,
    ) -> Result<BoxedUpstream, ConnectFailure> {
        let choice = self.choices.of(endpoint.id(), &self.cluster);
        let (before, _) = choice.failures.get();
        let asking = choice.asking.lock().await;
        let (count, failure) = choice.failures.get();
        if let Some(failure) = failure
            && count != before
        {
            return Err(failure);
        }
        if let Some(version) = choice.version.get() {
            drop(asking);
            let connected = self.connect_by(version, endpoint, client).await;
            if matches!(
                connected,
                Err(ConnectFailure::Mismatch | ConnectFailure::Tls(_))
            ) {
                // It may have changed its mind, as when it was replaced: the next request asks again.
                choice.version.set(None);
            }
            return connected;
        }
        let asked = self.ask(endpoint, client).await;
        match asked {
            Ok((version, upstream)) => {
                choice.version.set(Some(version));
                Ok(upstream)
            }
            Err(failure) => {
                choice.failures.set((count + 1, Some(failure)));
                Err(failure)
            }
        }
    }

    /// Offers both versions, and takes the one that the endpoint chooses.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        client: &Connection,
    ) -> Result<(Version, BoxedUpstream), ConnectFailure> {
        let (stream, permit) = self.http2().dial(endpoint, client).await?;
        if stream.alpn() == Some(b"h2") {
            let upstream = self.http2().adopt(stream, endpoint, permit).await?;
            return Ok((Version::Http2, upstream));
        }
        // The pool must be there for the connection to come back to.
        self.http1();
        let upstream = http1::adopt(&self.cluster, stream, endpoint, permit);
        Ok((Version::Http1, upstream))
    }

    fn connect_by<'a>(
        &'a self,
        version: Version,
        endpoint: &'a Endpoint,
        client: &'a Connection,
    ) -> Connecting<'a> {
        match version {
            Version::Http1 => self.http1().connect(endpoint, client),
            Version::Http2 => self.http2().connect(endpoint, client),
            Version::Http3 => self.http3().connect(endpoint, client),
        }
    }
}

impl Choices {
    /// The place of one endpoint. Those that have left the cluster are forgotten by the way.
    fn of(&self, endpoint: EndpointId, cluster: &Cluster) -> Rc<Choice> {
        let mut choices = self.0.borrow_mut();
        if let Some(choice) = choices.get(&endpoint) {
            return Rc::clone(choice);
        }
        choices.retain(|id, _| cluster.has_endpoint(*id));
        Rc::clone(choices.entry(endpoint).or_default())
    }
}

impl UpstreamPool for Upstreams {
    fn take(&self, endpoint: &Endpoint, careful: bool, now: Instant) -> Option<BoxedUpstream> {
        match self.version(endpoint.id())? {
            Version::Http1 => self.http1().take(endpoint, careful, now),
            Version::Http2 => self.http2().take(endpoint, careful, now),
            Version::Http3 => self.http3().take(endpoint, careful, now),
        }
    }

    fn connect<'a>(&'a self, endpoint: &'a Endpoint, client: &'a Connection) -> Connecting<'a> {
        match self.cluster.config().http_version() {
            UpstreamVersion::Http1 => self.connect_by(Version::Http1, endpoint, client),
            UpstreamVersion::Http2 => self.connect_by(Version::Http2, endpoint, client),
            UpstreamVersion::Http3 => self.connect_by(Version::Http3, endpoint, client),
            UpstreamVersion::Auto => Box::pin(self.choose(endpoint, client)),
        }
    }
}
