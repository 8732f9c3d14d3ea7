//! TLS of one listener: what the workers share, and the files it is made from.
//!
//! The control side has the [`TlsFiles`]: it reads, compares and builds. Workers have the [`ServerTls`]: they take what
//! was built last for each new connection, so files change without touching a connection or the listener. How a
//! handshake goes is `handshake`'s. Start at [`TlsFiles::load`].

mod files;
mod shared;
#[cfg(test)]
mod tests;

pub use files::{Loaded, Refreshed, TlsFiles};
pub use shared::{Begun, ServerTls};
