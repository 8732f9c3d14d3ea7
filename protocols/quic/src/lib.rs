//! QUIC seen from outside: packet headers, Initial packets, and the steering of datagrams without termination.
//!
//! Reads what is in the clear, or protected by keys that anyone has: enough to see which server a client wants and which
//! connection a datagram belongs to. It is no QUIC: it ends no connection and acknowledges nothing. It has no socket, no
//! clock and no runtime. Start at [`Packets`] for the wire, at [`Steering`] for what a gateway does with it.

mod connection_id;
mod crypto;
mod datagram;
mod encoder;
mod error;
mod frame;
mod grammar;
mod header;
mod hello;
mod protection;
pub mod steering;
mod varint;
mod version;

pub use connection_id::{CONNECTION_ID_BYTES, ConnectionId};
pub use crypto::{CryptoAssembler, CryptoLimits};
pub use datagram::Packets;
pub use encoder::{LongHeader, encode_long_header, encode_retry, encode_version_negotiation};
pub use error::{CryptoError, FrameError, HeaderError, HelloError, ProtectionError};
pub use frame::{Frame, Frames, frames};
pub use header::{
    HeaderLimits, Invariants, LongKind, LongPacket, Packet, RETRY_TAG_BYTES, RetryPacket,
    ShortPacket, VersionNegotiation,
};
pub use hello::{HelloLimits, HelloProgress, HelloReader};
pub use protection::{InitialKeys, Opened, PacketKey};
pub use steering::{Steering, SteeringConfig, SteeringLimits, Target, Verdict};
pub use varint::{VARINT_MAX, encode_varint, varint_bytes};
pub use version::Version;
