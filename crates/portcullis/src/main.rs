//! The Portcullis binary. Everything it does is in the library beside it; start at `portcullis::main_with_args`.

use std::process::ExitCode;

// Chosen for memory: it gives back what a burst of connections took. Speed is within noise of the system's.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis::main_with_args(std::env::args_os())
}
