//! Randomness for ids, a page at a time.
//!
//! Each record and each request has an id, and asking the kernel for ten bytes took longer than everything else about it.
//! What is handed out is wiped where it lay, so that memory never tells an earlier id. Keys and nonces do not come from
//! here: they ask the kernel themselves.

use std::cell::RefCell;

const PAGE_BYTES: usize = 640;
const ID_BYTES: usize = 10;

struct Page {
    bytes: [u8; PAGE_BYTES],
    used: usize,
}

thread_local! {
    static PAGE: RefCell<Page> = const {
        RefCell::new(Page {
            bytes: [0; PAGE_BYTES],
            used: PAGE_BYTES,
        })
    };
}

/// Ten bytes that nobody can guess.
pub(crate) fn ten_bytes() -> Result<[u8; ID_BYTES], getrandom::Error> {
    PAGE.with_borrow_mut(|page| {
        if page.used + ID_BYTES > PAGE_BYTES {
            getrandom::fill(&mut page.bytes)?;
            page.used = 0;
        }
        let mut ten = [0; ID_BYTES];
        let place = &mut page.bytes[page.used..page.used + ID_BYTES];
        ten.swap_with_slice(place);
        page.used += ID_BYTES;
        Ok(ten)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_ten_bytes_come_twice() {
        let number = 4 * PAGE_BYTES / ID_BYTES;
        let here = (0..number).map(|_| ten_bytes().unwrap());
        let mut seen: HashSet<_> = here.collect();
        let there = std::thread::spawn(|| ten_bytes().unwrap());
        seen.insert(there.join().unwrap());
        assert_eq!(seen.len(), number + 1);
    }

    #[test]
    fn what_was_handed_out_is_wiped() {
        let ten = ten_bytes().unwrap();
        assert_ne!(ten, [0; ID_BYTES]);
        PAGE.with_borrow(|page| assert!(page.bytes[..page.used].iter().all(|byte| *byte == 0)));
    }
}
