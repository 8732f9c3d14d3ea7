//! One request to an endpoint and its response: a stream of a shared connection.
//!
//! Dropping it before both ends have come resets it, so that a client that goes away is felt upstream. Start at [`Upstream`].

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use portcullis_cluster::SharedLink;
use portcullis_http::head::{RequestHead, ResponseHead, Status};
use portcullis_http::stream::{BodyPiece, StreamError, UpstreamStream};
use portcullis_http::{Fields, Framing, types};

use super::super::quic::{Bidi, Failure};
use super::link::{Exchange, Link, Place};
use super::request::{self, Opening};
use super::response::{self, Response};

/// Bytes that may wait for room in the peer's window before no more should be queued.
const HIGH_WATER: usize = 32 * 1024;

/// One request and its response.
pub(super) struct Upstream {
    response: Response,
    /// `h3`'s part of it, once the head was sent.
    exchange: Option<Exchange>,
    /// The end is queued.
    ending: bool,
    /// What had gone out when the stream was opened.
    sent_before: u64,
    reused: bool,
    received: bool,
    /// Last, so that the stream is gone when its place is given on.
    place: Place,
}

impl Upstream {
    /// A stream on which nothing was sent yet.
    pub(super) fn new(place: Place) -> Self {
        Self {
            response: Response::Unasked,
            exchange: None,
            ending: false,
            sent_before: 0,
            reused: place.link().state().was_idle(),
            received: false,
            place,
        }
    }

    fn link(&self) -> &Link {
        self.place.link()
    }

    /// Queues the head. A connection that fails now has not seen the request: the exchange hears of it when it asks for the
    /// response.
    fn open(&mut self, opening: Opening) {
        let link = self.place.link();
        if link.state().is_retired() {
            self.response = Response::Failed(StreamError::Unprocessed);
            return;
        }
        self.sent_before = link.frames_sent();
        link.signals().offer(Bidi::new(self.place.message()));
        let mut requests = link.requests();
        match at_once(requests.send_request(opening.request)) {
            Some(Ok(exchange)) => {
                link.stats().streams.inc();
                self.response = Response::awaiting(opening.method);
                self.exchange = Some(exchange);
            }
            // RFC 9114 section 4.2.2: it has said how large a head it takes.
            Some(Err(h3::error::StreamError::HeaderTooBig { .. })) => {
                self.response = Response::Failed(StreamError::Protocol {
                    label: "head_too_large_for_endpoint",
                    status: Status::HEADER_FIELDS_TOO_LARGE,
                });
            }
            Some(Err(_)) | None => {
                self.response = Response::Failed(StreamError::Unprocessed);
            }
        }
        drop(requests);
        if opening.ended {
            self.end(None);
        }
    }

    fn end(&mut self, trailers: Option<&Fields>) {
        if std::mem::replace(&mut self.ending, true) {
            return;
        }
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let trailers = trailers.and_then(|trailers| types::header_map(trailers).ok());
        if let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) {
            // Those that are larger than the peer takes are left out, as where a version has none.
            let _ = at_once(exchange.send_trailers(trailers));
        }
        let _ = at_once(exchange.finish());
    }

    /// Whether both directions have come to their end.
    fn is_complete(&self) -> bool {
        self.response.is_done() && self.place.message().is_sent()
    }

    fn note(&self, error: StreamError) -> StreamError {
        let stats = self.link().stats();
        match error {
            StreamError::Unprocessed => stats.unprocessed.inc(),
            StreamError::Reset => stats.resets_received.inc(),
            _ => {}
        }
        error
    }

    /// Whether the peer has said that it did not look at the request, and nothing of a response has come.
    fn is_left_out(&self) -> bool {
        let stream = self.place.message().id();
        !self.received && self.response.is_unanswered() && self.link().leaves_out(stream)
    }
}

impl UpstreamStream for Upstream {
    fn send_head(&mut self, head: &RequestHead, framing: Framing) -> Result<(), StreamError> {
        if let Some(refusal) = request::refusal(head) {
            self.response = Response::Failed(refusal);
            return Ok(());
        }
        let opening = Opening::new(head, framing, &self.link().terms.authority)?;
        self.open(opening);
        Ok(())
    }

    fn send_data(&mut self, data: Bytes) {
        if !data.is_empty() && !self.ending && self.exchange.is_some() {
            self.place.message().queue_data(data);
        }
    }

    fn send_end(&mut self, trailers: Option<&Fields>) {
        self.end(trailers);
    }

    fn is_full(&self) -> bool {
        self.place.message().queued() >= HIGH_WATER
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.exchange.is_none() {
            return Poll::Ready(Ok(()));
        }
        let message = self.place.message();
        let Err(failure) = ready!(message.poll_flush(task)) else {
            return Poll::Ready(Ok(()));
        };
        message.stop_sending();
        // RFC 9114 section 4.1: one that wants no more of a request can have answered all the same, and says so by its code or
        // by what comes.
        Poll::Ready(match failure {
            Failure::Ended(code) if code != response::REJECTED => Ok(()),
            failure => Err(response::failure(&failure, &self.place, self.received)),
        })
    }

    fn poll_head(
        &mut self,
        task: &mut Context<'_>,
        place: &mut Option<ResponseHead>,
    ) -> Poll<Result<Framing, StreamError>> {
        if self.is_left_out() {
            self.response = Response::Failed(StreamError::Unprocessed);
            return Poll::Ready(Err(self.note(StreamError::Unprocessed)));
        }
        let stream = self.place.message().id();
        let polled = self
            .response
            .poll_head(task, &mut self.exchange, &self.place, self.received);
        let Poll::Ready(read) = polled else {
            self.link().await_response(stream, task.waker());
            return Poll::Pending;
        };
        self.link().forget_response(stream);
        self.received |= read.is_ok();
        Poll::Ready(match read {
            Ok((head, framing)) => {
                *place = Some(head);
                Ok(framing)
            }
            Err(error) => Err(self.note(error)),
        })
    }

    fn poll_body(&mut self, task: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>> {
        let piece = self
            .response
            .poll_body(task, &mut self.exchange, &self.place);
        ready!(piece).map_or_else(
            |error| Poll::Ready(Err(self.note(error))),
            |piece| Poll::Ready(Ok(piece)),
        )
    }

    fn start_tunnel(&mut self) {
        if matches!(self.response, Response::Unasked) {
            self.response = Response::Failed(request::NO_CONNECT);
        }
    }

    fn takes_connect(&self) -> bool {
        false
    }

    fn is_reused(&self) -> bool {
        self.reused
    }

    fn has_sent(&self) -> bool {
        self.exchange.is_some()
            && self.place.message().sent() > 0
            && self.link().frames_sent() > self.sent_before
    }

    fn has_received(&self) -> bool {
        self.received
    }

    fn bytes_sent(&self) -> u64 {
        self.place.message().sent()
    }

    /// The connection goes on in any case; a stream that is not complete is reset.
    fn release(self: Box<Self>) {}
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if self.exchange.is_none() {
            return;
        }
        self.link().forget_response(self.place.message().id());
        if !self.response.is_failed() && !self.is_complete() {
            // The message sends the reset.
            self.link().stats().resets_sent.inc();
        }
    }
}

/// The outcome of what never has to wait, since sending is queueing.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut quiet = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut quiet) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}
