//! Laws of the codec. Cases are in `tests/vectors/proxy_header.md`.

use bytes::{Buf as _, BytesMut};
use portcullis_codec::{Decoder as _, Encoder as _, WireError as _};
use proptest::prelude::*;

use super::*;
use crate::Sniff;

fn decode_in_pieces(
    input: &[u8],
    cuts: &[usize],
) -> (Result<Option<ProxyHeader>, ProxyHeaderError>, BytesMut) {
    let mut decoder = ProxyHeaderDecoder::new();
    let mut src = BytesMut::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        src.extend_from_slice(&input[start..end]);
        start = end;
        let before = src.clone();
        match decoder.decode(&mut src) {
            Ok(None) => assert_eq!(src, before, "partial input is untouched"),
            Ok(header) => {
                src.extend_from_slice(&input[start..]);
                return (Ok(header), src);
            }
            Err(error) => return (Err(error), BytesMut::new()),
        }
    }
    (Ok(None), src)
}

fn ip_addresses() -> impl Strategy<Value = Addresses> {
    let transport = prop_oneof![Just(Transport::Stream), Just(Transport::Datagram)];
    let v4 = (any::<[u32; 2]>(), any::<[u16; 2]>(), transport.clone()).prop_map(
        |([from, to], ports, transport)| Addresses::V4 {
            source: SocketAddrV4::new(from.into(), ports[0]),
            destination: SocketAddrV4::new(to.into(), ports[1]),
            transport,
        },
    );
    let v6 = (any::<[u128; 2]>(), any::<[u16; 2]>(), transport).prop_map(
        |([from, to], ports, transport)| Addresses::V6 {
            source: SocketAddrV6::new(from.into(), ports[0], 0, 0),
            destination: SocketAddrV6::new(to.into(), ports[1], 0, 0),
            transport,
        },
    );
    prop_oneof![v4, v6]
}

fn unix_path() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(1_u8..=255, 0..=108).prop_map(Bytes::from)
}

fn headers() -> impl Strategy<Value = ProxyHeader> {
    let unix = (unix_path(), unix_path()).prop_map(|(source, destination)| Addresses::Unix {
        source,
        destination,
        transport: Transport::Stream,
    });
    let kinds = prop_oneof![Just(0x01), Just(0x02), Just(0x30), 0xE0_u8..=0xFF];
    let value =
        (kinds, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, value)| ProxyValue {
            kind: ValueKind(kind),
            value: value.into(),
        });
    let values = prop::collection::vec(value, 0..6);
    let named =
        (prop_oneof![ip_addresses(), unix], values).prop_map(|(addresses, values)| ProxyHeader {
            addresses,
            values: values.into(),
        });
    prop_oneof![
        4 => named,
        1 => Just(ProxyHeader::new(Addresses::Local)),
        1 => Just(ProxyHeader::new(Addresses::Unknown)),
    ]
}

const SIGNATURES: &[&[u8]] = &[
    b"",
    V1_SIGNATURE,
    V2_SIGNATURE,
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
];

proptest! {
    #[test]
    fn version_2_round_trips_in_any_pieces(
        header in headers(),
        checksum: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut encoder = ProxyHeaderEncoder { version: Version::V2, checksum };
        let mut wire = BytesMut::new();
        encoder.encode(&header, &mut wire).unwrap();
        wire.extend_from_slice(b"GET / HTTP/1.1");
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.sort_unstable();
        let (decoded, rest) = decode_in_pieces(&wire, &cuts);
        prop_assert_eq!(decoded, Ok(Some(header)));
        prop_assert_eq!(&rest[..], b"GET / HTTP/1.1");
    }

    #[test]
    fn version_1_round_trips_what_it_can_say(addresses in ip_addresses()) {
        let header = ProxyHeader::new(addresses);
        let mut wire = BytesMut::new();
        ProxyHeaderEncoder::new(Version::V1).encode(&header, &mut wire).unwrap();
        prop_assert!(wire.len() <= V1_BYTES);
        let decoded = ProxyHeaderDecoder::new().decode(&mut wire).unwrap().unwrap();
        let is_stream = matches!(
            header.addresses,
            Addresses::V4 { transport: Transport::Stream, .. }
                | Addresses::V6 { transport: Transport::Stream, .. }
        );
        let expected = if is_stream { header } else { ProxyHeader::new(Addresses::Unknown) };
        prop_assert_eq!(decoded, expected);
        prop_assert!(wire.is_empty());
    }

    #[test]
    fn every_split_agrees_whatever_the_bytes(
        signature in prop::sample::select(SIGNATURES),
        tail in prop::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'\r'), Just(b'\n'), Just(0)], 0..160),
    ) {
        let input = [signature, &tail].concat();
        let whole = decode_in_pieces(&input, &[]);
        let one_by_one: Vec<_> = (0..input.len()).collect();
        prop_assert_eq!(&decode_in_pieces(&input, &one_by_one), &whole);
        for cut in 0..input.len() {
            prop_assert_eq!(&decode_in_pieces(&input, &[cut]), &whole);
        }
    }
}

#[test]
fn values_share_the_headers_allocation() {
    let mut header = ProxyHeader::of_connection(
        Some("192.0.2.1:1".parse().unwrap()),
        Some("192.0.2.2:2".parse().unwrap()),
    );
    let value = ProxyValue {
        kind: ValueKind::AUTHORITY,
        value: Bytes::from_static(b"example.com"),
    };
    header.values.push(value);
    let mut wire = BytesMut::new();
    let mut encoder = ProxyHeaderEncoder::new(Version::V2);
    encoder.encode(&header, &mut wire).unwrap();
    let place = wire.as_ptr().addr() + wire.len() - b"example.com".len();
    let decoded = ProxyHeaderDecoder::new()
        .decode(&mut wire)
        .unwrap()
        .unwrap();
    let authority = decoded.value(ValueKind::AUTHORITY).unwrap();
    assert_eq!(authority.as_ptr().addr(), place);
}

