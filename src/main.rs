//! The `strait` program. All of its code is in the library.

use std::process::ExitCode;

/// The allocator with the smallest idle connection, in KiB (`benches/run --only memory`): jemalloc
/// 1.24, mimalloc 1.54, glibc 1.68. Only the image and the benches have it, since its C code takes
/// minutes to build. Tests and fuzz targets of the library keep the system allocator, which sanitizers
/// watch. Its background thread gives memory back while the process is idle (`benches/run --bursts`): without it
/// 4.4 MiB more than at the start stay after 9,000 connections, with it 0.9 MiB.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    strait::cli::main()
}
