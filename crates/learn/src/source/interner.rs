//! Gives each distinct text a number, in order of first appearance.
//!
//! Our own table instead of a map of owned keys, because a column of a table asks millions of times and almost always
//! for a text that is known already: one hash, one comparison, no allocation. The hash is keyed, so a file
//! cannot be made to collide.

use std::hash::{BuildHasher, RandomState};

const FREE: u32 = u32::MAX;

/// The distinct texts so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interner {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
    /// Places in `ends`, found by hash and then by the next slots; a power of two of them, at most half full.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Interner {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }

    /// The number of a text.
    pub(crate) fn intern(&mut self, text: &[u8]) -> usize {
        if self.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = self.hasher.hash_one(text);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let place = self.slots[slot];
            if place == FREE {
                self.slots[slot] = self.len() as u32;
                self.bytes.extend_from_slice(text);
                self.ends.push(self.bytes.len());
                self.hashes.push(hash);
                return self.len() - 1;
            }
            let place = place as usize;
            if self.hashes[place] == hash && self.get(place) == text {
                return place;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let count = (self.slots.len() * 2).max(16);
        let mask = count - 1;
        self.slots = vec![FREE; count];
        for (place, hash) in self.hashes.iter().enumerate() {
            let mut slot = *hash as usize & mask;
            while self.slots[slot] != FREE {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Interner;

    #[test]
    fn a_text_keeps_the_number_of_its_first_appearance() {
        let mut interner = Interner::default();
        let texts: Vec<String> = (0..1000).map(|i| (i % 300).to_string()).collect();
        let places: Vec<usize> = texts
            .iter()
            .map(|text| interner.intern(text.as_bytes()))
            .collect();
        assert!(
            places
                .iter()
                .enumerate()
                .all(|(i, place)| *place == i % 300)
        );
        assert_eq!(interner.len(), 300);
        assert_eq!(interner.get(42), b"42");
        assert_eq!(interner.intern(b""), 300);
    }
}
