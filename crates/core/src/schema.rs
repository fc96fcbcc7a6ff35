//! What a model takes: named, typed features, and the columns that play another part.
//!
//! A schema is inferred or declared once, at training; it travels in the manifest and is the only judge of an input ever
//! after. The subject, target, time, group and protected columns are named beside the features because they are part
//! of the data but are not what the model decides by.

use crate::field_path::{FieldPath, PathError};
use crate::refusal::Fault;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Most features a schema may have.
pub const FEATURES_MAX: usize = 10_000;
/// Most values a category or ordinal may have.
pub const VALUES_MAX: usize = 100_000;
/// Longest text a request may carry in one feature, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Longest sequence a request may carry in one feature.
pub const STEPS_MAX: usize = 10_000;

/// The features a model takes, in order, and the columns that play another part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SchemaFile", into = "SchemaFile")]
pub struct Schema {
    features: Vec<Feature>,
    by_name: HashMap<String, usize>,
    /// The columns that are not features.
    pub columns: Columns,
}

/// One input of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its name: the column in a table, the last step of its path in a request.
    pub name: String,
    /// Where it sits in a request.
    pub path: FieldPath,
    /// Its type and limits.
    pub kind: Kind,
    /// Whether it may be absent.
    pub missing: Missing,
}

/// The type of a feature, with what is allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind {
    /// A quantity.
    Number {
        /// Inclusive limits outside which a value is refused.
        #[serde(default, skip_serializing_if = "Bounds::is_open")]
        bounds: Bounds,
    },
    /// One of several levels that have an order, lowest first.
    Ordinal { levels: Vec<String> },
    /// One of several values without an order.
    Category {
        values: Vec<String>,
        /// What happens to a value that training never saw.
        #[serde(default)]
        unseen: Unseen,
    },
    /// Free text.
    Text,
    /// A fixed number of numbers in order, oldest first.
    Sequence {
        steps: usize,
        #[serde(default, skip_serializing_if = "Bounds::is_open")]
        bounds: Bounds,
    },
}

/// Inclusive limits of a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max: Option<f64>,
}

impl Bounds {
    /// Whether there is no limit.
    pub fn is_open(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }

    /// Whether a value lies within.
    pub fn allow(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// What happens to a category value that training never saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// A request with it is refused: the set of values is closed, so another one is a mistake.
    #[default]
    Refused,
    /// It counts as missing: new values are to be expected (a new site, a rare job title).
    Missing,
}

/// Whether a feature may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Absent and null are accepted.
    #[default]
    Allowed,
    /// A row without it is refused.
    Refused,
}

/// The columns that play another part than being decided by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The person a decision is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// What is predicted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// What separates several labels in one cell of the target.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub separator: Option<String>,
    /// When the row was true.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<String>,
    /// Rows of one group stay on one side of a split.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// How much a row counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weight: Option<String>,
    /// Attributes by which fairness is measured; they may be features too.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub protected: Vec<String>,
    /// Identifiers that are carried along into predictions and never learned from.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ids: Vec<String>,
}

