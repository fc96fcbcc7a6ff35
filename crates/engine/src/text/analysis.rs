//! Cuts a text into grams: runs of words, or runs of characters within words.
//!
//! Used alike by fitting (in the training crate) and by every prediction, so the two cannot drift
//! apart. Knows nothing of vocabularies and weights. A gram is handed out as a slice of one joined
//! buffer, so no gram is ever copied; the buffers are the caller's [`Units`], reused from text to text.

use hashbrown::HashSet;

use super::accents::push_folded;
use super::options::{GramRange, StopWords, TextOptions, Unit};

/// Function words that carry no view of anyone's state. Shorter than the usual lists on purpose:
/// pronouns and negations ("me", "not", "nobody") tell much about people and stay.
pub const ENGLISH_STOP_WORDS: &[&str] = &[
    "an", "and", "are", "as", "at", "be", "been", "being", "by", "for", "from", "has", "have",
    "having", "if", "in", "into", "is", "it", "its", "of", "on", "onto", "or", "so", "than",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to",
    "upon", "was", "were", "which", "with",
];

/// Text made comparable: lower case and, if wanted, without accents.
#[derive(Debug, Default)]
pub struct Normalized {
    text: String,
    /// For each place where the normalised text stops running parallel to the original: the offset
    /// here and there. Kept only for explanations, and empty when the two run parallel throughout.
    origins: Vec<(usize, usize)>,
}

impl Normalized {
    pub fn set(&mut self, text: &str, strip_accents: bool) {
        self.text.clear();
        self.origins.clear();
        if text.is_ascii() {
            self.text.push_str(text);
            self.text.make_ascii_lowercase();
            return;
        }
        self.set_unicode(text, strip_accents);
    }

    /// The byte of the original at which the normalised byte `at` begins.
    pub fn origin(&self, at: usize) -> usize {
        let after = self.origins.partition_point(|&(here, _)| here <= at);
        match after.checked_sub(1).map(|before| self.origins[before]) {
            Some((here, there)) => there + (at - here),
            None => at,
        }
    }

    /// Only the whole text knows whether a sigma ends its word, hence the second lower-cased copy;
    /// both forms of sigma have the same length, so offsets agree.
    fn set_unicode(&mut self, text: &str, strip_accents: bool) {
        let with_sigma = text.contains('Σ').then(|| text.to_lowercase());
        let mut lowered_at = 0;
        for (origin, letter) in text.char_indices() {
            if self.origin(self.text.len()) != origin {
                self.origins.push((self.text.len(), origin));
            }
            for mut lower in letter.to_lowercase() {
                let known = with_sigma
                    .as_ref()
                    .and_then(|whole| whole[lowered_at..].chars().next());
                lower = known.unwrap_or(lower);
                lowered_at += lower.len_utf8();
                match strip_accents {
                    true => push_folded(lower, &mut self.text),
                    false => self.text.push(lower),
                }
            }
        }
        if self.origin(self.text.len()) != text.len() {
            self.origins.push((self.text.len(), text.len()));
        }
    }
}

/// The words of one text, ready to hand out grams; reused from text to text.
#[derive(Debug, Default)]
pub struct Units {
    /// Words with one space between (and, for characters, around) them.
    joined: String,
    words: Vec<Word>,
    /// Where the characters of the word at hand begin, and its end.
    boundaries: Vec<usize>,
}

/// One word: where it lies in the joined buffer and in the normalised text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    joined: (usize, usize),
    pub normalized: (usize, usize),
}

impl Units {
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    fn clear(&mut self) {
        self.joined.clear();
        self.words.clear();
    }

    fn push(&mut self, normalized: &str, start: usize, end: usize) {
        let joined = self.joined.len();
        self.joined.push_str(&normalized[start..end]);
        let word = Word {
            joined: (joined, self.joined.len()),
            normalized: (start, end),
        };
        self.words.push(word);
        self.joined.push(' ');
    }
}

/// One gram and the words it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gram<'a> {
    pub text: &'a str,
    pub first_word: usize,
    pub word_count: usize,
}

