//! What messages say: one thin type for each, borrowed from the body that it was read from.
//!
//! A body is what stands behind the five bytes of the header. Lists are checked once, when a message is read, and walked
//! when somebody asks: nothing is copied and nothing allocated. What the values of a field mean is judged only where the
//! gateway acts on it; the rest is for the server to judge. Start at [`frontend::Message`] and [`backend::Message`], which
//! know all types, or at the one type that you need. Messages are written by [`crate::encoder`].

pub mod backend;
pub mod frontend;
mod grammar;
mod lists;
pub mod replication;

pub use lists::{Formats, Numbers, Strings, Values};

/// How a value is written: 0 is text, 1 binary, and others are the server's to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format(pub i16);

impl Format {
    /// Text.
    pub const TEXT: Self = Self(0);
    /// Binary.
    pub const BINARY: Self = Self(1);
}

/// The bytes of COPY, either way ("COPY Operations"); in CopyBoth they hold messages of [`replication`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyData<'a> {
    /// Cut anywhere: bounds between messages mean nothing but in replication.
    pub data: &'a [u8],
}

impl<'a> CopyData<'a> {
    /// Takes any body.
    #[must_use]
    pub const fn parse(body: &'a [u8]) -> Self {
        Self { data: body }
    }
}

#[cfg(test)]
mod tests;
