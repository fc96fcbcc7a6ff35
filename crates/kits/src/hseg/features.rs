//! What the individual model sees of a person, in one place for training and for serving.
//!
//! [`Features::cells`] makes the row of a training table, [`Features::row`] the body of a question; both are made from the
//! same list of named values, so that they cannot part ways. Whatever is unknown is missing, never a default.

use super::demographics::{Demographics, ResponseQuality};
use super::score::Score;
use super::survey::{Category, Domain, Rating, Ratings, STATEMENTS};
use super::text::TextRisk;
use crate::table::{Cell, Column, ColumnKind};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What the text models and the lexicon say of a person's open answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextOutputs {
    /// The chance of each [`TextRisk`], None to Crisis.
    pub risk: [f64; 5],
    /// The chance that each category is spoken of.
    pub signals: [f64; 6],
    /// How strongly distress is voiced, 0 to 1; from the lexicon.
    pub intensity: f64,
    /// Whether the lexicon found wordings of danger.
    pub is_crisis_by_lexicon: bool,
}

/// All that is known of one person when the model is asked.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    pub domain: Domain,
    /// The size of the organization.
    pub employees: Option<u32>,
    pub ratings: &'a Ratings,
    pub demographics: &'a Demographics,
    /// Completed from the ratings by whoever makes the features.
    pub quality: &'a ResponseQuality,
    /// `None` when nothing was written.
    pub text: Option<&'a TextOutputs>,
}

/// The word of a person who named more than one.
const SEVERAL: &str = "Several";

impl Features<'_> {
    /// The columns of a training table, in the order of [`Features::cells`].
    pub fn columns() -> Vec<Column> {
        let nobody = (
            Ratings::default(),
            Demographics::default(),
            ResponseQuality::default(),
        );
        let shape = Features {
            domain: Domain::Business,
            employees: None,
            ratings: &nobody.0,
            demographics: &nobody.1,
            quality: &nobody.2,
            text: None,
        };
        let column = |(name, kind, _)| Column { name, kind };
        shape.named().into_iter().map(column).collect()
    }

    /// A row of a training table.
    pub fn cells(&self) -> Vec<Cell> {
        self.named().into_iter().map(|(_, _, cell)| cell).collect()
    }

    /// The body of a question: known values by name.
    pub fn row(&self) -> Value {
        let known = self
            .named()
            .into_iter()
            .filter_map(|(name, _, cell)| Some((name, as_json(cell)?)));
        Value::Object(known.collect::<Map<String, Value>>())
    }

    fn named(&self) -> Vec<(String, ColumnKind, Cell)> {
        let mut list = Vec::with_capacity(64);
        let mut number = |name: &str, value: Option<f64>| {
            list.push((name.to_owned(), ColumnKind::Number, Cell::number(value)));
        };
        for (statement, rating) in STATEMENTS.iter().zip(self.ratings.iter()) {
            number(statement.name, rating.map(Rating::get));
        }
        let score = Score::of(self.ratings);
        number("overall", score.map(|it| it.overall));
        for category in Category::ALL {
            number(category.word(), score.and_then(|it| it.category(category)));
        }
        number("employees", self.employees.map(f64::from));
        number(
            "supervises_others",
            self.demographics.supervises_others.map(flag),
        );
        number("seconds", self.quality.seconds);
        number("completion", self.quality.completion);
        number("attention_passed", self.quality.attention_passed.map(flag));
        number("straight_lining", self.quality.straight_lining);
        number("has_text", Some(flag(self.text.is_some())));
        for risk in TextRisk::ALL {
            let name = format!("text_{}", risk.class());
            number(&name, self.text.map(|it| it.risk[risk.index()]));
        }
        for category in Category::ALL {
            number(
                &format!("text_{}", category.word()),
                self.text.map(|it| it.signals[category.index()]),
            );
        }
        number("text_intensity", self.text.map(|it| it.intensity));
        number(
            "text_lexicon_crisis",
            self.text.map(|it| flag(it.is_crisis_by_lexicon)),
        );
        list.extend(self.words());
        list
    }

    fn words(&self) -> Vec<(String, ColumnKind, Cell)> {
        let who = self.demographics;
        let ethnicity = match who.ethnicity.as_slice() {
            [] => None,
            [one] => Some(one.word()),
            _ => Some(SEVERAL),
        };
        let word = |name: &str, value: Option<&'static str>| {
            (name.to_owned(), ColumnKind::Text, Cell::text(value))
        };
        vec![
            word("domain", Some(self.domain.word())),
            word(
                "age_range",
                who.age_range.map(super::demographics::AgeRange::word),
            ),
            word(
                "gender_identity",
                who.gender_identity
                    .map(super::demographics::GenderIdentity::word),
            ),
            word(
                "tenure_range",
                who.tenure_range.map(super::demographics::TenureRange::word),
            ),
            word(
                "position_level",
                who.position_level
                    .map(super::demographics::PositionLevel::word),
            ),
            word(
                "work_location",
                who.work_location
                    .map(super::demographics::WorkLocation::word),
            ),
            word(
                "employment_status",
                who.employment_status
                    .map(super::demographics::EmploymentStatus::word),
            ),
            word(
                "education_level",
                who.education_level
                    .map(super::demographics::EducationLevel::word),
            ),
            word("ethnicity", ethnicity),
        ]
    }
}

