//! A relay of two byte streams without the sockets: which direction has ended, what must be passed on, and when
//! the whole is over.
//!
//! It moves no bytes: the session does, and tells it. Each direction ends on its own (half-close); a reset ends
//! both. Start at [`Relay`].

use std::time::{Duration, Instant};

/// One end of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Towards the client.
    Downstream,
    /// Towards the server.
    Upstream,
}

impl Side {
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
    /// This side sends no more, and everything it sent was written to the other.
    Ended(Side),
    /// The end of the other direction was passed to this side.
    Shut(Side),
    /// This side reset the connection.
    Reset(Side),
    /// Reading from or writing to this side failed in another way.
    Failed(Side),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// End the direction towards this side (send FIN).
    Shut(Side),
    /// Reset the connection of this side, then the relay is over.
    Reset(Side),
    /// Close both: the relay is over.
    Close(End),
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
    /// The hard cap on the duration was reached.
    Expired,
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
        }
    }
}

/// How far one direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    Open,
    /// Its end was seen and is to be passed on.
    Ending,
    /// Its end was passed on.
    Ended,
}

/// A relay between two sides.
#[derive(Debug, Clone)]
pub struct Relay {
    /// From downstream to upstream, and back.
    flows: [Flow; 2],
    bytes: [u64; 2],
    idle: Duration,
    active_at: Instant,
    expires_at: Option<Instant>,
    output: Option<Output>,
    end: Option<End>,
}

impl Relay {
    /// A relay whose both directions are open. It ends when nothing moves for `idle`, and at `expires_at`.
    #[must_use]
    pub const fn new(now: Instant, idle: Duration, expires_at: Option<Instant>) -> Self {
        Self {
            flows: [Flow::Open; 2],
            bytes: [0; 2],
            idle,
            active_at: now,
            expires_at,
            output: None,
            end: None,
        }
    }

