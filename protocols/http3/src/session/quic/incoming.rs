//! A unidirectional stream of the peer: the control stream, whose frames pass the guard, or one that only `h3` knows about.
//!
//! Start at [`Incoming`].

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h3::quic::{StreamErrorIncoming, StreamId};

use super::message::{Failure, poll_chunk};
use super::{Signals, error_code, stream_id};
use crate::frames::{Breach, FrameGuard, GuardLimits, Piece, StreamKind, Varint};

/// RFC 9114 section 6.2.
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;

/// A unidirectional stream of the peer.
pub(crate) struct Incoming {
    stream: quinn::RecvStream,
    signals: Rc<Signals>,
    limits: GuardLimits,
    state: State,
    raw: Bytes,
    ended: bool,
}

enum State {
    /// What it is for is not known.
    Type(BytesMut),
    Control(Box<FrameGuard>),
    /// What `h3` leaves unread, or refuses.
    Other,
}

impl Incoming {
    pub(super) fn new(
        stream: quinn::RecvStream,
        signals: Rc<Signals>,
        limits: GuardLimits,
    ) -> Self {
        Self {
            stream,
            signals,
            limits,
            state: State::Type(BytesMut::new()),
            raw: Bytes::new(),
            ended: false,
        }
    }

    /// The next piece of what has come.
    fn take(&mut self) -> Result<Option<Bytes>, Breach> {
        match &mut self.state {
            State::Type(start) => {
                let more = self
                    .raw
                    .split_to(self.raw.len().min(8 - start.len().min(8)));
                start.extend_from_slice(&more);
                let Some(kind) = Varint::parse(start) else {
                    return Ok(None);
                };
                // What was read too much comes first again.
                let mut rest = std::mem::take(start);
                let named = rest.split_to(kind.size).freeze();
                rest.extend_from_slice(&self.raw);
                self.raw = rest.freeze();
                self.state = match kind.value {
                    CONTROL => {
                        State::Control(Box::new(FrameGuard::new(StreamKind::Control, self.limits)))
                    }
                    PUSH => return Err(Breach::Push),
                    _ => State::Other,
                };
                Ok(Some(named))
            }
            State::Control(guard) => Ok(match guard.next(&mut self.raw)? {
                Some(Piece::Goaway(frame, id)) => {
                    self.signals.on_goaway(id);
                    Some(frame)
                }
                Some(Piece::Control(frame) | Piece::Section(frame) | Piece::Data(frame, _)) => {
                    Some(frame)
                }
                None => None,
            }),
            State::Other => {
                let all = std::mem::take(&mut self.raw);
                Ok((!all.is_empty()).then_some(all))
            }
        }
    }
}

impl h3::quic::RecvStream for Incoming {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            match self.take() {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                Ok(None) if self.ended => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                Err(breach) => {
                    self.signals.breach.set(Some(breach));
                    return Poll::Ready(Err(Failure::Breach(breach).incoming()));
                }
            }
            match ready!(poll_chunk(&mut self.stream, task)) {
                Ok(Some(chunk)) => self.raw = chunk,
                Ok(None) => self.ended = true,
                Err(error) => return Poll::Ready(Err(Failure::of_read(error).incoming())),
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        let _ = self.stream.stop(error_code(code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id().into())
    }
}
