//! `h3`'s view of `quinn`, for a server of the tests: nothing is checked, and who serves a request hears when its client wants
//! no more of the response, which `h3-quinn` keeps to itself.
//!
//! Start at [`Quic`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};

/// Ends when the peer wants no more of a stream, or has all of it.
pub(crate) type Stopped = Pin<Box<dyn Future<Output = ()>>>;

/// By the number of the stream.
pub(crate) type Stops = Rc<RefCell<BTreeMap<u64, Stopped>>>;

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, quinn::ConnectionError>>>>;

/// A connection.
pub(crate) struct Quic {
    connection: quinn::Connection,
    stops: Stops,
    bidi: Option<Pending<(quinn::SendStream, quinn::RecvStream)>>,
    uni: Option<Pending<quinn::RecvStream>>,
    opening: Option<Pending<quinn::SendStream>>,
}

impl Quic {
    pub(crate) fn new(connection: quinn::Connection, stops: &Stops) -> Self {
        Self {
            connection,
            stops: Rc::clone(stops),
            bidi: None,
            uni: None,
            opening: None,
        }
    }
}

/// Polls a future that is kept until it is done.
fn poll_kept<T>(
    kept: &mut Option<Pending<T>>,
    make: impl FnOnce() -> Pending<T>,
    task: &mut Context<'_>,
) -> Poll<Result<T, ConnectionErrorIncoming>> {
    let done = ready!(kept.get_or_insert_with(make).as_mut().poll(task));
    *kept = None;
    Poll::Ready(done.map_err(lost))
}

impl h3::quic::OpenStreams<Bytes> for Quic {
    type BidiStream = Bidi;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Bidi, StreamErrorIncoming>> {
        Poll::Pending
    }

    fn poll_open_send(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Sending, StreamErrorIncoming>> {
        let connection = self.connection.clone();
        let make = || -> Pending<_> { Box::pin(async move { connection.open_uni().await }) };
        let opened = ready!(poll_kept(&mut self.opening, make, task));
        Poll::Ready(opened.map(Sending::new).map_err(|connection_error| {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
        }))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(number(code.value()), reason);
    }
}

impl h3::quic::Connection<Bytes> for Quic {
    type RecvStream = Receiving;
    type OpenStreams = Self;

    fn poll_accept_recv(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let connection = self.connection.clone();
        let make = || -> Pending<_> { Box::pin(async move { connection.accept_uni().await }) };
        poll_kept(&mut self.uni, make, task).map_ok(Receiving)
    }

    fn poll_accept_bidi(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Bidi, ConnectionErrorIncoming>> {
        let connection = self.connection.clone();
        let make = || -> Pending<_> { Box::pin(async move { connection.accept_bi().await }) };
        let (send, receive) = ready!(poll_kept(&mut self.bidi, make, task))?;
        let stopped = send.stopped();
        let stopped = Box::pin(async move { drop(stopped.await) });
        self.stops.borrow_mut().insert(send.id().into(), stopped);
        Poll::Ready(Ok(Bidi(Sending::new(send), Receiving(receive))))
    }

    fn opener(&self) -> Self {
        Self::new(self.connection.clone(), &self.stops)
    }
}

/// A stream both ways.
pub struct Bidi(Sending, Receiving);

/// A stream, or one way of it.
pub struct Sending {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
}

/// A stream, or the other way of it.
pub struct Receiving(quinn::RecvStream);

impl Sending {
    fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            writing: None,
        }
    }
}

impl h3::quic::SendStream<Bytes> for Sending {
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = &mut self.writing {
            if !data.has_remaining() {
                break;
            }
            let written = Pin::new(&mut self.stream).poll_write(task, data.chunk());
            data.advance(ready!(written).map_err(|error| match error {
                quinn::WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated {
                    error_code: code.into_inner(),
                },
                error => StreamErrorIncoming::Unknown(Box::new(error)),
            })?);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        let _ = self.stream.finish();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, code: u64) {
        let _ = self.stream.reset(number(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id().into())
    }
}

impl h3::quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let chunk = ready!(pin!(self.0.read_chunk(usize::MAX, true)).poll(task));
        Poll::Ready(match chunk {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(quinn::ReadError::Reset(code)) => Err(StreamErrorIncoming::StreamTerminated {
                error_code: code.into_inner(),
            }),
            Err(error) => Err(StreamErrorIncoming::Unknown(Box::new(error))),
        })
    }

    fn stop_sending(&mut self, code: u64) {
        let _ = self.0.stop(number(code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.0.id().into())
    }
}

impl h3::quic::SendStream<Bytes> for Bidi {
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.0.poll_ready(task)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.0.send_data(data)
    }

    fn poll_finish(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.0.poll_finish(task)
    }

    fn reset(&mut self, code: u64) {
        self.0.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.0.send_id()
    }
}

impl h3::quic::RecvStream for Bidi {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.1.poll_data(task)
    }

    fn stop_sending(&mut self, code: u64) {
        self.1.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.1.recv_id()
    }
}

impl h3::quic::BidiStream<Bytes> for Bidi {
    type SendStream = Sending;
    type RecvStream = Receiving;

    fn split(self) -> (Sending, Receiving) {
        (self.0, self.1)
    }
}

fn lost(error: quinn::ConnectionError) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose {
                error_code: close.error_code.into_inner(),
            }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn number(code: u64) -> quinn::VarInt {
    quinn::VarInt::from_u64(code).expect("a code")
}

fn id(id: u64) -> StreamId {
    StreamId::try_from(id).expect("an id")
}
