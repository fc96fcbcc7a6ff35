//! Open answers, written from phrases with slots, slang, typos, idioms, negations and irony.
//!
//! A person's strain decides how heavy the heaviest sentence is; what it speaks of is decided by the place they work at.
//! Two readers then say what they read ([`TextLabel`]): they agree with the intended level mostly, and on a crisis always,
//! because such texts are read by two people together. A reserved quarter of all phrases is only used when asked for, so
//! that a model can be judged on wording that it never saw.

use super::draw::Draw;
use super::person::Truth;
use super::world::Organization;
use crate::hseg::survey::{Category, Domain};
use crate::hseg::text::TextRisk;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How often a reader takes a text for one level lighter or heavier; crises excepted.
pub(super) const READER_SLIP: f64 = 0.06;
/// How often a reader overlooks a category that is spoken of, and sees one that is not.
const SIGNAL_SLIPS: (f64, f64) = (0.05, 0.01);
/// Each open question is answered by so many of those who write at all.
const ANSWERED_SHARE: f64 = 0.75;
/// Every so manieth phrase of a list is reserved.
const RESERVED_EVERY: usize = 4;

/// Which phrases are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phrases {
    /// Those that models are trained on.
    #[default]
    Common,
    /// Those that they never see.
    Reserved,
}

/// What readers said of a person's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLabel {
    pub risk: TextRisk,
    /// By category.
    pub signals: [bool; 6],
}

/// What a person wrote.
pub(super) struct Written {
    pub(super) texts: [Option<String>; 3],
    pub(super) label: Option<TextLabel>,
}

#[derive(Debug, Deserialize)]
struct PhraseFile {
    slots: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    neutral: Plain,
    idiom: Plain,
    praise: Plain,
    irony: Marked,
    openers: Plain,
    closers: Plain,
    crisis: Crisis,
    slang: BTreeMap<String, String>,
    power_abuse: ByLevel,
    discrimination: ByLevel,
    manipulation: ByLevel,
    accountability: ByLevel,
    mental_health: ByLevel,
    voice: ByLevel,
}

