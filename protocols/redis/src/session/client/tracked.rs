//! What a client's task does for keys that are tracked: commands that another node of a Redis Cluster is to be asked go on over the
//! client's own connection there, and messages that other clients have sent here are read.
//!
//! Start at [`Session::send_turned`] and [`Session::read_mailbox`].

use std::sync::Arc;
use std::task::Waker;

use super::{STREAMED, Session, asking};
use crate::machine::{Destination, Lost};
use crate::session::reach::{Reach, act};
use crate::session::tracked::Turned;

impl Session {
    /// Sends on what nodes have said is others'.
    #[inline]
    pub(super) fn send_turned(&mut self) {
        if !self.cell.state.borrow().turned.is_empty() {
            self.send_all_turned();
        }
    }

    /// Lets other clients send messages here, if this one listens for them.
    #[cold]
    pub(super) fn open_mailbox(&mut self) {
        let state = self.cell.state.borrow();
        if self.mailbox.is_none() && state.machine.hears_redirected() {
            let user = state.machine.user_name();
            let mailboxes = &self.cell.server.mailboxes;
            self.mailbox = Some(mailboxes.open(self.connection.id, user));
        }
    }

    /// Takes in what other clients have sent here.
    #[inline]
    pub(super) fn read_mailbox(&mut self, waker: &Waker) {
        if let Some(mailbox) = &self.mailbox {
            let mailbox = Arc::clone(mailbox);
            let machine = &mut self.cell.state.borrow_mut().machine;
            if machine.out().len() > STREAMED {
                // Whoever reads nothing: they wait there, and become one when they are too many.
                return;
            }
            for message in mailbox.take(waker) {
                machine.on_redirected(&message);
            }
        }
    }

    #[cold]
    fn send_all_turned(&mut self) {
        let all = std::mem::take(&mut self.cell.state.borrow_mut().turned);
        let mut asking = asking(&self.connection, self.busy_since);
        asking.is_write = true;
        act(&self.cell, &mut self.pins, asking, |machine, reach| {
            for turned in all {
                let to = place_of(&turned, reach);
                reach.hops = turned.hops;
                let (is_ask, ticket) = (turned.is_ask, turned.ticket);
                machine.send_on(to, is_ask, &turned.wire, ticket, reach);
            }
        });
    }
}

/// The place of the node, by the rules of now, on the way that the command was on.
fn place_of(turned: &Turned, reach: &Reach<'_>) -> Result<Destination, Lost> {
    let to = reach.place_of(&turned.node).ok_or(Lost::NoEndpoint)?;
    let way = reach.pins.way_of(&turned.from).ok_or(Lost::Closed)?;
    Ok(Destination { way, ..to })
}
