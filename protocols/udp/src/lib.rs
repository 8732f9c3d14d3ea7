//! UDP: flows, filters and session.
//!
//! Datagrams have no frames to decode: the codec of this protocol is nothing, and its machine are the flows. Start at
//! [`machine`] for what a flow is, at `session` for how datagrams pass.

pub mod machine;
