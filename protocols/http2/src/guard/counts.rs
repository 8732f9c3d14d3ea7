//! What has passed on a connection, in numbers.
//!
//! Plain numbers for the session to add to its counters; nothing here decides. Start at [`FrameCounts`].

use crate::frame::FrameKind;

/// Frames by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrameCounts {
    received: [u32; FrameKind::COUNT],
    /// RST_STREAM frames that we sent, for whatever reason.
    pub resets_sent: u32,
}

impl FrameCounts {
    /// Frames of one kind that were received; all unknown kinds are one.
    #[must_use]
    pub fn received(&self, kind: FrameKind) -> u32 {
        self.received.get(kind.index()).copied().unwrap_or(0)
    }

    /// Each kind of frame with how many were received, in the order of [`FrameKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (FrameKind, u32)> {
        FrameKind::ALL.into_iter().zip(self.received)
    }

    /// Frames of any kind that were received.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.received.iter().map(|&count| u64::from(count)).sum()
    }

    #[inline]
    pub(super) fn count(&mut self, kind: FrameKind) {
        if let Some(count) = self.received.get_mut(kind.index()) {
            *count = count.wrapping_add(1);
        }
    }
}

/// Bytes of DATA without padding since the connection began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Stated by the headers of DATA frames that the peer began to send.
    pub received: u64,
    /// Stated by the headers of DATA frames that we began to write: what the peer's windows and its reading let through.
    pub sent: u64,
}
