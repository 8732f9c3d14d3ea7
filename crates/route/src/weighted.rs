//! A weighted choice: which of several targets takes this request.
//!
//! Not a balancer: it knows nothing of health or load, only of shares. Start at [`Weighted`].

/// Items with weights, one of which a random number picks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighted<T> {
    items: Vec<T>,
    /// Running sums of the weights; the last is the total.
    cumulative: Vec<u64>,
}

/// Why a list of weights is no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// The list is empty.
    #[error("there is nothing to choose from")]
    Empty,
    /// Every weight is zero.
    #[error("all weights are 0: at least one must be larger")]
    AllZero,
}

impl<T> Weighted<T> {
    /// Items with their weights. A weight of 0 is never picked.
    pub fn new(items: impl IntoIterator<Item = (T, u32)>) -> Result<Self, WeightError> {
        let mut total = 0_u64;
        let (items, cumulative): (Vec<T>, Vec<u64>) = items
            .into_iter()
            .map(|(item, weight)| {
                total = total.saturating_add(u64::from(weight));
                (item, total)
            })
            .unzip();
        if items.is_empty() {
            Err(WeightError::Empty)
        } else if total == 0 {
            Err(WeightError::AllZero)
        } else {
            Ok(Self { items, cumulative })
        }
    }

    /// The item that `random`, uniform over all of `u64`, falls on.
    // The point is below the total, which is the last running sum, so the position is in range.
    #[allow(clippy::indexing_slicing)]
    pub fn pick(&self, random: u64) -> &T {
        if let [only] = &*self.items {
            return only;
        }
        let total = self.cumulative.last().copied().unwrap_or(1);
        let point = scale(random, total);
        let position = self.cumulative.partition_point(|&sum| sum <= point);
        &self.items[position]
    }

    /// The items, in the order they were given.
    pub fn items(&self) -> &[T] {
        &self.items
    }
}

/// Maps a uniform `u64` to `0..total` without the cost or the bias of a remainder.
fn scale(random: u64, total: u64) -> u64 {
    ((u128::from(random) * u128::from(total)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_weights_exactly_over_even_spacing() {
        let choice = Weighted::new([("a", 1), ("never", 0), ("b", 3)]).unwrap();
        let mut counts = std::collections::HashMap::new();
        let step = u64::MAX / 4000;
        let half = step / 2;
        for i in 0..4000 {
            *counts.entry(*choice.pick(i * step + half)).or_insert(0) += 1;
        }
        assert_eq!(counts.get("a"), Some(&1000));
        assert_eq!(counts.get("b"), Some(&3000));
        assert_eq!(counts.get("never"), None);
    }

    #[test]
    fn ends_of_the_range() {
        let choice = Weighted::new([(1, 0), (2, u32::MAX), (3, u32::MAX), (4, 0)]).unwrap();
        assert_eq!(*choice.pick(0), 2);
        assert_eq!(*choice.pick(u64::MAX), 3);
    }

    #[test]
    fn refuses_what_cannot_be_chosen() {
        assert_eq!(Weighted::<()>::new([]), Err(WeightError::Empty));
        assert_eq!(Weighted::new([((), 0)]), Err(WeightError::AllZero));
    }
}
