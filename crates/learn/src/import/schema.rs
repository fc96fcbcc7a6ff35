//! What a person knows of a model beyond its file: types, values, names of classes, which column plays which part.
//!
//! Two ways of writing it: TOML in a recipe's words (`[data]`, `[features]`), or the JSON that a manifest has under
//! `schema`. Both become a [`Wanted`]; how it fits a file's own features is [`Wanted::resolve`].

use super::ImportError;
use crate::recipe::{FeatureSpec, KindWord, Recipe, RecipeError};
use ombud_core::field_path::FieldPath;
use ombud_core::nearest::nearest;
use ombud_core::schema::{Bounds, Columns, Feature, Kind, Missing, Unseen};
use ombud_core::{Schema, Task};
use serde_json::Value;

/// Longest schema file accepted, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 << 20;

/// A recipe needs a name; a schema file has none.
const ANY_NAME: &str = "model.name=imported";

/// What was said beyond the file; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Features in the order they were written.
    features: Vec<Said>,
    /// Which column plays which part.
    pub columns: Columns,
    /// The names of classes, labels or segments, in the model's order.
    pub names: Vec<String>,
    /// What it is asked to do.
    pub task: Option<Task>,
    /// One sentence for people.
    pub description: String,
}

/// What was said about one feature.
#[derive(Debug, Clone)]
enum Said {
    Whole(Feature),
    InPart(String, FeatureSpec),
}

/// Why a schema file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    #[error(transparent)]
    Toml(#[from] RecipeError),
    #[error("{file}: {reason}")]
    Json { file: String, reason: String },
}

impl Wanted {
    /// Reads a schema file: JSON when it begins with a brace, else TOML.
    ///
    /// # Errors
    /// With every mistake and its line.
    pub fn parse(file: &str, text: &str) -> Result<Wanted, WantedError> {
        if text.trim_start().starts_with('{') {
            return from_json(text).map_err(|reason| WantedError::Json {
                file: file.to_owned(),
                reason,
            });
        }
        Ok(from_toml(file, text)?)
    }

    /// Whether nothing is said about features.
    pub(super) fn is_silent(&self) -> bool {
        self.features.is_empty()
    }

    /// The schema: the file's own features, changed by what was said. With `is_named` they are matched by name, and those
    /// not spoken of stay; without, what was said must be all of them, in the model's order.
    ///
    /// Gives the features in the order in which the model takes them.
    pub(super) fn resolve(&self, own: Vec<Feature>, is_named: bool) -> Result<Schema, ImportError> {
        let features = if self.is_silent() {
            own
        } else if is_named {
            self.by_name(own)?
        } else {
            self.by_place(own)?
        };
        let is_feature = |target: &&String| features.iter().any(|feature| &feature.name == *target);
        if let Some(target) = self.columns.target.as_ref().filter(is_feature) {
            return Err(ImportError::Schema {
                what: format!(
                    "says that {target:?} is the target, and the model takes it as a feature"
                ),
                hint: "name the column that holds the truth, or leave the target out".into(),
            });
        }
        Schema::new(features, self.columns.clone()).map_err(|error| ImportError::Schema {
            what: format!("cannot be made: {error}"),
            hint: "name and type the features with --schema FILE".into(),
        })
    }

    fn by_name(&self, mut own: Vec<Feature>) -> Result<Vec<Feature>, ImportError> {
        for said in &self.features {
            let Some(place) = own.iter().position(|feature| feature.name == said.name()) else {
                let names = own.iter().map(|feature| feature.name.as_str());
                let near = nearest(said.name(), names);
                return Err(ImportError::Schema {
                    what: format!("names {:?}, which the model does not have", said.name()),
                    hint: near.map_or_else(
                        || "the model's own names are needed; leave --schema out to see them with `ombud inspect`".to_owned(),
                        |near| format!("is it `{near}`?"),
                    ),
                });
            };
            let feature = said.applied_to(&own[place])?;
            if columns(&feature.kind) != columns(&own[place].kind) {
                return Err(ImportError::Schema {
                    what: format!(
                        "says that {:?} is a sequence, and the file has one number of that name",
                        feature.name
                    ),
                    hint: "a feature that the file names is what the file says".into(),
                });
            }
            own[place] = feature;
        }
        Ok(own)
    }

