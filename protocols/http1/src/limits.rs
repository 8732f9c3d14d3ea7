//! The bounds that the codec keeps, as values handed to each decoder.
//!
//! Not configuration: the session turns what people write into these. Not deadlines either; the codec has no
//! clock. Start at [`HeadLimits`] and [`BodyLimits`], whose defaults carry their reasons.

/// Bounds on a request or response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first of the start line to the blank line, both included. Past it: 431.
    pub head_bytes: usize,
    /// Bytes of a request target. Past it: 414.
    pub target_bytes: usize,
    /// Field lines. Past it: 431.
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            // Browsers with many cookies send up to about 16 KiB, and common origins refuse more than that.
            head_bytes: 32 * 1024,
            // RFC 9112 section 3 asks for at least 8000.
            target_bytes: 8 * 1024,
            // Real requests stay under 40; every field costs work in each filter.
            fields: 100,
        }
    }
}

/// Bounds on a body, its chunked coding and its trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of content, without the chunked coding. Past it: 413.
    pub total_bytes: u64,
    /// Bytes of extensions on one chunk.
    pub chunk_extension_bytes: usize,
    /// Bytes of extensions on all chunks of one body.
    pub all_extension_bytes: u64,
    /// Bytes of the trailer section. Past it: 431.
    pub trailer_bytes: usize,
    /// Field lines of the trailer section. Past it: 431.
    pub trailer_fields: usize,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            // Bodies stream through, so their length costs no memory: the operator decides.
            total_bytes: u64::MAX,
            // Nobody sends useful extensions; signatures of chunks, the longest seen, take about 90 bytes.
            chunk_extension_bytes: 256,
            // Enough for signed uploads in chunks of 64 KiB up to some 10 GiB; a flood of tiny chunks ends here.
            all_extension_bytes: 16 * 1024 * 1024,
            // Trailers are held until the body ends, so they are kept smaller than a head.
            trailer_bytes: 8 * 1024,
            trailer_fields: 32,
        }
    }
}

/// Bytes of a method. Registered methods end at 17 (`UPDATEREDIRECTREF`).
pub(crate) const METHOD_BYTES: usize = 32;

/// Bytes of a reason phrase: nothing reads it, so more than a sentence is abuse.
pub(crate) const REASON_BYTES: usize = 512;

/// Empty lines that are skipped before a request line. RFC 9112 section 2.2 asks for at least one.
pub(crate) const EMPTY_LINES: usize = 4;

/// Digits of a chunk size: what 64 bits take.
pub(crate) const CHUNK_SIZE_DIGITS: usize = 16;
