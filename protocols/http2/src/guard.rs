//! The frame guard: what one peer may cost a connection before anything else has looked at its bytes.
//!
//! It sees the bytes of both directions as they pass, in any fragmentation, and reads frame headers and the few payload
//! bytes that it counts by. It keeps no payload and allocates nothing. Not a codec (that is [`crate::decoder`]) and not
//! a judge of the protocol: what it lets pass, `h2` still checks. Start at [`Guard::handle_received`]; the budgets and
//! their reasons are in [`GuardLimits`].
//!
//! ```
//! use portcullis_http2::{Guard, GuardError, GuardLimits, PREFACE, Role};
//!
//! # #[allow(clippy::disallowed_methods)]
//! let now = std::time::Instant::now();
//! let mut guard = Guard::new(Role::Server, &GuardLimits::default(), now);
//! guard.handle_received(now, PREFACE)?;
//! guard.handle_received(now, b"\0\0\0\x04\0\0\0\0\0")?; // SETTINGS
//! let ping = b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0";
//! let error = (0..10_000).find_map(|_| guard.handle_received(now, ping).err());
//! assert_eq!(error, Some(GuardError::PingFlood));
//! # Ok::<(), GuardError>(())
//! ```

mod block;
mod budget;
mod counts;
mod error;
mod limits;
mod reader;
#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::frame::{ErrorCode, FrameHeader, FrameKind, StreamId, flags};
use crate::preface::PREFACE;

use block::FieldCounter;
use budget::Budget;
use reader::{Reader, Seen, Step};

pub use counts::{FrameCounts, Progress};
pub use error::GuardError;
pub use limits::{BudgetConfig, GuardLimits};

/// Which side of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The peer is a client: downstream.
    Server,
    /// The peer is a server: upstream.
    Client,
}

/// PRIORITY_UPDATE (RFC 9218 section 7.1): browsers send it where they used to send PRIORITY, and it counts as such.
const PRIORITY_UPDATE: u8 = 0x10;

/// One reset is free for so many streams that a client opens: clients cancel now and then, floods reset them all.
const STREAMS_PER_FREE_RESET: u32 = 10;

/// Counts what passes on one connection, and says when it is too much. See the module.
#[derive(Debug)]
pub struct Guard {
    role: Role,
    /// The clock's zero for the budgets.
    since: Instant,
    received: Reader,
    sent: Reader,
    /// The header block of the peer that is open.
    block: Option<OpenBlock>,
    fields: FieldCounter,
    budgets: Budgets,
    bounds: Bounds,
    counts: FrameCounts,
    progress: Progress,
    /// Streams that the client opened, counted to [`STREAMS_PER_FREE_RESET`].
    opened: u32,
    greeted: bool,
    goaway_sent: bool,
    failed: Option<GuardError>,
}

/// A header block that has begun and not ended.
#[derive(Debug, Clone, Copy)]
struct OpenBlock {
    stream: StreamId,
    since: Instant,
    bytes: u32,
    continuations: u32,
}

#[derive(Debug)]
struct Budgets {
    resets_received: Budget,
    resets_sent: Budget,
    settings: Budget,
    ping: Budget,
    priority: Budget,
    window_update: Budget,
    empty_data: Budget,
    tiny_data: Budget,
    goaway: Budget,
    unknown: Budget,
}

/// The limits that have no clock.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    frame: u32,
    block: u32,
    fields: u32,
    continuations: u32,
    settings_entries: u32,
    tiny: u32,
}

impl Guard {
    /// A guard for a connection on which nothing has been said.
    #[must_use]
    pub fn new(role: Role, limits: &GuardLimits, now: Instant) -> Self {
        let preface = PREFACE.len() as u8;
        let (received, sent) = match role {
            Role::Server => (preface, 0),
            Role::Client => (0, preface),
        };
        Self {
            role,
            since: now,
            received: Reader::new(received),
            sent: Reader::new(sent),
            block: None,
            fields: FieldCounter::default(),
            budgets: Budgets::new(limits),
            bounds: Bounds::new(limits),
            counts: FrameCounts::default(),
            progress: Progress::default(),
            opened: 0,
            greeted: false,
            goaway_sent: false,
            failed: None,
        }
    }

