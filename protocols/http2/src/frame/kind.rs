//! The kinds of frames and their numbers (RFC 9113 section 6).
//!
//! Start at [`FrameKind`].

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// DATA, 0x0.
    Data,
    /// HEADERS, 0x1.
    Headers,
    /// PRIORITY, 0x2.
    Priority,
    /// RST_STREAM, 0x3.
    Reset,
    /// SETTINGS, 0x4.
    Settings,
    /// PUSH_PROMISE, 0x5.
    PushPromise,
    /// PING, 0x6.
    Ping,
    /// GOAWAY, 0x7.
    GoAway,
    /// WINDOW_UPDATE, 0x8.
    WindowUpdate,
    /// CONTINUATION, 0x9.
    Continuation,
    /// Any other number.
    Unknown(u8),
}

impl FrameKind {
    /// How many kinds are told apart, all unknown ones being one.
    pub const COUNT: usize = 11;

    /// Every kind once, in the order of [`FrameKind::index`], for building counters. The unknown one stands for all.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Data,
        Self::Headers,
        Self::Priority,
        Self::Reset,
        Self::Settings,
        Self::PushPromise,
        Self::Ping,
        Self::GoAway,
        Self::WindowUpdate,
        Self::Continuation,
        Self::Unknown(0xff),
    ];

    /// The kind of this number.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::Reset,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            number => Self::Unknown(number),
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Unknown(number) => number,
            known => known.index() as u8,
        }
    }

    /// Its place in [`FrameKind::ALL`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::Reset => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown(_) => 10,
        }
    }

    /// The value of a label: bounded, lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Headers => "headers",
            Self::Priority => "priority",
            Self::Reset => "rst_stream",
            Self::Settings => "settings",
            Self::PushPromise => "push_promise",
            Self::Ping => "ping",
            Self::GoAway => "goaway",
            Self::WindowUpdate => "window_update",
            Self::Continuation => "continuation",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether the flag PADDED means something on it.
    #[inline]
    #[must_use]
    pub const fn may_be_padded(self) -> bool {
        matches!(self, Self::Data | Self::Headers | Self::PushPromise)
    }

    /// Whether its payload is a piece of a header block.
    #[inline]
    #[must_use]
    pub const fn has_block(self) -> bool {
        matches!(self, Self::Headers | Self::PushPromise | Self::Continuation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_places_agree() {
        for (index, kind) in FrameKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index, "{kind:?}");
            assert_eq!(FrameKind::from_number(kind.number()), kind);
        }
        for number in 0..=u8::MAX {
            assert_eq!(FrameKind::from_number(number).number(), number);
        }
    }
}
