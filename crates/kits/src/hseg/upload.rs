//! Tables of answers that were gathered elsewhere: read, mapped to our fields, judged row by row.
//!
//! A column is suggested for a field by its name, forgiving case, separators and the usual other words; whoever uploads can
//! say otherwise. Nothing is guessed about values: what cannot be read is told with its row, its field and what would be
//! accepted, and what people wrote is never repeated.

mod mapping;
mod table;

pub use mapping::{FIELDS, Mapping};
pub use table::Table;

use super::response::{Object, Response};
use super::survey::Domain;
use ombud_api::Refusal;
use ombud_core::Fault;
use ombud_core::nearest::nearest;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Problems that are listed one by one.
const PROBLEMS_LISTED: usize = 200;

/// What would be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Preview {
    pub rows: usize,
    pub readable_rows: usize,
    pub problem_rows: usize,
    /// Of those with problems, rows that can be kept when the values at fault are left out: what is wrong is said of the
    /// person or of how they answered, not what they answered.
    pub mendable_rows: usize,
    /// How ratings are understood: `health` (4 is the healthiest) or `agreement` (4 is full agreement; negative statements
    /// are turned round here).
    pub ratings_are: String,
    /// Which column each field is read from.
    pub mapping: BTreeMap<String, String>,
    /// Columns that nothing is read from.
    pub unused_columns: Vec<String>,
    /// Fields that no column gives.
    pub missing_fields: Vec<String>,
    /// The first of them, row by row.
    pub problems: Vec<Problem>,
}

/// Why a row cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
// Another shape of the document has the name.
#[schema(as = UploadProblem)]
pub struct Problem {
    /// Counted from 1, the line with the names not counted.
    pub row: usize,
    pub field: String,
    pub came: String,
    pub allowed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// Reads a table under a mapping, or under the suggested one.
pub fn preview(
    table: &Table,
    said: Option<Mapping>,
    domain: Domain,
    scale: Scale,
) -> Result<(Preview, Vec<Response>), Refusal> {
    let mapping =
        Mapping::suggested(&table.columns).replaced_by(said.unwrap_or_default(), &table.columns)?;
    let mut responses = Vec::with_capacity(table.rows.len());
    let mut problems = Vec::new();
    let (mut problem_rows, mut mendable_rows) = (0, 0);
    for (place, row) in table.rows.iter().enumerate() {
        let parts = Parts::of(&mapping, table, row);
        match parts.clone().read(domain, scale) {
            Ok(response) => responses.push(response),
            Err(refused) => {
                problem_rows += 1;
                if let Some(mended) = parts.without(&refused)
                    && let Ok(response) = mended.read(domain, scale)
                {
                    mendable_rows += 1;
                    responses.push(response);
                }
                let room = PROBLEMS_LISTED.saturating_sub(problems.len());
                let told = refused.faults.into_iter().take(room).map(|fault| Problem {
                    row: place + 1,
                    field: field_of(&fault.path).to_owned(),
                    came: fault.came,
                    allowed: fault.allowed,
                    nearest: fault.nearest,
                });
                problems.extend(told);
            }
        }
    }
    let missing = FIELDS.iter().filter(|field| !mapping.has(field));
    let preview = Preview {
        rows: table.rows.len(),
        readable_rows: responses.len() - mendable_rows,
        problem_rows,
        mendable_rows,
        ratings_are: scale.word().to_owned(),
        unused_columns: mapping.unused(&table.columns),
        missing_fields: missing.map(|field| (*field).to_owned()).collect(),
        mapping: mapping.named(&table.columns),
        problems,
    };
    Ok((preview, responses))
}

/// How a file's ratings are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// 4 is the healthiest.
    Health,
    /// 4 is full agreement, as respondents marked it.
    Agreement,
}

impl Scale {
    /// Reads the word.
    pub fn parse(word: &str) -> Result<Scale, Refusal> {
        let all = [Scale::Health, Scale::Agreement];
        let found = all.into_iter().find(|it| it.word() == word);
        found.ok_or_else(|| {
            let words = all.map(Scale::word);
            let fault = Fault::new("ratings", word, words.join(" or "));
            fault.near(nearest(word, words)).into()
        })
    }

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Scale::Health => "health",
            Scale::Agreement => "agreement",
        }
    }
}

/// A row, by the parts of a response.
#[derive(Debug, Clone, Default)]
struct Parts {
    domain: Option<String>,
    ratings: Object,
    texts: Object,
    demographics: Object,
    quality: Object,
    /// Fields whose cell holds what a sheet shows in place of a value.
    errors: Vec<(String, Value)>,
}

