//! The counters of one Redis listener on one worker.
//!
//! Commands and errors are labels, of which the code knows all values; counters of them are made when they first happen.
//! Start at [`RedisStats`].

use std::cell::RefCell;
use std::time::Duration;

use portcullis_stats::{ByLabel, Counter, Gauge, Histogram, Shard, Unit};

use crate::command::CommandId;
use crate::machine::{ErrorPrefix, Finished};

/// The counters of one command.
struct CommandStats {
    calls: Counter,
    errors: Counter,
    duration: Histogram,
}

/// The counters of one Redis listener on one worker.
pub(super) struct RedisStats {
    shard: Shard,
    connections: Counter,
    active: Gauge,
    bytes_up: Counter,
    bytes_down: Counter,
    links: Gauge,
    opened: Counter,
    pinned: Gauge,
    commands: RefCell<Box<[Option<CommandStats>]>>,
    errors: ByLabel,
    /// By reason; reasons are words of the code, so there are few.
    rejected: ByLabel,
    ended: ByLabel,
    /// Of a Redis Cluster.
    redirects: ByLabel,
    maps: ByLabel,
    copies: ByLabel,
    collapsed: Counter,
    /// Of sentinels.
    answers: ByLabel,
    scripts: ByLabel,
}

impl RedisStats {
    pub(super) fn new(shard: &Shard) -> Self {
        let bytes = |direction| {
            shard.counter(
                "portcullis_redis_bytes_total",
                "Bytes of commands and replies, by direction.",
                &[("direction", direction)],
            )
        };
        Self {
            connections: shard.counter(
                "portcullis_redis_connections_total",
                "Clients that were accepted.",
                &[],
            ),
            active: shard.gauge(
                "portcullis_redis_connections_active",
                "Clients that are connected.",
                &[],
            ),
            bytes_up: bytes("up"),
            bytes_down: bytes("down"),
            links: shard.gauge(
                "portcullis_redis_upstream_connections_active",
                "Connections to servers.",
                &[],
            ),
            opened: shard.counter(
                "portcullis_redis_upstream_connections_total",
                "Connections to servers that were opened.",
                &[],
            ),
            pinned: shard.gauge(
                "portcullis_redis_pinned_connections_active",
                "Connections to servers that one client has for itself.",
                &[],
            ),
            commands: RefCell::new((0..=CommandId::COUNT).map(|_| None).collect()),
            errors: ByLabel::default(),
            rejected: ByLabel::default(),
            ended: ByLabel::default(),
            redirects: ByLabel::default(),
            maps: ByLabel::default(),
            copies: ByLabel::default(),
            collapsed: shard.counter(
                "portcullis_redis_collapsed_total",
                "Commands that took the reply to another client's.",
                &[],
            ),
            answers: ByLabel::default(),
            scripts: ByLabel::default(),
            shard: shard.clone(),
        }
    }

    /// A client is there.
    pub(super) fn on_start(&self) {
        self.connections.inc();
        self.active.inc();
    }

    /// A client is gone, for this reason.
    pub(super) fn on_end(&self, reason: &'static str) {
        self.active.dec();
        self.ended.inc(reason, || {
            self.shard.counter(
                "portcullis_redis_connections_ended_total",
                "Clients that left, by reason.",
                &[("reason", reason)],
            )
        });
    }

    /// A command was not carried out, or a client was closed.
    pub(super) fn on_rejected(&self, reason: &'static str) {
        self.rejected.inc(reason, || {
            self.shard.counter(
                "portcullis_redis_rejections_total",
                "Commands that were refused and clients that were closed, by reason.",
                &[("reason", reason)],
            )
        });
    }

    /// Bytes of commands that are over, and of their replies.
    #[inline]
    pub(super) fn on_bytes(&self, up: u64, down: u64) {
        self.bytes_up.add(up);
        self.bytes_down.add(down);
    }

    /// So many of a command are over, each of which took so long.
    #[inline]
    pub(super) fn on_commands(&self, command: Option<CommandId>, count: u64, took: Duration) {
        let Some(command) = command else {
            return;
        };
        let mut commands = self.commands.borrow_mut();
        let Some(place) = commands.get_mut(command.index()) else {
            return;
        };
        let stats = place.get_or_insert_with(|| self.command(command));
        stats.calls.add(count);
        // No command takes 500,000 years.
        let micros = took.as_secs().wrapping_mul(1_000_000) + u64::from(took.subsec_micros());
        stats.duration.record_many(micros, count);
    }

    /// A command that is over was answered with an error, or not answered. It is told of by
    /// [`on_commands`](Self::on_commands) too.
    #[cold]
    pub(super) fn on_failed(&self, command: Option<CommandId>, finished: &Finished) {
        if let Some(prefix) = finished.error {
            if let Some(command) = command
                && let Some(place) = self.commands.borrow_mut().get_mut(command.index())
            {
                let stats = place.get_or_insert_with(|| self.command(command));
                stats.errors.inc();
            }
            self.on_error(prefix);
        }
        if let Some(lost) = finished.lost {
            self.on_rejected(lost.label());
        }
    }

