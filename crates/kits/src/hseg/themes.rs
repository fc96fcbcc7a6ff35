//! What many people wrote of, in phrases that are nobody's own.
//!
//! A phrase is two or three neighbouring words, all of them in a vocabulary of usual words that is no person's name
//! (`data/hseg/vocabulary.txt`), and none that begins with a capital inside a sentence: a list of what may be told forgets
//! no name, however it is written. It is told only when at least twice the floor of respondents used it, its number in steps
//! of the floor, and not when a phrase that is told contains it or is contained in it: the difference of their numbers would
//! be about fewer.

use super::anonymity::Floor;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Phrases told of one campaign.
pub const THEMES_MAX: usize = 12;
/// Different phrases counted at once; beyond it new ones are not taken up, which only rare ones can be.
const PHRASES_MAX: usize = 2_000_000;
/// Words of one text that are looked at.
const WORDS_MAX: usize = 600;

/// A phrase and how many used it, at least.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Theme {
    pub phrase: String,
    pub people_at_least: usize,
}

/// Counts phrases, text by text.
#[derive(Debug, Default)]
pub struct Themes {
    people: HashMap<String, usize>,
}

impl Themes {
    /// Takes in what one person wrote.
    pub fn add(&mut self, text: &str) {
        for phrase in phrases(text) {
            let is_known = self.people.contains_key(&phrase);
            if is_known || self.people.len() < PHRASES_MAX {
                *self.people.entry(phrase).or_default() += 1;
            }
        }
    }

    /// What may be told, the most widespread first.
    pub fn told(&self, floor: Floor) -> Vec<Theme> {
        let floor = floor.get();
        // Twice the floor: what barely reaches it may be one circle's words.
        let mut found: Vec<(&String, usize)> = self
            .people
            .iter()
            .filter(|(_, people)| **people >= 2 * floor)
            .map(|(phrase, people)| (phrase, *people))
            .collect();
        // Longer phrases say more, so that a slightly rarer one may stand before its part.
        let weight = |phrase: &str, people: usize| people * phrase.split(' ').count().pow(2);
        found.sort_by(|a, b| {
            weight(b.0, b.1)
                .cmp(&weight(a.0, a.1))
                .then_with(|| a.0.cmp(b.0))
        });
        let mut told: Vec<Theme> = Vec::new();
        for (phrase, people) in found {
            let overlaps = |other: &Theme| shares_words(&other.phrase, phrase);
            if told.iter().any(overlaps) {
                continue;
            }
            told.push(Theme {
                phrase: phrase.clone(),
                people_at_least: people / floor * floor,
            });
            if told.len() == THEMES_MAX {
                break;
            }
        }
        told
    }
}

/// Whether two phrases have two words in common that carry meaning, or one contains the other.
fn shares_words(one: &str, other: &str) -> bool {
    if one.contains(other) || other.contains(one) {
        return true;
    }
    let words: HashSet<&str> = one.split(' ').collect();
    other.split(' ').filter(|word| words.contains(word)).count() >= 2
}

/// Every phrase of a text, once.
fn phrases(text: &str) -> HashSet<String> {
    let mut phrases = HashSet::new();
    for sentence in text.split(['.', '!', '?', ';', ':', ',', '\n', '(', ')']) {
        let words: Vec<Option<String>> = sentence
            .split_whitespace()
            .take(WORDS_MAX)
            .enumerate()
            .map(|(place, word)| plain(word, place == 0))
            .collect();
        for length in [2, 3] {
            for window in words.windows(length) {
                let Some(window) = window.iter().cloned().collect::<Option<Vec<String>>>() else {
                    continue;
                };
                let is_meaningful = !window.iter().any(|word| is_small(word));
                if is_meaningful {
                    phrases.insert(window.join(" "));
                }
            }
        }
    }
    phrases
}

/// Words that may be told, and whether they are somebody's name as well.
static VOCABULARY: LazyLock<HashMap<&str, bool>> = LazyLock::new(|| {
    let lines = include_str!("../../data/hseg/vocabulary.txt").lines();
    let words = lines.filter(|line| !line.starts_with('#'));
    words
        .map(|word| (word.trim_start_matches('~'), word.starts_with('~')))
        .collect()
});

/// A word in small letters; `None` for what may name somebody.
fn plain(word: &str, is_first: bool) -> Option<String> {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let is_written_large = bare.chars().next().is_some_and(char::is_uppercase);
    let small = bare.replace('\u{2019}', "'").to_lowercase();
    let is_name_too = *VOCABULARY.get(small.as_str())?;
    // At the beginning of a sentence a name is written as any word, or small by whoever writes all so.
    let is_name = if is_first {
        is_name_too
    } else {
        is_written_large
    };
    (!is_name).then_some(small)
}

fn is_small(word: &str) -> bool {
    const SMALL: &[&str] = &[
        "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
        "because", "been", "but", "by", "can", "could", "did", "do", "does", "for", "from", "get",
        "go", "had", "has", "have", "he", "her", "here", "his", "how", "i", "i'm", "if", "in",
        "is", "it", "it's", "its", "just", "like", "me", "more", "my", "no", "not", "of", "on",
        "one", "or", "our", "out", "she", "so", "some", "such", "than", "that", "the", "their",
        "them", "then", "there", "they", "this", "to", "too", "up", "very", "was", "we", "were",
        "what", "when", "which", "who", "will", "with", "would", "you", "your",
    ];
    SMALL.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[(&str, usize)]) -> Vec<String> {
        let mut themes = Themes::default();
        for (text, people) in texts {
            for _ in 0..*people {
                themes.add(text);
            }
        }
        let told = themes.told(Floor::default());
        told.into_iter()
            .map(|theme| format!("{} {}", theme.phrase, theme.people_at_least))
            .collect()
    }

    #[test]
    fn only_what_many_wrote_is_told() {
        let told = told(&[
            ("I dread the weekly meetings", 23),
            ("my boss reads private mails", 9),
        ]);
        assert_eq!(told, ["weekly meetings 20"]);
    }

    #[test]
    fn names_and_numbers_are_no_part_of_a_phrase() {
        let told = told(&[("Ask Miller about room 42b, mobile phone rings", 30)]);
        assert_eq!(told, ["mobile phone rings 30"]);
    }

    #[test]
    fn no_name_is_told_however_it_is_written() {
        for text in [
            "miller bullies everyone",
            "Frau Schulze lies",
            "frau schulze lies",
            "I think Dr. Miller shouts constantly",
            "Mark shouts constantly",
            "mark shouts constantly",
            "ask grace about shifts",
            "Price shouts constantly",
            "May bullies trainees",
            "porter hides complaints",
            "doctor rice insults people",
            "I think hammer yells every day",
        ] {
            let told = told(&[(text, 40)]).join(", ");
            let names = [
                "miller", "schulze", "mark", "grace", "dr", "price", "may", "porter", "rice",
                "hammer",
            ];
            for name in names {
                assert!(!told.contains(name), "{text}: {told}");
            }
        }
        assert!(VOCABULARY.len() > 5_000);
        assert_eq!(
            told(&[("we have long shifts and are understaffed", 40)]),
            ["long shifts 40"]
        );
        assert_eq!(
            told(&[("Mark shouts constantly", 40)]),
            ["shouts constantly 40"]
        );
    }

    #[test]
    fn a_phrase_and_a_part_of_it_are_not_both_told() {
        let told = told(&[("weekly team meetings", 30), ("weekly team lunch", 4)]);
        assert_eq!(told, ["weekly team meetings 30"]);
    }
}
