//! The counters of one listener's flows on one worker.
//!
//! Start at [`UdpStats`].

use portcullis_stats::{ByLabel, Counter, Gauge, Histogram, Shard, Unit};

use crate::message::Record;

/// The counters of one listener's flows on one worker.
pub(super) struct UdpStats {
    shard: Shard,
    pub(super) active: Gauge,
    flows: Counter,
    pub(super) up: Passed,
    pub(super) down: Passed,
    duration: Histogram,
    /// By reason; reasons are words of the code, so there are few.
    ended: ByLabel,
    refused: ByLabel,
}

/// The datagrams of one direction.
pub(super) struct Passed {
    shard: Shard,
    direction: &'static str,
    datagrams: Counter,
    bytes: Counter,
    dropped: ByLabel,
}

impl Passed {
    fn new(shard: &Shard, direction: &'static str) -> Self {
        Self {
            datagrams: shard.counter(
                "portcullis_udp_datagrams_total",
                "Datagrams that were passed on, by direction.",
                &[("direction", direction)],
            ),
            bytes: shard.counter(
                "portcullis_udp_bytes_total",
                "Bytes of datagrams that were passed on, by direction.",
                &[("direction", direction)],
            ),
            dropped: ByLabel::default(),
            shard: shard.clone(),
            direction,
        }
    }

    pub(super) fn on_passed(&self, datagrams: u64, bytes: u64) {
        self.datagrams.add(datagrams);
        self.bytes.add(bytes);
    }

    pub(super) fn on_dropped(&self, reason: &'static str) {
        self.dropped.inc(reason, || {
            self.shard.counter(
                "portcullis_udp_datagrams_dropped_total",
                "Datagrams that were not passed on, by direction and reason.",
                &[("direction", self.direction), ("reason", reason)],
            )
        });
    }
}

impl UdpStats {
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            active: shard.gauge("portcullis_udp_flows_active", "Flows that are open.", &[]),
            flows: shard.counter("portcullis_udp_flows_total", "Flows that were opened.", &[]),
            up: Passed::new(shard, "up"),
            down: Passed::new(shard, "down"),
            duration: shard.histogram(
                "portcullis_udp_flow_duration_seconds",
                "From the first datagram of a flow to its last.",
                Unit::Microseconds,
                &[],
            ),
            ended: ByLabel::default(),
            refused: ByLabel::default(),
            shard: shard.clone(),
        }
    }

    pub(super) fn on_opened(&self) {
        self.flows.inc();
        self.active.inc();
    }

    /// There is no flow for a datagram that would have begun one.
    pub(super) fn on_refused(&self, reason: &'static str) {
        self.refused.inc(reason, || {
            self.shard.counter(
                "portcullis_udp_flows_refused_total",
                "Datagrams that would have begun a flow and did not, by reason.",
                &[("reason", reason)],
            )
        });
    }

    /// A flow is over.
    pub(super) fn on_ended(&self, record: &Record) {
        self.active.dec();
        let micros = u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX);
        self.duration.record(micros);
        self.ended.inc(record.reason, || {
            self.shard.counter(
                "portcullis_udp_flows_ended_total",
                "Flows that ended, by reason.",
                &[("reason", record.reason)],
            )
        });
    }
}
