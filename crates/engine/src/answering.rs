//! From scores to an answer: calibration, the decision rule and the promise of coverage.
//!
//! Everything between an engine's raw scores and what a person is told, kept in one file of the bundle
//! (`answering.json`) and the same for every engine.

use crate::calibration::{CalibrationError, Calibrator};
use crate::conformal::Conformal;
use crate::decision::{DecisionError, DecisionRule};
use ombud_core::answer::{Answer, Prediction};
use ombud_core::task::Outputs;
use serde::{Deserialize, Serialize};

/// How scores become an answer, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answering {
    /// Corrects probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrator: Option<Calibrator>,
    /// Chooses the class or labels; the most probable (or 0.5) without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRule>,
    /// Gives intervals or sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conformal: Option<Conformal>,
    /// The share of truths that intervals or sets promise to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// What a number never lies below, such as 0 for days: an interval ends there. Cutting away what cannot be keeps
    /// its promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

/// Why a stored rule does not fit the model.
#[derive(Debug, thiserror::Error)]
pub enum AnsweringError {
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(transparent)]
    Decision(#[from] DecisionError),
    #[error("the decision rule is for {rule} classes, the model has {model}")]
    Width { rule: usize, model: usize },
}

impl Answering {
    /// Checks that it fits a model's outputs.
    pub fn check(&self, outputs: &Outputs) -> Result<(), AnsweringError> {
        if let Some(calibrator) = &self.calibrator {
            calibrator.check_width(outputs.width())?;
        }
        match &self.decision {
            Some(rule) if rule.class_count() != outputs.width() => Err(AnsweringError::Width {
                rule: rule.class_count(),
                model: outputs.width(),
            }),
            _ => Ok(()),
        }
    }

    /// Corrects one row's scores in place.
    pub fn calibrate(&self, scores: &mut [f64]) {
        if let Some(calibrator) = &self.calibrator {
            calibrator.apply(scores);
        }
    }

    /// The answer that calibrated scores give.
    pub fn answer(&self, outputs: &Outputs, scores: &[f64]) -> Answer {
        match outputs {
            Outputs::Classes { .. } => self.class(scores),
            Outputs::Labels { .. } => self.labels(scores),
            Outputs::Segments { .. } => {
                let index = highest(scores);
                Answer {
                    prediction: Prediction::Segment { index },
                    confidence: Some(scores[index]),
                    probabilities: scores.to_vec(),
                }
            }
            Outputs::Number { .. } => self.number(scores[0]),
        }
    }

    fn class(&self, scores: &[f64]) -> Answer {
        let index = self
            .decision
            .as_ref()
            .map_or_else(|| highest(scores), |rule| rule.decide(scores));
        let set = match &self.conformal {
            Some(Conformal::LabelSets(sets)) => sets.set(scores),
            _ => Vec::new(),
        };
        Answer {
            prediction: Prediction::Class { index, set },
            confidence: Some(scores[index]),
            probabilities: scores.to_vec(),
        }
    }

    fn labels(&self, scores: &[f64]) -> Answer {
        let holds = |(label, score): (usize, &f64)| match &self.decision {
            Some(rule) => rule.holds(label, *score),
            None => *score >= crate::decision::LABEL_THRESHOLD,
        };
        let indices: Vec<usize> = (0..scores.len())
            .filter(|label| holds((*label, &scores[*label])))
            .collect();
        // The answer is as sure as its least sure label: one that is said but unlikely, or left out but likely.
        let sureness = |(label, score): (usize, &f64)| {
            if holds((label, score)) {
                *score
            } else {
                1.0 - score
            }
        };
        let confidence = scores.iter().enumerate().map(sureness).fold(1.0, f64::min);
        Answer {
            prediction: Prediction::Labels { indices },
            confidence: Some(confidence),
            probabilities: scores.to_vec(),
        }
    }

    fn number(&self, value: f64) -> Answer {
        let interval = match &self.conformal {
            Some(Conformal::ResidualBand(band)) => {
                let interval = band.around(value);
                let least = self.least.unwrap_or(f64::NEG_INFINITY);
                Some((interval.lower.max(least), interval.upper.max(least)))
            }
            _ => None,
        };
        Answer {
            prediction: Prediction::Number { value, interval },
            confidence: None,
            probabilities: Vec::new(),
        }
    }
}

/// The place of the highest score; the first of equals.
pub fn highest(scores: &[f64]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = index;
        }
    }
    best
}
