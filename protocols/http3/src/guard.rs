//! What a client may do on one connection before it ends: a look at each frame's first bytes, and budgets.
//!
//! `h3` holds a frame back until it is whole, however long it says it is; here that has bounds. Pure: bytes and the time come in.
//! Not a codec: payloads are stepped over or cut out, and what is malformed is `h3`'s to find, but for pseudo-header fields. Start at [`Guard`], and at
//! [`FrameSplitter`] for what is looked at.

use std::time::Instant;

use portcullis_limit::{Gcra, Quota};

use crate::config::{BudgetConfig, GuardLimits};

mod frames;

#[cfg(feature = "session")]
pub(crate) use frames::put_number;
pub use frames::{FrameScanner, FrameSplitter, Part};

#[cfg(test)]
mod tests;

/// Why a connection is ended with H3_EXCESSIVE_LOAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// A field section that nobody needs.
    #[error("a field section is too large")]
    FieldSection,
    /// A frame without a meaning, or on the control stream, that nobody needs.
    #[error("a frame is too large")]
    ControlFrame,
    /// Too many requests were given up.
    #[error("too many requests were given up")]
    ResetFlood,
    /// Too many frames on the control stream, or without a meaning.
    #[error("too many frames that ask for nothing")]
    ControlFlood,
    /// Too many DATA frames with nothing in them.
    #[error("too many empty DATA frames")]
    EmptyDataFlood,
    /// Too many DATA frames with little in them.
    #[error("too many tiny DATA frames")]
    TinyDataFlood,
    /// Too many unidirectional streams.
    #[error("too many unidirectional streams")]
    StreamFlood,
}

impl GuardError {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::FieldSection,
        Self::ControlFrame,
        Self::ResetFlood,
        Self::ControlFlood,
        Self::EmptyDataFlood,
        Self::TinyDataFlood,
        Self::StreamFlood,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FieldSection => "h3_field_section_too_large",
            Self::ControlFrame => "h3_frame_too_large",
            Self::ResetFlood => "h3_reset_flood",
            Self::ControlFlood => "h3_control_flood",
            Self::EmptyDataFlood => "h3_empty_data_flood",
            Self::TinyDataFlood => "h3_tiny_data_flood",
            Self::StreamFlood => "h3_stream_flood",
        }
    }
}

/// What is left of a connection's budgets.
#[derive(Debug)]
pub struct Guard {
    field_section: u64,
    control_frame: u64,
    resets: Budget,
    control: Budget,
    empty_data: Budget,
    tiny_data: Budget,
    streams: Budget,
    requests: u64,
}

/// How many requests make one reset free.
const REQUESTS_PER_RESET: u64 = 10;

/// DATA frames up to here are tiny.
const TINY: u64 = 64;

impl Guard {
    /// Budgets of a connection that begins at `now`.
    #[must_use]
    pub fn new(limits: &GuardLimits, now: Instant) -> Self {
        let budget = |config| Budget::new(config, now);
        Self {
            field_section: limits.field_section.get(),
            control_frame: limits.control_frame.get(),
            resets: budget(limits.resets),
            control: budget(limits.control),
            empty_data: budget(limits.empty_data),
            tiny_data: budget(limits.tiny_data),
            streams: budget(limits.streams),
            requests: 0,
        }
    }

    /// A request has come: some of what goes with one is free.
    pub const fn on_request(&mut self) {
        self.requests += 1;
        self.control.earn();
        self.empty_data.earn();
        if self.requests.is_multiple_of(REQUESTS_PER_RESET) {
            self.resets.earn();
        }
    }

    /// The client gave a request up.
    ///
    /// # Errors
    /// It was one too many.
    pub fn on_reset(&mut self, now: Instant) -> Result<(), GuardError> {
        self.resets.spend(now, GuardError::ResetFlood)
    }

    /// The client opened a unidirectional stream.
    ///
    /// # Errors
    /// It was one too many.
    pub fn on_stream(&mut self, now: Instant) -> Result<(), GuardError> {
        self.streams.spend(now, GuardError::StreamFlood)
    }

    fn on_frame(
        &mut self,
        kind: u64,
        length: u64,
        place: Place,
        now: Instant,
    ) -> Result<(), GuardError> {
        match (place, kind) {
            (Place::Request, DATA) if length == 0 => {
                self.empty_data.spend(now, GuardError::EmptyDataFlood)
            }
            (Place::Request, DATA) if length <= TINY => {
                self.tiny_data.spend(now, GuardError::TinyDataFlood)
            }
            (Place::Request, DATA) => Ok(()),
            (Place::Request, HEADERS) if length > self.field_section => {
                Err(GuardError::FieldSection)
            }
            (Place::Request, HEADERS) => Ok(()),
            _ if length > self.control_frame => Err(GuardError::ControlFrame),
            _ => self.control.spend(now, GuardError::ControlFlood),
        }
    }
}

/// RFC 9114 section 7.2.1.
const DATA: u64 = 0;

/// RFC 9114 section 7.2.2.
const HEADERS: u64 = 1;

/// Where frames stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Request,
    Control,
}

#[derive(Debug)]
struct Budget {
    /// `None` allows nothing that was not earned.
    rate: Option<Gcra>,
    credit: u32,
}

/// The most that is remembered of what was earned.
const MOST_CREDIT: u32 = 1 << 16;

impl Budget {
    fn new(config: BudgetConfig, now: Instant) -> Self {
        let quota = Quota::new(config.rate.count(), config.rate.per())
            .and_then(|quota| quota.with_burst(u64::from(config.burst)));
        Self {
            rate: quota.ok().map(|quota| Gcra::new(quota, now)),
            credit: 0,
        }
    }

    fn spend(&mut self, now: Instant, error: GuardError) -> Result<(), GuardError> {
        if let Some(credit) = self.credit.checked_sub(1) {
            self.credit = credit;
            return Ok(());
        }
        let allowed = self
            .rate
            .as_ref()
            .is_some_and(|rate| rate.check(1, now).is_allowed());
        if allowed { Ok(()) } else { Err(error) }
    }

    const fn earn(&mut self) {
        if self.credit < MOST_CREDIT {
            self.credit += 1;
        }
    }
}
