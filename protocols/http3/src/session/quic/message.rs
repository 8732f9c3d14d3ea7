//! A bidirectional stream: what is queued to go, and what has come and passed the guard.
//!
//! `h3` holds it as a [`Bidi`](super::Bidi), whose methods never wait to send; its owner moves the bytes, and says what it took of
//! what came. Dropping it before both directions have ended resets what is open. Start at [`Message`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use h3::quic::{StreamErrorIncoming, WriteBuf};

use super::{Role, error_code, lost_stream};
use crate::frames::{self, Breach, FrameGuard, Piece, StreamKind};

/// H3_REQUEST_CANCELLED (RFC 9114 section 8.1).
const CANCELLED: u64 = 0x10c;

/// Why a direction of a stream has ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer ended it, with this code.
    Ended(u64),
    /// With the connection.
    Lost(quinn::ConnectionError),
    /// The peer broke a rule.
    Breach(Breach),
    /// It was ended here.
    Closed,
}

impl Failure {
    pub(super) fn of_write(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Ended(code.into_inner()),
            quinn::WriteError::ConnectionLost(error) => Self::Lost(error),
            quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => Self::Closed,
        }
    }

    pub(super) fn of_read(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Ended(code.into_inner()),
            quinn::ReadError::ConnectionLost(error) => Self::Lost(error),
            _ => Self::Closed,
        }
    }

    /// In `h3`'s words.
    pub(super) fn incoming(&self) -> StreamErrorIncoming {
        match self {
            Self::Ended(code) => StreamErrorIncoming::StreamTerminated { error_code: *code },
            Self::Lost(error) => lost_stream(error),
            Self::Breach(breach) => StreamErrorIncoming::Unknown(Box::new(*breach)),
            Self::Closed => StreamErrorIncoming::Unknown("closed".into()),
        }
    }
}

/// A bidirectional stream.
pub(crate) struct Message {
    id: u64,
    outlet: RefCell<Outlet>,
    inlet: RefCell<Inlet>,
    /// What an open direction is ended with.
    code: Cell<u64>,
}

struct Outlet {
    stream: quinn::SendStream,
    queue: VecDeque<Queued>,
    queued: usize,
    sent: u64,
    /// The end stands behind what is queued.
    ending: bool,
    ended: bool,
}

/// What is to go.
enum Queued {
    /// A frame of `h3`'s.
    Frame(WriteBuf<Bytes>),
    /// Bytes that are not copied.
    Bytes(Bytes),
}

