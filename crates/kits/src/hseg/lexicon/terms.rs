//! The parts of patterns, and a way from a word to the patterns that begin with it.
//!
//! A text has many words and the lexicon many patterns; compared one by one they took a fifth of a forecast's time. Nearly
//! all patterns begin with whole words, which a table finds at once.

use std::collections::HashMap;

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// Any of these.
    Any(Vec<Term>),
    /// Some words, or none.
    Gap,
}

/// What one word is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Whole(String),
    /// Written with `*` between the two.
    Ends {
        beginning: String,
        ending: String,
    },
}

/// From a word to the places of what it matches in a list.
#[derive(Debug, Default)]
pub(super) struct WordIndex {
    whole: HashMap<String, Vec<usize>>,
    ends: Vec<(Term, usize)>,
}

impl Part {
    pub(super) fn new(text: &str) -> Part {
        match text {
            ".." => Part::Gap,
            _ => Part::Any(text.split('|').map(Term::new).collect()),
        }
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.terms().iter().any(|term| term.is(word))
    }

    pub(super) fn whole_words(&self) -> impl Iterator<Item = &str> {
        self.terms().iter().filter_map(|term| match term {
            Term::Whole(word) => Some(word.as_str()),
            Term::Ends { .. } => None,
        })
    }

    fn terms(&self) -> &[Term] {
        match self {
            Part::Any(terms) => terms,
            Part::Gap => &[],
        }
    }
}

impl Term {
    fn new(text: &str) -> Term {
        match text.split_once('*') {
            None => Term::Whole(text.to_owned()),
            Some((beginning, ending)) => Term::Ends {
                beginning: beginning.to_owned(),
                ending: ending.to_owned(),
            },
        }
    }

    fn is(&self, word: &str) -> bool {
        match self {
            Term::Whole(whole) => whole == word,
            Term::Ends { beginning, ending } => {
                word.len() >= beginning.len() + ending.len()
                    && word.starts_with(beginning)
                    && word.ends_with(ending)
            }
        }
    }
}

impl WordIndex {
    /// Of parts by their place.
    pub(super) fn new<'p>(parts: impl IntoIterator<Item = &'p Part>) -> WordIndex {
        let mut index = WordIndex::default();
        for (at, part) in parts.into_iter().enumerate() {
            for term in part.terms() {
                match term {
                    Term::Whole(word) => index.whole.entry(word.clone()).or_default().push(at),
                    Term::Ends { .. } => index.ends.push((term.clone(), at)),
                }
            }
        }
        index
    }

    /// The places of the parts that a word is, in order and each once.
    pub(super) fn of(&self, word: &str) -> Vec<usize> {
        let ends = self.ends.iter().filter(|(term, _)| term.is(word));
        let mut found: Vec<usize> = ends.map(|(_, at)| *at).collect();
        if let Some(whole) = self.whole.get(word) {
            found.extend(whole);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_index_finds_what_comparing_one_by_one_finds(
            parts in proptest::collection::vec("[ab]{0,2}\\*?[ab]{1,2}(\\|[ab]{1,3})?", 0..20),
            word in "[ab]{0,4}",
        ) {
            let parts: Vec<Part> = parts.iter().map(|text| Part::new(text)).collect();
            let one_by_one = (0..parts.len()).filter(|at| parts[*at].is(&word));
            prop_assert_eq!(WordIndex::new(&parts).of(&word), one_by_one.collect::<Vec<_>>());
        }
    }
}
