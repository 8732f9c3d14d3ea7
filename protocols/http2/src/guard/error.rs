//! Why a peer went too far.
//!
//! Start at [`GuardError`].

use portcullis_codec::{Severity, WireError};

use crate::frame::ErrorCode;

/// Why a connection ends by the guard. There is no milder answer: what is refused here cannot be taken apart by stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GuardError {
    /// The connection does not begin with the preface and SETTINGS (RFC 9113 section 3.4).
    #[error("no HTTP/2 preface")]
    NoPreface,
    /// A frame larger than we allow (section 4.2).
    #[error("frame too large")]
    FrameTooLarge,
    /// Padding or priority that does not fit its frame (sections 6.1 and 6.2).
    #[error("malformed frame")]
    Malformed,
    /// Something between the frames of a header block, or a CONTINUATION without one (section 6.10).
    #[error("broken header block")]
    BrokenBlock,
    /// A number in a header block that overflows (RFC 7541 section 5.1).
    #[error("broken field compression")]
    BrokenCompression,
    /// A header block of more bytes than [`super::GuardLimits::header_block`].
    #[error("header block too large")]
    HeaderBlockTooLarge,
    /// A header block of more fields than [`super::GuardLimits::header_fields`].
    #[error("too many fields in a header block")]
    TooManyFields,
    /// A header block of more CONTINUATION frames than [`super::GuardLimits::continuations`].
    #[error("too many CONTINUATION frames")]
    ContinuationFlood,
    /// Too many RST_STREAM from the peer.
    #[error("too many resets")]
    ResetFlood,
    /// Too many streams that the peer made us reset.
    #[error("too many resets caused")]
    ResetSentFlood,
    /// Too many SETTINGS.
    #[error("too many SETTINGS")]
    SettingsFlood,
    /// More entries in one SETTINGS than [`super::GuardLimits::settings_entries`].
    #[error("too many entries in SETTINGS")]
    TooManySettings,
    /// Too many PING.
    #[error("too many PING")]
    PingFlood,
    /// Too many PRIORITY or PRIORITY_UPDATE.
    #[error("too many PRIORITY")]
    PriorityFlood,
    /// Too many WINDOW_UPDATE for what we sent.
    #[error("too many WINDOW_UPDATE")]
    WindowUpdateFlood,
    /// Too many DATA without content that do not end their stream.
    #[error("too many empty DATA")]
    EmptyDataFlood,
    /// Too many small DATA that nobody has read yet.
    #[error("too many tiny DATA")]
    TinyDataFlood,
    /// Too many GOAWAY.
    #[error("too many GOAWAY")]
    GoAwayFlood,
    /// Too many frames of unknown kinds.
    #[error("too many unknown frames")]
    UnknownFlood,
}

impl GuardError {
    /// Every error once, for building counters.
    pub const ALL: [Self; 19] = [
        Self::NoPreface,
        Self::FrameTooLarge,
        Self::Malformed,
        Self::BrokenBlock,
        Self::BrokenCompression,
        Self::HeaderBlockTooLarge,
        Self::TooManyFields,
        Self::ContinuationFlood,
        Self::ResetFlood,
        Self::ResetSentFlood,
        Self::SettingsFlood,
        Self::TooManySettings,
        Self::PingFlood,
        Self::PriorityFlood,
        Self::WindowUpdateFlood,
        Self::EmptyDataFlood,
        Self::TinyDataFlood,
        Self::GoAwayFlood,
        Self::UnknownFlood,
    ];

    /// What GOAWAY says.
    #[must_use]
    pub const fn error_code(self) -> ErrorCode {
        match self {
            Self::NoPreface | Self::Malformed | Self::BrokenBlock => ErrorCode::PROTOCOL_ERROR,
            Self::FrameTooLarge => ErrorCode::FRAME_SIZE_ERROR,
            Self::BrokenCompression => ErrorCode::COMPRESSION_ERROR,
            _ => ErrorCode::ENHANCE_YOUR_CALM,
        }
    }

    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoPreface => "h2_no_preface",
            Self::FrameTooLarge => "h2_frame_too_large",
            Self::Malformed => "h2_malformed_frame",
            Self::BrokenBlock => "h2_broken_header_block",
            Self::BrokenCompression => "h2_broken_compression",
            Self::HeaderBlockTooLarge => "h2_header_block_too_large",
            Self::TooManyFields => "h2_too_many_fields",
            Self::ContinuationFlood => "h2_continuation_flood",
            Self::ResetFlood => "h2_reset_flood",
            Self::ResetSentFlood => "h2_reset_sent_flood",
            Self::SettingsFlood => "h2_settings_flood",
            Self::TooManySettings => "h2_too_many_settings",
            Self::PingFlood => "h2_ping_flood",
            Self::PriorityFlood => "h2_priority_flood",
            Self::WindowUpdateFlood => "h2_window_update_flood",
            Self::EmptyDataFlood => "h2_empty_data_flood",
            Self::TinyDataFlood => "h2_tiny_data_flood",
            Self::GoAwayFlood => "h2_goaway_flood",
            Self::UnknownFlood => "h2_unknown_flood",
        }
    }
}

impl WireError for GuardError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        (*self).label()
    }
}
