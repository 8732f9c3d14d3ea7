//! A relay of two byte streams without the sockets: which direction has ended, what must be passed on, and when
//! the whole is over.
//!
//! It moves no bytes: the session does, and tells it. Each direction ends on its own (half-close); a reset ends
//! both. Start at [`Relay`].

use std::time::{Duration, Instant};

/// How long a relay must have been silent to count as finished while the listener drains.
const QUIET: Duration = Duration::from_secs(1);

/// One end of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Towards the client.
    Downstream,
    /// Towards the server.
    Upstream,
}

impl Side {
    /// Both ends.
    pub const BOTH: [Self; 2] = [Self::Downstream, Self::Upstream];

    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Downstream => Self::Upstream,
            Self::Upstream => Self::Downstream,
        }
    }
}

/// What happened to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// So many bytes from this side were written to the other.
    Moved(Side, u64),
    /// A filter holds bytes until then: waiting for that is not idleness.
    Held(Instant),
    /// This side sends no more, and everything it sent was written to the other.
    Ended(Side),
    /// The end of the other direction was passed to this side.
    Shut(Side),
    /// Reading found that this side reset the connection. Nothing more comes from it.
    Reset(Side),
    /// Writing found that this side takes no more. What it sent before may still be read.
    Refused(Side),
    /// Reading from or writing to this side failed in another way.
    Failed(Side),
    /// A filter stopped the bytes; the label is the reason.
    Stopped(&'static str),
    /// The listener drains: the relay ends at that time, or when it falls silent after it.
    Drain(Instant),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// End the direction towards this side (send FIN).
    Shut(Side),
    /// Reset the connection of this side; the relay is over.
    Reset(Side),
    /// Close both; the relay is over.
    Close,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both directions ended.
    Complete,
    /// A side reset the connection.
    Reset(Side),
    /// A side failed.
    Failed(Side),
    /// Nothing moved for the idle timeout.
    Idle,
    /// The hard limit on the duration was reached.
    Expired,
    /// It had nothing to do while the listener drained.
    Drained,
    /// A filter stopped the bytes.
    Stopped(&'static str),
}

impl End {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Complete => "closed",
            Self::Reset(Side::Downstream) => "downstream_reset",
            Self::Reset(Side::Upstream) => "upstream_reset",
            Self::Failed(Side::Downstream) => "downstream_io",
            Self::Failed(Side::Upstream) => "upstream_io",
            Self::Idle => "idle_timeout",
            Self::Expired => "max_duration",
            Self::Drained => "drained",
            Self::Stopped(reason) => reason,
        }
    }
}

/// How far one direction has come. It only moves forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    Open,
    /// Its end was seen and is to be passed on; nobody was told yet.
    Ending,
    /// Its end is being passed on.
    Shutting,
    /// Its end was passed on.
    Ended,
    /// Its destination takes no more.
    Refused,
}

/// A value for each direction, named by where its bytes come from.
#[derive(Debug, Clone, Copy, Default)]
struct Pair<T> {
    up: T,
    down: T,
}

impl<T> Pair<T> {
    const fn of(&self, from: Side) -> &T {
        match from {
            Side::Downstream => &self.up,
            Side::Upstream => &self.down,
        }
    }

    const fn of_mut(&mut self, from: Side) -> &mut T {
        match from {
            Side::Downstream => &mut self.up,
            Side::Upstream => &mut self.down,
        }
    }
}

/// A relay between two sides. Hand in what happened, then take every output.
#[derive(Debug, Clone)]
pub struct Relay {
    flows: Pair<Flow>,
    bytes: Pair<u64>,
    idle: Duration,
    /// When bytes last moved, or will be let go by a filter.
    active_at: Instant,
    expires_at: Option<Instant>,
    drains_at: Option<Instant>,
    end: Option<End>,
    /// What the end asks for, until somebody takes it.
    farewell: Option<Output>,
}

impl Relay {
    /// A relay whose both directions are open. It ends when nothing moves for `idle`, and at `expires_at`.
    #[must_use]
    pub const fn new(now: Instant, idle: Duration, expires_at: Option<Instant>) -> Self {
        Self {
            flows: Pair {
                up: Flow::Open,
                down: Flow::Open,
            },
            bytes: Pair { up: 0, down: 0 },
            idle,
            active_at: now,
            expires_at,
            drains_at: None,
            end: None,
            farewell: None,
        }
    }

