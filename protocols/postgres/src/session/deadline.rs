//! What happens when time runs out: a statement is cancelled, a silent client is let go.
//!
//! Start at [`Session::on_deadline`].

use std::time::Duration;

use portcullis_net::{clock, spawn_local};

use super::connection::Lost;
use super::run::{Ended, Session};
use crate::encoder;
use crate::message::backend::TransactionStatus;
use crate::sqlstate::SqlState;
use std::sync::Arc;

/// How long a server may take to say that it has cancelled a statement.
pub(super) const GRACE: Duration = Duration::from_secs(5);

impl Session {
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
        let (state, text, reason) = if demoted {
            (
                SqlState::READ_ONLY_SQL_TRANSACTION,
                "terminating connection because the server is no longer the primary",
                "demoted",
            )
        } else {
            (
                SqlState::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
                "killed",
            )
        };
        self.server.stats.on_rejected(reason);
        Ended::Told(encoder::fatal_message(state, text), reason)
    }

    /// Something is due.
    pub(super) fn on_deadline(&mut self) -> Result<(), Ended> {
        if self.is_killed() {
            return Err(self.on_killed());
        }
        let now = clock::now();
        if self.close_at.is_some_and(|at| at <= now) {
            // A drain: the next pump says so once nothing is under way.
            self.close_at = Some(now);
            return Ok(());
        }
        if self.relay.under_way_since().is_some() {
            return self.on_slow_statement();
        }
        let (state, text, reason) = if self.relay.status() == TransactionStatus::Idle {
            (
                SqlState::IDLE_SESSION_TIMEOUT,
                "terminating connection due to idle-session timeout",
                "idle",
            )
        } else {
            (
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
                "transaction_idle",
            )
        };
        self.server.stats.on_rejected(reason);
        Err(Ended::Told(encoder::fatal_message(state, text), reason))
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
