//! The traits of `h3`, by streams of `quinn`: what it opens, accepts, writes and reads.
//!
//! Nothing is decided here. Start at [`QuicConnection`].

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, WriteError};

use super::send::Kind;
use super::words::{
    connection_error, lost, number, read_error, refused, refused_stream, stream_id, unknown,
};
use super::{Reader, SendHalf, Wire};
use crate::guard::{FrameScanner, Guard};

type Accepting<T> = Pin<Box<dyn Stream<Item = Result<T, ConnectionError>>>>;

type Opening = Pin<Box<dyn Future<Output = Result<quinn::SendStream, ConnectionError>>>>;

/// A connection as `h3` sees it.
pub(in super::super) struct QuicConnection {
    wire: Rc<Wire>,
    requests: Accepting<(quinn::SendStream, quinn::RecvStream)>,
    streams: Accepting<quinn::RecvStream>,
    opening: Option<Opening>,
}

impl QuicConnection {
    pub(super) fn new(wire: Rc<Wire>) -> Self {
        let connection = wire.connection.clone();
        let requests = unfold(connection.clone(), |connection| async move {
            Some((connection.accept_bi().await, connection))
        });
        let streams = unfold(connection, |connection| async move {
            Some((connection.accept_uni().await, connection))
        });
        Self {
            wire,
            requests: Box::pin(requests),
            streams: Box::pin(streams),
            opening: None,
        }
    }
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
        task: &mut Context<'_>,
    ) -> Poll<Result<RequestHalves, StreamErrorIncoming>> {
        quic::OpenStreams::<Bytes>::poll_open_bidi(&mut Opener, task)
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
pub(in super::super) struct Opener;

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
pub(in super::super) struct RequestHalves {
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
pub(in super::super) struct Outgoing(Rc<SendHalf>);

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

/// A unidirectional stream of the client, as `h3` sees it.
pub(in super::super) struct RecvHalf {
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

/// What an endless stream has accepted.
fn accepted<T>(next: Option<Result<T, ConnectionError>>) -> Result<T, ConnectionErrorIncoming> {
    match next {
        Some(Ok(accepted)) => Ok(accepted),
        Some(Err(error)) => Err(connection_error(&error)),
        None => Err(refused()),
    }
}
