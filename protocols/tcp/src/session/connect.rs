//! A connection to an endpoint of the cluster, trying others where one cannot be reached.
//!
//! Nothing was sent yet, so trying again is always safe. Start at [`connect`].

use std::sync::Arc;

use portcullis_cluster::{ConnectionPermit, EndpointId, Outcome, PickContext, Picked};
use portcullis_filter::Context;
use portcullis_net::{Stream, clock};
use smallvec::SmallVec;

use super::server::TcpServer;
use crate::message::Record;

/// A connection to an endpoint, and what is kept while it lasts.
pub(super) struct Upstream {
    pub(super) stream: Stream,
    pub(super) picked: Picked,
    _permit: ConnectionPermit,
}

/// Connects to an endpoint. The error is the `reason` label.
pub(super) async fn connect(
    server: &TcpServer,
    record: &mut Record,
    cx: &Context,
) -> Result<Upstream, &'static str> {
    let mut tried: SmallVec<[EndpointId; 4]> = SmallVec::new();
    loop {
        let failure = match try_connect(server, record, cx, &mut tried).await {
            Ok(upstream) => return Ok(upstream),
            Err(failure) => failure,
        };
        if !failure.retry || record.attempts >= *server.settings.connect_attempts {
            return Err(failure.reason);
        }
        server.stats.retries.inc();
    }
}

struct Failure {
    reason: &'static str,
    retry: bool,
}

impl Failure {
    const fn last(reason: &'static str) -> Self {
        Self {
            reason,
            retry: false,
        }
    }
}

async fn try_connect(
    server: &TcpServer,
    record: &mut Record,
    cx: &Context,
    tried: &mut SmallVec<[EndpointId; 4]>,
) -> Result<Upstream, Failure> {
    let cluster = &server.cluster;
    let permit = cluster
        .try_connection()
        .map_err(|_| Failure::last("upstream_connection_limit"))?;
    let _pending = cluster
        .try_pending()
        .map_err(|_| Failure::last("upstream_pending_limit"))?;
    let started = clock::now();
    let picked = cluster
        .pick(&PickContext {
            now: started,
            random: server.random.next(),
            hash: None,
            tried,
        })
        .map_err(|error| Failure::last(error.label()))?;
    tried.push(picked.id());
    record.attempts += 1;
    record.endpoint = Some(Arc::clone(picked.label()));
    let connected = portcullis_net::connect::to_endpoint(
        picked.endpoint().endpoint(),
        &cluster.config(),
        cx.connection.client,
        cx.connection.local,
    )
    .await;
    let now = clock::now();
    let elapsed = now.saturating_duration_since(started);
    match connected {
        Ok(stream) => {
            cluster.on_done(&picked, Outcome::Success, elapsed, now);
            Ok(Upstream {
                stream,
                picked,
                _permit: permit,
            })
        }
        Err(error) => {
            cluster.on_done(&picked, Outcome::Failure(error.label()), elapsed, now);
            Err(Failure {
                reason: "upstream_connect",
                retry: true,
            })
        }
    }
}
