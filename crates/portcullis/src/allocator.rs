//! mimalloc as the process's allocator.
//!
//! Not an allocator of our own: the `mimalloc` crate's binding asks for an alignment with every allocation, which
//! costs three times as much as asking for none, and nearly nothing here needs more than a machine word's. Start at
//! [`Allocator`].

#![allow(unsafe_code)] // an allocator is unsafe by nature; each call says why it holds

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mi;

/// mimalloc, asked for an alignment only where one is needed.
pub(crate) struct Allocator;

/// What mimalloc aligns every block to, however small: all its sizes are multiples of a word.
const WORD: usize = align_of::<usize>();

// SAFETY: mimalloc is a general allocator, used alike by all four functions. Blocks are aligned to a word at least,
// and where more is asked for, the aligned functions are used; `mi_free` takes blocks of either kind.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: both take any size; an alignment of a layout is a power of two.
        unsafe {
            if layout.align() <= WORD {
                mi::mi_malloc(layout.size()).cast()
            } else {
                mi::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe {
            if layout.align() <= WORD {
                mi::mi_zalloc(layout.size()).cast()
            } else {
                mi::mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller got the block from this allocator, hence from mimalloc.
        unsafe { mi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc` for the block, and as in `alloc` for the alignment.
        unsafe {
            if layout.align() <= WORD {
                mi::mi_realloc(block.cast(), size).cast()
            } else {
                mi::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_keep_their_bytes() {
        for align in [1, 2, 4, 8, 16, 64, 4096] {
            for size in [1, 8, 24, 100, 1000, 5000, 100_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: sizes are not zero; the block is written within its size and freed once.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert_eq!(block as usize % align, 0, "{size} bytes at {align}");
                    assert_eq!(*block.add(size - 1), 0);
                    *block = 7;
                    let block = Allocator.realloc(block, layout, size * 3);
                    assert_eq!(block as usize % align, 0, "{size} bytes at {align}, grown");
                    assert_eq!(*block, 7);
                    let grown = Layout::from_size_align(size * 3, align).unwrap();
                    Allocator.dealloc(block, grown);
                }
            }
        }
    }
}