impl Parts {
    fn of(mapping: &Mapping, table: &Table, row: &[Value]) -> Parts {
        let mut parts = Parts::default();
        for (field, column) in mapping.pairs(&table.columns) {
            let value = row.get(column).cloned().unwrap_or(Value::Null);
            if table::is_error(&value) {
                parts.errors.push((field.to_owned(), value.clone()));
            }
            let part = match part_of(field) {
                Part::Domain => {
                    let word = value.as_str().map(str::to_owned);
                    parts.domain = word.filter(|word| !word.trim().is_empty());
                    continue;
                }
                Part::Ratings => &mut parts.ratings,
                Part::Texts => &mut parts.texts,
                Part::Demographics => &mut parts.demographics,
                Part::Quality => &mut parts.quality,
            };
            part.insert(field.to_owned(), value);
        }
        parts
    }

    fn read(self, domain: Domain, scale: Scale) -> Result<Response, ombud_core::Refusal> {
        self.check(domain)?;
        let word = self.domain.as_deref().unwrap_or(domain.word());
        let mut response = Response::read(
            word,
            &self.ratings,
            Some(&self.texts),
            Some(&self.demographics),
            Some(&self.quality),
        )?;
        response.domain = domain;
        if scale == Scale::Agreement {
            response.ratings = response.ratings.of_agreement();
        }
        Ok(response)
    }

    /// A file is one organization's, and a formula that failed is no answer.
    fn check(&self, domain: Domain) -> Result<(), ombud_core::Refusal> {
        let mut faults = ombud_core::Refusal::default();
        if let Some(said) = self.domain.as_deref()
            && Domain::parse(said).is_some_and(|said| said != domain)
        {
            let allowed = format!("the organization's: {}", domain.word());
            faults.add(Fault::new("domain", said, allowed));
        }
        for (field, value) in &self.errors {
            let came = value.as_str().unwrap_or_default();
            faults.add(Fault::new(
                path_of(field),
                came,
                "a value, or an empty cell",
            ));
        }
        faults.or(())
    }

    /// The same without what is at fault, when that says nothing of what was answered.
    fn without(mut self, refused: &ombud_core::Refusal) -> Option<Parts> {
        if refused.count > refused.faults.len() {
            return None;
        }
        for fault in &refused.faults {
            let (part, field) = fault.path.split_once('.')?;
            let part = match part {
                "demographics" => &mut self.demographics,
                "response_quality" => &mut self.quality,
                _ => return None,
            };
            part.remove(field)?;
            self.errors.retain(|(failed, _)| failed != field);
        }
        Some(self)
    }
}

/// A part of a response.
enum Part {
    Domain,
    Ratings,
    Texts,
    Demographics,
    Quality,
}

/// Which part of a response a field belongs to.
fn part_of(field: &str) -> Part {
    match field {
        "domain" => Part::Domain,
        "q23" | "q24" | "q25" => Part::Texts,
        "seconds" | "completion" | "attention_passed" | "straight_lining" => Part::Quality,
        _ if field.starts_with('q') && field[1..].bytes().all(|byte| byte.is_ascii_digit()) => {
            Part::Ratings
        }
        _ => Part::Demographics,
    }
}

/// Where a response has a field.
fn path_of(field: &str) -> String {
    let part = match part_of(field) {
        Part::Domain => return field.to_owned(),
        Part::Ratings => "survey_responses",
        Part::Texts => "text_responses",
        Part::Demographics => "demographics",
        Part::Quality => "response_quality",
    };
    format!("{part}.{field}")
}

