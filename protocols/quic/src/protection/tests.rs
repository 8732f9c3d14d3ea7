//! The samples of RFC 9001 appendix A and RFC 9369 appendix A, and packets that were not made with the key.

use super::*;
use crate::datagram::Packets;
use crate::frame::{Frame, frames};
use crate::header::{HeaderLimits, Packet};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn id(text: &str) -> ConnectionId {
    ConnectionId::new(&unhex(text)).unwrap()
}

fn long(packet: &[u8]) -> LongPacket<'_> {
    let mut packets = Packets::new(packet, 0, HeaderLimits::default());
    match packets.next() {
        Some(Ok(Packet::Long(packet))) => packet,
        other => panic!("{other:?}"),
    }
}

/// The connection id that all samples begin with.
const DESTINATION: &str = "8394c8f03e515708";
/// The frame with the ClientHello of the client's packet; PADDING follows up to 1162 bytes.
const CLIENT_CRYPTO: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868
    04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578616d706c652e636f6dff010001000
    00a00080006001d0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9ca
    a47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030
    203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff08
    01100104800075300901100f088394c8f03e51570806048000ffff";
/// The payload of the server's packet.
const SERVER_FRAMES: &str = "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739
    88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c940d89690b84d08a60993c144eca684
    d1081287c834d5311bcf32bb9da1a002b00020304";

struct Sample {
    version: Version,
    client_iv: &'static str,
    server_iv: &'static str,
    /// The client's packet up to its first bytes of payload, and the tag at its end, which is made over all of it.
    client_front: &'static str,
    client_tag: &'static str,
    /// The whole of the server's packet.
    server: &'static str,
}

const SAMPLES: [Sample; 2] = [
    Sample {
        version: Version::V1,
        client_iv: "fa044b2f42a3fd3b46fb255c",
        server_iv: "0ac1493ca1905853b0bba03e",
        client_front: "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
        client_tag: "e221af44860018ab0856972e194cd934",
        server: "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c6979755
            4780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562b
            fb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee",
    },
    Sample {
        version: Version::V2,
        client_iv: "91f73e2351d8fa91660e909f",
        server_iv: "dd13c276499c0249d3310652",
        client_front: "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
        client_tag: "a18b2faa745b6fe189cf772a9f84cbfc",
        server: "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d9b89237bb
            f87263017915358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507
            698075b2c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca84bed8521e2e140",
    },
];

#[test]
fn keys_of_the_samples() {
    for sample in SAMPLES {
        let keys = InitialKeys::derive(sample.version, &id(DESTINATION)).unwrap();
        assert_eq!(keys.client.iv.to_vec(), unhex(sample.client_iv));
        assert_eq!(keys.server.iv.to_vec(), unhex(sample.server_iv));
    }
    let unknown = Version(0x0a0a_0a0a);
    assert!(InitialKeys::derive(unknown, &id(DESTINATION)).is_none());
}

#[test]
fn the_client_packets_of_the_samples() {
    let mut payload = unhex(CLIENT_CRYPTO);
    payload.resize(1162, 0);
    for sample in SAMPLES {
        let keys = InitialKeys::derive(sample.version, &id(DESTINATION)).unwrap();
        let header = LongHeader {
            version: sample.version,
            kind: LongKind::Initial,
            destination: id(DESTINATION),
            source: ConnectionId::EMPTY,
            token: &[],
            number_bytes: 4,
        };
        let mut packet = BytesMut::new();
        keys.client.seal(&header, 2, &payload, &mut packet).unwrap();
        assert_eq!(packet.len(), 1200);
        assert!(packet.starts_with(&unhex(sample.client_front)));
        assert!(packet.ends_with(&unhex(sample.client_tag)));
        let mut scratch = Vec::new();
        let opened = keys.client.open(&long(&packet), 0, &mut scratch).unwrap();
        assert_eq!(opened.number, 2);
        assert_eq!(opened.payload, payload);
        let kinds: Vec<_> = frames(opened.payload).map(Result::unwrap).collect();
        assert!(matches!(
            kinds[..],
            [Frame::Crypto { offset: 0, .. }, Frame::Padding(917)]
        ));
    }
}

#[test]
fn the_server_packets_of_the_samples() {
    for sample in SAMPLES {
        let keys = InitialKeys::derive(sample.version, &id(DESTINATION)).unwrap();
        let packet = unhex(sample.server);
        let mut scratch = Vec::new();
        let opened = keys.server.open(&long(&packet), 0, &mut scratch).unwrap();
        assert_eq!(opened.number, 1);
        assert_eq!(opened.payload, unhex(SERVER_FRAMES));
        let with_other = keys.client.open(&long(&packet), 0, &mut scratch);
        assert_eq!(with_other, Err(ProtectionError::Authentication));
    }
}

