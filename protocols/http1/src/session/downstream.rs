//! One request and its response on a downstream connection, as the exchange sees them.
//!
//! Not the connection's life: that is [`super::serve`]. Start at [`Downstream`].

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use portcullis_codec::WireError;
use portcullis_http::head::{Method, RequestHead, ResponseHead, Status, Version};
use portcullis_http::stream::{BodyPiece, DownstreamStream, StreamError};
use portcullis_http::{Fields, Framing};
use portcullis_net::{DrainSignal, Timer, clock};

use super::connection::{Connection, Shutdown};
use super::writer::BodyWriter;
use crate::body::BodyDecoder;
use crate::encoder::{self, Encode};
use crate::limits::BodyLimits;
use crate::message::{self, Connection as Persistence};

/// One request and its response.
pub(crate) struct Downstream<'c> {
    connection: &'c mut Connection,
    timer: &'c mut Timer,
    body: RequestBody,
    writer: BodyWriter,
    is_head: bool,
    version: Version,
    /// Whether the connection goes on after this response, as far as is decided.
    keep: bool,
    lifetime: Lifetime<'c>,
    /// Bytes that a client may send ahead while a request is in progress.
    ahead: usize,
    sent_before: u64,
}

/// What ends a connection, whatever is said on it.
#[derive(Clone, Copy)]
pub(crate) struct Lifetime<'c> {
    /// The drain of its listener.
    pub(crate) drain: &'c DrainSignal,
    /// When it is too old; `None`: never.
    pub(crate) expires: Option<Instant>,
}

impl Lifetime<'_> {
    fn is_over(&self) -> bool {
        self.drain.is_draining() || self.expires.is_some_and(|expires| clock::now() >= expires)
    }
}

enum RequestBody {
    Done,
    Decoding(BodyDecoder),
    Tunnel,
}

impl RequestBody {
    fn of(framing: Framing, limits: BodyLimits) -> Self {
        if framing.is_empty() {
            return Self::Done;
        }
        // The exchange has refused what is longer than allowed before any of it is read.
        BodyDecoder::new(framing, limits).map_or(Self::Done, Self::Decoding)
    }
}

impl<'c> Downstream<'c> {
    /// The stream of a request whose head was read.
    pub(crate) fn new(
        connection: &'c mut Connection,
        timer: &'c mut Timer,
        head: &RequestHead,
        framing: Framing,
        limits: BodyLimits,
        ahead: usize,
        lifetime: Lifetime<'c>,
    ) -> Self {
        Self {
            sent_before: connection.output.total(),
            connection,
            timer,
            body: RequestBody::of(framing, limits),
            writer: BodyWriter::Nothing,
            is_head: head.method == Method::Head,
            version: head.version,
            keep: message::is_persistent(head.version, &head.fields),
            lifetime,
            ahead,
        }
    }

    /// Whether the connection may carry another request once the body is read.
    pub(crate) const fn keeps(&self) -> bool {
        self.keep
    }

    /// Reads and drops what is left of the request's body, at most `bound` bytes of it. The answer is whether
    /// its end was reached.
    pub(crate) fn poll_drain(&mut self, bound: &mut u64, task: &mut Context<'_>) -> Poll<bool> {
        loop {
            if matches!(self.body, RequestBody::Done) {
                return Poll::Ready(true);
            }
            match std::task::ready!(self.poll_body(task)) {
                Ok(BodyPiece::Data(data)) if (data.len() as u64) <= *bound => {
                    *bound -= data.len() as u64;
                }
                Ok(BodyPiece::Data(_)) | Err(_) => return Poll::Ready(false),
                Ok(BodyPiece::End | BodyPiece::Trailers(_)) => return Poll::Ready(true),
            }
        }
    }

    /// The framing that this peer understands for a body that upstream delimits so.
    fn framing_for_peer(&mut self, head: &ResponseHead, framing: Framing) -> Framing {
        match framing {
            // RFC 9110 section 8.6: the length that a 200 would have had.
            Framing::Length(_) if head.status == Status::NOT_MODIFIED => framing,
            _ if head.status.is_bodiless() => Framing::None,
            Framing::Chunked | Framing::UntilClose if self.version == Version::Http10 => {
                Framing::UntilClose
            }
            Framing::UntilClose => Framing::Chunked,
            framing => framing,
        }
    }

