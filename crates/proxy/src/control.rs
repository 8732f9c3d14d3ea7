//! What a protocol does beside its conversations, on the control thread: checks of endpoints, answers on the admin
//! address, and a task for each listener.
//!
//! None of it is on the way of a byte: workers and control side meet in state that both find in
//! [`SharedStore`], and in what clusters and endpoints publish. All of it has a default, so
//! a protocol brings what it has. Start at [`ControlSide`]; [`Registry::with_control`](crate::Registry::with_control) takes it
//! in.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{ClusterShared, Endpoint, ProtocolProbe};
use portcullis_config::Node;
use portcullis_filter::{Random, ReadContext, SharedStore};
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{ConnectError, Stream, connect};
use portcullis_stats::Shard;
use serde_json::Value;

use crate::{LocalFuture, Protocol};

/// A protocol's part on the control thread.
pub trait ControlSide: Protocol {
    /// The paths that [`admin`](Self::admin) answers, below `/<NAME>/`, for the list of all paths: `GET statements`.
    const ADMIN: &'static [&'static str] = &[];

    /// The JSON Schema of the protocol's health check: what stands under `health_check: { <NAME>: … }` of a cluster. `None`
    /// if it has no check of its own.
    fn probe_schema() -> Option<Value> {
        None
    }

    /// Reads what stands there, if there is a [schema](Self::probe_schema) for it. Mistakes go to the diagnostics. What was
    /// read is made a probe by [`probe`].
    fn read_probe(_raw: &Node, _cx: &mut ReadContext<'_>) -> Option<ProtocolProbe> {
        None
    }

    /// Answers a request on the admin address, without waiting. `None`: there is nothing at this path.
    fn admin(_request: &AdminRequest<'_>) -> Option<AdminAnswer> {
        None
    }

    /// A task for one listener, to be run for as long as it is configured like this: it begins when all workers have the
    /// listener, and is dropped at its next pause when the listener changes, goes or the process ends. `None` if there is
    /// nothing to do. It shares a thread with everything on the control side, so it never blocks.
    fn task(_config: &Self::Config, _cx: ControlContext) -> Option<LocalFuture> {
        None
    }
}

/// Has the process read its configuration again. A service of the process, found as `Arc<dyn Reload>` in the
/// [`SharedStore`]; a protocol that has commands for operators offers it there.
pub trait Reload: Send + Sync {
    /// Reads, checks and applies the configuration, as `POST /reload` on the admin address does. Dropping the future does not
    /// stop it.
    ///
    /// # Errors
    /// It is refused, nothing has changed, and this is why, in lines for people.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), String>>>>;
}

/// What a listener's task works with.
#[derive(Clone)]
pub struct ControlContext {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Makes counters of the control thread that carry the listener's label.
    pub stats: Shard,
    /// State common to all workers.
    pub shared: Arc<SharedStore>,
    /// All clusters. One keeps its identity over reloads, and a listener whose clusters are others has changed.
    pub clusters: Rc<[Arc<ClusterShared>]>,
    /// The control thread's generator.
    pub random: Rc<Random>,
}

impl ControlContext {
    /// The cluster with this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Arc<ClusterShared>> {
        self.clusters
            .iter()
            .find(|cluster| &**cluster.name() == name)
    }

    /// What the workers have under the same name: see [`ListenerContext::common`](crate::ListenerContext::common).
    pub fn common<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        common(&self.shared, &self.listener, make)
    }
}

/// State of a listener that all workers and the control side share, by its type.
pub(crate) fn common<T: Send + Sync + 'static>(
    shared: &SharedStore,
    listener: &str,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    shared.of(
        format!("listeners.{listener} {}", std::any::type_name::<T>()),
        make,
    )
}

/// What listeners have of this type, as [`ListenerContext::common`](crate::ListenerContext::common) made it, by where each
/// stands in the configuration: `listeners.<name>`.
#[must_use]
pub fn of_listeners<T: Send + Sync + 'static>(shared: &SharedStore) -> Vec<(String, Arc<T>)> {
    let all = shared.all::<T>().into_iter();
    let named = all.map(|(key, state)| {
        // Behind it stands the name of the type.
        let listener = key.split(' ').next().unwrap_or_default();
        (listener.to_owned(), state)
    });
    named.collect()
}