#[test]
fn limits_trip_at_one_more() {
    let mut header = ProxyHeader::new(Addresses::V4 {
        source: "192.0.2.1:1".parse().unwrap(),
        destination: "192.0.2.2:2".parse().unwrap(),
        transport: Transport::Stream,
    });
    let mut wire = BytesMut::new();
    let mut encoder = ProxyHeaderEncoder::new(Version::V2);
    let empty = ProxyValue {
        kind: ValueKind(0xE0),
        value: Bytes::new(),
    };
    header
        .values
        .extend(std::iter::repeat_n(empty.clone(), V2_VALUES));
    encoder.encode(&header, &mut wire).unwrap();
    let decoded = ProxyHeaderDecoder::new().decode(&mut wire.clone()).unwrap();
    assert_eq!(decoded.unwrap().values.len(), V2_VALUES);
    header.values.push(empty);
    assert_eq!(
        encoder.encode(&header, &mut BytesMut::new()),
        Err(EncodeError::TooLong)
    );
    // One more by hand: three bytes longer.
    wire.extend_from_slice(&[0xE0, 0, 0]);
    let length = u16::from_be_bytes([wire[14], wire[15]]) + 3;
    wire[14..16].copy_from_slice(&length.to_be_bytes());
    let error = ProxyHeaderDecoder::new().decode(&mut wire).unwrap_err();
    assert_eq!(error.label(), "proxy_values");

    let padding = |bytes: usize| ProxyValue {
        kind: ValueKind(0xE0),
        value: vec![0; bytes].into(),
    };
    let room = V2_BYTES - 16 - 12 - 3;
    header.values = SmallVec::from_iter([padding(room)]);
    wire.clear();
    encoder.encode(&header, &mut wire).unwrap();
    assert_eq!(wire.len(), V2_BYTES);
    assert!(
        ProxyHeaderDecoder::new()
            .decode(&mut wire)
            .unwrap()
            .is_some()
    );
    header.values = SmallVec::from_iter([padding(room + 1)]);
    let mut kept = BytesMut::from("kept");
    assert_eq!(
        encoder.encode(&header, &mut kept),
        Err(EncodeError::TooLong)
    );
    assert_eq!(&kept[..], b"kept");
}

#[test]
fn a_declared_length_is_checked_before_its_bytes_come() {
    let mut src = BytesMut::from(&V2_SIGNATURE[..]);
    src.extend_from_slice(&[0x21, 0x11, 0xFF, 0xFF]);
    let error = ProxyHeaderDecoder::new().decode(&mut src).unwrap_err();
    assert_eq!(error, ProxyHeaderError::TooLong);
}

#[test]
fn the_end_of_input_inside_a_header_is_an_error() {
    let rows: [(&str, &[u8], Result<bool, ProxyHeaderError>); 5] = [
        ("nothing", b"", Ok(false)),
        (
            "part of a signature",
            b"PRO",
            Err(ProxyHeaderError::Truncated),
        ),
        (
            "line",
            b"PROXY TCP4 1.2.3.4",
            Err(ProxyHeaderError::Truncated),
        ),
        (
            "line without LF",
            b"PROXY UNKNOWN\r",
            Err(ProxyHeaderError::Truncated),
        ),
        ("whole", b"PROXY UNKNOWN\r\n", Ok(true)),
    ];
    for (name, input, expected) in rows {
        let mut src = BytesMut::from(input);
        let result = ProxyHeaderDecoder::new().decode_eof(&mut src);
        assert_eq!(result.map(|header| header.is_some()), expected, "{name}");
    }
}

#[test]
fn sniffing() {
    let rows: [(&[u8], Sniff); 6] = [
        (b"", Sniff::NeedMore),
        (b"PROX", Sniff::NeedMore),
        (b"PROXY ", Sniff::Yes),
        (b"\r\n\r\n", Sniff::NeedMore),
        (b"\r\n\r\n\0\r\nQUIT\n", Sniff::Yes),
        (b"PRI * HTTP/2.0", Sniff::No),
    ];
    for (prefix, expected) in rows {
        assert_eq!(sniff(prefix), expected, "{prefix:?}");
    }
}

#[test]
fn headers_of_connections() {
    let rows = [
        (
            Some("192.0.2.1:1"),
            Some("192.0.2.2:2"),
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        ),
        (
            Some("[2001:db8::1]:1"),
            Some("[::1]:2"),
            "PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
        ),
        (
            Some("192.0.2.1:1"),
            Some("[::1]:2"),
            "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
        ),
        (None, Some("[::1]:2"), "PROXY UNKNOWN\r\n"),
        (Some("[::1]:2"), None, "PROXY UNKNOWN\r\n"),
    ];
    for (source, destination, expected) in rows {
        let [source, destination] =
            [source, destination].map(|text| text.map(|text| text.parse().unwrap()));
        let header = ProxyHeader::of_connection(source, destination);
        let mut wire = BytesMut::new();
        ProxyHeaderEncoder::new(Version::V1)
            .encode(&header, &mut wire)
            .unwrap();
        assert_eq!(std::str::from_utf8(wire.chunk()).unwrap(), expected);
    }
}
