//! When a request is sent again: the policy of a route. Whether it is *safe* is the exchange's to know.
//!
//! Not the budget, which bounds all retries to a cluster: that is `portcullis-limit`'s. Start at [`Retry`].

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::{Duration, Instant};

use portcullis_limit::RetryBudget;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::grpc::GrpcStatus;
use crate::head::{ResponseHead, Status};

/// When a request is sent again, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How many times at most, the first time not counted.
    pub attempts: u32,
    /// The longest wait for a response's head in one attempt; `None` is the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// The pause before the first repetition; it doubles with each further one, up to ten times itself.
    pub backoff: Duration,
    on: u8,
    statuses: Statuses,
    /// A bit for each gRPC status.
    calls: u32,
}

/// What a request is sent again for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection could be made: nothing was sent.
    ConnectFailure,
    /// The connection broke before a byte of the response.
    Reset,
    /// No response's head in time.
    Timeout,
}

impl RetryOn {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Default for Retry {
    /// Another endpoint is tried where a connection could not be made: nothing was sent, so nothing can happen twice.
    fn default() -> Self {
        Self::new(2, [RetryCause::Event(RetryOn::ConnectFailure)])
    }
}

impl Retry {
    /// At most `attempts` repetitions for these causes.
    #[must_use]
    pub fn new(attempts: u32, causes: impl IntoIterator<Item = RetryCause>) -> Self {
        let mut retry = Self {
            attempts,
            per_try_timeout: None,
            backoff: Duration::ZERO,
            on: 0,
            statuses: Statuses::default(),
            calls: 0,
        };
        for cause in causes {
            match cause {
                RetryCause::Event(event) => retry.on |= event.bit(),
                RetryCause::Statuses(first, last) => retry.statuses.insert(first, last),
                RetryCause::Call(status) => retry.calls |= 1 << status.code(),
            }
        }
        retry
    }

    /// Whether this is a cause to send again.
    #[must_use]
    pub const fn covers(&self, event: RetryOn) -> bool {
        self.on & event.bit() != 0
    }

    /// Whether a response with this status is a cause to send again.
    #[must_use]
    pub fn covers_status(&self, status: Status) -> bool {
        self.statuses.contains(status.code())
    }

    /// Whether any gRPC status is a cause to send again.
    #[must_use]
    pub const fn covers_calls(&self) -> bool {
        self.calls != 0
    }

    /// Whether a gRPC call that ended with this head, before any message, is a cause to send it again. Whoever lists a
    /// status says that calls which end so may be made twice, POST or not.
    #[must_use]
    pub fn covers_call(&self, head: &ResponseHead) -> bool {
        self.covers_calls()
            && head.status == Status::OK
            && GrpcStatus::of(&head.fields)
                .is_some_and(|status| self.calls & 1 << status.code() != 0)
    }

    /// The pause before repetition number `repetition` (from 1), half of it by chance so that clients of one outage do
    /// not come back together.
    #[must_use]
    pub fn pause(&self, repetition: u32, random: u64) -> Duration {
        let factor = 1_u32 << repetition.saturating_sub(1).min(4);
        let whole = self.backoff * factor.min(10);
        let half = whole / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(((u128::from(random) * u128::from(nanos)) >> 64) as u64)
    }
}

/// A set of status codes from 100 to 599.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Statuses([u64; 8]);

impl Statuses {
    fn insert(&mut self, first: u16, last: u16) {
        for code in first..=last {
            if let Some((word, bit)) = Self::place(code)
                && let Some(word) = self.0.get_mut(word)
            {
                *word |= bit;
            }
        }
    }

    fn contains(&self, code: u16) -> bool {
        Self::place(code)
            .is_some_and(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }

    fn place(code: u16) -> Option<(usize, u64)> {
        let index = code.checked_sub(100)?;
        Some((usize::from(index / 64), 1 << (index % 64)))
    }
}

/// One word of a retry list: `connect_failure`, `reset`, `timeout`, `gateway_error` (502, 503, 504), `5xx`, or a
/// status such as `503`; for gRPC `cancelled`, `deadline_exceeded`, `internal`, `resource_exhausted`, `unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCause {
    /// Something that happened instead of a response.
    Event(RetryOn),
    /// A status from the first to the last, both included.
    Statuses(u16, u16),
    /// A gRPC status in a response without messages.
    Call(GrpcStatus),
}

const WORDS: &[(&str, RetryCause)] = &[
    (
        "connect_failure",
        RetryCause::Event(RetryOn::ConnectFailure),
    ),
    ("reset", RetryCause::Event(RetryOn::Reset)),
    ("timeout", RetryCause::Event(RetryOn::Timeout)),
    ("gateway_error", RetryCause::Statuses(502, 504)),
    ("4xx", RetryCause::Statuses(400, 499)),
    ("5xx", RetryCause::Statuses(500, 599)),
    ("cancelled", RetryCause::Call(GrpcStatus::Cancelled)),
    (
        "deadline_exceeded",
        RetryCause::Call(GrpcStatus::DeadlineExceeded),
    ),
    ("internal", RetryCause::Call(GrpcStatus::Internal)),
    (
        "resource_exhausted",
        RetryCause::Call(GrpcStatus::ResourceExhausted),
    ),
    ("unavailable", RetryCause::Call(GrpcStatus::Unavailable)),
];

impl<'de> Deserialize<'de> for RetryCause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = deserializer.deserialize_any(CauseVisitor)?;
        if let Some((_, cause)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*cause);
        }
        if let Ok(code @ 400..=599) = text.parse::<u16>() {
            return Ok(Self::Statuses(code, code));
        }
        let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        Err(D::Error::custom(format!(
            "'{text}' is no cause for a retry, expected {}, or a status from 400 to 599",
            words.join(", ")
        )))
    }
}

struct CauseVisitor;

impl serde::de::Visitor<'_> for CauseVisitor {
    type Value = String;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a cause for a retry such as connect_failure or 503")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E>(self, code: u64) -> Result<String, E> {
        Ok(code.to_string())
    }

    fn visit_i64<E>(self, code: i64) -> Result<String, E> {
        Ok(code.to_string())
    }
}

impl JsonSchema for RetryCause {
    fn schema_name() -> Cow<'static, str> {
        "RetryCause".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({
            "anyOf": [
                { "enum": words },
                { "type": "integer", "minimum": 400, "maximum": 599 },
                { "type": "string", "pattern": "^[45][0-9][0-9]$" }
            ]
        })
    }
}

/// The retry budget of one cluster on one worker: it begins to count with its first request.
#[derive(Debug)]
pub struct Budget {
    percent: u32,
    min_per_second: u32,
    counts: OnceCell<RetryBudget>,
}

impl Budget {
    /// Retries for `percent` of requests, and `min_per_second` in any case.
    #[must_use]
    pub const fn new(percent: u32, min_per_second: u32) -> Self {
        Self {
            percent,
            min_per_second,
            counts: OnceCell::new(),
        }
    }

    /// A request, of which retries may follow.
    pub fn on_request(&self, now: Instant) {
        self.counts(now).on_request(now);
    }

    /// Whether one retry is left; it is then taken.
    pub fn try_retry(&self, now: Instant) -> bool {
        self.counts(now).try_retry(now)
    }

    fn counts(&self, now: Instant) -> &RetryBudget {
        self.counts
            .get_or_init(|| RetryBudget::new(self.percent, self.min_per_second, now))
    }
}
