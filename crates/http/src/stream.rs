//! The seam between the exchange and the wire: one request and its response, seen from either side.
//!
//! Each HTTP version implements both traits; any downstream meets any upstream. The traits are poll-based so
//! that one task drives both directions at once without a lock or a second task. Sending never blocks: bytes are
//! queued, [`DownstreamStream::poll_flush`] moves them, and the `is_full` methods are the back-pressure.
//!
//! Not a connection: keep-alive, pipelining and multiplexing stay with each version.
//! Start at [`DownstreamStream`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use portcullis_cluster::{Endpoint, NoPlace};

use crate::fields::Fields;
use crate::framing::Framing;
use crate::head::{RequestHead, ResponseHead, Status};

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPiece {
    /// Bytes, never none.
    Data(Bytes),
    /// The body's end, with trailers (RFC 9110 section 6.5).
    Trailers(Box<Fields>),
    /// The body's end.
    End,
}

/// What went wrong on one side of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer closed in the middle of a message.
    #[error("closed in the middle of a message")]
    Closed,
    /// The peer reset the connection or stream.
    #[error("reset by peer")]
    Reset,
    /// Reading or writing failed in another way.
    #[error("input or output failed")]
    Io,
    /// The upstream says that it has not looked at the request (RFC 9113 section 8.7): a stream that it refused,
    /// or one above the last that its GOAWAY names. Sending it again is safe, whatever its method. Only before a
    /// response's head; never said of a downstream.
    #[error("refused before it was looked at")]
    Unprocessed,
    /// What the peer sent is no HTTP, or breaks a limit. The label says which rule.
    #[error("protocol error: {label}")]
    Protocol {
        /// The `reason` label.
        label: &'static str,
        /// What to answer a request that did this; 502 for a response.
        status: Status,
    },
}

impl StreamError {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Io => "io",
            Self::Unprocessed => "unprocessed",
            Self::Protocol { label, .. } => label,
        }
    }
}

/// One request from downstream and the response that goes back.
pub trait DownstreamStream {
    /// The next piece of the request's body. Not called again after the end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>>;

    /// Answers when the peer is certainly gone. Pending while it may still be there; for use while there is
    /// nothing to read or write.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError>;

    /// Queues an interim (1xx) response.
    ///
    /// # Errors
    /// The head has no wire form.
    fn send_interim(&mut self, head: &ResponseHead) -> Result<(), StreamError>;

    /// Queues the response's head. `framing` is how the body that follows is delimited as far as is known; the
    /// version may choose another way that means the same. `close` asks for the connection to end after it.
    ///
    /// # Errors
    /// The head has no wire form.
    fn send_head(
        &mut self,
        head: &ResponseHead,
        framing: Framing,
        close: bool,
    ) -> Result<(), StreamError>;

    /// Queues a piece of the response's body.
    fn send_data(&mut self, data: Bytes);

    /// Queues the end of the response, with trailers if the version can carry them.
    fn send_end(&mut self, trailers: Option<&Fields>);

    /// Whether no more data should be queued before a flush has made room.
    fn is_full(&self) -> bool;

    /// Writes what is queued. Ready when nothing is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;

    /// Turns both directions into plain bytes: body pieces in, data out, each side's end on its own. Called
    /// after the head of a 101 (or of a CONNECT's success) was queued.
    fn start_tunnel(&mut self);

    /// Ends the stream without a proper end of the response, so that the peer can tell.
    fn abort(&mut self);

    /// Bytes written towards the peer for this request so far.
    fn bytes_sent(&self) -> u64;

    /// Completes at `deadline`; never without one. Cheap to call with a deadline that moves later.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()>;

    /// The time of this loop turn.
    fn now(&self) -> Instant;
}

/// One request to an upstream and the response that comes back.
pub trait UpstreamStream {
    /// Queues the request's head; the body follows by [`UpstreamStream::send_data`] unless `framing` is empty.
    ///
    /// # Errors
    /// The head has no wire form.
    fn send_head(&mut self, head: &RequestHead, framing: Framing) -> Result<(), StreamError>;

    /// Queues a piece of the request's body.
    fn send_data(&mut self, data: Bytes);

    /// Queues the end of the request's body.
    fn send_end(&mut self, trailers: Option<&Fields>);