/// How to cut: the part of [`TextOptions`] that one kind of unit needs.
#[derive(Debug, Clone)]
pub struct Analysis {
    unit: Unit,
    range: GramRange,
    stop_words: HashSet<Box<str>, Hasher>,
    strip_accents: bool,
}

type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

impl Analysis {
    pub fn new(options: &TextOptions, unit: Unit) -> Self {
        let strip_accents = options.strip_accents;
        let stop_words = match (&options.stop_words, unit) {
            (StopWords::None, _) | (_, Unit::Characters) => HashSet::default(),
            (StopWords::English, _) => normalized_words(ENGLISH_STOP_WORDS, strip_accents),
            (StopWords::Given(words), _) => normalized_words(words, strip_accents),
        };
        Self {
            unit,
            range: options.grams(unit),
            stop_words,
            strip_accents,
        }
    }

    pub fn unit(&self) -> Unit {
        self.unit
    }

    pub fn strip_accents(&self) -> bool {
        self.strip_accents
    }

    /// Cuts the text into words.
    pub fn split(&self, normalized: &Normalized, units: &mut Units) {
        units.clear();
        match self.unit {
            Unit::Words => self.split_words(&normalized.text, units),
            Unit::Characters => split_chunks(&normalized.text, units),
        }
    }

    /// Calls `each` for every gram of the words last split, repeated ones too.
    pub fn for_each_gram<'a>(&self, units: &'a mut Units, each: impl FnMut(Gram<'a>)) {
        match self.unit {
            Unit::Words => self.for_each_run(units, each),
            Unit::Characters => self.for_each_character_gram(units, each),
        }
    }

    fn split_words(&self, text: &str, units: &mut Units) {
        for_each_word(text, |start, end| {
            if self.stop_words.is_empty() || !self.stop_words.contains(&text[start..end]) {
                units.push(text, start, end);
            }
        });
    }

    fn for_each_run<'a>(&self, units: &'a Units, mut each: impl FnMut(Gram<'a>)) {
        for length in usize::from(self.range.shortest)..=usize::from(self.range.longest) {
            for (first_word, run) in units.words.windows(length).enumerate() {
                let (start, end) = (run[0].joined.0, run[length - 1].joined.1);
                let text = &units.joined[start..end];
                each(Gram {
                    text,
                    first_word,
                    word_count: length,
                });
            }
        }
    }

    fn for_each_character_gram<'a>(&self, units: &'a mut Units, mut each: impl FnMut(Gram<'a>)) {
        let Units {
            joined,
            words,
            boundaries,
        } = units;
        for (first_word, word) in words.iter().enumerate() {
            // The spaces on either side belong to the word.
            let (start, end) = (word.joined.0 - 1, word.joined.1 + 1);
            boundaries.clear();
            boundaries.extend(joined[start..end].char_indices().map(|(at, _)| start + at));
            boundaries.push(end);
            let mut each = |from: usize, to: usize| {
                each(Gram {
                    text: &joined[from..to],
                    first_word,
                    word_count: 1,
                });
            };
            self.for_each_window(boundaries, &mut each);
        }
    }

    /// A word no longer than a gram is counted once, whole, and longer grams of it not at all.
    fn for_each_window(&self, boundaries: &[usize], each: &mut impl FnMut(usize, usize)) {
        let (start, end) = (boundaries[0], boundaries[boundaries.len() - 1]);
        let length_max = boundaries.len() - 1;
        for length in usize::from(self.range.shortest)..=usize::from(self.range.longest) {
            if length >= length_max {
                each(start, end);
                return;
            }
            for window in boundaries.windows(length + 1) {
                each(window[0], window[length]);
            }
        }
    }
}

