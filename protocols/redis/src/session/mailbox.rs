//! Messages about tracked keys that one client has asked to be told to another (`CLIENT TRACKING … REDIRECT`), which may be another
//! worker's.
//!
//! A client has a mailbox from when it subscribes to `__redis__:invalidate`, and only clients of the same user find it. It is
//! locked for a moment by whoever puts a message in, and by its owner when it is woken for it. Start at [`Mailboxes::open`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use foldhash::fast::RandomState;

/// Bytes of messages that wait before they become one: that all keys may have changed.
const MOST_BYTES: usize = 256 << 10;

/// All that is kept is to be thrown away.
const FORGET_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// The mailboxes of a listener's clients, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    all: Mutex<HashMap<u64, Arc<Mailbox>, RandomState>>,
}

/// Messages for one client.
#[derive(Debug)]
pub(super) struct Mailbox {
    user: Arc<[u8]>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    messages: Vec<Vec<u8>>,
    bytes: usize,
    is_closed: bool,
    waker: Option<Waker>,
}

impl Mailboxes {
    /// Gives this client a mailbox.
    pub(super) fn open(&self, client: u64, user: &Arc<[u8]>) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox {
            user: Arc::clone(user),
            inside: Mutex::default(),
        });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(client, Arc::clone(&mailbox));
        mailbox
    }

    /// The mailbox of a client of this user.
    pub(super) fn find(&self, client: u64, user: &[u8]) -> Option<Arc<Mailbox>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&client).filter(|it| *it.user == *user).cloned()
    }

    /// The client is gone.
    pub(super) fn close(&self, client: u64) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = all.remove(&client);
        drop(all);
        if let Some(mailbox) = closed {
            mailbox.inside().is_closed = true;
        }
    }
}

impl Mailbox {
    /// Puts a message in. Whether there is anybody to read it.
    pub(super) fn put(&self, message: Vec<u8>) -> bool {
        let mut inside = self.inside();
        if inside.is_closed {
            return false;
        }
        inside.bytes += message.len();
        inside.messages.push(message);
        if inside.bytes > MOST_BYTES {
            inside.messages = vec![FORGET_ALL.to_vec()];
            inside.bytes = FORGET_ALL.len();
        }
        if let Some(waker) = inside.waker.take() {
            waker.wake();
        }
        true
    }

    /// What is in it. Whoever waits for more is woken when there is.
    pub(super) fn take(&self, waker: &Waker) -> Vec<Vec<u8>> {
        let mut inside = self.inside();
        inside.waker = Some(waker.clone());
        inside.bytes = 0;
        std::mem::take(&mut inside.messages)
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_of_the_same_user_find_it_and_it_is_bounded() {
        let all = Mailboxes::default();
        let (one, two): (Arc<[u8]>, &[u8]) = (b"one".as_slice().into(), b"two");
        let mailbox = all.open(7, &one);
        assert!(all.find(7, two).is_none() && all.find(8, &one).is_none());
        let found = all.find(7, &one).unwrap();
        assert!(found.put(b"a".to_vec()));
        assert_eq!(mailbox.take(Waker::noop()), [b"a"]);
        let large = vec![b'x'; MOST_BYTES / 2];
        assert!(found.put(large.clone()) && found.put(large.clone()));
        assert_eq!(mailbox.take(Waker::noop()).len(), 2);
        assert!(found.put(large.clone()) && found.put(large) && found.put(b"a".to_vec()));
        assert_eq!(mailbox.take(Waker::noop()), [FORGET_ALL]);
        all.close(7);
        assert!(!found.put(b"a".to_vec()));
        assert!(all.find(7, &one).is_none());
    }
}
