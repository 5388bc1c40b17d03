//! The binary `causeway`.

use std::process::ExitCode;

/// Calls allocate and free pieces of a few KiB (a task, a head, a buffer), which glibc serves from its slow bins.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    causeway_gateway::cli::main()
}
