//! TCP over real sockets: filters, an endpoint, then bytes both ways.
//!
//! What the relay means is in [`crate::machine`]; here it meets streams. In the order of a connection's life:
//! [`server`], [`opening`], [`connect`], [`relay`] with one [`flow`] for each direction, [`ledger`]. Start at [`TcpServer`].

mod connect;
mod copy;
mod flow;
mod ledger;
mod opening;
mod relay;
mod server;
mod stats;
#[cfg(test)]
mod tests;

pub use opening::{Route, RouteTable, build_routes, choose_route};
pub use server::{Tcp, TcpServer};
