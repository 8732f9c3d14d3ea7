//! TCP proxying: connections pass a filter chain to an endpoint of a cluster, then bytes go both ways.
//!
//! It understands no byte of what it carries but the first message of TLS, which rules may ask for and which is
//! passed on as it came: protocols that it could understand have crates of their own. Pure here are the relay's state
//! ([`machine`]), the rules ([`route`]), the filters and the configuration; only `session` (feature of that name)
//! touches sockets.
//!
//! Start at [`TcpConfig`] for what can be set, [`machine::Relay`] for what a relay is, and `Tcp` for how the
//! gateway runs it.

pub mod config;
pub mod filters;
pub mod machine;
pub mod message;
pub mod route;
#[cfg(feature = "session")]
mod session;

pub use config::TcpConfig;
pub use message::{Record, TcpConnection, TcpMessages};
#[cfg(feature = "session")]
pub use session::{Route, RouteTable, Tcp, TcpServer, build_routes, choose_route};
