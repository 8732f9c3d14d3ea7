//! Room that clients of a worker hand on, so that none holds any while it waits.
//!
//! Start at [`take`].

use std::cell::RefCell;

use bytes::{Buf as _, BytesMut};

/// Room that is made where there is none: most commands and replies fit.
const MADE: usize = 512;

/// More than this is given back to the allocator.
const KEPT: usize = 8 * MADE;

/// Clients that are being served in one turn of the loop: each may need room for replies until the turn ends.
const MOST: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Room for a command or a reply.
#[inline]
pub(super) fn take() -> BytesMut {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| BytesMut::with_capacity(MADE))
}

/// Gives the room of an empty buffer on. What it holds is for nobody.
#[inline]
pub(super) fn put(buffer: &mut BytesMut) {
    if buffer.capacity() == 0 {
        // None, or so little that it was filled to the end.
        *buffer = BytesMut::new();
        return;
    }
    let mut buffer = std::mem::take(buffer);
    buffer.clear();
    // What was taken off its front is room, too.
    let has_room = buffer.capacity() >= MADE || buffer.try_reclaim(MADE);
    if !has_room || buffer.capacity() > KEPT {
        return;
    }
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST {
            spare.push(buffer);
        }
    });
}

/// Takes so many bytes off the front. All of them: without a trace, so that the room is whole again.
#[inline]
pub(super) fn advance(buffer: &mut BytesMut, count: usize) {
    if count == buffer.len() {
        buffer.clear();
    } else {
        buffer.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_empty_and_never_large() {
        let mut small = take();
        small.extend_from_slice(b"secret");
        let place = small.as_ptr();
        small.advance(3);
        put(&mut small);
        assert_eq!(small.capacity(), 0);
        let again = take();
        assert!(again.is_empty() && again.capacity() >= MADE);
        assert_eq!(again.as_ptr(), place);
        for mut other in [BytesMut::new(), BytesMut::with_capacity(KEPT + 1)] {
            put(&mut other);
            assert_ne!(take().as_ptr(), place);
        }
    }
}