fn field_of(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, field)| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Preview, Vec<Response>) {
        let table = Table::read(text.as_bytes(), Some("csv")).unwrap();
        preview(&table, None, Domain::Business, Scale::Health).unwrap()
    }

    #[test]
    fn columns_are_found_under_their_usual_names() {
        let (preview, responses) =
            read("Q1,Question 2,Dept,Gender,Level,Shoe\n2.5,3,Sales,Woman,Mid,42\n");
        assert_eq!(preview.mapping["q1"], "Q1");
        assert_eq!(preview.mapping["q2"], "Question 2");
        assert_eq!(preview.mapping["department"], "Dept");
        assert_eq!(preview.mapping["gender_identity"], "Gender");
        assert_eq!(preview.unused_columns, ["Shoe"]);
        assert_eq!(
            responses[0].trait_of("position_level").as_deref(),
            Some("Mid")
        );
        assert_eq!(preview.problem_rows, 0);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_told_with_its_number_and_what_is_allowed() {
        let (preview, responses) = read("q1,level\n2,Mid\n7,Midd\n3,Senior\n");
        assert_eq!(
            (preview.rows, preview.readable_rows, preview.problem_rows),
            (3, 2, 1)
        );
        let told: Vec<_> = preview
            .problems
            .iter()
            .map(|it| (it.row, it.field.as_str()))
            .collect();
        assert_eq!(told, [(2, "q1"), (2, "position_level")]);
        assert_eq!(preview.problems[1].nearest.as_deref(), Some("Mid"));
        assert_eq!(responses.len(), 2);
    }

    #[test]
    fn a_wrong_word_about_a_person_does_not_cost_their_answer() {
        let (preview, responses) = read("q1,gender,level\n2,man,Mid\n7,Woman,Mid\n");
        assert_eq!(
            (preview.problem_rows, preview.mendable_rows, responses.len()),
            (2, 1, 1)
        );
        let kept = &responses[0];
        assert_eq!(kept.demographics.gender_identity, None);
        assert_eq!(kept.trait_of("position_level").as_deref(), Some("Mid"));
    }

    #[test]
    fn agreement_with_negative_statements_is_turned_round() {
        let table = Table::read(b"q1,q2\n4,4\n", Some("csv")).unwrap();
        let read = |scale| {
            let (_, responses) = preview(&table, None, Domain::Business, scale).unwrap();
            [0, 1].map(|question| responses[0].ratings.get(question).unwrap().get())
        };
        assert_eq!(read(Scale::Health), [4.0, 4.0]);
        // q1 is a positive statement, q2 a negative one.
        assert_eq!(read(Scale::Agreement), [4.0, 1.0]);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_where() {
        let refused = Table::read(b"q1,q2\n1,2\n1,2,3\n", Some("csv")).unwrap_err();
        let told = format!("{refused:?}");
        assert!(told.contains("line 3 has 3 cells"), "{told}");
    }

    #[test]
    fn what_is_no_answer_is_told_as_a_problem() {
        let (preview, responses) = read(
            "domain,q1,q2,department\nBusiness,2,3,#N/A\nBusiness,#REF!,3,Lab\nHealthcare,2,3,Lab\n",
        );
        let told: Vec<_> = preview
            .problems
            .iter()
            .map(|it| (it.row, it.field.as_str(), it.came.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (1, "department", "#N/A"),
                (2, "q1", "#REF!"),
                (3, "domain", "Healthcare")
            ]
        );
        assert_eq!((preview.mendable_rows, responses.len()), (1, 1));
    }

    #[test]
    fn a_column_is_read_once_and_a_field_from_one() {
        let table = Table::read(b"q1,Question 1,q2\n1,4,2\n", Some("csv")).unwrap();
        let read = |said: Option<&str>| {
            let said = said.map(|said| Mapping::parse(said).unwrap());
            preview(&table, said, Domain::Business, Scale::Health)
        };
        let refused = format!("{:?}", read(None).unwrap_err());
        assert!(refused.contains("Question 1"), "{refused}");
        let (shown, _) = read(Some(r#"{ "q1": "Question 1" }"#)).unwrap();
        assert_eq!(shown.mapping["q1"], "Question 1");
        let twice = read(Some(r#"{ "q1": "q1", "q2": "q1" }"#));
        assert!(format!("{:?}", twice.unwrap_err()).contains("mapping.q2"));
    }

    #[test]
    fn a_mapping_replaces_what_was_suggested() {
        let table = Table::read(b"Q1,other\n1,4\n", Some("csv")).unwrap();
        let said = Mapping::parse(r#"{ "q1": "other" }"#).unwrap();
        let (shown, responses) =
            preview(&table, Some(said), Domain::Business, Scale::Health).unwrap();
        assert_eq!(shown.mapping["q1"], "other");
        assert_eq!(responses[0].ratings.get(0).unwrap().get(), 4.0);
        let wrong = Mapping::parse(r#"{ "q1": "othr" }"#).unwrap();
        assert!(preview(&table, Some(wrong), Domain::Business, Scale::Health).is_err());
    }

    #[test]
    fn json_rows_may_be_flat_or_as_requests_are() {
        let flat = br#"[{ "q1": 2, "department": "Lab" }]"#;
        let nested =
            br#"[{ "survey_responses": { "q1": 2 }, "demographics": { "department": "Lab" } }]"#;
        for file in [flat.as_slice(), nested] {
            let table = Table::read(file, None).unwrap();
            let (_, responses) = preview(&table, None, Domain::Business, Scale::Health).unwrap();
            assert_eq!(responses[0].demographics.department.as_deref(), Some("Lab"));
        }
    }
}
