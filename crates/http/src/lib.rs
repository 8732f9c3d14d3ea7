//! HTTP meaning shared by every HTTP version: heads, framing, filters, routes, and the exchange.
//!
//! One conversation, three wire formats: what a request means, how long its body is, which route it takes and
//! what filters see is decided here, once. No wire format, no socket and no clock is here: `http1` (and later
//! versions) plug in through [`stream::DownstreamStream`] and [`stream::UpstreamStream`].
//!
//! Start at [`head`] for the data, [`framing`] for the most security-critical decision, [`stream`] for the seam.

pub mod config;
pub mod edit;
pub mod exchange;
mod facts;
pub mod fields;
pub mod filters;
pub mod forward;
pub mod framing;
pub mod grpc;
pub mod head;
pub mod local_reply;
pub mod message;
pub mod name;
pub mod normalize;
pub mod pace;
mod query;
pub mod route;
pub mod service;
pub mod slate;
pub mod stats;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod types;
pub mod upstream_stats;

pub use config::HttpConfig;
pub use fields::{Field, Fields, Name, Run};
pub use framing::{Framing, FramingError};
pub use head::{Method, RequestHead, ResponseHead, Scheme, Status, Target, TargetForm, Version};
pub use message::{Http, LocalStream, Record, Request, Response, ResponseBody};
pub use name::KnownField;
