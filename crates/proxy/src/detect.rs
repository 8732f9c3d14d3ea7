//! A listener that finds out which protocol a client speaks: the first whose look at the first bytes says so.
//!
//! Not a protocol itself: it reads a list of them and hands each connection to one, with all bytes still in front of
//! it. An entry that cannot be recognised may stand last and takes what nobody else did, also clients that say
//! nothing at first. Start at [`read`].

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{BuildError, Duration, Located, Node, schema, suggest};
use portcullis_net::preface::{self, SniffBounds, Undecided};
use portcullis_net::{AcceptBalance, Datagrams, Downstream, Sniff, TlsStart, clock, spawn_session};
use portcullis_stats::{Counter, Shard};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::registry::LocalFuture;
use crate::{
    ClusterMistake, ControlContext, DynServer, ErasedConfig, ListenerContext, ReadContext,
    Registry, Transport,
};

/// The value of a listener's `protocol` key.
pub const NAME: &str = "detect";

/// How many bytes are looked at. Every protocol shows itself in its first line; this is more than any needs.
const LOOK_AT: usize = 1024;

/// The keys of the listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    detect: Block,
}

/// How the protocol is found out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Block {
    /// How long a client may take to show what it speaks. Default 3s: the first bytes come with the connection or
    /// one round trip later, and a client that waits for the server to speak is held up for this long.
    #[serde(default = "default_timeout")]
    timeout: Duration,
    /// What it may be, in order: each entry is a `protocol` with its own keys, as on a listener.
    #[serde(rename = "protocols")]
    _protocols: Vec<Node>,
}

fn default_timeout() -> Duration {
    Duration::from_secs(3)
}

/// A listener's configuration: the candidates in order, each read by its protocol.
struct DetectConfig {
    timeout: Duration,
    candidates: Vec<Candidate>,
}

struct Candidate {
    name: &'static str,
    /// `None` if the protocol cannot be recognised.
    sniff: Option<fn(&[u8]) -> Sniff>,
    config: Arc<dyn ErasedConfig>,
}

/// Reads a listener's keys. Mistakes go to the diagnostics, all of them.
pub fn read(
    registry: &Registry,
    raw: &Node,
    cx: &mut ReadContext<'_>,
) -> Option<Arc<dyn ErasedConfig>> {
    let keys: Option<Keys> = raw.read(cx.diagnostics);
    // Read from the node, so that the candidates' mistakes are found even if something else is wrong.
    let protocols = raw.get("detect").and_then(|block| block.get("protocols"))?;
    let entries = protocols.as_sequence()?;
    let Some(last) = entries.len().checked_sub(1) else {
        cx.diagnostics
            .error_at(protocols, "there is nothing to detect")
            .expected("a list of protocols");
        return None;
    };
    let mut candidates = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let candidate = read_candidate(registry, entry, cx);
        if let Some(Candidate {
            sniff: None, name, ..
        }) = &candidate
            && index != last
        {
            cx.diagnostics
                .error_at(
                    entry,
                    format!("{name} cannot be recognised by its first bytes"),
                )
                .help("put it last: it then takes what nothing else has recognised");
        }
        candidates.push(candidate);
    }
    Some(Arc::new(DetectConfig {
        timeout: keys?.detect.timeout,
        candidates: candidates.into_iter().collect::<Option<_>>()?,
    }))
}

