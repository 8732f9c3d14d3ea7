//! Decoder and encoder traits, wire errors, byte tables and scanning helpers shared by every codec.
//!
//! This is not a codec: each protocol brings its own grammar. It has no socket, no clock and no runtime,
//! so whatever is built on it can be fuzzed and tested byte by byte.
//!
//! Start at [`Decoder`], then read [`scan`] for how a decoder avoids looking at a byte twice.

pub mod run;
pub mod scan;
pub mod table;

use bytes::BytesMut;

pub use table::{ByteSet, TOKEN};

/// Turns bytes into items, one at a time.
///
/// Laws, checked by `portcullis-testkit` for every implementation: any split of the input into pieces gives
/// the same items; `Ok(None)` leaves `src` untouched; no more bytes are consumed than were given.
pub trait Decoder {
    /// What one successful call yields.
    type Item;
    /// Why the bytes cannot be an item.
    type Error: WireError;

    /// Takes one whole item off the front of `src`, or leaves `src` untouched and returns `None`.
    ///
    /// # Errors
    /// The bytes at the front of `src` can never become an item, or a limit was exceeded.
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error>;

    /// Like [`Decoder::decode`] once the peer has said that no more bytes will come.
    ///
    /// # Errors
    /// As [`Decoder::decode`]; also when `src` ends inside an item.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        self.decode(src)
    }

    /// How many more bytes would be useful at least: a hint for the next read.
    fn wants(&self) -> usize {
        1
    }
}

/// Turns items into bytes, appended to `dst`.
pub trait Encoder<Item> {
    /// Why an item has no wire form.
    type Error: WireError;

    /// Appends the wire form of `item` to `dst`.
    ///
    /// # Errors
    /// The item cannot be expressed; `dst` is left as it was.
    fn encode(&mut self, item: Item, dst: &mut BytesMut) -> Result<(), Self::Error>;
}

/// An error that bytes from a peer can cause. Implementations are small `Copy` enums without strings.
pub trait WireError: std::error::Error {
    /// How far the damage spreads.
    fn severity(&self) -> Severity;
    /// The value of the `reason` label that counts this error: short, lower case, words joined by `_`.
    fn label(&self) -> &'static str;
}

/// How far an error spreads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// This message is bad: answer it and go on with the next.
    Message,
    /// This stream is lost; others on the same connection go on.
    Stream,
    /// The connection can no longer be trusted: answer if the protocol allows, then close.
    Connection,
}
