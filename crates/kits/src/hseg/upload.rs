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
) -> Result<(Preview, Vec<Response>), Refusal> {
    let mapping =
        Mapping::suggested(&table.columns).replaced_by(said.unwrap_or_default(), &table.columns)?;
    let mut responses = Vec::with_capacity(table.rows.len());
    let mut problems = Vec::new();
    let mut problem_rows = 0;
    for (place, row) in table.rows.iter().enumerate() {
        match read_row(&mapping, table, row, domain) {
            Ok(response) => responses.push(response),
            Err(refused) => {
                problem_rows += 1;
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
        readable_rows: responses.len(),
        problem_rows,
        unused_columns: mapping.unused(&table.columns),
        missing_fields: missing.map(|field| (*field).to_owned()).collect(),
        mapping: mapping.named(&table.columns),
        problems,
    };
    Ok((preview, responses))
}

fn read_row(
    mapping: &Mapping,
    table: &Table,
    row: &[Value],
    domain: Domain,
) -> Result<Response, ombud_core::Refusal> {
    let mut parts: [Object; 4] = Default::default();
    let mut said_domain = None;
    for (field, column) in mapping.pairs(&table.columns) {
        let value = row.get(column).cloned().unwrap_or(Value::Null);
        match part_of(field) {
            Some(part) => {
                parts[part].insert(field.to_owned(), value);
            }
            None => {
                said_domain = value
                    .as_str()
                    .map(str::to_owned)
                    .filter(|word| !word.trim().is_empty());
            }
        }
    }
    let [ratings, texts, demographics, quality] = parts;
    // A file is one organization's; a domain in it is only checked.
    let word = said_domain.as_deref().unwrap_or(domain.word());
    let mut response = Response::read(
        word,
        &ratings,
        Some(&texts),
        Some(&demographics),
        Some(&quality),
    )?;
    response.domain = domain;
    Ok(response)
}

/// Which part of a response a field belongs to.
fn part_of(field: &str) -> Option<usize> {
    match field {
        "domain" => None,
        "q23" | "q24" | "q25" => Some(1),
        "seconds" | "completion" | "attention_passed" | "straight_lining" => Some(3),
        _ if field.starts_with('q') && field[1..].bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(0)
        }
        _ => Some(2),
    }
}

fn field_of(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, field)| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Preview, Vec<Response>) {
        let table = Table::read(text.as_bytes(), Some("csv")).unwrap();
        preview(&table, None, Domain::Business).unwrap()
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
    fn a_mapping_replaces_what_was_suggested() {
        let table = Table::read(b"Q1,other\n1,4\n", Some("csv")).unwrap();
        let said = Mapping::parse(r#"{ "q1": "other" }"#).unwrap();
        let (shown, responses) = preview(&table, Some(said), Domain::Business).unwrap();
        assert_eq!(shown.mapping["q1"], "other");
        assert_eq!(responses[0].ratings.get(0).unwrap().get(), 4.0);
        let wrong = Mapping::parse(r#"{ "q1": "othr" }"#).unwrap();
        assert!(preview(&table, Some(wrong), Domain::Business).is_err());
    }

    #[test]
    fn json_rows_may_be_flat_or_as_requests_are() {
        let flat = br#"[{ "q1": 2, "department": "Lab" }]"#;
        let nested =
            br#"[{ "survey_responses": { "q1": 2 }, "demographics": { "department": "Lab" } }]"#;
        for file in [flat.as_slice(), nested] {
            let table = Table::read(file, None).unwrap();
            let (_, responses) = preview(&table, None, Domain::Business).unwrap();
            assert_eq!(responses[0].demographics.department.as_deref(), Some("Lab"));
        }
    }
}
