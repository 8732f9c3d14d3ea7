//! UDP over real sockets: datagrams in batches, a socket for each flow, and the flows' ends.
//!
//! One task for each worker has the listener's socket and all flows (`hub`); each flow has a task that waits for its
//! endpoint (`flow`). Which flow a datagram belongs to is [`crate::machine`]'s to say, where a new one goes the cluster's,
//! or that of a [`Guide`] who reads what the datagrams carry. Start at [`UdpServer`].

mod delay;
mod egress;
mod flow;
pub mod guide;
mod hub;
mod lanes;
mod open;
mod server;
mod service;
mod stats;

pub use guide::{Choice, Guidance, Guide, Lane};
pub use lanes::lane_of;
pub use server::{Udp, UdpServer};
pub use service::{Destination, Service, ServiceParts, check_cluster, cluster_mistakes};
