//! A connection to an endpoint of a cluster, trying others where one cannot be reached.
//!
//! Nothing was sent yet, so trying again is always safe. Start at [`connect`].

use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{Cluster, ConnectionPermit, EndpointId, Outcome, PickContext, Picked};
use portcullis_filter::Context;
use portcullis_net::connect::to_endpoint;
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{Stream, clock};
use portcullis_route::Weighted;
use smallvec::SmallVec;

use super::server::TcpServer;
use crate::message::Record;

/// A connection to an endpoint, and what is kept while it lasts: it counts as a request in flight there.
pub(super) struct Upstream {
    pub(super) stream: Stream,
    pub(super) picked: Picked,
    pub(super) permit: ConnectionPermit,
}

/// Connects to an endpoint of one of `clusters`. The error is the `reason` label.
pub(super) async fn connect(
    server: &TcpServer,
    clusters: &Weighted<Rc<Cluster>>,
    record: &mut Record,
    cx: &Context,
) -> Result<Upstream, &'static str> {
    let cluster = clusters.pick(server.random.next());
    record.cluster = Some(Arc::from(cluster.name()));
    let permit = cluster
        .try_connection()
        .map_err(|_| "upstream_connection_limit")?;
    let _pending = cluster
        .try_pending()
        .map_err(|_| "upstream_pending_limit")?;
    let mut tried: SmallVec<[EndpointId; 4]> = SmallVec::new();
    loop {
        let attempt = pick(server, cluster, &tried);
        let picked = match attempt {
            Ok(picked) => picked,
            // That there is nothing else to try is not why the first failed.
            Err(_) if !tried.is_empty() => return Err("upstream_connect"),
            Err(reason) => return Err(reason),
        };
        tried.push(picked.id());
        record.attempts += 1;
        record.endpoint = Some(Arc::clone(picked.label()));
        match reach(cluster, &picked, cx).await {
            Ok(stream) => {
                record.established = true;
                return Ok(Upstream {
                    stream,
                    picked,
                    permit,
                });
            }
            Err(reason) if record.attempts >= server.config.connect.attempts.get() => {
                return Err(reason);
            }
            Err("upstream_connect") => server.stats.on_retry(),
            Err(reason) => return Err(reason),
        }
    }
}

fn pick(
    server: &TcpServer,
    cluster: &Cluster,
    tried: &[EndpointId],
) -> Result<Picked, &'static str> {
    let cx = PickContext {
        now: clock::now(),
        random: server.random.next(),
        hash: None,
        tried,
        accept: None,
    };
    cluster
        .pick(&cx)
        .map_err(portcullis_cluster::PickError::label)
}

async fn reach(cluster: &Cluster, picked: &Picked, cx: &Context) -> Result<Stream, &'static str> {
    let started = clock::now();
    let client = Some(&*cx.connection);
    // TLS is not told what goes through it, unless the cluster says so.
    let connected = to_endpoint(cluster, picked, AlpnOffer::None, client).await;
    let now = clock::now();
    let outcome = match &connected {
        Ok(_) => Outcome::Success,
        Err(error) if error.is_local() => Outcome::Neutral,
        Err(error) => Outcome::Failure(error.label()),
    };
    cluster.on_done(picked, outcome, now.saturating_duration_since(started), now);
    connected.map_err(|error| {
        if error.is_local() {
            error.label()
        } else {
            "upstream_connect"
        }
    })
}
