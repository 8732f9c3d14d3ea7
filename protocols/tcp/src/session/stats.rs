//! The counters of one TCP listener on one worker.
//!
//! Start at [`TcpStats`].

use portcullis_stats::{ByLabel, Counter, Gauge, Histogram, Shard, Unit};

use crate::message::Record;

/// The counters of one TCP listener on one worker.
pub(super) struct TcpStats {
    shard: Shard,
    active: Gauge,
    connections: Counter,
    bytes_up: Counter,
    bytes_down: Counter,
    retries: Counter,
    duration: Histogram,
    /// By reason; reasons are words of the code, so there are few.
    ended: ByLabel,
    rejected: ByLabel,
}

impl TcpStats {
    pub(super) fn new(shard: &Shard) -> Self {
        let bytes = |direction| {
            shard.counter(
                "portcullis_tcp_bytes_total",
                "Bytes proxied, by direction.",
                &[("direction", direction)],
            )
        };
        Self {
            active: shard.gauge(
                "portcullis_tcp_connections_active",
                "Connections being proxied.",
                &[],
            ),
            connections: shard.counter(
                "portcullis_tcp_connections_total",
                "Connections that were accepted.",
                &[],
            ),
            bytes_up: bytes("up"),
            bytes_down: bytes("down"),
            retries: shard.counter(
                "portcullis_tcp_connect_retries_total",
                "Connects that were tried again on another endpoint.",
                &[],
            ),
            duration: shard.histogram(
                "portcullis_tcp_connection_duration_seconds",
                "From accept to close, of connections that reached an endpoint.",
                Unit::Microseconds,
                &[],
            ),
            ended: ByLabel::default(),
            rejected: ByLabel::default(),
            shard: shard.clone(),
        }
    }

    /// A connection begins.
    pub(super) fn on_start(&self) {
        self.connections.inc();
        self.active.inc();
    }

    /// Another endpoint is tried.
    pub(super) fn on_retry(&self) {
        self.retries.inc();
    }

    /// Bytes moved since the last call.
    pub(super) fn on_bytes(&self, up: u64, down: u64) {
        self.bytes_up.add(up);
        self.bytes_down.add(down);
    }

    /// A connection is over.
    pub(super) fn on_end(&self, record: &Record) {
        self.active.dec();
        if record.established {
            let micros = u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX);
            self.duration.record(micros);
            self.ended.inc(record.reason, || {
                self.shard.counter(
                    "portcullis_tcp_connections_ended_total",
                    "Connections to an endpoint that ended, by reason.",
                    &[("reason", record.reason)],
                )
            });
        } else {
            self.rejected.inc(record.reason, || {
                self.shard.counter(
                    "portcullis_tcp_rejections_total",
                    "Connections that reached no endpoint, by reason.",
                    &[("reason", record.reason)],
                )
            });
        }
    }
}
