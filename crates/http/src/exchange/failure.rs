//! Why an attempt brought no response, whether another may be made, and what to answer if not.
//!
//! A request is sent again only where that is safe: nothing of it can have been acted upon, or its method is
//! idempotent, and its body is still whole. Not the attempt itself. Start at [`Exchange::may_retry`].

use portcullis_cluster::{EndpointId, Outcome};
use smallvec::SmallVec;

use super::request::ForwardTarget;
use super::{Exchange, Halt, ResponseState};
use crate::framing::Framing;
use crate::head::{ResponseHead, Status};
use crate::route::{RetryOn, Route};
use crate::stream::{BoxedUpstream, ConnectFailure, StreamError};

/// An attempt that brought no response that can be passed on.
pub(super) enum Failed {
    /// Nothing was sent: no endpoint, or a limit of the cluster.
    Unavailable(&'static str),
    /// Every endpoint that may be picked was tried.
    Exhausted,
    /// No stream to the endpoint.
    Connect(ConnectFailure),
    /// The stream broke before a final head.
    Broken {
        error: StreamError,
        /// The connection had been idle, and not a byte came back: it was closed while idle.
        stale: bool,
        sent: bool,
        /// Some of an answer came first, if only a byte: the request was seen.
        received: bool,
    },
    /// The endpoint answered with a status that the route retries.
    Status(Box<(ResponseHead, Framing, BoxedUpstream)>),
    /// No head in time.
    TimedOut,
    /// The end of the exchange, whatever the upstream does.
    Halted(Halt),
}

/// What is kept between the attempts of one request.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) tried: SmallVec<[EndpointId; 4]>,
    /// Attempts so far, those on connections that were closed while idle not counted.
    pub(super) made: u32,
    /// The last failure may pass on the same endpoint: it is tried again if there is no other.
    pub(super) again: bool,
    /// A connection was found closed while it was idle: the next one is new. That is done once for a request, without asking the
    /// retry policy, and counts as a retry like any other.
    pub(super) fresh: bool,
    unprocessed: u32,
}

/// Requests that an upstream gave back unseen and that are sent again without asking the retry policy. Enough for an
/// upstream that restarts; one that refuses everything costs no more than so many times the load, and the budget
/// bounds that too.
const UNPROCESSED_ATTEMPTS: u32 = 2;

impl Exchange<'_> {
    /// Whether to try again. Counts against the budget.
    #[cold]
    pub(super) fn may_retry(
        &mut self,
        route: &Route,
        target: &ForwardTarget,
        failed: &Failed,
        attempts: &mut Attempts,
    ) -> bool {
        if !self.is_body_whole()
            || self.response != ResponseState::Waiting
            || self.is_past_deadline()
        {
            return false;
        }
        if let Some(head) = &mut *self.answer {
            head.clear();
        }
        let idempotent = self.record.request.head.method.is_idempotent();
        let wanted = match failed {
            Failed::Connect(failure) => {
                !failure.is_local() && route.retry.covers(RetryOn::ConnectFailure)
            }
            Failed::Broken {
                error: StreamError::Unprocessed,
                ..
            } => {
                attempts.again = true;
                attempts.unprocessed += 1;
                return attempts.unprocessed <= UNPROCESSED_ATTEMPTS
                    && target.budget.try_retry(self.downstream.now());
            }
            Failed::Broken {
                stale: true, sent, ..
            } if idempotent || !sent => {
                // Not the endpoint's fault: it may be tried again.
                attempts.tried.pop();
                attempts.made = attempts.made.saturating_sub(1);
                let again = !attempts.fresh && target.budget.try_retry(self.downstream.now());
                attempts.fresh = true;
                if again {
                    self.service.stats.retries.inc();
                }
                return again;
            }
            Failed::Broken { sent, received, .. } => {
                route.retry.covers(RetryOn::Reset) && !received && (idempotent || !sent)
            }
            Failed::Status(answer) => idempotent || route.retry.covers_call(&answer.0),
            Failed::TimedOut => route.retry.covers(RetryOn::Timeout) && idempotent,
            Failed::Unavailable(_) | Failed::Exhausted | Failed::Halted(_) => false,
        };
        attempts.again = !matches!(failed, Failed::Connect(_));
        wanted
            && attempts.made <= route.retry.attempts
            && target.budget.try_retry(self.downstream.now())
    }

    /// The answer to a request that found no upstream.
    pub(super) fn halt_of(&mut self, failed: Failed) -> Halt {
        if let Failed::Broken { error, .. } = failed {
            self.blame(error);
        }
        match failed {
            Failed::Halted(halt) => halt,
            Failed::Unavailable(reason) => self.reply(Status::SERVICE_UNAVAILABLE, reason),
            Failed::Exhausted => self.reply(Status::SERVICE_UNAVAILABLE, "all_tried"),
            Failed::Connect(failure) => self.reply(Status::SERVICE_UNAVAILABLE, failure.label()),
            Failed::Broken { error, .. } => self.reply(
                Status::BAD_GATEWAY,
                match error {
                    StreamError::Closed => "upstream_closed",
                    StreamError::Reset => "upstream_reset",
                    StreamError::Io => "upstream_io",
                    StreamError::Unprocessed => "upstream_unprocessed",
                    StreamError::Protocol { label, .. } => label,
                },
            ),
            Failed::TimedOut => self.reply(Status::GATEWAY_TIMEOUT, "upstream_timeout"),
            Failed::Status(answer) => self.reply(answer.0.status, "upstream_status"),
        }
    }
}

impl Failed {
    /// What the balancer and the ejection count hear.
    #[cold]
    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(failure) if failure.is_local() => Outcome::Neutral,
            Self::Connect(failure) => Outcome::Failure(failure.label()),
            // An endpoint that gives requests back is full or restarting, and says so: that is no failure.
            Self::Broken { stale: true, .. }
            | Self::Broken {
                error: StreamError::Unprocessed,
                ..
            }
            | Self::Halted(_)
            | Self::Exhausted
            | Self::Unavailable(_) => Outcome::Neutral,
            Self::Broken { error, .. } => Outcome::Failure(error.label()),
            Self::TimedOut => Outcome::Failure("timeout"),
            Self::Status(..) => Outcome::Failure("status"),
        }
    }
}
