//! The protocols of a binary, by name, with their types erased.
//!
//! Erasure costs one dynamic call per connection: the session that is spawned is the protocol's own type. Not
//! global: the binary makes one registry and hands it around. Start at [`Registry::with`].

use std::any::Any;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{BuildError, Node};
use portcullis_net::{AcceptBalance, Datagrams, Downstream, Sniff, TlsStart};
use serde_json::Value;

use portcullis_cluster::{ClusterConfig, ProtocolProbe};

use crate::{
    AdminAnswer, AdminRequest, ClusterMistake, ControlContext, ControlSide, ListenerContext,
    Protocol, ReadContext, Server, Transport,
};

/// A protocol's configuration for one listener, with its type erased.
pub trait ErasedConfig: Debug + Send + Sync {
    /// The protocol's name.
    fn protocol(&self) -> &'static str;
    /// As [`Protocol::ALPN`].
    fn alpn(&self) -> Vec<&'static str>;
    /// As [`Protocol::TLS`]. `None` if it is several protocols that do not agree, so that there can be no TLS.
    fn tls_start(&self) -> Option<TlsStart>;
    /// As [`Protocol::BALANCE`].
    fn balance(&self) -> AcceptBalance;
    /// As [`Protocol::transport`].
    fn transport(&self) -> Transport;
    /// As [`Protocol::warning`]; none if they are of different protocols.
    fn warning(&self, _other: &dyn ErasedConfig) -> Option<String> {
        None
    }
    /// As [`Protocol::cluster_mistakes`].
    fn cluster_mistakes(&self, name: &str, cluster: &ClusterConfig) -> Vec<ClusterMistake>;
    /// Whether both are of one protocol and equal.
    fn equals(&self, other: &dyn ErasedConfig) -> bool;
    /// As [`Protocol::build`].
    ///
    /// # Errors
    /// As [`Protocol::build`].
    fn build(&self, cx: &ListenerContext) -> Result<Rc<dyn DynServer>, BuildError>;
    /// As [`ControlSide::task`]; nothing for a protocol without a control side.
    fn task(&self, cx: ControlContext) -> Option<LocalFuture>;
    /// For [`ErasedConfig::equals`].
    fn as_any(&self) -> &dyn Any;
}

/// A server with its type erased.
pub trait DynServer {
    /// Spawns the session of one connection on this thread.
    fn start(self: Rc<Self>, downstream: Downstream);
    /// As [`Server::serve`], for callers that wait for it.
    fn serve(self: Rc<Self>, downstream: Downstream) -> LocalFuture;
    /// As [`Server::serve_datagrams`].
    fn serve_datagrams(self: Rc<Self>, datagrams: Datagrams) -> LocalFuture;
    /// As [`Server::on_replaced`]; does nothing if `successor` is of another protocol.
    fn on_replaced(&self, successor: Rc<dyn Any>);
    /// This server, for a predecessor's [`DynServer::on_replaced`].
    fn into_any(self: Rc<Self>) -> Rc<dyn Any>;
}

/// A future of one thread.
pub type LocalFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

struct Erased<P: Protocol> {
    config: P::Config,
    task: TaskOf<P>,
}

type TaskOf<P> = fn(&<P as Protocol>::Config, ControlContext) -> Option<LocalFuture>;

impl<P: Protocol> Debug for Erased<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(formatter)
    }
}

impl<P: Protocol> ErasedConfig for Erased<P> {
    fn protocol(&self) -> &'static str {
        P::NAME
    }

    fn alpn(&self) -> Vec<&'static str> {
        P::ALPN.to_vec()
    }

    fn tls_start(&self) -> Option<TlsStart> {
        Some(P::TLS)
    }

    fn balance(&self) -> AcceptBalance {
        P::BALANCE
    }

    fn transport(&self) -> Transport {
        P::transport(&self.config)
    }

    fn warning(&self, other: &dyn ErasedConfig) -> Option<String> {
        let other = other.as_any().downcast_ref::<P::Config>()?;
        P::warning(&self.config, other)
    }

    fn cluster_mistakes(&self, name: &str, cluster: &ClusterConfig) -> Vec<ClusterMistake> {
        P::cluster_mistakes(&self.config, name, cluster)
    }

    fn equals(&self, other: &dyn ErasedConfig) -> bool {
        other
            .as_any()
            .downcast_ref::<P::Config>()
            .is_some_and(|other| self.config == *other)
    }

    fn build(&self, cx: &ListenerContext) -> Result<Rc<dyn DynServer>, BuildError> {
        Ok(Rc::new(Running(Rc::new(P::build(&self.config, cx)?))))
    }

    fn task(&self, cx: ControlContext) -> Option<LocalFuture> {
        (self.task)(&self.config, cx)
    }

    fn as_any(&self) -> &dyn Any {
        &self.config
    }
}

struct Running<S: Server>(Rc<S>);

impl<S: Server> DynServer for Running<S> {
    fn start(self: Rc<Self>, downstream: Downstream) {
        portcullis_net::spawn_session(Rc::clone(&self.0).serve(downstream));
    }

