//! What every codec promises, as functions that panic when it does not.
//!
//! The laws: any split of the input gives the same answer; `Ok(None)` leaves the buffer untouched; no more is
//! consumed than was given; a limit of n takes n and refuses n + 1; decoding what was encoded gives it back.
//! Not generators of input: bring your own, from vectors, proptest or a fuzzer.
//! Start at [`every_split_agrees`].

use std::fmt::Debug;

use bytes::BytesMut;
use portcullis_codec::{Decoder, WireError};

/// All that a decoder said about one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript<R> {
    /// What it yielded, as recorded.
    pub items: Vec<R>,
    /// The label of the error that ended it.
    pub error: Option<&'static str>,
    /// The bytes it left, unless it ended in an error.
    pub left: Vec<u8>,
}

/// Records each item as it is.
pub fn plain<I>(items: &mut Vec<I>, item: I) {
    items.push(item);
}

/// How often a decoder may yield without taking bytes before it counts as stuck.
const IDLE_YIELDS: usize = 8;

/// Feeds `pieces` to the decoder one by one, then the end of input, and writes down what it says.
///
/// `record` turns an item into what is compared; it may merge it with the last one, where bounds between items
/// carry no meaning. Checks on the way that bytes are taken from the front only and that `Ok(None)` is final until
/// more arrive; that it leaves an item's bytes untouched is for [`partial_input_untouched`].
pub fn transcript<'a, D: Decoder, R>(
    decoder: &mut D,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    record: impl Fn(&mut Vec<R>, D::Item),
) -> Transcript<R> {
    let mut buffer = BytesMut::new();
    let mut items = Vec::new();
    let error = pieces
        .into_iter()
        .try_for_each(|piece| {
            buffer.extend_from_slice(piece);
            drain(
                &mut buffer,
                |src| decoder.decode(src),
                |item| record(&mut items, item),
            )
        })
        .and_then(|()| {
            drain(
                &mut buffer,
                |src| decoder.decode_eof(src),
                |item| record(&mut items, item),
            )
        })
        .err()
        .map(|error| error.label());
    Transcript {
        items,
        left: if error.is_none() {
            buffer.to_vec()
        } else {
            Vec::new()
        },
        error,
    }
}

/// Calls until there is no more, checking each answer.
fn drain<I, E>(
    buffer: &mut BytesMut,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<I>, E>,
    mut record: impl FnMut(I),
) -> Result<(), E> {
    let mut idle = 0;
    loop {
        let before = buffer.clone();
        let item = decode(buffer)?;
        assert!(
            before.ends_with(buffer),
            "consumed from anywhere but the front: {before:?} became {buffer:?}"
        );
        let Some(item) = item else {
            let settled = buffer.clone();
            let again = decode(buffer)?;
            assert!(
                again.is_none() && settled == *buffer,
                "asked twice, answered twice"
            );
            return Ok(());
        };
        record(item);
        idle = if before.len() == buffer.len() {
            idle + 1
        } else {
            0
        };
        assert!(idle < IDLE_YIELDS, "yields for ever without taking bytes");
    }
}

/// The whole input at once, byte by byte, and in two pieces at every place: all must give the same transcript,
/// which is returned.
pub fn every_split_agrees<D: Decoder, R: PartialEq + Debug>(
    make: impl Fn() -> D,
    input: &[u8],
    record: impl Fn(&mut Vec<R>, D::Item),
) -> Transcript<R> {
    let whole = transcript(&mut make(), [input], &record);
    assert_agrees(&whole, &make, input, input.chunks(1).collect(), &record);
    for at in 1..input.len() {
        let (front, back) = input.split_at(at);
        assert_agrees(&whole, &make, input, vec![front, back], &record);
    }
    whole
}

/// The whole input at once against one given way to cut it: for fuzzers, which bring the cuts.
pub fn split_agrees<D: Decoder, R: PartialEq + Debug>(
    make: impl Fn() -> D,
    pieces: Vec<&[u8]>,
    record: impl Fn(&mut Vec<R>, D::Item),
) -> Transcript<R> {
    let input = pieces.concat();
    let whole = transcript(&mut make(), [&input[..]], &record);
    assert_agrees(&whole, &make, &input, pieces, &record);
    whole
}

fn assert_agrees<D: Decoder, R: PartialEq + Debug>(
    whole: &Transcript<R>,
    make: &impl Fn() -> D,
    input: &[u8],
    pieces: Vec<&[u8]>,
    record: &impl Fn(&mut Vec<R>, D::Item),
) {
    let lengths: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
    let cut = transcript(&mut make(), pieces, record);
    assert!(
        *whole == cut,
        "a split changed the answer\n input: {:?}\n pieces: {lengths:?}\n whole: {whole:?}\n split: {cut:?}",
        input.escape_ascii().to_string(),
    );
}

