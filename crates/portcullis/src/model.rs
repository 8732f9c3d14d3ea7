//! What runs: the complete, checked configuration, free of the format it was written in.
//!
//! Nothing here knows files, positions or YAML, so that another front end can make the same model; [`crate::load`]
//! is the front end that there is. Defaults stand here, each with its reason. Start at [`Model`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{Duration, ListenAddress, ListenSocket, Located, TargetAddress, Timeout};
pub use portcullis_net::AcceptBalance;
use portcullis_net::tls::config::TlsConfig;
use portcullis_net::{ProxyProtocolConfig, SocketOptions};
use portcullis_proxy::ErasedConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A whole configuration. Equal parts of two models need nothing done on a reload.
#[derive(Debug, Clone)]
pub struct Model {
    /// The admin address.
    pub admin: AdminConfig,
    /// Threads.
    pub runtime: RuntimeConfig,
    /// Bounds for the whole process.
    pub limits: ProcessLimits,
    /// How the process ends.
    pub drain: DrainConfig,
    /// The listeners, by name.
    pub listeners: BTreeMap<Arc<str>, Arc<ListenerModel>>,
    /// The clusters, by name.
    pub clusters: BTreeMap<Arc<str>, Arc<ClusterConfig>>,
    /// The configuration as it was written, with the environment not filled in: for people to look at.
    pub document: Value,
}

/// The admin address: statistics, state, and the few things that can be asked of a running gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where it listens: a loopback address, port 0 for any free port, or `unix:/path`. Default `127.0.0.1:9901`, the
    /// port that people know from Envoy. Anybody who reaches it can read statistics and stop the gateway, hence loopback.
    pub listen: Located<ListenAddress>,
    /// When set, every request that changes something must carry `authorization: Bearer <token>`. Use
    /// `${ADMIN_TOKEN}` to keep it out of the file. Visible ASCII, and spaces only inside.
    pub token: Option<String>,
    /// Allows `listen` to be an address that other machines reach. Requires `token`, because then it is the only
    /// thing between the network and `/quitquitquit`. Statistics and the configuration are readable without it.
    pub danger_listen_on_network: bool,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddress::Tcp(DEFAULT_ADMIN).into(),
            token: None,
            danger_listen_on_network: false,
        }
    }
}

/// Threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// The workers. They cannot change while the gateway runs.
    pub workers: WorkersConfig,
    /// The name server that is asked for the addresses of endpoints, as `address:port`. Default: those of the
    /// system. It cannot change while the gateway runs.
    pub name_server: Option<Located<TargetAddress>>,
}

/// The worker threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkersConfig {
    /// How many. Default: as many as the process may use cores, because a worker never waits for anything.
    pub count: Option<NonZeroUsize>,
    /// Bind each worker to a core of its own. Default false: it helps on machines that do nothing else and hurts
    /// everywhere else.
    pub pin: bool,
}

/// Bounds for the whole process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessLimits {
    /// How many downstream connections may be open at a time, over all listeners. Default: half of the descriptors
    /// that the process may open, after 256 for itself; so this limit, which is counted and leaves existing
    /// connections alone, is reached before the system's.
    pub connections: Option<NonZeroU64>,
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// How long open connections may take to finish after TERM or when their listener is removed; what is left then is
    /// closed. Default 30s, the time that Kubernetes gives a pod.
    pub timeout: Duration,
    /// Over how much of that time idle connections are closed, so that their clients do not all come back in the
    /// same moment. Default 5s; `off` closes all of them at once.
    pub spread: Timeout,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            spread: Timeout::from_secs(5),
        }
    }
}

/// One listener.
#[derive(Debug)]
pub struct ListenerModel {
    /// Where it listens.
    pub listen: ListenAddress,
    /// Its bounds.
    pub limits: ListenerLimits,
    /// How connections find their worker.
    pub balance: AcceptBalance,
    /// Who may speak for somebody else.
    pub proxy_protocol: Option<ProxyProtocolConfig>,
    /// Whether and how TLS ends here.
    pub tls: Option<TlsConfig>,
    /// How its sockets behave.
    pub socket: SocketOptions,
    /// What its protocol is told.
    pub protocol: Arc<dyn ErasedConfig>,
}

impl PartialEq for ListenerModel {
    fn eq(&self, other: &Self) -> bool {
        self.listen == other.listen
            && self.limits == other.limits
            && self.balance == other.balance
            && self.proxy_protocol == other.proxy_protocol
            && self.tls == other.tls
            && self.socket == other.socket
            && self.protocol.equals(&*other.protocol)
    }
}

/// Bounds of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// How many connections it may have open at a time. Default: only the process's limit counts. Set it where one
    /// listener must not starve the others.
    pub connections: Option<NonZeroU64>,
}

const DEFAULT_ADMIN: ListenSocket = ListenSocket {
    address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901),
    dual_stack: false,
};

impl ListenerModel {
    /// Whether the system chooses the port.
    #[must_use]
    pub fn has_any_port(&self) -> bool {
        matches!(&self.listen, ListenAddress::Tcp(socket) | ListenAddress::Udp(socket) if socket.address.port() == 0)
    }
}

impl Model {
    /// The same process without listeners and clusters: what runs before the first configuration does.
    #[must_use]
    pub fn without_traffic(&self) -> Self {
        Self {
            admin: self.admin.clone(),
            runtime: self.runtime.clone(),
            limits: self.limits.clone(),
            drain: self.drain.clone(),
            listeners: BTreeMap::new(),
            clusters: BTreeMap::new(),
            document: Value::Null,
        }
    }
}
