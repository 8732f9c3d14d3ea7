//! Counters of one family whose labels show only when they first happen.
//!
//! For words of the code, of which there are few: there is no bound. Start at [`ByLabel::inc`].

use std::cell::RefCell;

use crate::Counter;

/// Counters of one shard, each made when its label first happens.
#[derive(Debug, Default)]
pub struct ByLabel(RefCell<Vec<(&'static str, Counter)>>);

impl ByLabel {
    /// Adds one to the counter of `label`; `make` makes it if it is not there.
    #[inline]
    pub fn inc(&self, label: &'static str, make: impl FnOnce() -> Counter) {
        let mut known = self.0.borrow_mut();
        // Mostly the very same text, so that its letters need not be compared.
        let is_it = |known: &str| std::ptr::eq(known, label) || known == label;
        if let Some((_, counter)) = known.iter().find(|(known, _)| is_it(known)) {
            return counter.inc();
        }
        let counter = make();
        counter.inc();
        known.push((label, counter));
    }
}

/// Labels that show from the start, with their counters.
impl FromIterator<(&'static str, Counter)> for ByLabel {
    fn from_iter<I: IntoIterator<Item = (&'static str, Counter)>>(counters: I) -> Self {
        Self(RefCell::new(counters.into_iter().collect()))
    }
}
