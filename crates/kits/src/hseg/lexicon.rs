//! The second safety net: a lexicon, written by people, that finds wordings of danger in a text.
//!
//! It knows nothing of the text model and shares nothing with it, so that one of them sees what the other overlooks; where
//! they disagree, a reader is told. It finds wordings and their places, minds denials ("I am not suicidal") and idioms
//! ("the deadline is killing me"), forgives a typing error, and when in doubt finds too much. It judges nobody and
//! diagnoses nothing. The words are in `data/hseg/lexicon.toml`.

mod terms;
mod words;

use super::survey::Category;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;
use terms::{Part, WordIndex};
use words::Word;

/// Words between the parts of a pattern that has a gap.
const GAP_WORDS_MAX: usize = 3;
/// How far before a finding a denial reaches, in words.
const DENIAL_REACH: usize = 4;
/// As many concerns beside each other are a crisis.
const CONCERNS_FOR_CRISIS: usize = 2;
/// How much more a word counts after a booster.
const BOOST: f64 = 1.3;
/// Longest text that is read; what follows is not looked at.
pub const TEXT_BYTES_MAX: usize = 100_000;

/// What kind of danger a wording speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    ThoughtsOfEndingLife,
    SelfHarm,
    AnotherPersonInDanger,
    ThreatOrViolence,
    Hopelessness,
    Collapse,
}

impl Danger {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Danger::ThoughtsOfEndingLife => "thoughts_of_ending_life",
            Danger::SelfHarm => "self_harm",
            Danger::AnotherPersonInDanger => "another_person_in_danger",
            Danger::ThreatOrViolence => "threat_or_violence",
            Danger::Hopelessness => "hopelessness",
            Danger::Collapse => "collapse",
        }
    }

    /// The same for a person who reads a case.
    pub fn sentence(self) -> &'static str {
        match self {
            Danger::ThoughtsOfEndingLife => "The text speaks of not wanting to live.",
            Danger::SelfHarm => {
                "The text speaks of harming oneself or of not feeling safe with oneself."
            }
            Danger::AnotherPersonInDanger => "The text speaks of another person in danger.",
            Danger::ThreatOrViolence => "The text speaks of threats or violence.",
            Danger::Hopelessness => "The text speaks of seeing no way on.",
            Danger::Collapse => "The text speaks of being at the end of one's strength.",
        }
    }
}

/// How much a wording says by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Counts when another stands beside it.
    Concern,
    /// Counts by itself.
    Crisis,
}

/// A wording that was found, with its place in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indicator {
    pub danger: Danger,
    pub weight: Weight,
    /// As it stands in the text.
    pub words: String,
    pub start: usize,
    pub end: usize,
}

/// A word that speaks of a category, with its place in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub words: String,
    pub start: usize,
    pub end: usize,
}

/// What the lexicon found in a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Whether somebody should look at once.
    pub is_crisis: bool,
    /// Wordings of danger, in their order.
    pub indicators: Vec<Indicator>,
    /// How strongly distress is voiced, 0 to 1.
    pub intensity: f64,
    /// Words that speak of each category.
    pub signals: [Vec<Mark>; 6],
}

/// The words, ready to be looked for.
#[derive(Debug)]
pub struct Lexicon {
    patterns: Vec<Pattern>,
    /// Patterns by the word they begin with.
    pattern_at: WordIndex,
    intensity: Vec<f64>,
    intensity_at: WordIndex,
    signals: Vec<(Category, Pattern)>,
    signal_at: WordIndex,
    boosters: HashSet<String>,
    negation: Negation,
    /// Long words, by first letter, that a mistyped one is taken for; in order.
    long_words: HashMap<u8, Vec<String>>,
}

#[derive(Debug)]
struct Pattern {
    danger: Danger,
    weight: Weight,
    parts: Vec<Part>,
    unless_then: Vec<String>,
    unless_before: Vec<String>,
    /// Whether it counts when it is denied: it says itself that the denial is not the whole of it.
    even_denied: bool,
}

#[derive(Debug, Deserialize)]
struct Negation {
    words: HashSet<String>,
    except_before: HashSet<String>,
    breaks: HashSet<String>,
}

