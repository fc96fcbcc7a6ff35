//! Which column each field is read from.

use ombud_api::Refusal;
use ombud_core::Fault;
use ombud_core::nearest::nearest;
use std::collections::BTreeMap;

/// Every field that a column can give.
pub const FIELDS: [&str; 40] = [
    "domain",
    "q1",
    "q2",
    "q3",
    "q4",
    "q5",
    "q6",
    "q7",
    "q8",
    "q9",
    "q10",
    "q11",
    "q12",
    "q13",
    "q14",
    "q15",
    "q16",
    "q17",
    "q18",
    "q19",
    "q20",
    "q21",
    "q22",
    "q23",
    "q24",
    "q25",
    "age_range",
    "gender_identity",
    "tenure_range",
    "position_level",
    "department",
    "supervises_others",
    "work_location",
    "employment_status",
    "education_level",
    "ethnicity",
    "seconds",
    "completion",
    "attention_passed",
    "straight_lining",
];

/// Other words that columns go by.
const ALIASES: &[(&str, &str)] = &[
    ("sector", "domain"),
    ("industry", "domain"),
    ("age", "age_range"),
    ("agegroup", "age_range"),
    ("ageband", "age_range"),
    ("gender", "gender_identity"),
    ("sex", "gender_identity"),
    ("tenure", "tenure_range"),
    ("yearswithorganization", "tenure_range"),
    ("seniority", "position_level"),
    ("level", "position_level"),
    ("position", "position_level"),
    ("grade", "position_level"),
    ("dept", "department"),
    ("team", "department"),
    ("unit", "department"),
    ("division", "department"),
    ("manager", "supervises_others"),
    ("ismanager", "supervises_others"),
    ("supervisor", "supervises_others"),
    ("supervises", "supervises_others"),
    ("location", "work_location"),
    ("workplace", "work_location"),
    ("remote", "work_location"),
    ("employment", "employment_status"),
    ("contract", "employment_status"),
    ("education", "education_level"),
    ("degree", "education_level"),
    ("race", "ethnicity"),
    ("ethnicities", "ethnicity"),
    ("duration", "seconds"),
    ("secondstaken", "seconds"),
    ("durationinseconds", "seconds"),
    ("completionrate", "completion"),
    ("progress", "completion"),
    ("attentioncheck", "attention_passed"),
    ("attention", "attention_passed"),
    ("straightlining", "straight_lining"),
];
/// How like a field's name a column's must be, when it is neither it nor an alias.
const LIKENESS_MIN: f64 = 0.92;
/// Longest mapping.
const MAPPING_BYTES_MAX: usize = 16 << 10;

/// Fields and their columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping(BTreeMap<String, String>);

