//! Packets to bytes: Version Negotiation, and the headers of versions 1 and 2.
//!
//! What it writes, [`crate::datagram`] reads back as the same. It protects nothing: [`crate::protection`] does.
//! Start at [`encode_version_negotiation`], the one that the gateway answers with.

use bytes::{BufMut, BytesMut};

use crate::connection_id::ConnectionId;
use crate::header::{FIXED, LONG, LongKind, RETRY_TAG_BYTES};
use crate::varint::encode_varint;
use crate::version::Version;

/// Appends a Version Negotiation packet (RFC 8999 section 6) for a client that sent from `source` to `destination`: the ids are
/// written the other way round. `unused` is seven bits that mean nothing and should vary. Ids of more than 255 bytes do
/// not exist; of longer ones the first 255 are written.
pub fn encode_version_negotiation(
    unused: u8,
    destination: &[u8],
    source: &[u8],
    versions: impl IntoIterator<Item = Version>,
    dst: &mut BytesMut,
) {
    // Where several protocols share a port, this bit tells them apart (RFC 9000 section 17.2.1).
    dst.put_u8(LONG | FIXED | unused);
    dst.put_u32(Version::NEGOTIATION.0);
    put_id(source, dst);
    put_id(destination, dst);
    for version in versions {
        dst.put_u32(version.0);
    }
}

/// The header of an Initial, 0-RTT or Handshake packet in the making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader<'a> {
    /// The version, which decides how the kind is written.
    pub version: Version,
    /// The kind; Retry is [`encode_retry`]'s.
    pub kind: LongKind,
    /// The receiver.
    pub destination: ConnectionId,
    /// The sender.
    pub source: ConnectionId,
    /// Written for an Initial alone.
    pub token: &'a [u8],
    /// Bytes of the number, 1 to 4.
    pub number_bytes: u8,
}

/// Appends a header up to the number of the packet, fixed bit set; `length` counts what follows, the number included.
pub fn encode_long_header(header: &LongHeader<'_>, length: usize, dst: &mut BytesMut) {
    let kind = header.version.long_bits(header.kind) << 4;
    dst.put_u8(LONG | FIXED | kind | (header.number_bytes.wrapping_sub(1) & 3));
    dst.put_u32(header.version.0);
    put_id(header.destination.as_slice(), dst);
    put_id(header.source.as_slice(), dst);
    if header.kind == LongKind::Initial {
        encode_varint(header.token.len() as u64, dst);
        dst.put_slice(header.token);
    }
    encode_varint(length as u64, dst);
}

/// Appends a Retry packet with a tag that was made elsewhere (RFC 9000 section 17.2.5).
pub fn encode_retry(
    version: Version,
    unused: u8,
    ids: (ConnectionId, ConnectionId),
    token: &[u8],
    tag: &[u8; RETRY_TAG_BYTES],
    dst: &mut BytesMut,
) {
    let (destination, source) = ids;
    let kind = version.long_bits(LongKind::Retry) << 4;
    dst.put_u8(LONG | FIXED | kind | (unused & 0x0f));
    dst.put_u32(version.0);
    put_id(destination.as_slice(), dst);
    put_id(source.as_slice(), dst);
    dst.put_slice(token);
    dst.put_slice(tag);
}

fn put_id(id: &[u8], dst: &mut BytesMut) {
    let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
    dst.put_u8(length);
    dst.put_slice(id.get(..usize::from(length)).unwrap_or_default());
}
