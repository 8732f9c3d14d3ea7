//! Where a command goes that has no keys, and so may go to any shard: to one that is there.
//!
//! What the nodes of a Redis Cluster are asked for is [`super::Members`]'. Start at [`Upstream::anywhere`].

use std::rc::Rc;

use super::{Members, Place, Upstream};
use crate::machine::{Lost, Speaks};
use crate::session::pending::Pending;
use crate::session::shard::Shard;

impl Upstream {
    /// Where a command of this client goes that may go anywhere: to a server that is there, and the one that was `chosen` for what
    /// the client has under way, so that what it says first is done first.
    pub(in crate::session) fn anywhere(&self, client: u64, chosen: Option<u16>) -> u16 {
        match &self.place {
            Place::One(_) | Place::Followed(_) => 0,
            Place::Hashed(_, shards) => {
                let home = chosen.unwrap_or_else(|| home(shards, client));
                let is_there = |shard: &Shard| shard.is_there(&self.common);
                let is_tried = |shard: &Shard| !shard.health().is_failing();
                let found = from(shards, home, is_there).or_else(|| from(shards, home, is_tried));
                found.unwrap_or(home)
            }
            Place::Slots(_) => Members::ANY,
        }
    }

    /// Sends a command that may go anywhere to another server than this one, which could not be connected.
    #[cold]
    pub(in crate::session) fn send_elsewhere(
        &self,
        tried: &Shard,
        speaks: Speaks,
        pending: Pending,
    ) {
        let (receiver, ticket) = (pending.client.clone(), pending.ticket);
        let sent = self.try_elsewhere(tried, speaks, pending);
        if let Err(lost) = sent {
            Pending::new(receiver, ticket).lose(lost);
        }
    }

    fn try_elsewhere(&self, tried: &Shard, speaks: Speaks, pending: Pending) -> Result<(), Lost> {
        let (Place::Hashed(_, shards), Some(replay)) = (&self.place, &pending.replay) else {
            return Err(Lost::Connect);
        };
        let (wire, client) = (replay.wire.clone(), replay.client);
        let is_it = |shard: &Shard| !std::ptr::eq(shard, tried) && !shard.health().is_failing();
        let index = from(shards, home(shards, client), is_it).ok_or(Lost::Connect)?;
        let shard = shards.get(index as usize).ok_or(Lost::NoEndpoint)?;
        shard.send(&self.common, speaks, client, &wire, pending)
    }

    /// Whether what may go anywhere may go to one of several servers.
    pub(super) fn has_others(&self) -> bool {
        matches!(&self.place, Place::Hashed(_, shards) if shards.len() > 1)
    }
}

/// The first of the shards that is so, from this one on and round.
fn from(shards: &[Rc<Shard>], first: u16, is_it: impl Fn(&Shard) -> bool) -> Option<u16> {
    let count = shards.len();
    let mut all = (0..count).map(|index| (usize::from(first) + index) % count);
    let found = all.find(|index| shards.get(*index).is_some_and(|shard| is_it(shard)));
    found.map(|index| index as u16)
}

/// Where this client's go while all are there.
const fn home(shards: &[Rc<Shard>], client: u64) -> u16 {
    match shards.len() as u64 {
        0 => 0,
        count => (client % count) as u16,
    }
}
