//! gRPC over HTTP: message codec, gRPC-Web framing, and the filters that know them.
//!
//! Not a second HTTP stack: calls are ordinary HTTP requests, whatever version carries them, and what HTTP itself
//! must know of them (names, statuses, deadlines) is `portcullis_http::grpc`'s. Messages are looked at, never
//! opened: what is inside of them, compressed or not, passes as it is.
//!
//! Start at [`MessageDecoder`] for the framing, [`filters`] for what a configuration may list.

pub mod descriptor;
pub mod encoder;
mod error;
pub mod filters;
mod grammar;
mod message;
mod scanner;
pub mod web;

mod decoder;

pub use decoder::{MessageDecoder, MessageLimits};
pub use error::MessageError;
pub use message::{MessageHeader, MessagePiece};
pub use portcullis_http::grpc::{
    GrpcKind, GrpcStatus, decode_message, encode_message, parse_timeout, split_path, write_timeout,
};
pub use scanner::MessageScanner;
