//! Counting commands that are over: like ones that end together are added up first.
//!
//! In a pipeline most commands are like the one before, came with it, and are answered with it; and so are those of clients that
//! are answered in one read. Start at [`Tally::add`].

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::cell::{Flight, Held, Kept};
use super::server::RedisServer;
use super::stats::RedisStats;
use crate::command::CommandId;
use crate::machine::{ErrorPrefix, Finished, Lost};

/// Commands that are over now. To be [finished](Self::finish).
pub(super) struct Tally {
    now: Instant,
    /// Where they are counted.
    stats: Option<Rc<RedisStats>>,
    like: Like,
    /// How many of those there were.
    count: u64,
    up: u64,
    down: u64,
    /// The client has a part of a reply, and the rest will not come.
    is_cut: bool,
}

/// What has to be the same of commands that are counted in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Like {
    command: Option<CommandId>,
    started: Instant,
}

impl Tally {
    /// Of commands that are over at this time.
    #[inline]
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            now,
            stats: None,
            like: Like {
                command: None,
                started: now,
            },
            count: 0,
            up: 0,
            down: 0,
            is_cut: false,
        }
    }

    /// What is added from now on is of this listener.
    #[inline]
    pub(super) fn of(&mut self, server: &RedisServer) {
        let is_same = |stats: &Rc<RedisStats>| Rc::ptr_eq(stats, &server.stats);
        if !self.stats.as_ref().is_some_and(is_same) {
            self.finish();
            self.stats = Some(Rc::clone(&server.stats));
        }
    }

    /// One more is over, of the listener that was named last.
    #[inline]
    pub(super) fn add(&mut self, server: &RedisServer, flight: Flight, finished: &Finished) {
        let like = Like {
            command: flight.command,
            started: flight.started,
        };
        self.up += u64::from(flight.bytes);
        self.down += finished.bytes;
        if like != self.like {
            self.flush();
            self.like = like;
        }
        self.count += 1;
        if finished.error.is_some() || finished.lost.is_some() {
            self.on_failed(server, flight.command, finished);
        }
        if flight.kept.is_some() || flight.held.is_some() {
            self.on_more(server, flight, finished);
        }
    }

    /// Whether a client was left with half of a reply since this was last asked.
    #[inline]
    pub(super) const fn take_cut(&mut self) -> bool {
        std::mem::replace(&mut self.is_cut, false)
    }

    /// Tells the counters.
    #[inline]
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Some(stats) = &self.stats {
            stats.on_bytes(self.up, self.down);
            (self.up, self.down) = (0, 0);
        }
    }

    #[inline(never)]
    fn flush(&mut self) {
        if let Some(stats) = &self.stats
            && self.count > 0
        {
            stats.on_commands(self.like.command, self.count, self.took(self.like.started));
            self.count = 0;
        }
    }

    fn took(&self, started: Instant) -> Duration {
        self.now.saturating_duration_since(started)
    }

    #[cold]
    fn on_failed(&mut self, server: &RedisServer, command: Option<CommandId>, finished: &Finished) {
        self.is_cut |= finished.is_cut;
        server.stats.on_failed(command, finished);
    }

    /// One of which something was kept.
    #[cold]
    fn on_more(&self, server: &RedisServer, flight: Flight, finished: &Finished) {
        let took = self.took(flight.started);
        let mut up = u64::from(flight.bytes);
        if let Some(kept) = flight.kept {
            let Kept {
                sampled,
                noted,
                came,
            } = *kept;
            if let Some(came) = came {
                up = came.get();
            }
            if let Some(key) = &sampled {
                let bytes = finished.bytes.max(up);
                server.keys.on_command(key, bytes);
            }
            server.slow.on_command(noted, took, finished);
        }
        if let Some(held) = flight.held {
            complete(held, took, up, finished);
        }
    }
}

/// Tells filters.
fn complete(mut held: Box<Held>, took: Duration, up: u64, finished: &Finished) {
    held.record.bytes_up = up;
    held.record.duration = took;
    held.record.bytes_down = finished.bytes;
    held.record.error = finished.error.map(ErrorPrefix::label);
    held.record.reason = finished.lost.map(Lost::label);
    held.chain.on_complete(&held.record, &held.cx);
}
