//! Bytes to PROXY headers, in whatever pieces they come.
//!
//! Finds the end of the header and looks at no byte of it twice; what it means is in `v1` and `v2`. Start at
//! [`ProxyHeaderDecoder`].

use bytes::BytesMut;
use portcullis_codec::Decoder;

use super::{ProxyHeader, ProxyHeaderError, V1_BYTES, V1_SIGNATURE, V2_SIGNATURE, v1, v2};
use crate::Sniff;

/// Decodes the one header at the front of a connection.
#[derive(Debug, Clone, Default)]
pub struct ProxyHeaderDecoder {
    /// Bytes of a version 1 line that hold no line end.
    scanned: usize,
}

impl ProxyHeaderDecoder {
    /// At the front of a connection.
    #[must_use]
    pub const fn new() -> Self {
        Self { scanned: 0 }
    }
}

/// Which version bytes begin like.
enum Signature {
    V1,
    V2,
    Partial,
    Neither,
}

impl Signature {
    fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(V1_SIGNATURE) {
            Self::V1
        } else if bytes.starts_with(V2_SIGNATURE) {
            Self::V2
        } else if V1_SIGNATURE.starts_with(bytes) || V2_SIGNATURE.starts_with(bytes) {
            Self::Partial
        } else {
            Self::Neither
        }
    }
}

/// Whether bytes begin like a PROXY header of either version.
#[must_use]
pub fn sniff(prefix: &[u8]) -> Sniff {
    match Signature::of(prefix) {
        Signature::V1 | Signature::V2 => Sniff::Yes,
        Signature::Partial => Sniff::NeedMore,
        Signature::Neither => Sniff::No,
    }
}

impl Decoder for ProxyHeaderDecoder {
    type Item = ProxyHeader;
    type Error = ProxyHeaderError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
        match Signature::of(src) {
            Signature::Neither => Err(ProxyHeaderError::Missing),
            Signature::Partial => Ok(None),
            Signature::V1 => self.decode_line(src),
            Signature::V2 => decode_binary(src),
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
        match self.decode(src)? {
            None if src.is_empty() => Ok(None),
            None => Err(ProxyHeaderError::Truncated),
            header => Ok(header),
        }
    }
}

impl ProxyHeaderDecoder {
    fn decode_line(&mut self, src: &mut BytesMut) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
        let new = src
            .get(self.scanned..V1_BYTES.min(src.len()))
            .unwrap_or_default();
        let Some(at) = line_end(new) else {
            if src.len() >= V1_BYTES {
                return Err(ProxyHeaderError::LineTooLong);
            }
            self.scanned = src.len();
            return Ok(None);
        };
        let end = self.scanned + at;
        match (src.get(end), src.get(end + 1)) {
            // Section 2.1: the line is at most 107 bytes with its CR LF.
            (Some(b'\r'), _) if end + 2 > V1_BYTES => Err(ProxyHeaderError::LineTooLong),
            (Some(b'\r'), None) => {
                self.scanned = end;
                Ok(None)
            }
            (Some(b'\r'), Some(b'\n')) => {
                let header = v1::parse(src.get(..end).unwrap_or_default())?;
                bytes::Buf::advance(src, end + 2);
                self.scanned = 0;
                Ok(Some(header))
            }
            _ => Err(ProxyHeaderError::LineEnd),
        }
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'))
}

fn decode_binary(src: &mut BytesMut) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some(length) = v2::total_length(src)? else {
        return Ok(None);
    };
    if src.len() < length {
        return Ok(None);
    }
    // Checked before the bytes are taken: an error leaves them where they are.
    let spans = v2::parse(src.get(..length).unwrap_or_default())?;
    let frame = src.split_to(length).freeze();
    Ok(Some(spans.slice(&frame)))
}
