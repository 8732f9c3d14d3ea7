//! What comes back on a stream: heads, body, trailers, or a failure.
//!
//! A response is believed no more than a request is: its fields are checked, its length is counted, and an end that came too
//! early is none. Start at [`Response`].

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use portcullis_cluster::SharedLink;
use portcullis_codec::WireError as _;
use portcullis_http::Framing;
use portcullis_http::head::{Method, ResponseHead, Status, Version};
use portcullis_http::stream::{BodyPiece, StreamError};
use portcullis_http::types::{self, HeadBounds};
use quinn::ConnectionError;

use super::super::quic::Failure;
use super::bad_gateway;
use super::link::{Exchange, Place};

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

/// H3_REQUEST_REJECTED (RFC 9114 section 8.1): nothing of the request was looked at.
pub(super) const REJECTED: u64 = 0x10b;

/// H3_MESSAGE_ERROR (RFC 9114 section 8.1).
const MESSAGE_ERROR: u64 = 0x10e;

/// How far the response has come.
pub(super) enum Response {
    /// No request was sent.
    Unasked,
    /// The stream never came to be, or has failed.
    Failed(StreamError),
    /// No final head yet, to a request with this method.
    Awaiting(Method),
    /// The head was read; the body is being read.
    Body {
        /// Bytes that must still come, if a length was stated.
        left: Option<u64>,
        /// Only trailers are left.
        ended: bool,
    },
    /// Everything was read.
    Done,
}

impl Response {
    pub(super) const fn awaiting(method: Method) -> Self {
        Self::Awaiting(method)
    }

    /// Whether everything was read. A response without a body may end later.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Body { left: Some(0), .. })
    }

    pub(super) const fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// Whether a request was sent and no final head has come back.
    pub(super) const fn is_unanswered(&self) -> bool {
        matches!(self, Self::Awaiting(_))
    }

    /// The next head.
    pub(super) fn poll_head(
        &mut self,
        task: &mut Context<'_>,
        exchange: &mut Option<Exchange>,
        place: &Place,
        received: bool,
    ) -> Poll<Result<(ResponseHead, Framing), StreamError>> {
        let (method, exchange) = match (&*self, exchange) {
            (Self::Awaiting(method), Some(exchange)) => (method, exchange),
            (Self::Failed(error), _) => return Poll::Ready(Err(*error)),
            _ => return Poll::Ready(Err(StreamError::Closed)),
        };
        let read = match ready!(pin!(exchange.recv_response()).poll(task)) {
            Ok(response) => judge_head(&response.into_parts().0, method, place),
            Err(error) => Err(failure_of(&error, place, received)),
        };
        match read {
            Ok((head, framing)) if head.status.is_interim() => Poll::Ready(Ok((head, framing))),
            Ok((head, framing)) => {
                *self = Self::after_head(framing, place);
                Poll::Ready(Ok((head, framing)))
            }
            Err(error) => {
                *self = Self::Failed(error);
                Poll::Ready(Err(error))
            }
        }
    }

    fn after_head(framing: Framing, place: &Place) -> Self {
        if framing.is_empty() && place.message().is_at_end() {
            return Self::Done;
        }
        let left = match framing {
            Framing::Length(length) => Some(length),
            Framing::None => Some(0),
            Framing::Chunked | Framing::UntilClose => None,
        };
        Self::Body { left, ended: false }
    }

    /// The next piece of the body.
    pub(super) fn poll_body(
        &mut self,
        task: &mut Context<'_>,
        exchange: &mut Option<Exchange>,
        place: &Place,
    ) -> Poll<Result<BodyPiece, StreamError>> {
        let (left, ended, exchange) = match (&mut *self, exchange) {
            (Self::Body { left, ended }, Some(exchange)) => (left, ended, exchange),
            (Self::Failed(error), _) => return Poll::Ready(Err(*error)),
            (Self::Done, _) => return Poll::Ready(Ok(BodyPiece::End)),
            _ => return Poll::Ready(Err(StreamError::Closed)),
        };
        let piece = ready!(poll_piece(exchange, left, ended, place, task));
        match &piece {
            Ok(BodyPiece::Data(_)) => {}
            Ok(_) => *self = Self::Done,
            Err(error) => *self = Self::Failed(*error),
        }
        Poll::Ready(piece)
    }
}

