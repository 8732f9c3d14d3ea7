//! Where `h3` meets `quinn`: the streams of one connection, and what is known of them besides.
//!
//! It is ours, since `h3-quinn` hides what must be seen: a client that stops to listen, what its windows took, how its frames begin.
//! Sending never waits here: what `h3` writes is queued, and [`SendHalf::poll_flush`] moves it. Of `h3` only `transport` knows the
//! traits, and `words` the names of what fails. Start at [`Wire`].

mod reader;
mod send;
mod transport;
mod words;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use h3::error::Code;
use portcullis_net::clock;
use quinn::WriteError;

use super::stats::error_label;
use crate::guard::{Guard, GuardError};
use words::number;

pub(super) use reader::{Piece, Reader};
pub(super) use send::{Outcome, SendHalf};
pub(super) use transport::{QuicConnection, RequestHalves};

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
        QuicConnection::new(Rc::clone(self))
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
