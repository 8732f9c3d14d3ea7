//! First flights: packets to ids that were not learned, up to a ClientHello that is whole.
//!
//! The part of the machine that opens packets. Not what is known of connections. Start at [`Steering::on_first`].

use std::net::SocketAddr;
use std::time::Instant;

use portcullis_tls::ClientHello;

use super::hold::{HoldKey, Stage};
use super::known::UNGUESSABLE_BYTES;
use super::verdict::{DropReason, HelloId, Opening, UnknownReason, Verdict};
use super::{INITIAL_DATAGRAM_BYTES, Steering};
use crate::datagram::Packets;
use crate::error::ProtectionError;
use crate::header::{LongKind, LongPacket, Packet};
use crate::hello::{HelloProgress, HelloReader};
use crate::version::Version;

impl Steering {
    /// A datagram with a long header of a version that is read, to an id that was not learned.
    pub(super) fn on_first(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Verdict {
        let limits = self.config.limits.hello.header;
        let packet = match Packets::new(datagram, 0, limits).next() {
            Some(Ok(Packet::Long(packet))) => packet,
            Some(Err(error)) => return Verdict::Drop(DropReason::Header(error)),
            // A Retry.
            _ => return Verdict::Drop(DropReason::NotForServers),
        };
        let key = (from, packet.destination);
        if packet.kind == LongKind::Handshake {
            return self.by_name_or(now, from, &packet, datagram, UnknownReason::Handshake);
        }
        if self.holds.stage(&key).is_some() {
            return self.on_held(now, &key, &packet, datagram);
        }
        if packet.kind == LongKind::ZeroRtt {
            return Verdict::Drop(DropReason::EarlyData);
        }
        if datagram.len() < INITIAL_DATAGRAM_BYTES {
            return Verdict::Drop(DropReason::SmallInitial);
        }
        if packet.destination.len() < UNGUESSABLE_BYTES {
            return Verdict::Drop(DropReason::ShortDestination);
        }
        self.on_initial(now, &key, &packet, datagram)
    }

    /// The first Initial of a connection, as far as anyone knows here.
    fn on_initial(
        &mut self,
        now: Instant,
        key: &HoldKey,
        packet: &LongPacket<'_>,
        datagram: &[u8],
    ) -> Verdict {
        let (from, destination) = *key;
        let limits = self.config.limits.hello;
        let Some(mut reader) = HelloReader::new(packet.version, destination, limits) else {
            return self.unknown(now, from, None, datagram, UnknownReason::Version);
        };
        let source = Some(packet.source);
        let (stage, hello) = match reader.take(datagram, &mut self.scratch) {
            Err(error) => {
                let reason = UnknownReason::Hello(error);
                return self.unknown(now, from, source, datagram, reason);
            }
            Ok(Err(error)) => {
                let reason = UnknownReason::Protection(error);
                return self.by_name_or(now, from, packet, datagram, reason);
            }
            Ok(Ok(HelloProgress::More)) => (Stage::Reading(Box::new(reader)), None),
            Ok(Ok(HelloProgress::Whole(hello))) => (Stage::Routing, Some(hello)),
        };
        if !self.addresses.receive(now, from, source, datagram.len()) {
            return Verdict::Drop(DropReason::Handshakes);
        }
        let number = self.holds.begin(now, *key, packet.source, stage, datagram);
        held(key, packet.version, number, hello)
    }

    /// More of a connection whose ClientHello is not whole, or has no route yet.
    fn on_held(
        &mut self,
        now: Instant,
        key: &HoldKey,
        packet: &LongPacket<'_>,
        datagram: &[u8],
    ) -> Verdict {
        let (from, _) = *key;
        let source = Some(packet.source);
        if !self.addresses.receive(now, from, source, datagram.len()) {
            return Verdict::Drop(DropReason::Handshakes);
        }
        let has_room = self.holds.has_room(key);
        let hello = match self.holds.stage(key) {
            None => return Verdict::Unknown(UnknownReason::NoRoom),
            Some(Stage::Failed(error)) => return Verdict::Unknown(UnknownReason::Hello(*error)),
            Some(_) if !has_room => return Verdict::Drop(DropReason::HoldFull),
            Some(Stage::Routing) => None,
            Some(stage @ Stage::Reading(_)) => match read(stage, datagram, &mut self.scratch) {
                Ok(hello) => hello,
                Err(verdict) => return verdict,
            },
        };
        let stage = hello.is_some().then_some(Stage::Routing);
        let number = self.holds.add(key, datagram, stage);
        held(key, packet.version, number, hello)
    }

    /// What is not known otherwise may name its server.
    fn by_name_or(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &LongPacket<'_>,
        datagram: &[u8],
        reason: UnknownReason,
    ) -> Verdict {
        let source = Some(packet.source);
        match self.by_server_id(now, packet.destination.as_slice()) {
            None => self.unknown(now, from, source, datagram, reason),
            Some(_) if !self.addresses.receive(now, from, source, datagram.len()) => {
                Verdict::Drop(DropReason::Handshakes)
            }
            Some(target) => Verdict::To(target),
        }
    }
}

/// Reads on: the ClientHello if it is whole now.
fn read(
    stage: &mut Stage,
    datagram: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<Option<ClientHello>, Verdict> {
    let Stage::Reading(reader) = stage else {
        return Ok(None);
    };
    match reader.take(datagram, scratch) {
        // Early data may come in between.
        Ok(Ok(HelloProgress::More) | Err(ProtectionError::Kind)) => Ok(None),
        Ok(Ok(HelloProgress::Whole(hello))) => Ok(Some(hello)),
        Ok(Err(error)) => Err(Verdict::Drop(DropReason::Protection(error))),
        Err(error) => {
            *stage = Stage::Failed(error);
            Err(Verdict::Unknown(UnknownReason::Hello(error)))
        }
    }
}

/// What is said of a datagram that was held, if it could be.
fn held(
    key: &HoldKey,
    version: Version,
    number: Option<u64>,
    hello: Option<ClientHello>,
) -> Verdict {
    let (from, destination) = *key;
    match (number, hello) {
        (None, _) => Verdict::Unknown(UnknownReason::NoRoom),
        (Some(_), None) => Verdict::Held,
        (Some(number), Some(hello)) => Verdict::Opening(Box::new(Opening {
            id: HelloId {
                from,
                destination,
                number,
            },
            version,
            hello,
        })),
    }
}
