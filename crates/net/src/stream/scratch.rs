//! The worker's buffer, which every read goes through, and how what was read gets from there to whoever asked.
//!
//! It reads nothing itself. Start at [`deliver`].

use std::cell::RefCell;

use bytes::BytesMut;

/// The most that one read takes: what a fast sender has waiting, without spoiling the processor's cache. More than
/// 64 KiB, so that a message whose body has that popular size comes in one read with its head.
pub(crate) const SCRATCH_BYTES: usize = 80 * 1024;

/// Up to this a read is copied out of the worker's buffer into an allocation of its own size; a larger one takes the
/// buffer along. Bounds the memory that a kept piece can hold in vain to four times its size.
const COPY_BYTES: usize = 16 * 1024;

/// Up to this a read is copied into a block together with others: most heads, commands and statements are that short, and
/// gone before the block is full.
const SHARED_BYTES: usize = 512;

/// How large such a block is. It is what a short piece that is kept can hold in vain.
const BLOCK_BYTES: usize = 4 * 1024;

thread_local! {
    /// What was just read from a socket; empty between two reads.
    pub(crate) static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());

    /// What is left of the block for short reads; always empty.
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Moves what was read to the caller's buffer and leaves the worker's empty.
pub(crate) fn deliver(scratch: &mut BytesMut, dst: &mut BytesMut) {
    if scratch.len() > COPY_BYTES && dst.is_empty() {
        *dst = scratch.split();
        return;
    }
    if dst.capacity() == 0 {
        *dst = copied(scratch);
    } else {
        dst.extend_from_slice(scratch);
    }
    scratch.clear();
}

/// A buffer that holds just this.
fn copied(read: &[u8]) -> BytesMut {
    if read.len() > SHARED_BYTES {
        // Made in one step; growing from nothing takes several.
        return BytesMut::from(read);
    }
    BLOCK.with_borrow_mut(|block| {
        if block.capacity() < read.len() {
            // The same block from its start, if nobody holds a piece of it any more.
            block.reserve(BLOCK_BYTES);
        }
        block.extend_from_slice(read);
        block.split()
    })
}
