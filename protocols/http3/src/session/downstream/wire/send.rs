//! The half of a stream that we send on: a queue before `quinn`, and what became of it.
//!
//! Start at [`SendHalf`].

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use h3::quic::{ConnectionErrorIncoming, StreamId, WriteBuf};
use quinn::{VarInt, WriteError};

use super::super::queue::{Queue, data_header};
use super::Wire;
use super::words::{number, stream_id};

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
pub(in super::super) enum Outcome {
    /// The client has all of it.
    Received,
    /// The client stopped to listen, or reset the stream.
    Stopped,
    /// The connection has ended.
    Lost,
}

type Stopping = Pin<Box<dyn Future<Output = Result<Option<VarInt>, quinn::StoppedError>>>>;

/// The half of a stream that we send on.
pub(in super::super) struct SendHalf {
    pub(super) id: StreamId,
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
pub(super) enum Kind {
    /// Something about the connection.
    Control,
    /// The answer to a request.
    Response {
        /// The request came before the handshake was over.
        is_early: bool,
    },
}

impl SendHalf {
    pub(super) fn new(
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
    pub(in super::super) const fn is_early(&self) -> bool {
        matches!(self.kind, Kind::Response { is_early: true })
    }

    /// Queues a DATA frame (RFC 9114 section 7.2.1).
    pub(in super::super) fn push_data(&self, data: Bytes) {
        self.push(data_header(data.len()));
        self.push(data);
    }

    pub(super) fn push_frame(&self, mut frame: WriteBuf<Bytes>) {
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
    pub(in super::super) fn finish(&self) {
        if self.end.get() == End::Open {
            self.end.set(End::Wanted);
        }
    }

    /// Ends it at once, and drops what is queued.
    pub(in super::super) fn reset(&self, code: u64) {
        self.clear();
        self.end.set(End::Done);
        // Fails where it has ended.
        let _ = self.stream.borrow_mut().reset(number(code));
    }

    /// Whether anything waits for the client's windows.
    pub(in super::super) fn is_waiting(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Whether what waits takes as much memory as it may.
    pub(in super::super) fn is_full(&self, limit: usize) -> bool {
        self.queue.borrow().is_full(limit)
    }

    /// Whether its end is with quinn.
    pub(in super::super) fn is_ended(&self) -> bool {
        self.end.get() == End::Done
    }

    /// Bytes that the client's windows took.
    pub(in super::super) const fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Hands to quinn what the client's windows have room for, and then the end. Ready when nothing is left.
    pub(in super::super) fn poll_flush(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
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
    pub(in super::super) fn poll_outcome(&self, task: &mut Context<'_>) -> Poll<Outcome> {
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
