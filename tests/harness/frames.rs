//! The server's side of HTTP/2 by hand, for upstreams that do what no library would.
//!
//! Requests are known by their stream only: their fields stay compressed. Start at [`Frames::accept`].

use std::io;

use crate::connection::Connection;
use crate::h2_frames::{
    H2_PREFACE, RawFrame, h2_block, h2_frame, h2_numbers as n, h2_settings, read_h2_frame,
};

/// `:status` and other fields, as the block of a response's head.
#[must_use]
pub fn response_block(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let status = status.to_string();
    let mut all = vec![(":status", status.as_str())];
    all.extend(fields);
    h2_block(&all)
}

/// A peer that begins connections to a scripted upstream, in frames.
#[derive(Debug)]
pub struct Frames<'c> {
    connection: &'c mut Connection,
}

impl<'c> Frames<'c> {
    /// Reads the client's preface and sends our SETTINGS.
    ///
    /// # Errors
    /// The peer left, or speaks something else.
    pub fn accept(connection: &'c mut Connection, settings: &[(u16, u32)]) -> io::Result<Self> {
        let preface = connection.read_exact(H2_PREFACE.len())?;
        if preface != H2_PREFACE {
            let text = format!("no preface: {:?}", String::from_utf8_lossy(&preface));
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        connection.send(h2_settings(settings))?;
        Ok(Self { connection })
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.send_bytes(h2_frame(kind, flags, stream, payload))
    }

    /// Writes any bytes.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.connection.send(bytes)
    }

    /// The next frame, whatever it is.
    ///
    /// # Errors
    /// The peer left.
    pub fn read(&mut self) -> io::Result<RawFrame> {
        read_h2_frame(self.connection)
    }

    /// The next frame of this kind. SETTINGS and PINGs on the way are answered, other frames skipped.
    ///
    /// # Errors
    /// The peer left.
    pub fn next(&mut self, wanted: u8) -> io::Result<RawFrame> {
        loop {
            let frame = self.read()?;
            if frame.kind == wanted && (frame.kind != n::PING || frame.flags & n::ACK == 0) {
                return Ok(frame);
            }
            if matches!(frame.kind, n::SETTINGS | n::PING) && frame.flags & n::ACK == 0 {
                let echo = if frame.kind == n::PING {
                    &frame.payload[..]
                } else {
                    &[]
                };
                self.send(frame.kind, n::ACK, 0, echo)?;
            }
        }
    }

    /// The stream of the next request.
    ///
    /// # Errors
    /// The peer left.
    pub fn request(&mut self) -> io::Result<u32> {
        Ok(self.next(n::HEADERS)?.stream)
    }

    /// A response with a length, and its body.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn respond(&mut self, stream: u32, status: u16, body: &str) -> io::Result<()> {
        let length = body.len().to_string();
        let block = response_block(status, &[("content-length", &length)]);
        self.send(n::HEADERS, n::END_HEADERS, stream, block)?;
        self.send(n::DATA, n::END_STREAM, stream, body)
    }

    /// Answers everything with 200 and this body until the peer leaves.
    ///
    /// # Errors
    /// Never the peer's leaving.
    pub fn serve(&mut self, body: &str) -> io::Result<()> {
        loop {
            let Ok(stream) = self.request() else {
                return Ok(());
            };
            self.respond(stream, 200, body)?;
        }
    }

    /// Reads until the peer leaves.
    pub fn until_gone(&mut self) {
        while self.read().is_ok() {}
    }
}