    const fn persistence(&self, head: &ResponseHead) -> Persistence {
        if head.status.code() == 101 {
            Persistence::Upgrade
        } else if !self.keep {
            Persistence::Close
        } else if matches!(self.version, Version::Http10) {
            Persistence::KeepAlive
        } else {
            Persistence::Implied
        }
    }

    fn encode(
        &mut self,
        head: &ResponseHead,
        framing: Framing,
        persistence: Persistence,
    ) -> Result<(), StreamError> {
        let options = Encode {
            framing,
            connection: persistence,
        };
        self.connection
            .output
            .push_with(|buffer| encoder::encode_response_head(head, options, buffer))
            .map_err(|error| StreamError::Protocol {
                label: error.label(),
                status: Status::BAD_GATEWAY,
            })
    }
}

impl DownstreamStream for Downstream<'_> {
    fn poll_body(&mut self, task: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>> {
        loop {
            match &mut self.body {
                RequestBody::Done => return Poll::Ready(Ok(BodyPiece::End)),
                RequestBody::Tunnel => {
                    if !self.connection.input.is_empty() {
                        let data = self.connection.input.split().freeze();
                        return Poll::Ready(Ok(BodyPiece::Data(data)));
                    }
                }
                RequestBody::Decoding(decoder) => {
                    let piece = super::next_piece(decoder, &mut self.connection.input);
                    if let Some(piece) = piece.map_err(|error| StreamError::Protocol {
                        label: error.label(),
                        status: error.status(),
                    })? {
                        if !matches!(piece, BodyPiece::Data(_)) {
                            self.body = RequestBody::Done;
                        }
                        return Poll::Ready(Ok(piece));
                    }
                }
            }
            if !std::task::ready!(self.connection.poll_fill(task))? {
                return Poll::Ready(match self.body {
                    RequestBody::Tunnel => {
                        self.body = RequestBody::Done;
                        Ok(BodyPiece::End)
                    }
                    _ => Err(StreamError::Closed),
                });
            }
        }
    }

    fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<StreamError> {
        // A client may send ahead (pipelining), and may close its direction and still wait for the answer.
        while !self.connection.read_closed && self.connection.input.len() < self.ahead {
            match std::task::ready!(self.connection.poll_fill(task)) {
                Ok(_) => {}
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    fn send_interim(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        self.encode(head, Framing::None, Persistence::Implied)
    }

    fn send_head(
        &mut self,
        head: &ResponseHead,
        framing: Framing,
        close: bool,
    ) -> Result<(), StreamError> {
        let framing = self.framing_for_peer(head, framing);
        let is_silent = self.is_head || head.status.is_bodiless();
        // Asked as late as possible: a client that is told will not send its next request into a closing connection.
        let is_last = close || self.lifetime.is_over();
        self.keep &= !is_last && (is_silent || framing != Framing::UntilClose);
        let persistence = self.persistence(head);
        self.encode(head, framing, persistence)?;
        self.writer = if is_silent {
            BodyWriter::Nothing
        } else {
            BodyWriter::new(framing)
        };
        Ok(())
    }

    fn send_data(&mut self, data: Bytes) {
        self.writer.push(self.connection, data);
    }

    fn send_end(&mut self, trailers: Option<&Fields>) {
        self.keep &= self.writer.finish(self.connection, trailers);
    }

    fn is_full(&self) -> bool {
        self.connection.output.is_full()
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.poll_flush(task)
    }

    fn start_tunnel(&mut self) {
        self.keep = false;
        self.body = RequestBody::Tunnel;
        self.writer = BodyWriter::UntilClose;
    }

    fn abort(&mut self) {
        self.keep = false;
        // Where the end of the connection is the end of the body, only a reset says that it is incomplete.
        if self.writer == BodyWriter::UntilClose {
            self.connection.stream.reset_on_close();
        }
        self.connection.shutdown = Shutdown::Wanted;
    }

    fn bytes_sent(&self) -> u64 {
        self.connection.output.total() - self.sent_before
    }

    fn poll_deadline(&mut self, task: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        self.timer.poll_expired(task, deadline)
    }

    fn now(&self) -> Instant {
        clock::now()
    }
}
