//! The list of terms a vectorizer knows, and the way from a gram to its index.
//!
//! Terms are kept end to end in one string, sorted by code point as scikit-learn sorts them, beside a
//! table from hash to index. A table entry carries 32 bits of the hash, so an unknown gram is all but
//! always refused without touching the terms; a known one is still compared byte for byte.

use hashbrown::HashTable;

use super::hash::gram_hash;

/// As many terms as are kept; beyond this, features by hash are the better tool.
pub const TERMS_MAX: usize = 1 << 22;

/// Sorted, distinct terms.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    joined: String,
    ends: Vec<u32>,
    table: HashTable<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The upper half of the term's hash; enough to place the entry again when the table grows.
    tag: u32,
    index: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    #[error("more than {limit} terms")]
    TooMany { limit: usize },
    #[error("term {index} does not sort after the one before")]
    Order { index: usize },
    #[error("the terms together are longer than 4 GiB or their ends do not cut them")]
    Ends,
}

impl Vocabulary {
    pub fn new<T: AsRef<str>>(terms: impl IntoIterator<Item = T>) -> Result<Self, VocabularyError> {
        let (mut joined, mut ends) = (String::new(), Vec::new());
        for term in terms {
            joined.push_str(term.as_ref());
            ends.push(u32::try_from(joined.len()).map_err(|_| VocabularyError::Ends)?);
        }
        Self::from_joined(joined, ends)
    }

    /// From all terms end to end, and where each one ends.
    pub fn from_joined(joined: String, ends: Vec<u32>) -> Result<Self, VocabularyError> {
        if ends.len() > TERMS_MAX {
            return Err(VocabularyError::TooMany { limit: TERMS_MAX });
        }
        check_ends(&joined, &ends)?;
        let table = HashTable::with_capacity(ends.len());
        let mut vocabulary = Self {
            joined,
            ends,
            table,
        };
        vocabulary.check_order()?;
        vocabulary.fill();
        Ok(vocabulary)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    #[inline]
    pub fn find(&self, term: &str) -> Option<u32> {
        let hash = spread(tag(gram_hash(term.as_bytes())));
        let is_same = |entry: &Entry| spread(entry.tag) == hash && self.at(entry.index) == term;
        self.table.find(hash, is_same).map(|entry| entry.index)
    }

    pub fn term(&self, index: usize) -> Option<&str> {
        (index < self.len()).then(|| self.at(index as u32))
    }

    pub fn joined(&self) -> &str {
        &self.joined
    }

    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    #[inline]
    fn at(&self, index: u32) -> &str {
        let index = index as usize;
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        &self.joined[start..self.ends[index] as usize]
    }

    fn check_order(&self) -> Result<(), VocabularyError> {
        let is_wrong = |&index: &usize| {
            let index = index as u32;
            self.at(index - 1) >= self.at(index)
        };
        match (1..self.len()).find(is_wrong) {
            Some(index) => Err(VocabularyError::Order { index }),
            None => Ok(()),
        }
    }

    fn fill(&mut self) {
        for index in 0..self.len() as u32 {
            let tag = tag(gram_hash(self.at(index).as_bytes()));
            let entry = Entry { tag, index };
            self.table
                .insert_unique(spread(tag), entry, |entry| spread(entry.tag));
        }
    }
}

fn check_ends(joined: &str, ends: &[u32]) -> Result<(), VocabularyError> {
    let cuts = ends
        .iter()
        .all(|&end| joined.is_char_boundary(end as usize));
    let covers = ends.last().map_or(0, |&end| end as usize) == joined.len();
    if cuts && covers && ends.is_sorted() {
        return Ok(());
    }
    Err(VocabularyError::Ends)
}

#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The table places by low bits and compares by the top seven; both come from the tag.
#[inline]
fn spread(tag: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_finds_its_index_and_others_nothing() {
        let terms = (0..5000)
            .map(|number| format!("t{number:05} é"))
            .collect::<Vec<_>>();
        let vocabulary = Vocabulary::new(&terms).unwrap();
        for (index, term) in terms.iter().enumerate() {
            assert_eq!(vocabulary.find(term), Some(index as u32));
            assert_eq!(vocabulary.term(index), Some(term.as_str()));
        }
        assert_eq!(vocabulary.find("t00000"), None);
        assert_eq!(vocabulary.term(5000), None);
    }

    #[test]
    fn disorder_and_repeats_are_refused() {
        assert_eq!(
            Vocabulary::new(["b", "a"]).unwrap_err(),
            VocabularyError::Order { index: 1 }
        );
        assert_eq!(
            Vocabulary::new(["a", "a"]).unwrap_err(),
            VocabularyError::Order { index: 1 }
        );
    }

    #[test]
    fn ends_that_do_not_cut_are_refused() {
        for ends in [vec![1, 2], vec![2, 1, 3], vec![4], vec![2], vec![]] {
            let refused = Vocabulary::from_joined("éa".to_owned(), ends);
            assert_eq!(refused.unwrap_err(), VocabularyError::Ends);
        }
    }
}
