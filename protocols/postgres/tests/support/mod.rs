//! The scanner as a decoder, and what is seen of a stream of messages.
//!
//! Vectors, laws and fuzz targets judge the codec through this. Where a large message is cut and how rows are batched
//! carry no meaning, so [`merged`] takes both away. Start at [`Messages`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs

use bytes::BytesMut;
use portcullis_codec::Decoder;
use portcullis_postgres::error::FrameError;
use portcullis_postgres::frame::{Frame, FrameScanner, HEADER, Side, Tag};
use portcullis_postgres::limits::FrameLimits;

/// What is seen of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message, header included.
    Message(Tag, Vec<u8>),
    /// A message that streamed, as far as it came.
    Large {
        tag: Tag,
        total: u64,
        bytes: Vec<u8>,
        is_whole: bool,
    },
}

/// A frame with its bytes.
pub type Piece = (Frame, Vec<u8>);

/// The scanner as a decoder.
#[derive(Debug)]
pub struct Messages {
    scanner: FrameScanner,
}

impl Messages {
    pub fn new(side: Side, limits: FrameLimits) -> Self {
        let scanner = FrameScanner::new(side, limits);
        Self { scanner }
    }
}

impl Decoder for Messages {
    type Item = Piece;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Piece>, FrameError> {
        let Some(frame) = self.scanner.next(src)? else {
            assert!(self.scanner.wants() > 0, "wants nothing");
            return Ok(None);
        };
        assert!(!frame.is_empty(), "a frame of nothing");
        assert!(frame.len() <= src.len(), "more than there is");
        Ok(Some((frame, src.split_to(frame.len()).to_vec())))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Piece>, FrameError> {
        match self.decode(src)? {
            None if !src.is_empty() || !self.scanner.is_between() => Err(FrameError::Truncated),
            item => Ok(item),
        }
    }

    fn wants(&self) -> usize {
        self.scanner.wants()
    }
}

/// Records large messages in one, and runs message by message.
pub fn merged(events: &mut Vec<Event>, (frame, bytes): Piece) {
    match frame {
        Frame::Whole { tag, .. } => events.push(Event::Message(tag, bytes)),
        Frame::Run { tag, count, .. } => {
            let messages = split_run(tag, &bytes);
            assert_eq!(messages.len(), count as usize, "a run that cannot count");
            events.extend(messages);
        }
        Frame::Begin { tag, total, .. } => events.push(Event::Large {
            tag,
            total,
            bytes,
            is_whole: false,
        }),
        Frame::More { last, .. } => {
            let Some(Event::Large {
                total,
                bytes: before,
                is_whole,
                ..
            }) = events.last_mut()
            else {
                panic!("more of nothing");
            };
            assert!(!*is_whole, "more than the last");
            before.extend(bytes);
            *is_whole = last;
            assert_eq!(before.len() as u64 == *total, last, "ends elsewhere");
        }
    }
}

fn split_run(tag: Tag, mut bytes: &[u8]) -> Vec<Event> {
    let mut messages = Vec::new();
    while let Some((own, length, _)) = header(bytes) {
        assert_eq!(own, tag, "a stranger in a run");
        let (message, rest) = bytes.split_at(length + 1);
        messages.push(Event::Message(tag, message.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a run with a rest");
    messages
}

/// Type, length and body of a message, by the book and slowly.
pub fn header(bytes: &[u8]) -> Option<(Tag, usize, &[u8])> {
    let (head, body) = bytes.split_at_checked(HEADER)?;
    let length = i32::from_be_bytes(head[1..].try_into().ok()?);
    Some((Tag(head[0]), usize::try_from(length).ok()?, body))
}
