//! How a connection opens: the client's first TLS message is read where rules ask for it, and a rule is found.
//!
//! What was read stays in the prefix and goes to the endpoint as it came. What the message says is
//! `portcullis-tls`'s, which rule fits [`crate::route`]'s. Start at [`Routes::find`].

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_cluster::Cluster;
use portcullis_config::BuildError;
use portcullis_filter::Connection;
use portcullis_net::{Downstream, Stream, Timer, clock};
use portcullis_proxy::ListenerContext;
use portcullis_route::{HostRouteTable, Weighted};
use portcullis_tls::{ClientHello, ClientHelloDecoder, ClientHelloError, ClientHelloLimits};

use crate::config::{RouteConfig, TcpConfig};
use crate::route::{Condition, Opening};

/// Where the connections of a rule go.
pub struct Route {
    /// As filters and logs know it.
    pub name: Option<Arc<str>>,
    /// The clusters, by weight.
    pub clusters: Weighted<Rc<Cluster>>,
}

/// Rules, to be looked up by what a client says.
pub type RouteTable = HostRouteTable<Condition, Route>;

/// Finds the clusters of rules.
///
/// # Errors
/// One of them does not exist.
pub fn build_routes(
    routes: &[RouteConfig],
    cx: &ListenerContext,
) -> Result<RouteTable, BuildError> {
    let rule = |rule: &RouteConfig| {
        let share = |(name, weight): &(String, u32)| Ok((cx.cluster(name)?, *weight));
        let shares: Vec<_> = rule.clusters.iter().map(share).collect::<Result<_, _>>()?;
        let route = Route {
            name: rule.name.clone(),
            clusters: Weighted::new(shares)
                .map_err(|error| BuildError::new(cx.path(), error.to_string()))?,
        };
        Ok((rule.server_names.clone(), rule.condition.clone(), route))
    };
    let rules: Vec<_> = routes.iter().map(rule).collect::<Result<_, _>>()?;
    Ok(HostRouteTable::new(rules))
}

/// The rule for what a client said.
pub fn choose_route<'r>(table: &'r RouteTable, opening: Opening<'_>) -> Option<&'r Route> {
    let host = opening.server_name().unwrap_or_default().as_bytes();
    table.find(host, &opening).map(|(_, route)| route)
}

/// The rules of one listener on one worker.
pub(super) struct Routes {
    table: RouteTable,
    /// Whether any rule asks for what a client says.
    looks: bool,
    timeout: Duration,
}

/// A rule that was found, and the server name that was read for it.
pub(super) struct Found<'r> {
    pub(super) route: &'r Route,
    pub(super) server_name: Option<Arc<str>>,
}

impl Routes {
    pub(super) fn new(config: &TcpConfig, cx: &ListenerContext) -> Result<Self, BuildError> {
        Ok(Self::of(build_routes(&config.routes, cx)?, config))
    }

    pub(super) fn of(table: RouteTable, config: &TcpConfig) -> Self {
        Self {
            looks: config.routes.iter().any(|route| route.condition.asks()),
            table,
            timeout: config.sniff_timeout.get(),
        }
    }

    /// Finds the rule for a connection, after a look at its first bytes if rules ask for it. The error is the `reason`
    /// label.
    pub(super) async fn find(
        &self,
        downstream: &mut Downstream,
        connection: &Connection,
    ) -> Result<Found<'_>, &'static str> {
        if let Some(tls) = &connection.tls {
            return self.choose(Opening::Ended(tls), "no_route");
        }
        if !self.looks {
            return self.choose(Opening::Plain, "no_route");
        }
        let deadline = clock::now() + self.timeout;
        match read_hello(&mut downstream.stream, &mut downstream.prefix, deadline).await? {
            Some(hello) => self.choose(Opening::Hello(&hello), "no_route"),
            None => self.choose(Opening::Plain, ClientHelloError::NotTls.label()),
        }
    }

    /// The rule for what a client said; `reason` if there is none.
    pub(super) fn choose(
        &self,
        opening: Opening<'_>,
        reason: &'static str,
    ) -> Result<Found<'_>, &'static str> {
        let route = choose_route(&self.table, opening).ok_or(reason)?;
        let server_name = match opening {
            Opening::Hello(_) => opening.server_name().map(Arc::from),
            // The connection has it already.
            Opening::Plain | Opening::Ended(_) => None,
        };
        Ok(Found { route, server_name })
    }
}

/// Reads until the ClientHello in front is whole; `None` if it is another protocol. All bytes stay in `prefix`, at most
/// 16 KiB. The error is the `reason` label.
async fn read_hello(
    stream: &mut Stream,
    prefix: &mut BytesMut,
    deadline: Instant,
) -> Result<Option<ClientHello>, &'static str> {
    let limits = ClientHelloLimits::default();
    let mut decoder = ClientHelloDecoder::new(limits);
    let mut timer = Timer::new();
    loop {
        match decoder.look(prefix) {
            Ok(Some(hello)) => return Ok(Some(hello)),
            Ok(None) => {}
            Err(ClientHelloError::NotTls) => return Ok(None),
            Err(error) => return Err(error.label()),
        }
        // The decoder refuses what would be longer, so there is room.
        let room = limits.bytes.saturating_sub(prefix.len());
        let read = poll_fn(|task| {
            if let Poll::Ready(read) = stream.poll_read_at_most(task, prefix, room) {
                return Poll::Ready(Some(read));
            }
            timer.poll_expired(task, Some(deadline)).map(|()| None)
        });
        match read.await {
            Some(Ok(count)) if count > 0 => {}
            Some(_) => return Err("client_hello_closed"),
            None => return Err("client_hello_timeout"),
        }
    }
}
