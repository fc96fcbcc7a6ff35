//! The memory of the whole program, by mimalloc: many small allocations on many threads are what a server does, and the
//! system's allocator makes them wait for each other.
//!
//! The crate `mimalloc` asks for every piece by its alignment, and then all above a kilobyte go a slow way that takes more
//! than was asked for. Nearly all alignments are ones that every piece has, so here they are not asked for.
#![allow(unsafe_code)]

use libmimalloc_sys as mimalloc;
use std::alloc::{GlobalAlloc, Layout};

/// What every piece of at least as many bytes is aligned to.
const ALWAYS: usize = 16;

/// The place of `purge_delay` among mimalloc's options.
const PURGE_DELAY: mimalloc::mi_option_t = 15;
/// Milliseconds after which memory that is free goes back to the system. mimalloc keeps it for a second, which a server
/// under load never lets pass: a third of its memory was nobody's, and its answers came no faster for it.
const PURGE_DELAY_MS: std::ffi::c_long = 10;

/// mimalloc.
pub struct Allocator;

/// Has mimalloc give back what is free. The variable `MIMALLOC_PURGE_DELAY` is stronger.
pub fn settle() {
    // SAFETY: the option exists, and takes any number.
    unsafe { mimalloc::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) }
}

/// Whether a piece is aligned as wished without asking for it.
fn is_aligned_anyway(layout: &Layout) -> bool {
    layout.align() <= size_of::<usize>() || layout.align() <= ALWAYS && layout.size() >= ALWAYS
}

// SAFETY: mimalloc gives pieces as large as asked for, aligned to eight bytes, and to sixteen from sixteen bytes on (its
// MI_MAX_ALIGN_SIZE); any other alignment is asked for. Whatever it gave, its `free` and `realloc` take back.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the functions take any size and any power of two.
        unsafe {
            match is_aligned_anyway(&layout) {
                true => mimalloc::mi_malloc(layout.size()).cast(),
                false => mimalloc::mi_malloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match is_aligned_anyway(&layout) {
                true => mimalloc::mi_zalloc(layout.size()).cast(),
                false => mimalloc::mi_zalloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, _layout: Layout) {
        // SAFETY: the caller had the piece from here.
        unsafe { mimalloc::mi_free(piece.cast()) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_aligned_anyway = is_aligned_anyway(&layout) && size >= layout.align();
        // SAFETY: the caller had the piece from here, and what is true of the old size is of the new one.
        unsafe {
            match is_aligned_anyway {
                true => mimalloc::mi_realloc(piece.cast(), size).cast(),
                false => mimalloc::mi_realloc_aligned(piece.cast(), size, layout.align()).cast(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_aligned_and_keeps_its_bytes() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4_096] {
            for size in [1, 7, 8, 15, 16, 17, 40, 1_023, 1_025, 3_000, 70_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout has a size; the piece is written within it, grown once and freed once.
                unsafe {
                    let piece = Allocator.alloc(layout);
                    assert!(piece.addr().is_multiple_of(align), "{size} by {align}");
                    piece.write_bytes(7, size);
                    let grown = Allocator.realloc(piece, layout, 3 * size);
                    assert!(
                        grown.addr().is_multiple_of(align),
                        "{size} by {align}, grown"
                    );
                    let kept = std::slice::from_raw_parts(grown, size);
                    assert!(kept.iter().all(|byte| *byte == 7));
                    Allocator.dealloc(grown, Layout::from_size_align(3 * size, align).unwrap());
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert!(
                        zeroed.addr().is_multiple_of(align),
                        "{size} by {align}, zeroed"
                    );
                    let bytes = std::slice::from_raw_parts(zeroed, size);
                    assert!(bytes.iter().all(|byte| *byte == 0));
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
