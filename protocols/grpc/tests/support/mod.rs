//! What vectors, laws and fuzz bodies share: how pieces are written down so that splits compare.

#![allow(dead_code, unreachable_pub)] // not every user needs all of it

use bytes::Bytes;
use portcullis_grpc::MessagePiece;
use portcullis_grpc::web::WebPiece;
use portcullis_http::Fields;

/// What a decoder said, bounds between slices left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A message: compressed, what of it was seen, whether it ended.
    Message(bool, Vec<u8>, bool),
    /// gRPC-Web's last frame.
    Trailers(Fields),
}

pub fn merged(items: &mut Vec<Seen>, piece: MessagePiece) {
    match (piece, items.last_mut()) {
        (MessagePiece::Start(header), _) => {
            items.push(Seen::Message(header.compressed, Vec::new(), false));
        }
        (MessagePiece::Data(data), Some(Seen::Message(_, seen, false))) => {
            assert!(!data.is_empty(), "a piece of nothing");
            seen.extend_from_slice(&data);
        }
        (MessagePiece::End, Some(Seen::Message(_, _, ended))) if !*ended => *ended = true,
        (piece, last) => panic!("{piece:?} after {last:?}"),
    }
}

pub fn merged_web(items: &mut Vec<Seen>, piece: WebPiece) {
    match piece {
        WebPiece::Message(piece) => merged(items, piece),
        WebPiece::Trailers(fields) => items.push(Seen::Trailers(*fields)),
    }
}

/// All bytes in one item.
#[allow(clippy::needless_pass_by_value)] // the shape that the laws call
pub fn joined(items: &mut Vec<Vec<u8>>, piece: Bytes) {
    assert!(!piece.is_empty(), "a piece of nothing");
    match items.last_mut() {
        Some(last) => last.extend_from_slice(&piece),
        None => items.push(piece.to_vec()),
    }
}
