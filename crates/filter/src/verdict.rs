//! What a filter answers.
//!
//! Not an error type: being stopped is an ordinary outcome. Each protocol turns a [`Rejection`] into its own
//! words in one place. Start at [`Verdict`].

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::Messages;

/// A filter's answer to one message.
pub enum Verdict<'a, M: Messages> {
    /// Go on with the next filter.
    Continue,
    /// Go no further.
    Stop(Stop<M>),
    /// Hold this message until the given time, then go on with the next filter.
    Delay(Instant),
    /// Hold this message until the future answers, then go on or stop. The only answer that allocates. The
    /// future borrows the message, so that it may be edited once the answer is there.
    Wait(Pin<Box<dyn Future<Output = Result<(), Stop<M>>> + 'a>>),
}

/// How a message was stopped.
pub enum Stop<M: Messages> {
    /// Answer with this. Boxed, so that a verdict is small: it passes through every filter of every message.
    Reply(Box<M::Response>),
    /// Refuse in the protocol's own words.
    Reject(Rejection),
    /// Close the connection without an answer. The label is the counter's reason.
    Close(&'static str),
}

impl<M: Messages> std::fmt::Debug for Stop<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reply(_) => formatter.write_str("Reply"),
            Self::Reject(rejection) => write!(formatter, "Reject({rejection:?})"),
            Self::Close(reason) => write!(formatter, "Close({reason})"),
        }
    }
}

/// A refusal, before it is put into a protocol's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The `reason` label: bounded, never from a peer.
    pub reason: &'static str,
    /// What kind of refusal it is.
    pub kind: RejectionKind,
}

/// The kinds of refusal that protocols have words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// A rule forbids it.
    Denied,
    /// A rate limit is exhausted.
    RateLimited {
        /// When the same request may pass.
        retry_after: Duration,
        /// The limit, in requests per its period.
        limit: u64,
        /// The period of the limit.
        period: Duration,
    },
    /// Too much is going on at once.
    Overloaded,
}

/// Lets a chain sleep without knowing the runtime.
pub trait Timer {
    /// Completes at or after `at`.
    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()>>>;
}
