//! `fault` for Redis: commands are aborted with an error. What is held back holds up what the client sends behind it.
//!
//! The filter is [`portcullis_filter::filters::Fault`]. Start at [`AbortConfig`].

use portcullis_config::{Diagnostics, Node, Percent};
use portcullis_filter::filters::Faults;
use portcullis_filter::filters::fault::all;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::chain::{ErrorText, RedisMessages};

/// `fault`, for Redis.
pub type Fault = portcullis_filter::filters::Fault<RedisMessages>;

/// What commands are answered with.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortConfig {
    /// The error, its prefix first: `LOADING Redis is loading the dataset in memory`.
    pub error: String,
    /// The share of commands. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

impl Faults for RedisMessages {
    type Abort = AbortConfig;
    const COUNTER: &'static str = "portcullis_redis_faults_total";

    fn share(abort: &AbortConfig) -> Percent {
        abort.percent
    }

    fn check(abort: &AbortConfig, node: &Node, diagnostics: &mut Diagnostics) {
        let word = abort.error.split(' ').next().unwrap_or_default();
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_uppercase()) {
            diagnostics
                .error_at(node, "an error begins with a word in capital letters")
                .expected("such as `ERR made on purpose`");
        }
    }

    fn reply(abort: &AbortConfig) -> ErrorText {
        ErrorText(abort.error.clone())
    }
}
