//! Counts the fields of a header block without decompressing it (RFC 7541 section 6).
//!
//! A field may take a single byte of a block and kilobytes once decompressed, so the count comes first. Nothing is kept:
//! numbers are read, strings stepped over. Not a decompressor, and no judge of indices or of Huffman codes: `h2` is.
//! Start at [`FieldCounter::read`].

/// Reads header blocks, in any pieces.
#[derive(Debug, Default)]
pub(super) struct FieldCounter {
    state: State,
    /// Strings of the representation that are still to come.
    strings: u8,
    /// The number that is being read, or the bytes of a string that are to be stepped over.
    number: u32,
    /// How far the next bits of the number are to be moved.
    shift: u8,
    count: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Between two representations.
    #[default]
    Start,
    /// In the bytes of an index, or of a size, that did not fit its first.
    Index,
    /// At the first byte of a string's length.
    Length,
    /// In the further bytes of a string's length.
    LengthMore,
    /// In a string.
    String,
}

/// Bits of a number that are read: four bytes of seven, as much as no sane length needs.
const MOST_SHIFT: u8 = 21;

impl FieldCounter {
    /// A new block begins.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// The block has ended; in the middle of a field that is for the decompressor to refuse.
    pub(super) fn end(&mut self) {
        self.begin();
    }

    /// Fields so far in this block.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// A piece of the block. `false` when a number overflows: nothing behind it can be told apart.
    pub(super) fn read(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            if self.state == State::String {
                let take = rest.len().min(self.number as usize);
                self.number -= take as u32;
                rest = rest.get(take..).unwrap_or_default();
                if self.number == 0 {
                    self.string_ended();
                }
                continue;
            }
            rest = behind;
            match self.state {
                State::Start => self.representation(byte),
                State::Length => self.prefix(byte, 0x7f, State::LengthMore),
                State::Index | State::LengthMore | State::String => {
                    if !self.more(byte) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// RFC 7541 section 6: the first bits say what it is.
    fn representation(&mut self, byte: u8) {
        let (mask, strings) = match byte {
            // Indexed field.
            0x80.. => (0x7f, 0),
            // Literal, to be kept in the table.
            0x40..0x80 => (0x3f, 1),
            // The table changes its size: no field.
            0x20..0x40 => (0x1f, 0),
            // Literal, not to be kept.
            0..0x20 => (0x0f, 1),
        };
        if !(0x20..0x40).contains(&byte) {
            self.count = self.count.saturating_add(1);
        }
        // A literal without an index has a name of its own.
        self.strings = strings + u8::from(strings == 1 && byte & mask == 0);
        self.prefix(byte, mask, State::Index);
    }

    /// The first byte of a number (section 5.1); `more` if there are others.
    fn prefix(&mut self, byte: u8, mask: u8, more: State) {
        self.number = u32::from(byte & mask);
        self.shift = 0;
        if byte & mask == mask {
            self.state = more;
        } else {
            self.number_ended(more);
        }
    }

    /// A further byte of a number; `false` when it overflows.
    fn more(&mut self, byte: u8) -> bool {
        if self.shift > MOST_SHIFT {
            return false;
        }
        self.number += u32::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte & 0x80 == 0 {
            self.number_ended(self.state);
        }
        true
    }

    fn number_ended(&mut self, of: State) {
        if of == State::Index {
            self.string_or_start();
        } else if self.number == 0 {
            self.string_ended();
        } else {
            self.state = State::String;
        }
    }

    fn string_ended(&mut self) {
        self.strings -= 1;
        self.string_or_start();
    }

    fn string_or_start(&mut self) {
        self.state = if self.strings == 0 {
            State::Start
        } else {
            State::Length
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_whatever_their_form() {
        let rows: &[(&str, &[u8], u32)] = &[
            ("nothing", b"", 0),
            ("indexed", b"\x82\x86\x84", 3),
            ("an index of two bytes", b"\xff\x00\x82", 2),
            ("size update", b"\x3f\xe1\x1f\x82", 1),
            ("literal with an indexed name", b"\x41\x03foo\x82", 2),
            ("literal with a name", b"\x40\x03foo\x03bar\x82", 2),
            ("not kept", b"\x00\x03foo\x03bar\x82", 2),
            ("never kept", b"\x10\x03foo\x03bar\x82", 2),
            (
                "not kept, indexed past the prefix",
                b"\x0f\x01\x03bar\x82",
                2,
            ),
            (
                "Huffman",
                b"\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x82",
                2,
            ),
            ("empty value", b"\x41\x00\x82", 2),
            ("empty name and value", b"\x00\x00\x00\x82", 2),
            (
                "the bytes of a value look like fields",
                b"\x41\x03\x82\x82\x82",
                1,
            ),
            ("in the middle of a value", b"\x41\x09foo", 1),
        ];
        for (name, block, expected) in rows {
            let mut whole = FieldCounter::default();
            assert!(whole.read(block), "{name}");
            assert_eq!(whole.count(), *expected, "{name}");
            let mut pieces = FieldCounter::default();
            assert!(block.chunks(1).all(|piece| pieces.read(piece)), "{name}");
            assert_eq!(pieces.count(), *expected, "{name}, byte by byte");
        }
    }

    #[test]
    fn a_long_value_is_stepped_over() {
        let mut counter = FieldCounter::default();
        let mut block = b"\x41\x7f\x81\x01".to_vec(); // 127 + 1 + 128
        block.extend([0x82; 256]);
        assert!(counter.read(&block));
        assert_eq!(counter.count(), 1);
        assert!(counter.read(b"\x82"));
        assert_eq!(counter.count(), 2);
    }

    #[test]
    fn a_number_that_overflows_is_refused() {
        for (name, block, expected) in [
            ("the longest index", &b"\xff\xff\xff\xff\x7f"[..], true),
            ("one byte more", b"\xff\xff\xff\xff\xff\x00", false),
            ("a length", b"\x41\x7f\xff\xff\xff\xff\x01", false),
        ] {
            assert_eq!(FieldCounter::default().read(block), expected, "{name}");
        }
    }
}
