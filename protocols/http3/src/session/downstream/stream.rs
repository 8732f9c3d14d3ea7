//! One stream from a client, as the exchange sees it.
//!
//! Heads and trailers are `h3`'s to write and read, the body passes beside it, and all of it waits here until the client's windows
//! have room: what one stream can make us keep is bounded. Not the connection's life: that is [`super::life`]. Start at [`Stream`].

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h3::error::{Code, StreamError as H3Error};
use h3::quic::StreamErrorIncoming;
use http::header::HeaderMap;
use portcullis_http::head::{Method, RequestHead, ResponseHead, Status};
use portcullis_http::pace::Pace;
use portcullis_http::stream::{BodyPiece, DownstreamStream, StreamError};
use portcullis_http::types::{self as fields, FieldError, HeadBounds};
use portcullis_http::{Fields, Framing};
use portcullis_net::{Timer, clock};

use super::client::Client;
use super::stats::reason;
use super::wire::{Halves, Outcome, Piece, Reader, RequestHalves, SendHalf};
use crate::frames::Breach;

/// A stream, for `h3`.
pub(super) type RequestStream = h3::server::RequestStream<RequestHalves, Bytes>;

/// One request and its response.
pub(super) struct Stream {
    client: Rc<Client>,
    h3: RequestStream,
    send: Rc<SendHalf>,
    reader: Rc<Reader>,
    body: Body,
    /// What is still to come of a body whose length was stated (RFC 9114 section 4.1.2).
    owed: Option<u64>,
    bounds: HeadBounds,
    tunnel: Tunnel,
    /// Whether the response's body, if upstream sends one, is not for this client.
    silent: bool,
    is_head: bool,
    /// What the client did wrong on this stream, if the reset should say so.
    fault: Option<Code>,
    given_up: bool,
    timer: Timer,
    pace: Pace,
    stalled: bool,
}

/// Where the request's body stands.
enum Body {
    /// This was read ahead.
    First(Result<Piece, StreamErrorIncoming>),
    Data,
    Trailers,
    Done,
}

/// Whether a stream becomes a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    No,
    /// If the answer is a success.
    Asked,
    Open,
}

impl Stream {
    /// A stream whose head has come. Nothing was answered.
    pub(super) fn new(
        client: &Rc<Client>,
        h3: RequestStream,
        (send, reader): Halves,
        is_head: bool,
        bounds: HeadBounds,
    ) -> Self {
        Self {
            client: Rc::clone(client),
            h3,
            send,
            reader,
            body: Body::Data,
            owed: None,
            bounds,
            tunnel: Tunnel::No,
            silent: false,
            is_head,
            fault: None,
            given_up: false,
            timer: Timer::new(),
            pace: Pace::default(),
            stalled: false,
        }
    }

    /// Whether the stream has ended behind the head, as far as it is here.
    pub(super) async fn look_for_end(&mut self) -> bool {
        let first = std::future::poll_fn(|task| Poll::Ready(self.reader.poll_piece(task))).await;
        match first {
            Poll::Pending => false,
            Poll::Ready(Ok(Piece::End)) => {
                self.body = Body::Done;
                true
            }
            Poll::Ready(piece) => {
                self.body = Body::First(piece);
                false
            }
        }
    }

    /// What the head says of what follows.
    pub(super) fn expect(&mut self, head: &RequestHead, framing: Framing) {
        if let Framing::Length(length) = framing {
            self.owed = Some(length);
        }
        if head.method == Method::Connect {
            self.tunnel = Tunnel::Asked;
        }
    }

    /// Whether the request came before the handshake was over.
    pub(super) fn is_early(&self) -> bool {
        self.send.is_early()
    }

    /// What is wrong with the pseudo-header fields that have come, which `h3` does not look at.
    pub(super) fn breach(&self) -> Option<Breach> {
        self.reader.breach()
    }

    /// Whether the client did not want the answer any more.
    pub(super) const fn was_given_up(&self) -> bool {
        self.given_up
    }

    /// Ends the stream without an answer.
    pub(super) fn reset(&mut self, code: Code) {
        self.send.reset(code.value());
        self.reader.stop(code.value());
        self.body = Body::Done;
    }

