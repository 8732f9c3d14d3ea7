//! QUIC: the laws of headers, of Initial packets, and of the ClientHello in them.
//!
//! An input of [`header_decode`] is a datagram; one of [`initial_decode`] is the payload of Initial packets behind a byte of
//! choices, so that a fuzzer need not break a cipher. Not what is done with datagrams: that is [`crate::quic_steering`]. Start at
//! [`header_decode`]; the comparison with quinn is in [`crate::quic_diff`].

#[path = "../../protocols/quic/tests/support/mod.rs"]
pub(crate) mod support;

use bytes::{BufMut as _, BytesMut};
use portcullis_quic::{
    CryptoError, CryptoLimits, Frame, HeaderError, HeaderLimits, HelloError, HelloLimits,
    HelloProgress, HelloReader, InitialKeys, Invariants, LongHeader, Packet, Packets, Version,
    encode_long_header, encode_retry, encode_varint, encode_version_negotiation, frames,
};
use portcullis_tls::ClientHello;
use support::Flight;

/// A limit small enough for a fuzzer to find its edge.
const SMALL: HeaderLimits = HeaderLimits { token: 3 };

/// A packet alone is what it is among others, nothing is read that was not given, and what has a wire form is read back.
pub fn header_decode(data: &[u8]) {
    for limits in [HeaderLimits::default(), SMALL] {
        for id in [0, 8, 20] {
            packets(data, id, limits);
        }
    }
}

fn packets(data: &[u8], id: usize, limits: HeaderLimits) {
    let mut walk = Packets::new(data, id, limits);
    let mut consumed = 0;
    let mut destination = None;
    while let Some(packet) = walk.next() {
        let Ok(packet) = packet else {
            assert!(walk.next().is_none(), "goes on after an error");
            return;
        };
        let bytes = packet.bytes();
        assert!(!bytes.is_empty());
        consumed += bytes.len();
        assert!(consumed <= data.len());
        assert!(data.ends_with(walk.rest()));
        // All are for one receiver.
        let first = destination.get_or_insert_with(|| packet.destination().to_vec());
        assert_eq!(first, packet.destination());
        let alone = Packets::new(bytes, id, limits).next();
        assert_eq!(alone, Some(Ok(packet)), "alone it is another");
        if let Some(byte) = bytes.len().checked_sub(1) {
            let shorter = Packets::new(&bytes[..byte], id, limits).next();
            assert_ne!(shorter, Some(Ok(packet)), "its last byte is not needed");
        }
        check(&packet, limits);
        roundtrip(&packet, id, limits);
    }
}

fn check(packet: &Packet<'_>, limits: HeaderLimits) {
    match packet {
        Packet::VersionNegotiation(packet) => assert!(packet.versions().next().is_some()),
        Packet::Unknown(packet) => assert!(!packet.version.is_read()),
        Packet::Long(packet) => {
            assert!(packet.version.is_read());
            assert!(packet.token.len() <= limits.token);
            assert!(packet.number_at <= packet.bytes.len());
        }
        Packet::Retry(packet) => assert!(packet.token.len() <= limits.token),
        Packet::Short(_) => {}
    }
}

/// Writes a packet again, and reads that: the same, but for lengths that were longer than they had to be and bits that vary.
fn roundtrip(packet: &Packet<'_>, id: usize, limits: HeaderLimits) {
    let mut bytes = BytesMut::new();
    match packet {
        Packet::Long(packet) => {
            let header = LongHeader {
                version: packet.version,
                kind: packet.kind,
                destination: packet.destination,
                source: packet.source,
                token: packet.token,
                number_bytes: 1 + (packet.bytes[0] & 3),
            };
            let body = &packet.bytes[packet.number_at..];
            encode_long_header(&header, body.len(), &mut bytes);
            bytes.put_slice(body);
            let Some(Ok(Packet::Long(again))) = Packets::new(&bytes, id, limits).next() else {
                panic!("own encoding is refused");
            };
            assert_eq!(
                (
                    again.version,
                    again.kind,
                    again.destination,
                    again.source,
                    again.token
                ),
                (
                    packet.version,
                    packet.kind,
                    packet.destination,
                    packet.source,
                    packet.token
                )
            );
            assert_eq!(&again.bytes[again.number_at..], body);
        }
        Packet::Retry(packet) => {
            let ids = (packet.destination, packet.source);
            encode_retry(
                packet.version,
                packet.unused,
                ids,
                packet.token,
                packet.tag,
                &mut bytes,
            );
            let same = packet.fixed.then_some(packet.bytes);
            assert_eq!(&bytes[1..], &packet.bytes[1..]);
            assert!(same.is_none_or(|same| same == bytes));
        }
        Packet::VersionNegotiation(packet) => {
            let (to, by) = (packet.source, packet.destination);
            encode_version_negotiation(packet.unused, to, by, packet.versions(), &mut bytes);
            assert_eq!(&bytes[1..], &packet.bytes[1..]);
        }
        Packet::Unknown(packet) => {
            assert_eq!(Invariants::of(packet.bytes), Ok(Some(*packet)));
        }
        Packet::Short(_) => {}
    }
}

/// Limits small enough for a fuzzer to find their edges.
fn small() -> HelloLimits {
    HelloLimits {
        crypto: CryptoLimits {
            bytes: 200,
            pieces: 3,
            frames: 6,
        },
        ..HelloLimits::default()
    }
}