impl Columns {
    /// The named columns that are carried beside the features, in a fixed order, each once.
    pub fn carried(&self) -> Vec<&str> {
        let single = [
            &self.subject,
            &self.target,
            &self.time,
            &self.group,
            &self.weight,
        ];
        let mut names: Vec<&str> = Vec::new();
        let all = single
            .into_iter()
            .flatten()
            .chain(&self.ids)
            .chain(&self.protected);
        for name in all {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

/// Why a set of features is no schema.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SchemaError {
    #[error("a schema needs at least one feature")]
    Empty,
    #[error("{count} features are more than the {FEATURES_MAX} a schema may have")]
    TooManyFeatures { count: usize },
    #[error("feature {0:?} is named twice")]
    Duplicate(String),
    #[error("feature {feature:?} and feature {other:?} share or nest in the path {path}")]
    PathClash {
        feature: String,
        other: String,
        path: String,
    },
    #[error("feature {feature:?} has {count} values, more than the {VALUES_MAX} allowed")]
    TooManyValues { feature: String, count: usize },
    #[error("feature {feature:?} lists the value {value:?} twice")]
    DuplicateValue { feature: String, value: String },
    #[error(
        "feature {feature:?}: the lower bound is above the upper bound, or one is not a number"
    )]
    Bounds { feature: String },
    #[error("feature {feature:?}: a sequence has between 1 and {STEPS_MAX} steps")]
    Steps { feature: String },
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Schema {
    /// Checks features and columns against each other.
    pub fn new(features: Vec<Feature>, columns: Columns) -> Result<Self, SchemaError> {
        if features.is_empty() {
            return Err(SchemaError::Empty);
        }
        if features.len() > FEATURES_MAX {
            return Err(SchemaError::TooManyFeatures {
                count: features.len(),
            });
        }
        features.iter().try_for_each(Feature::check)?;
        let mut by_name = HashMap::with_capacity(features.len());
        for (index, feature) in features.iter().enumerate() {
            if by_name.insert(feature.name.clone(), index).is_some() {
                return Err(SchemaError::Duplicate(feature.name.clone()));
            }
        }
        refuse_nested_paths(&features)?;
        Ok(Schema {
            features,
            by_name,
            columns,
        })
    }

    /// The features, in the model's order.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The place of a feature by name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Feature {
    /// A top-level feature that may be missing.
    pub fn new(name: &str, kind: Kind) -> Self {
        Feature {
            name: name.to_owned(),
            path: FieldPath::top(name),
            kind,
            missing: Missing::Allowed,
        }
    }

    fn check(&self) -> Result<(), SchemaError> {
        let feature = || self.name.clone();
        match &self.kind {
            Kind::Number { bounds } => self.check_bounds(bounds),
            Kind::Ordinal { levels: values } | Kind::Category { values, .. } => {
                if values.len() > VALUES_MAX {
                    return Err(SchemaError::TooManyValues {
                        feature: feature(),
                        count: values.len(),
                    });
                }
                let mut sorted: Vec<&String> = values.iter().collect();
                sorted.sort_unstable();
                match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => Err(SchemaError::DuplicateValue {
                        feature: feature(),
                        value: pair[0].clone(),
                    }),
                    None => Ok(()),
                }
            }
            Kind::Text => Ok(()),
            Kind::Sequence { steps, bounds } => {
                if !(1..=STEPS_MAX).contains(steps) {
                    return Err(SchemaError::Steps { feature: feature() });
                }
                self.check_bounds(bounds)
            }
        }
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), SchemaError> {
        let in_order = match (bounds.min, bounds.max) {
            (Some(min), Some(max)) => min <= max,
            (Some(one), None) | (None, Some(one)) => !one.is_nan(),
            (None, None) => true,
        };
        if in_order {
            Ok(())
        } else {
            Err(SchemaError::Bounds {
                feature: self.name.clone(),
            })
        }
    }
}

impl Kind {
    /// A number without limits.
    pub fn number() -> Self {
        Kind::Number {
            bounds: Bounds::default(),
        }
    }

    /// The word used in recipes, tables and errors.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Number { .. } => "number",
            Kind::Ordinal { .. } => "ordinal",
            Kind::Category { .. } => "category",
            Kind::Text => "text",
            Kind::Sequence { .. } => "sequence",
        }
    }

    /// What is allowed, as a phrase for a refusal.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Number { bounds } => allowed_number("a number", bounds),
            Kind::Ordinal { levels } => allowed_values(levels),
            Kind::Category { values, .. } => allowed_values(values),
            Kind::Text => format!("a text of at most {TEXT_BYTES_MAX} bytes"),
            Kind::Sequence { steps, bounds } => {
                allowed_number(&format!("{steps} numbers (null where missing)"), bounds)
            }
        }
    }

    /// The named values of a category or ordinal, in code order.
    pub fn values(&self) -> &[String] {
        match self {
            Kind::Ordinal { levels: values } | Kind::Category { values, .. } => values,
            Kind::Number { .. } | Kind::Text | Kind::Sequence { .. } => &[],
        }
    }
}

fn allowed_number(what: &str, bounds: &Bounds) -> String {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
        (Some(min), None) => format!("{what} of at least {min}"),
        (None, Some(max)) => format!("{what} of at most {max}"),
        (None, None) => what.to_owned(),
    }
}

fn allowed_values(values: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let shown = values.iter().take(SHOWN_MAX).map(|v| format!("{v:?}"));
    let mut text = format!("one of {}", shown.collect::<Vec<_>>().join(", "));
    if values.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", values.len() - SHOWN_MAX));
    }
    text
}