impl Mapping {
    /// Reads what somebody said: `{"field": "column"}`; an empty column means none.
    pub fn parse(text: &str) -> Result<Mapping, Refusal> {
        if text.len() > MAPPING_BYTES_MAX {
            let allowed = format!("at most {MAPPING_BYTES_MAX} bytes");
            return Err(Fault::new("mapping", "something longer", allowed).into());
        }
        let read: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| {
            Refusal::from(Fault::new(
                "mapping",
                text,
                "JSON such as {\"q1\": \"Question 1\"}",
            ))
        })?;
        let mut faults = ombud_core::Refusal::default();
        for field in read
            .keys()
            .filter(|field| !FIELDS.contains(&field.as_str()))
        {
            let fault = Fault::new(format!("mapping.{field}"), field, "a field of a response");
            faults.add(fault.near(nearest(field, FIELDS)));
        }
        Ok(faults.or(Mapping(read))?)
    }

    /// What a table's columns probably mean; each column at most one field, each field at most one column.
    pub fn suggested(columns: &[String]) -> Mapping {
        let mut mapping = BTreeMap::new();
        for sure in [true, false] {
            for column in columns {
                let is_taken = mapping.values().any(|taken| taken == column);
                let field = if sure { exact(column) } else { likely(column) };
                if let Some(field) = field.filter(|_| !is_taken) {
                    mapping
                        .entry(field.to_owned())
                        .or_insert_with(|| column.clone());
                }
            }
        }
        Mapping(mapping)
    }

    /// With what was said in place of what was suggested.
    pub fn replaced_by(mut self, said: Mapping, columns: &[String]) -> Result<Mapping, Refusal> {
        let mut faults = ombud_core::Refusal::default();
        let is_said = |field: &str| said.0.contains_key(field);
        for (field, names) in ambiguous(columns) {
            if !is_said(field)
                && names
                    .iter()
                    .filter(|name| !said.0.values().any(|it| it == **name))
                    .count()
                    > 1
            {
                let came = format!(
                    "the columns {}",
                    names
                        .iter()
                        .map(|name| format!("{name:?}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                faults.add(Fault::new(
                    format!("mapping.{field}"),
                    &came,
                    "one of them: say which",
                ));
            }
        }
        let mut used: BTreeMap<&str, &str> = BTreeMap::new();
        for (field, column) in said.0.iter().filter(|(_, column)| !column.is_empty()) {
            if let Some(other) = used.insert(column, field) {
                let allowed = format!("a column that {other} is not read from");
                faults.add(Fault::new(format!("mapping.{field}"), column, allowed));
            }
        }
        for (field, column) in said.0 {
            if column.is_empty() {
                self.0.remove(&field);
                continue;
            }
            if !columns.contains(&column) {
                let fault = Fault::new(format!("mapping.{field}"), &column, "a column of the file");
                faults.add(fault.near(nearest(&column, columns.iter().map(String::as_str))));
                continue;
            }
            self.0.retain(|_, taken| *taken != column);
            self.0.insert(field, column);
        }
        Ok(faults.or(self)?)
    }

    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Each field with its column's place.
    pub fn pairs<'a>(&'a self, columns: &'a [String]) -> impl Iterator<Item = (&'a str, usize)> {
        self.0.iter().filter_map(|(field, column)| {
            let place = columns.iter().position(|name| name == column)?;
            Some((field.as_str(), place))
        })
    }

    /// Columns that nothing is read from.
    pub fn unused(&self, columns: &[String]) -> Vec<String> {
        let is_unused =
            |column: &&String| !column.is_empty() && !self.0.values().any(|used| used == *column);
        columns.iter().filter(is_unused).cloned().collect()
    }

    /// Fields and columns by name.
    pub fn named(&self, _columns: &[String]) -> BTreeMap<String, String> {
        self.0.clone()
    }
}

/// Fields that several columns have the name of.
fn ambiguous(columns: &[String]) -> Vec<(&'static str, Vec<&String>)> {
    let mut named: BTreeMap<&'static str, Vec<&String>> = BTreeMap::new();
    for column in columns {
        if let Some(field) = by_name(&bare(column)) {
            named.entry(field).or_default().push(column);
        }
    }
    let several = named.into_iter().filter(|(_, columns)| columns.len() > 1);
    several.collect()
}

fn exact(column: &str) -> Option<&'static str> {
    let bare = bare(column);
    by_name(&bare).or_else(|| {
        ALIASES
            .iter()
            .find(|(alias, _)| *alias == bare)
            .map(|(_, field)| *field)
    })
}

fn by_name(bare: &str) -> Option<&'static str> {
    let found = FIELDS.into_iter().find(|field| self::bare(field) == bare);
    found.or_else(|| question(bare))
}

fn likely(column: &str) -> Option<&'static str> {
    let bare = bare(column);
    // Questions differ by a digit, which is no likeness.
    let names = FIELDS.into_iter().filter(|field| field.len() > 3);
    let like = |field: &&str| strsim::jaro_winkler(&self::bare(field), &bare);
    let best = names.max_by(|a, b| like(a).total_cmp(&like(b)))?;
    (like(&best) >= LIKENESS_MIN).then_some(best)
}

/// `question07`, `item 7`, `Q07` and `s7` are `q7`.
fn question(bare: &str) -> Option<&'static str> {
    let digits = bare.trim_start_matches(|c: char| c.is_alphabetic());
    let word = &bare[..bare.len() - digits.len()];
    let is_word = matches!(
        word,
        "q" | "question" | "item" | "statement" | "frage" | "s"
    );
    let number: usize = digits.parse().ok().filter(|_| is_word)?;
    let name = format!("q{number}");
    FIELDS.into_iter().find(|field| *field == name)
}

fn bare(name: &str) -> String {
    let kept = name.chars().filter(|c| c.is_alphanumeric());
    kept.flat_map(char::to_lowercase).collect()
}
