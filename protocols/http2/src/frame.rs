//! What HTTP/2 frames are: the header that all share, and one type for each kind (RFC 9113 sections 4 and 6).
//!
//! Thin over [`Bytes`]: padding is gone, header blocks stay compressed. Not the meaning of a stream of frames, which
//! is for a session. Start at [`FrameHeader`] and [`Frame`].

mod code;
mod kind;
pub(crate) mod settings;

use bytes::Bytes;

pub use code::ErrorCode;
pub use kind::FrameKind;
pub use settings::{Setting, Settings};

/// Bytes of a frame header (RFC 9113 section 4.1).
pub const HEADER_BYTES: usize = 9;

/// The largest payload that may be sent before the peer allows more, and the least that a limit may be
/// (RFC 9113 section 6.5.2).
pub const LEAST_MAX_FRAME_SIZE: u32 = 1 << 14;

/// The largest payload that a header can state.
pub const MOST_MAX_FRAME_SIZE: u32 = (1 << 24) - 1;

/// The flags of RFC 9113 section 6; one bit means different things on different kinds.
pub mod flags {
    /// The last frame of its stream: on DATA and HEADERS.
    pub const END_STREAM: u8 = 0x1;
    /// The answer to one of ours: on SETTINGS and PING.
    pub const ACK: u8 = 0x1;
    /// The header block ends here: on HEADERS, PUSH_PROMISE and CONTINUATION.
    pub const END_HEADERS: u8 = 0x4;
    /// A length byte in front and as much padding behind: on DATA, HEADERS and PUSH_PROMISE.
    pub const PADDED: u8 = 0x8;
    /// Five bytes of obsolete priority in front: on HEADERS.
    pub const PRIORITY: u8 = 0x20;
}

/// The number of a stream: 31 bits, 0 for the connection itself (RFC 9113 section 5.1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The connection itself.
    pub const CONNECTION: Self = Self(0);

    /// The stream of this number; the reserved bit is dropped, as a receiver must.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number & 0x7fff_ffff)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether this is the connection and no stream.
    #[must_use]
    pub const fn is_connection(self) -> bool {
        self.0 == 0
    }
}

/// The nine bytes in front of every frame (RFC 9113 section 4.1), judged by nobody yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload: 24 bits.
    pub length: u32,
    /// What it is.
    pub kind: FrameKind,
    /// Its flags, unknown ones among them.
    pub flags: u8,
    /// Its stream.
    pub stream: StreamId,
}

impl FrameHeader {
    /// Whether a flag of [`flags`] is set. Whether it means anything depends on the kind.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether this kind may carry padding and does.
    #[must_use]
    pub const fn is_padded(&self) -> bool {
        self.kind.may_be_padded() && self.has(flags::PADDED)
    }
}

/// One frame, without its padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Content of a message (RFC 9113 section 6.1).
    Data(Data),
    /// The beginning of a header block: a head or trailers (section 6.2).
    Headers(Headers),
    /// Obsolete priority (section 6.3).
    Priority(StreamId, Priority),
    /// The end of a stream before its time (section 6.4).
    Reset(Reset),
    /// Parameters of the connection (section 6.5).
    Settings(Settings),
    /// A response that nobody asked for (section 6.6).
    PushPromise(PushPromise),
    /// A question whether the peer is there (section 6.7).
    Ping(Ping),
    /// The end of the connection (section 6.8).
    GoAway(GoAway),
    /// Room for more content (section 6.9).
    WindowUpdate(WindowUpdate),
    /// More of a header block (section 6.10).
    Continuation(Continuation),
    /// A kind that nobody here knows: to be ignored (section 5.5).
    Unknown(Unknown),
}

impl Frame {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        match self {
            Self::Data(_) => FrameKind::Data,
            Self::Headers(_) => FrameKind::Headers,
            Self::Priority(..) => FrameKind::Priority,
            Self::Reset(_) => FrameKind::Reset,
            Self::Settings(_) => FrameKind::Settings,
            Self::PushPromise(_) => FrameKind::PushPromise,
            Self::Ping(_) => FrameKind::Ping,
            Self::GoAway(_) => FrameKind::GoAway,
            Self::WindowUpdate(_) => FrameKind::WindowUpdate,
            Self::Continuation(_) => FrameKind::Continuation,
            Self::Unknown(unknown) => FrameKind::Unknown(unknown.kind),
        }
    }

    /// Its stream.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        match self {
            Self::Data(frame) => frame.stream,
            Self::Headers(frame) => frame.stream,
            Self::Priority(stream, _) => *stream,
            Self::Reset(frame) => frame.stream,
            Self::PushPromise(frame) => frame.stream,
            Self::WindowUpdate(frame) => frame.stream,
            Self::Continuation(frame) => frame.stream,
            Self::Unknown(frame) => frame.stream,
            Self::Settings(_) | Self::Ping(_) | Self::GoAway(_) => StreamId::CONNECTION,
        }
    }
}

/// Content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Its stream, never the connection.
    pub stream: StreamId,
    /// The content without padding.
    pub data: Bytes,
    /// Whether the sender has said all.
    pub end_stream: bool,
    /// Bytes of padding and of its length byte, 0 to 256: they count in flow control.
    pub padding: u16,
}

/// The beginning of a header block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Its stream, never the connection.
    pub stream: StreamId,
    /// A piece of the block, compressed (RFC 7541).
    pub block: Bytes,
    /// Whether no content follows.
    pub end_stream: bool,
    /// Whether the block ends here; else CONTINUATION must follow.
    pub end_headers: bool,
    /// The obsolete priority, where stated.
    pub priority: Option<Priority>,
    /// Bytes of padding and of its length byte, 0 to 256.
    pub padding: u16,
}

/// Obsolete priority (RFC 9113 section 5.3): carried, never obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// The stream to depend on.
    pub dependency: StreamId,
    /// Whether alone.
    pub exclusive: bool,
    /// The weight as on the wire: one less than meant.
    pub weight: u8,
}

/// The end of a stream before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Its stream, never the connection.
    pub stream: StreamId,
    /// Why.
    pub code: ErrorCode,
}

/// A response that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushPromise {
    /// The stream of the request that it belongs to, never the connection.
    pub stream: StreamId,
    /// The stream on which it will come, never the connection.
    pub promised: StreamId,
    /// A piece of the block, compressed.
    pub block: Bytes,
    /// Whether the block ends here; else CONTINUATION must follow.
    pub end_headers: bool,
    /// Bytes of padding and of its length byte, 0 to 256.
    pub padding: u16,
}

/// A question whether the peer is there, or the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Whether this is the answer.
    pub ack: bool,
    /// What comes back in the answer.
    pub payload: [u8; 8],
}

/// The end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAway {
    /// The last stream that was or may be looked at.
    pub last_stream: StreamId,
    /// Why.
    pub code: ErrorCode,
    /// More about it, for people.
    pub debug: Bytes,
}

/// Room for more content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowUpdate {
    /// Its stream, or the connection.
    pub stream: StreamId,
    /// So many more bytes: 1 to 2^31-1.
    pub increment: u32,
}

/// More of a header block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The stream of the block, never the connection.
    pub stream: StreamId,
    /// A piece of the block, compressed.
    pub block: Bytes,
    /// Whether the block ends here.
    pub end_headers: bool,
}

/// A frame of a kind that nobody here knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its number: none of RFC 9113.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, or the connection.
    pub stream: StreamId,
    /// All of it.
    pub payload: Bytes,
}
