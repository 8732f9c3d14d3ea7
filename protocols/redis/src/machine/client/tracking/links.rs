//! The connections that a client's commands go over while its keys are tracked, one to each server.
//!
//! Start at [`Tracking::pin_at`].

use bytes::BytesMut;

use super::options::Options;
use super::{Link, Tracking, options};
use crate::encoder;
use crate::machine::client::way;
use crate::machine::upstreams::{Destination, Lost, PinId, Purpose, Speaks, Ticket, Upstreams};

impl Tracking {
    /// The connection to the server that has what is there now.
    pub(super) fn pin_at(
        &mut self,
        to: Destination,
        speaks: Speaks,
        up: &mut impl Upstreams,
    ) -> Result<PinId, Lost> {
        let to = up.server_of(to)?;
        self.link_to(to, speaks, up)
    }

    /// The connection to a server; a new one is told all that turned tracking on.
    pub(super) fn link_to(
        &mut self,
        to: Destination,
        speaks: Speaks,
        up: &mut impl Upstreams,
    ) -> Result<PinId, Lost> {
        if let Some(link) = self.links.iter().find(|link| link.to == to) {
            return Ok(link.pin);
        }
        if self.ears.is_deaf(to) {
            // A server that came later: where its messages are to go it cannot be told now.
            self.is_broken = true;
            return Err(Lost::Closed);
        }
        let is_broadcast = self.is_broadcast;
        let pin = up.pin(to, speaks, Purpose::Tracking { is_broadcast })?;
        let renaming = way::renaming(to.way, up);
        let told = self.said.iter().map(|command| {
            let command = command.as_ref();
            let options = Options::read(command);
            options::told(command, &options, renaming.as_deref(), self.ears.number(to))
        });
        let told: Result<Vec<BytesMut>, Lost> = told.collect();
        self.links.push(Link {
            to,
            pin,
            renaming,
            partial: BytesMut::new(),
        });
        let mut told = told.map(Vec::into_iter);
        let told = told.as_mut().map_err(|lost| *lost).and_then(|told| {
            told.try_for_each(|wire| up.send_pinned(pin, &wire, Some(Ticket::Tracking)))
        });
        // Nothing may be read over it that is not tracked.
        self.is_broken |= told.is_err();
        told.map(|()| pin)
    }

    pub(super) fn say_caching(&self, pin: PinId, up: &mut impl Upstreams) -> Result<(), Lost> {
        match self.caching {
            Some(is_yes) => self.say(is_yes, pin, up),
            None => Ok(()),
        }
    }

    /// Says what is to be done with the keys of the next command.
    pub(super) fn say(
        &self,
        is_yes: bool,
        pin: PinId,
        up: &mut impl Upstreams,
    ) -> Result<(), Lost> {
        debug_assert!(self.has(pin), "said where nothing is tracked");
        let mut wire = BytesMut::new();
        let word = if is_yes { "YES" } else { "NO" };
        encoder::command(&["CLIENT", "CACHING", word], &mut wire);
        up.send_pinned(pin, &wire, Some(Ticket::Tracking))
    }
}
