//! Where `h3` meets `quinn`: the streams of one connection, and what is known of them besides.
//!
//! It is ours, since `h3-quinn` hides what must be seen: a client that stops to listen, what its windows took, how its frames begin.
//! Sending never waits here: what `h3` writes is queued, and [`SendHalf::poll_flush`] moves it. Of `h3` only this file knows the
//! traits. Start at [`Wire`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use futures_util::stream::{Stream, unfold};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use portcullis_net::clock;
use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use super::queue::Queue;
use super::stats::error_label;
use crate::guard::{FrameScanner, FrameSplitter, Guard, GuardError, Part};

/// Both halves of a stream with a request.
pub(super) type Halves = (Rc<SendHalf>, Rc<Reader>);

/// What all streams of a connection share.
pub(super) struct Wire {
    connection: quinn::Connection,
    guard: RefCell<Guard>,
    failed: Cell<Option<Failure>>,
    /// Bytes of responses that wait for the client's windows.
    waiting: Cell<usize>,
    /// Bytes that the windows took.
    sent: Cell<u64>,
    /// Both halves of the stream that `h3` has accepted last.
    accepted: RefCell<Option<Halves>>,
    /// The streams that `h3` has opened: ours of control and QPACK.
    opened: RefCell<Vec<Rc<SendHalf>>>,
}

impl Wire {
    pub(super) fn new(connection: quinn::Connection, guard: Guard) -> Rc<Self> {
        Rc::new(Self {
            connection,
            guard: RefCell::new(guard),
            failed: Cell::default(),
            waiting: Cell::default(),
            sent: Cell::default(),
            accepted: RefCell::default(),
            opened: RefCell::default(),
        })
    }

    /// The connection, for `h3`.
    pub(super) fn transport(self: &Rc<Self>) -> QuicConnection {
        let connection = self.connection.clone();
        let requests = unfold(connection.clone(), |connection| async move {
            Some((connection.accept_bi().await, connection))
        });
        let streams = unfold(connection, |connection| async move {
            Some((connection.accept_uni().await, connection))
        });
        QuicConnection {
            wire: Rc::clone(self),
            requests: Box::pin(requests),
            streams: Box::pin(streams),
            opening: None,
        }
    }

    /// QUIC's side of it.
    pub(super) const fn quic(&self) -> &quinn::Connection {
        &self.connection
    }

