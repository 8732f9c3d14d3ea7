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
use crate::framing::Framing;
use crate::head::{Method, Status};
use crate::local_reply;
use crate::message::{Response, ResponseBody, Side};
use crate::name::KnownField;
use crate::route::{BuildRoutes, Routes};
use crate::slate::{Slate, Slates};
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

/// A request that does not become an exchange.
pub struct Refused<'a> {
    /// The connection that it came on.
    pub connection: &'a Rc<Connection>,
    /// What was read of its head; it was taken when that began.
    pub slate: Box<Slate>,
    /// What it is answered with.
    pub status: Status,
    /// Why: the `reason` label.
    pub reason: &'static str,
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

    /// A request that is refused by its head, of which the slate has what was read: it is counted and logged, and the answer to
    /// it comes back, for the caller to send.
    #[cold]
    pub fn refuse(&self, mut refused: Refused<'_>) -> Response {
        let (status, reason) = (refused.status, refused.reason);
        let settings = self.config.local_reply;
        let response = local_reply::refuse(status, reason, settings, &*self.environment.clock);
        let record = &mut refused.slate.record;
        if let ResponseBody::Local(body) = &response.body
            && record.request.head.method != Method::Head
        {
            record.response_bytes = body.len() as u64;
        }
        record.response_fields = response.head.fields.clone();
        self.on_refused(refused);
        response
    }

    /// As [`refuse`](Self::refuse), where somebody else has answered, without a body.
    #[cold]
    pub fn on_refused(&self, refused: Refused<'_>) {
        self.stats.on_refused(refused.status, refused.reason);
        let Refused {
            connection,
            slate,
            status,
            reason,
        } = refused;
        self.log_refused(connection, slate, Some(status), reason);
    }

    /// A request that gets no answer because it is malformed: it is counted and logged.
    #[cold]
    pub fn on_malformed(
        &self,
        connection: &Rc<Connection>,
        slate: Box<Slate>,
        reason: &'static str,
    ) {
        self.stats.on_downstream_error(reason);
        self.log_refused(connection, slate, None, reason);
    }

    fn log_refused(
        &self,
        connection: &Rc<Connection>,
        mut slate: Box<Slate>,
        status: Option<Status>,
        reason: &'static str,
    ) {
        let now = self.now();
        let record = &mut slate.record;
        let request = &mut record.request;
        request.begin(Framing::None, connection.secure);
        // Nothing is settled: this is what the client wrote.
        let host = request
            .head
            .fields
            .get(KnownField::Host)
            .unwrap_or_default();
        request.authority = Bytes::copy_from_slice(host);
        record.status = status;
        record.reason = Some(reason);
        // RFC 8470 section 5.2: what came too early is well-formed.
        let is_sound = status == Some(Status::TOO_EARLY);
        record.malformed = (!is_sound).then_some(Side::Downstream);
        record.duration = now.saturating_duration_since(record.started);
        record.date(self.environment.clock.wall());
        let cx = Context::new(Rc::clone(connection), now);
        self.routes.fallback().chain.on_refused(record, &cx);
        self.slates.put(slate);
    }

    /// Now, by the worker's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.environment.clock.now()
    }

    /// The earlier of two deadlines: `None` is none.
    #[must_use]
    #[inline]
    pub fn earlier(left: Option<Instant>, right: Option<Instant>) -> Option<Instant> {
        match (left, right) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (deadline, None) | (None, deadline) => deadline,
        }
    }

    /// When a time limit counted from `start` is over: `None` is no limit.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{RequestHead, Target, Version};
    use crate::testing::{Built, context};

    const FORMAT: &str = "cluster: a\nfilters: [{ access_log: { text: '%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% \
        %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_SENT% %RESP(CACHE-CONTROL)%' } }]";

    fn head(method: Method, path: &'static str, version: Version) -> RequestHead {
        let mut head = RequestHead {
            method,
            version,
            target: Target::origin(Bytes::from_static(path.as_bytes())),
            ..RequestHead::blank()
        };
        head.fields.append("host", b"a.test");
        head
    }

    #[test]
    fn what_is_refused_is_logged_as_far_as_it_was_read() {
        let blank = RequestHead {
            method: Method::Other(Bytes::new()),
            ..RequestHead::blank()
        };
        let too_long = (Status::URI_TOO_LONG, "uri_too_long");
        let rows = [
            (
                "nothing",
                blank,
                (Status::BAD_REQUEST, "invalid_method"),
                "- - HTTP/1.1 - 400 invalid_method DPE 32 no-store",
            ),
            (
                "all of it",
                head(Method::Get, "/x", Version::Http10),
                (Status::BAD_REQUEST, "length_and_coding"),
                "GET /x HTTP/1.0 a.test 400 length_and_coding DPE 35 no-store",
            ),
            (
                "HTTP/2",
                head(Method::Post, "/x", Version::Http2),
                too_long,
                "POST /x HTTP/2 a.test 414 uri_too_long DPE 31 no-store",
            ),
            (
                "no body for HEAD",
                head(Method::Head, "/x", Version::Http3),
                too_long,
                "HEAD /x HTTP/3 a.test 414 uri_too_long DPE 0 no-store",
            ),
            (
                "too early",
                head(Method::Post, "/x", Version::Http3),
                (Status::TOO_EARLY, "early_data"),
                "POST /x HTTP/3 a.test 425 early_data - 26 no-store",
            ),
            (
                "too late",
                head(Method::Get, "/x", Version::Http11),
                (Status::REQUEST_TIMEOUT, "head_timeout"),
                "GET /x HTTP/1.1 a.test 408 head_timeout SI 34 no-store",
            ),
        ];
        for (name, head, (status, reason), expected) in rows {
            let built = Built::new(FORMAT);
            let service = built.service();
            let connection = context("192.0.2.7").connection;
            let mut slate = service.slates.take(built.now);
            *slate.request_head() = head;
            let response = service.refuse(Refused {
                connection: &connection,
                slate,
                status,
                reason,
            });
            assert_eq!(response.head.status, status, "{name}");
            assert_eq!(built.lines(), format!("{expected}\n"), "{name}");
        }
    }

    #[test]
    fn what_gets_no_answer_is_logged_too() {
        let built = Built::new(FORMAT);
        let service = built.service();
        let mut slate = service.slates.take(built.now);
        *slate.request_head() = head(Method::Get, "/x", Version::Http2);
        service.on_malformed(&context("192.0.2.7").connection, slate, "connection_field");
        assert_eq!(
            built.lines(),
            "GET /x HTTP/2 a.test 0 connection_field DPE 0 -\n"
        );
    }
}
