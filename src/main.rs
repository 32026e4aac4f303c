//! The `strait` program. All of its code is in the library.

use std::process::ExitCode;

/// The allocator with the smallest idle connection, in KiB (`benches/run --only memory`): jemalloc
/// 1.24, mimalloc 1.54, glibc 1.68. Only the image and the benches have it, since its C code takes
/// minutes to build. Tests and fuzz targets of the library keep the system allocator, which sanitizers
/// watch. Its background thread gives memory back while the process is idle (`benches/run --bursts`): without it
/// 4.4 MiB more than at the start stay after 9,000 connections.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The settings of the allocator, which it finds by the name of this symbol. Freed memory goes back to the kernel within
/// 0.2 s, not 10 s: the openings of a burst of connections take more than the connections that are left, and count
/// against the limit of the container for as long as they are kept.
#[cfg(feature = "jemalloc")]
#[expect(
    unsafe_code,
    reason = "no other symbol of the program has this name, and jemalloc wants text that ends with 0"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 19] = b"dirty_decay_ms:200\0";

fn main() -> ExitCode {
    strait::cli::main()
}
