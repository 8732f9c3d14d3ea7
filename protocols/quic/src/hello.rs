//! A client's Initial packets to its ClientHello.
//!
//! Joins protection, frames and assembly for one connection; what the message says is read by `portcullis-tls`. It holds no
//! datagram and knows no address. Start at [`HelloReader`].

use bytes::BytesMut;
use portcullis_tls::{ClientHello, ClientHelloError, ClientHelloLimits, message_length};

use crate::connection_id::ConnectionId;
use crate::crypto::{CryptoAssembler, CryptoLimits};
use crate::datagram::Packets;
use crate::error::{HelloError, ProtectionError};
use crate::frame::{Frame, frames};
use crate::header::{HeaderLimits, LongKind, LongPacket, Packet};
use crate::protection::PacketKey;
use crate::version::Version;

/// How much is read to find a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HelloLimits {
    /// Of headers.
    pub header: HeaderLimits,
    /// Of the message while it is in pieces.
    pub crypto: CryptoLimits,
    /// Of the message as a whole. Its `records` do not matter here: there are none.
    pub client_hello: ClientHelloLimits,
}

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelloProgress {
    /// More packets are needed.
    More,
    /// The message is whole.
    Whole(ClientHello),
}

/// Reads the ClientHello of one connection, from datagrams in any order.
#[derive(Debug)]
pub struct HelloReader {
    limits: HelloLimits,
    version: Version,
    destination: ConnectionId,
    key: PacketKey,
    assembler: CryptoAssembler,
    /// One more than the highest packet number.
    expected: u64,
    failed: Option<HelloError>,
}

impl HelloReader {
    /// For the connection whose first packet has this version and destination: `None` if the version is not read.
    #[must_use]
    pub fn new(version: Version, destination: ConnectionId, limits: HelloLimits) -> Option<Self> {
        Some(Self {
            limits,
            version,
            destination,
            key: PacketKey::of_client(version, &destination)?,
            assembler: CryptoAssembler::new(limits.crypto),
            expected: 0,
            failed: None,
        })
    }

    /// Bytes of the message that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.assembler.bytes()
    }

    /// Takes the Initial packets of one datagram; others in it are passed over. `scratch` is overwritten.
    /// `Ok(None)`: no packet in it belongs to this connection's first flight, or none could be opened for the error beside it.
    ///
    /// # Errors
    /// What the client sends is no ClientHello, or one past the limits. That is final: the same is said again.
    pub fn take(
        &mut self,
        datagram: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Result<HelloProgress, ProtectionError>, HelloError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let answer = self.read(datagram, scratch);
        self.failed = answer.as_ref().err().copied();
        answer
    }

    fn read(
        &mut self,
        datagram: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Result<HelloProgress, ProtectionError>, HelloError> {
        let mut opened = Err(ProtectionError::Kind);
        let packets = Packets::new(datagram, 0, self.limits.header);
        // A header that cannot be read ends the datagram; what stood before it counts.
        for packet in packets.map_while(Result::ok) {
            let Packet::Long(packet) = packet else {
                continue;
            };
            match self.open(&packet, scratch)? {
                Ok(()) => opened = Ok(()),
                // Of several errors the first one says most.
                Err(error) if opened == Err(ProtectionError::Kind) => opened = Err(error),
                Err(_) => {}
            }
        }
        match opened {
            Ok(()) => self.finish().map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    fn open(
        &mut self,
        packet: &LongPacket<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Result<(), ProtectionError>, HelloError> {
        if packet.kind != LongKind::Initial || packet.destination != self.destination {
            return Ok(Err(ProtectionError::Kind));
        }
        let opened = match self.key.open(packet, self.expected, scratch) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        self.expected = self.expected.max(opened.number + 1);
        for frame in frames(opened.payload) {
            match frame? {
                Frame::Crypto { offset, data } => self.assembler.take(offset, data)?,
                Frame::ConnectionClose { .. } => return Err(HelloError::Closed),
                Frame::Padding(_) | Frame::Ping | Frame::Ack { .. } => {}
            }
        }
        Ok(Ok(()))
    }

    /// Reads the message if it is whole. What is declared is judged before it is waited for.
    fn finish(&self) -> Result<HelloProgress, HelloError> {
        let limits = &self.limits.client_hello;
        let front = self.assembler.front(4);
        let Some(length) = message_length(&front, limits)? else {
            return Ok(HelloProgress::More);
        };
        // Nothing follows a ClientHello before it is answered, whichever of the two comes first.
        if self.assembler.end() > length {
            return Err(ClientHelloError::TrailingData.into());
        }
        if self.assembler.front_bytes() < length {
            return Ok(HelloProgress::More);
        }
        let message = BytesMut::from(&self.assembler.front(length)[..]);
        Ok(HelloProgress::Whole(ClientHello::of_message(
            message, limits,
        )?))
    }

    /// The version of the packets that are read.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }
}
