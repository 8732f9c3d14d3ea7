//! The scanners as decoders, and what is seen of a stream of commands or replies.
//!
//! Vectors, laws and fuzz targets judge the codec through this. Where a large message is cut carries no meaning, so
//! [`requests`] and [`replies`] take that away. Start at [`Replies`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs

use bytes::{Bytes, BytesMut};
use portcullis_codec::Decoder;
use portcullis_redis::error::{ReplyError, RequestError};
use portcullis_redis::limits::{ReplyLimits, RequestLimits};
use portcullis_redis::reply::{ReplyFrame, ReplyKind, ReplyScanner};
use portcullis_redis::request::{Command, Request, RequestDecoder};

/// What is seen of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A whole command.
    Command(Command),
    /// A command that streamed, as far as it came.
    Large {
        front: Command,
        declared: u32,
        partial: Option<u64>,
        bytes: Vec<u8>,
        is_whole: bool,
    },
}

/// A decoder of a client that is known, or not.
pub fn client(limits: RequestLimits, is_known: bool) -> RequestDecoder {
    let mut decoder = RequestDecoder::new(limits);
    decoder.set_known(is_known);
    decoder
}

/// Records large commands in one.
pub fn requests(events: &mut Vec<Asked>, request: Request) {
    match request {
        Request::Command(command) => events.push(Asked::Command(command)),
        Request::Begin(front) => events.push(Asked::Large {
            bytes: front.command.wire().to_vec(),
            front: front.command,
            declared: front.declared,
            partial: front.partial,
            is_whole: false,
        }),
        Request::More { bytes: more, last } => {
            let Some(Asked::Large {
                bytes, is_whole, ..
            }) = events.last_mut()
            else {
                panic!("more of nothing");
            };
            assert!(!*is_whole, "more than the last");
            assert!(!more.is_empty(), "more without bytes");
            bytes.extend_from_slice(&more);
            *is_whole = last;
        }
    }
}

/// The arguments of a command, in bytes of their own.
pub fn arguments(command: &Command) -> Vec<Vec<u8>> {
    command.as_ref().arguments().map(<[u8]>::to_vec).collect()
}

/// What a client is told: the error of the whole input at once.
pub fn request_error(mut decoder: RequestDecoder, input: &[u8]) -> Option<RequestError> {
    let mut src = BytesMut::from(input);
    loop {
        match decoder.decode_eof(&mut src) {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// What is seen of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub kind: ReplyKind,
    pub attributes: usize,
    /// Whether it came in parts.
    pub is_large: bool,
    pub is_whole: bool,
    pub bytes: Vec<u8>,
}

/// The scanner as a decoder.
#[derive(Debug)]
pub struct Replies {
    scanner: ReplyScanner,
}

impl Replies {
    pub fn new(limits: ReplyLimits) -> Self {
        let scanner = ReplyScanner::new(limits);
        Self { scanner }
    }
}

impl Decoder for Replies {
    type Item = (ReplyFrame, Bytes);
    type Error = ReplyError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, ReplyError> {
        let Some(frame) = self.scanner.next(src)? else {
            assert!(self.scanner.wants(src.len()) > 0, "wants nothing");
            return Ok(None);
        };
        assert!(!frame.is_empty(), "a frame of nothing");
        assert!(frame.len() <= src.len(), "more than there is");
        Ok(Some((frame, src.split_to(frame.len()).freeze())))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, ReplyError> {
        match self.decode(src)? {
            None if !src.is_empty() || !self.scanner.is_between() => Err(ReplyError::Truncated),
            item => Ok(item),
        }
    }
}

/// Records large replies in one.
pub fn replies(events: &mut Vec<Said>, (frame, bytes): (ReplyFrame, Bytes)) {
    match frame {
        ReplyFrame::Whole {
            kind, attributes, ..
        } => events.push(Said {
            kind,
            attributes,
            is_large: false,
            is_whole: true,
            bytes: bytes.to_vec(),
        }),
        ReplyFrame::Begin {
            kind, attributes, ..
        } => events.push(Said {
            kind,
            attributes,
            is_large: true,
            is_whole: false,
            bytes: bytes.to_vec(),
        }),
        ReplyFrame::More { last, .. } => {
            let said = events.last_mut().expect("more of nothing");
            assert!(!said.is_whole, "more than the last");
            said.bytes.extend_from_slice(&bytes);
            said.is_whole = last;
        }
    }
}
