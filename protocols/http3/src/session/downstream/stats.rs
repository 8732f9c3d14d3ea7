//! The counters of HTTP/3 on one listener: handshakes, streams, and what was refused.
//!
//! Requests and responses are counted with those of every version, in `portcullis_http`. Labels are fixed words. Start at
//! [`Http3Stats`].

use h3::error::Code;
use portcullis_stats::{Counter, Gauge, Shard};

use crate::guard::GuardError;

/// The counters of one listener on one worker.
#[derive(Debug)]
pub struct Http3Stats {
    pub(super) connections_active: Gauge,
    pub(super) handshakes: Counter,
    pub(super) retries: Counter,
    pub(super) streams: Counter,
    pub(super) streams_active: Gauge,
    pub(super) early: Early,
    pub(super) resets: Resets,
    pub(super) strays: Strays,
    refusals: Vec<(&'static str, Counter)>,
}

/// Requests that came before the handshake was over.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) served: Counter,
    pub(super) refused: Counter,
}

/// Requests that did not come to their end, by who gave them up.
#[derive(Debug)]
pub(super) struct Resets {
    pub(super) client: Counter,
    pub(super) gateway: Counter,
}

/// Datagrams that came to another worker than their connection lives on.
#[derive(Debug)]
pub(super) struct Strays {
    pub(super) passed_on: Counter,
    pub(super) received: Counter,
    pub(super) dropped: Counter,
}

/// Why a connection was ended or a stream refused, where neither the guard nor `h3` was the one to say so.
pub(super) mod reason {
    /// The whole connection reads too slowly.
    pub(crate) const STALLED: &str = "h3_stalled";
    /// One stream's response is read too slowly.
    pub(crate) const STREAM_STALLED: &str = "h3_stream_stalled";
    /// The heads of open requests take too much.
    pub(crate) const HEADS: &str = "h3_heads_limit";
    /// A head was not finished in time.
    pub(crate) const HEAD_TIMEOUT: &str = "h3_head_timeout";
    /// Nothing has come for too long.
    pub(crate) const SILENT: &str = "h3_silent";
    /// The client has closed a stream that must stay open.
    pub(crate) const CONTROL_CLOSED: &str = "h3_closed_critical_stream";
}

/// What `h3` ends connections and streams with by itself.
const ERRORS: [(Code, &str); 17] = [
    (Code::H3_NO_ERROR, "h3_no_error"),
    (Code::H3_GENERAL_PROTOCOL_ERROR, "h3_general_protocol_error"),
    (Code::H3_INTERNAL_ERROR, "h3_internal_error"),
    (Code::H3_STREAM_CREATION_ERROR, "h3_stream_creation_error"),
    (Code::H3_CLOSED_CRITICAL_STREAM, reason::CONTROL_CLOSED),
    (Code::H3_FRAME_UNEXPECTED, "h3_frame_unexpected"),
    (Code::H3_FRAME_ERROR, "h3_frame_error"),
    (Code::H3_EXCESSIVE_LOAD, "h3_excessive_load"),
    (Code::H3_ID_ERROR, "h3_id_error"),
    (Code::H3_SETTINGS_ERROR, "h3_settings_error"),
    (Code::H3_MISSING_SETTINGS, "h3_missing_settings"),
    (Code::H3_REQUEST_REJECTED, "h3_request_rejected"),
    (Code::H3_REQUEST_CANCELLED, "h3_request_cancelled"),
    (Code::H3_REQUEST_INCOMPLETE, "h3_request_incomplete"),
    (Code::H3_MESSAGE_ERROR, "h3_message_error"),
    (
        Code::QPACK_DECOMPRESSION_FAILED,
        "h3_qpack_decompression_failed",
    ),
    (
        Code::QPACK_ENCODER_STREAM_ERROR,
        "h3_qpack_encoder_stream_error",
    ),
];

/// What codes that nobody has defined share.
const OTHER: &str = "h3_other";

/// The label of an error code.
pub(super) fn error_label(code: Code) -> &'static str {
    let known = ERRORS.iter().find(|(known, _)| *known == code);
    known.map_or(OTHER, |(_, label)| label)
}

impl Http3Stats {
    /// The counters of one listener; `shard` carries the listener's label.
    #[must_use]
    pub fn new(shard: &Shard) -> Self {
        let counter = |name, help| shard.counter(name, help, &[]);
        Self {
            connections_active: shard.gauge(
                "portcullis_http3_connections_active",
                "Connections of HTTP/3 that are open.",
                &[],
            ),
            handshakes: counter(
                "portcullis_http3_handshakes_total",
                "Handshakes of QUIC that succeeded.",
            ),
            retries: counter(
                "portcullis_http3_retries_total",
                "Clients that were asked to show that they receive at their address.",
            ),
            streams: counter(
                "portcullis_http3_streams_total",
                "Requests that clients began.",
            ),
            streams_active: shard.gauge(
                "portcullis_http3_streams_active",
                "Requests that are being served.",
                &[],
            ),
            early: Early::new(shard),
            resets: Resets::new(shard),
            strays: Strays::new(shard),
            refusals: refusals(shard),
        }
    }

    /// A connection was ended, or a stream refused.
    pub(super) fn on_refused(&self, reason: &'static str) {
        let known = self.refusals.iter().find(|(label, _)| *label == reason);
        if let Some((_, counter)) = known {
            counter.inc();
        }
    }
}

impl Early {
    fn new(shard: &Shard) -> Self {
        let of = |outcome| {
            shard.counter(
                "portcullis_http3_early_requests_total",
                "Requests that came before the handshake was over: served, or refused with 425.",
                &[("outcome", outcome)],
            )
        };
        Self {
            served: of("served"),
            refused: of("refused"),
        }
    }
}

impl Resets {
    fn new(shard: &Shard) -> Self {
        let of = |by| {
            shard.counter(
                "portcullis_http3_resets_total",
                "Requests that were given up, by who did.",
                &[("by", by)],
            )
        };
        Self {
            client: of("client"),
            gateway: of("gateway"),
        }
    }
}

impl Strays {
    fn new(shard: &Shard) -> Self {
        let of = |outcome| {
            shard.counter(
                "portcullis_http3_strays_total",
                "Datagrams that came to another worker than their connection lives on.",
                &[("outcome", outcome)],
            )
        };
        Self {
            passed_on: of("passed_on"),
            received: of("received"),
            dropped: of("dropped"),
        }
    }
}

fn refusals(shard: &Shard) -> Vec<(&'static str, Counter)> {
    let own = [
        reason::STALLED,
        reason::STREAM_STALLED,
        reason::HEADS,
        reason::HEAD_TIMEOUT,
        reason::SILENT,
        OTHER,
    ];
    let reasons = GuardError::ALL
        .into_iter()
        .map(GuardError::label)
        .chain(own)
        .chain(ERRORS.map(|(_, label)| label));
    reasons
        .map(|reason| {
            let counter = shard.counter(
                "portcullis_http3_refusals_total",
                "Connections ended, or streams refused, for what the client did, by reason.",
                &[("reason", reason)],
            );
            (reason, counter)
        })
        .collect()
}
