//! What HTTP filters see: the request, the response, and the record of an exchange.
//!
//! Not the wire: heads are in [`crate::head`]. Start at [`Http`], the message types of the filter chain.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use portcullis_codec::run;
use portcullis_filter::Messages;

use crate::fields::Fields;
use crate::framing::Framing;
use crate::grpc::Named;
use crate::head::{RequestHead, ResponseHead, Scheme, Status};
use crate::stream::BodyPiece;

/// The messages of every HTTP version.
#[derive(Debug, Clone, Copy)]
pub struct Http;

impl Messages for Http {
    type Request = Request;
    type Response = Response;
    type Data = Data;
    type Record = Record;
}

/// A piece of a body as filters see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Data {
    /// Its bytes; there may be none at the end of the body. A filter may put others in their place, also longer or
    /// shorter ones if it has seen to the framing when the head passed.
    pub bytes: Bytes,
    /// The trailers, with the last piece. A filter may change, take or add them; where the other side's version or
    /// framing cannot carry trailers, they are left out.
    pub trailers: Option<Box<Fields>>,
}

/// A request as filters and routes see it: target settled, framing decided.
#[derive(Debug, Clone)]
pub struct Request {
    /// The head. Its path is normalised; Host equals [`Request::authority`].
    pub head: RequestHead,
    /// How the body is delimited on the downstream side.
    pub framing: Framing,
    /// How the client reached us: from TLS, or from a trusted proxy's word.
    pub scheme: Scheme,
    /// `host[:port]`, lower case: the one value used for matching and for forwarding. Empty for HTTP/1.0
    /// requests without Host.
    pub authority: Bytes,
    /// Ask the exchange to collect the whole body before it goes upstream, if it is at most so long. Filters that see
    /// bodies then see it in one piece.
    pub collect_body: Option<u64>,
    /// A filter answers this request itself when it has seen the body: it is collected (by
    /// [`Request::collect_body`]) before the route's action is carried out, whatever that is.
    pub answered_by_filter: bool,
    /// The longest body accepted; `None` for the listener's or route's own limit.
    pub max_body: Option<u64>,
    /// The protocol asked for by `upgrade`, lower case, when the connection asks for one.
    pub upgrade: Option<Bytes>,
    /// How much of a gRPC call's name the route spells out.
    pub grpc_named: Named,
    /// The path and query as the client sent them, once they were changed.
    pub original_path: Option<Bytes>,
}

impl Request {
    /// A request as it was read, before [`crate::normalize::settle`].
    #[must_use]
    #[inline]
    pub const fn new(head: RequestHead, framing: Framing, secure: bool) -> Self {
        Self {
            head,
            framing,
            scheme: if secure { Scheme::Https } else { Scheme::Http },
            authority: Bytes::new(),
            collect_body: None,
            answered_by_filter: false,
            max_body: None,
            upgrade: None,
            grpc_named: Named::No,
            original_path: None,
        }
    }

    /// What is known with the head: how its body is delimited, and whether it came from TLS.
    #[inline]
    pub(crate) const fn begin(&mut self, framing: Framing, secure: bool) {
        self.framing = framing;
        self.scheme = if secure { Scheme::Https } else { Scheme::Http };
    }

    /// Back to what [`Request::new`] makes of a blank head.
    pub(crate) fn clear(&mut self) {
        // Each by its name, so that none is forgotten.
        let Self {
            head,
            framing,
            scheme,
            authority,
            collect_body,
            answered_by_filter,
            max_body,
            upgrade,
            grpc_named,
            original_path,
        } = self;
        head.clear();
        *framing = Framing::None;
        *scheme = Scheme::Http;
        *authority = Bytes::new();
        *collect_body = None;
        *answered_by_filter = false;
        *max_body = None;
        *upgrade = None;
        *grpc_named = Named::No;
        *original_path = None;
    }

    /// Changes path and query; those that the client sent are kept beside them.
    pub fn replace_path(&mut self, path_and_query: Bytes) {
        let before = std::mem::replace(&mut self.head.target.path_and_query, path_and_query);
        self.original_path.get_or_insert(before);
    }

    /// Whether the body is known to be longer than `limit` before any of it was read.
    #[must_use]
    pub const fn framing_exceeds(&self, limit: u64) -> bool {
        matches!(self.framing, Framing::Length(length) if length > limit)
    }

    /// The authority without its port. An IPv6 literal keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        let authority: &[u8] = &self.authority;
        let literal = match authority.first() {
            Some(b'[') => memchr::memchr(b']', authority).unwrap_or(0),
            _ => 0,
        };
        let port = authority.get(literal..).map_or(0, run::colon);
        authority.get(..literal + port).unwrap_or(authority)
    }
}

