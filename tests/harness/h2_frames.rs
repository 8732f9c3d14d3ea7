//! HTTP/2 by hand: frames as bytes, and a client that sends whatever a test wants.
//!
//! Neither the gateway's codec nor a library: a hostile peer must be able to say what no library would. Header blocks
//! are written as literals and read just far enough to see the status. Start at [`RawH2::connect`].

use std::io;
use std::net::SocketAddr;

use crate::connection::{Connection, Ending};

/// What a client's side begins with.
pub const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The numbers of RFC 9113 sections 6 and 7.
#[allow(missing_docs)] // each is the number of its name
pub mod h2_numbers {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;

    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;

    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;

    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

use h2_numbers as n;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What is behind the header.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The first four bytes of the payload from `at`: an error code, a window, a last stream.
    #[must_use]
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).unwrap_or(&[0; 4]);
        u32::from_be_bytes(bytes.try_into().unwrap())
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The status that a header block begins with; `None` where it is written in a way that this cannot read.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.payload.as_slice() {
            [first, ..] if (0x88..=0x8e).contains(first) => {
                Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)])
            }
            [0x08 | 0x48, 0x03, digits @ ..] => {
                std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok()
            }
            [0x08 | 0x48, length, rest @ ..] if length & 0x80 != 0 => {
                huffman_digits(rest.get(..usize::from(length & 0x7f))?)
            }
            _ => None,
        }
    }
}

/// Three digits in the code of RFC 7541 appendix B: five bits for 0 to 2, six for the others.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u16> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)))
        .collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let mut rest = bits.as_slice();
    let mut status = 0;
    for _ in 0..3 {
        let short = number(rest.get(..5)?);
        let (digit, length) = if short < 3 {
            (short, 5)
        } else {
            (number(rest.get(..6)?).checked_sub(0x19)? + 3, 6)
        };
        status = status * 10 + digit;
        rest = &rest[length..];
    }
    Some(status)
}

/// The bytes of a frame.
#[must_use]
pub fn h2_frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A SETTINGS frame.
#[must_use]
pub fn h2_settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    h2_frame(n::SETTINGS, 0, 0, payload)
}

/// A header block: literals that are not kept in the table, names and values as they are.
#[must_use]
pub fn h2_block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name.as_ref());
        text(&mut block, value.as_ref());
    }
    block
}

/// A field that is kept in the table: the newest entry is index 62.
#[must_use]
pub fn h2_indexed_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0x40];
    text(&mut block, name);
    text(&mut block, value);
    block
}

fn text(block: &mut Vec<u8>, text: &[u8]) {
    integer(block, text.len());
    block.extend(text);
}

/// A length with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).unwrap());
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// What a stream was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawH2Response {
    /// The status, if it came and could be read.
    pub status: Option<u16>,
    /// The content.
    pub data: Vec<u8>,
    /// The code of a reset.
    pub reset: Option<u32>,
}

/// How a connection ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawH2End {
    /// Each GOAWAY: last stream and code.
    pub goaways: Vec<(u32, u32)>,
    /// Streams that were reset, and why.
    pub resets: Vec<(u32, u32)>,
    /// Streams that ended in order.
    pub ended: Vec<u32>,
}

/// A client that speaks in frames. Reads fail after [`crate::CEILING`].
#[derive(Debug)]
pub struct RawH2 {
    connection: Connection,
}

impl RawH2 {
    /// A connection on which nothing was said.
    #[track_caller]
    #[must_use]
    pub fn silent(address: SocketAddr) -> Self {
        Self {
            connection: Connection::connect(address).expect("connect"),
        }
    }