#[derive(Debug, Deserialize)]
struct File {
    indicators: Vec<IndicatorFile>,
    intensity: BTreeMap<String, f64>,
    boosters: Boosters,
    negation: Negation,
    signals: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct IndicatorFile {
    kind: Danger,
    level: Weight,
    patterns: Vec<PatternFile>,
}

#[derive(Debug, Deserialize)]
struct PatternFile {
    is: String,
    #[serde(default)]
    unless_then: Vec<String>,
    #[serde(default)]
    unless_before: Vec<String>,
    #[serde(default)]
    even_denied: bool,
}

#[derive(Debug, Deserialize)]
struct Boosters {
    words: HashSet<String>,
}

/// Why a lexicon cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LexiconError {
    #[error("the lexicon is not TOML of the right form: {0}")]
    Form(#[from] toml::de::Error),
    #[error("{word:?} is no category")]
    Category { word: String },
    #[error("{pattern:?} has no words")]
    EmptyPattern { pattern: String },
}

impl Lexicon {
    /// The one that ships.
    pub fn shipped() -> &'static Lexicon {
        static SHIPPED: OnceLock<Lexicon> = OnceLock::new();
        SHIPPED.get_or_init(|| {
            Lexicon::parse(include_str!("../../data/hseg/lexicon.toml"))
                .expect("the embedded lexicon is tested")
        })
    }

    /// An operator's own.
    ///
    /// # Errors
    /// A text that is no lexicon.
    pub fn parse(text: &str) -> Result<Lexicon, LexiconError> {
        let file: File = toml::from_str(text)?;
        let mut patterns = Vec::new();
        for group in file.indicators {
            for pattern in group.patterns {
                patterns.push(Pattern::new(group.kind, group.level, pattern)?);
            }
        }
        let mut signals = Vec::new();
        for (word, of_category) in file.signals {
            let category = Category::parse(&word).ok_or(LexiconError::Category { word })?;
            for is in of_category {
                let pattern = PatternFile {
                    is,
                    unless_then: Vec::new(),
                    unless_before: Vec::new(),
                    even_denied: false,
                };
                signals.push((
                    category,
                    Pattern::new(Danger::Collapse, Weight::Concern, pattern)?,
                ));
            }
        }
        let long_words = long_words(&patterns);
        let (words, intensity): (Vec<Part>, Vec<f64>) = file
            .intensity
            .into_iter()
            .map(|(word, weight)| (Part::new(&word), weight))
            .unzip();
        Ok(Lexicon {
            pattern_at: WordIndex::new(patterns.iter().map(|it| &it.parts[0])),
            patterns,
            intensity_at: WordIndex::new(&words),
            intensity,
            signal_at: WordIndex::new(signals.iter().map(|(_, it)| &it.parts[0])),
            signals,
            boosters: file.boosters.words,
            negation: file.negation,
            long_words,
        })
    }

    /// Reads a text.
    pub fn read(&self, text: &str) -> Reading {
        let text = words::beginning(text, TEXT_BYTES_MAX);
        let words = self.words_of(text);
        let indicators = self.indicators(text, &words);
        let crises = indicators
            .iter()
            .filter(|it| it.weight == Weight::Crisis)
            .count();
        let concerns: HashSet<&str> = indicators
            .iter()
            .filter(|it| it.weight == Weight::Concern)
            .map(|it| it.words.as_str())
            .collect();
        let is_crisis =
            crises > 0 || concerns.len() >= CONCERNS_FOR_CRISIS && has_hopelessness(&indicators);
        Reading {
            is_crisis,
            intensity: self.intensity(text, &words, is_crisis),
            signals: self.signals(text, &words),
            indicators,
        }
    }

    /// Words as they are compared, mistyped long ones put right.
    fn words_of(&self, text: &str) -> Vec<Word> {
        let mut found = words::split(text);
        for word in &mut found {
            let Some(known) = self
                .long_words
                .get(word.text.as_bytes().first().unwrap_or(&0))
            else {
                continue;
            };
            if word.text.len() >= words::LONG
                && known.binary_search(&word.text).is_err()
                && let Some(meant) = known.iter().find(|it| words::is_mistyped(&word.text, it))
            {
                word.text.clone_from(meant);
            }
        }
        found
    }

    fn indicators(&self, text: &str, words: &[Word]) -> Vec<Indicator> {
        let mut found: Vec<Indicator> = Vec::new();
        for (start, word) in words.iter().enumerate() {
            for at in self.pattern_at.of(&word.text) {
                let pattern = &self.patterns[at];
                let Some(end) = pattern.found_at(words, start) else {
                    continue;
                };
                let is_denied = !pattern.even_denied && self.is_denied(words, start);
                if is_denied || pattern.means_something_else(words, start, end) {
                    continue;
                }
                let (from, to) = (words[start].start, words[end - 1].end);
                let indicator = Indicator {
                    danger: pattern.danger,
                    weight: pattern.weight,
                    words: text[from..to].to_owned(),
                    start: from,
                    end: to,
                };
                keep(&mut found, indicator);
            }
        }
        found
    }

    /// Whether what begins at `start` is denied by a word before it in the same clause.
    fn is_denied(&self, words: &[Word], start: usize) -> bool {
        for back in 1..=DENIAL_REACH.min(start) {
            let at = start - back;
            if words[at].ends_clause || self.negation.breaks.contains(&words[at].text) {
                return false;
            }
            let next = &words[at + 1].text;
            let is_negation = self.negation.words.contains(&words[at].text);
            if is_negation && !(back > 1 && self.negation.except_before.contains(next)) {
                return true;
            }
        }
        false
    }

