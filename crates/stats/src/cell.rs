//! Where numbers live: 64-bit cells in chunks that belong to one shard.
//!
//! A chunk starts on its own pair of cache lines and is only ever written by the thread of its shard, so counting costs no
//! coherence traffic. Not a general allocator: cells are handed out and taken back under the registry's lock, at build time.
//! Start at [`Slot`], which is what a handle holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Cells in a chunk. A power of two, so that reducing an index by it is a mask.
const CELLS: usize = 64;

/// Cells of one shard. 128 bytes: adjacent cache lines are fetched in pairs on common processors.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Chunk([AtomicU64; CELLS]);

impl Chunk {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    #[inline]
    #[allow(clippy::indexing_slicing)] // reduced by the length of the array
    fn cell(&self, index: usize) -> &AtomicU64 {
        &self.0[index % CELLS]
    }
}

/// One cell, written by one thread and read by any.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    chunk: Arc<Chunk>,
    index: usize,
    /// Says whether handles exist: the registry holds one reference, and every handle made from it one more.
    live: Arc<()>,
}

impl Slot {
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.chunk.cell(self.index).load(Relaxed)
    }

    #[inline]
    pub(crate) fn store(&self, value: u64) {
        self.chunk.cell(self.index).store(value, Relaxed);
    }

    /// Adds with a load and a store. Correct because only the thread of the shard writes this cell.
    #[inline]
    pub(crate) fn add(&self, by: u64) {
        let cell = self.chunk.cell(self.index);
        cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// Whether anything but the registry refers to the cell. When not, everything written through a handle is visible here.
    pub(crate) fn is_live(&mut self) -> bool {
        // `get_mut` pairs with the release of the last handle, which a bare `strong_count` would not.
        Arc::get_mut(&mut self.live).is_none()
    }
}

/// Hands out the cells of one shard, and takes back those that nothing refers to.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    chunk: Option<Arc<Chunk>>,
    used: usize,
    free: Vec<Slot>,
}

impl Cells {
    /// A cell that holds 0 and that no one else has.
    pub(crate) fn take(&mut self) -> Slot {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        let chunk = match &self.chunk {
            Some(chunk) if self.used < CELLS => Arc::clone(chunk),
            _ => {
                self.used = 0;
                Arc::clone(self.chunk.insert(Arc::new(Chunk::new())))
            }
        };
        let index = self.used;
        self.used += 1;
        Slot {
            chunk,
            index,
            live: Arc::new(()),
        }
    }

    /// Takes back a cell, which must not be live.
    pub(crate) fn put_back(&mut self, slot: Slot) {
        slot.store(0);
        self.free.push(slot);
    }
}
