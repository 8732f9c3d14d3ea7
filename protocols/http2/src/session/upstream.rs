//! One request to an endpoint and its response: a stream of a shared connection.
//!
//! The stream is opened when the request's head is sent; dropping it before both ends have come resets it, so that a client that goes
//! away is felt upstream. A WebSocket goes as extended CONNECT, and its 200 comes back as the 101 that the exchange waits
//! for (RFC 8441). Start at [`Upstream`].

mod request;
mod response;

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use portcullis_cluster::SharedLink;
use portcullis_http::head::{Method, RequestHead, ResponseHead, Status};
use portcullis_http::stream::{BodyPiece, StreamError, UpstreamStream};
use portcullis_http::{Fields, Framing};

use self::request::Opening;
use self::response::Response;
use super::link::{Link, Place};
use portcullis_http::types as fields;

/// Bytes that may wait for room in the peer's window before no more should be queued.
const HIGH_WATER: usize = 32 * 1024;

/// One request and its response.
pub(super) struct Upstream {
    response: Response,
    send: Option<SendStream<Bytes>>,
    queue: VecDeque<Bytes>,
    queued: usize,
    end: End,
    sent: u64,
    /// What the connection had written when the stream was opened.
    written_before: u64,
    reused: bool,
    received: bool,
    /// Last, so that the stream is gone when its place is given on.
    place: Place,
}

/// How far the end of the request has come.
enum End {
    No,
    /// Behind what is queued, with trailers if there are any.
    Wanted(Option<HeaderMap>),
    Sent,
}

impl Upstream {
    /// A stream that is not opened yet.
    pub(super) fn new(place: Place) -> Self {
        Self {
            response: Response::Unasked,
            send: None,
            queue: VecDeque::new(),
            queued: 0,
            end: End::No,
            sent: 0,
            written_before: place.link().wire().written(),
            reused: place.link().state().was_idle(),
            received: false,
            place,
        }
    }

    fn link(&self) -> &Link {
        self.place.link()
    }

    /// Opens the stream. A connection that fails now has not seen the request: the exchange hears of it when it asks for
    /// the response.
    fn open(&mut self, opening: Opening) -> Result<(), StreamError> {
        let Some(mut sender) = self.link().sender() else {
            self.response = Response::Failed(StreamError::Unprocessed);
            return Ok(());
        };
        if opening.needs_extended_connect() && !sender.is_extended_connect_protocol_enabled() {
            self.response = Response::Failed(request::refusal("extended_connect_unsupported"));
            return Ok(());
        }
        match sender.send_request(opening.request, opening.ended) {
            Ok((response, send)) => {
                self.link().stats().streams.inc();
                self.response = Response::awaiting(response, opening.method, opening.upgrade);
                self.send = Some(send);
                if opening.ended {
                    self.end = End::Sent;
                }
            }
            Err(error) if error.is_io() || error.reason().is_some() => {
                self.link().retire();
                self.response = Response::Failed(StreamError::Unprocessed);
            }
            Err(_) => return Err(request::unsendable()),
        }
        Ok(())
    }

