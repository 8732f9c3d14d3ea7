//! HTTP/1.0 and HTTP/1.1: codec and session, downstream and upstream.
//!
//! The codec is pure: [`RequestDecoder`] and [`ResponseDecoder`] take heads off a buffer, [`BodyDecoder`] takes a
//! body off it in slices, the `encode_*` functions append wire bytes. How long a body is, it is told: ask
//! [`portcullis_http::Framing`] between the two. It holds no socket, no clock and no runtime; the `session`
//! feature brings those. Start at [`decoder`], then [`body`], then [`encoder`].
//!
//! ```
//! use bytes::BytesMut;
//! use portcullis_codec::Decoder;
//! use portcullis_http::Framing;
//! use portcullis_http1::{BodyDecoder, BodyLimits, BodyPiece, HeadLimits, RequestDecoder};
//!
//! let mut buffer = BytesMut::from("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
//! let mut heads = RequestDecoder::new(HeadLimits::default());
//! let head = heads.decode(&mut buffer)?.expect("a whole head");
//! let framing = Framing::of_request(&head)?;
//! let mut body = BodyDecoder::new(framing, BodyLimits::default())?;
//! assert_eq!(body.decode(&mut buffer)?, Some(BodyPiece::Data("hi".into())));
//! assert_eq!(body.decode(&mut buffer)?, Some(BodyPiece::End));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod body;
pub mod decoder;
pub mod encoder;
mod error;
mod grammar;
mod limits;
pub mod message;
#[cfg(feature = "session")]
pub mod session;

pub use body::BodyDecoder;
pub use decoder::{RequestDecoder, ResponseDecoder};
pub use encoder::{
    CHUNK_END, Encode, EncodeError, encode_chunk, encode_chunk_header, encode_last_chunk,
    encode_request_head, encode_response_head,
};
pub use error::{BodyError, HeadError};
pub use limits::{BodyLimits, HeadLimits};
pub use message::{BodyPiece, Connection, is_persistent};
