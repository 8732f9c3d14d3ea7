//! Ending in an orderly way: nothing new, what is open finishes, and a bound on how long that takes.
//!
//! How a session finishes is its protocol's business. Start at [`Control::drain`].

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::control::{Control, Event, Inbox};
use super::signals::Asked;
use crate::admin::ControlRequest;

/// How often to look whether all connections are closed. The sessions' own end wakes nobody: they do not know
/// that they are the last.
const LOOK: Duration = Duration::from_millis(20);

impl Control {
    /// Readiness fails at once, listeners stop accepting, sessions are told to finish. Returns when none is left,
    /// when the time is over, or when a second signal says so.
    pub(super) async fn drain(&mut self, inbox: &mut Inbox) {
        self.drain_listeners();
        inbox.watch = None;
        let config = self.admin.running.load().model.drain.clone();
        let deadline: Instant = (portcullis_net::clock::now() + config.timeout.get()).into();
        loop {
            tokio::select! {
                biased;
                () = self.all_closed() => {
                    tracing::info!("drained");
                    return;
                }
                () = sleep_until(deadline) => {
                    tracing::warn!(connections = self.listening.open_connections(), "drain timeout, closing what is open");
                    return;
                }
                event = inbox.next() => match event {
                    Event::Signal(Asked::Drain | Asked::Stop) => {
                        tracing::info!("asked again, stopping at once");
                        return;
                    }
                    Event::Signal(asked) => self.handle_small(asked),
                    Event::Request(ControlRequest::Reload(answer)) => self.reload_and_answer(answer).await,
                    // Nothing accepts any more, so nothing begins a handshake.
                    Event::Request(_) | Event::FileChanged | Event::CertificatesChanged => {}
                    Event::Resolved(cluster) => self.clusters.on_resolved(&cluster),
                },
            }
        }
    }

    /// Accepts nothing more and tells sessions to finish. Asking twice changes nothing.
    pub(super) fn drain_listeners(&mut self) {
        if self.admin.readiness.is_draining() {
            return;
        }
        let config = self.admin.running.load().model.drain.clone();
        tracing::info!(timeout = %config.timeout, connections = self.listening.open_connections(), "draining");
        self.admin.readiness.on_draining();
        self.listening.close();
        self.workers.drain(config.spread.get().unwrap_or_default());
    }

    async fn all_closed(&self) {
        while self.listening.open_connections() > 0 {
            sleep(LOOK).await;
        }
    }
}
