//! How long the connection ids of servers are.
//!
//! A short header does not say. Servers of one kind choose ids of one length, so few are known, and what was found most often is
//! tried first. Start at [`Lengths`].

/// Lengths that are tried: as many as there can sensibly be kinds of servers behind one listener.
const MOST: usize = 8;

/// The lengths that were learned.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lengths {
    lengths: [u8; MOST],
    count: usize,
}

impl Lengths {
    /// Places and lengths, in the order in which they should be tried.
    #[inline]
    pub(super) fn each(self) -> impl Iterator<Item = (usize, usize)> {
        let lengths = self.lengths.into_iter().take(self.count);
        lengths.map(usize::from).enumerate()
    }

    /// There are ids of this length. It is tried last, in place of the last if there are too many.
    pub(super) fn learn(&mut self, length: usize) {
        if self.each().any(|(_, known)| known == length) {
            return;
        }
        let at = self.count.min(MOST - 1);
        if let Some(place) = self.lengths.get_mut(at) {
            *place = length as u8;
            self.count = at + 1;
        }
    }

    /// The length at this place was right: it moves forward by one.
    #[inline]
    pub(super) fn found(&mut self, at: usize) {
        if at > 0 {
            self.lengths.swap(at - 1, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_comes_forward() {
        let mut lengths = Lengths::default();
        for length in [8, 20, 8, 4] {
            lengths.learn(length);
        }
        let order = |lengths: Lengths| lengths.each().map(|(_, length)| length).collect::<Vec<_>>();
        assert_eq!(order(lengths), [8, 20, 4]);
        lengths.found(2);
        lengths.found(0);
        assert_eq!(order(lengths), [8, 4, 20]);
        for length in 9..20 {
            lengths.learn(length);
        }
        assert_eq!(order(lengths), [8, 4, 20, 9, 10, 11, 12, 19]);
    }
}
