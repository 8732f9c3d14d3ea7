//! HTTP/1 over real connections: the downstream session and the upstream connections.
//!
//! The codec is beside this folder and knows no socket. What a request means is `portcullis-http`'s. Here is
//! only what HTTP/1 is between the two: one connection, one request after another.
//!
//! Start at [`serve`]; [`pool_of`] is the other side.

mod connection;
mod downstream;
mod linger;
mod output;
mod pool;
mod serve;
mod sniff;
mod upstream;
mod writer;

use bytes::BytesMut;
use portcullis_codec::Decoder as _;
use portcullis_http::stream::BodyPiece;

use crate::body::BodyDecoder;
use crate::error::BodyError;
use crate::message;

pub use pool::{adopt, pool_of};
pub use serve::{Session, serve};
pub use sniff::sniff;

/// The next piece of a body, with trailers and the end as one.
fn next_piece(
    decoder: &mut BodyDecoder,
    input: &mut BytesMut,
) -> Result<Option<BodyPiece>, BodyError> {
    Ok(match decoder.decode(input)? {
        None => None,
        Some(message::BodyPiece::Data(data)) => Some(BodyPiece::Data(data)),
        Some(message::BodyPiece::End) => Some(BodyPiece::End),
        Some(message::BodyPiece::Trailers(trailers)) => {
            // The end stands right behind: nothing more needs to arrive for it.
            decoder.decode(input)?;
            Some(BodyPiece::Trailers(trailers))
        }
    })
}

/// The last piece of a body whose sender has closed.
fn last_piece(decoder: &mut BodyDecoder, input: &mut BytesMut) -> Result<BodyPiece, BodyError> {
    decoder.decode_eof(input)?;
    Ok(BodyPiece::End)
}
