//! What comes back on a stream: heads, body, trailers, or a failure.
//!
//! A response is believed no more than a request is: its fields are checked, its length is counted, and an end that came too
//! early is none. Start at [`Response`].

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use portcullis_cluster::SharedLink;
use portcullis_codec::WireError as _;
use portcullis_http::head::{Method, ResponseHead, Status, Version};
use portcullis_http::stream::{BodyPiece, StreamError};
use portcullis_http::{Framing, KnownField};

use super::super::link::Link;
use super::request::Upgrade;
use super::{bad_gateway, is_success};
use portcullis_http::types::{self as fields, HeadBounds};

/// As HTTP/1's for a response's head.
const HEAD: HeadBounds = HeadBounds {
    bytes: 32 * 1024,
    fields: 100,
    path: 0,
};

/// Trailers are held until the body ends, so they are kept smaller than a head.
const TRAILERS: HeadBounds = HeadBounds {
    bytes: 8 * 1024,
    fields: 32,
    path: 0,
};

/// How far the response has come.
pub(super) enum Response {
    /// No request was sent.
    Unasked,
    /// The stream never came to be, or has failed.
    Failed(StreamError),
    /// No final head yet.
    Awaiting(Awaiting),
    /// The head was read; the body is being read.
    Body {
        stream: RecvStream,
        /// Bytes that must still come, if a length was stated.
        left: Option<u64>,
    },
    /// Everything was read.
    Done,
}

/// What is known while the head is awaited.
pub(super) struct Awaiting {
    future: ResponseFuture,
    method: Method,
    upgrade: Option<Upgrade>,
    /// The request's bytes are the tunnel's, and wait for the peer's consent.
    tunnel: bool,
}

impl Response {
    pub(super) fn awaiting(
        future: ResponseFuture,
        method: Method,
        upgrade: Option<Upgrade>,
    ) -> Self {
        Self::Awaiting(Awaiting {
            future,
            method,
            upgrade,
            tunnel: false,
        })
    }

    /// Whether everything was read.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    pub(super) const fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// Whether a request was sent and no final head has come back.
    pub(super) const fn is_unanswered(&self) -> bool {
        matches!(self, Self::Awaiting(_))
    }

    /// Whether nothing may be sent yet.
    pub(super) fn holds_back(&self) -> bool {
        matches!(self, Self::Awaiting(awaiting) if awaiting.tunnel)
    }

    /// Body pieces are a tunnel's bytes from now on.
    pub(super) fn start_tunnel(&mut self) {
        match self {
            Self::Awaiting(awaiting) => awaiting.tunnel = true,
            Self::Body { left, .. } => *left = None,
            Self::Unasked | Self::Failed(_) | Self::Done => {}
        }
    }

    /// The next head.
    pub(super) fn poll_head(
        &mut self,
        task: &mut Context<'_>,
        link: &Link,
        received: bool,
    ) -> Poll<Result<(ResponseHead, Framing), StreamError>> {
        let awaiting = match self {
            Self::Awaiting(awaiting) => awaiting,
            Self::Failed(error) => return Poll::Ready(Err(*error)),
            Self::Unasked | Self::Body { .. } | Self::Done => {
                return Poll::Ready(Err(StreamError::Closed));
            }
        };
        let read = match ready!(awaiting.poll_head(task)) {
            Ok(Read::Interim(head)) => return Poll::Ready(Ok((head, Framing::None))),
            Ok(Read::Final(head, framing, stream)) => Ok((head, framing, stream)),
            Err(Failure::Stream(error)) => Err(failure(&error, link, received)),
            Err(Failure::Head(label)) => Err(bad_gateway(label)),
        };
        match read {
            Ok((head, framing, stream)) => {
                *self = Self::after_head(framing, stream);
                Poll::Ready(Ok((head, framing)))
            }
            Err(error) => {
                *self = Self::Failed(error);
                Poll::Ready(Err(error))
            }
        }
    }

    fn after_head(framing: Framing, stream: RecvStream) -> Self {
        if framing.is_empty() && stream.is_end_stream() {
            return Self::Done;
        }
        let left = match framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
        Self::Body { stream, left }
    }

    /// The next piece of the body. `whole` says that the request was sent to its end.
    pub(super) fn poll_body(
        &mut self,
        task: &mut Context<'_>,
        link: &Link,
        whole: bool,
    ) -> Poll<Result<BodyPiece, StreamError>> {
        loop {
            match self {
                Self::Body { stream, left } => {
                    let piece = match ready!(poll_piece(stream, left, task, link)) {
                        Err(error) => end_of(&error, left.as_ref(), link, whole),
                        Ok(piece) => piece,
                    };
                    match piece {
                        Ok(BodyPiece::Data(_)) => {}
                        Ok(_) => *self = Self::Done,
                        Err(error) => *self = Self::Failed(error),
                    }
                    return Poll::Ready(piece);
                }
                // A tunnel whose other end has not agreed yet.
                Self::Awaiting(_) => {
                    let (head, _) = ready!(self.poll_head(task, link, false))?;
                    if !head.status.is_interim() && !is_success(head.status) {
                        let refused = bad_gateway("upstream_connect_refused");
                        *self = Self::Failed(refused);
                    } else if !head.status.is_interim() {
                        self.start_tunnel();
                    }
                }
                Self::Failed(error) => return Poll::Ready(Err(*error)),
                Self::Unasked => return Poll::Ready(Err(StreamError::Closed)),
                Self::Done => return Poll::Ready(Ok(BodyPiece::End)),
            }
        }
    }
}

/// A head that was read.
enum Read {
    Interim(ResponseHead),
    Final(ResponseHead, Framing, RecvStream),
}

