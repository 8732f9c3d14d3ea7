//! The counters of one listener on one worker.
//!
//! Start at [`ListenerStats`].

use portcullis_filter::TlsInfo;
use portcullis_stats::{ByLabel, Counter, Gauge, GaugeGuard, Shard};

/// The counters of one listener on one worker.
#[derive(Debug)]
pub struct ListenerStats {
    shard: Shard,
    pub(super) accepted: Counter,
    pub(super) active: Gauge,
    /// By reason; reasons are words of the code, so there are few.
    refused: ByLabel,
    errors: ByLabel,
}

/// Reasons that are shown from the start, because people make alerts of them.
const REFUSALS: [&str; 3] = ["listener_limit", "global_limit", "fd_limit"];

impl ListenerStats {
    /// Counters in a shard that carries the listener's label.
    #[must_use]
    pub fn new(shard: &Shard) -> Self {
        let refused = REFUSALS.map(|reason| (reason, refusal(shard, reason)));
        Self {
            accepted: shard.counter(
                "portcullis_listener_connections_total",
                "Connections that were accepted and given to the protocol.",
                &[],
            ),
            active: shard.gauge(
                "portcullis_listener_connections_active",
                "Connections that are open.",
                &[],
            ),
            refused: ByLabel::from_iter(refused),
            errors: ByLabel::default(),
            shard: shard.clone(),
        }
    }

    /// Counts a conversation that was told apart among datagrams, as open for as long as the guard lives.
    pub fn admit(&self) -> GaugeGuard {
        self.accepted.inc();
        self.active.guard()
    }

    /// A connection was closed before any protocol saw it.
    pub fn on_refused(&self, reason: &'static str) {
        self.refused.inc(reason, || refusal(&self.shard, reason));
    }

    /// Accepting failed.
    pub(super) fn on_accept_error(&self, reason: &'static str) {
        self.errors.inc(reason, || {
            self.shard.counter(
                "portcullis_listener_accept_errors_total",
                "Failures to accept a connection, by reason.",
                &[("reason", reason)],
            )
        });
    }
}

/// The counters of one listener's TLS on one worker.
#[derive(Debug)]
pub(super) struct TlsStats {
    /// Whole handshakes and resumed ones, by version: 1.2, then 1.3.
    handshakes: [[Counter; 2]; 2],
    in_progress: Gauge,
}

impl TlsStats {
    /// Counters beside those of the listener.
    pub(super) fn new(listener: &ListenerStats) -> Self {
        let shard = &listener.shard;
        let handshakes = |version, resumed| {
            shard.counter(
                "portcullis_tls_handshakes_total",
                "Handshakes with clients that succeeded, by version and whether a session was taken up again.",
                &[("version", version), ("resumed", resumed)],
            )
        };
        Self {
            handshakes: ["1.2", "1.3"]
                .map(|version| ["false", "true"].map(|resumed| handshakes(version, resumed))),
            in_progress: shard.gauge(
                "portcullis_tls_handshakes_active",
                "Handshakes with clients that are in progress.",
                &[],
            ),
        }
    }

    /// Counts a handshake as in progress for as long as the guard lives.
    pub(super) fn begin(&self) -> GaugeGuard {
        self.in_progress.guard()
    }

    /// A handshake succeeded.
    pub(super) fn on_handshake(&self, info: &TlsInfo) {
        let [old, new] = &self.handshakes;
        let [whole, resumed] = if info.version == "TLSv1.2" { old } else { new };
        let counter = if info.resumed { resumed } else { whole };
        counter.inc();
    }
}

fn refusal(shard: &Shard, reason: &'static str) -> Counter {
    shard.counter(
        "portcullis_listener_refused_total",
        "Connections that were closed before any protocol saw them, by reason.",
        &[("reason", reason)],
    )
}
