//! Connections that messages about tracked keys come over, where they cannot come over those that keys are read on: a client of RESP2
//! reads in RESP2, in which servers say nothing unasked.
//!
//! So it has one more to each server, in RESP3, whose number there the server is told. Start at [`Client::open_ears`].

use std::sync::Arc;

use bytes::BytesMut;

use crate::machine::client::{Client, way};
use crate::machine::elements::integer;
use crate::machine::upstreams::{
    Destination, Destinations, Lost, Piece, PinId, Purpose, Speaks, Ticket, Upstreams,
};
use crate::message::RespVersion;
use crate::renaming::Renaming;

const CLIENT_ID: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";

/// One for each server.
#[derive(Debug, Default)]
pub(super) struct Ears {
    list: Vec<Ear>,
}

#[derive(Debug)]
struct Ear {
    to: Destination,
    pin: PinId,
    number: Number,
    renaming: Option<Arc<Renaming>>,
    partial: BytesMut,
}

/// A connection's number at its server.
#[derive(Debug, Clone, Copy)]
enum Number {
    Asked,
    Is(i64),
    Lost,
}

impl Ears {
    pub(super) fn has(&self, pin: PinId) -> bool {
        self.list.iter().any(|ear| ear.pin == pin)
    }

    pub(super) fn pins(&self) -> impl Iterator<Item = PinId> {
        self.list.iter().map(|ear| ear.pin)
    }

    pub(super) fn is_asking(&self) -> bool {
        let is_asked = |ear: &Ear| matches!(ear.number, Number::Asked);
        self.list.iter().any(is_asked)
    }

    /// The number of the connection for this server.
    pub(super) fn number(&self, to: Destination) -> Option<i64> {
        match self.list.iter().find(|ear| ear.to == to)?.number {
            Number::Is(number) => Some(number),
            Number::Asked | Number::Lost => None,
        }
    }

    /// Whether messages are to come over such connections, and there is none for this server.
    pub(super) fn is_deaf(&self, to: Destination) -> bool {
        !self.list.is_empty() && self.number(to).is_none()
    }

    /// A message that is not whole, and what keys are called where it comes from.
    pub(super) fn find(&mut self, pin: PinId) -> Option<(&mut BytesMut, &Option<Arc<Renaming>>)> {
        let ear = self.list.iter_mut().find(|ear| ear.pin == pin)?;
        Some((&mut ear.partial, &ear.renaming))
    }

    pub(super) fn on_answer(&mut self, pin: PinId, piece: Piece<'_>) {
        let number = match piece {
            Piece::Whole { bytes, .. } => integer(bytes).map_or(Number::Lost, Number::Is),
            _ => Number::Lost,
        };
        if let Some(ear) = self.list.iter_mut().find(|ear| ear.pin == pin) {
            ear.number = number;
        }
    }
}

impl<T> Client<T> {
    /// Makes sure that there is one for each server. Whether all have their numbers; if not, they are being asked for.
    ///
    /// # Errors
    /// One cannot be had.
    pub(super) fn open_ears(
        &mut self,
        places: &Destinations,
        up: &mut impl Upstreams,
    ) -> Result<bool, Lost> {
        let speaks = Speaks {
            version: RespVersion::Resp3,
            ..self.speaks
        };
        let tracking = self.tracking.get_or_insert_default();
        let is_lost = |ear: &Ear| matches!(ear.number, Number::Lost);
        if tracking.ears.list.iter().any(is_lost) {
            return Err(Lost::Closed);
        }
        for place in places {
            let to = up.server_of(*place)?;
            if tracking.ears.list.iter().any(|ear| ear.to == to) {
                continue;
            }
            let is_broadcast = false;
            let pin = up.pin(to, speaks, Purpose::Tracking { is_broadcast })?;
            tracking.ears.list.push(Ear {
                to,
                pin,
                number: Number::Asked,
                renaming: way::renaming(to.way, up),
                partial: BytesMut::new(),
            });
            up.send_pinned(pin, CLIENT_ID, Some(Ticket::Ear(pin)))?;
        }
        Ok(!tracking.ears.is_asking())
    }
}
