//! The relay over real streams: both directions and all deadlines in one task, driven by the pure machine.
//!
//! What moves bytes is [`super::flow`]. Start at [`Session`].

use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use portcullis_net::drain::DrainListener;
use portcullis_net::{Stream, Timer, clock, is_reset};
use smallvec::SmallVec;

use super::copy::{Failure, Filters};
use super::flow::Flow;
use super::ledger::Ledger;
use crate::machine::{End, Input, Output, Relay, Side};

/// A relay in progress; completes when it is over.
pub(super) struct Session<H> {
    pub(super) machine: Relay,
    downstream: Stream,
    upstream: Stream,
    up: Flow,
    down: Flow,
    /// Sides whose direction is being ended.
    shutting: SmallVec<[Side; 2]>,
    timer: Timer,
    drain: Option<DrainListener>,
    /// Behind the streams, so that who sees a connection counted as over finds it closed.
    ledger: Ledger,
    /// What is kept while the relay lasts: places in limits and in the balancer's count.
    _held: H,
}

/// The two connections of a relay, and what is kept as long as they.
pub(super) struct Connections<H> {
    pub(super) downstream: Stream,
    /// Read from downstream already.
    pub(super) prefix: BytesMut,
    pub(super) upstream: Stream,
    pub(super) held: H,
}

impl<H> Session<H> {
    /// A relay between two connections.
    pub(super) fn new(ledger: Ledger, machine: Relay, connections: Connections<H>) -> Self {
        let Connections {
            downstream,
            prefix,
            upstream,
            held,
        } = connections;
        Self {
            machine,
            downstream,
            upstream,
            up: Flow::new(prefix),
            down: Flow::new(BytesMut::new()),
            shutting: SmallVec::new(),
            timer: Timer::new(),
            drain: Some(ledger.server.drain.listen()),
            ledger,
            _held: held,
        }
    }

    /// Whether the kernel carries the bytes from this side.
    #[cfg(test)]
    pub(super) const fn is_spliced(&self, from: Side) -> bool {
        match from {
            Side::Downstream => self.up.is_spliced(),
            Side::Upstream => self.down.is_spliced(),
        }
    }

    /// Moves what one direction has, and tells the machine.
    fn pump(&mut self, from: Side, now: Instant, task: &mut Task<'_>) {
        if !self.machine.is_open(from) {
            return;
        }
        let mut filters = Filters {
            chain: &self.ledger.server.chain,
            cx: &mut self.ledger.cx,
            from,
        };
        let (flow, source, target) = match from {
            Side::Downstream => (&mut self.up, &mut self.downstream, &mut self.upstream),
            Side::Upstream => (&mut self.down, &mut self.upstream, &mut self.downstream),
        };
        let polled = flow.poll(task, source, target, &mut filters);
        let moved = flow.moved() - self.machine.bytes(from);
        if moved > 0 {
            self.machine.handle(now, Input::Moved(from, moved));
        }
        if let Some(until) = flow.held_until() {
            self.machine.handle(now, Input::Held(until));
        }
        match polled {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.machine.handle(now, Input::Ended(from)),
            Poll::Ready(Err(failure)) => self.machine.handle(now, input_of(&failure, from)),
        }
    }

    /// Does what the machine asks for.
    fn obey(&mut self, now: Instant, task: &mut Task<'_>) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                match output {
                    Output::Shut(side) => self.shutting.push(side),
                    Output::Reset(side) => self.stream(side).reset_on_close(),
                    Output::Close => {}
                }
            }
            let Some(side) = self.shutting.pop() else {
                return;
            };
            let input = match self.stream(side).poll_shutdown(task) {
                Poll::Ready(Ok(())) => Input::Shut(side),
                Poll::Ready(Err(error)) => input_of(&Failure::Write(error), side.other()),
                Poll::Pending => {
                    self.shutting.push(side);
                    return;
                }
            };
            self.machine.handle(now, input);
        }
    }

    /// Hears of a drain, once.
    fn watch_drain(&mut self, now: Instant, task: &mut Task<'_>) {
        let Some(listener) = &mut self.drain else {
            return;
        };
        if listener.poll_draining(task).is_ready() {
            self.drain = None;
            let server = &self.ledger.server;
            let close_at = server.drain.close_at(server.random.next());
            self.machine
                .handle(now, Input::Drain(close_at.unwrap_or(now)));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.machine.poll_timeout(),
            self.up.held_until(),
            self.down.held_until(),
        ];
        deadlines.into_iter().flatten().min()
    }

    const fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}

impl<H: Unpin> Future for Session<H> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<End> {
        let session = &mut *self;
        loop {
            let now = clock::now();
            session.ledger.cx.now = now;
            session.watch_drain(now, task);
            for side in Side::BOTH {
                session.pump(side, now, task);
                session.obey(now, task);
            }
            session.machine.handle_timeout(now);
            let [up, down] = Side::BOTH.map(|side| session.machine.bytes(side));
            session.ledger.on_bytes(up, down);
            if let Some(end) = session.machine.end() {
                session.ledger.record.reason = end.label();
                return Poll::Ready(end);
            }
            let deadline = session.deadline();
            ready!(session.timer.poll_expired(task, deadline));
        }
    }
}

/// What a failure of the direction from one side means.
fn input_of(failure: &Failure, from: Side) -> Input {
    match failure {
        Failure::Read(error) if is_reset(error) => Input::Reset(from),
        Failure::Read(_) => Input::Failed(from),
        Failure::Write(error) if is_reset(error) => Input::Refused(from.other()),
        Failure::Write(_) => Input::Failed(from.other()),
        Failure::Stopped(reason) => Input::Stopped(reason),
    }
}
