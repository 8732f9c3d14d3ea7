//! TCP over real sockets: filters, an endpoint, then bytes both ways.
//!
//! What the relay means is in [`crate::machine`]; how bytes move is in `copy` and `splice`. Start at [`TcpServer`].

mod connect;
mod copy;
mod relay;
mod server;
mod splice;
mod stats;

pub use server::{Tcp, TcpServer};
