//! Resumable scanning for the end of a unit.
//!
//! A streaming parser that restarts from zero costs quadratic work on a slow peer. A [`Scanner`] remembers how
//! far it looked, so each byte is searched once; the grammar runs a single time, over a complete unit.
//! Not a parser: it knows only where a unit ends. Start at [`Scanner`].

use memchr::memchr;

/// Remembers how much of a growing buffer was already searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scanner {
    searched: usize,
}

impl Scanner {
    /// A scanner that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { searched: 0 }
    }

    /// Bytes already known not to end the unit.
    #[must_use]
    pub const fn searched(&self) -> usize {
        self.searched
    }

    /// Forgets the position: the next unit starts at the front of the buffer.
    pub const fn reset(&mut self) {
        self.searched = 0;
    }

    /// The index just past the first line feed in `bytes`, or `None` until one arrives. Resets when found.
    pub fn line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let fresh = bytes.get(self.searched..)?;
        if let Some(at) = memchr(b'\n', fresh) {
            let end = self.searched + at + 1;
            self.searched = 0;
            return Some(end);
        }
        self.searched = bytes.len();
        None
    }

    /// The index just past the first empty line (`LF LF` or `LF CR LF`) in `bytes`, or `None` until it arrives.
    /// Resets when found. Whether bare line feeds are acceptable is for the grammar to say.
    pub fn blank_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = self.searched;
        while let Some(offset) = memchr(b'\n', bytes.get(at..)?) {
            let line_feed = at + offset;
            match bytes.get(line_feed + 1..) {
                Some([b'\n', ..]) => return Some(self.found(line_feed + 2)),
                Some([b'\r', b'\n', ..]) => return Some(self.found(line_feed + 3)),
                // The bytes that decide have not arrived: look at this line feed again.
                Some([] | [b'\r']) | None => {
                    self.searched = line_feed;
                    return None;
                }
                Some(_) => at = line_feed + 1,
            }
        }
        self.searched = bytes.len();
        None
    }

    const fn found(&mut self, end: usize) -> usize {
        self.searched = 0;
        end
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;

    #[test]
    fn blank_line_is_found_for_every_split() {
        for (input, end) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest"[..], Some(27)),
            (b"a\n\nb", Some(3)),
            (b"a\n\r\nb", Some(4)),
            (b"a\r\n\rb\n", None),
            (b"", None),
        ] {
            for split in 0..=input.len() {
                let mut scanner = Scanner::new();
                let first = scanner.blank_line_end(&input[..split]);
                let answer = first.or_else(|| scanner.blank_line_end(input));
                assert_eq!(answer, end, "{input:?} split at {split}");
            }
        }
    }

    #[test]
    fn line_is_found_for_every_split() {
        let input = b"1a;ext\r\ndata";
        for split in 0..=input.len() {
            let mut scanner = Scanner::new();
            let first = scanner.line_end(&input[..split]);
            assert_eq!(
                first.or_else(|| scanner.line_end(input)),
                Some(8),
                "split at {split}"
            );
        }
    }
}
