//! The protection of Initial packets, which anyone who sees them can remove (RFC 9001 section 5).
//!
//! Its keys follow from the first connection id of the client, and keep out damage, not readers. Not the protection of
//! anything later, whose keys only the ends have. Start at [`InitialKeys`].

use std::fmt;

use aws_lc_rs::aead::quic::HeaderProtectionKey;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use bytes::{BufMut, BytesMut};

use crate::connection_id::ConnectionId;
use crate::encoder::{LongHeader, encode_long_header};
use crate::error::ProtectionError;
use crate::header::{LongKind, LongPacket};
use crate::version::Version;

const KEY_BYTES: usize = 16;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SAMPLE_BYTES: usize = 16;
/// Where the sample begins, whatever the number takes (RFC 9001 section 5.4.2).
const SAMPLE_AT: usize = 4;

/// RFC 9001 section 5.2.
const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
/// RFC 9369 section 3.3.1.
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
    0xf9, 0xbd, 0x2e, 0xd9,
];

/// The keys of both ends.
#[derive(Debug)]
pub struct InitialKeys {
    /// What the client's packets are protected with.
    pub client: PacketKey,
    /// What the server's packets are protected with.
    pub server: PacketKey,
}

impl InitialKeys {
    /// Derives them from the destination of the client's first packet, or of its first after a Retry: `None` if the version is
    /// not read.
    #[must_use]
    pub fn derive(version: Version, destination: &ConnectionId) -> Option<Self> {
        Some(Self {
            client: PacketKey::of_client(version, destination)?,
            server: PacketKey::derive(version, destination, b"server in")?,
        })
    }
}

/// What protects the Initial packets of one end.
pub struct PacketKey {
    version: Version,
    key: LessSafeKey,
    iv: [u8; IV_BYTES],
    header: HeaderProtectionKey,
}

/// A packet without its protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Its number, in full.
    pub number: u64,
    /// Its frames.
    pub payload: &'a [u8],
}

impl PacketKey {
    /// The client's alone, as [`InitialKeys::derive`].
    #[must_use]
    pub fn of_client(version: Version, destination: &ConnectionId) -> Option<Self> {
        Self::derive(version, destination, b"client in")
    }

    fn derive(version: Version, destination: &ConnectionId, end: &[u8]) -> Option<Self> {
        let (salt, labels): (_, [&[u8]; 3]) = match version {
            Version::V1 => (SALT_V1, [b"quic key", b"quic iv", b"quic hp"]),
            Version::V2 => (SALT_V2, [b"quicv2 key", b"quicv2 iv", b"quicv2 hp"]),
            _ => return None,
        };
        Self::expand(version, &salt, destination, end, labels).ok()
    }