    /// Takes in what happened. Nothing counts once the relay is over.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.end.is_some() {
            return;
        }
        match input {
            Input::Moved(side, bytes) => {
                *self.bytes.of_mut(side) += bytes;
                self.on_active(now);
            }
            Input::Held(until) => self.on_active(until),
            Input::Ended(side) => self.on_ended(now, side),
            Input::Shut(side) => self.on_shut(side),
            Input::Refused(side) => self.on_refused(side),
            Input::Reset(side) => self.finish(End::Reset(side), Output::Reset(side.other())),
            Input::Failed(side) => self.finish(End::Failed(side), Output::Reset(side.other())),
            Input::Stopped(reason) => self.finish(End::Stopped(reason), Output::Close),
            Input::Drain(at) => self.drains_at = Some(at),
        }
        self.check_invariants();
    }

    /// Tells the relay the time. It ends if a deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let passed = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if self.end.is_some() {
            return;
        }
        if passed(self.expires_at) {
            self.finish(End::Expired, Output::Close);
        } else if passed(self.idle_at()) {
            self.finish(End::Idle, Output::Close);
        } else if passed(self.quiet_at()) {
            self.finish(End::Drained, Output::Close);
        }
        self.check_invariants();
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.end.is_some() {
            return self.farewell.take();
        }
        let ending = |side: &Side| *self.flows.of(*side) == Flow::Ending;
        let side = Side::BOTH.into_iter().find(ending)?;
        *self.flows.of_mut(side) = Flow::Shutting;
        Some(Output::Shut(side.other()))
    }

    /// When [`Relay::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.end.is_some() {
            return None;
        }
        [self.idle_at(), self.expires_at, self.quiet_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether bytes from this side are still wanted.
    #[must_use]
    pub fn is_open(&self, from: Side) -> bool {
        self.end.is_none() && *self.flows.of(from) == Flow::Open
    }

    /// How the relay ended, once it has.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// Bytes that were moved from this side to the other.
    #[must_use]
    pub const fn bytes(&self, from: Side) -> u64 {
        *self.bytes.of(from)
    }

    fn on_active(&mut self, at: Instant) {
        self.active_at = self.active_at.max(at);
    }

    fn on_ended(&mut self, now: Instant, side: Side) {
        self.on_active(now);
        if *self.flows.of(side.other()) == Flow::Refused {
            // It had stopped taking bytes before: what it was sent is lost, and the other side must know.
            self.finish(End::Reset(side), Output::Reset(side.other()));
        } else if *self.flows.of(side) == Flow::Open {
            *self.flows.of_mut(side) = Flow::Ending;
        }
    }

    fn on_shut(&mut self, side: Side) {
        let flow = self.flows.of_mut(side.other());
        if *flow == Flow::Shutting {
            *flow = Flow::Ended;
        }
        if self.flows.up == Flow::Ended && self.flows.down == Flow::Ended {
            self.finish(End::Complete, Output::Close);
        }
    }

    /// The side is gone or will not read. If more may come from it, that is passed on first: a server that
    /// refuses an upload has often said why.
    fn on_refused(&mut self, side: Side) {
        *self.flows.of_mut(side.other()) = Flow::Refused;
        if *self.flows.of(side) != Flow::Open {
            self.finish(End::Reset(side), Output::Reset(side.other()));
        }
    }

    fn finish(&mut self, end: End, farewell: Output) {
        self.end = Some(end);
        self.farewell = Some(farewell);
    }

    fn idle_at(&self) -> Option<Instant> {
        self.active_at.checked_add(self.idle)
    }

    fn quiet_at(&self) -> Option<Instant> {
        let quiet = self.active_at.checked_add(QUIET)?;
        Some(self.drains_at?.max(quiet))
    }

    fn check_invariants(&self) {
        let Pair { up, down } = self.flows;
        debug_assert_eq!(
            self.end == Some(End::Complete),
            up == Flow::Ended && down == Flow::Ended,
            "complete exactly when both directions ended"
        );
        debug_assert!(
            self.end.is_some() || up != Flow::Refused || down == Flow::Open,
            "a side that takes nothing and sends nothing"
        );
        debug_assert!(
            self.end.is_some() || down != Flow::Refused || up == Flow::Open,
            "a side that takes nothing and sends nothing"
        );
        debug_assert!(self.end.is_none() || self.poll_timeout().is_none());
        debug_assert!(self.farewell.is_none() || self.end.is_some());
    }
}

#[cfg(test)]
mod tests;
