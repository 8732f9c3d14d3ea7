//! What every exchange of one listener on one worker shares: routes, settings, counters, the worker's clock.
//!
//! Not a server: connections belong to each HTTP version's session, which asks [`ServiceHandle::current`] for the
//! service at each request, so that a reload reaches connections that stay open. Start at [`HttpService`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use portcullis_cluster::Cluster;
use portcullis_config::BuildError;
use portcullis_filter::{Connection, Context, FilterContext, Random, Timer};

use crate::config::{HttpConfig, Timeouts};
use crate::fields::Fields;
use crate::framing::Framing;
use crate::head::{Method, RequestHead, Status, Target, Version};
use crate::message::{Record, Request};
use crate::route::{BuildRoutes, Routes};
use crate::slate::Slates;
use crate::stats::HttpStats;
use crate::stream::UpstreamPool;
use crate::types::HeadBounds;

/// The worker's clocks.
pub trait Clock {
    /// Monotonic time of this loop turn.
    fn now(&self) -> Instant;
    /// Wall-clock time of this loop turn.
    fn wall(&self) -> SystemTime;
    /// Wall-clock time as an IMF-fixdate (RFC 9110 section 5.6.7).
    fn date(&self) -> [u8; 29];
}

/// What a service needs from the worker that it runs on.
#[derive(Clone)]
pub struct Environment {
    /// The clocks.
    pub clock: Rc<dyn Clock>,
    /// Lets filters wait.
    pub timer: Rc<dyn Timer>,
    /// For balancing, request ids and jitter.
    pub random: Rc<Random>,
}

/// Finds a cluster and the pool of its streams by name.
pub type FindCluster<'a> =
    dyn Fn(&str) -> Result<(Rc<Cluster>, Rc<dyn UpstreamPool>), BuildError> + 'a;

/// What every exchange of one listener on one worker shares.
pub struct HttpService {
    /// The configuration it was made from.
    pub config: Arc<HttpConfig>,
    /// The routes, each with its filter chain.
    pub routes: Routes,
    /// The counters.
    pub stats: HttpStats,
    /// What exchanges are written on.
    pub slates: Slates,
    /// The worker's clock, timer and generator.
    pub environment: Environment,
    /// What clients are told about other ways to come.
    pub alternative: Alternative,
}

/// What responses over TCP say about HTTP/3 (`alt-svc`, RFC 7838 section 3): nothing, unless its listener has it.
#[derive(Debug, Default)]
pub struct Alternative {
    max_age: Option<Duration>,
    /// The value, for the port that was asked last.
    value: RefCell<(u16, Box<str>)>,
}

impl Alternative {
    /// HTTP/3 on the same port, for so long; `None` says nothing.
    #[must_use]
    pub fn new(max_age: Option<Duration>) -> Self {
        Self {
            max_age,
            value: RefCell::default(),
        }
    }

    /// Whether there is anything to say.
    pub(crate) const fn is_said(&self) -> bool {
        self.max_age.is_some()
    }

    /// Calls `say` with the value of the field for a connection to this port, if there is one.
    pub(crate) fn with_value(&self, port: u16, say: impl FnOnce(&[u8])) {
        let Some(max_age) = self.max_age else { return };
        let mut value = self.value.borrow_mut();
        if value.1.is_empty() || value.0 != port {
            let text = format!("h3=\":{port}\"; ma={}", max_age.as_secs());
            *value = (port, text.into());
        }
        say(value.1.as_bytes());
    }
}

impl HttpService {
    /// Makes the service of one listener on one worker.
    ///
    /// # Errors
    /// A filter or route that cannot be built.
    pub fn new(
        config: Arc<HttpConfig>,
        environment: Environment,
        filters: &FilterContext<'_>,
        clusters: &FindCluster<'_>,
    ) -> Result<Self, BuildError> {
        let routes = Routes::build(&config, &BuildRoutes { filters, clusters })?;
        Ok(Self {
            stats: HttpStats::new(filters.stats),
            slates: Slates::default(),
            routes,
            environment,
            alternative: Alternative::default(),
            config,
        })
    }

    /// The time limits.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.config.timeouts
    }

    /// How large a head may be in the versions that count its fields.
    #[must_use]
    pub fn head_bounds(&self) -> HeadBounds {
        let limits = &self.config.limits;
        HeadBounds {
            bytes: limits.head_bytes(),
            fields: limits.fields(),
            path: limits.uri_bytes(),
        }
    }

    /// Counts and logs what was refused before there was a request to speak of.
    pub fn on_refused(&self, connection: &Rc<Connection>, status: Status, reason: &'static str) {
        self.stats.on_refused(status, reason);
        let head = RequestHead {
            method: Method::Other(Bytes::new()),
            target: Target::origin(Bytes::new()),
            version: Version::Http11,
            fields: Fields::new(),
        };
        let request = Request::new(head, Framing::None, connection.secure);
        let record = Record {
            status: Some(status),
            reason: Some(reason),
            started_at: self.environment.clock.wall(),
            ..Record::new(request, self.now())
        };
        let cx = Context::new(Rc::clone(connection), self.now());
        self.routes.fallback().chain.on_refused(&record, &cx);
    }

    /// Now, by the worker's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.environment.clock.now()
    }

    /// The later of two optional time limits counted from `start`: `None` is no limit.
    #[must_use]
    pub fn deadline(start: Instant, limit: Option<Duration>) -> Option<Instant> {
        limit.and_then(|limit| start.checked_add(limit))
    }
}

/// Something that a reload may replace: a service, or settings that connections which stay open look at again.
///
/// All handles of a line of successors share one slot: a connection keeps the handle that it was accepted with, and
/// sees everything later through it, not only the next one.
pub struct Handle<T>(RefCell<Rc<Slot<T>>>);

type Slot<T> = RefCell<Rc<T>>;

/// A service that a reload may replace.
pub type ServiceHandle = Handle<HttpService>;

impl<T> Handle<T> {
    /// A handle to `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(RefCell::new(Rc::new(RefCell::new(Rc::new(value)))))
    }

    /// A handle to the same, now and after it was replaced.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(RefCell::new(Rc::clone(&self.0.borrow())))
    }

    /// What holds now: the service for the next request.
    #[must_use]
    pub fn current(&self) -> Rc<T> {
        Rc::clone(&self.0.borrow().borrow())
    }

    /// From now on what `successor` holds is used, now and after it was replaced in turn.
    pub fn replace(&self, successor: &Self) {
        let slot = Rc::clone(&self.0.borrow());
        *slot.borrow_mut() = successor.current();
        *successor.0.borrow_mut() = slot;
    }
}
