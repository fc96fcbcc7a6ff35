//! An exam by another author: answers in wording that neither the generator's phrases nor the lexicon were written from.
//!
//! The phrases of the generator, reserved ones included, and the lexicon have one author, so what they say of each other
//! flatters. Whoever changes either must not look into `data/hseg/exam.jsonl` while doing so.

use super::measure::Labelled;
use crate::hseg::generate::TextLabel;
use crate::hseg::survey::Category;
use crate::hseg::text::TextRisk;
use serde::Deserialize;

const EXAM: &str = include_str!("../../../data/hseg/exam.jsonl");

/// A line of the file.
#[derive(Deserialize)]
struct Question {
    text: String,
    risk: String,
    signals: Vec<String>,
}

/// The exam's texts as its author labelled them.
pub(super) fn texts() -> Vec<Labelled> {
    EXAM.lines()
        .map(|line| {
            serde_json::from_str(line)
                .ok()
                .and_then(labelled)
                .expect("the embedded exam is tested")
        })
        .collect()
}

fn labelled(question: Question) -> Option<Labelled> {
    let mut signals = [false; 6];
    for word in &question.signals {
        signals[Category::parse(word)?.index()] = true;
    }
    Some(Labelled {
        text: question.text,
        label: TextLabel {
            risk: TextRisk::parse(&question.risk)?,
            signals,
        },
        ceiling: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exam_can_be_read_and_asks_of_every_level_and_category() {
        let texts = texts();
        for risk in TextRisk::ALL {
            let of_level = texts.iter().filter(|it| it.label.risk == risk);
            assert!(of_level.count() >= 50, "too few of {risk}");
        }
        for category in Category::ALL {
            let of_category = texts.iter().filter(|it| it.label.signals[category.index()]);
            assert!(of_category.count() >= 25, "too few of {category:?}");
        }
    }
}