    fn serve(self: Rc<Self>, downstream: Downstream) -> LocalFuture {
        Box::pin(Rc::clone(&self.0).serve(downstream))
    }

    fn serve_datagrams(self: Rc<Self>, datagrams: Datagrams) -> LocalFuture {
        Box::pin(Rc::clone(&self.0).serve_datagrams(datagrams))
    }

    fn on_replaced(&self, successor: Rc<dyn Any>) {
        if let Ok(successor) = successor.downcast::<S>() {
            self.0.on_replaced(&successor);
        }
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        Rc::clone(&self.0) as Rc<dyn Any>
    }
}

/// One protocol, as the registry knows it.
#[derive(Clone)]
struct Entry {
    name: &'static str,
    read: fn(&Node, &mut ReadContext<'_>) -> Option<Arc<dyn ErasedConfig>>,
    schema: fn() -> Value,
    sniff: fn(&[u8]) -> Sniff,
    control: Option<Control>,
}

/// What it does on the control thread.
#[derive(Clone, Copy)]
struct Control {
    paths: &'static [&'static str],
    admin: fn(&AdminRequest<'_>) -> Option<AdminAnswer>,
    probe_schema: fn() -> Option<Value>,
    read_probe: fn(&Node, &mut ReadContext<'_>) -> Option<ProtocolProbe>,
}

/// The protocols of a binary.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// No protocols yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a protocol that has conversations and nothing else.
    ///
    /// # Panics
    /// Its name is taken: a mistake in the binary, seen at every start.
    #[must_use]
    pub fn with<P: Protocol>(mut self) -> Self {
        let entry = Entry {
            read: |raw, cx| erase::<P>(raw, cx, |_, _| None),
            ..self.entry_of::<P>()
        };
        self.entries.push(entry);
        self
    }

    /// Adds a protocol with its control side.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[must_use]
    pub fn with_control<P: ControlSide>(mut self) -> Self {
        let entry = Entry {
            read: |raw, cx| erase::<P>(raw, cx, P::task),
            control: Some(Control {
                paths: P::ADMIN,
                admin: P::admin,
                probe_schema: P::probe_schema,
                read_probe: P::read_probe,
            }),
            ..self.entry_of::<P>()
        };
        self.entries.push(entry);
        self
    }

    fn entry_of<P: Protocol>(&self) -> Entry {
        assert!(
            self.entry(P::NAME).is_none(),
            "protocol {} is registered twice",
            P::NAME
        );
        Entry {
            name: P::NAME,
            read: |_, _| None,
            schema: P::schema,
            sniff: P::sniff,
            control: None,
        }
    }

    /// The names, in order of registration.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }

    /// Reads a listener's keys for the named protocol; `None` if it does not exist (the caller reports that with
    /// the position of the name) or if nothing usable was read (reported already).
    pub fn read(
        &self,
        protocol: &str,
        raw: &Node,
        cx: &mut ReadContext<'_>,
    ) -> Option<Arc<dyn ErasedConfig>> {
        (self.entry(protocol)?.read)(raw, cx)
    }

    /// The JSON Schema of a protocol's own keys.
    #[must_use]
    pub fn schema(&self, protocol: &str) -> Option<Value> {
        Some((self.entry(protocol)?.schema)())
    }

    /// What the named protocol says of the first bytes of a connection.
    #[must_use]
    pub fn sniff(&self, protocol: &str) -> Option<fn(&[u8]) -> Sniff> {
        Some(self.entry(protocol)?.sniff)
    }

    /// The paths that protocols answer on the admin address: `GET /postgres/statements` as protocol and rest.
    pub fn admin_paths(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.controls()
            .flat_map(|(name, control)| control.paths.iter().map(move |path| (name, *path)))
    }

    /// What a protocol answers on the admin address, if it is one and has an answer.
    #[must_use]
    pub fn admin(&self, protocol: &str, request: &AdminRequest<'_>) -> Option<AdminAnswer> {
        (self.entry(protocol)?.control?.admin)(request)
    }

    /// The protocols with health checks of their own, and the JSON Schemas of those.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.controls()
            .filter_map(|(name, control)| Some((name, (control.probe_schema)()?)))
    }

    /// Reads the settings of a protocol's health check; `None` if it has none, or if nothing usable was read (reported
    /// already).
    pub fn read_probe(
        &self,
        protocol: &str,
        raw: &Node,
        cx: &mut ReadContext<'_>,
    ) -> Option<ProtocolProbe> {
        (self.entry(protocol)?.control?.read_probe)(raw, cx)
    }

    fn controls(&self) -> impl Iterator<Item = (&'static str, Control)> {
        self.entries
            .iter()
            .filter_map(|entry| Some((entry.name, entry.control?)))
    }

    fn entry(&self, protocol: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == protocol)
    }
}

fn erase<P: Protocol>(
    raw: &Node,
    cx: &mut ReadContext<'_>,
    task: TaskOf<P>,
) -> Option<Arc<dyn ErasedConfig>> {
    let config = P::read_config(raw, cx)?;
    Some(Arc::new(Erased::<P> { config, task }))
}