    fn expand(
        version: Version,
        salt: &[u8],
        destination: &ConnectionId,
        end: &[u8],
        [key_label, iv_label, header_label]: [&[u8]; 3],
    ) -> Result<Self, Unspecified> {
        let initial = Salt::new(HKDF_SHA256, salt).extract(destination.as_slice());
        let secret = expand_label::<32>(&initial, end)?;
        let secret = Prk::new_less_safe(HKDF_SHA256, &secret);
        let key = expand_label::<KEY_BYTES>(&secret, key_label)?;
        let header = expand_label::<KEY_BYTES>(&secret, header_label)?;
        Ok(Self {
            version,
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?),
            iv: expand_label(&secret, iv_label)?,
            header: HeaderProtectionKey::new(&quic::AES_128, &header)?,
        })
    }

    /// Removes the protection of an Initial packet. `expected` is one more than the highest number that was seen from this end.
    /// `scratch` is overwritten, and holds what is given back.
    ///
    /// # Errors
    /// It is another kind of packet, is too short, was not protected with this key, or has a reserved bit set.
    pub fn open<'a>(
        &self,
        packet: &LongPacket<'_>,
        expected: u64,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Opened<'a>, ProtectionError> {
        if packet.kind != LongKind::Initial || packet.version != self.version {
            return Err(ProtectionError::Kind);
        }
        scratch.clear();
        scratch.extend_from_slice(packet.bytes);
        let (header_bytes, number) = self.open_header(packet.number_at, expected, scratch)?;
        let (header, payload) = scratch
            .split_at_mut_checked(header_bytes)
            .ok_or(ProtectionError::TooShort)?;
        let nonce = self.nonce(number);
        let reserved = header.first().is_some_and(|first| first & 0x0c != 0);
        let payload = self
            .key
            .open_in_place(nonce, Aad::from(&*header), payload)
            .map_err(|_| ProtectionError::Authentication)?;
        // RFC 9000 section 17.2: judged only once it is known that the peer has set them.
        if reserved {
            return Err(ProtectionError::ReservedBits);
        }
        Ok(Opened { number, payload })
    }

    /// RFC 9001 section 5.4: the length of the header with the number, and the number.
    fn open_header(
        &self,
        number_at: usize,
        expected: u64,
        packet: &mut [u8],
    ) -> Result<(usize, u64), ProtectionError> {
        let mask = self.mask(number_at, packet)?;
        let [first_mask, number_mask @ ..] = mask;
        let first = packet.first_mut().ok_or(ProtectionError::TooShort)?;
        *first ^= first_mask & 0x0f;
        let number_bytes = usize::from(*first & 3) + 1;
        let header_bytes = number_at + number_bytes;
        let number = packet
            .get_mut(number_at..header_bytes)
            .ok_or(ProtectionError::TooShort)?;
        let mut truncated = 0;
        for (byte, mask) in number.iter_mut().zip(number_mask) {
            *byte ^= mask;
            truncated = truncated << 8 | u64::from(*byte);
        }
        let number = full_number(truncated, 8 * number_bytes as u32, expected);
        Ok((header_bytes, number))
    }

    fn mask(&self, number_at: usize, packet: &[u8]) -> Result<[u8; 5], ProtectionError> {
        let start = number_at.saturating_add(SAMPLE_AT);
        let sample = packet
            .get(start..)
            .and_then(|rest| rest.get(..SAMPLE_BYTES))
            .ok_or(ProtectionError::TooShort)?;
        let mask = self.header.new_mask(sample);
        mask.map_err(|_| ProtectionError::TooShort)
    }

    /// RFC 9001 section 5.3.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        let (_, low) = nonce.split_at_mut(IV_BYTES - 8);
        for (byte, number) in low.iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Appends a protected Initial packet: for tests, and whatever else has to speak as an end. As much of `number` is written as
    /// the header has room for.
    ///
    /// # Errors
    /// The header is of another kind or version, its number would take 0 or more than 4 bytes, or the payload is shorter than 3 bytes,
    /// which no sample can be taken of.
    pub fn seal(
        &self,
        header: &LongHeader<'_>,
        number: u64,
        payload: &[u8],
        dst: &mut BytesMut,
    ) -> Result<(), ProtectionError> {
        if header.kind != LongKind::Initial || header.version != self.version {
            return Err(ProtectionError::Kind);
        }
        let number_bytes = usize::from(header.number_bytes);
        let written = number.to_be_bytes();
        let written = match number_bytes {
            1..=4 => written.get(8 - number_bytes..).unwrap_or_default(),
            _ => return Err(ProtectionError::TooShort),
        };
        let mut packet = BytesMut::new();
        let length = number_bytes + payload.len() + TAG_BYTES;
        encode_long_header(header, length, &mut packet);
        let number_at = packet.len();
        packet.put_slice(written);
        let mut sealed = payload.to_vec();
        self.key
            .seal_in_place_append_tag(self.nonce(number), Aad::from(&packet[..]), &mut sealed)
            .map_err(|_| ProtectionError::Authentication)?;
        packet.put_slice(&sealed);
        let [first_mask, number_mask @ ..] = self.mask(number_at, &packet)?;
        if let Some(first) = packet.first_mut() {
            *first ^= first_mask & 0x0f;
        }
        let number = packet.iter_mut().skip(number_at).take(number_bytes);
        for (byte, mask) in number.zip(number_mask) {
            *byte ^= mask;
        }
        dst.put_slice(&packet);
        Ok(())
    }
}

impl fmt::Debug for PacketKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PacketKey({:?})", self.version)
    }
}

/// The number nearest to `expected` that ends in these bits (RFC 9000 appendix A.3).
fn full_number(truncated: u64, bits: u32, expected: u64) -> u64 {
    let window = 1_u64 << bits;
    let half = window / 2;
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate + half <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected + half && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand_label<const N: usize>(secret: &Prk, label: &[u8]) -> Result<[u8; N], Unspecified> {
    const PREFIX: &[u8] = b"tls13 ";
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let length = (N as u16).to_be_bytes();
    let label_length = [(PREFIX.len() + label.len()) as u8];
    let info: [&[u8]; 5] = [&length, &label_length, PREFIX, label, &[0]];
    let mut output = [0; N];
    secret.expand(&info, Length(N))?.fill(&mut output)?;
    Ok(output)
}

#[cfg(test)]
mod tests;
