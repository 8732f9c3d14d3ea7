//! `headers`: sets, adds and removes fields of requests and responses.
//!
//! The same edits as a route's `request_headers` and `response_headers`, but in the order of the chain, so that
//! later filters see them. Start at [`HeadersConfig`].

use portcullis_config::{BuildError, Diagnostics, Node};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::edit::EditConfig;
use crate::message::{Http, Request, Response};

/// Settings of `headers`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeadersConfig {
    /// Edits of requests.
    pub request: EditConfig,
    /// Edits of responses, also of the gateway's own.
    pub response: EditConfig,
}

/// The filter.
pub struct Headers(HeadersConfig);

impl FilterKind<Http> for Headers {
    const NAME: &'static str = "headers";
    type Config = HeadersConfig;

    fn check(config: &HeadersConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.request.is_empty() && config.response.is_empty() {
            diagnostics
                .error_at(node, "nothing is edited")
                .expected("request, response, or both, with remove, set or add");
        }
    }

    fn build(
        config: &HeadersConfig,
        _: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        Ok(Box::new(Self(config.clone())))
    }
}

impl Filter<Http> for Headers {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        let request = if self.0.request.is_empty() {
            Interest::NONE
        } else {
            Interest::REQUEST
        };
        if self.0.response.is_empty() {
            request
        } else {
            request.and(Interest::RESPONSE)
        }
    }

    fn on_request<'a>(&'a self, request: &'a mut Request, _: &'a mut Context) -> Verdict<'a, Http> {
        self.0.request.apply(&mut request.head.fields);
        Verdict::Continue
    }

    fn on_response<'a>(
        &'a self,
        response: &'a mut Response,
        _: &'a mut Context,
    ) -> Verdict<'a, Http> {
        self.0.response.apply(&mut response.head.fields);
        Verdict::Continue
    }
}
