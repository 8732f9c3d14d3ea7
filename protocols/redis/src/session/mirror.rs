//! Copies of commands for another cluster: sent and forgotten, but for counters.
//!
//! A copy goes where its keys are in that cluster, in the order of its client's commands, and its reply is dropped. Nobody waits
//! for it: what a mirror that lags has no room for is dropped too. Which commands are copied is said in [`crate::config`].
//!
//! Start at [`Mirror`], then [`copy`].

use std::cell::Cell as Value;
use std::rc::Rc;

use portcullis_filter::Random;
use smallvec::SmallVec;

use super::link::Pending;
use super::reach::Reach;
use super::receiver::Receiver;
use super::server::Lead;
use super::stats::RedisStats;
use super::upstream::{Sender, Upstream};
use crate::command::handling::Scope;
use crate::config::MirrorConfig;
use crate::machine::{
    Call, Destination, Destinations, Lost, Piece, PinEnd, PinId, Purpose, Sent, SlotId, Speaks,
    Ticket, Upstreams, copies,
};
use crate::message::RespVersion;
use crate::renaming::Renaming;

/// Bytes of copies under way before more are dropped.
const MOST_BYTES: usize = 16 << 20;

/// Where copies of a way go, on one worker.
pub(super) struct Mirror {
    config: MirrorConfig,
    pub(super) lead: Lead,
    under_way: Rc<UnderWay>,
}

/// Copies whose replies are still to come.
struct UnderWay {
    count: Value<u32>,
    bytes: Value<usize>,
    stats: Rc<RedisStats>,
}

/// One of them.
pub(super) struct Copied {
    of: Rc<UnderWay>,
    bytes: usize,
}

impl Mirror {
    pub(super) fn new(config: MirrorConfig, lead: Lead, stats: Rc<RedisStats>) -> Self {
        let under_way = UnderWay {
            count: Value::new(0),
            bytes: Value::new(0),
            stats,
        };
        Self {
            config,
            lead,
            under_way: Rc::new(under_way),
        }
    }

    /// Whether this command is to be copied, this time.
    fn picks(&self, call: &Call<'_>, random: &Random) -> bool {
        let percent = self.config.percent.millionths();
        let commands = self.config.commands;
        let is_one = match call.foreign {
            None => commands.takes(call.id),
            Some(foreign) => commands.takes_foreign(foreign),
        };
        is_one && random.happens(percent)
    }

    /// Room for one more copy, if there is any.
    fn begin(&self, bytes: usize) -> Option<Rc<Copied>> {
        let of = &self.under_way;
        let is_full = of.count.get() >= self.config.pending || of.bytes.get() + bytes > MOST_BYTES;
        if is_full {
            of.stats.on_copy("dropped");
            return None;
        }
        of.count.set(of.count.get() + 1);
        of.bytes.set(of.bytes.get() + bytes);
        let of = Rc::clone(of);
        Some(Rc::new(Copied { of, bytes }))
    }
}

impl Copied {
    /// A piece of the reply.
    pub(super) fn on_piece(&self, ticket: Ticket, piece: Piece<'_>) {
        let result = match piece {
            _ if ticket == Ticket::Own => return,
            Piece::Begin { .. } | Piece::More { last: false, .. } => return,
            Piece::Whole { kind, .. } if kind.is_error() => "error",
            Piece::Whole { .. } | Piece::More { .. } => "ok",
            Piece::Lost(_) => "lost",
        };
        self.of.stats.on_copy(result);
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.of.count.set(self.of.count.get().saturating_sub(1));
        self.of
            .bytes
            .set(self.of.bytes.get().saturating_sub(self.bytes));
    }
}

/// A command was sent: copies it for those of its ways that have a mirror.
pub(super) fn copy(reach: &Reach<'_>, call: &Call<'_>, speaks: Speaks, sent: Sent) {
    let stats = &reach.cell.server.stats;
    let mut mirrored = Mirrored {
        reach,
        picked: SmallVec::new(),
    };
    let Ok(parts) = copies(call, &mut mirrored) else {
        // Its keys are at several places there, or cannot be found.
        return stats.on_copy("unplaced");
    };
    // In one version for all clients: nobody reads the replies.
    let speaks = Speaks {
        version: RespVersion::Resp2,
        ..speaks
    };
    let to = parts.iter().filter(|(to, _)| to.upstream != NOWHERE);
    for (to, wire) in to {
        match sent {
            Sent::Alone => send(reach, *to, speaks, wire),
            Sent::Queued => stats.on_copy("transaction"),
            Sent::Waiting => stats.on_copy("blocking"),
            Sent::Large => stats.on_copy("too_large"),
        }
    }
}

