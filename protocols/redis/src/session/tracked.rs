//! Commands over connections on which keys are tracked, that a node of a Redis Cluster says are another's.
//!
//! The client has such a connection of its own to each node, so that only its own task can send them on. They wait with the client,
//! in the order of their answers, until that task runs. Start at [`send_on`] and [`Turned`].

use std::rc::Rc;

use bytes::Bytes;

use super::link::{Link, Pending};
use super::receiver::Receiver;
use super::shard::Shard;
use crate::cluster::RedirectKind;
use crate::machine::{Lost, Ticket};

/// A command that is to be sent to another node.
pub(super) struct Turned {
    /// Over which connection it was refused.
    pub(super) from: Rc<Link>,
    pub(super) node: Rc<Shard>,
    /// The node does not have the slot yet, and is to be told that it was named.
    pub(super) is_ask: bool,
    pub(super) wire: Bytes,
    pub(super) ticket: Ticket,
    /// How often it was sent on.
    pub(super) hops: u8,
}

/// Leaves it to the client.
#[cold]
pub(super) fn send_on(from: &Rc<Link>, node: &Rc<Shard>, kind: RedirectKind, pending: Pending) {
    let Pending {
        client,
        ticket,
        replay,
        ..
    } = pending;
    match (client, replay) {
        (Receiver::Client(client), Some(replay)) => client.on_turned(Turned {
            from: Rc::clone(from),
            node: Rc::clone(node),
            is_ask: kind == RedirectKind::Ask,
            wire: replay.wire.clone(),
            ticket,
            hops: replay.hops,
        }),
        (client, _) => Pending::new(client, ticket).lose(Lost::Closed),
    }
}
