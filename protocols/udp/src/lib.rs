//! UDP: flows, filters and session.
//!
//! Datagrams have no frames to decode: the codec of this protocol is nothing, and its machine are the flows. Start at
//! [`machine`] for what a flow is, at `session` for how datagrams pass.

pub mod config;
pub mod filters;
pub mod machine;
pub mod message;
#[cfg(feature = "session")]
pub mod session;

pub use config::UdpConfig;
