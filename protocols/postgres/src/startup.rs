//! What a client sends before its first message: packets with a length and a code, but no type byte.
//!
//! Not the conversation about encryption and proof: the session leads that, packet by packet, and sees to it that each
//! request comes once at most. What cannot be Postgres is refused by its first byte, so that no stray client of another
//! protocol waits for an answer. Start at [`StartupDecoder`]; what a server answers to a request for encryption is
//! [`EncryptionReply`].

mod error;

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;
use portcullis_codec::Decoder;

use crate::limits::{CANCEL_KEY, StartupLimits};
pub use error::{Hint, StartupError};

/// CancelRequest.
pub(crate) const CANCEL: u32 = code(1234, 5678);
/// SSLRequest.
pub(crate) const SSL: u32 = code(1234, 5679);
/// GSSENCRequest.
pub(crate) const GSS_ENCRYPTION: u32 = code(1234, 5680);

/// Bytes of length and code.
const HEADER: usize = 8;

const fn code(major: u16, minor: u16) -> u32 {
    (major as u32) << 16 | minor as u32
}

/// A version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion {
    /// 3 since 2003.
    pub major: u16,
    /// 0, or 2 since PostgreSQL 18.
    pub minor: u16,
}

impl ProtocolVersion {
    /// What every server and driver speaks.
    pub const V3_0: Self = Self { major: 3, minor: 0 };
    /// With cancel keys of up to 256 bytes.
    pub const V3_2: Self = Self { major: 3, minor: 2 };

    /// The version in this number.
    #[must_use]
    pub const fn of(code: u32) -> Self {
        Self {
            major: (code >> 16) as u16,
            minor: code as u16,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn code(self) -> u32 {
        code(self.major, self.minor)
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Debug for ProtocolVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ProtocolVersion({self})")
    }
}

/// One packet.
#[derive(Clone, PartialEq, Eq)]
pub enum Startup {
    /// May TLS begin? One byte is answered.
    SslRequest,
    /// May GSSAPI encryption begin? One byte is answered.
    GssEncRequest,
    /// Cancel what another connection runs. Nothing is answered.
    Cancel {
        /// The process of that session.
        process: i32,
        /// Its secret, 4 to 256 bytes. Compare it in constant time.
        key: Bytes,
    },
    /// A session begins. Only major version 3 gets here.
    Start {
        /// The protocol that the client speaks: any minor version, which the session may talk down.
        version: ProtocolVersion,
        /// Who it is and what it sets.
        parameters: StartupParameters,
    },
}

impl fmt::Debug for Startup {
    /// Without the key, which is a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SslRequest => formatter.write_str("SslRequest"),
            Self::GssEncRequest => formatter.write_str("GssEncRequest"),
            Self::Cancel { process, .. } => write!(formatter, "Cancel({process})"),
            Self::Start {
                version,
                parameters,
            } => write!(formatter, "Start({version}, {parameters:?})"),
        }
    }
}

/// Names and values, in order and as they came.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StartupParameters(Bytes);

impl StartupParameters {
    /// Each name with its value. A name may come twice; servers take the last.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, behind) = split_string(rest)?;
            let (value, behind) = split_string(behind)?;
            rest = behind;
            Some((name, value))
        })
    }

    /// The value that counts for this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let own = self.iter().filter(|(own, _)| *own == name);
        own.last().map(|(_, value)| value)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.iter().count()
    }
}

impl fmt::Debug for StartupParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &[u8]| text.escape_ascii().to_string();
        let entries = self.iter().map(|(name, value)| (shown(name), shown(value)));
        formatter.debug_map().entries(entries).finish()
    }
}

/// A string and what is behind its NUL.
fn split_string(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, behind) = input.split_at_checked(memchr(0, input)?)?;
    Some((text, behind.get(1..)?))
}

/// Takes packets off what a client sends first ("Message Formats": StartupMessage, SSLRequest, GSSENCRequest,
/// CancelRequest).
#[derive(Debug, Clone)]
pub struct StartupDecoder {
    limits: StartupLimits,
    wants: usize,
}

impl StartupDecoder {
    /// A decoder that keeps `limits`.
    #[must_use]
    pub const fn new(limits: StartupLimits) -> Self {
        let wants = HEADER;
        Self { limits, wants }
    }

