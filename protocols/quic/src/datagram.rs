//! A datagram to the packets in it (RFC 9000 section 12.2).
//!
//! Long headers of versions 1 and 2 say where they end, and another packet may follow. Not decryption. Start at [`Packets`].

use std::iter::FusedIterator;

use crate::error::HeaderError;
use crate::grammar;
use crate::header::{HeaderLimits, Packet};

/// The packets of one datagram.
///
/// A packet behind the first that names another receiver is passed over, since it belongs to nobody here. After an error
/// there is nothing more: nobody knows where the next would begin.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    id_bytes: usize,
    limits: HeaderLimits,
    /// The receiver that the first packet named.
    destination: Option<&'a [u8]>,
    started: bool,
}

impl<'a> Packets<'a> {
    /// The packets of `datagram`, where an id in a short header has so many bytes.
    #[must_use]
    pub const fn new(datagram: &'a [u8], id_bytes: usize, limits: HeaderLimits) -> Self {
        Self {
            rest: datagram,
            id_bytes,
            limits,
            destination: None,
            started: false,
        }
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn step(&mut self) -> Result<Packet<'a>, HeaderError> {
        let packet = grammar::packet(self.rest, self.id_bytes, self.limits)?;
        self.rest = self.rest.get(packet.bytes().len()..).unwrap_or_default();
        Ok(packet)
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if std::mem::replace(&mut self.started, true) && self.rest.is_empty() {
                return None;
            }
            let packet = match self.step() {
                Ok(packet) => packet,
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            };
            let destination = destination(&packet, self.id_bytes);
            let first = *self.destination.get_or_insert(destination);
            if first == destination {
                return Some(Ok(packet));
            }
        }
    }
}

impl FusedIterator for Packets<'_> {}

/// The receiver's id where it stands in the datagram, which outlives the packet.
fn destination<'a>(packet: &Packet<'a>, id_bytes: usize) -> &'a [u8] {
    let bytes = packet.bytes();
    let (start, length) = match packet {
        Packet::Short(_) => (1, id_bytes),
        // Behind the first byte, the version and its own length.
        _ => (6, packet.destination().len()),
    };
    bytes.get(start..start + length).unwrap_or_default()
}
