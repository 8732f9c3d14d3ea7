//! Pipes that a worker keeps for its relays.
//!
//! Only empty pipes are kept, so no relay ever sees another's bytes. Start at [`Pipe::borrow`].

use std::cell::RefCell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// The sizes that are asked for, best first. The system may refuse a process without privileges when its user has
/// many large pipes; then the pipe stays as it was made.
const SIZES: [usize; 2] = [1024 * 1024, 256 * 1024];

/// How many a worker keeps: as many relays as are in motion in one loop turn, roughly.
const KEPT: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe, until its borrower fills it.
#[derive(Debug)]
pub(super) struct Pipe {
    input: OwnedFd,
    output: OwnedFd,
    slots: usize,
}

impl Pipe {
    /// One that the worker keeps, or a new one; `None` if there are no descriptors left.
    pub(super) fn borrow() -> Option<Self> {
        POOL.with_borrow_mut(Vec::pop).or_else(Self::open)
    }

    /// For the next borrower. It must be empty.
    pub(super) fn give_back(self) {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT {
                pool.push(self);
            }
        });
    }

    /// The end that is written to.
    pub(super) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// The end that is read from.
    pub(super) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// How many pieces it holds, each of a byte at least.
    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    fn open() -> Option<Self> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        for size in SIZES {
            if fcntl_setpipe_size(&input, size).is_ok() {
                break;
            }
        }
        let size = fcntl_getpipe_size(&input).unwrap_or(0);
        Some(Self {
            slots: size / rustix::param::page_size(),
            input,
            output,
        })
    }

    #[cfg(test)]
    pub(super) fn kept() -> usize {
        POOL.with_borrow(Vec::len)
    }
}
