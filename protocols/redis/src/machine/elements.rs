//! The elements of an aggregate reply, each as the bytes that it came in.
//!
//! For merging: nothing is opened that need not be. Start at [`elements`].

use memchr::memchr;

use crate::limits::{MOST_WHOLE, ReplyLimits};
use crate::reply::{ReplyFrame, ReplyScanner};

/// What is in a reply was let through once, so that only its end is looked for.
const ANY: ReplyLimits = ReplyLimits {
    whole: MOST_WHOLE,
    bulk: u64::MAX,
    elements: u32::MAX / 2,
    depth: 64,
    line: MOST_WHOLE,
};

/// Walks over elements.
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
    left: u64,
    scanner: ReplyScanner,
}

/// The elements of an array or set; of a map its keys and values in turn. `None` of anything else, null arrays too.
pub(crate) fn elements(reply: &[u8]) -> Option<Elements<'_>> {
    let (&kind, rest) = reply.split_first()?;
    let end = memchr(b'\r', rest)?;
    let count: u64 = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
    let left = match kind {
        b'*' | b'~' | b'>' => count,
        b'%' => count.checked_mul(2)?,
        _ => return None,
    };
    Some(Elements {
        rest: rest.get(end + 2..)?,
        left,
        scanner: ReplyScanner::new(ANY),
    })
}

impl Elements<'_> {
    /// How many are still to come.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let Ok(Some(ReplyFrame::Whole { len, .. })) = self.scanner.next(self.rest) else {
            self.left = 0;
            return None;
        };
        let (element, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(element)
    }
}

/// The number in an integer reply.
pub(crate) fn integer(reply: &[u8]) -> Option<i64> {
    let text = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The text in a bulk, verbatim or simple string.
pub(crate) fn text(reply: &[u8]) -> Option<&[u8]> {
    let (&kind, rest) = reply.split_first()?;
    let end = memchr(b'\r', rest)?;
    match kind {
        b'+' => rest.get(..end),
        b'$' => rest.get(end + 2..)?.strip_suffix(b"\r\n"),
        // Three letters and a colon say its format.
        b'=' => rest.get(end + 2..)?.strip_suffix(b"\r\n")?.get(4..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregates_come_apart() {
        let all = |reply: &'static [u8]| elements(reply).map(Iterator::collect::<Vec<_>>);
        type Case = (&'static [u8], Option<Vec<&'static [u8]>>);
        let cases: [Case; 6] = [
            (
                b"*2\r\n$1\r\na\r\n:1\r\n",
                Some(vec![b"$1\r\na\r\n", b":1\r\n"]),
            ),
            (
                b"%1\r\n+k\r\n*1\r\n_\r\n",
                Some(vec![b"+k\r\n", b"*1\r\n_\r\n"]),
            ),
            (b"*0\r\n", Some(vec![])),
            (b"*-1\r\n", None),
            (b"+OK\r\n", None),
            (b"*?\r\n.\r\n", None),
        ];
        for (reply, expected) in cases {
            assert_eq!(
                all(reply),
                expected,
                "{:?}",
                reply.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn values_are_read() {
        assert_eq!(integer(b":-7\r\n"), Some(-7));
        assert_eq!(integer(b"+7\r\n"), None);
        assert_eq!(text(b"$3\r\na\r\n\r\n"), Some(&b"a\r\n"[..]));
        assert_eq!(text(b"=5\r\ntxt:a\r\n"), Some(&b"a"[..]));
        assert_eq!(text(b"+OK\r\n"), Some(&b"OK"[..]));
        assert_eq!(text(b"$-1\r\n"), None);
    }
}
