//! QUIC as `h3` sees it: its traits, over `quinn`'s streams with the [guard](crate::frames) in between.
//!
//! What `h3` writes is queued and moved by whoever owns the message, and what it reads has been looked at, so that each of its
//! asynchronous methods on a [`Bidi`] ends, or waits for the peer, at the first poll: none has to be kept. It knows no
//! request and no side; [`Role`] is what differs between the two. Start at [`Quic::new`] and [`Message`].

mod incoming;
mod message;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};

use crate::frames::{Breach, GuardLimits, SectionKind};

use self::incoming::Incoming;
pub(crate) use self::message::{Failure, Message};

/// What differs between the sides of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role {
    /// What comes in on bidirectional streams.
    pub(crate) receives: SectionKind,
    /// How much of each stream is let through.
    pub(crate) limits: GuardLimits,
}

/// What the streams of one connection tell the connection, without `h3` in between.
#[derive(Default)]
pub(crate) struct Signals {
    /// The stream of the next request, for `h3` to take when it sends one.
    next: RefCell<Option<Bidi>>,
    /// The lowest id that a GOAWAY has said.
    goaway: Cell<Option<u64>>,
    /// What the peer did wrong on a stream of the connection itself.
    breach: Cell<Option<Breach>>,
}

impl Signals {
    /// Makes a stream the one that `h3`'s next request goes to.
    pub(crate) fn offer(&self, stream: Bidi) {
        *self.next.borrow_mut() = Some(stream);
    }

    /// The lowest id that a GOAWAY has said, if one has come: streams from there on were not looked at (RFC 9114 section 5.2).
    pub(crate) fn goaway(&self) -> Option<u64> {
        self.goaway.get()
    }

    /// What the peer did wrong on a stream of the connection itself.
    pub(crate) fn breach(&self) -> Option<Breach> {
        self.breach.get()
    }

    fn on_goaway(&self, id: u64) {
        let lowest = self.goaway.get().map_or(id, |known| known.min(id));
        self.goaway.set(Some(lowest));
    }
}

/// A future of `quinn` that must outlive one poll.
type Pending<T> = Pin<Box<dyn Future<Output = Result<T, quinn::ConnectionError>>>>;

/// A connection.
pub(crate) struct Quic {
    opener: Opener,
    accepting_uni: Option<Pending<quinn::RecvStream>>,
    accepting_bidi: Option<Pending<(quinn::SendStream, quinn::RecvStream)>>,
}

/// What opens streams on it.
pub(crate) struct Opener {
    connection: quinn::Connection,
    role: Role,
    signals: Rc<Signals>,
    opening_uni: Option<Pending<quinn::SendStream>>,
}

impl Quic {
    /// The connection, whose streams tell `signals` what `h3` does not say.
    pub(crate) fn new(connection: quinn::Connection, role: Role, signals: Rc<Signals>) -> Self {
        Self {
            opener: Opener {
                connection,
                role,
                signals,
                opening_uni: None,
            },
            accepting_uni: None,
            accepting_bidi: None,
        }
    }
}

impl Opener {
    fn close(&self, code: Code, reason: &[u8]) {
        let code = quinn::VarInt::from_u64(code.value()).unwrap_or(quinn::VarInt::MAX);
        self.connection.close(code, reason);
    }
}