    /// Looks at bytes from the peer before anything else does.
    ///
    /// # Errors
    /// The peer went too far somewhere in `bytes`: hand none of them on, send GOAWAY with [`GuardError::error_code`],
    /// count [`GuardError::label`], close. Every later call says the same.
    pub fn handle_received(&mut self, now: Instant, bytes: &[u8]) -> Result<(), GuardError> {
        self.check_failed()?;
        let result = self.read_received(now, bytes);
        self.failed = result.err();
        result
    }

    /// Looks at bytes that have been written to the peer.
    ///
    /// # Errors
    /// The peer made us reset more streams than it may, or has gone too far before: as for [`Guard::handle_received`].
    /// The bytes have been written all the same, and what they are is still noted.
    pub fn handle_sent(&mut self, now: Instant, bytes: &[u8]) -> Result<(), GuardError> {
        if let Err(error) = self.read_sent(now, bytes) {
            self.failed.get_or_insert(error);
        }
        self.check_failed()
    }

    /// The session has taken a piece of `length` bytes of content off a stream: it no longer takes memory here.
    ///
    /// `h2` gives content in the pieces in which DATA brought it. Tiny pieces that are waiting are what
    /// `tiny_data` bounds; one that has been taken is given back to it, so that a stream of small messages that somebody
    /// reads goes on for ever. What was never counted gives nothing back: empty pieces, and the one that the stream ends
    /// with, which `last` tells.
    #[inline]
    pub fn handle_consumed(&mut self, length: usize, last: bool) {
        if !last && length > 0 && length < self.bounds.tiny as usize {
            self.budgets.tiny_data.refund();
        }
    }

    /// Frames since the last [`Guard::take_frames`].
    #[must_use]
    pub const fn frames(&self) -> &FrameCounts {
        &self.counts
    }

    /// Frames since the last call, to add to shared counters.
    pub fn take_frames(&mut self) -> FrameCounts {
        std::mem::take(&mut self.counts)
    }

    /// Content that has passed, for whoever ends connections that stall: bytes of DATA, not of anything that a peer can
    /// make us send by asking.
    #[must_use]
    pub const fn streams_progress(&self) -> Progress {
        self.progress
    }

    /// Since when a header block of the peer has been open; `None` between blocks. For the head deadline: nothing else
    /// can pass on the connection meanwhile (RFC 9113 section 4.3).
    #[must_use]
    pub fn block_open_since(&self) -> Option<Instant> {
        self.block.map(|block| block.since)
    }

    /// Whether a GOAWAY of ours has been written.
    #[must_use]
    pub const fn has_sent_goaway(&self) -> bool {
        self.goaway_sent
    }

    /// Why the connection ends, once it does.
    #[must_use]
    pub const fn failed(&self) -> Option<GuardError> {
        self.failed
    }

    fn check_failed(&self) -> Result<(), GuardError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn nanos(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.since);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn read_received(&mut self, now: Instant, bytes: &[u8]) -> Result<(), GuardError> {
        let nanos = self.nanos(now);
        let mut bytes = bytes;
        while let Some(step) = self.received.next(&mut bytes) {
            match step {
                Step::Preface(true) => {}
                Step::Preface(false) => return Err(GuardError::NoPreface),
                Step::Frame(seen) => self.on_received(now, nanos, &seen)?,
                Step::Block(piece) => self.on_block_bytes(piece)?,
                Step::BlockEnd => self.fields.end(),
            }
        }
        Ok(())
    }

    fn read_sent(&mut self, now: Instant, bytes: &[u8]) -> Result<(), GuardError> {
        let nanos = self.nanos(now);
        let mut bytes = bytes;
        let mut result = Ok(());
        while let Some(step) = self.sent.next(&mut bytes) {
            if let Step::Frame(seen) = step {
                let handled = self.on_sent(nanos, &seen);
                result = result.and(handled);
            }
        }
        result
    }