    /// A connection whose preface and SETTINGS are exchanged.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// As [`RawH2::connect`], with these settings.
    #[track_caller]
    #[must_use]
    pub fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address);
        client.send(H2_PREFACE).send(h2_settings(settings));
        let theirs = client.read_frame().expect("SETTINGS");
        assert_eq!((theirs.kind, theirs.flags), (n::SETTINGS, 0));
        client.send_frame(n::SETTINGS, n::ACK, 0, b"");
        client.read_until(|frame| frame.kind == n::SETTINGS && frame.has(n::ACK));
        client
    }

    /// The connection below.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Writes bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.connection.send(bytes).expect("send");
        self
    }

    /// Writes bytes to a peer that may have closed. Whether it took them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.connection.send(bytes).is_ok()
    }

    /// Writes a frame.
    #[track_caller]
    pub fn send_frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.send(h2_frame(kind, flags, stream, payload))
    }

    /// Opens a stream with a GET that is complete.
    #[track_caller]
    pub fn get(&mut self, stream: u32, path: &str, host: &str) -> &mut Self {
        self.send(Self::get_frame(stream, path, host))
    }

    /// The bytes of a GET that is complete.
    #[must_use]
    pub fn get_frame(stream: u32, path: &str, host: &str) -> Vec<u8> {
        let block = h2_block(&Self::head("GET", path, host));
        h2_frame(n::HEADERS, n::END_HEADERS | n::END_STREAM, stream, block)
    }

    /// The pseudo-headers of a request.
    #[must_use]
    pub fn head<'a>(method: &'a str, path: &'a str, host: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            (":method", method),
            (":scheme", "http"),
            (":authority", host),
            (":path", path),
        ]
    }

    /// Opens further a window: a stream's, or with 0 the connection's.
    #[track_caller]
    pub fn open_window(&mut self, stream: u32, by: u32) -> &mut Self {
        self.send_frame(n::WINDOW_UPDATE, 0, stream, by.to_be_bytes())
    }

    /// The next frame; `None` at the end of the connection, in either way.
    #[track_caller]
    pub fn read_frame(&mut self) -> Option<RawFrame> {
        match self.try_read_frame() {
            Ok(frame) => Some(frame),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => panic!("{error}"),
            Err(_) => None,
        }
    }

    fn try_read_frame(&mut self) -> io::Result<RawFrame> {
        read_h2_frame(&mut self.connection)
    }

    /// The next frame that is wanted; others are dropped.
    #[track_caller]
    pub fn read_until(&mut self, wanted: impl Fn(&RawFrame) -> bool) -> RawFrame {
        let mut seen = Vec::new();
        while let Some(frame) = self.read_frame() {
            if wanted(&frame) {
                return frame;
            }
            seen.push((frame.kind, frame.stream, frame.payload.len()));
        }
        panic!("the connection ended before the frame came; seen: {seen:?}");
    }

    /// Everything that is said on a stream until it ends; other streams are dropped.
    #[track_caller]
    pub fn read_response(&mut self, stream: u32) -> RawH2Response {
        let mut response = RawH2Response::default();
        loop {
            let frame = self.read_until(|frame| frame.stream == stream);
            match frame.kind {
                n::HEADERS => response.status = response.status.or_else(|| frame.status()),
                n::DATA => response.data.extend(&frame.payload),
                n::RST_STREAM => response.reset = Some(frame.number(0)),
                _ => {}
            }
            let ended = matches!(frame.kind, n::HEADERS | n::DATA) && frame.has(n::END_STREAM);
            if ended || frame.kind == n::RST_STREAM {
                return response;
            }
        }
    }

    /// Reads to the end of the connection, and answers PING meanwhile.
    #[track_caller]
    pub fn read_end(&mut self) -> RawH2End {
        let mut end = RawH2End::default();
        while let Some(frame) = self.read_frame() {
            match frame.kind {
                n::PING if !frame.has(n::ACK) => {
                    self.try_send(h2_frame(n::PING, n::ACK, 0, &frame.payload));
                }
                n::GOAWAY => end.goaways.push((frame.number(0), frame.number(4))),
                n::RST_STREAM => end.resets.push((frame.stream, frame.number(0))),
                n::HEADERS | n::DATA if frame.has(n::END_STREAM) => end.ended.push(frame.stream),
                _ => {}
            }
        }
        end
    }

    /// Asserts that the connection ends with a GOAWAY of this code.
    #[track_caller]
    pub fn expect_goaway(&mut self, code: u32) {
        let end = self.read_end();
        let last = end.goaways.last().map(|(_, code)| *code);
        assert_eq!(last, Some(code), "{end:?}");
    }

    /// Asserts that the connection is answered: a PING comes back.
    #[track_caller]
    pub fn expect_alive(&mut self) {
        self.send_frame(n::PING, 0, 0, b"are you?");
        self.read_until(|frame| frame.kind == n::PING && frame.has(n::ACK));
    }

    /// Whether the peer ends in order or by a reset; what still comes is dropped.
    #[track_caller]
    pub fn read_ending(&mut self) -> Ending {
        self.connection.read_to_end().expect("read to the end").1
    }
}

/// Reads a frame, on either side of the gateway.
///
/// # Errors
/// The connection ended or broke, or nothing came for [`crate::CEILING`].
pub fn read_h2_frame(connection: &mut Connection) -> io::Result<RawFrame> {
    let header = connection.read_exact(9)?;
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
    };
    let payload = connection.read_exact(number(&header[..3]) as usize)?;
    Ok(RawFrame {
        kind: header[3],
        flags: header[4],
        stream: number(&header[5..9]) & 0x7fff_ffff,
        payload,
    })
}
