//! nom: the bytes of a datagram to headers, and of a payload to frames.
//!
//! Datagrams are whole, so a parser that runs short means that they are wrong. Nothing is copied but connection ids.
//! Start at [`packet`] for headers, at [`frame`] for what is in an Initial packet.

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u32};

use crate::connection_id::ConnectionId;
use crate::error::{FrameError, HeaderError};
use crate::frame::Frame;
use crate::header::{
    FIXED, HeaderLimits, Invariants, LONG, LongKind, LongPacket, Packet, RETRY_TAG_BYTES,
    RetryPacket, ShortPacket, VersionNegotiation,
};
use crate::varint::{VARINT_MAX, varint};
use crate::version::Version;

type Answer<'a, T, E> = nom::IResult<&'a [u8], T, E>;

/// RFC 8999 section 5.1; `None` for a short header.
pub(crate) fn invariants(input: &[u8]) -> Result<Option<Invariants<'_>>, HeaderError> {
    let first = *input.first().ok_or(HeaderError::Empty)?;
    if first & LONG == 0 {
        return Ok(None);
    }
    let answer: Answer<'_, _, HeaderError> =
        (be_u8, be_u32, length_data(be_u8), length_data(be_u8)).parse(input);
    let (rest, (first, version, destination, source)) = done(answer)?;
    Ok(Some(Invariants {
        first,
        version: Version(version),
        destination,
        source,
        rest,
        bytes: input,
    }))
}

/// The packet at the front of `input`, which is a datagram or the rest of one. A short header's id has `id_bytes`.
pub(crate) fn packet(
    input: &[u8],
    id_bytes: usize,
    limits: HeaderLimits,
) -> Result<Packet<'_>, HeaderError> {
    let Some(invariants) = invariants(input)? else {
        return short(input, id_bytes).map(Packet::Short);
    };
    if invariants.version == Version::NEGOTIATION {
        return VersionNegotiation::new(invariants).map(Packet::VersionNegotiation);
    }
    match invariants.version.long_kind(invariants.first >> 4) {
        None => Ok(Packet::Unknown(invariants)),
        Some(LongKind::Retry) => retry(&invariants, limits).map(Packet::Retry),
        Some(kind) => long(&invariants, kind, limits).map(Packet::Long),
    }
}

fn short(input: &[u8], id_bytes: usize) -> Result<ShortPacket<'_>, HeaderError> {
    let answer: Answer<'_, _, HeaderError> = (be_u8, take(id_bytes)).parse(input);
    let (_, (first, id)) = done(answer)?;
    Ok(ShortPacket {
        fixed: first & FIXED != 0,
        destination: connection_id(id)?,
        bytes: input,
    })
}

/// RFC 9000 sections 17.2.2 to 17.2.4.
fn long<'a>(
    invariants: &Invariants<'a>,
    kind: LongKind,
    limits: HeaderLimits,
) -> Result<LongPacket<'a>, HeaderError> {
    let (rest, token) = match kind {
        LongKind::Initial => done(length_data(varint::<HeaderError>).parse(invariants.rest))?,
        _ => (invariants.rest, &[][..]),
    };
    if token.len() > limits.token {
        return Err(HeaderError::TokenTooLong);
    }
    let (rest, length) = done(varint::<HeaderError>(rest))?;
    let number_at = invariants.bytes.len() - rest.len();
    // What is declared is judged against what is there, and nothing is taken by it.
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| number_at.checked_add(length));
    let bytes = end.and_then(|end| invariants.bytes.get(..end));
    Ok(LongPacket {
        version: invariants.version,
        kind,
        fixed: invariants.first & FIXED != 0,
        destination: connection_id(invariants.destination)?,
        source: connection_id(invariants.source)?,
        token,
        number_at,
        bytes: bytes.ok_or(HeaderError::Truncated)?,
    })
}

