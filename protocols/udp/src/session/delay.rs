//! Datagrams that a filter holds back, within a bound.
//!
//! Start at [`Delayed::hold`].

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use portcullis_net::{sleep_until, spawn_local};

/// The most bytes that are held back, with what each costs besides.
const LARGEST: usize = 16 * 1024 * 1024;

/// What a datagram costs besides its bytes: a task and a timer.
const OVERHEAD: usize = 512;

/// How much is held back.
#[derive(Debug, Clone, Default)]
pub(super) struct Delayed(Rc<Cell<usize>>);

impl Delayed {
    /// Keeps a datagram until `until`, then sends it. False if there is no room.
    pub(super) fn hold(
        &self,
        until: Instant,
        datagram: &[u8],
        send: impl FnOnce(&[u8]) + 'static,
    ) -> bool {
        let cost = datagram.len() + OVERHEAD;
        if self.0.get() + cost > LARGEST {
            return false;
        }
        self.0.set(self.0.get() + cost);
        let held = Rc::clone(&self.0);
        let datagram: Box<[u8]> = datagram.into();
        spawn_local(async move {
            sleep_until(until).await;
            send(&datagram);
            held.set(held.get() - cost);
        });
        true
    }
}
