//! `h2` as a server on bytes in memory: what it answers to frames.
//!
//! No runtime and no socket: the connection is polled by hand until nothing moves. Requests that it accepts are kept, so
//! that no stream ends for our reasons. Start at [`serve`].

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use portcullis_codec::Decoder;
use portcullis_http2::frame::{LEAST_MAX_FRAME_SIZE, StreamId};
use portcullis_http2::{ErrorCode, Frame, FrameDecoder, PREFACE};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The payload of the PING that asks whether the connection is still there.
pub(super) const ALIVE: [u8; 8] = *b"alive-ok";

/// What `h2` made of its input.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// The code of the GOAWAY that it sent, if any but the one of a farewell.
    pub(super) refused: Option<ErrorCode>,
    /// Whether it ended the connection, for whatever reason.
    pub(super) ended: bool,
    /// The streams that it reset.
    pub(super) resets: Vec<(StreamId, ErrorCode)>,
    /// Whether the PING with [`ALIVE`] was answered.
    pub(super) alive: bool,
}

/// More polls than any input of a fuzzer needs.
const POLLS: usize = 10_000;

/// Polls after the last byte was read: what is queued gets written.
const POLLS_AFTER: usize = 3;

/// Serves the preface, SETTINGS and `input`; then nothing more comes.
pub(super) fn serve(input: &[u8]) -> Served {
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let io = Memory {
        input: [&PREFACE[..], settings, input].concat().into(),
        output: Rc::default(),
    };
    let output = Rc::clone(&io.output);
    let ended = run(io);
    let mut served = Served {
        ended,
        ..Served::default()
    };
    let mut bytes = BytesMut::from(&output.borrow()[..]);
    // `h2` was told nothing that would let it write larger frames than this, unless the input did.
    let mut decoder = FrameDecoder::new(LEAST_MAX_FRAME_SIZE);
    while let Ok(Some(frame)) = decoder.decode(&mut bytes) {
        match frame {
            Frame::GoAway(goaway) if goaway.code != ErrorCode::NO_ERROR => {
                served.refused = Some(goaway.code);
            }
            Frame::Reset(reset) => served.resets.push((reset.stream, reset.code)),
            Frame::Ping(ping) if ping.ack && ping.payload == ALIVE => served.alive = true,
            _ => {}
        }
    }
    served
}

/// Whether the connection ended.
fn run(io: Memory) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut handshake = pin!(h2::server::handshake(io));
    let mut connection = loop {
        match handshake.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(connection)) => break connection,
            Poll::Ready(Err(_)) => return true,
            // The preface is all there, so this is about something to be written.
            Poll::Pending => {}
        }
    };
    let mut kept = Vec::new();
    let mut idle = 0;
    for _ in 0..POLLS {
        match connection.poll_accept(&mut cx) {
            Poll::Ready(Some(Ok(accepted))) => kept.push(accepted),
            Poll::Ready(Some(Err(_)) | None) => return true,
            Poll::Pending => idle += 1,
        }
        if idle > POLLS_AFTER {
            break;
        }
    }
    false
}

/// The input to read, then silence; what is written is kept.
struct Memory {
    input: Bytes,
    output: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Poll::Pending;
        }
        let length = self.input.len().min(buffer.remaining());
        buffer.put_slice(&self.input.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