#[test]
fn what_was_changed_is_not_opened() {
    let [sample, ..] = SAMPLES;
    let keys = InitialKeys::derive(sample.version, &id(DESTINATION)).unwrap();
    let packet = unhex(sample.server);
    let mut scratch = Vec::new();
    // From the number on: before it, a change makes it another packet, or none.
    for at in long(&packet).number_at..packet.len() {
        let mut changed = packet.clone();
        changed[at] ^= 1;
        let opened = keys.server.open(&long(&changed), 0, &mut scratch);
        assert_eq!(opened, Err(ProtectionError::Authentication), "byte {at}");
    }
    // The length of a packet that has no room for a sample.
    let short = [&packet[..16], &[0x13][..], &packet[18..37]].concat();
    let opened = keys.server.open(&long(&short), 0, &mut scratch);
    assert_eq!(opened, Err(ProtectionError::TooShort));
}

#[test]
fn reserved_bits_are_refused_when_the_peer_has_set_them() {
    let keys = InitialKeys::derive(Version::V1, &id(DESTINATION)).unwrap();
    let header = LongHeader {
        version: Version::V1,
        kind: LongKind::Initial,
        destination: id(DESTINATION),
        source: ConnectionId::EMPTY,
        token: &[],
        number_bytes: 1,
    };
    let mut packet = BytesMut::new();
    keys.client.seal(&header, 0, &[1; 40], &mut packet).unwrap();
    // As a peer would do it: the bit is part of what is authenticated, so seal by hand.
    let number_at = packet.len() - 40 - TAG_BYTES - 1;
    let mut plain = packet[..number_at].to_vec();
    plain[0] = 0xc4;
    plain.push(0);
    let mut sealed = vec![1; 40];
    let nonce = keys.client.nonce(0);
    let aad = Aad::from(&plain[..]);
    keys.client
        .key
        .seal_in_place_append_tag(nonce, aad, &mut sealed)
        .unwrap();
    plain.extend(&sealed);
    let mask = keys.client.mask(number_at, &plain).unwrap();
    plain[0] ^= mask[0] & 0x0f;
    plain[number_at] ^= mask[1];
    let mut scratch = Vec::new();
    let opened = keys.client.open(&long(&plain), 0, &mut scratch);
    assert_eq!(opened, Err(ProtectionError::ReservedBits));
}

#[test]
fn numbers_in_full() {
    let rows = [
        // RFC 9000 appendix A.3.
        ("the sample", 0x9b32, 16, 0xa82f_30eb, 0xa82f_9b32),
        ("the first", 0, 8, 0, 0),
        ("the next", 1, 8, 1, 1),
        ("round the corner", 0x00, 8, 0xff, 0x100),
        ("back round the corner", 0xff, 8, 0x100, 0xff),
        ("no number below zero", 0xff, 8, 0, 0xff),
    ];
    for (name, truncated, bits, expected, full) in rows {
        assert_eq!(full_number(truncated, bits, expected), full, "{name}");
    }
}

/// Not what the gateway does, but what says that the Retry packets among the vectors are those of the standards.
#[test]
fn the_retry_packets_of_the_samples() {
    let rows = [
        (
            Version::V1,
            "be0c690b9f66575a1d766b54e368c84e",
            "461599d35d632bf2239825bb",
            "ff000000010008f067a5502a4262b5746f6b656e",
            "04a265ba2eff4d829058fb3f0f2496ba",
        ),
        (
            Version::V2,
            "8fb4b01b56ac48e260fbcbcead7ccc92",
            "d86969bc2d7c6d9990efb04a",
            "cf6b3343cf0008f067a5502a4262b5746f6b656e",
            "c8646ce8bfe33952d955543665dcc7b6",
        ),
    ];
    for (version, key, nonce, packet, tag) in rows {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &unhex(key)).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&unhex(nonce)).unwrap();
        let destination = unhex(DESTINATION);
        let pseudo = [&[8][..], &destination, &unhex(packet)].concat();
        let mut made = Vec::new();
        key.seal_in_place_append_tag(nonce, Aad::from(&pseudo), &mut made)
            .unwrap();
        assert_eq!(made, unhex(tag), "{version:?}");
    }
}
