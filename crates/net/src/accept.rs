//! The gate: connections accepted, counted against limits, and given to their listener's server.
//!
//! One [`Acceptor`] runs for each socket of a listener on the worker that has it; the [`Gate`] of the listener on each worker
//! turns what was accepted into sessions. They are apart because a connection may be served by another worker than
//! the one that accepted it. What is in the bytes is not looked at here (see [`crate::preface`]). Start at [`Acceptor::run`].

mod balance;
mod control;
mod fault;
mod gate;
mod source;
mod stats;
mod tls;

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::descriptors::SpareDescriptor;
use crate::limits::{ConnectionLimits, ConnectionPermits};
use crate::listen::ListenerSocket;
use crate::{SocketAddress, Timer, clock};

pub use balance::{LoadGuard, WorkerLoads};
pub use control::AcceptHandle;
pub use gate::{Gate, GateOptions};
pub use stats::ListenerStats;
pub use tls::{TlsOffer, TlsStart};

use control::{Control, State};
use fault::{Backoff, Fault};
use source::{AcceptSource, AcceptedSocket, SocketSource};

/// How many connections are accepted before sessions get their turn.
const BATCH: usize = 32;

/// How many connections are turned away at a time when there are no descriptors for them.
const TURNED_AWAY: usize = 16;

/// The most connections that are still taken from the queue of a listener that stops.
const LAST: usize = 4096;

/// A connection on its way to the worker that serves it.
#[derive(Debug)]
pub struct Accepted {
    socket: AcceptedSocket,
    peer: SocketAddress,
    accepted_at: Instant,
    permits: ConnectionPermits,
    load: Option<LoadGuard>,
}

impl Accepted {
    /// Counts it in a worker's load for as long as it lives.
    pub fn set_load(&mut self, load: LoadGuard) {
        self.load = Some(load);
    }
}

/// Accepts the connections of one listening socket.
pub struct Acceptor {
    source: Box<dyn AcceptSource>,
    limits: ConnectionLimits,
    stats: Rc<ListenerStats>,
    deliver: Box<dyn Fn(Accepted)>,
    control: Rc<Control>,
    spare: SpareDescriptor,
    backoff: Backoff,
    resting: Option<Instant>,
    timer: Timer,
}

impl Acceptor {
    /// An acceptor for a socket, on the worker's runtime. What it accepts goes to `deliver`: to a [`Gate`] of this worker,
    /// or in a command to another's.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub fn new(
        socket: ListenerSocket,
        limits: ConnectionLimits,
        stats: Rc<ListenerStats>,
        deliver: impl Fn(Accepted) + 'static,
    ) -> io::Result<Self> {
        let source = Box::new(SocketSource::new(socket)?);
        Ok(Self::with_source(source, limits, stats, Box::new(deliver)))
    }

    fn with_source(
        source: Box<dyn AcceptSource>,
        limits: ConnectionLimits,
        stats: Rc<ListenerStats>,
        deliver: Box<dyn Fn(Accepted)>,
    ) -> Self {
        Self {
            source,
            limits,
            stats,
            deliver,
            control: Rc::default(),
            spare: SpareDescriptor::new(),
            backoff: Backoff::default(),
            resting: None,
            timer: Timer::new(),
        }
    }

    /// Pauses, resumes and stops it while it runs.
    #[must_use]
    pub fn handle(&self) -> AcceptHandle {
        AcceptHandle::new(&self.control)
    }

    /// Accepts until it is stopped; then takes what is in the queue already, since those clients count as connected, and
    /// closes the socket.
    pub async fn run(mut self) {
        poll_fn(|cx| self.poll_accept(cx)).await;
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.control.poll_state(cx) {
            State::Running => {}
            State::Paused => return Poll::Pending,
            State::Stopped => {
                self.accept_last(cx);
                return Poll::Ready(());
            }
        }
        for _ in 0..BATCH {
            if self.resting.is_some() {
                ready!(self.timer.poll_expired(cx, self.resting));
                self.resting = None;
                self.spare.refill();
            }
            match ready!(self.source.poll_accept(cx)) {
                Ok((socket, peer)) => {
                    self.backoff.reset();
                    self.on_connection(socket, peer);
                }
                Err(error) => self.on_fault(cx, &error),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn accept_last(&mut self, cx: &mut Context<'_>) {
        for _ in 0..LAST {
            match self.source.poll_accept(cx) {
                Poll::Ready(Ok((socket, peer))) => self.on_connection(socket, peer),
                Poll::Ready(Err(error)) if Fault::of(&error) == Fault::Connection => {}
                _ => return,
            }
        }
    }

    fn on_connection(&self, socket: AcceptedSocket, peer: SocketAddress) {
        match self.limits.acquire() {
            Ok(permits) => (self.deliver)(Accepted {
                socket,
                peer,
                accepted_at: clock::now(),
                permits,
                load: None,
            }),
            Err(reached) => {
                socket.refuse();
                self.stats.on_refused(reached.label());
            }
        }
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, error: &io::Error) {
        let fault = Fault::of(error);
        self.stats.on_accept_error(fault.label());
        match fault {
            Fault::Connection => return,
            Fault::Descriptors => self.turn_away(cx),
            Fault::Memory => {}
            Fault::Unknown => tracing::error!(%error, "cannot accept"),
        }
        let rest = self.backoff.next();
        self.resting = clock::now().checked_add(rest);
    }

    /// Gives up the spare descriptor to accept and close what waits: its clients learn at once that they are not served, and
    /// may try elsewhere.
    fn turn_away(&mut self, cx: &mut Context<'_>) {
        for _ in 0..TURNED_AWAY {
            if !self.spare.release() {
                return;
            }
            let accepted = self.source.poll_accept(cx);
            let Poll::Ready(Ok((socket, _))) = accepted else {
                self.spare.refill();
                return;
            };
            socket.refuse();
            self.spare.refill();
            self.stats.on_refused(Fault::Descriptors.label());
        }
    }
}

#[cfg(test)]
mod tests;