    fn poll_piece(&mut self, task: &mut Context<'_>) -> Poll<Result<Piece, StreamErrorIncoming>> {
        if let Body::First(_) = self.body
            && let Body::First(first) = std::mem::replace(&mut self.body, Body::Data)
        {
            return Poll::Ready(first);
        }
        self.reader.poll_piece(task)
    }

    /// A part of the body has come.
    fn on_data(&mut self, data: Bytes) -> Result<BodyPiece, StreamError> {
        if let Some(owed) = self.owed {
            let left = owed.checked_sub(data.len() as u64);
            self.owed = Some(left.ok_or_else(|| self.malformed(FieldError::Length))?);
        }
        Ok(BodyPiece::Data(data))
    }

    /// The body has ended.
    fn on_end(&mut self) -> Result<(), StreamError> {
        if self.owed.is_some_and(|owed| owed > 0) {
            return Err(self.malformed(FieldError::Length));
        }
        Ok(())
    }

    fn poll_trailers(&mut self, task: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>> {
        let trailers = ready!(self.h3.poll_recv_trailers(task));
        self.body = Body::Done;
        Poll::Ready(match trailers {
            _ if self.tunnel == Tunnel::Open => Ok(BodyPiece::End),
            Ok(_) if self.breach().is_some() => Err(self.malformed(FieldError::Pseudo)),
            Ok(None) => Ok(BodyPiece::End),
            Ok(Some(map)) => self.trailers(&map),
            Err(H3Error::HeaderTooBig { .. }) => Err(self.malformed(FieldError::TooLarge)),
            Err(H3Error::StreamError { .. }) => Err(self.malformed(FieldError::Name)),
            Err(H3Error::RemoteTerminate { .. }) => Err(self.on_gone(StreamError::Reset)),
            Err(_) => Err(StreamError::Closed),
        })
    }

    fn trailers(&mut self, map: &HeaderMap) -> Result<BodyPiece, StreamError> {
        let fields = fields::trailers(map, self.bounds).map_err(|error| self.malformed(error))?;
        Ok(BodyPiece::Trailers(Box::new(fields)))
    }

    /// RFC 9114 section 4.1.2.
    fn malformed(&mut self, error: FieldError) -> StreamError {
        self.fault = Some(Code::H3_MESSAGE_ERROR);
        StreamError::Protocol {
            label: error.label(),
            status: error.status().unwrap_or(Status::BAD_REQUEST),
        }
    }

    fn on_gone(&mut self, error: StreamError) -> StreamError {
        self.given_up |= error == StreamError::Reset;
        error
    }

    /// Whether the client has stopped to listen, or gone, while something was still to be said.
    fn poll_stopped(&mut self, task: &mut Context<'_>) -> Poll<StreamError> {
        if self.send.is_ended() {
            return Poll::Pending;
        }
        match ready!(self.send.poll_outcome(task)) {
            Outcome::Stopped => Poll::Ready(self.on_gone(StreamError::Reset)),
            Outcome::Lost | Outcome::Received => Poll::Ready(StreamError::Closed),
        }
    }
}

impl DownstreamStream for Stream {
    fn poll_body(&mut self, task: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>> {
        loop {
            match self.body {
                Body::Done => return Poll::Ready(Ok(BodyPiece::End)),
                Body::Trailers => return self.poll_trailers(task),
                Body::First(_) | Body::Data => {}
            }
            match ready!(self.poll_piece(task)) {
                Ok(Piece::Data(data)) => return Poll::Ready(self.on_data(data)),
                Ok(Piece::Frame) => {
                    self.on_end()?;
                    self.body = Body::Trailers;
                }
                Ok(Piece::End) => {
                    self.body = Body::Done;
                    self.on_end()?;
                }
                Err(error) => {
                    self.body = Body::Done;
                    let error = self.on_gone(failure(&error));
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<StreamError> {
        self.poll_stopped(task)
    }

    fn send_interim(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        let response = fields::response(head, Framing::None).map_err(unsendable)?;
        self.write_head(response)
    }

    fn send_head(
        &mut self,
        head: &ResponseHead,
        framing: Framing,
        _close: bool,
    ) -> Result<(), StreamError> {
        let is_success = matches!(head.status.code(), 200..=299);
        let opens = self.tunnel == Tunnel::Asked && is_success;
        if head.status == Status::SWITCHING_PROTOCOLS {
            return Err(unexpected("unexpected_upgrade"));
        }
        let is_bodiless = head.status.is_bodiless();
        let framing = if opens || is_bodiless && head.status != Status::NOT_MODIFIED {
            Framing::None
        } else {
            framing
        };
        self.silent = !opens && (self.is_head || is_bodiless);
        let response = fields::response(head, framing).map_err(unsendable)?;
        self.write_head(response)
    }

    fn send_data(&mut self, data: Bytes) {
        if !self.silent && !data.is_empty() {
            self.send.push_data(data);
        }
    }

    fn send_end(&mut self, trailers: Option<&Fields>) {
        let trailers = trailers
            .filter(|_| !self.silent)
            // What cannot be said in HTTP/3 is left out: the body is whole without it.
            .and_then(|trailers| fields::header_map(trailers).ok())
            .filter(|trailers| !trailers.is_empty());
        if let Some(trailers) = trailers {
            // It is queued and never waits; what the client does not want to hear is left out, too.
            let _ = self.h3.send_trailers(trailers).now_or_never();
        }
        self.send.finish();
    }

    fn is_full(&self) -> bool {
        self.stalled || self.send.is_full(self.client.settings.send_buffer())
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let flushed = match self.send.poll_flush(task) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                let error = match error {
                    quinn::WriteError::Stopped(_) => StreamError::Reset,
                    _ => StreamError::Closed,
                };
                return Poll::Ready(Err(self.on_gone(error)));
            }
            Poll::Pending => Poll::Pending,
        };
        // That it stops to listen must be noticed also while upstream has nothing to say.
        if let Poll::Ready(error) = self.poll_stopped(task) {
            return Poll::Ready(Err(error));
        }
        flushed.map(Ok)
    }

    fn start_tunnel(&mut self) {
        self.tunnel = Tunnel::Open;
        self.silent = false;
    }

    fn abort(&mut self) {
        let code = match self.fault {
            Some(fault) => fault,
            None if self.given_up => Code::H3_REQUEST_CANCELLED,
            None if self.stalled => Code::H3_EXCESSIVE_LOAD,
            None if self.tunnel == Tunnel::Open => Code::H3_CONNECT_ERROR,
            None => Code::H3_INTERNAL_ERROR,
        };
        self.reset(code);
    }

    fn bytes_sent(&self) -> u64 {
        self.send.sent()
    }

    fn poll_deadline(&mut self, task: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let now = clock::now();
        let waits = self.send.is_waiting();
        let pace = self
            .pace
            .deadline(now, self.send.sent(), waits, self.client.stream_pace);
        if pace.is_some_and(|pace| pace <= now) && !self.stalled {
            self.stalled = true;
            self.client.session.stats.on_refused(reason::STREAM_STALLED);
        }
        let deadline = [deadline, pace].into_iter().flatten().min();
        self.timer.poll_expired(task, deadline)
    }

    fn now(&self) -> Instant {
        clock::now()
    }
}

impl Stream {
    /// Queues a head.
    fn write_head(&mut self, response: http::Response<()>) -> Result<(), StreamError> {
        match self.h3.send_response(response).now_or_never() {
            Some(Ok(())) => Ok(()),
            // The client has said that it does not take so much (RFC 9114 section 4.2.2).
            Some(Err(H3Error::HeaderTooBig { .. })) => Err(unexpected("head_too_large_for_client")),
            Some(Err(_)) => Err(StreamError::Closed),
            None => Err(StreamError::Io),
        }
    }
}

fn unsendable(error: FieldError) -> StreamError {
    unexpected(error.label())
}

const fn unexpected(label: &'static str) -> StreamError {
    StreamError::Protocol {
        label,
        status: Status::BAD_GATEWAY,
    }
}

/// What an error of reading means for an exchange.
fn failure(error: &StreamErrorIncoming) -> StreamError {
    match error {
        StreamErrorIncoming::StreamTerminated { .. } => StreamError::Reset,
        StreamErrorIncoming::ConnectionErrorIncoming { .. } => StreamError::Closed,
        StreamErrorIncoming::Unknown(_) => StreamError::Io,
    }
}
