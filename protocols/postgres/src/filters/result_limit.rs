//! `result_limit`: how much one request may bring back.
//!
//! What is already on its way is not taken back: the piece that goes beyond the limit is not sent, and the request ends with
//! an error. Start at [`ResultLimitConfig`].

use portcullis_config::{BuildError, ByteSize, Diagnostics, Located, Node};
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Rejection, RejectionKind, Stop, Verdict,
};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::reject::reason;
use crate::request::{PostgresMessages, ResultPiece};

/// Settings of `result_limit`: rows, bytes, or both.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResultLimitConfig {
    /// Rows of all results of a request. Default: any number.
    pub rows: Option<Located<u64>>,
    /// Bytes of all results of a request, as they are on the wire. Default: any number.
    pub bytes: Option<Located<ByteSize>>,
}

/// The filter.
pub struct ResultLimit {
    rows: u64,
    bytes: u64,
    stopped: Counter,
}

impl FilterKind<PostgresMessages> for ResultLimit {
    const NAME: &'static str = "result_limit";
    type Config = ResultLimitConfig;

    fn check(config: &ResultLimitConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.rows.is_none() && config.bytes.is_none() {
            diagnostics
                .error_at(node, "the limit limits nothing")
                .expected("rows, bytes, or both");
        }
        // No rows are a limit (a user who may only write); no bytes are none: the end of a result has some.
        if let Some(bytes) = &config.bytes
            && bytes.value < ByteSize::kib(1)
        {
            diagnostics
                .error(bytes.span, "not even the names of columns would fit")
                .expected("at least 1KiB");
        }
    }

    fn build(
        config: &ResultLimitConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<PostgresMessages>>, BuildError> {
        Ok(Box::new(Self {
            rows: config.rows.as_deref().copied().unwrap_or(u64::MAX),
            bytes: config.bytes.as_ref().map_or(u64::MAX, |bytes| bytes.get()),
            stopped: cx.stats.counter(
                "portcullis_postgres_result_limit_total",
                "Results that were cut off by a limit.",
                &[("filter", cx.path)],
            ),
        }))
    }
}

impl Filter<PostgresMessages> for ResultLimit {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::RESPONSE_DATA
    }

    fn on_response_data<'a>(
        &'a self,
        piece: &'a mut ResultPiece,
        _: bool,
        _: &'a mut Context,
    ) -> Verdict<'a, PostgresMessages> {
        let reason = if piece.total_rows > self.rows {
            reason::RESULT_ROWS
        } else if piece.total_bytes > self.bytes {
            reason::RESULT_BYTES
        } else {
            return Verdict::Continue;
        };
        self.stopped.inc();
        Verdict::Stop(Stop::Reject(Rejection {
            reason,
            kind: RejectionKind::Denied,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chain, context, passes, problems, request};
    use super::*;

    #[test]
    fn results_are_cut_at_the_bound_and_not_before() {
        let chain = chain("[{result_limit: {rows: 10, bytes: 1KiB}}]");
        let mut cx = context("192.0.2.1");
        assert_eq!(passes(&chain, &mut request("select 1"), &mut cx), Ok(()));
        let rows = [
            ("at both bounds", 10, 1024, None),
            ("a row too many", 11, 1024, Some("result_rows")),
            ("a byte too many", 10, 1025, Some("result_bytes")),
        ];
        for (row, total_rows, total_bytes, reason) in rows {
            let mut piece = ResultPiece {
                total_rows,
                total_bytes,
                ..ResultPiece::default()
            };
            let found = match chain.hold_response_data(&mut piece, false, &mut cx) {
                Ok(None) => None,
                Err(Stop::Reject(rejection)) => Some(rejection.reason),
                other => panic!("{row}: {other:?}"),
            };
            assert_eq!(found, reason, "{row}");
        }
    }

    #[test]
    fn limits_of_nothing_are_mistakes() {
        assert!(problems("[result_limit]").contains("limits nothing"));
        assert!(problems("[{result_limit: {bytes: 10B}}]").contains("would fit"));
    }
}
