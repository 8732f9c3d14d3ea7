//! The bounds that the codec keeps, as values handed to each decoder.
//!
//! Not configuration: the session turns what people write into these. Not deadlines either; the codec has no clock.
//! Start at [`RequestLimits`] and [`ReplyLimits`], whose defaults carry their reasons.

/// Bounds on what clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Arguments of a command, its name included.
    pub arguments: u32,
    /// Bytes of one argument.
    pub bulk: u64,
    /// Bytes up to which a command is yielded whole. Longer ones stream: this much of them is seen at once.
    /// [`LEAST_WHOLE`] at least, [`MOST_WHOLE`] at most; what is outside counts as the nearer of them.
    pub whole: usize,
    /// Whether inline commands, plain lines of words, are taken.
    pub inline: bool,
    /// Arguments of a command before the client is known.
    pub stranger_arguments: u32,
    /// Bytes of one argument before the client is known.
    pub stranger_bulk: u64,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            // 2^20: what Redis took before 7.0, and what clients stay far below.
            arguments: 1024 * 1024,
            // Redis's `proto-max-bulk-len`. It costs no memory here, since it streams.
            bulk: 512 * 1024 * 1024,
            // All commands but those with large values are shorter, and every key should be.
            whole: 64 * 1024,
            // Lines are what other protocols speak, so that a browser could be made to send commands.
            inline: false,
            // Both as in Redis: enough for AUTH and HELLO, and little that can be held without a password.
            stranger_arguments: 10,
            stranger_bulk: 16 * 1024,
        }
    }
}

/// The smallest [`RequestLimits::whole`] and [`ReplyLimits::whole`] that count: any header fits.
pub const LEAST_WHOLE: usize = 64;

/// The largest [`RequestLimits::whole`] and [`ReplyLimits::whole`] that count: places inside of a command are held in 32 bits.
pub const MOST_WHOLE: usize = 1024 * 1024 * 1024;

/// Bytes of an inline command, as in Redis.
pub const INLINE: usize = 64 * 1024;

/// Digits of a count or length that are waited for. The longest that is allowed has ten.
pub const DIGITS: usize = 18;

/// Bounds on what servers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Bytes up to which a reply is yielded whole. Longer ones stream. [`LEAST_WHOLE`] at least, [`MOST_WHOLE`] at most.
    pub whole: usize,
    /// Bytes of one string. [`LEAST_WHOLE`] at least.
    pub bulk: u64,
    /// Elements of one aggregate; of maps and attributes pairs.
    pub elements: u32,
    /// Aggregates inside of each other: an array of integers has depth 1, the least that counts.
    pub depth: u32,
    /// Bytes of a simple string, an error or a big number, which are always held whole, with type and line end.
    /// [`LEAST_WHOLE`] at least.
    pub line: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self {
            // Smaller ones are taken in one piece; nothing is gained by holding back more.
            whole: 64 * 1024,
            // What Redis stores in one value at most, unless its `proto-max-bulk-len` is raised.
            bulk: 512 * 1024 * 1024,
            // Nothing is allocated for them, so this is only a bound against nonsense.
            elements: 1 << 30,
            // Redis's own deepest reply, COMMAND DOCS, has 8. Lua scripts and modules may nest more.
            depth: 32,
            // Errors quote arguments, which Redis cuts off at 128 bytes. Status replies of scripts may be longer.
            line: 64 * 1024,
        }
    }
}
