//! Frames to bytes (RFC 9113 section 4).
//!
//! What it writes, [`crate::decoder`] reads back as the same frame; reserved bits and padding are zeros. It does not cut: a
//! header block too long for one frame is the caller's to spread over CONTINUATION. Start at [`FrameEncoder`].

use bytes::{BufMut, BytesMut};
use portcullis_codec::Encoder;

use crate::error::EncodeError;
use crate::frame::settings::ENTRY_BYTES;
use crate::frame::{Frame, HEADER_BYTES, Priority, Unknown, flags};
use crate::frame::{FrameHeader, FrameKind};
use crate::grammar;

/// The most padding with its length byte.
const MOST_PADDING: u16 = 256;

/// Appends frames to a buffer.
#[derive(Debug, Clone, Copy)]
pub struct FrameEncoder {
    max_frame_size: u32,
}

impl FrameEncoder {
    /// An encoder that writes payloads of up to so many bytes: what the peer allows by SETTINGS_MAX_FRAME_SIZE.
    #[must_use]
    pub const fn new(max_frame_size: u32) -> Self {
        Self { max_frame_size }
    }
}

impl Encoder<&Frame> for FrameEncoder {
    type Error = EncodeError;

    fn encode(&mut self, frame: &Frame, dst: &mut BytesMut) -> Result<(), EncodeError> {
        grammar::check_stream(frame.kind(), frame.stream()).map_err(|_| EncodeError::Stream)?;
        check_values(frame)?;
        let length = payload_bytes(frame);
        let length = u32::try_from(length).map_err(|_| EncodeError::TooLarge)?;
        if length > self.max_frame_size {
            return Err(EncodeError::TooLarge);
        }
        dst.reserve(HEADER_BYTES + length as usize);
        encode_header(
            &FrameHeader {
                length,
                kind: frame.kind(),
                flags: flags_of(frame),
                stream: frame.stream(),
            },
            dst,
        );
        put_payload(frame, dst);
        Ok(())
    }
}

/// Appends the nine bytes of a header (RFC 9113 section 4.1); of the length, its lower 24 bits.
pub fn encode_header(header: &FrameHeader, dst: &mut BytesMut) {
    dst.put_uint(u64::from(header.length & 0xff_ffff), 3);
    dst.put_u8(header.kind.number());
    dst.put_u8(header.flags);
    dst.put_u32(header.stream.number());
}

fn check_values(frame: &Frame) -> Result<(), EncodeError> {
    let valid = match frame {
        Frame::WindowUpdate(update) => (1..1 << 31).contains(&update.increment),
        Frame::PushPromise(promise) => !promise.promised.is_connection(),
        Frame::Settings(settings) => {
            let header = FrameHeader {
                length: 0,
                kind: FrameKind::Settings,
                flags: flags_of(frame),
                stream: frame.stream(),
            };
            grammar::check_settings(&header, settings.payload()).is_ok()
        }
        // The number of a kind that is known would be read as that kind.
        Frame::Unknown(unknown) => {
            matches!(FrameKind::from_number(unknown.kind), FrameKind::Unknown(_))
        }
        _ => true,
    };
    if !valid {
        return Err(EncodeError::Value);
    }
    if padding_of(frame) > MOST_PADDING {
        return Err(EncodeError::Padding);
    }
    Ok(())
}

const fn padding_of(frame: &Frame) -> u16 {
    match frame {
        Frame::Data(frame) => frame.padding,
        Frame::Headers(frame) => frame.padding,
        Frame::PushPromise(frame) => frame.padding,
        _ => 0,
    }
}

fn payload_bytes(frame: &Frame) -> usize {
    let inner = match frame {
        Frame::Data(frame) => frame.data.len(),
        Frame::Headers(frame) => frame.block.len() + frame.priority.map_or(0, |_| 5),
        Frame::Priority(..) => 5,
        Frame::Reset(_) | Frame::WindowUpdate(_) => 4,
        Frame::Settings(frame) => frame.iter().count() * ENTRY_BYTES,
        Frame::PushPromise(frame) => frame.block.len() + 4,
        Frame::Ping(_) => 8,
        Frame::GoAway(frame) => frame.debug.len() + 8,
        Frame::Continuation(frame) => frame.block.len(),
        Frame::Unknown(frame) => frame.payload.len(),
    };
    inner + usize::from(padding_of(frame))
}

fn flags_of(frame: &Frame) -> u8 {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let padded = flag(padding_of(frame) > 0, flags::PADDED);
    padded
        | match frame {
            Frame::Data(frame) => flag(frame.end_stream, flags::END_STREAM),
            Frame::Headers(frame) => {
                flag(frame.end_stream, flags::END_STREAM)
                    | flag(frame.end_headers, flags::END_HEADERS)
                    | flag(frame.priority.is_some(), flags::PRIORITY)
            }
            Frame::Settings(frame) => flag(frame.ack, flags::ACK),
            Frame::PushPromise(frame) => flag(frame.end_headers, flags::END_HEADERS),
            Frame::Ping(frame) => flag(frame.ack, flags::ACK),
            Frame::Continuation(frame) => flag(frame.end_headers, flags::END_HEADERS),
            Frame::Unknown(Unknown { flags, .. }) => *flags,
            Frame::Priority(..) | Frame::Reset(_) | Frame::GoAway(_) | Frame::WindowUpdate(_) => 0,
        }
}

fn put_payload(frame: &Frame, dst: &mut BytesMut) {
    let padding = padding_of(frame);
    if let Some(length) = padding.checked_sub(1) {
        // At most 255.
        dst.put_u8(length as u8);
    }
    match frame {
        Frame::Data(frame) => dst.put_slice(&frame.data),
        Frame::Headers(frame) => {
            if let Some(priority) = frame.priority {
                put_priority(priority, dst);
            }
            dst.put_slice(&frame.block);
        }
        Frame::Priority(_, priority) => put_priority(*priority, dst),
        Frame::Reset(frame) => dst.put_u32(frame.code.0),
        Frame::Settings(frame) => dst.put_slice(frame.payload()),
        Frame::PushPromise(frame) => {
            dst.put_u32(frame.promised.number());
            dst.put_slice(&frame.block);
        }
        Frame::Ping(frame) => dst.put_slice(&frame.payload),
        Frame::GoAway(frame) => {
            dst.put_u32(frame.last_stream.number());
            dst.put_u32(frame.code.0);
            dst.put_slice(&frame.debug);
        }
        Frame::WindowUpdate(frame) => dst.put_u32(frame.increment),
        Frame::Continuation(frame) => dst.put_slice(&frame.block),
        Frame::Unknown(frame) => dst.put_slice(&frame.payload),
    }
    dst.put_bytes(0, usize::from(padding.saturating_sub(1)));
}

fn put_priority(priority: Priority, dst: &mut BytesMut) {
    let exclusive = u32::from(priority.exclusive) << 31;
    dst.put_u32(exclusive | priority.dependency.number());
    dst.put_u8(priority.weight);
}
