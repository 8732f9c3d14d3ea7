//! `buffer`: the whole request body is collected before the request goes upstream.
//!
//! For upstreams that cannot take a slow body, and so that a request with a body can be retried. The exchange
//! does the collecting. Start at [`BufferConfig`].

use portcullis_config::{BuildError, ByteSize};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Stop, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::head::Status;
use crate::local_reply;
use crate::message::{Http, Request};

/// Settings of `buffer`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BufferConfig {
    /// The longest body that is collected; a longer one is answered 413. It is held in memory for each request, hence no
    /// default.
    pub max: ByteSize,
}

/// The filter.
pub struct Buffer {
    max: u64,
}

impl FilterKind<Http> for Buffer {
    const NAME: &'static str = "buffer";
    type Config = BufferConfig;

    fn build(
        config: &BufferConfig,
        _: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        Ok(Box::new(Self {
            max: config.max.get(),
        }))
    }
}

impl Filter<Http> for Buffer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(&'a self, request: &'a mut Request, _: &'a mut Context) -> Verdict<'a, Http> {
        if request.framing_exceeds(self.max) {
            let reply = local_reply::bare(Status::CONTENT_TOO_LARGE, "body_too_large");
            return Verdict::Stop(Stop::Reply(Box::new(reply)));
        }
        // Two of them: the tighter one holds.
        let max = request
            .collect_body
            .map_or(self.max, |other| other.min(self.max));
        request.collect_body = Some(max);
        Verdict::Continue
    }
}
