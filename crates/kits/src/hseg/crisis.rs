//! Whether somebody may be in danger, by the models and, independently of them, by curated words.
//!
//! Either is enough: the model sees wordings that nobody listed, the words hold where a model was never taught. Where they
//! disagree, that is told, and what only the model found is to be read and does not alarm: on wording that it never saw it
//! takes too much for a crisis. Nothing here judges a person; it decides who is shown help and that somebody looks.

use super::lexicon::{Lexicon, Reading};
use super::text::TextRisk;
use std::collections::BTreeSet;

/// The kind of a case that the text model alone opened.
const BY_MODEL: &str = "text_model";

/// How many times the hours a case has that only the model opened.
const PATIENCE: i64 = 3;

/// How soon somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// At once.
    Urgent,
    /// Only the model found it: read what was written, and judge.
    PleaseRead,
}

impl Urgency {
    /// By the kinds of what was found; `None` when nothing was.
    pub fn of(kinds: &[String]) -> Option<Urgency> {
        match kinds {
            [] => None,
            [alone] if alone == BY_MODEL => Some(Urgency::PleaseRead),
            _ => Some(Urgency::Urgent),
        }
    }

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Urgency::Urgent => "urgent",
            Urgency::PleaseRead => "please_read",
        }
    }

    /// The hours that a case has, of those that urgent ones have.
    pub fn hours(self, of_urgent: i64) -> i64 {
        match self {
            Urgency::Urgent => of_urgent,
            Urgency::PleaseRead => of_urgent.saturating_mul(PATIENCE),
        }
    }
}

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crisis {
    pub is_detected: bool,
    /// Wordings, as they stand in the text, for whoever sent it.
    pub indicators: Vec<String>,
    /// What kinds they are, for whoever looks at a case.
    pub kinds: Vec<String>,
    /// Whether model and words say the same; true where only one was asked.
    pub agrees: bool,
}

impl Default for Crisis {
    fn default() -> Self {
        Crisis {
            is_detected: false,
            indicators: Vec::new(),
            kinds: Vec::new(),
            agrees: true,
        }
    }
}

impl Crisis {
    /// How soon somebody should look; `None` when nothing was found.
    pub fn urgency(&self) -> Option<Urgency> {
        Urgency::of(&self.kinds)
    }
}

/// Judges what both nets said: the level by the model, and the curated words.
pub fn judge(by_model: TextRisk, reading: &Reading) -> Crisis {
    crisis(reading, Some(by_model == TextRisk::Crisis))
}

/// Judges a text by the curated words alone.
pub fn judge_by_words(text: &str) -> Crisis {
    crisis(&Lexicon::shipped().read(text), None)
}

fn crisis(reading: &Reading, by_model: Option<bool>) -> Crisis {
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    if reading.is_crisis {
        let found = reading.indicators.iter();
        kinds.extend(found.map(|it| it.danger.word().to_owned()));
    }
    if by_model == Some(true) {
        kinds.insert(BY_MODEL.to_owned());
    }
    let words = reading.indicators.iter().map(|it| it.words.clone());
    Crisis {
        is_detected: !kinds.is_empty(),
        indicators: words.collect(),
        kinds: kinds.into_iter().collect(),
        agrees: by_model.is_none_or(|by_model| by_model == reading.is_crisis),
    }
}
