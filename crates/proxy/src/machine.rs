//! A session with the socket and the clock taken out.
//!
//! Not a trait that the gateway calls: it is the shape that protocol machines share, so that the simulator and
//! the fuzzers can drive any of them. Start at [`Machine`].

use std::time::Instant;

/// A state machine driven by inputs and time. Use it in this order: hand in what happened, take every output,
/// ask for the next deadline.
pub trait Machine {
    /// What can happen to it.
    type Input<'a>;
    /// What it wants done.
    type Output;
    /// Why it cannot go on.
    type Error;

    /// Takes in one event.
    ///
    /// # Errors
    /// The machine cannot go on; outputs already queued are still valid.
    fn handle(&mut self, now: Instant, input: Self::Input<'_>) -> Result<(), Self::Error>;

    /// Tells the machine that the deadline it asked for has passed.
    fn handle_timeout(&mut self, now: Instant);

    /// The next thing to do, until `None`.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When [`Machine::handle_timeout`] wants to be called, if at all.
    fn poll_timeout(&self) -> Option<Instant>;
}