    /// Takes in what happened. Nothing counts once the relay is over.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.end.is_some() {
            return;
        }
        match input {
            Input::Moved(side, bytes) => {
                *self.bytes_mut(side) += bytes;
                self.active_at = now;
            }
            Input::Ended(side) => {
                self.active_at = now;
                if *self.flow(side) == Flow::Open {
                    *self.flow_mut(side) = Flow::Ending;
                    self.output = Some(Output::Shut(side.other()));
                }
            }
            Input::Shut(side) => {
                *self.flow_mut(side.other()) = Flow::Ended;
                if self.flows == [Flow::Ended; 2] {
                    self.finish(End::Complete, Output::Close(End::Complete));
                }
            }
            Input::Reset(side) => self.finish(End::Reset(side), Output::Reset(side.other())),
            Input::Failed(side) => self.finish(End::Failed(side), Output::Reset(side.other())),
        }
        self.check_invariants();
    }

    /// Tells the relay the time. It ends if a deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        if self.expires_at.is_some_and(|at| now >= at) {
            self.finish(End::Expired, Output::Close(End::Expired));
        } else if self.idle_at().is_some_and(|at| now >= at) {
            self.finish(End::Idle, Output::Close(End::Idle));
        }
        self.check_invariants();
    }

    /// The next thing to do, until `None`.
    pub const fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// When [`Relay::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.end.is_some() {
            return None;
        }
        [self.idle_at(), self.expires_at].into_iter().flatten().min()
    }

    /// Whether bytes from this side are still wanted.
    #[must_use]
    pub fn is_open(&self, from: Side) -> bool {
        self.end.is_none() && *self.flow(from) == Flow::Open
    }

    /// How the relay ended, once it has.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// Bytes that were moved from this side to the other.
    #[must_use]
    pub const fn bytes(&self, from: Side) -> u64 {
        let [up, down] = self.bytes;
        match from {
            Side::Downstream => up,
            Side::Upstream => down,
        }
    }

    fn finish(&mut self, end: End, output: Output) {
        self.end = Some(end);
        self.output = Some(output);
    }

    fn idle_at(&self) -> Option<Instant> {
        self.active_at.checked_add(self.idle)
    }

    const fn flow(&self, from: Side) -> &Flow {
        let [up, down] = &self.flows;
        match from {
            Side::Downstream => up,
            Side::Upstream => down,
        }
    }

    const fn flow_mut(&mut self, from: Side) -> &mut Flow {
        let [up, down] = &mut self.flows;
        match from {
            Side::Downstream => up,
            Side::Upstream => down,
        }
    }

    const fn bytes_mut(&mut self, from: Side) -> &mut u64 {
        let [up, down] = &mut self.bytes;
        match from {
            Side::Downstream => up,
            Side::Upstream => down,
        }
    }

    fn check_invariants(&self) {
        debug_assert!(
            self.end != Some(End::Complete) || self.flows == [Flow::Ended; 2],
            "complete with a direction open"
        );
        debug_assert!(
            self.end.is_none() || self.poll_timeout().is_none(),
            "a deadline after the end"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relay(now: Instant) -> Relay {
        Relay::new(now, Duration::from_secs(10), now.checked_add(Duration::from_secs(60)))
    }

    #[test]
    fn each_direction_ends_on_its_own() {
        let now = Instant::now();
        let mut relay = relay(now);
        relay.handle(now, Input::Moved(Side::Downstream, 5));
        relay.handle(now, Input::Ended(Side::Downstream));
        assert_eq!(relay.poll_output(), Some(Output::Shut(Side::Upstream)));
        relay.handle(now, Input::Shut(Side::Upstream));
        assert!(relay.is_open(Side::Upstream), "the answer may still come");
        relay.handle(now, Input::Moved(Side::Upstream, 7));
        relay.handle(now, Input::Ended(Side::Upstream));
        assert_eq!(relay.poll_output(), Some(Output::Shut(Side::Downstream)));
        relay.handle(now, Input::Shut(Side::Downstream));
        assert_eq!(relay.poll_output(), Some(Output::Close(End::Complete)));
        assert_eq!((relay.bytes(Side::Downstream), relay.bytes(Side::Upstream)), (5, 7));
    }

    #[test]
    fn a_reset_goes_to_the_other_side() {
        let now = Instant::now();
        for side in [Side::Downstream, Side::Upstream] {
            let mut relay = relay(now);
            relay.handle(now, Input::Reset(side));
            assert_eq!(relay.poll_output(), Some(Output::Reset(side.other())));
            assert_eq!(relay.end(), Some(End::Reset(side)));
        }
    }

    #[test]
    fn deadlines_end_it() {
        let now = Instant::now();
        let mut idle = relay(now);
        let later = now + Duration::from_secs(9);
        idle.handle(later, Input::Moved(Side::Upstream, 1));
        idle.handle_timeout(now + Duration::from_secs(10));
        assert_eq!(idle.end(), None, "activity moves the deadline");
        idle.handle_timeout(now + Duration::from_secs(19));
        assert_eq!(idle.end(), Some(End::Idle));
        let mut expired = relay(now);
        let at_cap = now + Duration::from_secs(60);
        expired.handle(at_cap, Input::Moved(Side::Upstream, 1));
        expired.handle_timeout(at_cap);
        assert_eq!(expired.end(), Some(End::Expired));
    }

    fn input() -> impl Strategy<Value = Input> {
        let side = prop_oneof![Just(Side::Downstream), Just(Side::Upstream)];
        (side, 0..8_u8, 0..1000_u64).prop_map(|(side, kind, bytes)| match kind {
            0..=3 => Input::Moved(side, bytes),
            4 => Input::Ended(side),
            5 => Input::Shut(side),
            6 => Input::Reset(side),
            _ => Input::Failed(side),
        })
    }

    proptest! {
        #[test]
        fn it_ends_once_and_then_stays_silent(inputs in prop::collection::vec(input(), 0..40)) {
            let start = Instant::now();
            let mut relay = relay(start);
            for (step, input) in inputs.into_iter().enumerate() {
                let before = relay.end();
                relay.handle(start + Duration::from_millis(step as u64), input);
                let output = relay.poll_output();
                if before.is_some() {
                    prop_assert_eq!(relay.end(), before);
                    prop_assert_eq!(output, None);
                    prop_assert_eq!(relay.poll_timeout(), None);
                }
            }
        }
    }
}