#[derive(Debug, Deserialize)]
struct Plain {
    phrases: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Marked {
    phrases: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct ByLevel {
    healthy: Vec<String>,
    low: Vec<String>,
    medium: Vec<String>,
    high: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Crisis {
    #[serde(rename = "self")]
    own: Vec<String>,
    other: Vec<String>,
    violence: Vec<String>,
}

/// Writes for everyone.
#[derive(Debug)]
pub(super) struct Author {
    file: PhraseFile,
    phrases: Phrases,
    slang: Vec<(String, String)>,
}

/// One writer's habits.
struct Hand {
    /// What stands for each slot, the slot in its braces.
    slots: Vec<(String, String)>,
    typo_share: f64,
    uses_slang: bool,
    is_lower_case: bool,
    skips_full_stops: bool,
}

/// Sentences in the making, and what they speak of.
#[derive(Default)]
struct Draft {
    sentences: [Vec<String>; 3],
    signals: [bool; 6],
}

impl Author {
    pub(super) fn new(phrases: Phrases) -> Author {
        let mut file: PhraseFile = toml::from_str(include_str!("../../../data/hseg/phrases.toml"))
            .expect("the embedded phrases are tested");
        let slang = std::mem::take(&mut file.slang).into_iter().collect();
        Author {
            file,
            phrases,
            slang,
        }
    }

    pub(super) fn write(
        &self,
        truth: &Truth,
        place: &Organization,
        department: &[f64; 6],
        draw: &mut Draw,
    ) -> Written {
        let writes = 0.55 + 0.10 * truth.level.index() as f64;
        let nothing = Written {
            texts: [const { None }; 3],
            label: None,
        };
        if !draw.chance(writes) {
            return nothing;
        }
        let hand = self.hand(place.domain, draw);
        let weights: Vec<f64> = (0..6)
            .map(|k| (-1.6 * (place.culture[k] - place.climate + department[k])).exp())
            .collect();
        let draft = self.draft(truth.level, &weights, draw);
        let texts = draft.sentences.map(|sentences| {
            (!sentences.is_empty()).then(|| hand.finish(&sentences, &self.slang, self, draw))
        });
        Written {
            label: Some(label(truth.level, draft.signals, draw)),
            texts,
        }
    }

    fn of(&self, category: Category) -> &ByLevel {
        match category {
            Category::PowerAbuse => &self.file.power_abuse,
            Category::Discrimination => &self.file.discrimination,
            Category::Manipulation => &self.file.manipulation,
            Category::Accountability => &self.file.accountability,
            Category::MentalHealth => &self.file.mental_health,
            Category::Voice => &self.file.voice,
        }
    }

    /// A phrase of a list, common or reserved.
    fn phrase<'a, T>(&self, list: &'a [T], draw: &mut Draw) -> &'a T {
        let reserved = list.len() / RESERVED_EVERY;
        let place = match self.phrases {
            Phrases::Reserved => draw.below(reserved) * RESERVED_EVERY + RESERVED_EVERY - 1,
            Phrases::Common => {
                let place = draw.below(list.len() - reserved);
                // Each block of four gives its first three.
                place + place / (RESERVED_EVERY - 1)
            }
        };
        &list[place]
    }

    fn draft(&self, level: TextRisk, weights: &[f64], draw: &mut Draw) -> Draft {
        let mut draft = Draft::default();
        // The heavy matter goes under "what weighed on you", or under "what would make it safer".
        let heavy = usize::from(draw.chance(0.6));
        let mut answered: [bool; 3] = std::array::from_fn(|_| draw.chance(ANSWERED_SHARE));
        answered[heavy] = true;
        self.heavy(level, weights, heavy, &mut draft, draw);
        for (question, is_answered) in answered.into_iter().enumerate() {
            if is_answered && draft.sentences[question].is_empty() {
                self.light(level, question, weights, &mut draft, draw);
            }
        }
        draft
    }

    fn heavy(
        &self,
        level: TextRisk,
        weights: &[f64],
        at: usize,
        draft: &mut Draft,
        draw: &mut Draw,
    ) {
        let category = Category::ALL[draw.weighted(weights)];
        match level {
            TextRisk::None => return self.light(level, at, weights, draft, draw),
            TextRisk::Low => {
                draft.complain(category, self.phrase(&self.of(category).low, draw), at);
            }
            TextRisk::Medium if draw.chance(0.15) => {
                let (word, phrase) = self.phrase(&self.file.irony.phrases, draw);
                draft.complain(Category::parse(word).expect("tested"), phrase, at);
            }
            TextRisk::Medium => {
                draft.complain(category, self.phrase(&self.of(category).medium, draw), at);
            }
            TextRisk::High => {
                draft.complain(category, self.phrase(&self.of(category).high, draw), at);
            }
            TextRisk::Crisis => self.crisis(at, draft, draw),
        }
        self.beside(level, weights, at, draft, draw);
    }

    /// What stands beside the heaviest sentence: often a lighter complaint, sometimes an idiom or a relief.
    fn beside(
        &self,
        level: TextRisk,
        weights: &[f64],
        at: usize,
        draft: &mut Draft,
        draw: &mut Draw,
    ) {
        let category = Category::ALL[draw.weighted(weights)];
        let lists = self.of(category);
        let lighter = match level {
            TextRisk::None | TextRisk::Low => &lists.low,
            TextRisk::Medium => *draw.pick(&[&lists.low, &lists.medium]),
            TextRisk::High | TextRisk::Crisis => {
                *draw.pick(&[&lists.low, &lists.medium, &lists.high])
            }
        };
        if draw.chance(0.45) {
            draft.complain(category, self.phrase(lighter, draw), at);
        }
        let relief = Category::ALL[draw.below(6)];
        if draw.chance(0.12) && relief != category {
            draft.say(self.phrase(&self.of(relief).healthy, draw), at);
        }
        if draw.chance(0.08) {
            draft.say(self.phrase(&self.file.idiom.phrases, draw), at);
        }
        if draw.chance(0.5) {
            draft.sentences[at].reverse();
        }
    }

    fn crisis(&self, at: usize, draft: &mut Draft, draw: &mut Draw) {
        let crisis = &self.file.crisis;
        match draw.weighted(&[0.86, 0.08, 0.06]) {
            0 => draft.complain(Category::MentalHealth, self.phrase(&crisis.own, draw), at),
            1 => draft.complain(Category::MentalHealth, self.phrase(&crisis.other, draw), at),
            _ => draft.complain(
                Category::PowerAbuse,
                self.phrase(&crisis.violence, draw),
                at,
            ),
        }
    }

    /// An answer without weight.
    fn light(
        &self,
        level: TextRisk,
        at: usize,
        weights: &[f64],
        draft: &mut Draft,
        draw: &mut Draw,
    ) {
        let category = Category::ALL[draw.below(6)];
        let healthy = &self.of(category).healthy;
        let sentences = 1 + usize::from(draw.chance(0.35));
        for _ in 0..sentences {
            let list = match (at, draw.unit()) {
                (2, u) if u < 0.55 && level <= TextRisk::Medium => &self.file.praise.phrases,
                (_, u) if u < 0.15 => &self.file.idiom.phrases,
                (_, u) if u < 0.45 && level <= TextRisk::Low => healthy,
                _ => &self.file.neutral.phrases,
            };
            draft.say(self.phrase(list, draw), at);
        }
        // Whoever carries something heavy mentions something small elsewhere, too.
        if level >= TextRisk::Low && at != 2 && draw.chance(0.3) {
            let category = Category::ALL[draw.weighted(weights)];
            draft.complain(category, self.phrase(&self.of(category).low, draw), at);
        }
    }

    fn hand(&self, domain: Domain, draw: &mut Draw) -> Hand {
        let filled = |(name, by_domain): (&String, &BTreeMap<String, Vec<String>>)| {
            let values = by_domain
                .get(domain.word())
                .unwrap_or_else(|| &by_domain["all"]);
            (format!("{{{name}}}"), draw.pick(values).clone())
        };
        let slots = self.file.slots.iter().map(filled).collect();
        Hand {
            slots,
            typo_share: [0.0, 0.03, 0.08][draw.weighted(&[0.6, 0.3, 0.1])],
            uses_slang: draw.chance(0.25),
            is_lower_case: draw.chance(0.4),
            skips_full_stops: draw.chance(0.3),
        }
    }
}

/// A text with whole words exchanged: "going to" and not the beginning of "going tomorrow".
fn replaced(text: &str, long: &str, short: &str) -> String {
    let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(long) {
        let (before, after) = (&rest[..at], &rest[at + long.len()..]);
        let last = before
            .chars()
            .next_back()
            .or_else(|| made.chars().next_back());
        let is_whole = !is_letter(last) && !is_letter(after.chars().next());
        made.push_str(before);
        made.push_str(if is_whole { short } else { long });
        rest = after;
    }
    made.push_str(rest);
    made
}

impl Draft {
    fn say(&mut self, phrase: impl AsRef<str>, at: usize) {
        let phrase = phrase.as_ref();
        if !self.sentences[at].iter().any(|said| said == phrase) {
            self.sentences[at].push(phrase.to_owned());
        }
    }

