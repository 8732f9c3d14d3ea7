//! Runs of characters, eight bytes at a time.
//!
//! Not a parser: each function says how far a run of the characters of HTTP's grammar reaches. The bit tricks are exact for the first byte that
//! stops a run, which is the only one asked for. Start at [`text_run`].

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// How many bytes at the front may stand in a field value: no control byte but tab (RFC 9110 section 5.5).
#[must_use]
#[inline]
pub fn text_run(bytes: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let rest = bytes.get(length..).unwrap_or_default();
        length += run(
            rest,
            |word| below(word, b' ') | equal(word, 0x7f),
            |byte| byte < b' ' || byte == 0x7f,
        );
        if bytes.get(length) != Some(&b'\t') {
            return length;
        }
        length += 1;
    }
}

/// How many bytes at the front may stand in a request target: visible ASCII without `#`.
#[must_use]
#[inline]
pub fn target_run(bytes: &[u8]) -> usize {
    run(
        bytes,
        |word| below(word, b'!') | equal(word, b'#') | equal(word, 0x7f) | (word & HIGH_BITS),
        |byte| !byte.is_ascii_graphic() || byte == b'#',
    )
}

/// The index of the first colon, or the length.
#[must_use]
#[inline]
pub fn colon(bytes: &[u8]) -> usize {
    run(bytes, |word| equal(word, b':'), |byte| byte == b':')
}

/// The index of the first byte that stops a run: `stops` marks such bytes of a word by their high bits.
#[inline]
fn run(bytes: &[u8], stops: impl Fn(u64) -> u64, stops_at: impl Fn(u8) -> bool) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let hits = stops(u64::from_le_bytes(*word));
        if hits != 0 {
            return index * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    if let Some(word) = bytes.last_chunk::<8>() {
        // Together with bytes that were looked at, and do not stop a run, the tail fills a word.
        let hits = stops(u64::from_le_bytes(*word));
        return if hits == 0 {
            bytes.len()
        } else {
            bytes.len() - 8 + hits.trailing_zeros() as usize / 8
        };
    }
    let rest = tail.iter().position(|&byte| stops_at(byte));
    rest.unwrap_or(tail.len())
}

/// Marks bytes below `bound` (at most 128). A borrow may mark bytes above the first that is meant.
#[inline]
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word & HIGH_BITS
}

/// Marks bytes equal to `byte`, with the same care.
#[inline]
const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * byte as u64), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte value at every place of a word and its neighbours, against the definition.
    #[test]
    fn runs_stop_where_their_definition_says() {
        let places = [5, 8, 13, 20]
            .into_iter()
            .flat_map(|length| (0..length).map(move |at| (length, at)));
        for (length, at) in places {
            for byte in 0..=u8::MAX {
                let mut bytes = vec![b'a'; length];
                bytes[at] = byte;
                let stops = |is_stop: bool| if is_stop { at } else { bytes.len() };
                let control = (byte < b' ' && byte != b'\t') || byte == 0x7f;
                assert_eq!(text_run(&bytes), stops(control), "text {byte:#x} at {at}");
                let hidden = !byte.is_ascii_graphic() || byte == b'#';
                assert_eq!(
                    target_run(&bytes),
                    stops(hidden),
                    "target {byte:#x} at {at}"
                );
                assert_eq!(
                    colon(&bytes),
                    stops(byte == b':'),
                    "colon {byte:#x} at {at}"
                );
            }
        }
    }
}
