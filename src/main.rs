//! The `heddle` binary: the ResourceManager, the command line, and later the NodeManager agent in one.
//! Owns: the process's allocator and exit code. Called by: the shell. Thread: main.
//! Does not: contain a command; those are in `heddle::cli`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

// Memory is taken and given back on different threads here, which mimalloc's free lists are made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heddle::cli::main()
}
