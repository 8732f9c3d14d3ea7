//! Weighted random choice with exclusions.
//!
//! Start at [`WeightTable::pick`]: a binary search over running sums.

use std::ops::Range;

/// Running sums of weights.
#[derive(Debug, Default)]
pub(super) struct WeightTable {
    cumulative: Vec<u64>,
}

impl WeightTable {
    pub(super) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let cumulative = weights
            .into_iter()
            .scan(0_u64, |total, weight| {
                *total += u64::from(weight.max(1));
                Some(*total)
            })
            .collect();
        Self { cumulative }
    }

    /// A position by weight; `None` only for an empty table.
    pub(super) fn pick(&self, random: u64) -> Option<usize> {
        Some(self.position(scale(random, self.total()?)))
    }

    /// A position by weight among the others; `None` when there is no other.
    pub(super) fn pick_other(&self, not: usize, random: u64) -> Option<usize> {
        let taken = self.span(not);
        let others = self.total()?.checked_sub(taken.end - taken.start)?;
        if others == 0 {
            return None;
        }
        let point = scale(random, others);
        let width = taken.end - taken.start;
        Some(self.position(if point < taken.start {
            point
        } else {
            point + width
        }))
    }

    /// A position by weight among those not excluded. Walks the table: for retries, which are rare.
    pub(super) fn pick_unless(
        &self,
        random: u64,
        excluded: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let open = || (0..self.cumulative.len()).filter(|&position| !excluded(position));
        let weight = |position| {
            let span = self.span(position);
            span.end - span.start
        };
        let total: u64 = open().map(weight).sum();
        let mut point = scale(random, total);
        open().find(|&position| {
            let weight = weight(position);
            let hit = point < weight;
            point = point.saturating_sub(weight);
            hit
        })
    }

    fn total(&self) -> Option<u64> {
        self.cumulative.last().copied()
    }

    fn position(&self, point: u64) -> usize {
        self.cumulative.partition_point(|&sum| sum <= point)
    }

    /// The points that fall on `position`.
    fn span(&self, position: usize) -> Range<u64> {
        let end = self.cumulative.get(position).copied().unwrap_or(0);
        let before = position
            .checked_sub(1)
            .and_then(|before| self.cumulative.get(before));
        before.copied().unwrap_or(0)..end
    }
}

/// Maps a uniform `u64` to `0..total` without a remainder.
fn scale(random: u64, total: u64) -> u64 {
    ((u128::from(random) * u128::from(total)) >> 64) as u64
}
