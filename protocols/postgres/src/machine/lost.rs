//! What is taken back: when the server connection is lost, and when a server reads over what was sent.
//!
//! Start at [`Relay::on_link_lost`].

use std::mem;

use bytes::{BufMut as _, BytesMut};

use super::link::Link;
use super::owed::{Reply, Undone, skipped};
use super::relay::{Relay, Rest};
use crate::encoder;
use crate::message::backend::TransactionStatus;
use crate::sqlstate::SqlState;

impl Relay {
    /// The server connection is gone. Everything that was owed ends with `error`, a whole ErrorResponse, as a server would
    /// put it; whether a conversation can go on after that (no transaction, no state lost) is the answer. In the middle of a message
    /// nothing can be said any more.
    pub fn on_link_lost(&mut self, error: &[u8], downstream: &mut BytesMut) -> bool {
        if self.is_mid_message() {
            return false;
        }
        let survives =
            self.status == TransactionStatus::Idle && self.pins.is_empty() && !self.copy_in;
        if let Some(status) = self.held_ready.take() {
            encoder::ready_for_query(status, downstream);
        }
        // Whether the client knows that the statement or segment has failed.
        let mut told = self.errors > 0 || self.mute;
        let mut undone = Vec::new();
        let owed: Vec<Reply> = self.owed.drain().collect();
        for reply in owed {
            if reply.is_clients() && !mem::replace(&mut told, true) {
                downstream.put_slice(error);
            }
            if reply.is_ready_owed() {
                encoder::ready_for_query(TransactionStatus::Idle, downstream);
                told = false;
            }
            let failure = Some(SqlState::CONNECTION_FAILURE);
            undone.extend(skipped(reply, failure, &mut self.done));
        }
        if self.segment && !told {
            downstream.put_slice(error);
        }
        undone.reverse();
        self.take_back(undone, None);
        self.forget_link();
        survives
    }

    /// Nothing that was under way on the server connection is any more.
    fn forget_link(&mut self) {
        // What follows of an unfinished segment is for nobody.
        self.skipping = self.segment;
        self.segment = false;
        self.executed = false;
        self.flushed = false;
        self.errors = 0;
        self.taken_name = None;
        self.portals.on_end(|_| false);
        self.barrier = 0;
        self.unsettled = false;
        self.reading.in_doubt = false;
        self.forget_touched();
        self.due = None;
        self.setting = None;
        self.copying = false;
        self.copy_in = false;
        self.complained = false;
        self.cut = None;
        self.mute = false;
        self.large = None;
        self.rest = self.rest.map(|_| Rest::Drop);
        self.status = TransactionStatus::Idle;
    }

    /// Puts right what messages that were not carried out had changed.
    pub(super) fn take_back(&mut self, undone: Vec<Undone>, link: Option<&mut Link>) {
        let mut link = link;
        for Undone {
            undo,
            statement,
            evicted,
        } in undone
        {
            self.statements.undo(undo);
            if let (Some(link), Some(evicted)) = (link.as_deref_mut(), evicted) {
                link.statements.insert(evicted, usize::MAX);
            }
            if let (Some(link), Some(statement)) = (link.as_deref_mut(), statement) {
                link.statements.remove(statement);
            }
        }
    }
}
