//! Signals, as words for what they ask.
//!
//! What is done about them is in [`super::control`]. Start at [`Signals::next`].

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// HUP: check the configuration file again and run it.
    Reload,
    /// USR1: open the log files again.
    ReopenLogs,
    /// USR2: let a new binary take over.
    Upgrade,
    /// TERM: finish what is open and end; asked twice, end now.
    Drain,
    /// INT: end now.
    Stop,
}

/// The signals that the gateway listens to.
pub(super) struct Signals {
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    /// From now on, these signals arrive here instead of ending the process. Needs a runtime.
    ///
    /// # Errors
    /// The system does not let the process handle signals.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hup.recv() => Asked::Reload,
            _ = self.usr1.recv() => Asked::ReopenLogs,
            _ = self.usr2.recv() => Asked::Upgrade,
            _ = self.term.recv() => Asked::Drain,
            _ = self.int.recv() => Asked::Stop,
        }
    }
}
