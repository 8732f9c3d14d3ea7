//! The sockets of all listeners, kept by the control side so that they outlive changes of what stands behind them.
//!
//! Workers accept on sockets of their own; here are further handles on the same ones, for a listener that takes over
//! another's address. A socket closes when both are gone. Start at [`Listening::open`].

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{BuildError, ListenAddress};
use portcullis_net::SocketOptions;
use portcullis_net::accept::WorkerLoads;
use portcullis_net::limits::{ConnectionLimit, ConnectionLimits};
use portcullis_net::listen::{BindOptions, BoundAddress, ListenerSocket, ListenerSockets};

use super::plan::Delta;
use crate::admin::ListenerView;
use crate::model::{ListenerModel, Model};

/// The sockets and the process-wide counts of all listeners.
pub(super) struct Listening {
    workers: usize,
    global: Arc<ConnectionLimit>,
    open: BTreeMap<Arc<str>, OpenListener>,
}

#[derive(Clone)]
struct OpenListener {
    sockets: Rc<Sockets>,
    limit: Arc<ConnectionLimit>,
    loads: WorkerLoads,
}

/// Bound sockets, one for each worker.
struct Sockets {
    listen: ListenAddress,
    options: SocketOptions,
    /// Whose datagrams come to them, if any do: those of one protocol are nothing to another.
    datagrams_of: Option<&'static str>,
    bound: ListenerSockets,
    kept: Vec<ListenerSocket>,
    kept_datagrams: Vec<UdpSocket>,
}

/// Listeners that are about to run.
pub(super) struct Opened(BTreeMap<Arc<str>, OpenedListener>);

struct OpenedListener {
    listener: OpenListener,
    /// Whether the workers have sockets for it already.
    is_kept: bool,
}

/// What one worker needs of a listener's sockets.
pub(super) struct Place {
    /// What its connections count against.
    pub limits: ConnectionLimits,
    /// How many each worker has.
    pub loads: WorkerLoads,
    /// Where it listens.
    pub address: BoundAddress,
    /// The socket to accept on; `None` if the worker has it, or if there are no connections.
    pub socket: Option<ListenerSocket>,
    /// The socket of datagrams; `None` if the worker has it, or if there are none.
    pub datagrams: Option<UdpSocket>,
}

