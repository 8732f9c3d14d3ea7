//! The counters of a cluster's HTTP/3 connections on one worker.
//!
//! Start at [`UpstreamStats`].

use portcullis_stats::{ByLabel, Counter, Shard};

/// The counters of one cluster.
pub(crate) struct UpstreamStats {
    shard: Shard,
    /// Connections opened.
    pub(crate) connections: Counter,
    /// Streams opened.
    pub(crate) streams: Counter,
    /// Streams that the peer reset.
    pub(crate) resets_received: Counter,
    /// Streams that we gave up.
    pub(crate) resets_sent: Counter,
    /// Streams that the peer gave back unprocessed.
    pub(crate) unprocessed: Counter,
    /// By reason, made when it first happens: the labels are all in the code.
    cuts: ByLabel,
}

impl UpstreamStats {
    /// `shard` carries the cluster's label.
    pub(crate) fn new(shard: Shard) -> Self {
        let reset = |by| {
            shard.counter(
                "portcullis_http3_upstream_resets_total",
                "Streams to endpoints that were reset, by whom.",
                &[("by", by)],
            )
        };
        Self {
            connections: shard.counter(
                "portcullis_http3_upstream_connections_total",
                "HTTP/3 connections opened to endpoints.",
                &[],
            ),
            streams: shard.counter(
                "portcullis_http3_upstream_streams_total",
                "Streams opened to endpoints.",
                &[],
            ),
            resets_received: reset("endpoint"),
            resets_sent: reset("gateway"),
            unprocessed: shard.counter(
                "portcullis_http3_upstream_unprocessed_total",
                "Requests that endpoints gave back without looking at them.",
                &[],
            ),
            cuts: ByLabel::default(),
            shard,
        }
    }

    /// A connection was ended for what its endpoint did.
    pub(crate) fn on_cut(&self, reason: &'static str) {
        self.cuts.inc(reason, || {
            self.shard.counter(
                "portcullis_http3_upstream_cuts_total",
                "HTTP/3 connections ended for what their endpoint did, by reason.",
                &[("reason", reason)],
            )
        });
    }
}