    /// Hands queued bytes to `h2` as far as the peer's window goes.
    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Some(send) = &mut self.send else {
            return Poll::Ready(Ok(()));
        };
        while let Some(first) = self.queue.front_mut() {
            let room = send.capacity();
            if room == 0 {
                send.reserve_capacity(self.queued);
                if send.capacity() == 0 {
                    match ready!(send.poll_capacity(task)) {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Poll::Ready(Err(error)),
                        None => return Poll::Ready(Err(h2::Reason::CANCEL.into())),
                    }
                }
                continue;
            }
            let piece = if first.len() <= room {
                self.queue.pop_front().unwrap_or_default()
            } else {
                first.split_to(room)
            };
            self.queued -= piece.len();
            self.sent += piece.len() as u64;
            let last = self.queue.is_empty() && matches!(self.end, End::Wanted(None));
            send.send_data(piece, last)?;
            if last {
                self.end = End::Sent;
            }
        }
        match std::mem::replace(&mut self.end, End::Sent) {
            End::No => self.end = End::No,
            End::Wanted(None) => send.send_data(Bytes::new(), true)?,
            End::Wanted(Some(trailers)) => send.send_trailers(trailers)?,
            End::Sent => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets what can no longer be sent.
    fn stop_sending(&mut self) {
        self.queue.clear();
        self.queued = 0;
        self.end = End::Sent;
    }

    /// Whether both directions have come to their end.
    fn is_complete(&self) -> bool {
        self.response.is_done() && matches!(self.end, End::Sent) && self.queue.is_empty()
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
}

impl UpstreamStream for Upstream {
    fn send_head(&mut self, head: &RequestHead, framing: Framing) -> Result<(), StreamError> {
        let opening = Opening::new(head, framing, &self.link().terms)?;
        self.open(opening)
    }

    fn send_data(&mut self, data: Bytes) {
        if !data.is_empty() && matches!(self.end, End::No) {
            self.queued += data.len();
            self.queue.push_back(data);
        }
    }

    fn send_end(&mut self, trailers: Option<&Fields>) {
        if matches!(self.end, End::No) {
            let trailers = trailers.and_then(|trailers| fields::header_map(trailers).ok());
            self.end = End::Wanted(trailers.filter(|trailers| !trailers.is_empty()));
        }
    }

    fn is_full(&self) -> bool {
        self.queued >= HIGH_WATER
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.response.holds_back() {
            return Poll::Pending;
        }
        let sent = ready!(self.poll_send(task));
        Poll::Ready(sent.map_err(|error| {
            self.stop_sending();
            response::failure(&error, self.place.link(), self.received)
        }))
    }

    fn poll_head(
        &mut self,
        task: &mut Context<'_>,
        place: &mut Option<ResponseHead>,
    ) -> Poll<Result<Framing, StreamError>> {
        let read = ready!(
            self.response
                .poll_head(task, self.place.link(), self.received)
        );
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
        let whole = matches!(self.end, End::Sent);
        let piece = ready!(self.response.poll_body(task, self.place.link(), whole));
        self.received |= piece.is_ok();
        Poll::Ready(piece.map_err(|error| self.note(error)))
    }

    fn start_tunnel(&mut self) {
        if matches!(self.response, Response::Unasked) {
            // A CONNECT that the gateway allowed: it is the endpoint that it leads to.
            let opened = Opening::connect(&self.place.link().terms);
            if let Err(error) = opened.and_then(|opening| self.open(opening)) {
                self.response = Response::Failed(error);
            }
        }
        self.response.start_tunnel();
    }

    fn is_reused(&self) -> bool {
        self.reused
    }

    fn has_sent(&self) -> bool {
        self.send.is_some() && self.link().wire().written() > self.written_before
    }

    fn has_received(&self) -> bool {
        self.received
    }

    fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// The connection goes on in any case; a stream that is not complete is reset.
    fn release(self: Box<Self>) {}
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if self.send.is_none() || self.response.is_failed() || self.is_complete() {
            return;
        }
        // `h2` sends the reset when the last handle is gone.
        self.link().stats().resets_sent.inc();
        if self.response.is_unanswered() {
            self.link().doubt(portcullis_net::clock::now());
        }
    }
}

/// The status that a response which is no HTTP is answered with.
const fn bad_gateway(label: &'static str) -> StreamError {
    StreamError::Protocol {
        label,
        status: Status::BAD_GATEWAY,
    }
}

/// Whether a status means that a CONNECT succeeded (RFC 9110 section 9.3.6).
const fn is_success(status: Status) -> bool {
    status.code() >= 200 && status.code() < 300
}

/// The method of a stream that carries no request of a client.
const CONNECT: Method = Method::Connect;
