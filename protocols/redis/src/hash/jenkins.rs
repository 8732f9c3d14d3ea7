//! Bob Jenkins's lookup3 (`hashlittle`, in the public domain), begun with 13 as twemproxy and libmemcached do.
//!
//! One of the functions of [`KeyHash`](super::KeyHash), apart because it is long.

/// What the hash begins with.
const INITIAL: u32 = 13;

pub(super) fn jenkins(key: &[u8]) -> u32 {
    let begin = 0xdead_beef_u32
        .wrapping_add(key.len() as u32)
        .wrapping_add(INITIAL);
    let mut state = [begin; 3];
    let mut rest = key;
    // The last block, which may be whole, is treated in another way.
    while let Some((block, behind)) = rest.split_first_chunk::<12>()
        && !behind.is_empty()
    {
        add(&mut state, block);
        mix(&mut state);
        rest = behind;
    }
    if rest.is_empty() {
        return begin;
    }
    let mut block = [0; 12];
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    add(&mut state, &block);
    last(state)
}

fn add(state: &mut [u32; 3], block: &[u8; 12]) {
    let (words, _) = block.as_chunks::<4>();
    for (part, word) in state.iter_mut().zip(words) {
        *part = part.wrapping_add(u32::from_le_bytes(*word));
    }
}

fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    for (first, second) in [(4, 6), (8, 16), (19, 4)] {
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        // The three take turns: what was done to `a` and `b` is done to `c` and `a` next.
        (a, b, c) = (c, a, b);
    }
    *state = [a, b, c];
}

fn last([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}