/// What a head means. The guard hears whether it was the last one.
fn judge_head(
    parts: &http::response::Parts,
    method: &Method,
    place: &Place,
) -> Result<(ResponseHead, Framing), StreamError> {
    let message = place.message();
    let malformed = |label| {
        message.close_with(MESSAGE_ERROR);
        bad_gateway(label)
    };
    let head = types::response_head(parts, Version::Http3, HEAD)
        .map_err(|error| malformed(error.label()))?;
    // RFC 9114 section 4.5: there is no 101 in HTTP/3.
    if head.status == Status::SWITCHING_PROTOCOLS {
        return Err(malformed("unexpected_upgrade"));
    }
    message.on_head(head.status.is_interim());
    if head.status.is_interim() {
        return Ok((head, Framing::None));
    }
    let ended = message.is_at_end();
    let framing = Framing::of_response(&head, method).map_err(|error| malformed(error.label()))?;
    // RFC 9114 section 4.1.2: the stream's end is the body's, and a stated length must agree.
    let framing = match framing {
        Framing::UntilClose | Framing::Chunked if ended => Framing::Length(0),
        Framing::UntilClose => Framing::Chunked,
        Framing::Length(1..) if ended => return Err(malformed("invalid_content_length")),
        framing => framing,
    };
    Ok((head, framing))
}

/// The next piece as it stands on the stream.
fn poll_piece(
    exchange: &mut Exchange,
    left: &mut Option<u64>,
    ended: &mut bool,
    place: &Place,
    task: &mut Context<'_>,
) -> Poll<Result<BodyPiece, StreamError>> {
    let message = place.message();
    let malformed = |label| {
        message.close_with(MESSAGE_ERROR);
        bad_gateway(label)
    };
    if !*ended {
        let data = match ready!(exchange.poll_recv_data(task)) {
            Ok(data) => data.map(|mut data| data.copy_to_bytes(data.remaining())),
            Err(error) => return Poll::Ready(Err(failure_of(&error, place, true))),
        };
        if let Some(data) = data {
            message.on_taken(data.len());
            return Poll::Ready(count(left, data).map_err(malformed));
        }
        *ended = true;
    }
    let trailers = match ready!(exchange.poll_recv_trailers(task)) {
        Ok(trailers) => trailers,
        Err(error) => return Poll::Ready(Err(failure_of(&error, place, true))),
    };
    if left.is_some_and(|left| left > 0) {
        return Poll::Ready(Err(StreamError::Closed));
    }
    Poll::Ready(match trailers {
        None => Ok(BodyPiece::End),
        Some(trailers) => types::trailers(&trailers, TRAILERS)
            .map(|trailers| BodyPiece::Trailers(Box::new(trailers)))
            .map_err(|error| malformed(error.label())),
    })
}

fn count(left: &mut Option<u64>, data: Bytes) -> Result<BodyPiece, &'static str> {
    if let Some(left) = left {
        *left = left
            .checked_sub(data.len() as u64)
            .ok_or("invalid_content_length")?;
    }
    Ok(BodyPiece::Data(data))
}

/// What `h3`'s error means for an exchange. What the stream itself knows says more.
fn failure_of(error: &h3::error::StreamError, place: &Place, received: bool) -> StreamError {
    use h3::error::StreamError as E;
    let message = place.message();
    // Where `h3` itself ended it, it says why.
    if let Some(failure) = message.failure().filter(|known| *known != Failure::Closed) {
        return self::failure(&failure, place, received);
    }
    if let Some(label) = place.link().state().fault() {
        return bad_gateway(label);
    }
    match error {
        E::HeaderTooBig { .. } => bad_gateway("head_too_large"),
        E::StreamError { .. } => {
            message.close_with(MESSAGE_ERROR);
            bad_gateway("h3_malformed_response")
        }
        E::ConnectionError {
            0: h3::error::ConnectionError::Local { .. },
            ..
        } => bad_gateway("h3_protocol_error"),
        E::RemoteClosing { .. } if !received => StreamError::Unprocessed,
        _ => StreamError::Reset,
    }
}

/// What the end of a stream before its end means for an exchange. After a part of a response, nothing is unprocessed any more.
pub(super) fn failure(failure: &Failure, place: &Place, received: bool) -> StreamError {
    let link = place.link();
    match failure {
        Failure::Breach(breach) => {
            place.message().close_with(breach.code());
            if !breach.is_of_stream() {
                link.cut(breach.label(), breach.code());
            }
            bad_gateway(breach.label())
        }
        Failure::Ended(code) if *code == REJECTED && !received => StreamError::Unprocessed,
        Failure::Ended(_) | Failure::Closed => StreamError::Reset,
        Failure::Lost(_) if !received && link.leaves_out(place.message().id()) => {
            StreamError::Unprocessed
        }
        Failure::Lost(_) if link.is_gone() => StreamError::Reset,
        Failure::Lost(error) => match link.state().fault() {
            Some(label) => bad_gateway(label),
            None => of_connection(error),
        },
    }
}

fn of_connection(error: &ConnectionError) -> StreamError {
    match error {
        ConnectionError::TimedOut => bad_gateway("upstream_ping_timeout"),
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
            bad_gateway("quic_protocol_error")
        }
        ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed => {
            StreamError::Closed
        }
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::CidsExhausted => StreamError::Reset,
    }
}