    /// Whether no more data should be queued before a flush has made room.
    fn is_full(&self) -> bool;

    /// Writes what is queued. Ready when nothing is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;

    /// The next head: interim ones, then the final one; the answer is the framing of its body. The head is put into
    /// `place`: an answer that held it would be copied at every step. If there is a head there, it is blank
    /// ([`ResponseHead::clear`]), and its memory may be used; without an answer, what is there means nothing.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        place: &mut Option<ResponseHead>,
    ) -> Poll<Result<Framing, StreamError>>;

    /// All that is left of the response's body, if it is here and no trailers can follow: the body has ended then. `None`
    /// says nothing. Small bodies come with their head, and pass in one step by this.
    fn take_rest(&mut self) -> Option<Bytes> {
        None
    }

    /// The next piece of the response's body. Not called again after the end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>>;

    /// Turns both directions into plain bytes, after a 101 head was received. Where nothing was sent it is a CONNECT to the
    /// endpoint itself, if the stream [takes one](Self::takes_connect).
    fn start_tunnel(&mut self);

    /// Whether it can become a tunnel to the endpoint itself, which a client is told before.
    fn takes_connect(&self) -> bool {
        true
    }

    /// Whether the connection had served a request before: a reset before any response byte then usually means
    /// that it was closed while idle.
    fn is_reused(&self) -> bool;

    /// Whether any byte of the request may have reached the peer.
    fn has_sent(&self) -> bool;

    /// Whether any byte of a response has arrived.
    fn has_received(&self) -> bool;

    /// Bytes of the request written so far.
    fn bytes_sent(&self) -> u64;

    /// Gives the stream back. A connection whose request and response are both complete, and that both sides
    /// agreed to keep, is kept for another request; any other is closed. Dropping always closes.
    fn release(self: Box<Self>);
}

/// Why no stream to an endpoint could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// The connection was refused.
    #[error("connection refused")]
    Refused,
    /// It took longer than the connect timeout.
    #[error("connect timed out")]
    TimedOut,
    /// No route to it, or another failure before any byte was sent.
    #[error("unreachable")]
    Unreachable,
    /// The cluster's limit on connections is reached.
    #[error("connection limit reached")]
    Limited,
    /// This process is out of descriptors or local ports: not the endpoint's fault.
    #[error("out of descriptors or ports")]
    Exhausted,
    /// Reached, and TLS failed; the label says how.
    #[error("TLS failed: {0}")]
    Tls(&'static str),
    /// Connected, but what answers does not speak the version of HTTP that the cluster asks for.
    #[error("not the version of HTTP that was asked for")]
    Mismatch,
}

impl ConnectFailure {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "connect_refused",
            Self::TimedOut => "connect_timeout",
            Self::Unreachable => "connect_unreachable",
            Self::Limited => "upstream_connection_limit",
            Self::Exhausted => "local_exhaustion",
            Self::Tls(label) => label,
            Self::Mismatch => "upstream_protocol_mismatch",
        }
    }
}

impl ConnectFailure {
    /// Whether it says nothing about the endpoint: trying another would not help.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Limited | Self::Exhausted)
    }
}

impl From<NoPlace> for ConnectFailure {
    fn from(reason: NoPlace) -> Self {
        match reason {
            NoPlace::Gone => Self::Unreachable,
            NoPlace::Limited => Self::Limited,
            NoPlace::TimedOut => Self::TimedOut,
        }
    }
}

/// A stream to an upstream, whatever its version.
pub type BoxedUpstream = Box<dyn UpstreamStream>;

/// A connect under way.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<BoxedUpstream, ConnectFailure>> + 'a>>;

/// The streams to one cluster, on one worker.
pub trait UpstreamPool {
    /// A stream that needs no waiting: an idle connection, or room on a multiplexed one. `careful` asks for a
    /// check with the kernel that an idle connection is still open, for requests that cannot be sent twice.
    fn take(&self, endpoint: &Endpoint, careful: bool, now: Instant) -> Option<BoxedUpstream>;

    /// A stream on a new connection, within the cluster's connect timeout. `client` is for a PROXY header.
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        client: &'a portcullis_filter::Connection,
    ) -> Connecting<'a>;
}
