//! A model that asks other models first: which bundles are its stages, and what it takes from their answers.
//!
//! A stage is named for people by name and version, and pinned for machines by digest: the ensemble's own digest, and its
//! signature, thereby cover every stage. The schema of an ensemble is what a request holds. Its engine decides by another
//! one ([`Ensemble::schema_of_engine`]): the same features without those that only stages are given, and then what the
//! stages answered.

use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::name::ModelName;
use crate::nearest::nearest;
use crate::schema::{Bounds, Feature, Kind, Schema, SchemaError, Unseen};
use crate::task::{Outputs, Task};
use crate::version::{Label, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Most stages of one model; each is a model that answers every row.
pub const STAGES_MAX: usize = 16;
/// How deep stages may have stages of their own.
pub const DEPTH_MAX: usize = 4;

/// What a manifest says of its stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ensemble {
    /// The stages, in the order in which their features stand.
    pub stages: Vec<Stage>,
    /// Features of the schema that only stages are given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_on: Vec<String>,
}

/// Another bundle whose answers are features of this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The model.
    pub name: ModelName,
    /// Its version where this bundle was made; another registry may count differently, the digest does not.
    pub version: Version,
    /// The label people read.
    pub label: Label,
    /// The bundle's identity.
    pub digest: Digest,
    /// What the stage is given: by its own name of the feature, the name here.
    pub inputs: BTreeMap<String, String>,
    /// What is taken from its answer.
    pub features: Vec<StageFeature>,
}

/// A feature made of a stage's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageFeature {
    /// Its name here.
    pub name: String,
    /// What of the answer it is.
    pub output: StageOutput,
    /// Its type here. The values of a category are the stage's names, in their order.
    pub kind: Kind,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StageOutput {
    /// The class that was chosen.
    Label,
    /// The segment.
    Segment,
    /// The number.
    Number,
    /// How sure the stage is of its prediction.
    Confidence,
    /// The probability of one class, label or segment.
    Probability(String),
}

/// A text that names no part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{came:?} is no output of a stage: write one of {OUTPUT_WORDS}")]
pub struct OutputError {
    /// What was given.
    pub came: String,
    /// The nearest right word.
    pub nearest: Option<String>,
}

/// An output that a stage does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage} ({task}) has no output {output:?}, only {allowed}")]
pub struct NoSuchOutput {
    pub stage: ModelName,
    pub task: Task,
    pub output: String,
    pub allowed: String,
    /// The nearest right output.
    pub nearest: Option<String>,
}

const OUTPUT_WORDS: &str =
    "\"label\", \"segment\", \"number\", \"confidence\", \"probability:NAME\"";
const PROBABILITY: &str = "probability:";
const WORDS: [(&str, StageOutput); 4] = [
    ("label", StageOutput::Label),
    ("segment", StageOutput::Segment),
    ("number", StageOutput::Number),
    ("confidence", StageOutput::Confidence),
];

impl Ensemble {
    /// What the engine decides by, when requests hold `asked`.
    pub fn schema_of_engine(&self, asked: &Schema) -> Result<Schema, SchemaError> {
        let own = asked.features().iter().cloned();
        let own = own.filter(|feature| !self.is_passed_on(&feature.name));
        // A stage's feature stands in no request, so it has no path of its own.
        let made = self.stages.iter().flat_map(|stage| &stage.features);
        let made = made.map(|feature| Feature::new(&feature.name, feature.kind.clone()));
        Schema::new(own.chain(made).collect(), asked.columns.clone())
    }

    /// Whether a feature of the schema is for stages only.
    pub fn is_passed_on(&self, feature: &str) -> bool {
        self.passed_on.iter().any(|name| name == feature)
    }

    /// The names of all features that stages make.
    pub fn made(&self) -> impl Iterator<Item = &str> {
        let features = self.stages.iter().flat_map(|stage| &stage.features);
        features.map(|feature| feature.name.as_str())
    }
}

impl Stage {
    /// The name and version, for people.
    pub fn words(&self) -> String {
        format!("{} version {}", self.name, self.version)
    }
}

impl StageOutput {
    /// The type of the feature that this output of a model becomes.
    pub fn kind(&self, stage: &Manifest) -> Result<Kind, NoSuchOutput> {
        let unit = || Kind::Number {
            bounds: Bounds {
                min: Some(0.0),
                max: Some(1.0),
            },
        };
        let names = stage.outputs.names();
        let is_there = match (self, &stage.outputs) {
            (StageOutput::Label, Outputs::Classes { .. })
            | (StageOutput::Segment, Outputs::Segments { .. })
            | (StageOutput::Number, Outputs::Number { .. }) => true,
            (StageOutput::Confidence, outputs) => !matches!(outputs, Outputs::Number { .. }),
            (StageOutput::Probability(name), _) => names.contains(name),
            (StageOutput::Label | StageOutput::Segment | StageOutput::Number, _) => false,
        };
        if !is_there {
            return Err(self.absent(stage));
        }
        Ok(match self {
            StageOutput::Label if stage.task == Task::Ordered => Kind::Ordinal {
                levels: names.to_vec(),
            },
            StageOutput::Label | StageOutput::Segment => Kind::Category {
                values: names.to_vec(),
                unseen: Unseen::Refused,
            },
            StageOutput::Number => Kind::number(),
            StageOutput::Confidence | StageOutput::Probability(_) => unit(),
        })
    }

