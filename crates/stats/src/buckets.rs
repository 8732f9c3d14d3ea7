//! Which bucket of a log-linear histogram a value falls in, and what a bucket covers.
//!
//! A group holds 16 buckets of equal width: group 0 the values 0 to 15, and each later group one power of two. A bucket is
//! therefore never wider than 1/16 of its lowest value. Pure arithmetic, no storage: that is in `histogram`. Start at [`locate`].

/// Buckets in one group.
pub(crate) const GROUP: usize = 16;
/// Groups that cover every `u64`: one linear, then one per power of two from 2^4 to 2^63.
pub(crate) const GROUPS: usize = 61;

/// The group of `value` and its bucket in that group. The first is below [`GROUPS`], the second below [`GROUP`].
#[inline]
pub(crate) const fn locate(value: u64) -> (usize, usize) {
    if value < GROUP as u64 {
        return (0, value as usize);
    }
    let exponent = 63 - value.leading_zeros() as usize;
    (
        exponent - 3,
        (value >> (exponent - 4)) as usize & (GROUP - 1),
    )
}

/// The lowest value of the bucket with this number, counted over all groups.
pub(crate) const fn lowest(bucket: usize) -> u64 {
    let (group, index) = (bucket / GROUP, (bucket % GROUP) as u64);
    if group == 0 {
        index
    } else {
        (GROUP as u64 + index) << (group - 1)
    }
}

/// The highest value of the bucket with this number.
pub(crate) const fn highest(bucket: usize) -> u64 {
    let group = bucket / GROUP;
    let width = if group == 0 { 1 } else { 1 << (group - 1) };
    lowest(bucket) + (width - 1)
}

/// The value that stands for the whole bucket: its middle, at most 1/32 away from any value in it.
pub(crate) const fn middle(bucket: usize) -> u64 {
    let low = lowest(bucket);
    low + (highest(bucket) - low) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_value_once() {
        let rows = [
            ("zero", 0, 0),
            ("last linear", 15, 15),
            ("first power", 16, 16),
            ("still width one", 31, 31),
            ("width two", 32, 32),
            ("same bucket", 33, 32),
            ("a millisecond", 1_000, 111),
            ("largest", u64::MAX, GROUPS * GROUP - 1),
        ];
        for (name, value, bucket) in rows {
            let (group, index) = locate(value);
            assert_eq!(group * GROUP + index, bucket, "{name}");
            assert!(
                lowest(bucket) <= value && value <= highest(bucket),
                "{name}"
            );
        }
        for bucket in 1..GROUPS * GROUP {
            assert_eq!(
                highest(bucket - 1) + 1,
                lowest(bucket),
                "no gap before bucket {bucket}"
            );
        }
    }
}
