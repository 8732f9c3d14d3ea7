//! What happens when time runs out: a statement is cancelled, a client that is silent or does not go on is let go.
//!
//! Start at [`Session::deadline`] and [`Session::on_deadline`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_config::Timeout;
use portcullis_net::{clock, spawn_local};

use super::connection::Lost;
use super::run::{Ended, Session};
use crate::config::TimeoutsConfig;
use crate::encoder;
use crate::message::backend::TransactionStatus;
use crate::sqlstate::SqlState;

/// How long a server may take to say that it has cancelled a statement.
const GRACE: Duration = Duration::from_secs(5);

/// The server's own words for an end that an administrator has brought about.
const TERMINATED: &str = "terminating connection due to administrator command";

/// How much of a message has to come in each `timeouts.message`, unless it ends: as much as is looked at in one piece.
const STRIDE: usize = 64 * 1024;

/// Whether a client goes on with what it has begun. One byte now and then is no progress: meanwhile nobody else has the server
/// connection.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since when the rest of a message is waited for, and how much of it has come.
    message: Option<(Instant, usize)>,
    /// Since when the client has taken nothing of what there is for it.
    unread: Option<Instant>,
}

impl Pace {
    /// Bytes came from the client.
    pub(super) const fn on_bytes(&mut self, count: usize) {
        if let Some((_, taken)) = &mut self.message {
            *taken = taken.saturating_add(count);
        }
    }

    /// What came was looked at.
    pub(super) fn on_taken(&mut self, in_message: bool, now: Instant) {
        let slow = |(_, taken): &(Instant, usize)| *taken < STRIDE;
        self.message = in_message.then(|| self.message.filter(slow).unwrap_or((now, 0)));
    }

    /// The client took `count` bytes, and `left` are left for it.
    pub(super) fn on_sent(&mut self, count: u64, left: usize) {
        if left == 0 {
            self.unread = None;
        } else if count > 0 || self.unread.is_none() {
            self.unread = Some(clock::now());
        }
    }

    /// When the client has not gone on for too long. What it does not read matters while it `holds` a server connection.
    fn due(&self, timeouts: &TimeoutsConfig, holds: bool) -> Option<Instant> {
        let after = |since: Option<Instant>, timeout: Timeout| since?.checked_add(timeout.get()?);
        let message = after(self.message.map(|(since, _)| since), timeouts.message);
        let unread = after(self.unread.filter(|_| holds), timeouts.unread);
        [message, unread].into_iter().flatten().min()
    }
}

/// What a client is told whom a drain ends.
pub(super) fn drained() -> Ended {
    let error = encoder::fatal_message(SqlState::ADMIN_SHUTDOWN, TERMINATED);
    Ended::Told(error, "drain")
}

impl Session {
    /// When the time of the statement that is being answered began to run, and how long filters let it.
    fn turn(&mut self) -> Option<(Instant, Option<Duration>)> {
        let flight = self.relay.under_way()?;
        let came = flight.arrived.max(self.turned);
        let number = flight.judged;
        let mut judged = self.judged.iter_mut();
        let Some(judged) = judged.find(|judged| number != 0 && judged.number == number) else {
            return Some((came, None));
        };
        let arrived = judged.record.started.max(self.turned);
        Some((*judged.since.get_or_insert(arrived), judged.timeout))
    }

    /// When the next thing is due that nobody's bytes bring about.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        if !self.server.has_timeouts
            && self.cancelled.is_none()
            && self.close_at.is_none()
            && self.pace.message.is_none()
        {
            return None;
        }
        let turn = self.turn();
        let timeouts = &self.server.config.timeouts;
        let due = if let Some((since, timeout)) = turn {
            match self.cancelled {
                Some(at) => at.checked_add(GRACE),
                None => self.server.query_deadline(since, timeout),
            }
        } else {
            let idle = if self.is_in_transaction() {
                timeouts.transaction_idle
            } else {
                timeouts.idle
            };
            idle.get()
                .and_then(|idle| self.last_heard.checked_add(idle))
        };
        // Not while something is under way: then the end of that is waited for.
        let close_at = self.close_at.filter(|_| self.is_closable());
        [due, close_at, self.pace_due()].into_iter().flatten().min()
    }

    /// When the client has not gone on for too long.
    fn pace_due(&self) -> Option<Instant> {
        let timeouts = &self.server.config.timeouts;
        self.pace.due(timeouts, self.lease.is_some())
    }

    /// Whether a transaction is open, or a segment, which is one as well.
    fn is_in_transaction(&self) -> bool {
        self.relay.status() != TransactionStatus::Idle || self.relay.is_in_segment()
    }

    /// Whether nothing is lost by an end.
    pub(super) fn is_closable(&self) -> bool {
        self.relay.is_quiet() && self.input.is_empty()
    }

    /// Whether the server connection must not be used any more.
    pub(super) fn is_killed(&self) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| lease.held.is_killed())
    }

    /// The server connection is taken away from the client, which hears why.
    fn on_killed(&self) -> Ended {
        let demoted = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.pool.is_demoted());
        if demoted {
            self.dismiss(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                "terminating connection because the server is no longer the primary",
                "demoted",
            )
        } else {
            self.dismiss(SqlState::ADMIN_SHUTDOWN, TERMINATED, "killed")
        }
    }

    /// Something is due.
    pub(super) fn on_deadline(&mut self) -> Result<(), Ended> {
        if self.is_killed() {
            return Err(self.on_killed());
        }
        let now = clock::now();
        if self.is_closable() && self.close_at.is_some_and(|at| at <= now) {
            return Err(drained());
        }
        if self.pace_due().is_some_and(|due| due <= now) {
            return Err(self.on_slow_client());
        }
        if self.relay.under_way().is_some() {
            return self.on_slow_statement();
        }
        Err(if self.is_in_transaction() {
            self.dismiss(
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
                "transaction_idle",
            )
        } else {
            self.dismiss(
                SqlState::IDLE_SESSION_TIMEOUT,
                "terminating connection due to idle-session timeout",
                "idle",
            )
        })
    }

    /// Counts for what reason the client has to go, which it is told.
    fn dismiss(&self, state: SqlState, text: &str, reason: &'static str) -> Ended {
        self.server.stats.on_rejected(reason);
        Ended::Told(encoder::fatal_message(state, text), reason)
    }

    /// The client has begun a message and does not go on with it, or takes nothing of its results.
    fn on_slow_client(&self) -> Ended {
        if self.output.is_empty() {
            return self.dismiss(
                SqlState::PROTOCOL_VIOLATION,
                "terminating connection because a message was not completed in time",
                "message_timeout",
            );
        }
        // Nothing that it could be told would reach it.
        self.server.stats.on_rejected("unread_timeout");
        Ended::Closed("unread_timeout")
    }

    /// A statement has taken too long: the server is asked to end it, so that the conversation stays in step. One that does not
    /// is given up.
    fn on_slow_statement(&mut self) -> Result<(), Ended> {
        if self.cancelled.is_some() {
            self.server.stats.on_rejected("query_timeout_ignored");
            return self.on_lost(&Lost::Protocol("cancel_ignored"));
        }
        self.cancelled = Some(clock::now());
        self.server.stats.on_rejected("query_timeout");
        self.cancel_statement();
        Ok(())
    }

    /// Asks the server to end what it does for this client.
    pub(super) fn cancel_statement(&self) {
        let Some(lease) = &self.lease else { return };
        let server = Arc::clone(&lease.held.connection.server);
        let guard = self.cancel.cancelling();
        spawn_local(async move {
            server.cancel().await;
            drop(guard);
        });
    }
}
