//! Buffers of long answers, used again.
//!
//! A batch read answers with two hundred kilobytes. Memory of that size comes fresh from the operating system, which fills it
//! with zeros first, and goes back to it; a buffer that was used a moment ago is still in the processor's cache.

use std::cell::RefCell;

use bytes::Bytes;

/// Buffers that a thread keeps for later, and how long each may be: 16 MiB a thread at most.
const BUFFERS_PER_THREAD_MAX: usize = 32;
const BUFFER_BYTES_MAX: usize = 512 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, perhaps with room.
pub(crate) fn take() -> Vec<u8> {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// What is in a buffer. Once nobody has it any more, the buffer is kept.
pub(crate) fn lend(buffer: Vec<u8>) -> Bytes {
    Bytes::from_owner(Lent(buffer))
}

struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if buffer.capacity() > BUFFER_BYTES_MAX {
            return;
        }
        buffer.clear();
        // A thread that ends has none any more.
        let _ = BUFFERS.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < BUFFERS_PER_THREAD_MAX {
                kept.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_when_the_last_part_of_it_is_gone() {
        let mut buffer = take();
        buffer.extend_from_slice(b"long");
        let place = buffer.as_ptr();
        let whole = lend(buffer);
        let part = whole.slice(1..3);
        drop(whole);
        assert_eq!(part, b"on"[..]);
        drop(part);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn what_a_thread_keeps_is_bounded() {
        drop(lend(Vec::with_capacity(BUFFER_BYTES_MAX + 1)));
        assert_eq!(take().capacity(), 0);
        drop((0..100).map(|_| lend(Vec::with_capacity(10))).collect::<Vec<_>>());
        assert_eq!(BUFFERS.with_borrow(Vec::len), BUFFERS_PER_THREAD_MAX);
    }
}
