//! One read buffer per worker, borrowed for the length of one read.
//!
//! Idle connections hold no buffer: bytes are read here and only what is left over is copied out.

use std::cell::RefCell;

/// Size of the buffer, and so the most that one read takes.
pub const SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the buffer. `with` must not call this again.
pub fn lend<T>(with: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with(|scratch| {
        let mut scratch = scratch.borrow_mut();
        if scratch.is_empty() {
            scratch.resize(SIZE, 0);
        }
        with(&mut scratch)
    })
}