    #[cold]
    fn command(&self, command: CommandId) -> CommandStats {
        let labels = [("command", command.name())];
        CommandStats {
            calls: self.shard.counter(
                "portcullis_redis_commands_total",
                "Commands that were answered, by command.",
                &labels,
            ),
            errors: self.shard.counter(
                "portcullis_redis_command_errors_total",
                "Commands that were answered with an error, by command.",
                &labels,
            ),
            duration: self.shard.histogram(
                "portcullis_redis_command_duration_seconds",
                "From the command to its reply, by command.",
                Unit::Microseconds,
                &labels,
            ),
        }
    }

    /// An error reply.
    pub(super) fn on_error(&self, prefix: ErrorPrefix) {
        let label = prefix.label();
        self.errors.inc(label, || {
            self.shard.counter(
                "portcullis_redis_errors_total",
                "Error replies, by their first word.",
                &[("prefix", label)],
            )
        });
    }

    /// A node of a Redis Cluster answered that another is to be asked.
    pub(super) fn on_redirect(&self, kind: &'static str) {
        self.redirects.inc(kind, || {
            self.shard.counter(
                "portcullis_redis_redirects_total",
                "Redirections of nodes of a Redis Cluster, by kind.",
                &[("kind", kind)],
            )
        });
    }

    /// A node of a Redis Cluster was asked for the map of slots.
    pub(super) fn on_map(&self, result: &'static str) {
        self.maps.inc(result, || {
            self.shard.counter(
                "portcullis_redis_slot_maps_total",
                "Questions for the slots of a Redis Cluster, by result.",
                &[("result", result)],
            )
        });
    }

    /// A copy of a command was sent elsewhere, or not.
    pub(super) fn on_copy(&self, result: &'static str) {
        self.copies.inc(result, || {
            self.shard.counter(
                "portcullis_redis_mirrored_total",
                "Copies of commands for another cluster, by what became of them.",
                &[("result", result)],
            )
        });
    }

    /// A sentinel was asked.
    pub(super) fn on_answer(&self, result: &'static str) {
        self.answers.inc(result, || {
            self.shard.counter(
                "portcullis_redis_sentinel_questions_total",
                "Questions to sentinels for a primary and its replicas, by result.",
                &[("result", result)],
            )
        });
    }

    /// A script that was called by its hash was said in full, since the server lacked it.
    pub(super) fn on_script(&self, kind: &'static str) {
        self.scripts.inc(kind, || {
            self.shard.counter(
                "portcullis_redis_scripts_total",
                "Calls of scripts that were sent with their text, in their turn or again after NOSCRIPT.",
                &[("kind", kind)],
            )
        });
    }

    /// A command was answered by the reply to another client's.
    pub(super) fn on_collapsed(&self) {
        self.collapsed.inc();
    }

    /// A cluster has another primary.
    pub(super) fn on_switch(&self, cluster: &str) {
        let switches = self.shard.counter(
            "portcullis_redis_primary_switches_total",
            "Changes of a primary that sentinels watch over, by cluster.",
            &[("cluster", cluster)],
        );
        switches.inc();
    }

    /// The counters of reads of a cluster whose replicas are read from.
    pub(super) fn reads(&self, cluster: &str) -> ReadStats {
        let of = |role| {
            self.shard.counter(
                "portcullis_redis_reads_total",
                "Commands that only read, of clusters whose replicas may be read from, by the role of the server that was asked.",
                &[("cluster", cluster), ("role", role)],
            )
        };
        ReadStats {
            primary: of("primary"),
            replica: of("replica"),
            again: ByLabel::default(),
            shard: self.shard.scoped(&[("cluster", cluster)]),
        }
    }

    /// A connection to a server is open.
    pub(super) fn on_link(&self) -> LinkGuard {
        self.opened.inc();
        self.links.inc();
        LinkGuard(self.links.clone())
    }

    /// A client has a connection for itself.
    pub(super) fn on_pin(&self) {
        self.pinned.inc();
    }

    /// It has it no more.
    pub(super) fn on_unpin(&self) {
        self.pinned.dec();
    }
}

/// The counters of reads of one cluster.
pub(super) struct ReadStats {
    pub(super) primary: Counter,
    pub(super) replica: Counter,
    again: ByLabel,
    shard: Shard,
}

impl ReadStats {
    /// A command that only reads was asked of another server, for this reason.
    pub(super) fn on_again(&self, reason: &'static str) {
        self.again.inc(reason, || {
            self.shard.counter(
                "portcullis_redis_reads_again_total",
                "Commands that only read and were asked of another server, by the reason why the first did not answer.",
                &[("reason", reason)],
            )
        });
    }
}

/// Keeps a connection to a server counted.
pub(super) struct LinkGuard(Gauge);

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
