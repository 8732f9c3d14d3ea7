//! 256-entry membership tables for bytes.
//!
//! Not a parser: a set answers "is this byte one of these" with one load. Start at [`ByteSet`].

/// A set of bytes, built in `const` context.
#[derive(Clone, Copy)]
pub struct ByteSet([bool; 256]);

/// RFC 9110 section 5.6.2: `tchar`, what names of fields and methods are made of.
pub const TOKEN: ByteSet = ByteSet::of(b"!#$%&'*+-.^_`|~")
    .with_range(b'0', b'9')
    .with_range(b'a', b'z')
    .with_range(b'A', b'Z');

impl ByteSet {
    /// The set of the bytes in `members`.
    #[must_use]
    #[allow(clippy::indexing_slicing)] // a u8 is always below 256; the loop is bounded by the slice
    pub const fn of(members: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut index = 0;
        while index < members.len() {
            table[members[index] as usize] = true;
            index += 1;
        }
        Self(table)
    }

    /// This set and every byte from `first` to `last`, both included.
    #[must_use]
    #[allow(clippy::indexing_slicing)] // a u8 is always below 256
    pub const fn with_range(mut self, first: u8, last: u8) -> Self {
        let mut byte = first as usize;
        while byte <= last as usize {
            self.0[byte] = true;
            byte += 1;
        }
        self
    }

    /// This set without the bytes in `members`.
    #[must_use]
    #[allow(clippy::indexing_slicing)] // a u8 is always below 256; the loop is bounded by the slice
    pub const fn without(mut self, members: &[u8]) -> Self {
        let mut index = 0;
        while index < members.len() {
            self.0[members[index] as usize] = false;
            index += 1;
        }
        self
    }

    /// Whether `byte` is a member.
    #[must_use]
    #[inline]
    #[allow(clippy::indexing_slicing)] // a u8 is always below 256
    pub const fn contains(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }

    /// How many bytes at the front of `bytes` are members.
    #[must_use]
    #[inline]
    pub fn prefix_len(&self, bytes: &[u8]) -> usize {
        bytes
            .iter()
            .position(|&byte| !self.contains(byte))
            .unwrap_or(bytes.len())
    }

    /// Whether every byte of `bytes` is a member. True for an empty slice.
    #[must_use]
    #[inline]
    pub fn contains_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.contains(byte))
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members = (0..=u8::MAX).filter(|&byte| self.contains(byte)).count();
        write!(formatter, "ByteSet({members} members)")
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSet;

    #[test]
    fn membership_follows_construction() {
        let set = ByteSet::of(b"-_").with_range(b'a', b'f').without(b"e");
        for (byte, expected) in [
            (b'-', true),
            (b'a', true),
            (b'f', true),
            (b'e', false),
            (b'g', false),
            (0xff, false),
        ] {
            assert_eq!(set.contains(byte), expected, "byte {byte:#x}");
        }
        assert_eq!(set.prefix_len(b"abcz"), 3);
        assert!(set.contains_all(b""));
        assert!(ByteSet::of(b"").with_range(0, 255).contains(255));
    }
}
