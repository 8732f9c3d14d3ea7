//! Listeners, workers, sockets, the PROXY header, connectors and drain.
//!
//! The only room with sockets and clocks in it; it knows no protocol and reads no configuration file. Without the
//! feature `runtime` only what is pure remains: the PROXY header's codec, [`Sniff`] and the typed configuration.
//!
//! Start at [`Downstream`], what an accepted connection looks like to a session, then [`accept`] for how it came
//! about and [`worker`] for the thread it lives on.

pub mod config;
pub mod proxy_header;
mod sniff;

pub use config::{AcceptBalance, ProxyProtocolConfig, SocketOptions};
pub use proxy_header::ProxyHeader;
pub use sniff::Sniff;

#[cfg(feature = "runtime")]
pub mod accept;
#[cfg(feature = "runtime")]
mod address;
#[cfg(feature = "runtime")]
pub mod clock;
#[cfg(feature = "runtime")]
pub mod connect;
#[cfg(feature = "runtime")]
pub mod datagram;
#[cfg(feature = "runtime")]
pub mod descriptors;
#[cfg(feature = "runtime")]
mod downstream;
#[cfg(feature = "runtime")]
pub mod drain;
#[cfg(feature = "runtime")]
pub mod limits;
#[cfg(feature = "runtime")]
pub mod listen;
#[cfg(feature = "runtime")]
pub mod preface;
#[cfg(feature = "runtime")]
pub mod resolve;
#[cfg(feature = "runtime")]
pub mod sessions;
#[cfg(feature = "runtime")]
pub mod splice;
#[cfg(feature = "runtime")]
mod stream;
#[cfg(feature = "runtime")]
mod timer;
#[cfg(feature = "runtime")]
pub mod tls;
#[cfg(feature = "runtime")]
pub mod waiting;
#[cfg(feature = "runtime")]
pub mod worker;

#[cfg(feature = "runtime")]
pub use {
    accept::{TlsOffer, TlsStart},
    address::{ClientAddr, LocalAddr, SocketAddress},
    connect::{ConnectError, connect},
    datagram::{Datagrams, TlsSlot},
    downstream::{ConnectionGuard, ConnectionId, Downstream},
    drain::DrainSignal,
    sessions::{spawn_local, spawn_session},
    splice::{SpliceDirection, SpliceError},
    stream::{Detached, Idle, Stream, is_reset},
    timer::{SessionTimer, Timer, sleep, sleep_until, within},
};
