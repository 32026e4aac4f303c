//! The program's allocator, which counts what each thread allocates and what the whole process holds.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

/// Bytes that the process holds.
static HELD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Allocations of this thread, and their bytes.
    static ALLOCATED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Number of bytes that the process holds now.
pub fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// Number of allocations of this thread, and of their bytes.
pub fn allocated() -> (usize, usize) {
    ALLOCATED.get()
}

fn count(bytes: usize) {
    HELD.fetch_add(bytes, Ordering::Relaxed);
    // Not while the thread ends.
    let _ = ALLOCATED.try_with(|allocated| {
        let (allocations, before) = allocated.get();
        allocated.set((allocations + 1, before + bytes));
    });
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promised for this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised for this call.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