    fn by_place(&self, own: Vec<Feature>) -> Result<Vec<Feature>, ImportError> {
        let blank = Feature::new("", Kind::number());
        let features: Vec<Feature> = self
            .features
            .iter()
            .enumerate()
            .map(|(place, said)| said.applied_to(own.get(place).unwrap_or(&blank)))
            .collect::<Result<_, _>>()?;
        let columns: usize = features.iter().map(|feature| columns(&feature.kind)).sum();
        if !own.is_empty() && columns != own.len() {
            let count = own.len();
            return Err(ImportError::Schema {
                what: format!("has {columns} columns, the model takes {count}"),
                hint:
                    "the file does not name its features, so list all of them in the model's order"
                        .into(),
            });
        }
        Ok(features)
    }
}

/// Columns that a feature becomes.
pub(super) fn columns(kind: &Kind) -> usize {
    match kind {
        Kind::Sequence { steps, .. } => *steps,
        _ => 1,
    }
}

impl Said {
    fn name(&self) -> &str {
        match self {
            Said::Whole(feature) => &feature.name,
            Said::InPart(name, _) => name,
        }
    }

    /// The feature as it was said, and as the file has it where nothing was said.
    fn applied_to(&self, own: &Feature) -> Result<Feature, ImportError> {
        let (name, spec) = match self {
            Said::Whole(feature) => return Ok(feature.clone()),
            Said::InPart(name, spec) => (name, spec),
        };
        let missing = match spec.missing {
            Some(true) => Missing::Allowed,
            Some(false) => Missing::Refused,
            None => own.missing,
        };
        Ok(Feature {
            name: name.clone(),
            path: spec.path.clone().unwrap_or_else(|| FieldPath::top(name)),
            kind: kind(name, spec, &own.kind)?,
            missing,
        })
    }
}

fn kind(name: &str, spec: &FeatureSpec, own: &Kind) -> Result<Kind, ImportError> {
    let needs = |key: &str, example: &str| ImportError::Schema {
        what: format!("says {name:?} is {key} without saying which"),
        hint: format!("write it like {name} = {example}"),
    };
    let bounds = Bounds {
        min: spec.min,
        max: spec.max,
    };
    match spec.kind {
        None => Ok(own.clone()),
        Some(KindWord::Number) => Ok(Kind::Number { bounds }),
        Some(KindWord::Text) => Ok(Kind::Text),
        Some(KindWord::Ordinal) if spec.levels.is_empty() => Err(needs(
            "ordinal",
            "{ type = \"ordinal\", levels = [\"low\", \"high\"] }",
        )),
        Some(KindWord::Ordinal) => Ok(Kind::Ordinal {
            levels: spec.levels.clone(),
        }),
        Some(KindWord::Category) if !spec.values.is_empty() => Ok(Kind::Category {
            values: spec.values.clone(),
            unseen: Unseen::Missing,
        }),
        Some(KindWord::Category) if !own.values().is_empty() => Ok(own.clone()),
        Some(KindWord::Category) => Err(needs(
            "a category",
            "{ type = \"category\", values = [\"first code\", \"second code\"] }",
        )),
        Some(KindWord::Sequence) => Err(ImportError::Schema {
            what: format!("says {name:?} is a sequence, and TOML has no word for its steps"),
            hint: "write the schema as JSON: {\"features\": [{\"name\": \"hr\", \"type\": \"sequence\", \"steps\": 24}]}".into(),
        }),
    }
}

fn from_toml(file: &str, text: &str) -> Result<Wanted, RecipeError> {
    let recipe = Recipe::parse_with(file, text, &[ANY_NAME.to_owned()])?;
    // The recipe keeps features by name; here their order counts.
    let written: Vec<String> = text
        .parse::<toml_edit::DocumentMut>()
        .ok()
        .and_then(|document| {
            let features = document.get("features")?.as_table_like()?;
            Some(features.iter().map(|(name, _)| name.to_owned()).collect())
        })
        .unwrap_or_default();
    let said = |name: String| {
        let spec = recipe.features.given.get(&name)?.clone();
        Some(Said::InPart(name, spec))
    };
    Ok(Wanted {
        features: written.into_iter().filter_map(said).collect(),
        columns: Columns {
            subject: recipe.data.subject,
            target: recipe.data.target,
            separator: recipe.data.separator,
            time: recipe.data.time,
            group: recipe.data.group,
            weight: recipe.data.weight,
            protected: recipe.data.protected,
            ids: recipe.data.ids,
        },
        names: recipe.data.levels,
        task: recipe.task,
        description: recipe.description,
    })
}