/// A request on the admin address for something that a protocol answers.
#[derive(Clone, Copy)]
pub struct AdminRequest<'a> {
    /// What follows `/<NAME>/`.
    pub path: &'a str,
    /// Whether it may change something: a POST, whose sender has shown the admin token if there is one.
    pub is_post: bool,
    /// Whether `format=json` was asked for; otherwise text that people read.
    pub is_json: bool,
    /// What follows the `?`, decoded.
    pub query: &'a [(String, String)],
    /// State common to all workers: [`SharedStore::all`] finds that of every listener.
    pub shared: &'a SharedStore,
}

impl AdminRequest<'_> {
    /// The first value with this name in the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut values = self.query.iter().filter(|(key, _)| key == name);
        values.next().map(|(_, value)| &**value)
    }
}

/// An answer on the admin address.
#[derive(Debug, Clone, PartialEq)]
pub enum AdminAnswer {
    /// Lines.
    Text(String),
    /// A document.
    Json(Value),
    /// The request itself is wrong, and why.
    Refused(String),
}

/// One kind of health check with its settings. Equal settings leave running checks alone.
pub trait Probe: fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Tries the endpoint once. How long that may take, how often it happens and what follows from it is the cluster's
    /// configuration to say; dropping the future ends the attempt.
    ///
    /// # Errors
    /// The endpoint did not pass.
    fn check(&self, target: &CheckTarget) -> impl Future<Output = Result<(), CheckFailed>>;
}

/// The endpoint to check, and the ways to it.
#[derive(Debug, Clone)]
pub struct CheckTarget {
    /// Its cluster.
    pub cluster: Arc<ClusterShared>,
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
}

impl CheckTarget {
    /// A connection, encrypted at once where the cluster has TLS.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, offer: AlpnOffer) -> Result<Stream, ConnectError> {
        connect::to_check(&self.cluster, &self.endpoint, offer).await
    }

    /// A connection on which TLS may begin later: [`connect::to_endpoint_plain`] in nobody's name.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_plain(&self) -> Result<Stream, ConnectError> {
        connect::to_endpoint_plain(&*self.cluster, &self.endpoint, None).await
    }

    /// Begins TLS on it: [`connect::encrypt`].
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn encrypt(&self, stream: Stream, offer: AlpnOffer) -> Result<Stream, ConnectError> {
        connect::encrypt(&*self.cluster, &self.endpoint, stream, offer).await
    }
}

/// Why an endpoint did not pass, for the log. Says nothing that is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailed(pub Cow<'static, str>);

impl fmt::Display for CheckFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CheckFailed {}

impl From<ConnectError> for CheckFailed {
    fn from(error: ConnectError) -> Self {
        Self(format!("no connection: {error}").into())
    }
}

/// Makes a probe a part of a cluster's configuration. `name` is the protocol's.
pub fn probe<P: Probe>(name: &'static str, probe: P) -> ProtocolProbe {
    ProtocolProbe::new(name, ErasedProbe(Box::new(probe)))
}

/// Carries out a check that [`probe`] has made.
///
/// # Errors
/// The endpoint did not pass.
pub async fn check(probe: &ProtocolProbe, target: &CheckTarget) -> Result<(), CheckFailed> {
    match probe.get::<ErasedProbe>() {
        Some(ErasedProbe(probe)) => probe.check(target).await,
        None => Err(CheckFailed("this build has no such check".into())),
    }
}

struct ErasedProbe(Box<dyn DynProbe>);

trait DynProbe: fmt::Debug + Send + Sync {
    fn check<'a>(&'a self, target: &'a CheckTarget) -> Checking<'a>;
    fn equals(&self, other: &dyn DynProbe) -> bool;
    fn as_any(&self) -> &dyn Any;
}

type Checking<'a> = Pin<Box<dyn Future<Output = Result<(), CheckFailed>> + 'a>>;

impl<P: Probe> DynProbe for P {
    fn check<'a>(&'a self, target: &'a CheckTarget) -> Checking<'a> {
        Box::pin(Probe::check(self, target))
    }

    fn equals(&self, other: &dyn DynProbe) -> bool {
        let other = other.as_any().downcast_ref::<P>();
        other.is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl PartialEq for ErasedProbe {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

impl fmt::Debug for ErasedProbe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