    fn on_received(&mut self, now: Instant, nanos: u64, seen: &Seen) -> Result<(), GuardError> {
        let header = &seen.header;
        if !self.greeted {
            self.on_first(header)?;
        }
        if header.length > self.bounds.frame {
            return Err(GuardError::FrameTooLarge);
        }
        if seen.malformed {
            return Err(GuardError::Malformed);
        }
        self.counts.count(header.kind);
        if self.block.is_some() || header.kind == FrameKind::Continuation {
            return self.on_continuation(header);
        }
        self.spend(now, nanos, seen)
    }

    /// RFC 9113 section 3.4: SETTINGS comes first, in both directions.
    fn on_first(&mut self, header: &FrameHeader) -> Result<(), GuardError> {
        if header.kind != FrameKind::Settings || header.has(flags::ACK) {
            return Err(GuardError::NoPreface);
        }
        self.greeted = true;
        Ok(())
    }

    fn spend(&mut self, now: Instant, nanos: u64, seen: &Seen) -> Result<(), GuardError> {
        let header = &seen.header;
        let budgets = &mut self.budgets;
        match header.kind {
            FrameKind::Data => self.on_data(nanos, seen),
            FrameKind::Headers | FrameKind::PushPromise => self.on_block(now, seen),
            FrameKind::Priority | FrameKind::Unknown(PRIORITY_UPDATE) => {
                within(budgets.priority.spend(nanos), GuardError::PriorityFlood)
            }
            FrameKind::Reset => {
                within(budgets.resets_received.spend(nanos), GuardError::ResetFlood)
            }
            FrameKind::Settings => self.on_settings(nanos, header),
            FrameKind::Ping => within(budgets.ping.spend(nanos), GuardError::PingFlood),
            FrameKind::GoAway => within(budgets.goaway.spend(nanos), GuardError::GoAwayFlood),
            FrameKind::WindowUpdate => within(
                budgets.window_update.spend(nanos),
                GuardError::WindowUpdateFlood,
            ),
            FrameKind::Unknown(_) => within(budgets.unknown.spend(nanos), GuardError::UnknownFlood),
            // Taken care of before.
            FrameKind::Continuation => Ok(()),
        }
    }

    fn on_settings(&mut self, nanos: u64, header: &FrameHeader) -> Result<(), GuardError> {
        if header.length / 6 > self.bounds.settings_entries {
            return Err(GuardError::TooManySettings);
        }
        within(
            self.budgets.settings.spend(nanos),
            GuardError::SettingsFlood,
        )
    }

    fn on_data(&mut self, nanos: u64, seen: &Seen) -> Result<(), GuardError> {
        self.progress.received += u64::from(seen.content);
        if seen.header.has(flags::END_STREAM) {
            return Ok(());
        }
        if seen.content == 0 {
            return within(
                self.budgets.empty_data.spend(nanos),
                GuardError::EmptyDataFlood,
            );
        }
        within(
            seen.content >= self.bounds.tiny || self.budgets.tiny_data.spend(nanos),
            GuardError::TinyDataFlood,
        )
    }

    /// A header block begins.
    fn on_block(&mut self, now: Instant, seen: &Seen) -> Result<(), GuardError> {
        self.fields.begin();
        if self.role == Role::Server {
            self.budgets.earn_for_stream();
            self.opened += 1;
            if self.opened == STREAMS_PER_FREE_RESET {
                self.opened = 0;
                self.budgets.resets_received.earn(1);
            }
        }
        if seen.content > self.bounds.block {
            return Err(GuardError::HeaderBlockTooLarge);
        }
        if !seen.header.has(flags::END_HEADERS) {
            self.block = Some(OpenBlock {
                stream: seen.header.stream,
                since: now,
                bytes: seen.content,
                continuations: 0,
            });
        }
        Ok(())
    }