/// Two features may share a folder of a request but not a field, and none may be another's folder.
fn refuse_nested_paths(features: &[Feature]) -> Result<(), SchemaError> {
    let mut sorted: Vec<&Feature> = features.iter().collect();
    sorted.sort_by(|a, b| a.path.steps().cmp(b.path.steps()));
    for pair in sorted.windows(2) {
        if pair[1].path.steps().starts_with(pair[0].path.steps()) {
            return Err(SchemaError::PathClash {
                feature: pair[1].name.clone(),
                other: pair[0].name.clone(),
                path: pair[0].path.to_string(),
            });
        }
    }
    Ok(())
}

/// The fault of a feature that had to be there.
pub(crate) fn absent(feature: &Feature) -> Fault {
    Fault::new(feature.path.to_string(), "nothing", feature.kind.allowed())
}

/// A schema as it is stored.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaFile {
    features: Vec<FeatureFile>,
    #[serde(default)]
    columns: Columns,
}

#[derive(Clone, Serialize, Deserialize)]
struct FeatureFile {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    path: Option<String>,
    #[serde(flatten)]
    kind: Kind,
    #[serde(default)]
    missing: Missing,
}

impl TryFrom<SchemaFile> for Schema {
    type Error = SchemaError;
    fn try_from(file: SchemaFile) -> Result<Self, SchemaError> {
        let features = file.features.into_iter().map(|f| {
            let path = match &f.path {
                Some(path) => FieldPath::parse(path)?,
                None => FieldPath::top(&f.name),
            };
            Ok(Feature {
                path,
                name: f.name,
                kind: f.kind,
                missing: f.missing,
            })
        });
        Schema::new(features.collect::<Result<_, SchemaError>>()?, file.columns)
    }
}

impl From<Schema> for SchemaFile {
    fn from(schema: Schema) -> Self {
        let feature_file = |f: Feature| FeatureFile {
            path: (f.path != FieldPath::top(&f.name)).then(|| f.path.to_string()),
            name: f.name,
            kind: f.kind,
            missing: f.missing,
        };
        SchemaFile {
            features: schema.features.into_iter().map(feature_file).collect(),
            columns: schema.columns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(name: &str, path: &str) -> Feature {
        Feature {
            path: FieldPath::parse(path).unwrap(),
            ..Feature::new(name, Kind::number())
        }
    }

    #[test]
    fn a_stored_schema_reads_back_the_same() {
        let schema = Schema::new(
            vec![
                nested("q1", "survey_responses.q1"),
                Feature::new(
                    "sex",
                    Kind::Category {
                        values: vec!["f".into(), "m".into()],
                        unseen: Unseen::Missing,
                    },
                ),
                Feature {
                    missing: Missing::Refused,
                    ..Feature::new(
                        "hr",
                        Kind::Sequence {
                            steps: 7,
                            bounds: Bounds {
                                min: Some(0.0),
                                max: None,
                            },
                        },
                    )
                },
            ],
            Columns {
                subject: Some("id".into()),
                protected: vec!["sex".into()],
                ..Columns::default()
            },
        )
        .unwrap();
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), schema);
    }

    #[test]
    fn a_field_cannot_hold_another_feature() {
        let clash = Schema::new(
            vec![nested("a", "x"), nested("b", "x.y")],
            Columns::default(),
        );
        assert!(matches!(clash, Err(SchemaError::PathClash { .. })));
    }

    #[test]
    fn names_and_values_are_unique() {
        let twice = vec![
            Feature::new("a", Kind::Text),
            Feature::new("a", Kind::number()),
        ];
        assert_eq!(
            Schema::new(twice, Columns::default()),
            Err(SchemaError::Duplicate("a".into()))
        );
        let values = Kind::Ordinal {
            levels: vec!["low".into(), "low".into()],
        };
        let schema = Schema::new(vec![Feature::new("a", values)], Columns::default());
        assert!(matches!(schema, Err(SchemaError::DuplicateValue { .. })));
    }

    #[test]
    fn every_named_column_is_carried_once() {
        let columns = Columns {
            subject: Some("member".into()),
            ids: vec!["claim".into(), "member".into()],
            protected: vec!["gender".into()],
            ..Columns::default()
        };
        assert_eq!(columns.carried(), ["member", "claim", "gender"]);
    }
}
