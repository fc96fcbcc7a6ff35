//! Whether somebody may be in danger, by the models and, independently of them, by curated words.
//!
//! Either is enough: the model sees wordings that nobody listed, the words hold where a model was never taught. Where they
//! disagree, that is told. Nothing here judges a person; it decides who is shown help and that somebody looks.

use super::asking::TextAnswer;
use super::lexicon::{Lexicon, Reading};
use super::text::TextRisk;
use std::collections::BTreeSet;

/// The kind of a case that the text model alone opened.
const BY_MODEL: &str = "text_model";

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

/// Judges what both nets said.
pub fn judge(answer: &TextAnswer) -> Crisis {
    let by_model = answer.risk == TextRisk::Crisis;
    crisis(&answer.reading, Some(by_model))
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
