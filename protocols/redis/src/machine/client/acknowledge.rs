//! WAIT: how many replicas have what the client wrote.
//!
//! A server speaks of what was written over the connection that it is asked on. That would have to be one that clients share, and
//! all would wait with the one. So it is asked over a connection of the client's own, behind a write of the gateway's that writes
//! nothing: a replica that has this has all that was before. It is no promise that what was written is not lost with its
//! servers. Start at [`Client::acknowledge`].

use bytes::BytesMut;

use super::{Assembly, Client, Flow, How};
use crate::command::channels::{Wait, wait};
use crate::encoder;
use crate::machine::upstreams::{
    Call, Destination, Destinations, Lost, Piece, PinEnd, PinId, Purpose, Ticket, Upstreams,
};

/// Servers up to 7.0 take whatever a connection says for what it wrote last.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Later ones take what goes to replicas: that no functions are restored, here. It is without effect, nobody hears of it, and
/// nodes of a cluster do it too. (A message would be heard by who subscribed to all, and nodes do not send it to replicas.)
const MARK: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", NO_FUNCTIONS, b"APPEND"];

/// What `FUNCTION DUMP` of Redis 7.0 says where there are none: the version of the format, and a checksum.
const NO_FUNCTIONS: &[u8] = b"\x0a\x00\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda";

impl<T> Client<T> {
    /// Asks all places that the client has written to; the answer is the least of theirs.
    pub(super) fn acknowledge(
        &mut self,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        // What was sent before must be done before.
        if !self.slots.is_empty() {
            return Err(of);
        }
        match written(&call, up) {
            Ok(places) => self.ask_for_acknowledgement(&places, call, of, up),
            Err(lost) => self.lose(lost, of),
        }
        Ok(Flow::Next)
    }

    fn ask_for_acknowledgement(
        &mut self,
        places: &Destinations,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) {
        let parts = Assembly::new(How::Acknowledged, 2 * places.len());
        let is_silent = self.is_silent();
        let slot = self.slots.push_merging(of, is_silent, parts);
        self.waiting = Some(slot);
        for (part, to) in (0..).step_by(2).zip(places) {
            let marked = Ticket::Slot { slot, part };
            let part = part + 1;
            let counted = Ticket::Slot { slot, part };
            let pin = self.pin_to_ask(*to, &call, up);
            let mut say = |wire: &[u8], ticket| {
                let sent = pin.and_then(|pin| up.send_pinned(pin, wire, Some(ticket)));
                sent.err().map(|lost| (ticket, lost))
            };
            let mut mark = BytesMut::new();
            encoder::command(&MARK, &mut mark);
            let lost = [say(&mark, marked), say(call.command.wire(), counted)];
            for (ticket, lost) in lost.into_iter().flatten() {
                self.on_piece(ticket, Piece::Lost(lost));
            }
        }
    }

    /// A connection of the client's own, over which something was said.
    fn pin_to_ask(
        &mut self,
        to: Destination,
        call: &Call<'_>,
        up: &mut impl Upstreams,
    ) -> Result<PinId, Lost> {
        let at_most = match wait(call.id, &call.command) {
            Some(Wait::AtMost(time)) => Some(time),
            Some(Wait::Forever) | None => None,
        };
        let pin = up.pin(to, self.speaks, Purpose::Blocking { at_most })?;
        self.ending.push((pin, PinEnd::Clean));
        up.send_pinned(pin, PING, Some(Ticket::Own))?;
        Ok(pin)
    }
}

/// Where the client has written. One that has not may ask anybody.
fn written(call: &Call<'_>, up: &mut impl Upstreams) -> Result<Destinations, Lost> {
    let mut places = up.written()?;
    if places.is_empty() {
        places.push(up.anywhere(call)?);
    }
    Ok(places)
}
