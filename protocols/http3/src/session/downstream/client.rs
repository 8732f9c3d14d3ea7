//! What the streams of one connection share, and what they may use of it together.
//!
//! Start at [`Client`].

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use portcullis_filter::Connection as Facts;
use portcullis_http::RequestHead;
use portcullis_http::pace::PaceRule;
use portcullis_net::clock;

use super::Session;
use super::address::ClientAddress;
use super::wire::Wire;
use crate::config::Http3Config;

/// The client of one connection.
pub(super) struct Client {
    pub(super) session: Rc<Session>,
    /// Those that the connection began with.
    pub(super) settings: Rc<Http3Config>,
    pub(super) wire: Rc<Wire>,
    pub(super) pace: PaceRule,
    pub(super) stream_pace: PaceRule,
    facts: RefCell<Rc<Facts>>,
    address: RefCell<ClientAddress>,
    /// Whether the handshake is over.
    is_proven: Cell<bool>,
    /// Bytes of heads that are held.
    heads: Cell<usize>,
}

impl Client {
    pub(super) fn new(
        session: &Rc<Session>,
        settings: &Rc<Http3Config>,
        wire: &Rc<Wire>,
        from: SocketAddr,
        facts: Facts,
    ) -> Self {
        Self {
            session: Rc::clone(session),
            settings: Rc::clone(settings),
            wire: Rc::clone(wire),
            pace: PaceRule::of_connection(settings.stall),
            stream_pace: PaceRule::of_stream(settings.stall),
            address: RefCell::new(ClientAddress::new(from)),
            facts: RefCell::new(Rc::new(facts)),
            is_proven: Cell::new(false),
            heads: Cell::new(0),
        }
    }

    /// What filters may know about the connection, now.
    pub(super) fn facts(&self) -> Rc<Facts> {
        let quic = self.wire.quic();
        let current = quic.remote_address();
        let mut address = self.address.borrow_mut();
        let shown = if address.is_shown(current) {
            current
        } else {
            let searches = quic.stats().frame_tx.path_challenge;
            address.settle(current, searches, clock::now())
        };
        let shown = Some(super::canonical(shown));
        let mut facts = self.facts.borrow_mut();
        if facts.peer != shown {
            *facts = Rc::new(Facts {
                peer: shown,
                client: shown,
                ..Facts::clone(&facts)
            });
        }
        Rc::clone(&facts)
    }

    /// The handshake is over, and has said this.
    pub(super) fn on_proven(&self, facts: Facts) {
        self.facts.replace(Rc::new(facts));
        self.is_proven.set(true);
    }

    /// Whether the handshake is over: nothing that comes now can be a repetition.
    pub(super) const fn is_proven(&self) -> bool {
        self.is_proven.get()
    }

    /// Counts a head against what the connection may hold; `None` if it is too much. One head alone is always allowed: it
    /// is bounded by itself.
    pub(super) fn hold_head(self: &Rc<Self>, head: &RequestHead) -> Option<HeldHead> {
        let bytes = head.fields.block().len()
            + head.fields.len() * LINE_BYTES
            + head.target.path_and_query.len();
        let held = self.heads.get();
        if held > 0 && held + bytes > self.settings.heads.as_usize() {
            return None;
        }
        self.heads.set(held + bytes);
        Some(HeldHead {
            client: Rc::clone(self),
            bytes,
        })
    }
}

/// What a list of fields keeps for each besides its bytes.
const LINE_BYTES: usize = 32;

/// A head that is counted.
pub(super) struct HeldHead {
    client: Rc<Client>,
    bytes: usize,
}

impl Drop for HeldHead {
    fn drop(&mut self) {
        let heads = &self.client.heads;
        heads.set(heads.get() - self.bytes);
    }
}