/// RFC 9000 section 17.2.5.
fn retry<'a>(
    invariants: &Invariants<'a>,
    limits: HeaderLimits,
) -> Result<RetryPacket<'a>, HeaderError> {
    let (token, tag) = invariants
        .rest
        .split_last_chunk::<RETRY_TAG_BYTES>()
        .ok_or(HeaderError::Truncated)?;
    if token.len() > limits.token {
        return Err(HeaderError::TokenTooLong);
    }
    Ok(RetryPacket {
        version: invariants.version,
        unused: invariants.first & 0x0f,
        fixed: invariants.first & FIXED != 0,
        destination: connection_id(invariants.destination)?,
        source: connection_id(invariants.source)?,
        token,
        tag,
        bytes: invariants.bytes,
    })
}

/// RFC 9000 section 17.2: at most 20 bytes.
fn connection_id(id: &[u8]) -> Result<ConnectionId, HeaderError> {
    ConnectionId::new(id).ok_or(HeaderError::ConnectionIdTooLong)
}

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const ACK_ECN: u8 = 0x03;
const CRYPTO: u8 = 0x06;
const CONNECTION_CLOSE: u8 = 0x1c;

/// The frame at the front of an Initial packet's payload (RFC 9000 section 19). Types are below 64, so that a type in more
/// bytes than one is not in its shortest form (section 12.4).
pub(crate) fn frame(input: &[u8]) -> Result<(&[u8], Frame<'_>), FrameError> {
    let (rest, kind) = done(be_u8::<_, FrameError>(input))?;
    match kind {
        PADDING => {
            let more = rest.iter().take_while(|&&byte| byte == PADDING).count();
            let rest = rest.get(more..).unwrap_or_default();
            Ok((rest, Frame::Padding(1 + more)))
        }
        PING => Ok((rest, Frame::Ping)),
        ACK => ack(rest, false),
        ACK_ECN => ack(rest, true),
        CRYPTO => crypto(rest),
        CONNECTION_CLOSE => {
            let parts = (varint, varint, length_data(varint));
            let frame = |(code, frame_type, reason)| Frame::ConnectionClose {
                code,
                frame_type,
                reason,
            };
            done(parts.map(frame).parse(rest))
        }
        _ => Err(FrameError::Unexpected),
    }
}

/// RFC 9000 section 19.3. The ranges are walked, since only they say where the frame ends; each takes two bytes at least.
fn ack(input: &[u8], has_ecn: bool) -> Result<(&[u8], Frame<'_>), FrameError> {
    let parts: Answer<'_, _, FrameError> = (varint, varint, varint, varint).parse(input);
    let (mut rest, (largest, delay, ranges, first_range)) = done(parts)?;
    let below = |number: u64, less: u64| number.checked_sub(less).ok_or(FrameError::AckRanges);
    let mut smallest = below(largest, first_range)?;
    for _ in 0..ranges {
        let (after, (gap, range)) = done((varint, varint).parse(rest))?;
        rest = after;
        // A gap of 0 is one packet that is missing between two that were received.
        smallest = below(below(smallest, gap)?, 2)?;
        smallest = below(smallest, range)?;
    }
    if has_ecn {
        let (after, _) = done((varint, varint, varint).parse(rest))?;
        rest = after;
    }
    let frame = Frame::Ack {
        largest,
        delay,
        ranges,
    };
    Ok((rest, frame))
}

/// RFC 9000 section 19.6.
fn crypto(input: &[u8]) -> Result<(&[u8], Frame<'_>), FrameError> {
    let (rest, (offset, data)) = done((varint, length_data(varint)).parse(input))?;
    // Both are below 2^62: no overflow.
    if offset + data.len() as u64 > VARINT_MAX {
        return Err(FrameError::Offset);
    }
    Ok((rest, Frame::Crypto { offset, data }))
}

/// An answer without nom's wrapping.
fn done<E, T>(answer: Result<T, nom::Err<E>>) -> Result<T, E>
where
    E: Short,
{
    answer.map_err(|error| match error {
        nom::Err::Error(error) | nom::Err::Failure(error) => error,
        // Only streaming parsers say so, and none is used.
        nom::Err::Incomplete(_) => E::SHORT,
    })
}

/// What input that is too short is called.
trait Short {
    const SHORT: Self;
}

impl Short for HeaderError {
    const SHORT: Self = Self::Truncated;
}

impl Short for FrameError {
    const SHORT: Self = Self::Truncated;
}
