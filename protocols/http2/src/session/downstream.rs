//! One stream from downstream, as the exchange sees it.
//!
//! The head waits until something else is known, so that it leaves with the end of the stream where there is no body.
//! Data waits here until the peer's windows have room; nothing is handed to `h2` before, so what one stream can make us
//! keep is bounded. Not the connection's life: that is [`super::serve`]. Start at [`Downstream`].

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::HeaderMap;
use portcullis_http::head::{ResponseHead, Status};
use portcullis_http::stream::{BodyPiece, DownstreamStream, StreamError};
use portcullis_http::{Fields, Framing};
use portcullis_net::{Timer, clock};

use super::common::Common;
use super::queue::Queue;
use super::stats::reason;
use super::tunnel::Tunnel;
use portcullis_http::pace::Pace;
use portcullis_http::types::{self as fields, FieldError, HeadBounds};

/// One request and its response.
pub(crate) struct Downstream {
    common: Rc<Common>,
    respond: SendResponse<Bytes>,
    /// Once the head was handed to `h2`.
    send: Option<SendStream<Bytes>>,
    body: RequestBody,
    bounds: HeadBounds,
    head: Option<http::Response<()>>,
    queue: Queue,
    end: End,
    tunnel: Tunnel,
    /// Whether the response's body, if upstream sends one, is not for this peer.
    silent: bool,
    is_head: bool,
    /// Bytes of the response that the peer's windows took.
    sent: u64,
    /// What the peer did wrong on this stream, if the reset should say so.
    fault: Option<Reason>,
    timer: Timer,
    pace: Pace,
    stalled: bool,
}

enum RequestBody {
    Data(RecvStream),
    Trailers(RecvStream),
    Done,
}

/// The end of our direction.
enum End {
    No,
    Wanted(Option<HeaderMap>),
    Sent,
}

impl Downstream {
    /// A stream that the peer has opened. Nothing was answered.
    pub(crate) fn new(
        common: Rc<Common>,
        respond: SendResponse<Bytes>,
        body: RecvStream,
        is_head: bool,
        bounds: HeadBounds,
    ) -> Self {
        let body = if body.is_end_stream() {
            RequestBody::Done
        } else {
            RequestBody::Data(body)
        };
        Self {
            common,
            respond,
            send: None,
            body,
            bounds,
            head: None,
            queue: Queue::default(),
            end: End::No,
            tunnel: Tunnel::No,
            silent: false,
            is_head,
            sent: 0,
            fault: None,
            timer: Timer::new(),
            pace: Pace::default(),
            stalled: false,
        }
    }

    /// What the request asks to become.
    pub(crate) fn set_tunnel(&mut self, tunnel: Tunnel) {
        self.tunnel = tunnel;
    }

    /// Ends the stream without an answer.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.head = None;
        self.common.on_unqueued(self.queue.bytes());
        self.queue.clear();
        self.end = End::Sent;
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Hands the head to `h2`, with the end of the stream if nothing follows.
    fn flush_head(&mut self) -> Result<(), StreamError> {
        let Some(head) = self.head.take() else {
            return Ok(());
        };
        let ends = self.queue.is_empty() && matches!(self.end, End::Wanted(None));
        let send = self
            .respond
            .send_response(head, ends)
            .map_err(|error| failure(&error))?;
        self.send = Some(send);
        if ends {
            self.end = End::Sent;
        }
        Ok(())
    }