    /// The length and code of a packet, judged as far as they are here. `None`: more have to come.
    fn header(&self, src: &[u8]) -> Result<Option<(usize, u32)>, StartupError> {
        let Some(first) = src.first() else {
            return Ok(None);
        };
        // No packet is 16 MiB long, so its length begins with a zero.
        if *first != 0 {
            return Err(StartupError::NotPostgres(Hint::of(*first)));
        }
        let Some((length, behind)) = src.split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length < HEADER {
            return Err(StartupError::Length);
        }
        if length > self.limits.bytes {
            return Err(StartupError::TooLong);
        }
        let Some(code) = behind.first_chunk() else {
            return Ok(None);
        };
        let code = u32::from_be_bytes(*code);
        check_code(code, length)?;
        Ok(Some((length, code)))
    }

    fn packet(&self, code: u32, body: &[u8]) -> Result<Startup, StartupError> {
        match code {
            SSL => Ok(Startup::SslRequest),
            GSS_ENCRYPTION => Ok(Startup::GssEncRequest),
            CANCEL => {
                let (process, key) = body.split_first_chunk().ok_or(StartupError::Length)?;
                let process = i32::from_be_bytes(*process);
                let key = Bytes::copy_from_slice(key);
                Ok(Startup::Cancel { process, key })
            }
            _ => Ok(Startup::Start {
                version: ProtocolVersion::of(code),
                parameters: self.parameters(body)?,
            }),
        }
    }

    /// Pairs of strings up to an empty name, which is the last byte of the packet.
    fn parameters(&self, body: &[u8]) -> Result<StartupParameters, StartupError> {
        let mut rest = body;
        let mut count = 0;
        while let Some((name, behind)) = split_string(rest) {
            if name.is_empty() {
                if !behind.is_empty() {
                    return Err(StartupError::Layout);
                }
                let pairs = body.len() - 1;
                // A copy, since a session may keep it for long, and the buffer that it came in is larger.
                let pairs = Bytes::copy_from_slice(body.get(..pairs).unwrap_or_default());
                return Ok(StartupParameters(pairs));
            }
            count += 1;
            if count > self.limits.parameters {
                return Err(StartupError::TooManyParameters);
            }
            (_, rest) = split_string(behind).ok_or(StartupError::Layout)?;
        }
        Err(StartupError::Layout)
    }
}

/// Whether a packet with this code may have this length.
fn check_code(code: u32, length: usize) -> Result<(), StartupError> {
    let fits = match code {
        SSL | GSS_ENCRYPTION => length == HEADER,
        CANCEL => length
            .checked_sub(HEADER + 4)
            .is_some_and(|key| CANCEL_KEY.contains(&key)),
        _ if code >> 16 == 3 => true,
        _ => return Err(StartupError::Version(ProtocolVersion::of(code))),
    };
    if fits {
        Ok(())
    } else {
        Err(StartupError::Length)
    }
}

impl Decoder for StartupDecoder {
    type Item = Startup;
    type Error = StartupError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Startup>, StartupError> {
        let Some((length, code)) = self.header(src)? else {
            self.wants = HEADER.saturating_sub(src.len()).max(1);
            return Ok(None);
        };
        let Some(body) = src.get(HEADER..length) else {
            self.wants = length - src.len();
            return Ok(None);
        };
        let packet = self.packet(code, body)?;
        src.advance(length);
        self.wants = HEADER;
        Ok(Some(packet))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Startup>, StartupError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(StartupError::Truncated),
            item => Ok(item),
        }
    }

    fn wants(&self) -> usize {
        self.wants
    }
}

/// What a server answers to an SSLRequest or a GSSENCRequest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncryptionReply {
    /// `S` or `G`: the handshake may begin.
    Accepted,
    /// `N`: the connection stays as it is.
    Refused,
    /// `E`: an ErrorResponse begins. Whoever sent it has proved nothing, so its text is not to be shown to anybody
    /// (CVE-2024-10977).
    Error,
}

impl EncryptionReply {
    /// Reads the one byte. `None`: it has not come yet.
    ///
    /// # Errors
    /// [`StartupError::Reply`] for any other byte; [`StartupError::Injected`] if bytes have come behind an `S` or `G`:
    /// nobody but a third party sends those (CVE-2021-23222).
    pub const fn read(src: &[u8]) -> Result<Option<Self>, StartupError> {
        match src {
            [] => Ok(None),
            [b'S' | b'G'] => Ok(Some(Self::Accepted)),
            [b'S' | b'G', ..] => Err(StartupError::Injected),
            [b'N', ..] => Ok(Some(Self::Refused)),
            [b'E', ..] => Ok(Some(Self::Error)),
            _ => Err(StartupError::Reply),
        }
    }
}

#[cfg(test)]
mod tests;
