//! The strongest reasons of an answer in one cell: short words for people in a table, an object for programs.

use super::TextFormat;
use ombud_core::Explanation;
use ombud_core::explanation::{Contribution, Word};
use serde_json::{Value, json};

/// Reasons told per answer.
const REASONS_MAX: usize = 5;
/// Words told per text in a table's cell.
const WORDS_IN_CELL_MAX: usize = 3;
/// Words told per answer in JSON.
const WORDS_MAX: usize = 10;
/// Letters of a value that a cell has room for.
const VALUE_LETTERS_MAX: usize = 40;

/// The reasons as the format carries them.
pub(super) fn told(explanation: &Explanation, format: TextFormat) -> String {
    match format {
        TextFormat::Csv => as_cell(explanation),
        TextFormat::Jsonl => as_json(explanation).to_string(),
    }
}

/// `tenure=2.9:+0.31; severity=high:-0.12`.
fn as_cell(explanation: &Explanation) -> String {
    let reasons = strongest(explanation).map(|reason| {
        let words = words_of(explanation, reason);
        let value = if words.is_empty() {
            value_of(reason)
        } else {
            words
        };
        format!("{}={value}:{}", reason.feature, weight(reason.weight))
    });
    reasons.collect::<Vec<_>>().join("; ")
}

fn as_json(explanation: &Explanation) -> Value {
    let reasons: Vec<Value> = strongest(explanation)
        .map(|reason| json!({ "feature": reason.feature, "value": reason.value, "weight": reason.weight }))
        .collect();
    let word = |word: &Word| json!({ "feature": word.feature, "word": word.text, "start": word.start, "end": word.end, "weight": word.weight });
    let words: Vec<Value> = explanation.words.iter().take(WORDS_MAX).map(word).collect();
    let mut told = json!({
        "output": explanation.output, "unit": explanation.unit, "base": explanation.base, "features": reasons,
    });
    if !words.is_empty() {
        told["words"] = words.into();
    }
    if !explanation.stages.is_empty() {
        let stages = explanation.stages.iter();
        let stages = stages.map(|of| json!({ "stage": of.stage, "features": of.features, "reasons": as_json(&of.explanation) }));
        told["stages"] = stages.collect();
    }
    told
}

fn strongest(explanation: &Explanation) -> impl Iterator<Item = &Contribution> {
    explanation
        .contributions
        .iter()
        .filter(|reason| reason.weight != 0.0)
        .take(REASONS_MAX)
}

/// The words of a text that pull the same way as the text as a whole.
fn words_of(explanation: &Explanation, reason: &Contribution) -> String {
    let words = explanation
        .words
        .iter()
        .filter(|word| {
            word.feature == reason.feature && (word.weight > 0.0) == (reason.weight > 0.0)
        })
        .take(WORDS_IN_CELL_MAX)
        .map(|word| format!("‘{}’", word.text));
    words.collect::<Vec<_>>().join(" ")
}

fn value_of(reason: &Contribution) -> String {
    match &reason.value {
        None => "missing".to_owned(),
        Some(value) if value.chars().count() > VALUE_LETTERS_MAX => {
            value.chars().take(VALUE_LETTERS_MAX).chain(['…']).collect()
        }
        Some(value) => value.clone(),
    }
}

fn weight(weight: f64) -> String {
    match weight.abs() {
        size if size >= 0.095 => format!("{weight:+.2}"),
        size if size >= 0.000_95 => format!("{weight:+.4}"),
        _ => format!("{weight:+.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::explanation::Unit;

    fn explanation() -> Explanation {
        let reason = |feature: &str, value: Option<&str>, weight| Contribution {
            feature: feature.to_owned(),
            value: value.map(str::to_owned),
            weight,
        };
        let word = |text: &str, weight| Word {
            feature: "note".into(),
            start: 0,
            end: 4,
            text: text.into(),
            weight,
        };
        Explanation {
            output: "yes".into(),
            unit: Unit::LogOdds,
            base: -0.5,
            contributions: vec![
                reason("note", Some("late and tired"), 0.9),
                reason("tenure", Some("2.9"), -0.123),
                reason("age", None, 0.01),
                reason("site", Some("north"), 0.0),
            ],
            words: vec![word("tired", 0.8), word("and", -0.3), word("late", 0.2)],
            stages: Vec::new(),
        }
    }

    #[test]
    fn a_cell_holds_the_strongest_reasons_and_no_empty_ones() {
        let cell = told(&explanation(), TextFormat::Csv);
        assert_eq!(
            cell,
            "note=‘tired’ ‘late’:+0.90; tenure=2.9:-0.12; age=missing:+0.0100"
        );
    }

    #[test]
    fn json_holds_numbers_in_full_and_words_with_their_places() {
        let json: Value =
            serde_json::from_str(&told(&explanation(), TextFormat::Jsonl)).expect("JSON");
        assert_eq!(json["features"][1]["weight"], -0.123);
        assert_eq!(json["features"].as_array().map(Vec::len), Some(3));
        assert_eq!(json["words"][0]["word"], "tired");
        assert_eq!(json["unit"], "log_odds");
    }
}