    fn complain(&mut self, category: Category, phrase: impl AsRef<str>, at: usize) {
        self.signals[category.index()] = true;
        self.say(phrase, at);
    }
}

impl Hand {
    /// One answer as it leaves the keyboard.
    fn finish(
        &self,
        sentences: &[String],
        slang: &[(String, String)],
        author: &Author,
        draw: &mut Draw,
    ) -> String {
        let mut parts: Vec<String> = sentences
            .iter()
            .map(|sentence| self.filled(sentence))
            .collect();
        if draw.chance(0.15) {
            let opener = author.phrase(&author.file.openers.phrases, draw);
            parts[0] = format!("{opener} {}", parts[0]);
        }
        if draw.chance(0.10) {
            parts.push(author.phrase(&author.file.closers.phrases, draw).clone());
        }
        let mut text = self.joined(&parts, draw);
        if self.uses_slang {
            for (long, short) in slang {
                text = replaced(&text, long, short);
            }
        }
        if self.typo_share > 0.0 {
            text = mistyped(&text, self.typo_share, draw);
        }
        match self.is_lower_case {
            true => text.to_lowercase(),
            false => text,
        }
    }

    fn filled(&self, sentence: &str) -> String {
        if !sentence.contains('{') {
            return sentence.to_owned();
        }
        self.slots
            .iter()
            .fold(sentence.to_owned(), |text, (slot, value)| {
                text.replace(slot, value)
            })
    }