/// A manifest's `schema`, or a whole manifest; with `levels` and `task` beside the features when they are known.
fn from_json(text: &str) -> Result<Wanted, String> {
    let told = |error: serde_json::Error| error.to_string();
    let mut value: Value = serde_json::from_str(text).map_err(told)?;
    let mut wanted = Wanted::default();
    let fields = value
        .as_object_mut()
        .ok_or("it is no object with \"features\"")?;
    if let Some(levels) = fields.remove("levels") {
        wanted.names = serde_json::from_value(levels).map_err(told)?;
    }
    if let Some(task) = fields.remove("task") {
        wanted.task = Some(serde_json::from_value(task).map_err(told)?);
    }
    let schema = fields.remove("schema").unwrap_or(value);
    let schema: Schema = serde_json::from_value(schema).map_err(told)?;
    wanted.columns = schema.columns.clone();
    wanted.features = schema.features().iter().cloned().map(Said::Whole).collect();
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<Feature> {
        let values = vec!["a".to_owned(), "b".to_owned()];
        let category = Kind::Category {
            values,
            unseen: Unseen::Missing,
        };
        vec![
            Feature::new("age", Kind::number()),
            Feature::new("site", category),
        ]
    }

    fn resolved(text: &str, is_named: bool) -> Result<Schema, String> {
        let wanted = Wanted::parse("s", text).map_err(|error| error.to_string())?;
        wanted
            .resolve(own(), is_named)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_spoken_of_stays() {
        let schema = resolved(
            "[data]\ntarget = \"left\"\n[features]\nage = { type = \"number\", min = 18 }\n",
            true,
        )
        .unwrap();
        assert_eq!(schema.columns.target.as_deref(), Some("left"));
        assert_eq!(
            schema.features()[0].kind.allowed(),
            "a number of at least 18"
        );
        assert_eq!(schema.features()[1].kind.values(), ["a", "b"]);
    }

    #[test]
    fn features_without_names_are_taken_in_the_order_they_are_written() {
        let schema = resolved("[features]\nzeal = \"number\"\nage = \"number\"\n", false).unwrap();
        assert_eq!(schema.features()[0].name, "zeal");
        let short = resolved("[features]\nzeal = \"number\"\n", false).unwrap_err();
        assert_eq!(short, "the schema has 1 columns, the model takes 2");
    }

    #[test]
    fn a_name_that_the_model_does_not_have_is_refused() {
        let error = resolved("[features]\nagee = \"number\"\n", true).unwrap_err();
        assert_eq!(
            error,
            "the schema names \"agee\", which the model does not have"
        );
    }

    #[test]
    fn a_target_that_is_a_feature_is_refused() {
        let error = resolved("[data]\ntarget = \"age\"\n", true).unwrap_err();
        assert_eq!(
            error,
            "the schema says that \"age\" is the target, and the model takes it as a feature"
        );
    }

    #[test]
    fn a_schema_is_also_read_as_a_manifest_has_it() {
        let text = r#"{"features": [{"name": "age", "type": "number"}, {"name": "site", "type": "category", "values": ["x"]}],
            "columns": {"target": "left"}, "levels": ["no", "yes"], "task": "ordered"}"#;
        let wanted = Wanted::parse("s", text).unwrap();
        assert_eq!(wanted.names, ["no", "yes"]);
        assert_eq!(wanted.task, Some(Task::Ordered));
        assert_eq!(
            resolved(text, true).unwrap().features()[1].kind.values(),
            ["x"]
        );
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let error = Wanted::parse("s.toml", "[features]\nage = \"numbr\"\n").unwrap_err();
        assert!(error.to_string().starts_with("s.toml: "), "{error}");
        assert!(Wanted::parse("s", "{\"features\": 3}").is_err());
    }
}
