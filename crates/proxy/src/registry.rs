//! The protocols of a binary, by name, with their types erased.
//!
//! Erasure costs one dynamic call per connection: the session that is spawned is the protocol's own type. Not
//! global: the binary makes one registry and hands it around. Start at [`Registry::with`].

use std::any::Any;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{BuildError, Node};
use portcullis_net::{AcceptBalance, Downstream, Sniff, TlsStart};
use serde_json::Value;

use crate::{ListenerContext, Protocol, ReadContext, Server};

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
    /// Whether both are of one protocol and equal.
    fn equals(&self, other: &dyn ErasedConfig) -> bool;
    /// As [`Protocol::build`].
    ///
    /// # Errors
    /// As [`Protocol::build`].
    fn build(&self, cx: &ListenerContext) -> Result<Rc<dyn DynServer>, BuildError>;
    /// For [`ErasedConfig::equals`].
    fn as_any(&self) -> &dyn Any;
}

/// A server with its type erased.
pub trait DynServer {
    /// Spawns the session of one connection on this thread.
    fn start(self: Rc<Self>, downstream: Downstream);
    /// As [`Server::serve`], for callers that wait for it.
    fn serve(self: Rc<Self>, downstream: Downstream) -> LocalFuture;
    /// As [`Server::on_replaced`]; does nothing if `successor` is of another protocol.
    fn on_replaced(&self, successor: Rc<dyn Any>);
    /// This server, for a predecessor's [`DynServer::on_replaced`].
    fn into_any(self: Rc<Self>) -> Rc<dyn Any>;
}

/// A future of one thread.
pub type LocalFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

struct Erased<P: Protocol>(P::Config);

impl<P: Protocol> Debug for Erased<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
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

    fn equals(&self, other: &dyn ErasedConfig) -> bool {
        other
            .as_any()
            .downcast_ref::<P::Config>()
            .is_some_and(|other| self.0 == *other)
    }

    fn build(&self, cx: &ListenerContext) -> Result<Rc<dyn DynServer>, BuildError> {
        Ok(Rc::new(Running(Rc::new(P::build(&self.0, cx)?))))
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
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
struct Entry {
    name: &'static str,
    read: fn(&Node, &mut ReadContext<'_>) -> Option<Arc<dyn ErasedConfig>>,
    schema: fn() -> Value,
    sniff: fn(&[u8]) -> Sniff,
}

/// The protocols of a binary.
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// No protocols yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a protocol.
    ///
    /// # Panics
    /// Its name is taken: a mistake in the binary, seen at every start.
    #[must_use]
    pub fn with<P: Protocol>(mut self) -> Self {
        assert!(
            self.entries.iter().all(|entry| entry.name != P::NAME),
            "protocol {} is registered twice",
            P::NAME
        );
        self.entries.push(Entry {
            name: P::NAME,
            read: |raw, cx| {
                let config = P::read_config(raw, cx)?;
                Some(Arc::new(Erased::<P>(config)))
            },
            schema: P::schema,
            sniff: P::sniff,
        });
        self
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

    fn entry(&self, protocol: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == protocol)
    }
}
