//! HTTP/2: frame codec, guard and session, downstream and upstream.
//!
//! Sessions are driven by the `h2` crate. Our own codec stands in front of it on every connection as the [`Guard`],
//! which counts frames as they pass and refuses what costs more than it is worth. Both are pure: no socket, no clock,
//! no runtime; the `session` feature brings those. Not a decompressor of header blocks: `h2` is. Start at [`guard`] for
//! what a connection may do, at [`decoder`] for what a frame is.

mod config;
pub mod decoder;
pub mod encoder;
mod error;
pub mod frame;
mod grammar;
pub mod guard;
pub mod preface;
#[cfg(feature = "session")]
pub mod session;

pub use config::{Http2Config, KeepAliveConfig, StallConfig};
pub use decoder::FrameDecoder;
pub use encoder::{FrameEncoder, encode_header};
pub use error::{EncodeError, FrameError};
pub use frame::{ErrorCode, Frame, FrameHeader, FrameKind, StreamId};
pub use guard::{FrameCounts, Guard, GuardError, GuardLimits, Role};
pub use preface::{PREFACE, sniff};
