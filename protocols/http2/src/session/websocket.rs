//! The key and accept values of the WebSocket handshake, where HTTP/1 meets HTTP/2.
//!
//! Over HTTP/2 a WebSocket begins without them (RFC 8441 section 5), so a gateway makes and checks them for the side that
//! speaks HTTP/1. They authenticate nothing: SHA-1 here only shows that a peer has read the request. Start at
//! [`accept`].

/// The value of `sec-websocket-accept` for a `sec-websocket-key` (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept(key: &[u8]) -> [u8; 28] {
    let mut text = Vec::with_capacity(key.len() + SUFFIX.len());
    text.extend_from_slice(key);
    text.extend_from_slice(SUFFIX);
    base64(sha1(&text))
}

/// A `sec-websocket-key` made of 16 random bytes (RFC 6455 section 4.1).
#[must_use]
pub fn key(random: [u64; 2]) -> [u8; 24] {
    let [first, second] = random;
    let mut bytes = [0; 16];
    let source = first.to_be_bytes().into_iter().chain(second.to_be_bytes());
    for (byte, value) in bytes.iter_mut().zip(source) {
        *byte = value;
    }
    base64(bytes)
}

const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Base64 with padding (RFC 4648 section 4). `OUT` is the length that `IN` bytes take.
fn base64<const IN: usize, const OUT: usize>(bytes: [u8; IN]) -> [u8; OUT] {
    const { assert!(OUT == IN.div_ceil(3) * 4) }
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; OUT];
    for (group, places) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            (bits << 8) | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for (at, place) in places.iter_mut().take(group.len() + 1).enumerate() {
            let index = (bits >> (18 - 6 * at)) & 0x3f;
            *place = ALPHABET.get(index as usize).copied().unwrap_or(b'=');
        }
    }
    text
}

/// FIPS 180-4 section 6.1.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0_u32,
    ];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        digest(&mut state, block);
    }
    let mut bytes = [0; 20];
    for (byte, value) in bytes
        .iter_mut()
        .zip(state.into_iter().flat_map(u32::to_be_bytes))
    {
        *byte = value;
    }
    bytes
}

fn digest(state: &mut [u32; 5], block: &[u8]) {
    let mut schedule: [u32; 16] = std::array::from_fn(|word| {
        (0..4).fold(0, |bits, byte| {
            (bits << 8) | u32::from(block.get(word * 4 + byte).copied().unwrap_or(0))
        })
    });
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for round in 0..80 {
        let [word, ..] = schedule;
        let (mix, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(mix)
            .wrapping_add(e)
            .wrapping_add(constant)
            .wrapping_add(word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        let [w0, _, w2, _, _, _, _, _, w8, _, _, _, _, w13, ..] = schedule;
        schedule.rotate_left(1);
        if let Some(last) = schedule.last_mut() {
            *last = (w13 ^ w8 ^ w2 ^ w0).rotate_left(1);
        }
    }
    for (word, value) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        let rows: &[(&[u8], &str)] = &[
            (b"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
        ];
        for (message, expected) in rows {
            let text: String = sha1(message)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(text, *expected);
        }
    }

    #[test]
    fn the_example_of_rfc_6455() {
        assert_eq!(
            &accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(&key([0, 0]), b"AAAAAAAAAAAAAAAAAAAAAA==");
    }
}
