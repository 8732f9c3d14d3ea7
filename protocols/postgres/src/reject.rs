//! What clients are told when the gateway refuses or ends something: the one place that knows SQLSTATEs and words.
//!
//! The words never hold what a peer sent. Start at [`ErrorReply::of`].

use std::borrow::Cow;

use portcullis_filter::{Rejection, RejectionKind, Stop};

use crate::request::PostgresMessages;
use crate::sqlstate::SqlState;

/// An error in Postgres's words ("Error and Notice Message Fields").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// The `reason` label that counts it.
    pub reason: &'static str,
    /// The SQLSTATE.
    pub sqlstate: SqlState,
    /// The message.
    pub message: Cow<'static, str>,
    /// What could be done about it.
    pub hint: Option<Cow<'static, str>>,
}

impl ErrorReply {
    /// An error without a hint.
    #[must_use]
    pub const fn new(reason: &'static str, sqlstate: SqlState, message: &'static str) -> Self {
        Self {
            reason,
            sqlstate,
            message: Cow::Borrowed(message),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What a client is told when a filter stops it. `None`: nothing, the connection is closed.
    #[must_use]
    pub fn of(stop: Stop<PostgresMessages>) -> Option<Self> {
        match stop {
            Stop::Reply(reply) => Some(*reply),
            Stop::Reject(rejection) => Some(Self::from(&rejection)),
            Stop::Close(_) => None,
        }
    }
}

/// The `reason` labels of this crate's filters.
pub mod reason {
    /// A rule forbids it.
    pub const DENIED: &str = "denied";
    /// A rule must know what a text does, and it cannot be read.
    pub const UNPARSABLE: &str = "unparsable";
    /// A result has more rows than a rule allows.
    pub const RESULT_ROWS: &str = "result_rows";
    /// A result has more bytes than a rule allows.
    pub const RESULT_BYTES: &str = "result_bytes";
    /// An error on purpose.
    pub const FAULT: &str = "fault_abort";
    /// A statement took too long.
    pub const QUERY_TIMEOUT: &str = "query_timeout";
}

impl From<&Rejection> for ErrorReply {
    fn from(rejection: &Rejection) -> Self {
        use SqlState as State;
        let error = |state, message| Self::new(rejection.reason, state, message);
        match (rejection.reason, rejection.kind) {
            (reason::UNPARSABLE, _) => error(
                State::INSUFFICIENT_PRIVILEGE,
                "the statement was refused because it cannot be understood",
            )
            .hint("A rule of the gateway depends on what statements do; \"on_unparsable\" says what becomes of others."),
            (reason::RESULT_ROWS, _) => error(
                State::CONFIGURATION_LIMIT_EXCEEDED,
                "the result has more rows than the gateway lets through",
            )
            .hint("Ask for less, for example with LIMIT."),
            (reason::RESULT_BYTES, _) => error(
                State::CONFIGURATION_LIMIT_EXCEEDED,
                "the result is larger than the gateway lets through",
            )
            .hint("Ask for less, for example with LIMIT."),
            (_, RejectionKind::Denied) => {
                error(State::INSUFFICIENT_PRIVILEGE, "a rule of the gateway forbids this")
            }
            // 53300 is for connections; drivers and pools take it for "come back when others have left".
            (_, RejectionKind::RateLimited { retry_after, .. }) => {
                let seconds = retry_after.as_millis().div_ceil(100);
                let hint = format!("Try again in {}.{} s.", seconds / 10, seconds % 10);
                error(State::CONFIGURATION_LIMIT_EXCEEDED, "too many statements: a rate limit is exhausted").hint(hint)
            }
            (_, RejectionKind::Overloaded) => {
                error(State::CONFIGURATION_LIMIT_EXCEEDED, "too many statements at once")
            }
        }
    }
}

/// A statement took longer than the gateway allows, and was cancelled.
#[must_use]
pub fn query_timeout() -> ErrorReply {
    ErrorReply::new(
        reason::QUERY_TIMEOUT,
        SqlState::QUERY_CANCELED,
        "canceling statement due to the gateway's query timeout",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_kind_has_its_words() {
        let limited = RejectionKind::RateLimited {
            retry_after: Duration::from_millis(1_210),
            limit: 50,
            period: Duration::from_secs(1),
        };
        let rows = [
            ("denied", RejectionKind::Denied, "42501", "forbids", None),
            (
                "unparsable",
                RejectionKind::Denied,
                "42501",
                "understood",
                Some("on_unparsable"),
            ),
            (
                "rate_limited",
                limited,
                "53400",
                "rate limit",
                Some("in 1.3 s"),
            ),
            (
                "concurrency",
                RejectionKind::Overloaded,
                "53400",
                "at once",
                None,
            ),
            (
                "result_rows",
                RejectionKind::Denied,
                "53400",
                "more rows",
                Some("LIMIT"),
            ),
            (
                "result_bytes",
                RejectionKind::Denied,
                "53400",
                "larger",
                Some("LIMIT"),
            ),
        ];
        for (reason, kind, state, words, hint) in rows {
            let reply = ErrorReply::from(&Rejection { reason, kind });
            assert_eq!(reply.reason, reason);
            assert_eq!(reply.sqlstate.0, *state.as_bytes(), "{reason}");
            assert!(reply.message.contains(words), "{reason}: {}", reply.message);
            let found = reply.hint.unwrap_or_default();
            assert!(
                found.contains(hint.unwrap_or_default()),
                "{reason}: {found}"
            );
            assert_eq!(found.is_empty(), hint.is_none(), "{reason}");
        }
        assert_eq!(ErrorReply::of(Stop::Close("x")), None);
    }
}
