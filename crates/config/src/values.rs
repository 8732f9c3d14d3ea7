//! The values people write as text: durations, sizes, rates, percentages, addresses.
//!
//! Each reads from text (and from a plain number where that has one meaning), prints in one canonical form that reads back
//! the same, and has a JSON Schema. They know nothing of nodes; what uses them is not their business.
//! Start with [`Duration`]; [`text`] is what they share.

mod address;
mod byte_size;
mod duration;
mod network;
mod percent;
mod rate;
mod secret;
mod text;

pub use self::address::{Host, ListenAddress, ListenSocket, TargetAddress};
pub use self::byte_size::ByteSize;
pub use self::duration::{Duration, Timeout};
pub use self::network::Network;
pub use self::percent::Percent;
pub use self::rate::{ByteRate, Rate};
pub use self::secret::Secret;
pub use self::text::ValueError;

#[cfg(test)]
mod tests;
