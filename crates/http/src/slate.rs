//! What one exchange after another is written on: heads, and the record of how it went.
//!
//! A decoder fills a request's head in where it stays until the exchange is over, so that it is never moved, and the lists of
//! fields keep the memory that they have grown to. Nothing of one exchange is left for the next. Not a pool of connections,
//! and not a bound on exchanges: whoever finds no slate that is free gets a new one. Start at [`Slates::take`].

use std::cell::RefCell;
use std::time::Instant;

use crate::framing::Framing;
use crate::head::{RequestHead, ResponseHead};
use crate::message::{Record, Request};

/// What one exchange is written on.
#[derive(Debug)]
pub struct Slate {
    pub(crate) record: Record,
    /// Upstream's last head, until it is passed on.
    pub(crate) answer: Option<ResponseHead>,
}

impl Slate {
    fn new(now: Instant) -> Self {
        let request = Request::new(RequestHead::blank(), Framing::None, false);
        Self {
            record: Record::new(request, now),
            answer: None,
        }
    }

    /// When it was taken.
    #[inline]
    #[must_use]
    pub const fn taken(&self) -> Instant {
        self.record.started
    }

    /// Where the request's head goes. It is [blank](RequestHead::blank) when the slate is taken.
    #[inline]
    pub const fn request_head(&mut self) -> &mut RequestHead {
        &mut self.record.request.head
    }

    /// Lets go of everything but the memory of the lists of fields.
    fn wipe(&mut self) {
        self.record.clear();
        if let Some(head) = &mut self.answer {
            head.clear();
        }
    }

    /// Whether it has grown so large that it is not worth keeping.
    fn is_large(&self) -> bool {
        self.record.request.head.fields.is_large()
            || self.record.response_fields.is_large()
            || self
                .answer
                .as_ref()
                .is_some_and(|head| head.fields.is_large())
    }
}

/// The slates of one listener on one worker that no exchange has. The one that was put back last is taken first, while it
/// is in the processor's cache.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)] // each changes hands as it is: it is larger than all else that is moved for a request
pub struct Slates(RefCell<Vec<Box<Slate>>>);

/// Slates that are kept: enough for the exchanges that a busy worker has under way at a time. With 2 KiB each they take no more
/// than what two large bodies do.
const MOST: usize = 64;

impl Slates {
    /// A blank slate for an exchange that begins now.
    #[must_use]
    #[inline]
    pub fn take(&self, now: Instant) -> Box<Slate> {
        match self.0.borrow_mut().pop() {
            Some(mut slate) => {
                slate.record.started = now;
                slate
            }
            None => Self::make(now),
        }
    }

    #[cold]
    fn make(now: Instant) -> Box<Slate> {
        Box::new(Slate::new(now))
    }

    /// Takes a slate back, and wipes it.
    #[inline]
    pub fn put(&self, mut slate: Box<Slate>) {
        if slate.is_large() {
            return;
        }
        slate.wipe();
        let mut slates = self.0.borrow_mut();
        if slates.len() < MOST {
            slates.push(slate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KnownField;
    use crate::head::{Method, Status, Target, TargetForm, Version};
    use crate::testing::start;

    fn written(slates: &Slates) -> Box<Slate> {
        let mut slate = slates.take(start());
        let head = slate.request_head();
        head.method = Method::Other("BREW".into());
        head.version = Version::Http10;
        head.target = Target {
            form: TargetForm::Absolute,
            scheme: Some(crate::Scheme::Https),
            authority: Some("a.test".into()),
            path_and_query: "/x?y".into(),
        };
        head.fields.append(KnownField::Host, b"a.test");
        let record = &mut slate.record;
        record.request.begin(Framing::Length(7), true);
        record.request.authority = "a.test".into();
        record.request.collect_body = Some(9);
        record.request.answered_by_filter = true;
        record.request.max_body = Some(9);
        record.request.upgrade = Some("websocket".into());
        record.request.original_path = Some("/".into());
        record.first_byte = Some(start());
        record.request_bytes = 7;
        record.response_bytes = 7;
        record.status = Some(Status::OK);
        record.response_fields.append(KnownField::Server, b"origin");
        record.route = Some("r".into());
        record.cluster = Some("c".into());
        record.endpoint = Some("e".into());
        record.attempts = 3;
        record.reason = Some("reason");
        let mut answer = ResponseHead::new(Status::NOT_FOUND);
        answer.reason = "No".into();
        answer.fields.append(KnownField::Server, b"origin");
        slate.answer = Some(answer);
        slate
    }

    #[test]
    fn nothing_of_one_exchange_is_left_for_the_next() {
        let slates = Slates::default();
        let before = written(&slates);
        let place = std::ptr::from_ref(&*before);
        slates.put(before);
        let now = start();
        let mut slate = slates.take(now);
        assert_eq!(std::ptr::from_ref(&*slate), place, "the same again");
        let answer = slate.answer.take().unwrap();
        assert_eq!(answer, ResponseHead::new(Status::OK));
        assert_eq!(format!("{slate:?}"), format!("{:?}", Slate::new(now)));
    }

    #[test]
    fn large_ones_and_those_in_excess_are_not_kept() {
        let slates = Slates::default();
        let mut large = slates.take(start());
        for _ in 0..1000 {
            large
                .request_head()
                .fields
                .append(KnownField::Via, b"1.1 a");
        }
        slates.put(large);
        assert_eq!(slates.0.borrow().len(), 0, "large");
        let all: Vec<_> = (0..MOST + 3).map(|_| slates.take(start())).collect();
        for slate in all {
            slates.put(slate);
        }
        assert_eq!(slates.0.borrow().len(), MOST);
    }
}
