//! The counters of a cluster's connections that requests share, on one worker.
//!
//! What they are called is said by each version of HTTP. Start at [`UpstreamStats`].

use portcullis_stats::{ByLabel, Counter, Shard};

/// What the counters of one version are called.
#[derive(Debug)]
pub struct UpstreamCounters {
    /// Connections opened.
    pub connections: &'static str,
    /// What is said of them.
    pub connections_help: &'static str,
    /// Streams opened.
    pub streams: &'static str,
    /// Streams that were reset, labelled `by`.
    pub resets: &'static str,
    /// Requests that were given back.
    pub unprocessed: &'static str,
    /// Connections ended for what the endpoint did, labelled `reason`.
    pub cuts: &'static str,
    /// What is said of them.
    pub cuts_help: &'static str,
}

/// The counters of one cluster.
pub struct UpstreamStats {
    shard: Shard,
    names: &'static UpstreamCounters,
    /// Connections opened.
    pub connections: Counter,
    /// Streams opened.
    pub streams: Counter,
    /// Streams that the peer reset.
    pub resets_received: Counter,
    /// Streams that we gave up.
    pub resets_sent: Counter,
    /// Streams that the peer gave back unprocessed.
    pub unprocessed: Counter,
    /// By reason, made when it first happens: the labels are all in the code.
    cuts: ByLabel,
}

impl UpstreamStats {
    /// `shard` carries the cluster's label.
    #[must_use]
    pub fn new(shard: Shard, names: &'static UpstreamCounters) -> Self {
        let reset = |by| {
            let help = "Streams to endpoints that were reset, by whom.";
            shard.counter(names.resets, help, &[("by", by)])
        };
        Self {
            connections: shard.counter(names.connections, names.connections_help, &[]),
            streams: shard.counter(names.streams, "Streams opened to endpoints.", &[]),
            resets_received: reset("endpoint"),
            resets_sent: reset("gateway"),
            unprocessed: shard.counter(
                names.unprocessed,
                "Requests that endpoints gave back without looking at them.",
                &[],
            ),
            cuts: ByLabel::default(),
            names,
            shard,
        }
    }

    /// A connection was ended for what its endpoint did.
    pub fn on_cut(&self, reason: &'static str) {
        let Self { shard, names, .. } = self;
        self.cuts.inc(reason, || {
            shard.counter(names.cuts, names.cuts_help, &[("reason", reason)])
        });
    }
}
