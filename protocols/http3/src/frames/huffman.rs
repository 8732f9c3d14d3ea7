//! One question about a compressed string (RFC 7541 section 5.2): whether a certain byte is in it.
//!
//! Nothing is decoded, padding is not looked at, and what is no code ends the search: whoever decodes the string refuses it.
//! Start at [`has_hash`].

/// How many codes of each length there are (RFC 7541 appendix B). The code is canonical: that is all that is needed to see
/// where codes end.
const COUNTS: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];

/// The code of `#`, and its length.
const HASH: (u32, usize) = (0xffa, 12);

/// Whether there is a `#`.
pub(super) fn has_hash(compressed: &[u8]) -> bool {
    may_have_hash(compressed) && search(compressed)
}

/// Its code begins with nine ones, which few paths have anywhere.
fn may_have_hash(compressed: &[u8]) -> bool {
    compressed.windows(2).any(
        |pair| matches!(pair, [first, second] if first.trailing_ones() + second.leading_ones() >= 9),
    )
}

fn search(compressed: &[u8]) -> bool {
    let bits = compressed
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1)));
    // The bits of a code so far, the first code of that length, and the length.
    let (mut code, mut least, mut length) = (0_u32, 0_u32, 0_usize);
    for bit in bits {
        code = code << 1 | bit;
        least <<= 1;
        length += 1;
        let Some(count) = COUNTS.get(length) else {
            return false;
        };
        if code - least >= *count {
            least += count;
            continue;
        }
        if (code, length) == HASH {
            return true;
        }
        (code, least, length) = (0, 0, 0);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_found_wherever_it_stands() {
        let rows: &[(&str, &[u8], bool)] = &[
            ("nothing", &[], false),
            ("/a", &[0x60, 0x7f], false),
            ("/a?b", &[0x60, 0x7f, 0xe4, 0x7f], false),
            ("/path?", &[0x62, 0xb1, 0xa6, 0x7f, 0xf3], false),
            ("#", &[0xff, 0xaf], true),
            ("/#", &[0x63, 0xfe, 0xbf], true),
            ("/a#b", &[0x60, 0x7f, 0xf5, 0x1f], true),
            ("/a?#", &[0x60, 0x7f, 0xe7, 0xfd, 0x7f], true),
            ("half of one", &[0xff], false),
            ("too much padding", &[0x60, 0x7f, 0xff, 0xff], false),
            ("no code", &[0xff; 8], false),
        ];
        for (name, compressed, expected) in rows {
            assert_eq!(has_hash(compressed), *expected, "{name}");
            assert_eq!(search(compressed), *expected, "{name}, searched");
        }
    }
}
