//! What the streams of one connection share, and what they may use of it together.
//!
//! Start at [`Common`].

use std::cell::Cell;
use std::rc::Rc;

use portcullis_filter::Connection as Facts;
use portcullis_http::RequestHead;

use super::Session;
use super::io::Wire;
use portcullis_http::pace::PaceRule;

/// What the streams of one connection share.
pub(crate) struct Common {
    pub(crate) session: Rc<Session>,
    pub(crate) facts: Rc<Facts>,
    pub(crate) wire: Rc<Wire>,
    pub(crate) pace: PaceRule,
    pub(crate) stream_pace: PaceRule,
    /// Bytes of heads that are held.
    heads: Cell<usize>,
    /// Bytes of responses that wait for the peer's windows.
    waiting: Cell<usize>,
    /// Bytes of responses that `h2` was given over the connection's life.
    handed: Cell<u64>,
}

impl Common {
    pub(crate) fn new(session: &Rc<Session>, facts: Rc<Facts>, wire: &Rc<Wire>) -> Rc<Self> {
        Rc::new(Self {
            session: Rc::clone(session),
            facts,
            wire: Rc::clone(wire),
            pace: PaceRule::of_connection(session.config.stall),
            stream_pace: PaceRule::of_stream(session.config.stall),
            heads: Cell::new(0),
            waiting: Cell::new(0),
            handed: Cell::new(0),
        })
    }

    /// Whether any byte of a response waits for the peer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Notes that so many bytes more wait.
    pub(crate) fn on_queued(&self, bytes: usize) {
        self.waiting.set(self.waiting.get() + bytes);
    }

    /// Notes that so many bytes that waited are with `h2` now.
    pub(crate) fn on_handed(&self, bytes: usize) {
        self.on_unqueued(bytes);
        self.handed.set(self.handed.get() + bytes as u64);
    }

    /// Whether `h2` still has some of what it was given. What it dropped with a stream that was reset counts too.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.handed.get() > self.wire.progress().sent
    }

    /// Notes that so many bytes will never be sent.
    pub(crate) fn on_unqueued(&self, bytes: usize) {
        self.waiting.set(self.waiting.get().saturating_sub(bytes));
    }

    /// Counts a head against what the connection may hold; `None` if it is too much. One head alone is always allowed: it
    /// is bounded by itself.
    pub(crate) fn hold_head(self: &Rc<Self>, head: &RequestHead) -> Option<HeldHead> {
        let bytes = head.fields.block().len()
            + head.fields.len() * LINE_BYTES
            + head.target.path_and_query.len();
        let held = self.heads.get();
        if held > 0 && held + bytes > self.session.config.heads.as_usize() {
            return None;
        }
        self.heads.set(held + bytes);
        Some(HeldHead {
            common: Rc::clone(self),
            bytes,
        })
    }
}

/// What a list of fields keeps for each besides its bytes.
const LINE_BYTES: usize = 32;

/// A head that is counted.
pub(crate) struct HeldHead {
    common: Rc<Common>,
    bytes: usize,
}

impl Drop for HeldHead {
    fn drop(&mut self) {
        let heads = &self.common.heads;
        heads.set(heads.get() - self.bytes);
    }
}