fn read_candidate(
    registry: &Registry,
    entry: &Node,
    cx: &mut ReadContext<'_>,
) -> Option<Candidate> {
    #[derive(Deserialize)]
    struct Which {
        protocol: Located<String>,
    }
    let (which, own) = entry.split(&["protocol"]);
    let Which { protocol } = which.read(cx.diagnostics)?;
    let Some(name) = registry.names().find(|name| *name == protocol.as_str()) else {
        let names: Vec<&str> = registry.names().collect();
        let error = cx
            .diagnostics
            .error(
                protocol.span,
                format!("unknown protocol '{}'", protocol.as_str()),
            )
            .expected(format!("one of {}", names.join(", ")));
        if let Some(near) = suggest(&protocol, names.iter().copied()) {
            error.suggest(near);
        }
        return None;
    };
    // Whoever looks at bytes cannot say no before there are any.
    let sniff = registry.sniff(name).filter(|sniff| sniff(b"") != Sniff::No);
    let config = registry.read(name, &own, cx)?;
    if config.transport() != Transport::Connections {
        cx.diagnostics
            .error(
                protocol.span,
                format!("{name} speaks over datagrams here, and only connections can be looked at"),
            )
            .help("give it a listener of its own");
        return None;
    }
    Some(Candidate {
        name,
        sniff,
        config,
    })
}

/// The JSON Schema of the listener's keys. Each candidate's part keeps its own definitions.
#[must_use]
pub fn schema(registry: &Registry) -> Value {
    let entries = registry.names().filter_map(|name| {
        let which = schema::object([("protocol", schema::constant(name))], &["protocol"]);
        Some(schema::merge(which, registry.schema(name)?))
    });
    let entries: Vec<Value> = entries.collect();
    let mut keys = schema_for!(Keys).to_value();
    if let Some(items) = keys.pointer_mut("/$defs/Block/properties/protocols/items") {
        *items = json!({ "oneOf": entries });
    }
    keys
}

impl fmt::Debug for DetectConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let configs = self.candidates.iter().map(|candidate| &candidate.config);
        formatter.debug_list().entries(configs).finish()
    }
}

