//! What a protocol is to the gateway.
//!
//! Not a codec: those are pure and live in each protocol's crate. Start at [`Protocol`].

use std::fmt::Debug;
use std::future::Future;
use std::rc::Rc;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{BuildError, Node, Span};
use portcullis_filter::ReadContext;
use portcullis_net::{AcceptBalance, Datagrams, Downstream, Sniff, TlsStart};
use serde_json::Value;

use crate::ListenerContext;

/// What a listener's protocol is spoken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// Connections, of TCP or over a Unix socket.
    #[default]
    Connections,
    /// Datagrams of UDP.
    Datagrams,
    /// Both, on one port.
    Both,
}

impl Transport {
    /// Whether there are datagrams.
    #[must_use]
    pub const fn has_datagrams(self) -> bool {
        matches!(self, Self::Datagrams | Self::Both)
    }
}

/// Why a listener cannot use a cluster, though each is right by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMistake {
    /// Where in the cluster. `None`: the cluster as a whole.
    pub span: Option<Span>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

/// A kind of conversation.
pub trait Protocol: 'static {
    /// The value of a listener's `protocol` key.
    const NAME: &'static str;
    /// The application protocols that it speaks behind TLS (ALPN, RFC 7301), best first. None: it does not agree on any
    /// by itself, and a listener may name what it likes.
    const ALPN: &'static [&'static str] = &[];
    /// Who begins TLS where the listener has `tls`. With [`TlsStart::ByProtocol`] each connection comes as it is, with
    /// [`Downstream::starttls`] to use at the right place.
    const TLS: TlsStart = TlsStart::AtOnce;
    /// How its connections find their worker if the listener does not say. Few and long ones: [`AcceptBalance::Exact`].
    const BALANCE: AcceptBalance = AcceptBalance::ReusePort;
    /// The protocol's part of a listener's configuration: complete, checked, free of its source format.
    /// Equality decides whether a reload changes the listener.
    type Config: Debug + PartialEq + Send + Sync + 'static;
    /// The conversation, configured for one listener on one worker.
    type Server: Server;

    /// Reads the keys of a listener that are not common to all listeners. Mistakes go to the diagnostics, all
    /// of them; `None` if there is nothing usable.
    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self::Config>;

    /// JSON Schema of those keys: an object schema with `properties`.
    fn schema() -> Value;

    /// What a listener with this configuration is spoken over.
    fn transport(_config: &Self::Config) -> Transport {
        Transport::Connections
    }

    /// Why a listener with this configuration cannot use a cluster, which may be one that it does not use. Without this a
    /// configuration could be right, and its [`build`](Self::build) fail.
    fn cluster_mistakes(
        _config: &Self::Config,
        _name: &str,
        _cluster: &ClusterConfig,
    ) -> Vec<ClusterMistake> {
        Vec::new()
    }

    /// What operators are warned of if these two listeners are run together: each is right by itself, and may be meant so.
    fn warning(_one: &Self::Config, _other: &Self::Config) -> Option<String> {
        None
    }

    /// Whether bytes at the start of a connection look like this protocol.
    fn sniff(_prefix: &[u8]) -> Sniff {
        Sniff::No
    }

    /// Makes the server for one listener on one worker.
    ///
    /// # Errors
    /// Something that reading could not see.
    fn build(config: &Self::Config, cx: &ListenerContext) -> Result<Self::Server, BuildError>;
}

/// A protocol, configured for one listener on one worker.
pub trait Server: 'static {
    /// Serves one connection until it ends. Errors are answered, counted and logged inside.
    fn serve(self: Rc<Self>, downstream: Downstream) -> impl Future<Output = ()> + 'static;

    /// Serves the datagrams of the listener, for as long as it has the socket: over reloads, in which another server takes its
    /// place ([`on_replaced`](Self::on_replaced)) and has to be found from here. Called where [`Protocol::transport`] says that
    /// there are some.
    fn serve_datagrams(
        self: Rc<Self>,
        _datagrams: Datagrams,
    ) -> impl Future<Output = ()> + 'static {
        std::future::ready(())
    }

    /// A reload made `successor` for the same listener. Sessions may move over where their protocol has a
    /// boundary for it; by default they end as they began.
    fn on_replaced(&self, _successor: &Rc<Self>) {}
}
