//! `query_timeout`: how long a request may take before it is cancelled.
//!
//! The filter only says when; the session cancels, on the server too. Start at [`QueryTimeout::of`].

use std::time::Duration as Span;

use portcullis_config::{BuildError, Duration};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::request::{PostgresMessages, StatementRequest};

/// Settings of `query_timeout`: a time such as `5s`. It runs from when the request has arrived, so that waiting for a server
/// connection counts, or from when what the client sent before it is done. Of several, and of `timeouts.query`, the shortest holds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct QueryTimeoutConfig(pub Duration);

/// How long the request that was asked about last may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryTimeout(Option<Span>);

impl QueryTimeout {
    /// Takes what the filters of a chain have said about a request, so that it says nothing of the next.
    #[must_use]
    pub fn take(cx: &mut Context) -> Option<Span> {
        cx.held_mut::<Self>()?.0.take()
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
        match cx.held_mut::<QueryTimeout>() {
            Some(QueryTimeout(held)) => *held = Some(held.map_or(self.0, |held| held.min(self.0))),
            None => cx.hold(QueryTimeout(Some(self.0))),
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
        assert_eq!(QueryTimeout::take(&mut cx), None);
        assert_eq!(passes(&chain, &mut request("select 1"), &mut cx), Ok(()));
        assert_eq!(QueryTimeout::take(&mut cx), Some(Span::from_secs(2)));
        assert_eq!(QueryTimeout::take(&mut cx), None, "gone with the request");
    }
}
