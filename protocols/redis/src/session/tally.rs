//! Counting commands that are over: like ones that end together are added up first.
//!
//! In a pipeline most commands are like the one before, came with it, and are answered with it. Start at [`Tally::add`].

use std::time::{Duration, Instant};

use portcullis_net::clock;

use super::cell::{Cell, Flight, Kept};
use crate::command::CommandId;
use crate::machine::Finished;

/// Commands of one client that are over now.
pub(super) struct Tally<'a> {
    cell: &'a Cell,
    now: Instant,
    like: Like,
    /// How many of those there were.
    count: u64,
    up: u64,
    down: u64,
    /// The client has a part of a reply, and the rest will not come.
    pub(super) is_cut: bool,
}

/// What has to be the same of commands that are counted in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Like {
    command: Option<CommandId>,
    started: Instant,
}

impl<'a> Tally<'a> {
    #[inline]
    pub(super) fn new(cell: &'a Cell) -> Self {
        let now = clock::now();
        Self {
            cell,
            now,
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

    /// One more is over.
    #[inline]
    pub(super) fn add(&mut self, flight: Flight, finished: Finished) {
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
            self.on_failed(&flight, &finished);
        }
        if let Some(kept) = flight.kept {
            self.on_kept(*kept, flight.bytes, like.started, &finished);
        }
        if let Some(held) = flight.held {
            let took = self.now.saturating_duration_since(like.started);
            self.cell.complete(held, took, &finished);
        }
    }

    /// Tells the counters.
    #[inline]
    pub(super) fn finish(mut self) {
        self.flush();
        self.cell.server.stats.on_bytes(self.up, self.down);
    }

    #[inline]
    fn flush(&mut self) {
        if self.count > 0 {
            let took = self.took(self.like.started);
            let stats = &self.cell.server.stats;
            stats.on_commands(self.like.command, self.count, took);
            self.count = 0;
        }
    }

    fn took(&self, started: Instant) -> Duration {
        self.now.saturating_duration_since(started)
    }

    #[cold]
    fn on_failed(&mut self, flight: &Flight, finished: &Finished) {
        self.is_cut |= finished.is_cut;
        self.cell.server.stats.on_failed(flight.command, finished);
    }

    #[cold]
    fn on_kept(&self, kept: Kept, bytes: u32, started: Instant, finished: &Finished) {
        let server = &self.cell.server;
        if let Some(key) = &kept.sampled {
            server
                .keys
                .on_command(key, finished.bytes.max(bytes.into()));
        }
        server
            .slow
            .on_command(kept.noted, self.took(started), finished);
    }
}