    fn absent(&self, stage: &Manifest) -> NoSuchOutput {
        let allowed = StageOutput::all(stage);
        let wanted = self.to_string();
        // The kind of output is right more often than not, so a name is compared with names.
        let near = match self {
            StageOutput::Probability(name) => {
                let names = stage.outputs.names().iter().map(String::as_str);
                nearest(name, names).map(|name| format!("{PROBABILITY}{name}"))
            }
            _ => nearest(&wanted, allowed.iter().map(String::as_str)).map(str::to_owned),
        };
        NoSuchOutput {
            stage: stage.name.clone(),
            task: stage.task,
            output: wanted,
            allowed: allowed.join(", "),
            nearest: near,
        }
    }

    /// Every output of a model, as it is written.
    pub fn all(stage: &Manifest) -> Vec<String> {
        const LISTED_MAX: usize = 12;
        let words: &[&str] = match &stage.outputs {
            Outputs::Classes { .. } => &["label", "confidence"],
            Outputs::Segments { .. } => &["segment", "confidence"],
            Outputs::Labels { .. } => &["confidence"],
            Outputs::Number { .. } => &["number"],
        };
        let names = stage.outputs.names().iter().take(LISTED_MAX);
        let probabilities = names.map(|name| format!("{PROBABILITY}{name}"));
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain(probabilities).collect()
    }
}

impl fmt::Display for StageOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let StageOutput::Probability(name) = self {
            return write!(f, "{PROBABILITY}{name}");
        }
        let word = WORDS.iter().find(|(_, output)| output == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl FromStr for StageOutput {
    type Err = OutputError;
    fn from_str(text: &str) -> Result<Self, OutputError> {
        if let Some(name) = text.strip_prefix(PROBABILITY) {
            return Ok(StageOutput::Probability(name.to_owned()));
        }
        let word = WORDS.iter().find(|(word, _)| *word == text);
        word.map(|(_, output)| output.clone())
            .ok_or_else(|| OutputError {
                came: text.chars().take(80).collect(),
                nearest: nearest(text, WORDS.iter().map(|(word, _)| *word)).map(str::to_owned),
            })
    }
}

impl TryFrom<String> for StageOutput {
    type Error = OutputError;
    fn try_from(text: String) -> Result<Self, OutputError> {
        text.parse()
    }
}

impl From<StageOutput> for String {
    fn from(output: StageOutput) -> String {
        output.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Columns;

    #[test]
    fn outputs_are_written_one_way() {
        for text in [
            "label",
            "segment",
            "number",
            "confidence",
            "probability:a b",
        ] {
            let output: StageOutput = text.parse().unwrap();
            assert_eq!(output.to_string(), text);
            let json = serde_json::to_string(&output).unwrap();
            assert_eq!(serde_json::from_str::<StageOutput>(&json).unwrap(), output);
        }
        let wrong = "lable".parse::<StageOutput>().unwrap_err();
        assert_eq!(wrong.nearest.as_deref(), Some("label"));
    }

    #[test]
    fn an_engine_decides_by_its_own_features_and_then_by_what_stages_made() {
        let names = |schema: &Schema| {
            let names = schema.features().iter().map(|f| f.name.clone());
            names.collect::<Vec<_>>()
        };
        let features = [("age", Kind::number()), ("note", Kind::Text)];
        let features = features.map(|(name, kind)| Feature::new(name, kind));
        let asked = Schema::new(features.into(), Columns::default()).unwrap();
        let mut ensemble = Ensemble {
            stages: vec![Stage {
                name: ModelName::new("text").unwrap(),
                version: Version::FIRST,
                label: Label::of(Version::FIRST),
                digest: Digest::new([7; 32]),
                inputs: BTreeMap::from([("text".into(), "note".into())]),
                features: vec![StageFeature {
                    name: "risk".into(),
                    output: StageOutput::Probability("high".into()),
                    kind: Kind::number(),
                }],
            }],
            passed_on: vec!["note".into()],
        };
        let inner = ensemble.schema_of_engine(&asked).unwrap();
        assert_eq!(names(&inner), ["age", "risk"]);
        let json = serde_json::to_string(&ensemble).unwrap();
        assert_eq!(serde_json::from_str::<Ensemble>(&json).unwrap(), ensemble);
        ensemble.stages[0].features[0].name = "age".into();
        assert!(ensemble.schema_of_engine(&asked).is_err(), "a name twice");
    }
}