    /// Hands to `h2` what the peer's windows have room for. Ready when nothing is left.
    fn poll_data(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(send) = &mut self.send else {
            return Poll::Ready(Ok(()));
        };
        while !self.queue.is_empty() {
            send.reserve_capacity(self.queue.bytes().max(1));
            let mut capacity = send.capacity();
            while capacity == 0 {
                capacity = match ready!(send.poll_capacity(task)) {
                    Some(Ok(capacity)) => capacity,
                    Some(Err(error)) => return Poll::Ready(Err(failure(&error))),
                    None => return Poll::Ready(Err(StreamError::Reset)),
                };
            }
            let Some(piece) = self.queue.take(capacity) else {
                continue;
            };
            let length = piece.len();
            let last = self.queue.is_empty() && matches!(self.end, End::Wanted(None));
            send.send_data(piece, last)
                .map_err(|error| failure(&error))?;
            self.common.on_handed(length);
            self.sent += length as u64;
            if last {
                self.end = End::Sent;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Hands the end to `h2` if it is wanted; everything before it is.
    fn flush_end(&mut self) -> Result<(), StreamError> {
        let Some(send) = &mut self.send else {
            return Ok(());
        };
        let End::Wanted(trailers) = &mut self.end else {
            return Ok(());
        };
        let sent = match trailers.take() {
            Some(trailers) => send.send_trailers(trailers),
            None => send.send_data(Bytes::new(), true),
        };
        self.end = End::Sent;
        sent.map_err(|error| failure(&error))
    }

    /// Whether the peer has reset the stream, or gone, while something was still to be said.
    fn poll_reset(&mut self, task: &mut Context<'_>) -> Poll<StreamError> {
        if matches!(self.end, End::Sent) {
            return Poll::Pending;
        }
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(task),
            None => self.respond.poll_reset(task),
        };
        reset.map(|reset| match reset {
            Ok(_) => StreamError::Reset,
            Err(error) => failure(&error),
        })
    }

    fn trailers(&mut self, map: &HeaderMap) -> Result<BodyPiece, StreamError> {
        if self.tunnel.is_open() {
            return Ok(BodyPiece::End);
        }
        let fields = fields::trailers(map, self.bounds).map_err(|error| {
            self.fault = Some(Reason::PROTOCOL_ERROR);
            StreamError::Protocol {
                label: error.label(),
                status: error.status().unwrap_or(Status::BAD_REQUEST),
            }
        })?;
        Ok(BodyPiece::Trailers(Box::new(fields)))
    }
}

impl DownstreamStream for Downstream {
    fn poll_body(&mut self, task: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>> {
        loop {
            match &mut self.body {
                RequestBody::Done => return Poll::Ready(Ok(BodyPiece::End)),
                RequestBody::Data(stream) => match ready!(stream.poll_data(task)) {
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        // Whoever takes the piece has room for it: the next may come. Fails only on a closed stream.
                        let _ = stream.flow_control().release_capacity(data.len());
                        self.common
                            .wire
                            .on_consumed(data.len(), stream.is_end_stream());
                        return Poll::Ready(Ok(BodyPiece::Data(data)));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(failure(&error))),
                    None => {
                        let body = std::mem::replace(&mut self.body, RequestBody::Done);
                        if let RequestBody::Data(stream) = body {
                            self.body = RequestBody::Trailers(stream);
                        }
                    }
                },
                RequestBody::Trailers(stream) => {
                    let trailers = ready!(stream.poll_trailers(task));
                    self.body = RequestBody::Done;
                    return Poll::Ready(match trailers {
                        Ok(None) => Ok(BodyPiece::End),
                        Ok(Some(map)) => self.trailers(&map),
                        Err(error) => Err(failure(&error)),
                    });
                }
            }
        }
    }

    fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<StreamError> {
        self.poll_reset(task)
    }

    fn send_interim(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        let response = fields::response(head, Framing::None).map_err(unsendable)?;
        self.respond
            .send_informational(response)
            .map_err(|error| failure(&error))
    }

    fn send_head(
        &mut self,
        head: &ResponseHead,
        framing: Framing,
        _close: bool,
    ) -> Result<(), StreamError> {
        let opened = self
            .tunnel
            .answer(head)
            .map_err(|label| StreamError::Protocol {
                label,
                status: Status::BAD_GATEWAY,
            })?;
        let is_bodiless = head.status.is_bodiless() && !opened;
        let framing = if opened || is_bodiless && head.status != Status::NOT_MODIFIED {
            Framing::None
        } else {
            framing
        };
        let mut response = fields::response(head, framing).map_err(unsendable)?;
        if opened {
            self.tunnel.settle(&mut response);
        }
        self.silent = !opened && (self.is_head || is_bodiless);
        self.head = Some(response);
        Ok(())
    }

    fn send_data(&mut self, data: Bytes) {
        if !self.silent && !data.is_empty() && matches!(self.end, End::No) {
            self.common.on_queued(data.len());
            self.queue.push(data);
        }
    }

    fn send_end(&mut self, trailers: Option<&Fields>) {
        if !matches!(self.end, End::No) {
            return;
        }
        let trailers = trailers
            .filter(|_| !self.silent)
            // What cannot be said in HTTP/2 is left out: the body is whole without it.
            .and_then(|trailers| fields::header_map(trailers).ok())
            .filter(|trailers| !trailers.is_empty());
        self.end = End::Wanted(trailers);
    }

    fn is_full(&self) -> bool {
        self.stalled || self.queue.is_full(self.common.session.config.send_buffer())
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.flush_head()?;
        let flushed = self.poll_data(task)?;
        if flushed.is_ready() {
            self.flush_end()?;
        }
        // A reset must be noticed also while upstream has nothing to say.
        if self.send.is_some()
            && let Poll::Ready(error) = self.poll_reset(task)
        {
            return Poll::Ready(Err(error));
        }
        flushed.map(Ok)
    }

    fn start_tunnel(&mut self) {
        self.tunnel.open();
        self.silent = false;
    }

    fn abort(&mut self) {
        let reason = match self.fault {
            Some(fault) => fault,
            None if self.stalled => Reason::CANCEL,
            None if self.tunnel.is_open() => Reason::CONNECT_ERROR,
            None => Reason::INTERNAL_ERROR,
        };
        self.reset(reason);
    }

    fn bytes_sent(&self) -> u64 {
        self.sent
    }

    fn poll_deadline(&mut self, task: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let now = clock::now();
        let waits = !self.queue.is_empty();
        let pace = self
            .pace
            .deadline(now, self.sent, waits, self.common.stream_pace);
        if pace.is_some_and(|pace| pace <= now) && !self.stalled {
            self.stalled = true;
            self.common.session.stats.on_refused(reason::STREAM_STALLED);
        }
        let deadline = [deadline, pace].into_iter().flatten().min();
        self.timer.poll_expired(task, deadline)
    }

    fn now(&self) -> Instant {
        clock::now()
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.common.on_unqueued(self.queue.bytes());
    }
}

fn unsendable(error: FieldError) -> StreamError {
    StreamError::Protocol {
        label: error.label(),
        status: Status::BAD_GATEWAY,
    }
}

/// What an error of `h2` means for an exchange.
pub(crate) fn failure(error: &h2::Error) -> StreamError {
    if error.is_reset() {
        StreamError::Reset
    } else if error.is_io() {
        match error.get_io().map(std::io::Error::kind) {
            Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::ConnectionAborted) => {
                StreamError::Reset
            }
            Some(std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::UnexpectedEof) => {
                StreamError::Closed
            }
            _ => StreamError::Io,
        }
    } else if error.is_go_away() {
        StreamError::Closed
    } else {
        StreamError::Reset
    }
}
