//! What the servers' errors mean for the gateway: that another server is to be asked, or that others know more.
//!
//! Start at [`judge`].

use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::demoted::Refused;
use super::link::{Link, Pending};
use super::members::{Members, Turned};
use super::shard::{Home, Of};
use crate::cluster::ClusterError;
use crate::machine::{Lost, Piece, Speaks, Ticket};

/// Commands that are asked of another server.
#[derive(Default)]
pub(super) struct Aside {
    /// The server that answered has named it.
    turned: Vec<Turned>,
    /// The server that answered is the primary no more.
    refused: Vec<Refused>,
    /// The server that answered has no data, for this reason.
    unready: Vec<(Pending, &'static str)>,
}

/// Looks whether a server answers that another is to be asked. A command that can be sent on is put aside; the client of any
/// other is to have the answer.
pub(super) fn judge(
    home: Option<&Home>,
    pending: Pending,
    speaks: Speaks,
    piece: Piece<'_>,
    aside: &mut Aside,
) -> Option<Pending> {
    let is_the_clients = matches!(pending.ticket, Ticket::Slot { .. });
    let (Piece::Whole { kind, bytes }, true) = (piece, is_the_clients) else {
        return Some(pending);
    };
    if !kind.is_error() {
        return Some(pending);
    }
    if let Some(reason) = unready(bytes).filter(|_| pending.may_ask_again()) {
        pending.shun();
        aside.unready.push((pending, reason));
        return None;
    }
    match home.map(|home| &home.of) {
        None => Some(pending),
        Some(Of::Cluster(members)) => judge_node(members, pending, bytes, &mut aside.turned),
        Some(Of::Sentinels(followed)) => {
            let is_readonly = bytes.starts_with(b"-READONLY");
            if !is_readonly && !bytes.starts_with(b"-UNBLOCKED") {
                return Some(pending);
            }
            if let Some(followed) = followed.upgrade() {
                followed.doubt();
            }
            if !is_readonly || !Refused::may_be_sent_again(&pending) {
                return Some(pending);
            }
            let reply = Bytes::copy_from_slice(bytes);
            aside.refused.push(Refused {
                pending,
                speaks,
                reply,
            });
            None
        }
    }
}

/// Why a server cannot read what it has, if this error says so.
fn unready(error: &[u8]) -> Option<&'static str> {
    match () {
        () if error.starts_with(b"-LOADING ") => Some("loading"),
        () if error.starts_with(b"-MASTERDOWN ") => Some("masterdown"),
        () => None,
    }
}

/// As [`judge`], of a node of a Redis Cluster.
fn judge_node(
    members: &Weak<Members>,
    pending: Pending,
    bytes: &[u8],
    turned: &mut Vec<Turned>,
) -> Option<Pending> {
    match ClusterError::read(bytes) {
        None | Some(ClusterError::TryAgain) => {}
        Some(ClusterError::Redirect(redirect)) if pending.replay.is_some() => {
            let reply = Bytes::copy_from_slice(bytes);
            turned.push(Turned {
                pending,
                redirect,
                reply,
            });
            return None;
        }
        Some(ClusterError::Redirect(_) | ClusterError::Down) => {
            if let Some(members) = members.upgrade() {
                members.want_map();
            }
        }
    }
    Some(pending)
}

/// A node that ends a subscription to a sharded channel has the slot no more.
pub(super) fn look(home: Option<&Home>, piece: Piece<'_>) {
    if let (Some(Of::Cluster(members)), Piece::Whole { bytes, .. }) =
        (home.map(|home| &home.of), piece)
        && bytes.starts_with(b">3\r\n$12\r\nsunsubscribe\r\n")
        && let Some(members) = members.upgrade()
    {
        members.want_map();
    }
}

impl Aside {
    /// Sends them on.
    #[inline]
    pub(super) fn send_on(self, link: &Rc<Link>) {
        if !self.turned.is_empty() || !self.unready.is_empty() || !self.refused.is_empty() {
            self.send_all_on(link);
        }
    }

    /// Sends commands on to the nodes that were named, in the order of their answers, and to others of their groups.
    #[cold]
    fn send_all_on(self, link: &Rc<Link>) {
        let members = link.members();
        for turned in self.turned {
            match &members {
                Some(members) => members.redirect(link, turned),
                None => turned.pending.lose(Lost::Closed),
            }
        }
        let followed = link.followed();
        for refused in self.refused {
            match &followed {
                Some(followed) => followed.hold(refused),
                None => refused.answer(),
            }
        }
        for (pending, reason) in self.unready {
            if let Err(pending) = pending.ask_again(reason, link.speaks()) {
                pending.lose(Lost::NoReplica);
            }
        }
    }
}