/// Every proper prefix of one item's bytes must give `Ok(None)` and stay as it is; the whole must give the item.
pub fn partial_input_untouched<D: Decoder>(make: impl Fn() -> D, item: &[u8]) {
    for length in 0..item.len() {
        let mut buffer = BytesMut::from(&item[..length]);
        match make().decode(&mut buffer) {
            Ok(None) => assert_eq!(buffer, item[..length], "touched at {length} bytes"),
            Ok(Some(_)) => panic!("an item from only {length} of {} bytes", item.len()),
            Err(error) => panic!("{} at {length} of {} bytes", error.label(), item.len()),
        }
    }
    let mut buffer = BytesMut::from(item);
    match make().decode(&mut buffer) {
        Ok(Some(_)) => assert!(buffer.is_empty(), "left {buffer:?}"),
        Ok(None) => panic!("no item from the whole"),
        Err(error) => panic!("{} from the whole", error.label()),
    }
}

/// `input(n)` holds n of what the limit counts. A decoder made for n must take it, and one made for n must refuse
/// `input(n + 1)` with `label`, however it is cut.
pub fn limit_trips_after<D: Decoder>(
    n: usize,
    make: impl Fn(usize) -> D,
    input: impl Fn(usize) -> Vec<u8>,
    label: &str,
) {
    let unit = |items: &mut Vec<()>, _: D::Item| items.push(());
    let within = input(n);
    let taken = transcript(&mut make(n), [&within[..]], unit);
    assert_eq!(taken.error, None, "refused at the limit of {n}");
    let beyond = input(n + 1);
    for pieces in [vec![&beyond[..]], beyond.chunks(1).collect()] {
        let refused = transcript(&mut make(n), pieces, unit);
        assert_eq!(refused.error, Some(label), "one past the limit of {n}");
    }
}

/// If `input` decodes, what is encoded from it must decode to the same, and encode to the same bytes again.
/// Returns the encoded form.
pub fn roundtrip<T: PartialEq + Debug>(
    input: &[u8],
    decode: impl Fn(&[u8]) -> Option<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<Vec<u8>> {
    let first = decode(input)?;
    let encoded = encode(&first);
    let shown = encoded.escape_ascii();
    let second = decode(&encoded).unwrap_or_else(|| panic!("own encoding is refused: {shown}"));
    assert_eq!(first, second, "own encoding means something else: {shown}");
    assert_eq!(
        encoded.escape_ascii().to_string(),
        encode(&second).escape_ascii().to_string(),
        "the encoding is not canonical"
    );
    Some(encoded)
}

#[cfg(test)]
mod tests {
    use portcullis_codec::Severity;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    struct TooLong;

    impl std::fmt::Display for TooLong {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("too long")
        }
    }

    impl std::error::Error for TooLong {}

    impl WireError for TooLong {
        fn severity(&self) -> Severity {
            Severity::Connection
        }
        fn label(&self) -> &'static str {
            "too_long"
        }
    }

    /// Lines of at most so many bytes. The flag makes it forget itself on a split, to see the law fail.
    struct Lines {
        limit: usize,
        eager: bool,
    }

    impl Decoder for Lines {
        type Item = BytesMut;
        type Error = TooLong;

        fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, TooLong> {
            let end = src.iter().position(|&byte| byte == b'\n');
            match end {
                Some(end) if end <= self.limit => Ok(Some(src.split_to(end + 1))),
                None if self.eager && src.len() > 2 => Ok(Some(src.split_to(2))),
                None if src.len() <= self.limit => Ok(None),
                _ => Err(TooLong),
            }
        }
    }

    fn lines(limit: usize) -> Lines {
        Lines {
            limit,
            eager: false,
        }
    }

    #[test]
    fn laws_hold_for_a_lawful_decoder() {
        let seen = every_split_agrees(|| lines(9), b"a\nbcd\n\nrest", plain);
        assert_eq!(seen.items.len(), 3);
        assert_eq!(seen.left, b"rest");
        partial_input_untouched(|| lines(9), b"abc\n");
        let line = |n| [vec![b'a'; n], b"\n".to_vec()].concat();
        limit_trips_after(5, lines, line, "too_long");
    }

    #[test]
    #[should_panic(expected = "a split changed the answer")]
    fn an_eager_decoder_is_caught() {
        let eager = || Lines {
            limit: 9,
            eager: true,
        };
        every_split_agrees(eager, b"abcd\n", plain);
    }
}
