//! QUIC headers: agreement with quinn on what is a packet, where it ends, and whose it is.
//!
//! An input is a datagram; the first packet and what is left behind it are compared, and so on. Where the two differ on purpose
//! stands in [`INTENDED`]. Start at [`diff`].

use std::io::Cursor;

use bytes::BytesMut;
use portcullis_quic::{HeaderError, HeaderLimits, LongKind, Packet, Packets, Version};
use quinn_proto::{
    FixedLengthConnectionIdParser, LongType, PacketDecodeError, PartialDecode, ProtectedHeader,
};

/// Where quinn says otherwise, and why that is right for both.
pub const INTENDED: &[(Difference, &str)] = &[
    (
        Difference::Versions,
        "quinn looks at the list only once it knows that it has asked; without a whole version it is to be ignored (RFC 8999 section 6)",
    ),
    (
        Difference::RetryTag,
        "quinn looks for the tag when it checks it; without room for one it is no Retry (RFC 9000 section 17.2.5)",
    ),
    (
        Difference::LongId,
        "quinn reads no ids of more than 20 bytes in any version; a version that is not read may have them (RFC 8999 section 5.1)",
    ),
];

/// A kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Version Negotiation without a whole version.
    Versions,
    /// Retry without a tag.
    RetryTag,
    /// Ids of more than 20 bytes in a version that neither reads.
    LongId,
}

/// quinn reads no other; version 2 is to it what unknown ones are to us.
const VERSIONS: &[u32] = &[1];

/// Nothing here is about tokens.
const LIMITS: HeaderLimits = HeaderLimits { token: usize::MAX };

/// Compares datagram and rests, with ids of several lengths.
pub fn diff(data: &[u8]) {
    for id in [0, 8, 20] {
        let mut rest = data.to_vec();
        while !rest.is_empty() {
            match first(&rest, id) {
                Some(length) => drop(rest.drain(..length)),
                None => break,
            }
        }
    }
}

/// Compares the first packet: how long it is, if there is one and more may follow.
fn first(data: &[u8], id: usize) -> Option<usize> {
    let ours = Packets::new(data, id, LIMITS).next()?;
    let parser = FixedLengthConnectionIdParser::new(id);
    // A fixed bit that is not set is for the ends to judge.
    let theirs = PartialDecode::new(BytesMut::from(data), &parser, VERSIONS, true);
    let header = ProtectedHeader::decode(&mut Cursor::new(data.into()), &parser, VERSIONS, true);
    match (ours, theirs) {
        (Ok(Packet::Unknown(ours)), Err(theirs)) => {
            unknown(&ours.version, ours.destination, theirs)
        }
        // What follows in version 2 is not known to them.
        (Ok(Packet::Long(ours)), Err(theirs)) if ours.version == Version::V2 => {
            unknown(&ours.version, ours.destination.as_slice(), theirs)
        }
        (Ok(Packet::Retry(ours)), Err(theirs)) if ours.version == Version::V2 => {
            unknown(&ours.version, ours.destination.as_slice(), theirs)
        }
        (Err(_), Err(_)) => None,
        (Err(HeaderError::Versions), Ok(_)) => intended(Difference::Versions),
        (Err(HeaderError::Truncated), Ok(_))
            if matches!(header, Ok(ProtectedHeader::Retry { .. })) =>
        {
            intended(Difference::RetryTag)
        }
        (Ok(Packet::VersionNegotiation(ours)), Err(_))
            if ours.destination.len() > 20 || ours.source.len() > 20 =>
        {
            intended(Difference::LongId)
        }
        (Ok(ours), Ok((partial, rest))) => {
            let length = ours.bytes().len();
            assert_eq!(ours.destination(), &partial.dst_cid()[..], "the receiver");
            assert_eq!(length, partial.len(), "the length");
            assert_eq!(
                rest.map_or(0, |rest| rest.len()),
                data.len() - length,
                "the rest"
            );
            same(&ours, &header.expect("it was decoded before"));
            Some(length)
        }
        (ours, theirs) => panic!(
            "{ours:?} is to quinn {:?}",
            theirs.map(|(partial, _)| partial)
        ),
    }
}

fn unknown(version: &Version, destination: &[u8], theirs: PacketDecodeError) -> Option<usize> {
    match theirs {
        PacketDecodeError::UnsupportedVersion {
            version: number,
            dst_cid,
            ..
        } => {
            assert_eq!(version.0, number);
            assert_eq!(destination, &dst_cid[..]);
        }
        PacketDecodeError::InvalidHeader("malformed cid") => {
            return intended(Difference::LongId);
        }
        other @ PacketDecodeError::InvalidHeader(_) => panic!("{version:?} is to quinn {other}"),
    }
    None
}

fn same(ours: &Packet<'_>, theirs: &ProtectedHeader) {
    match (ours, theirs) {
        (Packet::Long(ours), ProtectedHeader::Initial(theirs)) => {
            assert_eq!(ours.kind, LongKind::Initial);
            assert_eq!(ours.source.as_slice(), &theirs.src_cid[..]);
            assert_eq!(ours.token, &ours.bytes[theirs.token_pos.clone()]);
            assert_eq!((ours.bytes.len() - ours.number_at) as u64, theirs.len);
        }
        (
            Packet::Long(ours),
            ProtectedHeader::Long {
                ty, src_cid, len, ..
            },
        ) => {
            let kind = match ty {
                LongType::Handshake => LongKind::Handshake,
                LongType::ZeroRtt => LongKind::ZeroRtt,
            };
            assert_eq!(ours.kind, kind);
            assert_eq!(ours.source.as_slice(), &src_cid[..]);
            assert_eq!((ours.bytes.len() - ours.number_at) as u64, *len);
        }
        (Packet::Retry(ours), ProtectedHeader::Retry { src_cid, .. }) => {
            assert_eq!(ours.source.as_slice(), &src_cid[..]);
        }
        (Packet::Short(_), ProtectedHeader::Short { .. }) => {}
        (
            Packet::VersionNegotiation(ours),
            ProtectedHeader::VersionNegotiate {
                random, src_cid, ..
            },
        ) => {
            assert_eq!(ours.source, &src_cid[..]);
            assert_eq!(ours.unused, *random);
        }
        (ours, theirs) => panic!("{ours:?} is to quinn {theirs:?}"),
    }
}

fn intended(difference: Difference) -> Option<usize> {
    assert!(INTENDED.iter().any(|(known, _)| *known == difference));
    None
}