impl h3::quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Bidi;
    type SendStream = Outgoing;

    /// The stream that was [offered](Signals::offer): requests wait elsewhere for a stream to be allowed.
    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Bidi, StreamErrorIncoming>> {
        let next = self.signals.next.borrow_mut().take();
        Poll::Ready(next.ok_or_else(|| StreamErrorIncoming::Unknown("no stream".into())))
    }

    fn poll_open_send(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, StreamErrorIncoming>> {
        let opening = self.opening_uni.get_or_insert_with(|| {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(task));
        self.opening_uni = None;
        let stream = opened.map_err(|error| lost_stream(&error))?;
        Poll::Ready(Ok(Outgoing {
            stream,
            writing: None,
        }))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        Self::close(self, code, reason);
    }
}

impl h3::quic::OpenStreams<Bytes> for Quic {
    type BidiStream = Bidi;
    type SendStream = Outgoing;

    fn poll_open_bidi(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Bidi, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(task)
    }

    fn poll_open_send(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, StreamErrorIncoming>> {
        self.opener.poll_open_send(task)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        Opener::close(&self.opener, code, reason);
    }
}

impl h3::quic::Connection<Bytes> for Quic {
    type RecvStream = Incoming;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Incoming, ConnectionErrorIncoming>> {
        let accepting = self.accepting_uni.get_or_insert_with(|| {
            let connection = self.opener.connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        });
        let accepted = ready!(accepting.as_mut().poll(task));
        self.accepting_uni = None;
        let stream = accepted.map_err(|error| lost(&error))?;
        let signals = Rc::clone(&self.opener.signals);
        let limits = self.opener.role.limits;
        Poll::Ready(Ok(Incoming::new(stream, signals, limits)))
    }

    fn poll_accept_bidi(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Bidi, ConnectionErrorIncoming>> {
        let accepting = self.accepting_bidi.get_or_insert_with(|| {
            let connection = self.opener.connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        });
        let accepted = ready!(accepting.as_mut().poll(task));
        self.accepting_bidi = None;
        let (send, receive) = accepted.map_err(|error| lost(&error))?;
        let message = Message::new(send, receive, self.opener.role);
        Poll::Ready(Ok(Bidi(message)))
    }

    fn opener(&self) -> Opener {
        Opener {
            connection: self.opener.connection.clone(),
            role: self.opener.role,
            signals: Rc::clone(&self.opener.signals),
            opening_uni: None,
        }
    }
}

/// A message in each direction, as `h3` has it; whoever owns the message shares it.
pub(crate) struct Bidi(Rc<Message>);

impl Bidi {
    /// `h3`'s hold on a message.
    pub(crate) fn new(message: &Rc<Message>) -> Self {
        Self(Rc::clone(message))
    }
}

impl h3::quic::SendStream<Bytes> for Bidi {
    /// At any time: what is written is queued, and whoever owns the message looks at how much that is.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.0.queue(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.0.queue_end();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, code: u64) {
        self.0.reset(code);
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.0.id())
    }
}

impl h3::quic::RecvStream for Bidi {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.0
            .poll_piece(task)
            .map_err(|failure| failure.incoming())
    }

    fn stop_sending(&mut self, code: u64) {
        self.0.stop(code);
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.0.id())
    }
}

impl h3::quic::BidiStream<Bytes> for Bidi {
    type SendStream = Self;
    type RecvStream = Self;

    fn split(self) -> (Self, Self) {
        let other = Self(Rc::clone(&self.0));
        (self, other)
    }
}

/// A unidirectional stream of ours.
pub(crate) struct Outgoing {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
}

impl h3::quic::SendStream<Bytes> for Outgoing {
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = &mut self.writing {
            if !data.has_remaining() {
                self.writing = None;
                break;
            }
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write(task, data.chunk()));
            data.advance(written.map_err(|error| Failure::of_write(error).incoming())?);
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        // What has failed is told by what follows.
        let _ = self.stream.finish();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, code: u64) {
        let _ = self.stream.reset(error_code(code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id().into())
    }
}

/// `quinn` has only ids that fit, as 0 does.
fn stream_id(id: u64) -> StreamId {
    StreamId::try_from(id).unwrap_or_else(|_| stream_id(0))
}

fn error_code(code: u64) -> quinn::VarInt {
    quinn::VarInt::from_u64(code).unwrap_or(quinn::VarInt::MAX)
}

/// The end of a connection in `h3`'s words.
fn lost(error: &quinn::ConnectionError) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose {
                error_code: close.error_code.into_inner(),
            }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other.clone())),
    }
}

fn lost_stream(error: &quinn::ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: lost(error),
    }
}
