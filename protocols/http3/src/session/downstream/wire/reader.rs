//! The half of a request's stream that the client sends on, taken apart before `h3` reads of it.
//!
//! Start at [`Reader`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h3::error::Code;
use h3::quic::StreamErrorIncoming;

use super::words::{number, read_error, refused_stream};
use super::{Failure, Wire};
use crate::frames::Breach;
use crate::guard::{FrameSplitter, Part};

/// The half of a request's stream that the client sends on, taken apart: `h3` reads frames from it, the exchange the body.
pub(in super::super) struct Reader {
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
pub(in super::super) enum Piece {
    /// A part of the body.
    Data(Bytes),
    /// A frame for `h3`: trailers, or a mistake.
    Frame,
    /// The end.
    End,
}

impl Reader {
    pub(super) fn new(wire: &Rc<Wire>, stream: quinn::RecvStream) -> Rc<Self> {
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
    pub(in super::super) fn poll_piece(
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
    pub(super) fn poll_frame(
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

    /// What is wrong with the head, and with the trailers if they have come.
    pub(in super::super) fn breach(&self) -> Option<Breach> {
        self.inner.borrow().splitter.breach()
    }

    /// Passes over what comes, at most so much. Ready when that is more, and at the end.
    pub(in super::super) fn poll_discard(
        &self,
        task: &mut Context<'_>,
        most: &mut usize,
    ) -> Poll<()> {
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
    pub(in super::super) fn stop(&self, code: u64) {
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
