//! Giving a server connection back, so that the next client finds nothing of this one.
//!
//! Start at [`Session::on_quiet`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_net::{clock, spawn_local};

use super::attach::RESET;
use super::connection::{Lost, Pooled};
use super::run::{Lease, Session};
use crate::machine::{Mode, Pins};
use crate::message::backend::TransactionStatus;
use crate::pool::{Affinity, After, CloseReason, Held};

impl Session {
    /// Nothing is under way: the connection goes back, unless the client keeps it.
    pub(super) fn on_quiet(&mut self) {
        self.cancelled = None;
        if self.relay.take_shape_changed()
            && let Some(lease) = &mut self.lease
        {
            lease.held.connection.link.shape = Arc::clone(self.relay.shape());
        }
        self.show_prepared();
        if self.relay.is_free() {
            self.release();
        }
    }

    /// Keeps up to date what the console says of prepared statements.
    fn show_prepared(&self) {
        self.cancel.on_prepared(self.relay.names());
        if let Some(lease) = &self.lease {
            let connection = &lease.held.connection;
            let setup = &self.server.setup;
            let count = self.relay.names_there(&connection.link, setup);
            connection.server.prepared.set(count);
        }
    }

    /// Gives the connection back. One that another client must not have as it is, is reset first or closed.
    pub(super) fn release(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        self.way.on_released();
        let proved = self.cancel.on_detach();
        let now = clock::now();
        self.count_served(&lease, now);
        let mut held = lease.held;
        let clean = self.relay.is_quiet() && lease.upstream.is_empty();
        if !proved {
            self.server.stats.on_server_lost("cancel_under_way");
            held.discard(now, CloseReason::OutOfSync).goodbye();
            return;
        }
        if !clean || held.connection.link.leaving || held.is_killed() {
            held.discard(now, CloseReason::Unclean).goodbye();
            return;
        }
        let pinned = self.relay.pins().without(Pins::SESSION);
        if pinned.contains(Pins::LOADED) {
            held.discard(now, CloseReason::Unclean).goodbye();
            return;
        }
        let session_over = self.server.setup.mode == Mode::Session;
        if held.connection.link.tainted || !pinned.is_empty() || session_over {
            let stats = Rc::clone(&self.server.stats);
            let worker = self.server.worker;
            spawn_local(async move { reset(held, worker, &stats).await });
            return;
        }
        held.connection.shrink();
        checkin(held, self.server.worker);
    }

    /// Counts what a client has had on a connection.
    fn count_served(&self, lease: &Lease, now: Instant) {
        let held = now.saturating_duration_since(lease.since);
        self.server.stats.on_released(held);
        self.server.stats.on_transaction();
        let mut served = lease.served;
        served.transactions += 1;
        served.transaction_micros += u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        lease.held.connection.served.add(&served);
    }

    /// The connection is lost.
    pub(super) fn drop_lease(&mut self, lost: &Lost) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let _ = self.cancel.on_detach();
        let reason = match lost {
            Lost::Gone | Lost::Said(_) => CloseReason::ServerGone,
            Lost::Protocol(_) => CloseReason::ServerProtocol,
        };
        drop(lease.held.discard(clock::now(), reason));
    }

    /// The client is gone. What it had begun is ended too, so that no statement runs on for nobody.
    pub(super) fn abandon(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let _ = self.cancel.on_detach();
        let now = clock::now();
        let quiet =
            self.relay.owes_nothing() && lease.upstream.is_empty() && !self.relay.is_waiting();
        if quiet && !lease.held.connection.link.leaving {
            let open = self.relay.status() != TransactionStatus::Idle;
            let stats = Rc::clone(&self.server.stats);
            let worker = self.server.worker;
            let mut held = lease.held;
            let pinned = !self.relay.pins().is_empty();
            if pinned || open {
                held.connection.link.tainted = true;
            }
            spawn_local(async move {
                if open && !roll_back(&mut held).await {
                    drop(held.discard(clock::now(), CloseReason::Unclean));
                    return;
                }
                if held.connection.link.tainted {
                    reset(held, worker, &stats).await;
                } else {
                    checkin(held, worker);
                }
            });
            return;
        }
        self.server.stats.on_server_lost("client_gone");
        let connection = lease.held.discard(now, CloseReason::OutOfSync);
        let server = Arc::clone(&connection.server);
        // Closing alone would be noticed only when rows are written.
        spawn_local(async move {
            server.cancel().await;
            drop(connection);
        });
    }
}

/// Ends a transaction that its client has left open.
async fn roll_back(held: &mut Held<Pooled>) -> bool {
    let rolled = super::within(RESET, held.connection.execute(b"ROLLBACK")).await;
    matches!(rolled, Some(Ok(Ok(()))))
}

/// Makes a session as good as new, or closes the connection if that cannot be done.
async fn reset(mut held: Held<Pooled>, worker: usize, stats: &super::stats::PostgresStats) {
    let done = super::within(RESET, held.connection.execute(b"DISCARD ALL")).await;
    if let Some(Ok(Ok(()))) = done {
        held.connection.link.on_reset();
        held.connection.server.prepared.set(0);
        held.connection.shrink();
        checkin(held, worker);
        return;
    }
    stats.on_server_lost("reset_failed");
    held.discard(clock::now(), CloseReason::Unclean).goodbye();
}

/// Puts a clean connection back into its pool.
pub(super) fn checkin(held: Held<Pooled>, worker: usize) {
    let affinity = Affinity {
        worker: worker as u32,
        shape: held.connection.link.shape.hash(),
    };
    if let After::Close(connection, _) = held.checkin(clock::now(), affinity) {
        connection.goodbye();
    }
}