/// What is sealed is opened; frames are what they are in any packet; the ClientHello is the same in any order.
pub fn initial_decode(data: &[u8]) {
    let Some((choice, payload)) = data.split_first() else {
        return;
    };
    let flight = Flight {
        version: Version::READ[usize::from(choice & 1)],
        ..Flight::numbered(u64::from(*choice))
    };
    let payload = &payload[..payload.len().min(8000)];
    open(&flight, payload);
    let all: Vec<_> = frames(payload).collect();
    assert!(all.len() <= payload.len().max(1));
    assert!(
        all.iter().rev().skip(1).all(Result::is_ok),
        "goes on after an error"
    );
    for limits in [HelloLimits::default(), small()] {
        let once = read(&flight, &[payload.to_vec()], limits);
        // The same frames, a datagram for each, forwards and backwards.
        let mut apart: Vec<Vec<u8>> = all.iter().flatten().map(wire).collect();
        let forwards = read(&flight, &apart, limits);
        apart.reverse();
        let backwards = read(&flight, &apart, limits);
        let hellos =
            [&once, &forwards, &backwards].map(|read| read.as_ref().ok().cloned().flatten());
        let mut found = hellos.iter().flatten();
        if let Some(first) = found.next() {
            assert!(
                found.all(|hello| hello == first),
                "the order changes the hello"
            );
        }
        // What is whole and right at once may at most be too much for the limits in another order.
        if matches!(once, Ok(Some(_))) {
            for other in [&forwards, &backwards] {
                let too_much = [CryptoError::TooManyPieces, CryptoError::TooManyFrames];
                match other {
                    Ok(hello) => assert!(hello.is_some(), "the order hides the hello"),
                    Err(HelloError::Crypto(error)) => assert!(too_much.contains(error)),
                    Err(error) => panic!("the order makes it {}", error.label()),
                }
            }
        }
    }
    raw(payload);
}

fn open(flight: &Flight, payload: &[u8]) {
    let datagram = flight.initial(5, payload, 0);
    let keys = InitialKeys::derive(flight.version, &flight.destination).unwrap();
    let mut packets = Packets::new(&datagram, 0, HeaderLimits::default());
    let Some(Ok(Packet::Long(packet))) = packets.next() else {
        panic!("own packet is refused");
    };
    let mut scratch = Vec::new();
    let opened = keys.client.open(&packet, 6, &mut scratch).unwrap();
    assert_eq!(opened.number, 5);
    assert!(opened.payload.starts_with(payload));
    assert!(
        opened.payload[payload.len()..]
            .iter()
            .all(|&byte| byte == 0)
    );
    assert!(keys.server.open(&packet, 6, &mut scratch).is_err());
}

/// The first hello that is found in these payloads, each in a datagram of its own.
fn read(
    flight: &Flight,
    payloads: &[Vec<u8>],
    limits: HelloLimits,
) -> Result<Option<ClientHello>, HelloError> {
    let mut reader = HelloReader::new(flight.version, flight.destination, limits).unwrap();
    let mut scratch = Vec::new();
    for (number, payload) in payloads.iter().enumerate() {
        let datagram = flight.initial(number as u64, payload, 0);
        let progress = reader.take(&datagram, &mut scratch);
        assert!(reader.bytes() <= limits.crypto.bytes);
        match progress {
            Ok(Ok(HelloProgress::Whole(hello))) => return Ok(Some(hello)),
            Ok(Ok(HelloProgress::More)) => {}
            Ok(Err(error)) => panic!("own packet is not opened: {}", error.label()),
            Err(error) => {
                assert_eq!(
                    reader.take(&datagram, &mut scratch),
                    Err(error),
                    "not final"
                );
                return Err(error);
            }
        }
    }
    Ok(None)
}

fn wire(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    match *frame {
        Frame::Padding(count) => bytes.put_bytes(0, count),
        Frame::Ping => bytes.put_u8(1),
        // Its ranges are not kept.
        Frame::Ack { largest, delay, .. } => {
            bytes.put_u8(2);
            for number in [largest, delay, 0, 0] {
                encode_varint(number, &mut bytes);
            }
        }
        Frame::Crypto { offset, data } => {
            bytes.put_u8(6);
            encode_varint(offset, &mut bytes);
            encode_varint(data.len() as u64, &mut bytes);
            bytes.put_slice(data);
        }
        Frame::ConnectionClose {
            code,
            frame_type,
            reason,
        } => {
            bytes.put_u8(0x1c);
            for number in [code, frame_type, reason.len() as u64] {
                encode_varint(number, &mut bytes);
            }
            bytes.put_slice(reason);
        }
    }
    let again: Vec<_> = frames(&bytes).collect();
    let same = matches!(frame, Frame::Ack { .. }) || again == [Ok(*frame)];
    assert!(same, "{frame:?} is read back as {again:?}");
    bytes.to_vec()
}

/// Any bytes as a datagram of a connection that has its ids.
fn raw(data: &[u8]) {
    let Ok(Some(header)) = Invariants::of(data) else {
        return;
    };
    let Some(destination) = portcullis_quic::ConnectionId::new(header.destination) else {
        return;
    };
    let reader = HelloReader::new(header.version, destination, HelloLimits::default());
    assert_eq!(reader.is_some(), header.version.is_read());
    if let Some(mut reader) = reader {
        let answer = reader.take(data, &mut Vec::new());
        let is_read = matches!(answer, Ok(Ok(_)));
        let first = Packets::new(data, 0, HeaderLimits::default()).next();
        assert!(!is_read || !matches!(first, Some(Err(HeaderError::Truncated))));
    }
}