fn send(reach: &Reach<'_>, to: Destination, speaks: Speaks, wire: &[u8]) {
    let server = &reach.cell.server;
    let mirror = server.ways.find(to.way).and_then(|way| way.mirror());
    let Some(copied) = mirror.and_then(|mirror| mirror.begin(wire.len())) else {
        return;
    };
    let sender = Sender {
        is_read: false,
        is_write: false,
        is_anywhere: false,
        ..reach.sender()
    };
    let ticket = Ticket::Slot {
        slot: SlotId::default(),
        part: 0,
    };
    let pending = Pending::new(Receiver::Copied(copied), ticket);
    let upstream = server.upstream(to.upstream);
    let sent = upstream.and_then(|at| at.send(to.shard, speaks, sender, wire, pending));
    if sent.is_err() {
        server.stats.on_copy("lost");
    }
}

/// The upstream of keys that are not copied.
const NOWHERE: u16 = u16::MAX;

/// What copies reach: the mirror of each key's way.
struct Mirrored<'a, 'b> {
    reach: &'a Reach<'b>,
    /// For each way that was met, whether this command is copied.
    picked: SmallVec<[(u16, bool); 2]>,
}

impl<'a> Mirrored<'a, '_> {
    fn mirror(&mut self, call: &Call<'_>, way: u16) -> Option<&'a Mirror> {
        let server = &self.reach.cell.server;
        let mirror = server.ways.find(way)?.mirror()?;
        let known = self.picked.iter().find(|(known, _)| *known == way);
        let is_picked = if let Some((_, is_picked)) = known {
            *is_picked
        } else {
            let is_picked = mirror.picks(call, &server.random);
            self.picked.push((way, is_picked));
            is_picked
        };
        is_picked.then_some(mirror)
    }

    fn at(
        &mut self,
        call: &Call<'_>,
        way: u16,
        shard: impl FnOnce(&Upstream) -> Result<u16, Lost>,
    ) -> Result<Destination, Lost> {
        let Some(mirror) = self.mirror(call, way) else {
            return Ok(Destination {
                upstream: NOWHERE,
                shard: 0,
                way,
            });
        };
        let (upstream, at) = self.reach.cell.server.current(&mirror.lead)?;
        Ok(Destination {
            upstream,
            shard: shard(&at)?,
            way,
        })
    }
}

impl Upstreams for Mirrored<'_, '_> {
    fn locate(&mut self, call: &Call<'_>, key: &[u8]) -> Result<Destination, Lost> {
        let way = self.reach.rule(call, Some(key))?.way;
        let name = self.reach.upstream_name(call, way, key)?;
        self.at(call, way, |at| at.locate(call.id, &name))
    }

    fn anywhere(&mut self, call: &Call<'_>) -> Result<Destination, Lost> {
        let client = self.reach.asking.client;
        let way = self.reach.rule(call, None)?.way;
        self.at(call, way, |at| Ok(at.anywhere(client, None)))
    }

    fn everywhere(&mut self, call: &Call<'_>, _: Scope) -> Result<Destinations, Lost> {
        let mut shards = Vec::new();
        let way = self.reach.rule(call, None)?.way;
        let to = self.at(call, way, |at| {
            shards = at.everywhere(call.id)?;
            Ok(0)
        })?;
        let all = shards.into_iter().map(|shard| Destination { shard, ..to });
        Ok(all.collect())
    }

    fn shards(&mut self) -> Result<Destinations, Lost> {
        Err(Lost::NoRoute)
    }

    fn renaming(&self, way: u16) -> Option<std::sync::Arc<Renaming>> {
        self.reach.renaming(way)
    }

    fn send(&mut self, _: Destination, _: Speaks, _: &[u8], _: Ticket) -> Result<(), Lost> {
        Err(Lost::NoRoute)
    }

    fn pin(&mut self, _: Destination, _: Speaks, _: Purpose) -> Result<PinId, Lost> {
        Err(Lost::NoRoute)
    }

    fn send_pinned(&mut self, _: PinId, _: &[u8], _: Option<Ticket>) -> Result<(), Lost> {
        Err(Lost::NoRoute)
    }

    fn unpin(&mut self, _: PinId, _: PinEnd) {}
}
