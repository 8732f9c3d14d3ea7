//! The filter chain: filters, verdicts, facts, and the filters that every protocol shares.
//!
//! A filter is one synchronous step that sees every message of one protocol and answers with a [`Verdict`]. It
//! does no input or output of its own: waiting is an answer, carried out by the session. What a protocol's
//! messages are is not known here; see [`Messages`].
//!
//! Start at [`Filter`], then [`FilterChain`] for the order in which they run, [`FilterRegistry`] for how a
//! configuration becomes a chain, and [`facts`] for the words that limits and rules are written in.

mod chain;
mod context;
pub mod facts;
pub mod filters;
pub mod log;
mod read;
mod registry;
mod san;
mod shared;
mod tls;
mod verdict;

pub use chain::FilterChain;
pub use context::{Connection, Context, Random};
pub use facts::{Fact, FactError, Facts};
pub use read::{ReadContext, Targets};
pub use registry::{ConfiguredFilter, FilterContext, FilterKind, FilterList, FilterRegistry};
pub use san::{SanPattern, SanPatternError};
pub use shared::SharedStore;
pub use tls::{AlternativeName, ClientCertificate, Fingerprint, TlsInfo};
pub use verdict::{Rejection, RejectionKind, Stop, Timer, Verdict};

/// The message types of one protocol, as its filters see them.
pub trait Messages: 'static {
    /// What a peer asks: an HTTP head, a Redis command, a TCP connection.
    type Request;
    /// What is answered.
    type Response;
    /// A piece of a body or of a stream.
    type Data;
    /// What is known when the request is over: times, bytes, status. Access logs are written from it.
    type Record;
}

/// One step of a chain. All hooks default to letting the message pass.
pub trait Filter<M: Messages> {
    /// The name in the configuration: the `filter` label of its counters.
    fn name(&self) -> &'static str;

    /// Which hooks this filter uses; the others are never called.
    fn interest(&self) -> Interest;

    /// A request has arrived and its route is known.
    fn on_request<'a>(
        &'a self,
        _request: &'a mut M::Request,
        _cx: &'a mut Context,
    ) -> Verdict<'a, M> {
        Verdict::Continue
    }

    /// A piece of the request's body is on its way upstream. `last` marks the end; the piece may be empty then.
    fn on_request_data<'a>(
        &'a self,
        _data: &'a mut M::Data,
        _last: bool,
        _cx: &'a mut Context,
    ) -> Verdict<'a, M> {
        Verdict::Continue
    }

    /// A response is on its way downstream, from upstream or made here.
    fn on_response<'a>(
        &'a self,
        _response: &'a mut M::Response,
        _cx: &'a mut Context,
    ) -> Verdict<'a, M> {
        Verdict::Continue
    }

    /// A piece of the response's body is on its way downstream.
    fn on_response_data<'a>(
        &'a self,
        _data: &'a mut M::Data,
        _last: bool,
        _cx: &'a mut Context,
    ) -> Verdict<'a, M> {
        Verdict::Continue
    }

    /// The request is over, however it ended. Called once for each request that this filter saw.
    fn on_complete(&self, _record: &M::Record, _cx: &Context) {}
}

/// Which hooks a filter, or a whole chain, uses. A session forwards bodies unopened when nobody asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest(u8);

impl Interest {
    /// No hook.
    pub const NONE: Self = Self(0);
    /// [`Filter::on_request`].
    pub const REQUEST: Self = Self(1);
    /// [`Filter::on_request_data`].
    pub const REQUEST_DATA: Self = Self(2);
    /// [`Filter::on_response`].
    pub const RESPONSE: Self = Self(4);
    /// [`Filter::on_response_data`].
    pub const RESPONSE_DATA: Self = Self(8);
    /// [`Filter::on_complete`].
    pub const COMPLETE: Self = Self(16);
    /// [`Filter::on_complete`] also for what was refused before any filter could see it.
    pub const REFUSED: Self = Self(32);

    /// Both this and `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every hook of `other` is in this.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
