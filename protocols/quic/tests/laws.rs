//! What the codec promises whatever the values. Cases that people can read are in `vectors/packets.md`.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use bytes::BytesMut;
use portcullis_quic::{
    ConnectionId, HeaderLimits, InitialKeys, Invariants, LongHeader, LongKind, Packet, Packets,
    Version, encode_long_header, encode_retry, encode_version_negotiation, frames,
};
use portcullis_tls::{ClientHello, ClientHelloDecoder, ClientHelloLimits};
use proptest::collection::vec;
use proptest::prelude::*;
use support::hello;

fn only(datagram: &[u8]) -> Packet<'_> {
    let mut packets = Packets::new(datagram, 0, HeaderLimits::default());
    let packet = packets.next().unwrap().unwrap();
    assert_eq!(packet.bytes().len(), datagram.len());
    assert_eq!(packets.next(), None);
    packet
}

fn connection_id() -> impl Strategy<Value = ConnectionId> {
    vec(any::<u8>(), 0..=20).prop_map(|bytes| ConnectionId::new(&bytes).unwrap())
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V1), Just(Version::V2)]
}

fn kind() -> impl Strategy<Value = LongKind> {
    prop_oneof![
        Just(LongKind::Initial),
        Just(LongKind::ZeroRtt),
        Just(LongKind::Handshake),
    ]
}

proptest! {
    #[test]
    fn long_headers_are_read_back(
        (version, kind) in (version(), kind()),
        (destination, source) in (connection_id(), connection_id()),
        token in vec(any::<u8>(), 0..200),
        body in vec(any::<u8>(), 1..200),
        number_bytes in 1..=4_u8,
    ) {
        let token = if kind == LongKind::Initial { &token[..] } else { &[] };
        let header = LongHeader { version, kind, destination, source, token, number_bytes };
        let mut datagram = BytesMut::new();
        encode_long_header(&header, body.len(), &mut datagram);
        let number_at = datagram.len();
        datagram.extend_from_slice(&body);
        let Packet::Long(packet) = only(&datagram) else { panic!() };
        prop_assert_eq!(packet.version, version);
        prop_assert_eq!(packet.kind, kind);
        prop_assert!(packet.fixed);
        prop_assert_eq!((packet.destination, packet.source), (destination, source));
        prop_assert_eq!(packet.token, token);
        prop_assert_eq!(packet.number_at, number_at);
        prop_assert_eq!(packet.bytes[0] & 3, number_bytes - 1);
    }

    #[test]
    fn retries_are_read_back(
        version in version(),
        ids in (connection_id(), connection_id()),
        token in vec(any::<u8>(), 0..200),
        tag in any::<[u8; 16]>(),
    ) {
        let mut datagram = BytesMut::new();
        encode_retry(version, 5, ids, &token, &tag, &mut datagram);
        let Packet::Retry(packet) = only(&datagram) else { panic!() };
        prop_assert_eq!(packet.version, version);
        prop_assert_eq!((packet.destination, packet.source), ids);
        prop_assert_eq!((packet.token, packet.tag, packet.unused), (&token[..], &tag, 5));
    }

    #[test]
    fn negotiations_are_read_back(
        unused in any::<u8>(),
        (destination, source) in (vec(any::<u8>(), 0..=255), vec(any::<u8>(), 0..=255)),
        versions in vec(any::<u32>().prop_map(Version), 1..9),
    ) {
        let mut datagram = BytesMut::new();
        encode_version_negotiation(unused, &destination, &source, versions.clone(), &mut datagram);
        let Packet::VersionNegotiation(packet) = only(&datagram) else { panic!() };
        // To where the other came from.
        prop_assert_eq!((packet.destination, packet.source), (&source[..], &destination[..]));
        prop_assert!(packet.versions().eq(versions));
        let invariants = Invariants::of(&datagram).unwrap().unwrap();
        prop_assert_eq!(invariants.version, Version::NEGOTIATION);
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_end(
        (version, destination) in (version(), connection_id()),
        payload in vec(any::<u8>(), 3..300),
        number in 0..1_u64 << 40,
        back in 0..100_u64,
        number_bytes in 2..=4_u8,
    ) {
        let keys = InitialKeys::derive(version, &destination).unwrap();
        let header = LongHeader {
            version,
            kind: LongKind::Initial,
            destination,
            source: ConnectionId::EMPTY,
            token: &[],
            number_bytes,
        };
        let mut datagram = BytesMut::new();
        keys.server.seal(&header, number, &payload, &mut datagram).unwrap();
        let Packet::Long(packet) = only(&datagram) else { panic!() };
        let mut scratch = Vec::new();
        let expected = number.saturating_sub(back);
        let opened = keys.server.open(&packet, expected, &mut scratch).unwrap();
        prop_assert_eq!(opened.number, number);
        prop_assert_eq!(opened.payload, &payload[..]);
        prop_assert!(keys.client.open(&packet, expected, &mut scratch).is_err());
    }

    #[test]
    fn any_bytes_are_packets_or_errors(datagram in vec(any::<u8>(), 0..80), id in 0..=20_usize) {
        let mut bytes = 0;
        for packet in Packets::new(&datagram, id, HeaderLimits::default()).flatten() {
            prop_assert!(!packet.bytes().is_empty());
            bytes += packet.bytes().len();
        }
        prop_assert!(bytes <= datagram.len());
        prop_assert!(frames(&datagram).count() <= datagram.len().max(1));
    }
}

/// The same message, with records and without.
#[test]
fn a_hello_without_records_is_the_same() {
    let message = hello("Shop.Example", &["h3", "h2"], 40);
    let limits = ClientHelloLimits::default();
    let bare = ClientHello::of_message(&message[..], &limits).unwrap();
    let length = (message.len() as u16).to_be_bytes();
    let record = [&[22, 3, 1][..], &length, &message].concat();
    let in_record = ClientHelloDecoder::new(limits)
        .look(&record)
        .unwrap()
        .unwrap();
    assert_eq!(bare, in_record);
    assert_eq!(bare.server_name(), Some("shop.example"));
    for length in 0..message.len() {
        assert!(ClientHello::of_message(&message[..length], &limits).is_err());
    }
    let longer = [&message[..], &[0]].concat();
    let error = portcullis_tls::ClientHelloError::TrailingData;
    assert_eq!(ClientHello::of_message(&longer[..], &limits), Err(error));
}
