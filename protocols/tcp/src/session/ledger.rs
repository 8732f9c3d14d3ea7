//! The record of one connection, written down when the connection is over, however that comes about.
//!
//! A drain that runs out of time drops sessions where they stand; dropping the ledger is what keeps the counters
//! and the log right. Start at [`Ledger::open`].

use std::rc::Rc;

use portcullis_filter::Context;
use portcullis_net::{Downstream, clock};

use super::server::TcpServer;
use crate::message::Record;

/// The record of one connection and what filters know of it.
pub(super) struct Ledger {
    pub(super) server: Rc<TcpServer>,
    pub(super) record: Record,
    pub(super) cx: Context,
}

impl Ledger {
    /// Opens the ledger of a connection that was accepted.
    pub(super) fn open(server: Rc<TcpServer>, downstream: &Downstream) -> Self {
        server.stats.on_start();
        Self {
            record: Record::new(clock::wall(), downstream.accepted_at),
            cx: server.context(downstream),
            server,
        }
    }

    /// Bytes have moved, so many in all.
    pub(super) fn on_bytes(&mut self, up: u64, down: u64) {
        let record = &mut self.record;
        let moved = (up - record.bytes_up, down - record.bytes_down);
        if moved != (0, 0) {
            self.server.stats.on_bytes(moved.0, moved.1);
            (record.bytes_up, record.bytes_down) = (up, down);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.cx.now = clock::now();
        self.record.duration = self.cx.now.saturating_duration_since(self.record.started);
        self.server.stats.on_end(&self.record);
        self.server.chain.on_complete(&self.record, &self.cx);
    }
}
