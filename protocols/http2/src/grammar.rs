//! nom: the bytes of a header and of each kind of payload to numbers and spans.
//!
//! Payloads are whole slices here, so a parser that runs short means that the frame's length is wrong. Nothing is copied
//! and nothing is known of limits or of other frames. Start at [`frame_header`].

use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::rest;
use nom::number::complete::{be_u8, be_u24, be_u32};

use crate::error::FrameError;
use crate::frame::settings::{self, ENTRY_BYTES};
use crate::frame::{ErrorCode, FrameHeader, FrameKind, Priority, Setting, StreamId, flags};
use crate::frame::{LEAST_MAX_FRAME_SIZE, MOST_MAX_FRAME_SIZE};

type Answer<'a, T> = nom::IResult<&'a [u8], T, FrameError>;

/// The nine bytes of a frame header (RFC 9113 section 4.1); `None` when there are fewer.
#[inline]
pub(crate) fn frame_header(input: &[u8]) -> Option<FrameHeader> {
    let answer: Answer<'_, _> = (be_u24, be_u8, be_u8, be_u32).parse(input);
    let (_, (length, kind, flags, stream)) = answer.ok()?;
    Some(FrameHeader {
        length,
        kind: FrameKind::from_number(kind),
        flags,
        stream: StreamId::new(stream),
    })
}

/// Which stream a frame of this kind may name (sections 6.1 to 6.10).
pub(crate) const fn check_stream(kind: FrameKind, stream: StreamId) -> Result<(), FrameError> {
    match kind {
        FrameKind::Data
        | FrameKind::Headers
        | FrameKind::Priority
        | FrameKind::Reset
        | FrameKind::PushPromise
        | FrameKind::Continuation
            if stream.is_connection() =>
        {
            Err(FrameError::NoStream)
        }
        FrameKind::Settings | FrameKind::Ping | FrameKind::GoAway if !stream.is_connection() => {
            Err(FrameError::OnStream)
        }
        _ => Ok(()),
    }
}

/// A payload without its padding, and how many bytes that took with the length byte (section 6.1).
pub(crate) fn unpadded<'a>(
    header: &FrameHeader,
    payload: &'a [u8],
) -> Result<(&'a [u8], u16), FrameError> {
    if !header.is_padded() {
        return Ok((payload, 0));
    }
    let (rest, length) = whole(be_u8(payload))?;
    let end = rest.len().checked_sub(usize::from(length));
    let inner = end.and_then(|end| rest.get(..end));
    let inner = inner.ok_or(FrameError::Padding)?;
    Ok((inner, u16::from(length) + 1))
}

/// The priority in front of a HEADERS block, if its flag is set (section 6.2).
pub(crate) fn headers<'a>(
    header: &FrameHeader,
    payload: &'a [u8],
) -> Result<(Option<Priority>, &'a [u8]), FrameError> {
    if !header.has(flags::PRIORITY) {
        return Ok((None, payload));
    }
    let (block, priority) = whole(priority_fields(payload))?;
    Ok((Some(priority), block))
}

/// A PRIORITY frame (section 6.3).
pub(crate) fn priority(payload: &[u8]) -> Result<Priority, FrameError> {
    match priority_fields(payload) {
        Ok(([], priority)) => Ok(priority),
        _ => Err(FrameError::PriorityLength),
    }
}

fn priority_fields(input: &[u8]) -> Answer<'_, Priority> {
    (be_u32, be_u8)
        .map(|(dependency, weight)| Priority {
            dependency: StreamId::new(dependency),
            exclusive: dependency >> 31 == 1,
            weight,
        })
        .parse(input)
}

/// The code of RST_STREAM (section 6.4).
pub(crate) fn reset(payload: &[u8]) -> Result<ErrorCode, FrameError> {
    exactly(be_u32.map(ErrorCode).parse(payload))
}

/// The values of SETTINGS (section 6.5); checked, not kept.
pub(crate) fn check_settings(header: &FrameHeader, payload: &[u8]) -> Result<(), FrameError> {
    if header.has(flags::ACK) && !payload.is_empty() {
        return Err(FrameError::Length);
    }
    if !payload.len().is_multiple_of(ENTRY_BYTES) {
        return Err(FrameError::Length);
    }
    settings::entries(payload).try_for_each(|(setting, value)| check_setting(setting, value))
}

/// What a parameter may be (section 6.5.2, RFC 8441 section 3).
fn check_setting(setting: Setting, value: u32) -> Result<(), FrameError> {
    match setting {
        Setting::ENABLE_PUSH | Setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
            Err(FrameError::SettingValue)
        }
        Setting::INITIAL_WINDOW_SIZE if value >> 31 == 1 => Err(FrameError::InitialWindow),
        Setting::MAX_FRAME_SIZE
            if !(LEAST_MAX_FRAME_SIZE..=MOST_MAX_FRAME_SIZE).contains(&value) =>
        {
            Err(FrameError::SettingValue)
        }
        _ => Ok(()),
    }
}

/// The promised stream, and the block behind it (section 6.6).
pub(crate) fn push_promise(payload: &[u8]) -> Result<(StreamId, &[u8]), FrameError> {
    let (block, promised) = whole(be_u32.map(StreamId::new).parse(payload))?;
    if promised.is_connection() {
        return Err(FrameError::PromisedStream);
    }
    Ok((promised, block))
}

/// The eight bytes of PING (section 6.7).
pub(crate) fn ping(payload: &[u8]) -> Result<[u8; 8], FrameError> {
    let bytes = exactly(take(8_usize).parse(payload))?;
    <[u8; 8]>::try_from(bytes).map_err(|_| FrameError::Length)
}

/// The last stream, the code and the debug data of GOAWAY (section 6.8).
pub(crate) fn go_away(payload: &[u8]) -> Result<(StreamId, ErrorCode, &[u8]), FrameError> {
    exactly((be_u32.map(StreamId::new), be_u32.map(ErrorCode), rest).parse(payload))
}

/// The increment of WINDOW_UPDATE, without its reserved bit (section 6.9).
pub(crate) fn window_update(stream: StreamId, payload: &[u8]) -> Result<u32, FrameError> {
    let increment = exactly(
        be_u32
            .map(|increment| increment & 0x7fff_ffff)
            .parse(payload),
    )?;
    match (increment, stream.is_connection()) {
        (0, true) => Err(FrameError::ZeroConnectionIncrement),
        (0, false) => Err(FrameError::ZeroIncrement),
        _ => Ok(increment),
    }
}

fn whole<T>(answer: Answer<'_, T>) -> Result<(&[u8], T), FrameError> {
    answer.map_err(|_| FrameError::Length)
}

fn exactly<T>(answer: Answer<'_, T>) -> Result<T, FrameError> {
    match answer {
        Ok(([], value)) => Ok(value),
        _ => Err(FrameError::Length),
    }
}
