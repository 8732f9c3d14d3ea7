//! The Portcullis binary. Everything it does is in the library beside it; start at `portcullis::main_with_args`.

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
mod allocator;

// Chosen for memory: it gives back what a burst of connections took.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    portcullis::main_with_args(std::env::args_os())
}