    /// Why the connection was ended from here, if it was.
    pub(super) fn failed(&self) -> Option<&'static str> {
        self.failed.get().map(|failure| match failure {
            Failure::Guard(error) => error.label(),
            Failure::Truncated => error_label(Code::H3_FRAME_ERROR),
        })
    }

    /// Bytes that the client's windows took over the connection's life.
    pub(super) const fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Whether any byte waits for them.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Both halves of the stream that `h3` has just given out.
    pub(super) fn take_accepted(&self) -> Option<Halves> {
        self.accepted.take()
    }

    /// Lets go of the streams that it holds for itself. They hold it in turn, so that it would never go.
    fn let_go(&self) {
        self.opened.borrow_mut().clear();
        self.accepted.take();
    }

    /// Ends the connection at once, and says why.
    pub(super) fn close(&self, code: Code) {
        self.connection.close(number(code.value()), b"");
    }

    /// The client gave up a request that was not answered.
    pub(super) fn on_reset(&self) {
        self.judge(Guard::on_reset);
    }

    /// Moves what `h3` has to say about the connection.
    ///
    /// # Errors
    /// The client has closed a stream that must stay open (RFC 9114 section 6.2.1).
    pub(super) fn poll_control(&self, task: &mut Context<'_>) -> Result<(), WriteError> {
        for stream in &*self.opened.borrow() {
            if let Poll::Ready(Err(error)) = stream.poll_flush(task) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Asks the guard; `None` if the connection does not go on.
    fn judge<T>(
        &self,
        ask: impl FnOnce(&mut Guard, Instant) -> Result<T, GuardError>,
    ) -> Option<T> {
        let judged = ask(&mut self.guard.borrow_mut(), clock::now());
        let refused = |error: &GuardError| {
            self.fail(Failure::Guard(*error), Code::H3_EXCESSIVE_LOAD);
        };
        judged.inspect_err(refused).ok()
    }

    /// Ends the connection for what the client did; the first reason counts.
    fn fail(&self, failure: Failure, code: Code) {
        if self.failed.get().is_none() {
            self.failed.set(Some(failure));
        }
        self.close(code);
    }
}

/// A connection that is served. However that ends, nothing of it stays.
pub(super) struct Served(pub(super) Rc<Wire>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// Why a connection was ended from here.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Guard(GuardError),
    /// A stream ended in the middle of a frame.
    Truncated,
}

/// A number of `h3`'s as one of `quinn`'s.
fn number(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

type Accepting<T> = Pin<Box<dyn Stream<Item = Result<T, ConnectionError>>>>;

type Opening = Pin<Box<dyn Future<Output = Result<quinn::SendStream, ConnectionError>>>>;

/// A connection as `h3` sees it.
pub(super) struct QuicConnection {
    wire: Rc<Wire>,
    requests: Accepting<(quinn::SendStream, quinn::RecvStream)>,
    streams: Accepting<quinn::RecvStream>,
    opening: Option<Opening>,
}

impl quic::Connection<Bytes> for QuicConnection {
    type RecvStream = RecvHalf;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<RecvHalf, ConnectionErrorIncoming>> {
        let stream = accepted(ready!(self.streams.as_mut().poll_next(task)))?;
        if self.wire.judge(Guard::on_stream).is_none() {
            return Poll::Ready(Err(refused()));
        }
        Poll::Ready(Ok(RecvHalf {
            id: stream_id(stream.id())?,
            wire: Rc::clone(&self.wire),
            stream,
            scanner: FrameScanner::default(),
        }))
    }

    fn poll_accept_bidi(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<RequestHalves, ConnectionErrorIncoming>> {
        let (send, receive) = accepted(ready!(self.requests.as_mut().poll_next(task)))?;
        self.wire.guard.borrow_mut().on_request();
        let kind = Kind::Response {
            is_early: receive.is_0rtt(),
        };
        let send = SendHalf::new(&self.wire, send, kind)?;
        let reader = Reader::new(&self.wire, receive);
        let halves = (Rc::clone(&send), Rc::clone(&reader));
        self.wire.accepted.replace(Some(halves));
        Poll::Ready(Ok(RequestHalves { send, reader }))
    }

    fn opener(&self) -> Opener {
        Opener
    }
}

impl quic::OpenStreams<Bytes> for QuicConnection {
    type BidiStream = RequestHalves;
    type SendStream = Outgoing;

    fn poll_open_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<RequestHalves, StreamErrorIncoming>> {
        Poll::Ready(Err(unknown(WriteError::ClosedStream)))
    }

    fn poll_open_send(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, StreamErrorIncoming>> {
        let connection = &self.wire.connection;
        let opening = self.opening.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(task));
        self.opening = None;
        let stream = opened.map_err(|error| lost(&error))?;
        let stream =
            SendHalf::new(&self.wire, stream, Kind::Control).map_err(|connection_error| {
                StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
            })?;
        self.wire.opened.borrow_mut().push(Rc::clone(&stream));
        Poll::Ready(Ok(Outgoing(stream)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.wire.connection.close(number(code.value()), reason);
    }
}

/// Opens nothing: a server has no requests.
pub(super) struct Opener;

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = RequestHalves;
    type SendStream = Outgoing;

    fn poll_open_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<RequestHalves, StreamErrorIncoming>> {
        Poll::Ready(Err(unknown(WriteError::ClosedStream)))
    }

    fn poll_open_send(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, StreamErrorIncoming>> {
        Poll::Ready(Err(unknown(WriteError::ClosedStream)))
    }

    fn close(&mut self, _: Code, _: &[u8]) {}
}

/// A stream with a request, as `h3` sees it.
pub(super) struct RequestHalves {
    send: Rc<SendHalf>,
    reader: Rc<Reader>,
}

impl quic::RecvStream for RequestHalves {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.reader.poll_frame(task)
    }

    fn stop_sending(&mut self, code: u64) {
        self.reader.stop(code);
    }

    fn recv_id(&self) -> StreamId {
        self.send.id
    }
}

impl quic::SendStream<Bytes> for RequestHalves {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn send_data<D: Into<WriteBuf<Bytes>>>(&mut self, data: D) -> Result<(), StreamErrorIncoming> {
        self.send.push_frame(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.finish();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.id
    }
}

/// A stream of ours, as `h3` sees it.
pub(super) struct Outgoing(Rc<SendHalf>);

impl quic::SendStream<Bytes> for Outgoing {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn send_data<D: Into<WriteBuf<Bytes>>>(&mut self, data: D) -> Result<(), StreamErrorIncoming> {
        self.0.push_frame(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.0.finish();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, code: u64) {
        self.0.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.0.id
    }
}

/// Where the end of a half stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// After what is queued.
    Wanted,
    /// With quinn, or reset.
    Done,
}

/// What became of a half that is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The client has all of it.
    Received,
    /// The client stopped to listen, or reset the stream.
    Stopped,
    /// The connection has ended.
    Lost,
}

type Stopping = Pin<Box<dyn Future<Output = Result<Option<VarInt>, quinn::StoppedError>>>>;

/// The half of a stream that we send on.
pub(super) struct SendHalf {
    id: StreamId,
    wire: Rc<Wire>,
    stream: RefCell<quinn::SendStream>,
    queue: RefCell<Queue>,
    end: Cell<End>,
    sent: Cell<u64>,
    stopping: RefCell<Option<Stopping>>,
    outcome: Cell<Option<Outcome>>,
    kind: Kind,
}

/// What a stream of ours carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Something about the connection.
    Control,
    /// The answer to a request.
    Response {
        /// The request came before the handshake was over.
        is_early: bool,
    },
}

impl SendHalf {
    fn new(
        wire: &Rc<Wire>,
        stream: quinn::SendStream,
        kind: Kind,
    ) -> Result<Rc<Self>, ConnectionErrorIncoming> {
        Ok(Rc::new(Self {
            id: stream_id(stream.id())?,
            wire: Rc::clone(wire),
            stream: RefCell::new(stream),
            queue: RefCell::default(),
            end: Cell::new(End::Open),
            sent: Cell::default(),
            stopping: RefCell::default(),
            outcome: Cell::default(),
            kind,
        }))
    }

    /// Whether the stream came before the handshake was over.
    pub(super) const fn is_early(&self) -> bool {
        matches!(self.kind, Kind::Response { is_early: true })
    }

    /// Queues a DATA frame (RFC 9114 section 7.2.1).
    pub(super) fn push_data(&self, data: Bytes) {
        self.push(super::queue::data_header(data.len()));
        self.push(data);
    }

    fn push_frame(&self, mut frame: WriteBuf<Bytes>) {
        let length = frame.remaining();
        self.push(frame.copy_to_bytes(length));
    }

    fn push(&self, bytes: Bytes) {
        if self.end.get() == End::Open {
            let waiting = &self.wire.waiting;
            waiting.set(waiting.get() + bytes.len());
            self.queue.borrow_mut().push(bytes);
        }
    }

    /// Ends it behind what is queued.
    pub(super) fn finish(&self) {
        if self.end.get() == End::Open {
            self.end.set(End::Wanted);
        }
    }

    /// Ends it at once, and drops what is queued.
    pub(super) fn reset(&self, code: u64) {
        self.clear();
        self.end.set(End::Done);
        // Fails where it has ended.
        let _ = self.stream.borrow_mut().reset(number(code));
    }

    /// Whether anything waits for the client's windows.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Whether what waits takes as much memory as it may.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.queue.borrow().is_full(limit)
    }

    /// Whether its end is with quinn.
    pub(super) fn is_ended(&self) -> bool {
        self.end.get() == End::Done
    }

    /// Bytes that the client's windows took.
    pub(super) const fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Hands to quinn what the client's windows have room for, and then the end. Ready when nothing is left.
    pub(super) fn poll_flush(&self, task: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let mut queue = self.queue.borrow_mut();
        let mut stream = self.stream.borrow_mut();
        while !queue.is_empty() {
            let written = {
                let writing = pin!(stream.write_chunks(queue.pieces()));
                ready!(writing.poll(task))?
            };
            queue.on_written(written.bytes, written.chunks);
            let bytes = written.bytes as u64;
            self.sent.set(self.sent.get() + bytes);
            self.wire.sent.set(self.wire.sent.get() + bytes);
            let waiting = &self.wire.waiting;
            waiting.set(waiting.get().saturating_sub(written.bytes));
        }
        if self.end.get() == End::Wanted {
            self.end.set(End::Done);
            // Fails where the client has stopped it, which is told elsewhere.
            let _ = stream.finish();
        }
        Poll::Ready(Ok(()))
    }

    /// What became of it: all received once it was ended, or the client does not want more.
    pub(super) fn poll_outcome(&self, task: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut stopping = self.stopping.borrow_mut();
        let waiting = stopping.get_or_insert_with(|| Box::pin(self.stream.borrow().stopped()));
        let outcome = match ready!(waiting.as_mut().poll(task)) {
            Ok(None) => Outcome::Received,
            Ok(Some(_)) => Outcome::Stopped,
            Err(_) => Outcome::Lost,
        };
        *stopping = None;
        self.outcome.set(Some(outcome));
        Poll::Ready(outcome)
    }

    fn clear(&self) {
        let mut queue = self.queue.borrow_mut();
        let waiting = &self.wire.waiting;
        waiting.set(waiting.get().saturating_sub(queue.bytes()));
        queue.clear();
    }
}

impl Drop for SendHalf {
    /// quinn would end it as if it were whole.
    fn drop(&mut self) {
        self.clear();
        if self.kind != Kind::Control && self.end.get() != End::Done {
            self.reset(Code::H3_INTERNAL_ERROR.value());
        }
    }
}

/// A unidirectional stream of the client, as `h3` sees it.
pub(super) struct RecvHalf {
    id: StreamId,
    wire: Rc<Wire>,
    stream: quinn::RecvStream,
    scanner: FrameScanner,
}

impl quic::RecvStream for RecvHalf {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        // A read that is not over leaves nothing behind but the waker.
        let read = {
            let reading = pin!(self.stream.read_chunk(usize::MAX, true));
            ready!(reading.poll(task))
        };
        let Some(chunk) = read.map_err(read_error)? else {
            return Poll::Ready(Ok(None));
        };
        let scanner = &mut self.scanner;
        let judged = self
            .wire
            .judge(|guard, now| scanner.scan(&chunk.bytes, guard, now));
        if judged.is_none() {
            return Poll::Ready(Err(refused_stream()));
        }
        Poll::Ready(Ok(Some(chunk.bytes)))
    }

    fn stop_sending(&mut self, code: u64) {
        // Fails where it has ended.
        let _ = self.stream.stop(number(code));
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

/// The half of a request's stream that the client sends on, taken apart: `h3` reads frames from it, the exchange the body.
pub(super) struct Reader {
    wire: Rc<Wire>,
    inner: RefCell<Reading>,
}

struct Reading {
    stream: quinn::RecvStream,
    splitter: FrameSplitter,
    /// What has come and was not taken apart.
    chunk: Bytes,
    /// For `h3`, found while the body was read.
    frames: VecDeque<Bytes>,
    is_ended: bool,
}

/// What comes next of a request.
#[derive(Debug)]
pub(super) enum Piece {
    /// A part of the body.
    Data(Bytes),
    /// A frame for `h3`: trailers, or a mistake.
    Frame,
    /// The end.
    End,
}

impl Reader {
    fn new(wire: &Rc<Wire>, stream: quinn::RecvStream) -> Rc<Self> {
        Rc::new(Self {
            wire: Rc::clone(wire),
            inner: RefCell::new(Reading {
                stream,
                splitter: FrameSplitter::default(),
                chunk: Bytes::new(),
                frames: VecDeque::new(),
                is_ended: false,
            }),
        })
    }

    /// The next piece of the body, or what ends it. Not called again after that.
    pub(super) fn poll_piece(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Piece, StreamErrorIncoming>> {
        let mut reading = self.inner.borrow_mut();
        let part = ready!(reading.poll_part(&self.wire, task))?;
        Poll::Ready(Ok(match part {
            Some(Part::Data(data)) => Piece::Data(data),
            Some(Part::Frame(frame)) => {
                reading.frames.push_back(frame);
                Piece::Frame
            }
            None => Piece::End,
        }))
    }

    /// The next piece of a frame for `h3`.
    fn poll_frame(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let mut reading = self.inner.borrow_mut();
        if let Some(frame) = reading.frames.pop_front() {
            return Poll::Ready(Ok(Some(frame)));
        }
        let part = ready!(reading.poll_part(&self.wire, task))?;
        Poll::Ready(Ok(part.map(|part| match part {
            // It asks for nothing behind a head, and behind trailers nothing is a body.
            Part::Data(part) | Part::Frame(part) => part,
        })))
    }

    /// Passes over what comes, at most so much. Ready when that is more, and at the end.
    pub(super) fn poll_discard(&self, task: &mut Context<'_>, most: &mut usize) -> Poll<()> {
        let mut reading = self.inner.borrow_mut();
        while !reading.is_ended {
            match ready!(reading.poll_part(&self.wire, task)) {
                Ok(Some(Part::Data(part) | Part::Frame(part))) if part.len() <= *most => {
                    *most -= part.len();
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }

    /// Asks the client to send no more, if it has not sent all.
    pub(super) fn stop(&self, code: u64) {
        let mut reading = self.inner.borrow_mut();
        if !reading.is_ended {
            reading.is_ended = true;
            reading.chunk = Bytes::new();
            // Fails where it was reset.
            let _ = reading.stream.stop(number(code));
        }
    }
}

impl Reading {
    fn poll_part(
        &mut self,
        wire: &Wire,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Part>, StreamErrorIncoming>> {
        loop {
            let (splitter, chunk) = (&mut self.splitter, &mut self.chunk);
            match wire.judge(|guard, now| splitter.next(chunk, guard, now)) {
                Some(Some(part)) => return Poll::Ready(Ok(Some(part))),
                Some(None) => {}
                None => return Poll::Ready(Err(refused_stream())),
            }
            if self.is_ended {
                return Poll::Ready(Ok(None));
            }
            // A read that is not over leaves nothing behind but the waker.
            let read = {
                let reading = pin!(self.stream.read_chunk(usize::MAX, true));
                ready!(reading.poll(task))
            };
            match read.map_err(read_error)? {
                Some(chunk) => self.chunk = chunk.bytes,
                None if self.splitter.is_between_frames() => self.is_ended = true,
                None => {
                    wire.fail(Failure::Truncated, Code::H3_FRAME_ERROR);
                    return Poll::Ready(Err(refused_stream()));
                }
            }
        }
    }
}

/// What an endless stream has accepted.
fn accepted<T>(next: Option<Result<T, ConnectionError>>) -> Result<T, ConnectionErrorIncoming> {
    match next {
        Some(Ok(accepted)) => Ok(accepted),
        Some(Err(error)) => Err(connection_error(&error)),
        None => Err(refused()),
    }
}

/// A number of a stream of `quinn`'s as one of `h3`'s.
fn stream_id(id: quinn::StreamId) -> Result<StreamId, ConnectionErrorIncoming> {
    StreamId::try_from(u64::from(id)).map_err(|_| refused())
}

/// The guard has closed the connection already, with its own code.
fn refused() -> ConnectionErrorIncoming {
    connection_error(&ConnectionError::LocallyClosed)
}

fn refused_stream() -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: refused(),
    }
}

fn connection_error(error: &ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other.clone())),
    }
}

fn lost(error: &ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}

fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> StreamErrorIncoming {
    StreamErrorIncoming::Unknown(Box::new(error))
}

fn read_error(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into(),
        },
        ReadError::ConnectionLost(error) => lost(&error),
        other => unknown(other),
    }
}
