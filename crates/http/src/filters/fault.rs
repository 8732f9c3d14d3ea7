//! `fault` for HTTP: requests are aborted with a status.
//!
//! The filter is [`portcullis_filter::filters::Fault`]. Start at [`AbortConfig`].

use portcullis_config::{Diagnostics, Located, Node, Percent};
use portcullis_filter::filters::Faults;
use portcullis_filter::filters::fault::all;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::head::Status;
use crate::local_reply;
use crate::message::{Http, Response};

/// `fault`, for HTTP.
pub type Fault = portcullis_filter::filters::Fault<Http>;

/// What requests are answered with.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortConfig {
    /// The status, 400 to 599.
    pub status: Located<u16>,
    /// The share of requests. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

impl Faults for Http {
    type Abort = AbortConfig;
    const COUNTER: &'static str = "portcullis_http_faults_total";

    fn share(abort: &AbortConfig) -> Percent {
        abort.percent
    }

    fn check(abort: &AbortConfig, _: &Node, diagnostics: &mut Diagnostics) {
        if !(400..=599).contains(&abort.status.value) {
            diagnostics
                .error(
                    abort.status.span,
                    format!("{} is not an error", abort.status.value),
                )
                .expected("a status from 400 to 599");
        }
    }

    fn reply(abort: &AbortConfig) -> Response {
        let status = Status::from_code(abort.status.value);
        local_reply::bare(status.unwrap_or(Status::SERVICE_UNAVAILABLE), "fault_abort")
    }
}
