//! Clients' first flights in the making, right and wrong, for tests, simulator and fuzz bodies alike.
//!
//! Start at [`Flight`].

// Each user builds this module for itself and needs a part of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(dead_code, unreachable_pub)]

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use portcullis_quic::{
    ConnectionId, HeaderError, InitialKeys, LongHeader, LongKind, Packet, Version,
    encode_long_header, encode_varint,
};

/// A connection id of these bytes.
#[must_use]
pub fn id(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

/// A ClientHello of TLS 1.3 with this name and these protocols, made longer by an extension with so many bytes.
#[must_use]
pub fn hello(name: &str, alpn: &[&str], padding: usize) -> Vec<u8> {
    let server_name = list16(&[&[0][..], &list16(name.as_bytes())].concat());
    let protocols: Vec<u8> = alpn
        .iter()
        .flat_map(|name| list8(name.as_bytes()))
        .collect();
    let extensions = [
        extension(0, &server_name),
        extension(16, &list16(&protocols)),
        extension(43, &list8(&[3, 4])),
        // Encrypted ones have no meaning here: bytes that nobody reads.
        extension(
            0x3a3a,
            &(0..padding).map(|at| (at % 251) as u8).collect::<Vec<_>>(),
        ),
    ];
    let body = [
        &[3, 3][..],
        &[0x7a; 32],
        &list8(&[]),
        &list16(&[0x13, 0x01]),
        &list8(&[0]),
        &list16(&extensions.concat()),
    ];
    let body = body.concat();
    let length = (body.len() as u32).to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &list16(data)].concat()
}

fn list8(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8][..], bytes].concat()
}

fn list16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A CRYPTO frame.
pub fn crypto(offset: usize, data: &[u8], payload: &mut BytesMut) {
    payload.put_u8(6);
    encode_varint(offset as u64, payload);
    encode_varint(data.len() as u64, payload);
    payload.put_slice(data);
}

/// The ids and the version of a client's first packets.
#[derive(Debug, Clone, Copy)]
pub struct Flight {
    pub version: Version,
    pub destination: ConnectionId,
    pub source: ConnectionId,
}

impl Flight {
    /// Of version 1, with ids that follow from a number.
    #[must_use]
    pub fn numbered(number: u64) -> Self {
        let destination = [&b"to"[..], &number.to_be_bytes()].concat();
        let source = [&b"by"[..], &number.to_be_bytes()].concat();
        Self {
            version: Version::V1,
            destination: id(&destination),
            source: id(&source),
        }
    }

    #[must_use]
    pub const fn header(&self, kind: LongKind) -> LongHeader<'static> {
        LongHeader {
            version: self.version,
            kind,
            destination: self.destination,
            source: self.source,
            token: &[],
            number_bytes: 2,
        }
    }

    /// One Initial packet with this payload, padded so that the datagram has so many bytes.
    #[must_use]
    pub fn initial(&self, number: u64, payload: &[u8], bytes: usize) -> Vec<u8> {
        let keys = InitialKeys::derive(self.version, &self.destination).unwrap();
        let mut datagram = BytesMut::new();
        let header = self.header(LongKind::Initial);
        // The header, the length in two bytes, the number and the tag.
        let around = 7 + self.destination.len() + self.source.len() + 1 + 2 + 2 + 16;
        let mut payload = payload.to_vec();
        payload.resize(payload.len().max(bytes.saturating_sub(around)).max(4), 0);
        keys.client
            .seal(&header, number, &payload, &mut datagram)
            .unwrap();
        datagram.to_vec()
    }

    /// A handshake message in datagrams of 1200 bytes, in order, in frames of at most `piece` bytes.
    #[must_use]
    pub fn datagrams(&self, message: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let pieces: Vec<_> = message
            .chunks(piece.max(1))
            .scan(0, |at, piece| {
                let start = *at;
                *at += piece.len();
                Some((start, piece))
            })
            .collect();
        self.of_pieces(&pieces)
    }

    /// These pieces in datagrams of 1200 bytes, as many as fit in each. None may be longer than one datagram takes.
    #[must_use]
    pub fn of_pieces(&self, pieces: &[(usize, &[u8])]) -> Vec<Vec<u8>> {
        const ROOM: usize = 1120;
        let mut datagrams = Vec::new();
        let mut payload = BytesMut::new();
        for &(start, piece) in pieces {
            let mut frame = BytesMut::new();
            crypto(start, piece, &mut frame);
            if payload.len() + frame.len() > ROOM {
                datagrams.push(self.initial(datagrams.len() as u64, &payload, 1200));
                payload.clear();
            }
            payload.put_slice(&frame);
        }
        datagrams.push(self.initial(datagrams.len() as u64, &payload, 1200));
        datagrams
    }

    /// A packet of another kind whose content nobody here can read.
    #[must_use]
    pub fn opaque(&self, kind: LongKind, bytes: usize) -> Vec<u8> {
        let mut datagram = BytesMut::new();
        encode_long_header(&self.header(kind), bytes, &mut datagram);
        datagram.put_bytes(0x55, bytes);
        datagram.to_vec()
    }

    /// What a server that chose `server` as its id answers: a long header whose content nobody here can read.
    #[must_use]
    pub fn answer(&self, server: ConnectionId, kind: LongKind, bytes: usize) -> Vec<u8> {
        let back = Self {
            version: self.version,
            destination: self.source,
            source: server,
        };
        back.opaque(kind, bytes)
    }

    /// The same connection, once the client has learned the server's id.
    #[must_use]
    pub const fn with(&self, server: ConnectionId) -> Self {
        Self {
            version: self.version,
            destination: server,
            source: self.source,
        }
    }
}

/// A packet with a short header.
#[must_use]
pub fn short(destination: ConnectionId, bytes: usize) -> Vec<u8> {
    let mut datagram = vec![0x41];
    datagram.extend_from_slice(destination.as_slice());
    datagram.resize(bytes.max(datagram.len()), 0x55);
    datagram
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One line about a packet: everything that its header says.
#[must_use]
pub fn words(packet: &Result<Packet<'_>, HeaderError>) -> String {
    let packet = match packet {
        Ok(packet) => packet,
        Err(error) => return format!("error: {}", error.label()),
    };
    let fixed = |fixed| if fixed { "" } else { " unfixed" };
    match packet {
        Packet::VersionNegotiation(packet) => {
            let versions: Vec<_> = packet.versions().collect();
            let (to, by) = (hex(packet.destination), hex(packet.source));
            format!("negotiation to={to} by={by} {versions:?}")
        }
        Packet::Unknown(packet) => {
            let (to, by) = (hex(packet.destination), hex(packet.source));
            let rest = packet.rest.len();
            format!(
                "unknown {:?} to={to} by={by} ({rest} bytes)",
                packet.version
            )
        }
        Packet::Long(packet) => format!(
            "{} {:?}{} to={} by={} token={} ({} bytes)",
            packet.kind.label(),
            packet.version,
            fixed(packet.fixed),
            hex(packet.destination.as_slice()),
            hex(packet.source.as_slice()),
            hex(packet.token),
            packet.bytes.len() - packet.number_at,
        ),
        Packet::Retry(packet) => format!(
            "retry {:?}{} to={} by={} token={}",
            packet.version,
            fixed(packet.fixed),
            hex(packet.destination.as_slice()),
            hex(packet.source.as_slice()),
            hex(packet.token),
        ),
        Packet::Short(packet) => format!(
            "short{} to={} ({} bytes)",
            fixed(packet.fixed),
            hex(packet.destination.as_slice()),
            packet.bytes.len() - 1 - packet.destination.len(),
        ),
    }
}
