//! PROXY headers to bytes.
//!
//! Writes the canonical form of either version. Start at [`ProxyHeaderEncoder`].

use std::io::Write as _;

use bytes::{BufMut as _, BytesMut};
use portcullis_codec::{Encoder, Severity, WireError};

use super::checksum::Checksum;
use super::v2::{FIXED_BYTES, UNIX_BYTES};
use super::{
    Addresses, ProxyHeader, Transport, V1_BYTES, V2_BYTES, V2_SIGNATURE, V2_VALUES, ValueKind,
};

/// Which form a header is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text. Has no room for values, Unix addresses and datagrams.
    V1,
    /// Binary.
    V2,
}

/// Writes headers.
#[derive(Debug, Clone, Copy)]
pub struct ProxyHeaderEncoder {
    /// In which form.
    pub version: Version,
    /// Whether a version 2 header carries a checksum. Over TCP it guards against nothing but bugs.
    pub checksum: bool,
}

impl ProxyHeaderEncoder {
    /// Without checksum.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            checksum: false,
        }
    }
}

/// Why a header has no wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EncodeError {
    /// It is longer than a receiver accepts.
    #[error("the PROXY header is too long")]
    TooLong,
}

impl WireError for EncodeError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        "proxy_encode_too_long"
    }
}

impl Encoder<&ProxyHeader> for ProxyHeaderEncoder {
    type Error = EncodeError;

    fn encode(&mut self, header: &ProxyHeader, dst: &mut BytesMut) -> Result<(), EncodeError> {
        match self.version {
            Version::V1 => {
                encode_line(&header.addresses, dst);
                Ok(())
            }
            Version::V2 => encode_binary(header, self.checksum, dst),
        }
    }
}

/// What the line cannot say it says it does not know.
fn encode_line(addresses: &Addresses, dst: &mut BytesMut) {
    dst.reserve(V1_BYTES);
    let mut writer = dst.writer();
    // Writing to a buffer in memory does not fail.
    let _ = match addresses {
        Addresses::V4 {
            source,
            destination,
            transport: Transport::Stream,
        } => write!(
            writer,
            "PROXY TCP4 {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
        Addresses::V6 {
            source,
            destination,
            transport: Transport::Stream,
        } => write!(
            writer,
            "PROXY TCP6 {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
        _ => write!(writer, "PROXY UNKNOWN\r\n"),
    };
}

fn encode_binary(
    header: &ProxyHeader,
    checksum: bool,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let start = dst.len();
    dst.put_slice(V2_SIGNATURE);
    let (command, family) = codes(&header.addresses);
    dst.put_u8(0x20 | command);
    dst.put_u8(family);
    dst.put_u16(0);
    put_addresses(&header.addresses, dst);
    let has_values = !matches!(header.addresses, Addresses::Local | Addresses::Unknown);
    let result = if has_values {
        put_values(header, checksum, dst)
    } else {
        Ok(())
    };
    let length = dst.len() - start;
    if result.is_err() || length > V2_BYTES {
        dst.truncate(start);
        return Err(EncodeError::TooLong);
    }
    patch(
        dst,
        start + FIXED_BYTES - 2,
        &((length - FIXED_BYTES) as u16).to_be_bytes(),
    );
    if has_values && checksum {
        let sum = Checksum::new()
            .with(dst.get(start..).unwrap_or_default())
            .finish();
        let end = dst.len();
        patch(dst, end - 4, &sum.to_be_bytes());
    }
    Ok(())
}

/// Command, and family with transport.
const fn codes(addresses: &Addresses) -> (u8, u8) {
    const fn code(transport: Transport) -> u8 {
        match transport {
            Transport::Stream => 1,
            Transport::Datagram => 2,
        }
    }
    match addresses {
        Addresses::Local => (0, 0),
        Addresses::Unknown => (1, 0),
        Addresses::V4 { transport, .. } => (1, 0x10 | code(*transport)),
        Addresses::V6 { transport, .. } => (1, 0x20 | code(*transport)),
        Addresses::Unix { transport, .. } => (1, 0x30 | code(*transport)),
    }
}

fn put_addresses(addresses: &Addresses, dst: &mut BytesMut) {
    match addresses {
        Addresses::Local | Addresses::Unknown => {}
        Addresses::V4 {
            source,
            destination,
            ..
        } => {
            dst.put_u32(source.ip().to_bits());
            dst.put_u32(destination.ip().to_bits());
            dst.put_u16(source.port());
            dst.put_u16(destination.port());
        }
        Addresses::V6 {
            source,
            destination,
            ..
        } => {
            dst.put_u128(source.ip().to_bits());
            dst.put_u128(destination.ip().to_bits());
            dst.put_u16(source.port());
            dst.put_u16(destination.port());
        }
        Addresses::Unix {
            source,
            destination,
            ..
        } => {
            for path in [source, destination] {
                let written = path.get(..UNIX_BYTES).unwrap_or(path);
                dst.put_slice(written);
                dst.put_bytes(0, UNIX_BYTES - written.len());
            }
        }
    }
}

/// The checksum, if wanted, comes last, and zero until all is written.
fn put_values(header: &ProxyHeader, checksum: bool, dst: &mut BytesMut) -> Result<(), EncodeError> {
    if header.values.len() + usize::from(checksum) > V2_VALUES {
        return Err(EncodeError::TooLong);
    }
    for value in &header.values {
        let length = u16::try_from(value.value.len()).map_err(|_| EncodeError::TooLong)?;
        dst.put_u8(value.kind.0);
        dst.put_u16(length);
        dst.put_slice(&value.value);
    }
    if checksum {
        dst.put_u8(ValueKind::CRC32C.0);
        dst.put_u16(4);
        dst.put_u32(0);
    }
    Ok(())
}

fn patch(dst: &mut BytesMut, at: usize, bytes: &[u8]) {
    if let Some(place) = dst.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
