//! A connection's bytes: the socket, what was read and not yet understood, and what waits to be written.
//!
//! It knows no HTTP. While nothing happens it holds no buffer. Start at [`Connection::poll_fill`].

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use portcullis_http::stream::StreamError;
use portcullis_net::Stream;

use super::output::Output;

/// One side's connection.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) input: BytesMut,
    pub(crate) output: Output,
    /// The task was told to wait when it last read: see [`Stream::poll_read_again`].
    waits: bool,
    /// The peer has said that it sends no more.
    pub(crate) read_closed: bool,
    /// Our direction is, or will be once flushed, closed.
    pub(crate) shutdown: Shutdown,
}

/// How far the end of our direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    No,
    Wanted,
    Done,
}

impl Connection {
    pub(crate) fn new(stream: Stream, input: BytesMut) -> Self {
        Self {
            stream,
            input,
            output: Output::default(),
            waits: false,
            read_closed: false,
            shutdown: Shutdown::No,
        }
    }

    /// Reads more. The answer is whether there was more: `false` at the peer's end.
    pub(crate) fn poll_fill(&mut self, task: &mut Context<'_>) -> Poll<Result<bool, StreamError>> {
        if self.read_closed {
            return Poll::Ready(Ok(false));
        }
        let read = self
            .stream
            .poll_read_again(task, &mut self.input, usize::MAX, &mut self.waits);
        match ready!(read) {
            Ok(0) => {
                self.read_closed = true;
                Poll::Ready(Ok(false))
            }
            Ok(_) => Poll::Ready(Ok(true)),
            Err(error) => Poll::Ready(Err(failure(&error))),
        }
    }

    /// Writes what waits, then ends our direction if that was asked for.
    #[inline]
    pub(crate) fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.output.is_empty() && self.shutdown != Shutdown::Wanted {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush_rest(task)
    }

    fn poll_flush_rest(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if let Err(error) = ready!(self.output.poll_flush(&mut self.stream, task)) {
            return Poll::Ready(Err(failure(&error)));
        }
        if self.shutdown == Shutdown::Wanted {
            if let Err(error) = ready!(self.stream.poll_shutdown(task)) {
                return Poll::Ready(Err(failure(&error)));
            }
            self.shutdown = Shutdown::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// To be said when another task than before takes the connection over.
    pub(crate) const fn changes_task(&mut self) {
        self.waits = false;
    }

    /// Gives memory back while nothing happens.
    pub(crate) fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.output.shrink();
    }
}

/// What an input or output error means for an exchange.
#[cold]
pub(crate) fn failure(error: &io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => StreamError::Reset,
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => {
            StreamError::Closed
        }
        _ => StreamError::Io,
    }
}
