//! Answers to clients that speak a version that is not read (RFC 8999 section 6, RFC 9000 section 6).
//!
//! An answer is shorter than what it answers, never follows another answer, and there are so many in a second. Start at
//! [`Negotiation`].

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::INITIAL_DATAGRAM_BYTES;
use crate::encoder::encode_version_negotiation;
use crate::header::Invariants;
use crate::version::Version;

/// Writes Version Negotiation packets.
#[derive(Debug)]
pub(super) struct Negotiation {
    /// What varies where the standard wants variety; no secret hangs on it.
    noise: u64,
    most: u32,
    count: u32,
    since: Option<Instant>,
}

impl Negotiation {
    pub(super) const fn new(noise: u64, most: u32) -> Self {
        Self {
            noise,
            most,
            count: 0,
            since: None,
        }
    }

    /// Appends an answer, if one may be given.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        header: &Invariants<'_>,
        out: &mut BytesMut,
    ) -> bool {
        // RFC 9000 section 5.2.2: only what is large enough for a client's first datagram.
        if header.bytes.len() < INITIAL_DATAGRAM_BYTES
            || header.version == Version::NEGOTIATION
            || !self.has_time(now)
        {
            return false;
        }
        self.noise = self
            .noise
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(1);
        let [unused, low, ..] = self.noise.to_be_bytes();
        // RFC 9000 section 6.3: a version that nobody has, so that clients get used to such.
        let nibble = u32::from(low >> 4);
        let reserved = Version(0x0a0a_0a0a | (nibble * 0x1010_1010));
        let before = out.len();
        encode_version_negotiation(
            unused & 0x7f,
            header.destination,
            header.source,
            Version::READ.into_iter().chain([reserved]),
            out,
        );
        debug_assert!(out.len() - before <= header.bytes.len());
        true
    }

    fn has_time(&mut self, now: Instant) -> bool {
        const WINDOW: Duration = Duration::from_secs(1);
        let is_over = |since| now.duration_since(since) >= WINDOW;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.count = 0;
        }
        let has_time = self.count < self.most;
        self.count += u32::from(has_time);
        has_time
    }
}
