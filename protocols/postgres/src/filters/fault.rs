//! `fault` for Postgres: requests are aborted with a SQLSTATE.
//!
//! The filter is [`portcullis_filter::filters::Fault`]. Start at [`AbortConfig`].

use std::borrow::Cow;

use portcullis_config::Percent;
use portcullis_filter::filters::Faults;
use portcullis_filter::filters::fault::all;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::reject::{ErrorReply, reason};
use crate::request::PostgresMessages;
use crate::sqlstate::SqlState;

/// `fault`, for Postgres.
pub type Fault = portcullis_filter::filters::Fault<PostgresMessages>;

/// What requests are answered with.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortConfig {
    /// The SQLSTATE of an error, such as `40001` (serialization failure) or `57P01` (the server shuts down).
    pub sqlstate: SqlStateText,
    /// The share of requests. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

impl Faults for PostgresMessages {
    type Abort = AbortConfig;
    const COUNTER: &'static str = "portcullis_postgres_faults_total";

    fn share(abort: &AbortConfig) -> Percent {
        abort.percent
    }

    fn reply(abort: &AbortConfig) -> ErrorReply {
        let message = "an error of the gateway, made on purpose";
        ErrorReply::new(reason::FAULT, abort.sqlstate.0, message)
    }
}

/// A SQLSTATE of an error as it is written: five digits and capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlStateText(pub SqlState);

impl<'de> Deserialize<'de> for SqlStateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Classes 00 to 02 are successes and warnings (appendix A of the documentation).
        let is_error = !matches!(text.get(..2), Some("00" | "01" | "02"));
        let is_code = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        let state = SqlState::new(text.as_bytes());
        state
            .filter(|_| is_error && text.bytes().all(is_code))
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("no SQLSTATE of an error: expected five digits and capital letters, such as \"40001\""))
    }
}

impl JsonSchema for SqlStateText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SqlState".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9A-Z]{5}$",
            "description": "The SQLSTATE of an error",
            "examples": ["40001", "57P01"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chain, context, passes, problems, request};

    #[test]
    fn requests_are_aborted_or_held() {
        let mut cx = context("192.0.2.1");
        let abort = chain("[{fault: {abort: {sqlstate: \"40001\"}, delay: {time: 1s}}}]");
        let error = passes(&abort, &mut request("select 1"), &mut cx).unwrap_err();
        assert_eq!(error, "fault_abort 40001");
        let never = chain("[{fault: {abort: {sqlstate: 57P01, percent: 0%}}}]");
        assert_eq!(passes(&never, &mut request("select 1"), &mut cx), Ok(()));
    }

    #[test]
    fn what_is_no_error_is_a_mistake() {
        for (yaml, message) in [
            ("[fault]", "does nothing"),
            ("[{fault: {abort: {sqlstate: \"00000\"}}}]", "no SQLSTATE"),
            ("[{fault: {abort: {sqlstate: \"4000\"}}}]", "no SQLSTATE"),
            ("[{fault: {abort: {sqlstate: 57p01}}}]", "no SQLSTATE"),
        ] {
            assert!(
                problems(yaml).contains(message),
                "{yaml}: {}",
                problems(yaml)
            );
        }
    }
}
