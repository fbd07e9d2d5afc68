//! The `heddle-loadgen` binary.
//! Owns: the process's allocator and exit code. Called by: the shell. Thread: main.
//! Does not: contain a command; those are in `heddle_loadgen::cli`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heddle_loadgen::cli::main()
}