    /// RFC 9113 section 6.10: inside a block nothing but CONTINUATION of the same stream, and outside none.
    fn on_continuation(&mut self, header: &FrameHeader) -> Result<(), GuardError> {
        let Some(block) = &mut self.block else {
            return Err(GuardError::BrokenBlock);
        };
        if header.kind != FrameKind::Continuation || header.stream != block.stream {
            return Err(GuardError::BrokenBlock);
        }
        block.continuations += 1;
        block.bytes = block.bytes.saturating_add(header.length);
        if block.continuations > self.bounds.continuations {
            return Err(GuardError::ContinuationFlood);
        }
        if block.bytes > self.bounds.block {
            return Err(GuardError::HeaderBlockTooLarge);
        }
        if header.has(flags::END_HEADERS) {
            self.block = None;
        }
        Ok(())
    }

    fn on_block_bytes(&mut self, piece: &[u8]) -> Result<(), GuardError> {
        if !self.fields.read(piece) {
            return Err(GuardError::BrokenCompression);
        }
        within(
            self.fields.count() <= self.bounds.fields,
            GuardError::TooManyFields,
        )
    }

    fn on_sent(&mut self, nanos: u64, seen: &Seen) -> Result<(), GuardError> {
        let header = &seen.header;
        let budgets = &mut self.budgets;
        match header.kind {
            FrameKind::Data => {
                self.progress.sent += u64::from(seen.content);
                // A receiver may open two windows for each piece, and may measure the path by a ping.
                budgets.window_update.earn(2);
                budgets.ping.earn(1);
            }
            FrameKind::Headers if self.role == Role::Client => {
                budgets.earn_for_stream();
                // A server may refuse every stream that we open.
                budgets.resets_received.earn(1);
            }
            // What we ask is answered.
            FrameKind::Settings if !header.has(flags::ACK) => budgets.settings.earn(1),
            FrameKind::Ping if !header.has(flags::ACK) => budgets.ping.earn(1),
            FrameKind::GoAway => self.goaway_sent = true,
            FrameKind::Reset => {
                self.counts.resets_sent += 1;
                if is_peers_fault(seen.code) {
                    return within(budgets.resets_sent.spend(nanos), GuardError::ResetSentFlood);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a reset of ours was caused by what the peer did, rather than by what we or those behind us decided.
const fn is_peers_fault(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::NO_ERROR
            | ErrorCode::INTERNAL_ERROR
            | ErrorCode::CANCEL
            | ErrorCode::CONNECT_ERROR
            | ErrorCode::HTTP_1_1_REQUIRED
    )
}

fn within(holds: bool, error: GuardError) -> Result<(), GuardError> {
    if holds { Ok(()) } else { Err(error) }
}

impl Budgets {
    fn new(limits: &GuardLimits) -> Self {
        Self {
            resets_received: Budget::new(limits.resets_received),
            resets_sent: Budget::new(limits.resets_sent),
            settings: Budget::new(limits.settings),
            ping: Budget::new(limits.ping),
            priority: Budget::new(limits.priority),
            window_update: Budget::new(limits.window_update),
            empty_data: Budget::new(limits.empty_data),
            tiny_data: Budget::new(limits.tiny_data),
            goaway: Budget::new(limits.goaway),
            unknown: Budget::new(limits.unknown),
        }
    }

    /// What a peer may send more of for each stream.
    const fn earn_for_stream(&mut self) {
        self.unknown.earn(1);
        self.empty_data.earn(1);
    }
}

impl Bounds {
    fn new(limits: &GuardLimits) -> Self {
        let bytes =
            |size: portcullis_config::ByteSize| u32::try_from(size.get()).unwrap_or(u32::MAX);
        Self {
            frame: limits.max_frame_bytes(),
            block: bytes(limits.header_block),
            fields: limits.header_fields,
            continuations: limits.continuations,
            settings_entries: limits.settings_entries,
            tiny: bytes(limits.tiny),
        }
    }
}
