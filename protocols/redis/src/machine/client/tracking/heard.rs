//! What servers say of keys that were changed: to the client in its turn, or for another.
//!
//! Start at [`Client::on_tracking_push`].

use std::borrow::Cow;

use bytes::BytesMut;

use super::{Tracking, message};
use crate::machine::client::Client;
use crate::machine::upstreams::{Piece, PinId};
use crate::message::RespVersion;

/// All that the client has kept is to be thrown away.
const FORGET_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// Messages that are held back before they become [`FORGET_ALL`].
const MOST_LATE: usize = 256 << 10;

impl<T> Client<T> {
    /// Something that a server said unasked over one of the connections. Whether it was one of them.
    pub(in crate::machine::client) fn on_tracking_push(
        &mut self,
        pin: PinId,
        piece: Piece<'_>,
    ) -> bool {
        let Some(tracking) = &mut self.tracking else {
            return false;
        };
        let link = tracking.links.iter_mut().find(|link| link.pin == pin);
        let link = link.map(|link| (&mut link.partial, &link.renaming));
        let Some((partial, renaming)) = link.or_else(|| tracking.ears.find(pin)) else {
            return false;
        };
        let renaming = renaming.clone();
        let whole: Cow<'_, [u8]> = match piece {
            Piece::Whole { bytes, .. } => Cow::Borrowed(bytes),
            Piece::Begin { bytes, .. } | Piece::More { bytes, last: false } => {
                partial.extend_from_slice(bytes);
                return true;
            }
            Piece::More { bytes, last: true } => {
                let mut whole = std::mem::take(partial);
                whole.extend_from_slice(bytes);
                Cow::Owned(whole.to_vec())
            }
            Piece::Lost(_) => return true,
        };
        match message::downstream(&whole, renaming.as_deref()) {
            Some(message) if tracking.is_redirected => {
                tracking.redirected.push(message.into_owned());
            }
            Some(message) => self.on_invalidated(&message),
            None => {}
        }
        true
    }

    /// Messages that another client is to be told, since the last call.
    pub fn take_redirected(&mut self) -> Vec<Vec<u8>> {
        let tracking = self.tracking.as_mut();
        tracking.map_or_else(Vec::new, |it| std::mem::take(&mut it.redirected))
    }

    /// The client that was to be told is gone: this one would not know of changes.
    pub fn on_redirect_lost(&mut self) {
        if let Some(tracking) = &mut self.tracking {
            tracking.is_broken = true;
        }
    }

    /// A message of another client's, who asked for it to be told here. One of RESP2 hears it only while it listens.
    pub fn on_redirected(&mut self, message: &[u8]) {
        if self.speaks.version == RespVersion::Resp3 {
            self.tell(message);
        } else if self.is_subscribed()
            && let Some(message) = message::on_channel(message)
        {
            self.tell(&message);
        }
    }

    /// Keys were changed. Replies that came before and wait for their turn may hold what they were: the client is told now for
    /// what it has, and again behind them.
    fn on_invalidated(&mut self, bytes: &[u8]) {
        let (is_open, has_held) = (self.slots.is_open(), self.slots.has_held());
        if !is_open {
            self.out.extend_from_slice(bytes);
        }
        if (is_open || has_held)
            && let Some(tracking) = &mut self.tracking
        {
            tracking.hold(bytes);
        }
    }
}

impl Tracking {
    /// Sends on messages that came before what they are about.
    pub(in crate::machine::client) fn write_late(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.late);
        self.late = BytesMut::new();
    }

    pub(in crate::machine::client) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.late.len() + bytes.len() > MOST_LATE {
            self.late.clear();
            self.late.extend_from_slice(FORGET_ALL);
        } else {
            self.late.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_messages_that_wait_become_one() {
        let mut tracking = Tracking::default();
        let message = [b'x'; 1024];
        for _ in 0..MOST_LATE / message.len() {
            tracking.hold(&message);
        }
        assert_eq!(tracking.late.len(), MOST_LATE);
        tracking.hold(&message);
        assert_eq!(&*tracking.late, FORGET_ALL);
        tracking.hold(&message);
        assert_eq!(tracking.late.len(), FORGET_ALL.len() + message.len());
    }
}