/// Why none was.
enum Failure {
    Stream(h2::Error),
    /// It was, and says something that it must not.
    Head(&'static str),
}

impl Awaiting {
    fn poll_head(&mut self, task: &mut Context<'_>) -> Poll<Result<Read, Failure>> {
        if let Some(interim) = ready!(self.future.poll_informational(task)) {
            let (parts, ()) = interim.map_err(Failure::Stream)?.into_parts();
            let head = head_of(&parts)?;
            // RFC 9113 section 8.6: there is no 101 in HTTP/2.
            return Poll::Ready(if head.status == Status::SWITCHING_PROTOCOLS {
                Err(Failure::Head("unexpected_upgrade"))
            } else {
                Ok(Read::Interim(head))
            });
        }
        let response = ready!(Pin::new(&mut self.future).poll(task)).map_err(Failure::Stream)?;
        let (parts, stream) = response.into_parts();
        let mut head = head_of(&parts)?;
        if let Some(upgrade) = &self.upgrade
            && is_success(head.status)
        {
            switch(&mut head, upgrade);
            return Poll::Ready(Ok(Read::Final(head, Framing::None, stream)));
        }
        let framing = self.framing(&head, stream.is_end_stream())?;
        Poll::Ready(Ok(Read::Final(head, framing, stream)))
    }

    /// RFC 9113 section 8.1.1: the stream's end is the body's, and a stated length must agree.
    fn framing(&self, head: &ResponseHead, ended: bool) -> Result<Framing, Failure> {
        let framing = Framing::of_response(head, &self.method)
            .map_err(|error| Failure::Head(error.label()))?;
        Ok(match framing {
            Framing::UntilClose | Framing::Chunked if ended => Framing::Length(0),
            Framing::UntilClose => Framing::Chunked,
            Framing::Length(1..) if ended => {
                return Err(Failure::Head("invalid_content_length"));
            }
            framing => framing,
        })
    }
}

fn head_of(parts: &http::response::Parts) -> Result<ResponseHead, Failure> {
    fields::response_head(parts, Version::Http2, HEAD).map_err(|error| Failure::Head(error.label()))
}

/// The answer to an extended CONNECT, as HTTP/1 says it (RFC 8441 section 5).
fn switch(head: &mut ResponseHead, upgrade: &Upgrade) {
    head.status = Status::SWITCHING_PROTOCOLS;
    head.version = Version::Http11;
    head.fields.remove(KnownField::ContentLength);
    head.fields.set(KnownField::Upgrade, b"websocket");
    if let Some(accept) = &upgrade.accept {
        head.fields.set("sec-websocket-accept", accept.as_bytes());
    }
}

/// The next piece as it stands on the stream. The outer error is the stream's.
fn poll_piece(
    stream: &mut RecvStream,
    left: &mut Option<u64>,
    task: &mut Context<'_>,
    link: &Link,
) -> Poll<Result<Result<BodyPiece, StreamError>, h2::Error>> {
    while let Some(data) = ready!(stream.poll_data(task)) {
        let data = data?;
        link.wire().on_consumed(data.len(), stream.is_end_stream());
        if data.is_empty() {
            continue;
        }
        stream.flow_control().release_capacity(data.len())?;
        return Poll::Ready(Ok(count(left, data)));
    }
    let trailers = ready!(stream.poll_trailers(task))?;
    if left.is_some_and(|left| left > 0) {
        return Poll::Ready(Ok(Err(StreamError::Closed)));
    }
    Poll::Ready(Ok(match trailers {
        None => Ok(BodyPiece::End),
        Some(trailers) => fields::trailers(&trailers, TRAILERS)
            .map(|trailers| BodyPiece::Trailers(Box::new(trailers)))
            .map_err(|error| bad_gateway(error.label())),
    }))
}

fn count(left: &mut Option<u64>, data: Bytes) -> Result<BodyPiece, StreamError> {
    if let Some(left) = left {
        *left = left
            .checked_sub(data.len() as u64)
            .ok_or(bad_gateway("invalid_content_length"))?;
    }
    Ok(BodyPiece::Data(data))
}

/// What a broken stream means for a body. RFC 9113 section 8.1: a server that has answered in full may end a request that is
/// still being sent with NO_ERROR; `h2` has then forgotten that the response had ended.
fn end_of(
    error: &h2::Error,
    left: Option<&u64>,
    link: &Link,
    whole: bool,
) -> Result<BodyPiece, StreamError> {
    let is_answered =
        error.is_remote() && error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
    if is_answered && !whole && left.is_none_or(|&left| left == 0) {
        return Ok(BodyPiece::End);
    }
    Err(failure(error, link, true))
}

/// What `h2`'s error means for an exchange. After a part of a response, nothing is unprocessed any more.
pub(super) fn failure(error: &h2::Error, link: &Link, received: bool) -> StreamError {
    if let Some(label) = link.state().fault() {
        return bad_gateway(label);
    }
    let reason = error.reason();
    if error.is_remote() {
        let refused = error.is_go_away() || reason == Some(Reason::REFUSED_STREAM);
        return if refused && !received {
            StreamError::Unprocessed
        } else {
            StreamError::Reset
        };
    }
    if error.is_library() {
        return bad_gateway(match reason {
            Some(Reason::FLOW_CONTROL_ERROR) => "h2_flow_control",
            Some(Reason::STREAM_CLOSED) => "h2_stream_closed",
            _ => "h2_malformed_response",
        });
    }
    match error.get_io().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::ConnectionAborted) => {
            StreamError::Reset
        }
        Some(
            std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::WriteZero,
        ) => StreamError::Closed,
        Some(_) => StreamError::Io,
        None => StreamError::Reset,
    }
}
