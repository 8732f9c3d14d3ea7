//! The bounds that the codec keeps, as values handed to each decoder.
//!
//! Not configuration: the session turns what people write into these. Not deadlines either; the codec has no clock.
//! Start at [`FrameLimits`] and [`StartupLimits`], whose defaults carry their reasons.

/// Bounds on messages. All are about the length that a message states, which counts itself (4) but not the type byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes, header included, up to which a message of a type that may be large is yielded whole. Longer ones stream:
    /// this much of them is seen at once. Types that are never large are always whole, whatever this says.
    pub whole: usize,
    /// The largest Query, Parse, Bind and FunctionCall. What carries data (DataRow, CopyData, …) may always be
    /// [`LARGEST`].
    pub largest: u64,
    /// The largest PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse.
    pub authentication: usize,
    /// Whether whole DataRow and CopyData messages that follow each other are yielded as one
    /// [`Run`](crate::frame::Frame::Run).
    pub batch: bool,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            // Statements are shorter, all but a few; what is longer is still classified by this much of it.
            whole: 64 * 1024,
            // What PostgreSQL takes. It costs no memory here, since it streams.
            largest: LARGEST as u64,
            // These come before anybody is known, and are held whole. Tokens given for passwords stay below 10 kB;
            // PostgreSQL takes 64 KiB, for Kerberos tickets.
            authentication: 16 * 1024,
            // Who asks for rows one by one gets them.
            batch: false,
        }
    }
}

/// The largest message of all: PostgreSQL can allocate no more than 1 GiB for one.
pub const LARGEST: u32 = 1024 * 1024 * 1024 + 4;

/// The largest message of the types that a client never needs large: Describe, Close, Execute, CopyFail. PostgreSQL's own
/// bound.
pub const SMALL_FRONTEND: u32 = 10_000;

/// The largest message of the types that a server never needs large, CommandComplete for one. As in libpq.
pub const SMALL_BACKEND: u32 = 30_000;

/// The bytes that a cancel key may have ("Message Formats", BackendKeyData): 4 before protocol 3.2.
pub const CANCEL_KEY: std::ops::RangeInclusive<usize> = 4..=256;

/// Bounds on what a client sends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartupLimits {
    /// Bytes of a packet, its length included.
    pub bytes: usize,
    /// Parameters of a StartupMessage.
    pub parameters: usize,
}

impl Default for StartupLimits {
    fn default() -> Self {
        Self {
            // PostgreSQL's own bound, MAX_STARTUP_PACKET_LENGTH.
            bytes: 10_000,
            // Drivers send about ten. Each costs work whenever a server connection changes hands.
            parameters: 100,
        }
    }
}
