//! Asking servers who there is: when, who waits for the first answer, and how answers are read.
//!
//! Whom to ask and what for is the asker's ([`super::discovery`], [`super::following`]). Start at [`due`].

use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use portcullis_codec::Decoder as _;
use portcullis_net::{Stream, Timer, clock};

use super::cell::Cell;
use crate::cluster::{RefreshPolicy, RefreshTimes};
use crate::machine::{Lost, Speaks};
use crate::message::{RespVersion, Value, ValueDecoder, ValueLimits};

/// The shortest time between two questions.
const LEAST_PAUSE: Duration = Duration::from_millis(250);

/// What questions are asked in.
pub(super) const SPEAKS: Speaks = Speaks {
    database: 0,
    version: RespVersion::Resp2,
};

/// When to ask, and who waits.
pub(super) struct Inquiry {
    pub(super) policy: RefreshPolicy,
    /// Nobody is known, and a question brought nobody: nobody waits any more.
    is_failed: bool,
    /// Another took the asker's place, or the listener is gone: it asks no more.
    is_closed: bool,
    /// Who waits for the first answer.
    waiting: Vec<Rc<Cell>>,
    /// Of the task that asks.
    waker: Option<Waker>,
}

/// Who asks, as long as somebody holds it.
pub(super) trait Asks {
    fn with_inquiry<R>(&self, act: impl FnOnce(&mut Inquiry) -> R) -> R;
}

impl Inquiry {
    /// Nothing was asked yet; from now on once in an interval at least.
    pub(super) fn new(interval: Duration) -> Self {
        let least = LEAST_PAUSE;
        Self {
            policy: RefreshPolicy::new(RefreshTimes { interval, least }),
            is_failed: false,
            is_closed: false,
            waiting: Vec::new(),
            waker: None,
        }
    }

    /// What is known is wrong, or may be.
    pub(super) fn want(&mut self) {
        self.policy.want();
        self.wake();
    }

    /// As [`RefreshPolicy::want_anew`].
    pub(super) fn want_anew(&mut self) {
        self.policy.want_anew();
        self.wake();
    }

    /// Lets the task see what has changed.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether it is over.
    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether clients may wait for the first answer, while nobody is known.
    pub(super) const fn may_be_awaited(&self) -> bool {
        !self.is_failed && !self.is_closed
    }

    /// Wakes the client when the first question is answered.
    pub(super) fn wait(&mut self, client: &Rc<Cell>) {
        self.waiting.push(Rc::clone(client));
    }

    /// A question was answered, and whether somebody is known now. The clients to wake.
    pub(super) fn settle(&mut self, is_known: bool) -> Vec<Rc<Cell>> {
        self.is_failed = !is_known;
        std::mem::take(&mut self.waiting)
    }

    /// Ends the task. The clients to wake.
    pub(super) fn close(&mut self) -> Vec<Rc<Cell>> {
        self.is_closed = true;
        self.wake();
        std::mem::take(&mut self.waiting)
    }
}

/// Waits until it is time to ask. `None` when the asker is gone, which is not held while nothing is to be asked.
pub(super) async fn due<A: Asks>(asker: &Weak<A>, timer: &mut Timer) -> Option<Rc<A>> {
    poll_fn(|task| {
        let Some(asker) = asker.upgrade() else {
            return Poll::Ready(None);
        };
        let is_due = asker.with_inquiry(|inquiry| {
            if inquiry.is_closed {
                return None;
            }
            let due = inquiry.policy.due(clock::now());
            if timer.poll_expired(task, due).is_ready() {
                return Some(true);
            }
            inquiry.waker = Some(task.waker().clone());
            Some(false)
        });
        match is_due {
            None => Poll::Ready(None),
            Some(true) => Poll::Ready(Some(asker)),
            Some(false) => Poll::Pending,
        }
    })
    .await
}

/// Values as they come. A read that is given up loses nothing.
pub(super) struct Reader {
    decoder: ValueDecoder,
    input: BytesMut,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            decoder: ValueDecoder::new(ValueLimits::default()),
            input: BytesMut::new(),
        }
    }

    pub(super) async fn read(&mut self, stream: &mut Stream) -> Result<Value, Lost> {
        loop {
            let value = self.decoder.decode(&mut self.input);
            if let Some(value) = value.map_err(|_| Lost::Protocol)? {
                return Ok(value);
            }
            let read = stream.read(&mut self.input).await;
            if read.map_err(|_| Lost::Closed)? == 0 {
                return Err(Lost::Closed);
            }
        }
    }
}