    fn intensity(&self, text: &str, words: &[Word], is_crisis: bool) -> f64 {
        let mut calm = 1.0;
        for (at, word) in words.iter().enumerate() {
            let weights = self.intensity_at.of(&word.text);
            let strongest = weights.into_iter().map(|at| self.intensity[at]);
            let Some(weight) = strongest.reduce(f64::max) else {
                continue;
            };
            if self.is_denied(words, at) {
                continue;
            }
            let is_boosted = at > 0 && self.boosters.contains(&words[at - 1].text);
            let weight = if is_boosted { weight * BOOST } else { weight };
            calm *= 1.0 - weight.min(0.98);
        }
        if text.contains("!!") {
            calm *= 0.9;
        }
        if is_crisis {
            calm = f64::min(calm, 0.2);
        }
        1.0 - calm
    }

    fn signals(&self, text: &str, words: &[Word]) -> [Vec<Mark>; 6] {
        let mut marks: [Vec<Mark>; 6] = Default::default();
        for (start, word) in words.iter().enumerate() {
            for at in self.signal_at.of(&word.text) {
                let (category, pattern) = &self.signals[at];
                let Some(end) = pattern.found_at(words, start) else {
                    continue;
                };
                if self.is_denied(words, start) {
                    continue;
                }
                let (from, to) = (words[start].start, words[end - 1].end);
                marks[category.index()].push(Mark {
                    words: text[from..to].to_owned(),
                    start: from,
                    end: to,
                });
            }
        }
        marks
    }
}

/// Two complaints of exhaustion are no crisis; hopelessness must be among them.
fn has_hopelessness(indicators: &[Indicator]) -> bool {
    indicators
        .iter()
        .any(|it| it.danger == Danger::Hopelessness)
}

/// Of findings that overlap the weightier stays, and of equals the longer.
fn keep(found: &mut Vec<Indicator>, new: Indicator) {
    let rank = |it: &Indicator| (it.weight, it.end - it.start);
    let overlaps = |it: &Indicator| it.start < new.end && new.start < it.end;
    if found
        .iter()
        .any(|it| overlaps(it) && rank(it) >= rank(&new))
    {
        return;
    }
    found.retain(|it| !overlaps(it));
    found.push(new);
}

impl Pattern {
    fn new(danger: Danger, weight: Weight, file: PatternFile) -> Result<Pattern, LexiconError> {
        let parts: Vec<Part> = file.is.split_whitespace().map(Part::new).collect();
        if !matches!(parts.first(), Some(Part::Any(_))) {
            return Err(LexiconError::EmptyPattern { pattern: file.is });
        }
        Ok(Pattern {
            danger,
            weight,
            parts,
            unless_then: file.unless_then,
            unless_before: file.unless_before,
            even_denied: file.even_denied,
        })
    }

    /// Where the pattern ends when it begins at `start`.
    fn found_at(&self, words: &[Word], start: usize) -> Option<usize> {
        fn rest(parts: &[Part], words: &[Word], at: usize) -> Option<usize> {
            let Some((part, later)) = parts.split_first() else {
                return Some(at);
            };
            match part {
                Part::Gap => {
                    (0..=GAP_WORDS_MAX).find_map(|skipped| rest(later, words, at + skipped))
                }
                Part::Any(_) => {
                    let word = words.get(at)?;
                    part.is(&word.text).then(|| rest(later, words, at + 1))?
                }
            }
        }
        rest(&self.parts, words, start)
    }

    fn means_something_else(&self, words: &[Word], start: usize, end: usize) -> bool {
        let is_ended = words[end - 1].ends_clause;
        let then = words.get(end).filter(|_| !is_ended);
        let before = start
            .checked_sub(1)
            .map(|at| &words[at])
            .filter(|word| !word.ends_clause);
        then.is_some_and(|word| self.unless_then.contains(&word.text))
            || before.is_some_and(|word| self.unless_before.contains(&word.text))
    }
}

fn long_words(patterns: &[Pattern]) -> HashMap<u8, Vec<String>> {
    let mut known: HashMap<u8, Vec<String>> = HashMap::new();
    let mut words: HashSet<String> = ["suicide", "suicidal"].map(str::to_owned).into();
    for part in patterns.iter().flat_map(|pattern| &pattern.parts) {
        let whole = part.whole_words();
        let long = whole.filter(|it| it.len() >= words::LONG);
        words.extend(long.map(str::to_owned));
    }
    let mut words: Vec<String> = words.into_iter().collect();
    words.sort();
    for word in words {
        known.entry(word.as_bytes()[0]).or_default().push(word);
    }
    known
}

#[cfg(test)]
mod tests;
