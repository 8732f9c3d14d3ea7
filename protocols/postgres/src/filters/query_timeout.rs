//! `query_timeout`: how long a request may take before it is cancelled.
//!
//! The filter only says when; the session cancels, on the server too. Start at [`QueryTimeout::of`].

use std::time::{Duration as Span, Instant};

use portcullis_config::{BuildError, Duration};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::request::{PostgresMessages, StatementRequest};

/// Settings of `query_timeout`: a time such as `5s`. It runs from when the request has arrived, so that waiting for a server
/// connection counts. Of several, and of `timeouts.query`, the shortest holds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct QueryTimeoutConfig(pub Duration);

/// When a request is to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryTimeout(pub Instant);

impl QueryTimeout {
    /// What the filters of a chain have said about a request.
    #[must_use]
    pub fn of(cx: &Context) -> Option<Instant> {
        cx.held::<Self>().map(|timeout| timeout.0)
    }
}

/// The filter.
pub struct QueryTimeoutFilter(Span);

impl FilterKind<PostgresMessages> for QueryTimeoutFilter {
    const NAME: &'static str = "query_timeout";
    type Config = QueryTimeoutConfig;

    fn build(
        config: &QueryTimeoutConfig,
        _: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<PostgresMessages>>, BuildError> {
        Ok(Box::new(Self(config.0.get())))
    }
}

impl Filter<PostgresMessages> for QueryTimeoutFilter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        _: &'a mut StatementRequest,
        cx: &'a mut Context,
    ) -> Verdict<'a, PostgresMessages> {
        let Some(due) = cx.now.checked_add(self.0) else {
            return Verdict::Continue;
        };
        match cx.held_mut::<QueryTimeout>() {
            Some(held) => held.0 = held.0.min(due),
            None => cx.hold(QueryTimeout(due)),
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chain, context, passes, request};
    use super::*;

    #[test]
    fn the_shortest_holds() {
        let chain = chain("[{query_timeout: 5s}, {query_timeout: 2s}, {query_timeout: 9s}]");
        let mut cx = context("192.0.2.1");
        assert_eq!(QueryTimeout::of(&cx), None);
        assert_eq!(passes(&chain, &mut request("select 1"), &mut cx), Ok(()));
        assert_eq!(QueryTimeout::of(&cx), Some(cx.now + Span::from_secs(2)));
        let now = cx.now;
        cx.reset(now);
        assert_eq!(QueryTimeout::of(&cx), None, "gone with the request");
    }
}
