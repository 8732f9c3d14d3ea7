//! The counters of HTTP/2 on one listener: streams, resets, and what the guard saw.
//!
//! Requests and responses are counted with those of every version, in `portcullis_http`. Labels are fixed words.
//! Start at [`Http2Stats`].

use portcullis_stats::{Counter, Gauge, Shard};

use crate::frame::FrameKind;
use crate::guard::{FrameCounts, GuardError};

/// The counters of one listener on one worker.
#[derive(Debug)]
pub struct Http2Stats {
    pub(crate) connections_active: Gauge,
    pub(crate) streams: Counter,
    pub(crate) streams_active: Gauge,
    resets_sent: Counter,
    frames: Vec<(FrameKind, Counter)>,
    refusals: Vec<(&'static str, Counter)>,
}

/// Why a connection was ended or a stream refused, where the guard was not the one to say so.
pub(crate) mod reason {
    /// The whole connection reads too slowly.
    pub(crate) const STALLED: &str = "h2_stalled";
    /// One stream's response is read too slowly.
    pub(crate) const STREAM_STALLED: &str = "h2_stream_stalled";
    /// A PING was not answered.
    pub(crate) const KEEP_ALIVE: &str = "h2_keep_alive_timeout";
    /// The heads of open requests take too much.
    pub(crate) const HEADS: &str = "h2_heads_limit";
    /// A header block was not finished in time.
    pub(crate) const HEAD_TIMEOUT: &str = "h2_head_timeout";
    /// The peer went away, or took nothing, while the connection was being ended.
    pub(crate) const UNFINISHED: &str = "h2_close_timeout";
}

/// What `h2` ends connections with by itself.
const ERRORS: [(h2::Reason, &str); 14] = [
    (h2::Reason::NO_ERROR, "h2_no_error"),
    (h2::Reason::PROTOCOL_ERROR, "h2_protocol_error"),
    (h2::Reason::INTERNAL_ERROR, "h2_internal_error"),
    (h2::Reason::FLOW_CONTROL_ERROR, "h2_flow_control_error"),
    (h2::Reason::SETTINGS_TIMEOUT, "h2_settings_timeout"),
    (h2::Reason::STREAM_CLOSED, "h2_stream_closed"),
    (h2::Reason::FRAME_SIZE_ERROR, "h2_frame_size_error"),
    (h2::Reason::REFUSED_STREAM, "h2_refused_stream"),
    (h2::Reason::CANCEL, "h2_cancel"),
    (h2::Reason::COMPRESSION_ERROR, "h2_compression_error"),
    (h2::Reason::CONNECT_ERROR, "h2_connect_error"),
    (h2::Reason::ENHANCE_YOUR_CALM, "h2_enhance_your_calm"),
    (h2::Reason::INADEQUATE_SECURITY, "h2_inadequate_security"),
    (h2::Reason::HTTP_1_1_REQUIRED, "h2_http_1_1_required"),
];

/// The label of an error code; codes that nobody has defined share one.
pub(crate) fn error_label(code: h2::Reason) -> &'static str {
    ERRORS
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("h2_other", |(_, label)| label)
}

impl Http2Stats {
    /// The counters of one listener; `shard` carries the listener's label.
    #[must_use]
    pub fn new(shard: &Shard) -> Self {
        let own = [
            reason::STALLED,
            reason::STREAM_STALLED,
            reason::KEEP_ALIVE,
            reason::HEADS,
            reason::HEAD_TIMEOUT,
            reason::UNFINISHED,
            "h2_other",
        ];
        let reasons = GuardError::ALL
            .into_iter()
            .map(GuardError::label)
            .chain(own)
            .chain(ERRORS.map(|(_, label)| label));
        Self {
            connections_active: shard.gauge(
                "portcullis_http2_connections_active",
                "Connections of HTTP/2 that are open.",
                &[],
            ),
            streams: shard.counter(
                "portcullis_http2_streams_total",
                "Streams that clients opened.",
                &[],
            ),
            streams_active: shard.gauge(
                "portcullis_http2_streams_active",
                "Streams that are being served.",
                &[],
            ),
            resets_sent: shard.counter(
                "portcullis_http2_resets_sent_total",
                "RST_STREAM frames sent to clients.",
                &[],
            ),
            frames: FrameKind::ALL
                .into_iter()
                .map(|kind| {
                    let counter = shard.counter(
                        "portcullis_http2_frames_received_total",
                        "Frames from clients by type; resets are those of type rst_stream.",
                        &[("type", kind.label())],
                    );
                    (kind, counter)
                })
                .collect(),
            refusals: reasons
                .map(|reason| {
                    let counter = shard.counter(
                        "portcullis_http2_refusals_total",
                        "Connections ended, or streams refused, for what the client did, by reason.",
                        &[("reason", reason)],
                    );
                    (reason, counter)
                })
                .collect(),
        }
    }

    /// Adds the frames that have passed since the last time.
    pub(crate) fn on_frames(&self, counts: &FrameCounts) {
        self.resets_sent.add(u64::from(counts.resets_sent));
        for (kind, counter) in &self.frames {
            let count = counts.received(*kind);
            if count > 0 {
                counter.add(u64::from(count));
            }
        }
    }

    /// A connection was ended, or a stream refused.
    pub(crate) fn on_refused(&self, reason: &'static str) {
        let known = self.refusals.iter().find(|(label, _)| *label == reason);
        if let Some((_, counter)) = known {
            counter.inc();
        }
    }
}
