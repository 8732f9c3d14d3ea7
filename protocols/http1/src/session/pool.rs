//! The connections of one worker to one cluster: idle ones wait here, new ones are made here.
//!
//! It balances nothing: the exchange names the endpoint. Start at [`pool_of`].

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_cluster::{Cluster, ConnectionPermit, Endpoint, EndpointId, IdlePool, IdleShare};
use portcullis_filter::Connection as ClientConnection;
use portcullis_http::stream::{BoxedUpstream, ConnectFailure, Connecting, UpstreamPool};
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{ConnectError, Idle, Stream, clock, connect};

use super::connection::Connection;
use super::upstream::Upstream;
use crate::decoder::ResponseDecoder;
use crate::limits::HeadLimits;

/// How often connections that waited too long are closed.
const SWEEP: Duration = Duration::from_secs(1);

/// The connections of one worker to one cluster.
pub(crate) struct Pool {
    me: Weak<Self>,
    cluster: Rc<Cluster>,
    idle: RefCell<IdlePool<EndpointId, Box<Upstream>>>,
    /// What other workers know of it.
    share: Arc<IdleShare>,
}

/// The pool of a cluster on this worker: one, however many listeners use the cluster.
#[must_use]
pub fn pool_of(cluster: &Rc<Cluster>) -> Rc<dyn UpstreamPool> {
    shared(cluster)
}

/// Makes an upstream connection of a stream on which the endpoint has agreed to HTTP/1, or says nothing. `permit` is its place
/// within the cluster's limit.
#[must_use]
pub fn adopt(
    cluster: &Rc<Cluster>,
    stream: Stream,
    endpoint: &Endpoint,
    permit: ConnectionPermit,
) -> BoxedUpstream {
    shared(cluster).adopt(stream, endpoint, permit)
}

fn shared(cluster: &Rc<Cluster>) -> Rc<Pool> {
    let shared = cluster.extension::<PoolSlot>(PoolSlot::default);
    let mut slot = shared.0.borrow_mut();
    if let Some(pool) = slot.upgrade() {
        return pool;
    }
    let pool = Pool::new(Rc::clone(cluster));
    *slot = Rc::downgrade(&pool);
    pool
}

/// Where a cluster keeps its pool. Weak, since the pool holds the cluster.
#[derive(Default)]
struct PoolSlot(RefCell<Weak<Pool>>);

impl Pool {
    fn new(cluster: Rc<Cluster>) -> Rc<Self> {
        let settings = cluster.config().pool;
        let pool = Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            idle: RefCell::new(IdlePool::new(&settings)),
            share: cluster.share_idle(),
            cluster,
        });
        portcullis_net::spawn_local(sweep(Rc::downgrade(&pool)));
        pool
    }

    fn adopt(
        &self,
        stream: Stream,
        endpoint: &Endpoint,
        permit: ConnectionPermit,
    ) -> BoxedUpstream {
        Box::new(Upstream::new(
            Connection::new(stream, bytes::BytesMut::new()),
            Weak::clone(&self.me),
            endpoint.id(),
            permit,
            ResponseDecoder::new(HeadLimits::default()),
        ))
    }

    /// Keeps a connection for another request, if there is room.
    pub(crate) fn put(&self, mut upstream: Box<Upstream>) {
        let is_worn = |limit: NonZeroU64| upstream.requests >= limit.get();
        let is_done = self.cluster.with_config(|config| {
            config.proxy_protocol.is_some() || config.pool.max_requests.is_some_and(is_worn)
        });
        if is_done || !self.is_known(&mut upstream) || self.share.owes() {
            return;
        }
        let endpoint = upstream.endpoint;
        let mut idle = self.idle.borrow_mut();
        // A pool that is full hands the connection back; dropping closes it.
        drop(idle.put(endpoint, upstream, clock::now()));
        self.share.set(idle.len());
    }

    /// Closes the connection that has been idle for longest. Whether there was one.
    fn give_up(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let oldest = idle.pop_oldest();
        self.share.set(idle.len());
        oldest.is_some()
    }

    /// Whether its endpoint belongs to the cluster. They are looked through only after some came or left.
    fn is_known(&self, upstream: &mut Upstream) -> bool {
        let version = self.cluster.set_version();
        if upstream.known_in == Some(version) {
            return true;
        }
        let known = self.cluster.has_endpoint(upstream.endpoint);
        upstream.known_in = known.then_some(version);
        known
    }

    /// Whether each connection begins with a PROXY header: it was opened in the name of one client, and a request of
    /// another one on it would be taken for the first one's.
    fn speaks_for_one_client(&self) -> bool {
        self.cluster
            .with_config(|config| config.proxy_protocol.is_some())
    }

    fn expire(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        drop(idle.expire(now).collect::<Vec<_>>());
        idle.retain(|endpoint| self.cluster.has_endpoint(*endpoint));
        while !idle.is_empty() && self.share.owes() {
            drop(idle.pop_oldest());
        }
        self.share.set(idle.len());
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        portcullis_net::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.expire(clock::now());
    }
}

/// Whether an idle connection still waits for a request. Data or an end that arrived while it was idle rule
/// that out. Where the runtime has heard nothing, the kernel is asked only if `careful`.
fn is_waiting(upstream: &mut Upstream, careful: bool) -> bool {
    let stream = &mut upstream.connection.stream;
    if careful {
        stream.is_alive()
    } else {
        stream.idle_state() == Idle::Quiet
    }
}

impl UpstreamPool for Pool {
    fn take(&self, endpoint: &Endpoint, careful: bool, now: Instant) -> Option<BoxedUpstream> {
        // A reload may have switched it on over connections that have no header.
        if self.speaks_for_one_client() {
            return None;
        }
        loop {
            let mut upstream = {
                let mut idle = self.idle.borrow_mut();
                let taken = idle.take(&endpoint.id(), now)?;
                self.share.set(idle.len());
                taken
            };
            if is_waiting(&mut upstream, careful) {
                return Some(upstream);
            }
        }
    }

    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        client: &'a ClientConnection,
    ) -> Connecting<'a> {
        Box::pin(async move {
            let permit = self
                .cluster
                .try_connection_before_idle(|| self.give_up())
                .map_err(|_| ConnectFailure::Limited)?;
            let offer = AlpnOffer::Http1;
            let stream = connect::to_endpoint(&self.cluster, endpoint, offer, Some(client))
                .await
                .map_err(failure)?;
            Ok(self.adopt(stream, endpoint, permit))
        })
    }
}

const fn failure(error: ConnectError) -> ConnectFailure {
    match error {
        ConnectError::Refused => ConnectFailure::Refused,
        ConnectError::TimedOut => ConnectFailure::TimedOut,
        error if error.is_tls() => ConnectFailure::Tls(error.label()),
        error if error.is_local() => ConnectFailure::Exhausted,
        _ => ConnectFailure::Unreachable,
    }
}
