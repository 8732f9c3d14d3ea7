//! Frames of an Initial packet (RFC 9000 sections 12.5 and 19).
//!
//! Only those that may be in one; any other ends the reading. Everything borrows from the payload. Start at [`frames`].

use std::iter::FusedIterator;

use crate::error::FrameError;
use crate::grammar;

/// One frame, or a run of PADDING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// So many bytes of PADDING.
    Padding(usize),
    /// PING.
    Ping,
    /// ACK; its ranges were checked, and are not kept.
    Ack {
        /// The highest number that is acknowledged.
        largest: u64,
        /// How long that took, in a unit that is not known here.
        delay: u64,
        /// How many ranges follow the first.
        ranges: u64,
    },
    /// Part of the handshake.
    Crypto {
        /// Where in the stream it belongs.
        offset: u64,
        /// What is there; the end is at most 2^62-1.
        data: &'a [u8],
    },
    /// The end of the connection, for a reason of the transport.
    ConnectionClose {
        /// The error.
        code: u64,
        /// The type of the frame that caused it, or 0.
        frame_type: u64,
        /// Words for people.
        reason: &'a [u8],
    },
}

/// The frames of an Initial packet's payload. After an error there is nothing more.
pub const fn frames(payload: &[u8]) -> Frames<'_> {
    Frames {
        rest: payload,
        has_frames: false,
    }
}

/// Frames one after the other.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
    has_frames: bool,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let had_frames = std::mem::replace(&mut self.has_frames, true);
        if self.rest.is_empty() {
            // RFC 9000 section 12.4: a packet without frames is an error.
            return (!had_frames).then_some(Err(FrameError::NoFrames));
        }
        let answer = grammar::frame(self.rest);
        self.rest = answer.as_ref().map_or(&[], |(rest, _)| rest);
        Some(answer.map(|(_, frame)| frame))
    }
}

impl FusedIterator for Frames<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_what_is_none() {
        let truncated = Err(FrameError::Truncated);
        let unexpected = Err(FrameError::Unexpected);
        let ack = |largest, delay, ranges| {
            Ok(Frame::Ack {
                largest,
                delay,
                ranges,
            })
        };
        type Row<'a> = (&'a str, &'a [u8], &'a [Result<Frame<'a>, FrameError>]);
        let rows: &[Row<'_>] = &[
            ("nothing", &[], &[Err(FrameError::NoFrames)]),
            (
                "padding and ping",
                &[0, 0, 1, 0],
                &[
                    Ok(Frame::Padding(2)),
                    Ok(Frame::Ping),
                    Ok(Frame::Padding(1)),
                ],
            ),
            (
                "crypto",
                &[6, 0x40, 5, 2, b'h', b'i', 1],
                &[
                    Ok(Frame::Crypto {
                        offset: 5,
                        data: b"hi",
                    }),
                    Ok(Frame::Ping),
                ],
            ),
            ("crypto cut off", &[6, 0, 3, b'h', b'i'], &[truncated]),
            (
                "crypto past the end of all streams",
                &[6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
                &[Err(FrameError::Offset)],
            ),
            ("ack", &[2, 9, 1, 0, 9], &[ack(9, 1, 0)]),
            ("ack of two ranges", &[2, 9, 1, 1, 2, 3, 2], &[ack(9, 1, 1)]),
            (
                "ack below zero",
                &[2, 9, 1, 0, 10],
                &[Err(FrameError::AckRanges)],
            ),
            (
                "ack with a range below zero",
                &[2, 9, 1, 1, 2, 3, 3],
                &[Err(FrameError::AckRanges)],
            ),
            (
                "ack that promises ranges",
                &[2, 9, 1, 2, 2, 3, 2],
                &[truncated],
            ),
            ("ack with ECN", &[3, 9, 1, 0, 9, 1, 2, 3], &[ack(9, 1, 0)]),
            ("ack with half of ECN", &[3, 9, 1, 0, 9, 1, 2], &[truncated]),
            (
                "close",
                &[0x1c, 0x0a, 6, 2, b'n', b'o'],
                &[Ok(Frame::ConnectionClose {
                    code: 10,
                    frame_type: 6,
                    reason: b"no",
                })],
            ),
            ("close by the application", &[0x1d, 0, 0], &[unexpected]),
            ("a stream", &[0x08, 0, b'x'], &[unexpected]),
            ("a type in two bytes", &[0x40, 0x06, 0, 0], &[unexpected]),
        ];
        for (name, payload, expected) in rows {
            assert_eq!(frames(payload).collect::<Vec<_>>(), *expected, "{name}");
        }
    }
}