/// A response as filters see it.
#[derive(Debug, Clone)]
pub struct Response {
    /// The head.
    pub head: ResponseHead,
    /// Where the body comes from. A filter that changes the length of an upstream's body says
    /// [`Framing::Chunked`] here.
    pub body: ResponseBody,
    /// The trailers of a body made here; those of an upstream or a stream come with its last piece.
    pub trailers: Option<Box<Fields>>,
    /// Why the gateway answered itself: the `reason` label. `None` for a response from upstream.
    pub reason: Option<&'static str>,
}

/// Where a response's body comes from.
#[derive(Debug, Clone)]
pub enum ResponseBody {
    /// From upstream, delimited so.
    Upstream(Framing),
    /// Made here.
    Local(Bytes),
    /// Made here piece by piece.
    Stream(LocalStream),
}

/// A body that is made here as time goes on, for as long as its client stays. Filters that see data see its pieces.
///
/// A copy is the same stream: each piece is there once.
#[derive(Clone)]
pub struct LocalStream(Rc<RefCell<PollPiece>>);

type PollPiece = dyn FnMut(&mut Context<'_>) -> Poll<BodyPiece>;

impl LocalStream {
    /// A stream of what `poll` says: pieces, and an end, after which it is not asked again.
    pub fn new(poll: impl FnMut(&mut Context<'_>) -> Poll<BodyPiece> + 'static) -> Self {
        Self(Rc::new(RefCell::new(poll)))
    }

    /// The next piece.
    pub fn poll_piece(&self, task: &mut Context<'_>) -> Poll<BodyPiece> {
        (self.0.borrow_mut())(task)
    }
}

impl std::fmt::Debug for LocalStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LocalStream")
    }
}

impl Response {
    /// A response made here, with a body of bytes and no fields.
    #[must_use]
    pub fn local(status: Status, reason: &'static str, body: Bytes) -> Self {
        Self {
            head: ResponseHead::new(status),
            body: ResponseBody::Local(body),
            trailers: None,
            reason: Some(reason),
        }
    }
}

/// What is known about one exchange, complete when it is over. Access logs are written from it.
#[derive(Debug)]
pub struct Record {
    /// The request as it was forwarded (or would have been).
    pub request: Request,
    /// Wall-clock time at which the head was read. Right only where a filter sees the record: see [`Record::date`].
    pub started_at: SystemTime,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// When the upstream's final head came.
    pub first_byte: Option<Instant>,
    /// Until the end.
    pub duration: Duration,
    /// Body bytes from downstream.
    pub request_bytes: u64,
    /// Body bytes towards downstream.
    pub response_bytes: u64,
    /// The final status sent downstream; `None` if none was.
    pub status: Option<Status>,
    /// Fields of the final response as sent, where a filter sees the record.
    pub response_fields: Fields,
    /// The name of the route, where a filter sees the record.
    pub route: Option<Rc<str>>,
    /// The name of the cluster, where a filter sees the record.
    pub cluster: Option<Rc<str>>,
    /// The endpoint that answered, as configured and resolved, where a filter sees the record.
    pub endpoint: Option<Rc<str>>,
    /// How many times the request was sent upstream.
    pub attempts: u32,
    /// Why it ended as it did, where that was not a plain response: the `reason` label.
    pub reason: Option<&'static str>,
    /// Whose message was malformed, where that is why.
    pub malformed: Option<Side>,
}

/// One of the two peers of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Downstream,
    /// The endpoint.
    Upstream,
}

impl Side {
    /// Whose fault is said in a status, given that a message was malformed.
    pub(crate) fn to_blame(status: Status) -> Self {
        if status == Status::BAD_GATEWAY {
            Self::Upstream
        } else {
            Self::Downstream
        }
    }
}

impl Record {
    /// The record of `request`, of which nothing has come yet. `started` is now.
    #[must_use]
    #[inline]
    pub fn new(request: Request, started: Instant) -> Self {
        Self {
            request,
            started_at: SystemTime::UNIX_EPOCH,
            started,
            first_byte: None,
            duration: Duration::ZERO,
            request_bytes: 0,
            response_bytes: 0,
            status: None,
            response_fields: Fields::new(),
            route: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            reason: None,
            malformed: None,
        }
    }

    /// As [`Record::new`] of a blank request would be. When it started is left to whoever begins anew.
    pub(crate) fn clear(&mut self) {
        // Each by its name, so that none is forgotten.
        let Self {
            request,
            started_at,
            started: _,
            first_byte,
            duration,
            request_bytes,
            response_bytes,
            status,
            response_fields,
            route,
            cluster,
            endpoint,
            attempts,
            reason,
            malformed,
        } = self;
        request.clear();
        *started_at = SystemTime::UNIX_EPOCH;
        *first_byte = None;
        *duration = Duration::ZERO;
        *request_bytes = 0;
        *response_bytes = 0;
        *status = None;
        response_fields.clear();
        *route = None;
        *cluster = None;
        *endpoint = None;
        *attempts = 0;
        *reason = None;
        *malformed = None;
    }

    /// Says when it started, given the wall clock when it is over.
    pub fn date(&mut self, over: SystemTime) {
        self.started_at = over.checked_sub(self.duration).unwrap_or(over);
    }
}