/// What a feature is, in a reader's words; one of another model's making keeps its name.
pub fn title(name: &str, domain: Domain) -> Cow<'_, str> {
    if let Some(statement) = STATEMENTS.iter().find(|it| it.name == name) {
        return Cow::Borrowed(statement.text(domain));
    }
    if let Some(category) = Category::parse(name) {
        return Cow::Borrowed(category.title());
    }
    if let Some(found) = name.strip_prefix("text_") {
        return Cow::Owned(format!("Open answers: {}", title_of_text(found)));
    }
    let words = match name {
        "overall" => "Overall score",
        "employees" => "Number of employees",
        "supervises_others" => "Supervises others",
        "seconds" => "Seconds taken to answer",
        "completion" => "Share of statements answered",
        "attention_passed" => "Passed the attention check",
        "straight_lining" => "Same answer again and again",
        "has_text" => "Wrote open answers",
        "domain" => "Domain",
        "age_range" => "Age range",
        "gender_identity" => "Gender identity",
        "tenure_range" => "Years at the organization",
        "position_level" => "Position level",
        "work_location" => "Work location",
        "employment_status" => "Employment status",
        "education_level" => "Education level",
        "ethnicity" => "Ethnicity",
        other => other,
    };
    Cow::Borrowed(words)
}

fn title_of_text(name: &str) -> Cow<'_, str> {
    if let Some(category) = Category::parse(name) {
        return Cow::Borrowed(category.title());
    }
    match TextRisk::ALL.into_iter().find(|it| it.class() == name) {
        Some(risk) => Cow::Owned(format!("read as risk level {}", risk.word())),
        None => match name {
            "intensity" => Cow::Borrowed("emotional intensity"),
            "lexicon_crisis" => Cow::Borrowed("words of the crisis list"),
            other => Cow::Borrowed(other),
        },
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

pub(super) fn as_json(cell: Cell) -> Option<Value> {
    match cell {
        Cell::Missing => None,
        Cell::Number(number) => Some(Value::from(number)),
        Cell::Text(text) => Some(Value::from(text)),
        Cell::Flag(flag) => Some(Value::from(flag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hseg::demographics::{AgeRange, Ethnicity};

    #[test]
    fn every_feature_has_a_title_that_is_not_its_name() {
        for column in Features::columns() {
            let title = title(&column.name, Domain::Healthcare);
            assert_ne!(title, column.name.as_str());
            assert!(!title.contains('_'), "{title}");
        }
        assert_eq!(title("shoe_size", Domain::Business), "shoe_size");
    }

    #[test]
    fn a_table_and_a_question_hold_the_same_values() {
        let ratings = Ratings::new(std::array::from_fn(|q| Rating::new(2.5).filter(|_| q != 3)));
        let demographics = Demographics {
            age_range: Some(AgeRange::From25),
            ethnicity: vec![Ethnicity::Asian, Ethnicity::White],
            ..Demographics::default()
        };
        let quality = ResponseQuality::default().completed_from(&ratings);
        let text = TextOutputs {
            risk: [0.1, 0.2, 0.3, 0.3, 0.1],
            signals: [0.5; 6],
            intensity: 0.4,
            is_crisis_by_lexicon: false,
        };
        let features = Features {
            domain: Domain::Business,
            employees: None,
            ratings: &ratings,
            demographics: &demographics,
            quality: &quality,
            text: Some(&text),
        };
        let row = features.row();
        assert_eq!(Features::columns().len(), features.cells().len());
        for (column, cell) in Features::columns().iter().zip(features.cells()) {
            assert_eq!(
                row.get(&column.name).cloned(),
                as_json(cell),
                "{}",
                column.name
            );
        }
        assert_eq!(row["q1"], 2.5);
        assert!(row.get("q4").is_none());
        assert_eq!(row["ethnicity"], "Several");
        assert_eq!(row["text_crisis"], 0.1);
    }
}