impl Queued {
    fn is_empty(&self) -> bool {
        match self {
            Self::Frame(frame) => !frame.has_remaining(),
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    /// Moves what the stream takes; the answer is how much that was.
    fn poll_write(
        &mut self,
        stream: &mut quinn::SendStream,
        task: &mut Context<'_>,
    ) -> Poll<Result<usize, quinn::WriteError>> {
        match self {
            Self::Frame(frame) => {
                let written = ready!(Pin::new(stream).poll_write(task, frame.chunk()))?;
                frame.advance(written);
                Poll::Ready(Ok(written))
            }
            Self::Bytes(bytes) => {
                let written = pin!(stream.write_chunks(std::slice::from_mut(bytes))).poll(task);
                written.map_ok(|written| written.bytes)
            }
        }
    }
}

struct Inlet {
    stream: quinn::RecvStream,
    guard: FrameGuard,
    /// What has come and has not passed the guard.
    raw: Bytes,
    /// Bytes of content that `h3` was given and that nobody has taken of it.
    given: usize,
    ended: bool,
    failure: Option<Failure>,
}

impl Message {
    /// The two halves of a stream.
    pub(crate) fn new(send: quinn::SendStream, receive: quinn::RecvStream, role: Role) -> Rc<Self> {
        Rc::new(Self {
            id: send.id().into(),
            outlet: RefCell::new(Outlet {
                stream: send,
                queue: VecDeque::new(),
                queued: 0,
                sent: 0,
                ending: false,
                ended: false,
            }),
            inlet: RefCell::new(Inlet {
                stream: receive,
                guard: FrameGuard::new(StreamKind::Message(role.receives), role.limits),
                raw: Bytes::new(),
                given: 0,
                ended: false,
                failure: None,
            }),
            code: Cell::new(CANCELLED),
        })
    }

    /// The stream's id.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Queues a frame of `h3`'s.
    pub(crate) fn queue(&self, frame: WriteBuf<Bytes>) {
        let mut outlet = self.outlet.borrow_mut();
        outlet.queued += frame.remaining();
        outlet.queue.push_back(Queued::Frame(frame));
    }

    /// Queues content as a DATA frame, which `h3` would copy (RFC 9114 section 7.2.1).
    pub(crate) fn queue_data(&self, content: Bytes) {
        let mut outlet = self.outlet.borrow_mut();
        let header = frames::data_header(content.len());
        outlet.queued += header.len() + content.len();
        outlet.queue.push_back(Queued::Bytes(header));
        outlet.queue.push_back(Queued::Bytes(content));
    }

    /// Queues the end.
    pub(crate) fn queue_end(&self) {
        self.outlet.borrow_mut().ending = true;
    }

    /// Bytes that wait for the peer's window, or for the connection's turn.
    pub(crate) fn queued(&self) -> usize {
        self.outlet.borrow().queued
    }

    /// Bytes that have gone to the connection.
    pub(crate) fn sent(&self) -> u64 {
        self.outlet.borrow().sent
    }

    /// Whether everything has gone, the end included.
    pub(crate) fn is_sent(&self) -> bool {
        self.outlet.borrow().ended
    }

    /// Forgets what is queued: nobody wants it.
    pub(crate) fn stop_sending(&self) {
        let mut outlet = self.outlet.borrow_mut();
        outlet.queue.clear();
        outlet.queued = 0;
        outlet.ended = true;
    }

    /// Moves what is queued. Ready when nothing is left.
    pub(crate) fn poll_flush(&self, task: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let outlet = &mut *self.outlet.borrow_mut();
        if outlet.ended {
            return Poll::Ready(Ok(()));
        }
        while let Some(first) = outlet.queue.front_mut() {
            while !first.is_empty() {
                let written = ready!(first.poll_write(&mut outlet.stream, task));
                let written = written.map_err(Failure::of_write)?;
                outlet.queued = outlet.queued.saturating_sub(written);
                outlet.sent += written as u64;
            }
            outlet.queue.pop_front();
        }
        if outlet.ending {
            outlet.ended = true;
            // That it was stopped meanwhile is no failure: nothing was left to send.
            let _ = outlet.stream.finish();
        }
        Poll::Ready(Ok(()))
    }

    /// Ends sending at once.
    pub(crate) fn reset(&self, code: u64) {
        let outlet = &mut *self.outlet.borrow_mut();
        outlet.queue.clear();
        outlet.queued = 0;
        outlet.ended = true;
        let _ = outlet.stream.reset(error_code(code));
    }

    /// Wants no more of what comes.
    pub(crate) fn stop(&self, code: u64) {
        let inlet = &mut *self.inlet.borrow_mut();
        if !inlet.ended && inlet.failure.is_none() {
            let _ = inlet.stream.stop(error_code(code));
            inlet.failure = Some(Failure::Closed);
        }
    }

    /// Says what an open direction is to be ended with when the message is dropped.
    pub(crate) fn close_with(&self, code: u64) {
        self.code.set(code);
    }

    /// The next piece for `h3`. While it has some that was not taken, or a head of which it is not known whether it is the final
    /// one, there is none.
    pub(super) fn poll_piece(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Failure>> {
        self.inlet.borrow_mut().poll_piece(task)
    }

    /// So many bytes of content were taken of `h3`.
    pub(crate) fn on_taken(&self, bytes: usize) {
        let mut inlet = self.inlet.borrow_mut();
        inlet.given = inlet.given.saturating_sub(bytes);
    }

    /// A head was taken of `h3`.
    pub(crate) fn on_head(&self, interim: bool) {
        self.inlet.borrow_mut().guard.on_head(interim);
    }

    /// Why nothing more comes, if that is so.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.inlet.borrow().failure.clone()
    }

    /// Whether what comes has ended with what `h3` was given, as far as is known now.
    pub(crate) fn is_at_end(&self) -> bool {
        let inlet = &mut *self.inlet.borrow_mut();
        let mut quiet = Context::from_waker(Waker::noop());
        while inlet.raw.is_empty() && !inlet.ended && inlet.failure.is_none() {
            if inlet.poll_read(&mut quiet).is_pending() {
                return false;
            }
        }
        inlet.ended && inlet.raw.is_empty() && inlet.guard.finish().is_ok()
    }
}

impl Inlet {
    fn poll_piece(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            if let Some(failure) = &self.failure {
                return Poll::Ready(Err(failure.clone()));
            }
            if self.given > 0 || self.guard.is_waiting() {
                return Poll::Pending;
            }
            match self.guard.next(&mut self.raw) {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(self.give(piece)))),
                Ok(None) if !self.ended => ready!(self.poll_read(task)),
                Ok(None) => match self.guard.finish() {
                    Ok(()) => return Poll::Ready(Ok(None)),
                    Err(breach) => self.failure = Some(Failure::Breach(breach)),
                },
                Err(breach) => self.failure = Some(Failure::Breach(breach)),
            }
        }
    }

    /// Reads on once nothing that has come is left.
    fn poll_read(&mut self, task: &mut Context<'_>) -> Poll<()> {
        match ready!(poll_chunk(&mut self.stream, task)) {
            Ok(Some(chunk)) => self.raw = chunk,
            Ok(None) => self.ended = true,
            Err(error) => self.failure = Some(Failure::of_read(error)),
        }
        Poll::Ready(())
    }

    fn give(&mut self, piece: Piece) -> Bytes {
        match piece {
            Piece::Data(bytes, content) => {
                self.given += content;
                bytes
            }
            Piece::Section(bytes) | Piece::Control(bytes) | Piece::Goaway(bytes, _) => bytes,
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let code = error_code(self.code.get());
        let outlet = self.outlet.get_mut();
        if !outlet.ended {
            let _ = outlet.stream.reset(code);
        }
        let inlet = self.inlet.get_mut();
        let is_open = !inlet.ended && matches!(inlet.failure, None | Some(Failure::Breach(_)));
        if is_open {
            let _ = inlet.stream.stop(code);
        }
    }
}

/// The next bytes of a stream, as they came.
pub(super) fn poll_chunk(
    stream: &mut quinn::RecvStream,
    task: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, quinn::ReadError>> {
    let chunk = pin!(stream.read_chunk(usize::MAX, true));
    chunk
        .poll(task)
        .map_ok(|chunk| chunk.map(|chunk| chunk.bytes))
}