/// Characters of Python's `\w`: letters, numbers and the underscore. Unlike Python's, the vowel
/// signs of Indic scripts count too, so that words of those scripts stay whole.
fn is_word_character(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Python's `str.split` also splits at the four ASCII separators.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

fn for_each_word(text: &str, mut each: impl FnMut(usize, usize)) {
    let mut start = None;
    let mut second = 0;
    for (at, letter) in text.char_indices() {
        match (start, is_word_character(letter)) {
            (None, true) => (start, second) = (Some(at), at + letter.len_utf8()),
            (Some(first), false) => {
                if second < at {
                    each(first, at);
                }
                start = None;
            }
            _ => {}
        }
    }
    if let Some(first) = start.filter(|_| second < text.len()) {
        each(first, text.len());
    }
}

fn split_chunks(text: &str, units: &mut Units) {
    units.joined.push(' ');
    for chunk in text.split(is_space).filter(|chunk| !chunk.is_empty()) {
        let start = chunk.as_ptr().addr() - text.as_ptr().addr();
        units.push(text, start, start + chunk.len());
    }
}

fn normalized_words(words: &[impl AsRef<str>], strip_accents: bool) -> HashSet<Box<str>, Hasher> {
    let mut normalized = Normalized::default();
    let mut set = HashSet::default();
    for word in words {
        normalized.set(word.as_ref(), strip_accents);
        set.insert(normalized.text.as_str().into());
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grams(options: &TextOptions, unit: Unit, text: &str) -> Vec<String> {
        let analysis = Analysis::new(options, unit);
        let (mut normalized, mut units) = (Normalized::default(), Units::default());
        normalized.set(text, options.strip_accents);
        analysis.split(&normalized, &mut units);
        let mut grams = Vec::new();
        analysis.for_each_gram(&mut units, |gram| grams.push(gram.text.to_owned()));
        grams
    }

    fn words(longest: u8, text: &str) -> Vec<String> {
        let word_grams = GramRange {
            shortest: 1,
            longest,
        };
        grams(
            &TextOptions {
                word_grams,
                ..TextOptions::default()
            },
            Unit::Words,
            text,
        )
    }

    fn characters(shortest: u8, longest: u8, text: &str) -> Vec<String> {
        let character_grams = GramRange { shortest, longest };
        let options = TextOptions {
            character_grams,
            ..TextOptions::default()
        };
        grams(&options, Unit::Characters, text)
    }

    /// Lists in these tests are from scikit-learn 1.9.1 `CountVectorizer(...).build_analyzer()`.
    #[test]
    fn words_have_two_characters_or_more() {
        let expected = ["can", "help", "résumé_2", "42", "ok", "ναός"];
        assert_eq!(
            words(1, "I can't help: Résumé_2 (x) 42, OK! ΝΑΌΣ"),
            expected
        );
    }

    #[test]
    fn runs_of_words_step_over_what_lies_between() {
        assert_eq!(words(2, "to be, or"), ["to", "be", "or", "to be", "be or"]);
        assert_eq!(words(2, ""), Vec::<String>::new());
    }

    #[test]
    fn characters_are_counted_within_padded_words() {
        let expected = [" a ", " né", "née", "ée,", "e, ", " née", "née,", "ée, "];
        assert_eq!(characters(3, 4, "A \t née,"), expected);
        assert_eq!(characters(2, 3, "ab"), [" a", "ab", "b ", " ab", "ab "]);
        assert_eq!(characters(4, 6, "ab cd\u{1f}e"), [" ab ", " cd ", " e "]);
    }

    #[test]
    fn stop_words_leave_before_runs_are_formed() {
        let given = StopWords::Given(vec!["Über".to_owned()]);
        let options = TextOptions {
            stop_words: given,
            ..TextOptions::default()
        };
        assert_eq!(
            grams(&options, Unit::Words, "all über us"),
            ["all", "us", "all us"]
        );
    }

    #[test]
    fn the_english_list_is_sorted_and_keeps_what_tells_about_people() {
        assert!(ENGLISH_STOP_WORDS.is_sorted());
        for word in ["not", "no", "me", "never", "nobody", "alone"] {
            assert!(!ENGLISH_STOP_WORDS.contains(&word));
        }
    }

    #[test]
    fn every_normalised_byte_knows_its_origin() {
        let text = "İstanbul ﬁne CAFE\u{301} ẞ end";
        let mut normalized = Normalized::default();
        for strip_accents in [false, true] {
            normalized.set(text, strip_accents);
            for word in ["tanbul", "end", "ne "] {
                let at = normalized.text.find(word).unwrap();
                assert_eq!(normalized.origin(at), text.find(word).unwrap(), "{word}");
            }
            assert_eq!(normalized.origin(normalized.text.len()), text.len());
        }
    }
}
