//! The seam between the gateway and its protocols: [`Protocol`], [`Server`], [`Machine`], [`Registry`].
//!
//! A protocol reads its part of a listener's configuration, builds a server from it in every worker, and serves
//! connections. This crate knows no protocol by name; the binary lists them. It is no plugin loader either: the
//! list is fixed when the binary is built.
//!
//! Start at [`Protocol`], and at [`ControlSide`] for what a protocol does beside its conversations; [`Registry`] is where its types are erased, once per connection.

pub mod control;
pub mod detect;
mod machine;
mod protocol;
mod registry;
mod worker;

pub use control::{
    AdminAnswer, AdminRequest, CheckFailed, CheckTarget, ControlContext, ControlSide, Probe,
    Reload, of_listeners,
};
pub use machine::Machine;
pub use portcullis_filter::ReadContext;
pub use portcullis_net::{AcceptBalance, Datagrams, Sniff, TlsOffer, TlsStart};
pub use protocol::{ClusterMistake, Protocol, Server, Transport};
pub use registry::{DynServer, ErasedConfig, LocalFuture, Registry};
pub use worker::{Clusters, ListenerContext, WorkerContext};
