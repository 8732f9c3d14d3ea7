//! Bounds on sizes and counts.

use portcullis_config::{ByteSize, Diagnostics, Node, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds on what one request may be. What exceeds them is answered and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's head; past it 431. Default 32KiB: browsers with many cookies send up to 16KiB, and common
    /// origins refuse more than that.
    head: ByteSize,
    /// Bytes of a request's target; past it 414. Default 8KiB: RFC 9112 section 3 asks for at least 8000.
    uri: ByteSize,
    /// Fields of a request; past it 431. Default 100: real requests have fewer than 40, and each costs work in every
    /// filter.
    fields: u32,
    /// Bytes of a request's body; past it 413. Default 1GiB: bodies stream and cost no memory here, but what one request
    /// may cost an upstream should have an end. Routes and filters may say less.
    body: ByteSize,
    /// Bytes of further requests that are read while one is being served. Default 64KiB: enough for any real pipeline;
    /// beyond it the connection is not read from.
    pipelined_requests: ByteSize,
    /// Interim responses (1xx) from upstream for one request; past it 502. Default 16: real ones are one or two.
    interim_responses: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: ByteSize::kib(32),
            uri: ByteSize::kib(8),
            fields: 100,
            body: ByteSize::mib(1024),
            pipelined_requests: ByteSize::kib(64),
            interim_responses: 16,
        }
    }
}

impl Limits {
    /// Reports limits that no request is within. `written` is the block that they were read from.
    pub(super) fn check(&self, written: Option<&Node>, diagnostics: &mut Diagnostics) {
        let rows = [
            ("head", self.head.get()),
            ("uri", self.uri.get()),
            ("fields", u64::from(self.fields)),
        ];
        for (key, _) in rows.into_iter().filter(|(_, limit)| *limit == 0) {
            let node = written.and_then(|block| block.get(key));
            let span = node.map_or(Span::NONE, |node| node.span);
            diagnostics
                .error(span, "a limit of 0 refuses everything")
                .expected("at least 1");
        }
    }

    /// Bytes of a request's head.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.head.as_usize()
    }

    /// Bytes of a request's target.
    #[must_use]
    pub fn uri_bytes(&self) -> usize {
        self.uri.as_usize()
    }

    /// Fields of a request.
    #[must_use]
    pub const fn fields(&self) -> usize {
        self.fields as usize
    }

    /// Bytes of a request's body.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body.get()
    }

    /// Bytes read ahead of the request being served.
    #[must_use]
    pub fn pipelined_bytes(&self) -> usize {
        self.pipelined_requests.as_usize()
    }

    /// Interim responses for one request.
    #[must_use]
    pub const fn interim_responses(&self) -> u32 {
        self.interim_responses
    }
}
