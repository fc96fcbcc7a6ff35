//! Reads an open answer with both nets: the text models, and the lexicon that knows nothing of them.

use super::features::TextOutputs;
use super::lexicon::{Lexicon, Reading};
use super::survey::Category;
use super::text::TextRisk;
use ombud_core::answer::Prediction;
use ombud_core::{Answer, Refusal};
use ombud_engine::Model;
use serde_json::json;

/// The two text models and the lexicon, ready to read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'m> {
    risk: &'m Model,
    signals: &'m Model,
    lexicon: &'m Lexicon,
    /// Which [`TextRisk`] each output of the risk model is.
    risks: [TextRisk; 5],
    /// Which category each output of the signals model is.
    categories: [Category; 6],
}

/// A model that is not the one it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{model} answers {outputs}, which are not the outputs of {wanted}")]
pub struct WrongModel {
    pub model: String,
    pub outputs: String,
    pub wanted: &'static str,
}

/// What both nets say of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub outputs: TextOutputs,
    /// What the model decides by its tuned threshold.
    pub risk: TextRisk,
    /// What the lexicon found.
    pub reading: Reading,
    /// The model's answer, for whoever records or explains it.
    pub answer: Answer,
}

impl Read {
    /// Whether one net at least says that somebody should look at once.
    pub fn is_crisis(&self) -> bool {
        self.risk == TextRisk::Crisis || self.reading.is_crisis
    }

    /// Whether only one of them says so.
    pub fn is_disputed(&self) -> bool {
        (self.risk == TextRisk::Crisis) != self.reading.is_crisis
    }
}

impl<'m> Reader<'m> {
    /// # Errors
    /// A model with other outputs.
    pub fn new(
        risk: &'m Model,
        signals: &'m Model,
        lexicon: &'m Lexicon,
    ) -> Result<Reader<'m>, WrongModel> {
        Ok(Reader {
            risk,
            signals,
            lexicon,
            risks: known(risk, super::recipes::TEXT.name, TextRisk::of_class)?,
            categories: known(signals, super::recipes::SIGNALS.name, Category::parse)?,
        })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// A text that the model's schema does not take, such as one that is too long.
    pub fn read(&self, text: &str) -> Result<Read, Refusal> {
        let body = json!({ "text": text });
        let answer = self.risk.predict(&self.risk.parser().parse_value(&body)?);
        let signalled = self
            .signals
            .predict(&self.signals.parser().parse_value(&body)?);
        let reading = self.lexicon.read(text);
        let mut outputs = TextOutputs {
            risk: [0.0; 5],
            signals: [0.0; 6],
            intensity: reading.intensity,
            is_crisis_by_lexicon: reading.is_crisis,
        };
        for (risk, chance) in self.risks.iter().zip(&answer.probabilities) {
            outputs.risk[risk.index()] = *chance;
        }
        for (category, chance) in self.categories.iter().zip(&signalled.probabilities) {
            outputs.signals[category.index()] = *chance;
        }
        let decided = match answer.prediction {
            Prediction::Class { index, .. } => self.risks[index],
            _ => TextRisk::None,
        };
        Ok(Read {
            outputs,
            risk: decided,
            reading,
            answer,
        })
    }
}

fn known<T, const N: usize>(
    model: &Model,
    wanted: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<[T; N], WrongModel> {
    let names = model.manifest().outputs.names();
    let parsed: Option<Vec<T>> = names.iter().map(|name| parse(name)).collect();
    parsed
        .and_then(|parsed| parsed.try_into().ok())
        .ok_or_else(|| WrongModel {
            model: model.manifest().name.to_string(),
            outputs: names.join(", "),
            wanted,
        })
}
