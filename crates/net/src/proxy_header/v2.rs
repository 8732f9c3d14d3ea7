//! The grammar of the version 2 header (section 2.2).
//!
//! Works on a whole header and yields spans, so that values share the header's allocation. Start at [`parse`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;

use bytes::Bytes;
use nom::bytes::complete::{tag, take};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use nom::{IResult, Parser as _};
use smallvec::SmallVec;

use super::checksum::Checksum;
use super::{
    Addresses, ProxyHeader, ProxyHeaderError, ProxyValue, Transport, V2_BYTES, V2_SIGNATURE,
    V2_VALUES, ValueKind,
};

/// Signature, version and command, family and transport, length of the rest.
pub(super) const FIXED_BYTES: usize = 16;

/// The bytes of one Unix address: `sun_path`.
pub(super) const UNIX_BYTES: usize = 108;

const UNIQUE_ID_BYTES: usize = 128;
/// A byte of flags and four of the verification's result stand in front of the values inside.
const SSL_LEAST_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 4;

/// The length of the whole header, checked against the limit before anybody waits for its bytes; `None` if the
/// length is not there yet.
///
/// Version, command and family are checked as they come, so that nonsense is not waited for.
pub(super) fn total_length(src: &[u8]) -> Result<Option<usize>, ProxyHeaderError> {
    let Some(&version_command) = src.get(12) else {
        return Ok(None);
    };
    let command = Command::read(version_command)?;
    let Some(&family) = src.get(13) else {
        return Ok(None);
    };
    if command == Command::Proxy {
        Family::read(family)?;
    }
    let (Some(&high), Some(&low)) = (src.get(14), src.get(15)) else {
        return Ok(None);
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES {
        return Err(ProxyHeaderError::TooLong);
    }
    Ok(Some(length))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

impl Command {
    fn read(byte: u8) -> Result<Self, ProxyHeaderError> {
        match (byte >> 4, byte & 0x0F) {
            (2, 0) => Ok(Self::Local),
            (2, 1) => Ok(Self::Proxy),
            // "Receivers must drop connections presenting unexpected values here."
            (2, _) => Err(ProxyHeaderError::Command),
            _ => Err(ProxyHeaderError::Version),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    V4(Transport),
    V6(Transport),
    Unix(Transport),
}

impl Family {
    fn read(byte: u8) -> Result<Self, ProxyHeaderError> {
        let transport = match byte & 0x0F {
            0 if byte == 0 => return Ok(Self::Unspecified),
            1 => Transport::Stream,
            2 => Transport::Datagram,
            _ => return Err(ProxyHeaderError::Family),
        };
        match byte >> 4 {
            1 => Ok(Self::V4(transport)),
            2 => Ok(Self::V6(transport)),
            3 => Ok(Self::Unix(transport)),
            _ => Err(ProxyHeaderError::Family),
        }
    }
}

/// A header's parts as places in its bytes.
pub(super) struct Spans {
    addresses: AddressSpans,
    values: SmallVec<[(ValueKind, Range<usize>); 4]>,
}

enum AddressSpans {
    Known(Addresses),
    Unix(Range<usize>, Range<usize>, Transport),
}

impl Spans {
    /// The header, its values slices of `frame`.
    pub(super) fn slice(self, frame: &Bytes) -> ProxyHeader {
        let addresses = match self.addresses {
            AddressSpans::Known(addresses) => addresses,
            AddressSpans::Unix(source, destination, transport) => Addresses::Unix {
                source: frame.slice(source),
                destination: frame.slice(destination),
                transport,
            },
        };
        let slice = |(kind, span)| ProxyValue {
            kind,
            value: frame.slice(span),
        };
        ProxyHeader {
            addresses,
            values: self.values.into_iter().map(slice).collect(),
        }
    }

    fn without_values(addresses: Addresses) -> Self {
        Self {
            addresses: AddressSpans::Known(addresses),
            values: SmallVec::new(),
        }
    }
}

/// Reads a whole header, whose length [`total_length`] has said.
pub(super) fn parse(frame: &[u8]) -> Result<Spans, ProxyHeaderError> {
    let (body, (command, family)) = fixed(frame).map_err(|_| ProxyHeaderError::TooShort)?;
    if Command::read(command)? == Command::Local {
        // The block of a LOCAL header is discarded, "including the family".
        return Ok(Spans::without_values(Addresses::Local));
    }
    let family = Family::read(family)?;
    if family == Family::Unspecified {
        return Ok(Spans::without_values(Addresses::Unknown));
    }
    let (rest, addresses) = addresses(family, body).map_err(|_| ProxyHeaderError::TooShort)?;
    let values = values(frame, rest)?;
    Ok(Spans { addresses, values })
}

fn fixed(frame: &[u8]) -> IResult<&[u8], (u8, u8)> {
    let (rest, (_, command, family, _length)) =
        (tag(&V2_SIGNATURE[..]), be_u8, be_u8, be_u16).parse(frame)?;
    Ok((rest, (command, family)))
}

fn addresses(family: Family, body: &[u8]) -> IResult<&[u8], AddressSpans> {
    match family {
        Family::V4(transport) => {
            let (rest, (source, destination, from, to)) =
                (be_u32, be_u32, be_u16, be_u16).parse(body)?;
            let addresses = Addresses::V4 {
                source: SocketAddrV4::new(Ipv4Addr::from_bits(source), from),
                destination: SocketAddrV4::new(Ipv4Addr::from_bits(destination), to),
                transport,
            };
            Ok((rest, AddressSpans::Known(addresses)))
        }
        Family::V6(transport) => {
            let (rest, (source, destination, from, to)) =
                (be_u128, be_u128, be_u16, be_u16).parse(body)?;
            let addresses = Addresses::V6 {
                source: SocketAddrV6::new(Ipv6Addr::from_bits(source), from, 0, 0),
                destination: SocketAddrV6::new(Ipv6Addr::from_bits(destination), to, 0, 0),
                transport,
            };
            Ok((rest, AddressSpans::Known(addresses)))
        }
        Family::Unix(transport) => {
            let (rest, (source, destination)) = (take(UNIX_BYTES), take(UNIX_BYTES)).parse(body)?;
            let source = path(FIXED_BYTES, source);
            let destination = path(FIXED_BYTES + UNIX_BYTES, destination);
            Ok((rest, AddressSpans::Unix(source, destination, transport)))
        }
        Family::Unspecified => Ok((body, AddressSpans::Known(Addresses::Unknown))),
    }
}

/// The path in a field that begins at `start`: up to the first zero byte. An abstract name, which begins with one, is
/// empty.
fn path(start: usize, field: &[u8]) -> Range<usize> {
    let length = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    start..start + length
}

type ValueSpans = SmallVec<[(ValueKind, Range<usize>); 4]>;

fn values(frame: &[u8], mut rest: &[u8]) -> Result<ValueSpans, ProxyHeaderError> {
    let mut values = ValueSpans::new();
    let mut checked = false;
    let mut count = 0;
    while !rest.is_empty() {
        let (after, (kind, value)) = one_value(rest).map_err(|_| ProxyHeaderError::ValueLength)?;
        rest = after;
        count += 1;
        if count > V2_VALUES {
            return Err(ProxyHeaderError::TooManyValues);
        }
        check_length(kind, value.len())?;
        let end = frame.len() - rest.len();
        let span = end - value.len()..end;
        match kind {
            ValueKind::CRC32C if checked => return Err(ProxyHeaderError::Checksum),
            ValueKind::CRC32C => {
                check(frame, &span)?;
                checked = true;
            }
            ValueKind::NOOP => {}
            kind => values.push((kind, span)),
        }
    }
    Ok(values)
}

fn one_value(input: &[u8]) -> IResult<&[u8], (ValueKind, &[u8])> {
    let (input, (kind, length)) = (be_u8, be_u16).parse(input)?;
    let (input, value) = take(length).parse(input)?;
    Ok((input, (ValueKind(kind), value)))
}

fn check_length(kind: ValueKind, length: usize) -> Result<(), ProxyHeaderError> {
    let allowed = match kind {
        ValueKind::CRC32C => length == CHECKSUM_BYTES,
        ValueKind::UNIQUE_ID => length <= UNIQUE_ID_BYTES,
        ValueKind::SSL => length >= SSL_LEAST_BYTES,
        _ => true,
    };
    allowed.then_some(()).ok_or(ProxyHeaderError::ValueLength)
}

/// The checksum is that of the whole header with its own field zero.
fn check(frame: &[u8], field: &Range<usize>) -> Result<(), ProxyHeaderError> {
    let before = frame.get(..field.start).unwrap_or_default();
    let behind = frame.get(field.end..).unwrap_or_default();
    let computed = Checksum::new()
        .with(before)
        .with(&[0; CHECKSUM_BYTES])
        .with(behind)
        .finish();
    let written = frame.get(field.clone()).unwrap_or_default();
    if written == computed.to_be_bytes() {
        Ok(())
    } else {
        Err(ProxyHeaderError::Checksum)
    }
}