    fn joined(&self, parts: &[String], draw: &mut Draw) -> String {
        let mut text = String::new();
        for (place, part) in parts.iter().enumerate() {
            let separator = match (place, self.skips_full_stops) {
                (0, _) => "",
                (_, true) => *draw.pick(&[", ", " and ", " "]),
                (_, false) => ". ",
            };
            text.push_str(separator);
            let starts = separator.is_empty() || separator == ". ";
            match (starts, part.chars().next()) {
                (true, Some(first)) => {
                    text.extend(first.to_uppercase());
                    text.push_str(&part[first.len_utf8()..]);
                }
                _ => text.push_str(part),
            }
        }
        if !self.skips_full_stops {
            text.push('.');
        }
        text
    }
}

/// Swapped, lost or doubled letters in some of the words.
fn mistyped(text: &str, share: f64, draw: &mut Draw) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        if word.len() < 4 || !word.is_ascii() || !draw.chance(share) {
            continue;
        }
        let at = 1 + draw.below(word.len() - 2);
        let letter = word.as_bytes()[at] as char;
        match draw.below(3) {
            0 => {
                word.remove(at);
            }
            1 => word.insert(at, letter),
            _ => {
                word.remove(at);
                word.insert(at - 1, letter);
            }
        }
    }
    words.join(" ")
}

fn label(level: TextRisk, signals: [bool; 6], draw: &mut Draw) -> TextLabel {
    let read = draw.weighted(&read_chances(level));
    let signals = signals.map(|is_there| match is_there {
        true => !draw.chance(SIGNAL_SLIPS.0),
        false => draw.chance(SIGNAL_SLIPS.1),
    });
    TextLabel {
        risk: TextRisk::ALL[read],
        signals,
    }
}

/// The chance of each label for a text that was meant as `level`.
pub(super) fn read_chances(level: TextRisk) -> [f64; 5] {
    let mut chances = [0.0; 5];
    let at = level.index();
    match level {
        TextRisk::None => chances[1] = READER_SLIP,
        TextRisk::Low | TextRisk::Medium => {
            chances[at - 1] = READER_SLIP / 2.0;
            chances[at + 1] = READER_SLIP / 2.0;
        }
        TextRisk::High => chances[at - 1] = READER_SLIP,
        TextRisk::Crisis => {}
    }
    chances[at] = 1.0 - chances.iter().sum::<f64>();
    chances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_has_phrases_of_both_sorts_and_every_slot_is_known() {
        let author = Author::new(Phrases::Common);
        let mut lists = vec![
            &author.file.neutral.phrases,
            &author.file.idiom.phrases,
            &author.file.praise.phrases,
            &author.file.crisis.own,
            &author.file.crisis.other,
            &author.file.crisis.violence,
        ];
        for category in Category::ALL {
            let of = author.of(category);
            lists.extend([&of.healthy, &of.low, &of.medium, &of.high]);
        }
        for list in lists {
            assert!(list.len() >= RESERVED_EVERY, "{list:?}");
            for phrase in list {
                let rest = author.file.slots.keys().fold(phrase.clone(), |text, slot| {
                    text.replace(&format!("{{{slot}}}"), "")
                });
                assert!(!rest.contains(['{', '}']), "{phrase}");
            }
        }
        for (word, _) in &author.file.irony.phrases {
            assert!(Category::parse(word).is_some(), "{word}");
        }
    }

    #[test]
    fn slang_stands_for_whole_words() {
        let text = "I am going to go tomorrow, going tomorrow, going to";
        let made = replaced(text, "going to", "gonna");
        assert_eq!(made, "I am gonna go tomorrow, going tomorrow, gonna");
    }

    #[test]
    fn common_and_reserved_phrases_never_meet() {
        let list: Vec<usize> = (0..24).collect();
        let mut draw = Draw::stream(1, 1);
        let mut used = |phrases| {
            let author = Author::new(phrases);
            (0..2_000)
                .map(|_| *author.phrase(&list, &mut draw))
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (common, reserved) = (used(Phrases::Common), used(Phrases::Reserved));
        assert_eq!((common.len(), reserved.len()), (18, 6));
        assert!(common.is_disjoint(&reserved));
    }

    #[test]
    fn chances_of_labels_are_chances_and_a_crisis_is_never_mistaken() {
        for level in TextRisk::ALL {
            assert!((read_chances(level).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!(read_chances(TextRisk::Crisis)[4], 1.0);
        assert_eq!(read_chances(TextRisk::High)[4], 0.0);
    }

    #[test]
    fn typing_errors_keep_the_number_of_words() {
        let mut draw = Draw::stream(3, 3);
        let text = "nobody speaks up any more because it changes nothing";
        let typed = mistyped(text, 1.0, &mut draw);
        assert_ne!(typed, text);
        assert_eq!(typed.split(' ').count(), text.split(' ').count());
    }
}