impl Listening {
    /// No listeners yet, for this many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            global: ConnectionLimit::new(None),
            open: BTreeMap::new(),
        }
    }

    /// Gets sockets for the listeners that come or change. Those that have the right ones keep them, and those that
    /// go leave theirs to whoever wants the same address.
    ///
    /// # Errors
    /// The addresses that cannot be had. Nothing has changed then.
    pub(super) fn open(&self, model: &Model, delta: &Delta) -> Result<Opened, Vec<BuildError>> {
        let mut opened = BTreeMap::new();
        let mut errors = Vec::new();
        for name in delta.to_build() {
            let Some(wanted) = model.listeners.get(name) else {
                continue;
            };
            match self.open_one(name, wanted, delta) {
                Ok(listener) => {
                    opened.insert(Arc::clone(name), listener);
                }
                Err(error) => errors.push(error.within(&format!("listeners.{name}"))),
            }
        }
        if errors.is_empty() {
            Ok(Opened(opened))
        } else {
            Err(errors)
        }
    }

    fn open_one(
        &self,
        name: &Arc<str>,
        wanted: &ListenerModel,
        delta: &Delta,
    ) -> Result<OpenedListener, BuildError> {
        let existing = self.open.get(name);
        if let Some(existing) = existing
            && existing.sockets.fit(wanted)
        {
            return Ok(OpenedListener {
                listener: existing.clone(),
                is_kept: true,
            });
        }
        let mut leaving = delta.removed.iter().filter_map(|name| self.open.get(name));
        // A queue of connections can be passed on; datagrams belong to conversations that one of the two knows.
        let left = leaving.find(|left| {
            left.sockets.datagrams_of.is_none()
                && left.sockets.fit(wanted)
                && !wanted.has_any_port()
        });
        let sockets = match left {
            Some(left) => Rc::clone(&left.sockets),
            None => Rc::new(self.bind(wanted)?),
        };
        let counts = existing.map(|existing| (Arc::clone(&existing.limit), existing.loads.clone()));
        let (limit, loads) =
            counts.unwrap_or_else(|| (ConnectionLimit::new(None), WorkerLoads::new(self.workers)));
        Ok(OpenedListener {
            listener: OpenListener {
                sockets,
                limit,
                loads,
            },
            is_kept: false,
        })
    }

    fn bind(&self, wanted: &ListenerModel) -> Result<Sockets, BuildError> {
        let failed = |error: &dyn std::error::Error| BuildError::new("listen", error.to_string());
        // An address of our own, with other options, is shared with its old sockets until those close.
        let is_ours = self
            .open
            .values()
            .any(|open| open.sockets.listen.clashes_with(&wanted.listen));
        let options = BindOptions {
            socket: &wanted.socket,
            sockets: self.workers,
            exclusive: !is_ours,
            datagrams: wanted.protocol.transport().has_datagrams(),
        };
        let mut bound = ListenerSockets::bind(&wanted.listen, options).map_err(|e| failed(&e))?;
        let mut kept: Vec<ListenerSocket> = std::iter::from_fn(|| bound.take()).collect();
        let kept_datagrams = std::iter::from_fn(|| bound.take_datagrams()).collect();
        while kept.len() < self.workers
            && let Some(first) = kept.first()
        {
            // A Unix path has one socket; the workers share its queue.
            kept.push(first.try_clone().map_err(|error| failed(&error))?);
        }
        Ok(Sockets {
            listen: wanted.listen.clone(),
            options: wanted.socket.clone(),
            datagrams_of: datagrams_of(wanted),
            bound,
            kept,
            kept_datagrams,
        })
    }

    /// Keeps what was opened and lets go of the rest: from now on only workers hold the sockets of listeners that
    /// are gone.
    pub(super) fn commit(&mut self, opened: Opened, model: &Model) {
        let opened = opened.0.into_iter();
        self.open
            .extend(opened.map(|(name, opened)| (name, opened.listener)));
        self.open
            .retain(|name, _| model.listeners.contains_key(name));
    }

    /// Lets go of all sockets: once the workers stop accepting, clients are refused.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }

    /// Brings the limits up to date. `default` is the process's limit if the configuration does not say.
    pub(super) fn set_limits(&self, model: &Model, default: u64) {
        let process = model.limits.connections.map_or(default, NonZeroU64::get);
        self.global.set(Some(process));
        for (name, open) in &self.open {
            let limits = model.listeners.get(name).map(|listener| &listener.limits);
            let limit = limits.and_then(|limits| limits.connections);
            open.limit.set(limit.map(NonZeroU64::get));
        }
    }

    /// How many connections are open, over all listeners, those that are gone included.
    pub(super) fn open_connections(&self) -> u64 {
        self.global.open()
    }

    /// The listeners as the admin address shows them.
    pub(super) fn views(&self, model: &Model) -> Vec<ListenerView> {
        let shown = self.open.iter().filter_map(|(name, open)| {
            Some(ListenerView {
                name: Arc::clone(name),
                address: open.sockets.bound.address().to_string(),
                protocol: model.listeners.get(name)?.protocol.protocol(),
            })
        });
        shown.collect()
    }

    /// What a worker needs for a listener that was opened.
    ///
    /// # Errors
    /// There is no descriptor left for its handle.
    pub(super) fn place(
        &self,
        opened: &Opened,
        name: &str,
        worker: usize,
    ) -> Result<Option<Place>, BuildError> {
        let Some(OpenedListener { listener, is_kept }) = opened.0.get(name) else {
            return Ok(None);
        };
        let socket = listener.sockets.kept.get(worker).filter(|_| !is_kept);
        let socket = socket.map(ListenerSocket::try_clone).transpose();
        let failed =
            |error: std::io::Error| BuildError::new(format!("listeners.{name}"), error.to_string());
        let socket = socket.map_err(failed)?;
        let kept = &listener.sockets.kept_datagrams;
        let datagrams = kept.get(worker).filter(|_| !is_kept);
        let datagrams = datagrams
            .map(UdpSocket::try_clone)
            .transpose()
            .map_err(failed)?;
        Ok(Some(Place {
            limits: ConnectionLimits {
                listener: Arc::clone(&listener.limit),
                global: Arc::clone(&self.global),
            },
            loads: listener.loads.clone(),
            address: listener.sockets.bound.address().clone(),
            socket,
            datagrams,
        }))
    }
}

impl Sockets {
    /// Whether they are what the listener would bind.
    fn fit(&self, wanted: &ListenerModel) -> bool {
        self.listen == wanted.listen
            && self.datagrams_of == datagrams_of(wanted)
            && (self.options == wanted.socket || matches!(self.listen, ListenAddress::Unix(_)))
    }
}

/// The protocol, if there are datagrams.
fn datagrams_of(listener: &ListenerModel) -> Option<&'static str> {
    let protocol = &listener.protocol;
    protocol
        .transport()
        .has_datagrams()
        .then(|| protocol.protocol())
}