impl ErasedConfig for DetectConfig {
    fn protocol(&self) -> &'static str {
        NAME
    }

    /// Those of all candidates. If one has none, its clients offer none or something that nobody here knows, and
    /// agreeing on nothing would refuse them: then there are none.
    fn alpn(&self) -> Vec<&'static str> {
        let each = self
            .candidates
            .iter()
            .map(|candidate| candidate.config.alpn());
        let each: Vec<_> = each.collect();
        if each.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let mut all: Vec<&'static str> = Vec::new();
        for name in each.into_iter().flatten() {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// TLS is over before anybody looks, or whoever was found begins it: what all candidates want.
    fn tls_start(&self) -> Option<TlsStart> {
        let mut each = self.candidates.iter();
        let first = each.next()?.config.tls_start()?;
        each.all(|candidate| candidate.config.tls_start() == Some(first))
            .then_some(first)
    }

    /// A hash would spread few, long connections badly, whatever else there is.
    fn balance(&self) -> AcceptBalance {
        let exact = |candidate: &Candidate| candidate.config.balance() == AcceptBalance::Exact;
        if self.candidates.iter().any(exact) {
            AcceptBalance::Exact
        } else {
            AcceptBalance::ReusePort
        }
    }

    /// Datagrams are no connections that could be looked at; reading has refused them.
    fn transport(&self) -> Transport {
        Transport::Connections
    }

    fn cluster_mistakes(&self, name: &str, cluster: &ClusterConfig) -> Vec<ClusterMistake> {
        let each = self.candidates.iter();
        each.flat_map(|candidate| candidate.config.cluster_mistakes(name, cluster))
            .collect()
    }

    fn equals(&self, other: &dyn ErasedConfig) -> bool {
        let Some(other) = other.as_any().downcast_ref::<Self>() else {
            return false;
        };
        let mut pairs = self.candidates.iter().zip(&other.candidates);
        self.timeout == other.timeout
            && self.candidates.len() == other.candidates.len()
            && pairs.all(|(own, other)| own.config.equals(&*other.config))
    }

    fn build(&self, cx: &ListenerContext) -> Result<Rc<dyn DynServer>, BuildError> {
        let mut recognised = Vec::new();
        let mut fallback = None;
        for candidate in &self.candidates {
            let server = Recognised {
                name: candidate.name,
                server: candidate.config.build(cx)?,
                connections: connections(&cx.stats, candidate.name),
            };
            match candidate.sniff {
                Some(sniff) => recognised.push((sniff, server)),
                None => fallback = Some(server),
            }
        }
        let (sniffs, servers) = recognised.into_iter().unzip();
        Ok(Rc::new(DetectServer {
            timeout: self.timeout.get(),
            sniffs,
            servers,
            fallback,
            undecided: UNDECIDED.map(|why| refused(&cx.stats, why)),
        }))
    }

    /// Those of all candidates, side by side. One that ends leaves the others.
    fn task(&self, cx: ControlContext) -> Option<LocalFuture> {
        let candidates = self.candidates.iter();
        let tasks = candidates.filter_map(|candidate| candidate.config.task(cx.clone()));
        let mut tasks: Vec<LocalFuture> = tasks.collect();
        if tasks.is_empty() {
            return None;
        }
        Some(Box::pin(poll_fn(move |cx| {
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            if tasks.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// All the ways in which a look can fail.
const UNDECIDED: [Undecided; 4] = [
    Undecided::NoMatch,
    Undecided::TimedOut,
    Undecided::TooLong,
    Undecided::Closed,
];

fn connections(stats: &Shard, protocol: &str) -> Counter {
    stats.counter(
        "portcullis_detect_connections_total",
        "Connections handed to a protocol that was found out.",
        &[("protocol", protocol)],
    )
}

fn refused(stats: &Shard, why: Undecided) -> Counter {
    stats.counter(
        "portcullis_detect_refused_total",
        "Connections closed because nothing was recognised.",
        &[("reason", why.label())],
    )
}

/// One protocol's server, for connections that are its.
struct Recognised {
    name: &'static str,
    server: Rc<dyn DynServer>,
    connections: Counter,
}

struct DetectServer {
    timeout: std::time::Duration,
    sniffs: Vec<fn(&[u8]) -> Sniff>,
    /// In the order of `sniffs`.
    servers: Vec<Recognised>,
    fallback: Option<Recognised>,
    /// In the order of [`UNDECIDED`].
    undecided: [Counter; UNDECIDED.len()],
}

impl DetectServer {
    async fn serve_one(&self, mut downstream: Downstream) {
        let bounds = SniffBounds {
            deadline: clock::now() + self.timeout,
            bytes: LOOK_AT,
        };
        let Downstream { stream, prefix, .. } = &mut downstream;
        let found = preface::sniff(stream, prefix, bounds, &self.sniffs).await;
        let chosen = match found {
            Ok(index) => self.servers.get(index),
            // Nobody is there any more; the fall-back would only connect for nothing.
            Err(Undecided::Closed) if downstream.prefix.is_empty() => None,
            Err(_) => self.fallback.as_ref(),
        };
        let Some(chosen) = chosen else {
            self.count_refused(found.err());
            return;
        };
        chosen.connections.inc();
        Rc::clone(&chosen.server).serve(downstream).await;
    }

    fn count_refused(&self, why: Option<Undecided>) {
        let position = UNDECIDED.iter().position(|one| Some(*one) == why);
        if let Some(counter) = position.and_then(|position| self.undecided.get(position)) {
            counter.inc();
        }
    }

    fn all(&self) -> impl Iterator<Item = &Recognised> {
        self.servers.iter().chain(&self.fallback)
    }
}

impl DynServer for DetectServer {
    fn start(self: Rc<Self>, downstream: Downstream) {
        spawn_session(async move { self.serve_one(downstream).await });
    }

    fn serve_datagrams(self: Rc<Self>, _: Datagrams) -> LocalFuture {
        Box::pin(std::future::ready(()))
    }

    fn serve(self: Rc<Self>, downstream: Downstream) -> LocalFuture {
        Box::pin(async move { self.serve_one(downstream).await })
    }

    fn on_replaced(&self, successor: Rc<dyn Any>) {
        let Ok(successor) = successor.downcast::<Self>() else {
            return;
        };
        for old in self.all() {
            if let Some(new) = successor.all().find(|new| new.name == old.name) {
                old.server.on_replaced(Rc::clone(&new.server).into_any());
            }
        }
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}
