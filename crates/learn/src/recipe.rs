//! What a person wrote about how a model is to be made, checked into what training needs.
//!
//! A recipe is a TOML file; DESIGN.md shows one. [`Recipe::parse`] turns its text into types that can only be right
//! and lists every mistake with its line and the nearest right name. Whether the columns it names exist is only known
//! with the data at hand, and is judged by [`mod@crate::train`].

mod algorithm;
mod gates;
mod reading;
mod stages;
mod standing;

pub use algorithm::{
    Algorithm, ClusterParameters, ForestParameters, LinearParameters, LossKind, Strategy,
    TextParameters,
};
pub use gates::{ChampionGate, ClassGate, FairnessGate, Gates, MetricGate};
pub use reading::{Mistake, Seconds};
pub use stages::StageSpec;
pub use standing::{Drift, Errors, Latency, Performance, Retrain, Rollout, Watch};

use ombud_core::nearest::nearest;
use ombud_core::{FieldPath, Label, ModelName, Task};
use reading::{Found, Mistakes, Section, as_number, line_of};
use std::collections::BTreeMap;
use std::fmt;
use toml::de::DeTable;

/// Longest recipe accepted, in bytes.
pub const RECIPE_BYTES_MAX: usize = 1 << 20;

/// A checked recipe.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The text it was read from, with overrides applied; kept in the bundle's lineage.
    pub text: String,
    /// The model's name.
    pub name: ModelName,
    /// The label of the version to be made.
    pub label: Option<Label>,
    /// The task, when said; otherwise the data decides.
    pub task: Option<Task>,
    /// One sentence for people.
    pub description: String,
    /// Where the data comes from.
    pub data: Data,
    /// What is known of the features beforehand.
    pub features: Features,
    /// The models that it asks first.
    pub stages: Vec<StageSpec>,
    /// How to train.
    pub train: Train,
    /// What must hold before the model may serve.
    pub gates: Gates,
    /// What to watch once it serves.
    pub watch: Watch,
    /// When to train again.
    pub retrain: Retrain,
}

/// Where the data comes from and which column plays which part.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// `csv:path`, `parquet:path`, `jsonl:path`, …
    pub source: Option<String>,
    /// For `sql:` sources.
    pub query: Option<String>,
    /// A long table joined as sequences.
    pub series: Option<Series>,
    /// What is predicted.
    pub target: Option<String>,
    /// The person a row is about.
    pub subject: Option<String>,
    /// When a row was true.
    pub time: Option<String>,
    /// Rows that belong together.
    pub group: Option<String>,
    /// How much a row counts.
    pub weight: Option<String>,
    /// Columns carried along and never learned from.
    pub ids: Vec<String>,
    /// Attributes by which fairness is measured.
    pub protected: Vec<String>,
    /// How rows are held out.
    pub split: Option<Split>,
    /// The class that fairness and binary metrics call positive.
    pub positive: Option<String>,
    /// Target values in their order, for the ordered task.
    pub levels: Vec<String>,
    /// What separates several labels in the target's cells.
    pub separator: Option<String>,
    /// Target values whose rows are left out.
    pub exclude: Vec<String>,
}

/// A long table of measurements joined to the rows as sequences.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The table.
    pub source: String,
    /// The column that both tables share.
    pub key: String,
    /// The column that orders the steps.
    pub order: String,
    /// The measurements, each becoming one feature.
    pub columns: Vec<String>,
}

/// How rows are held out for measuring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// By which rule.
    pub by: SplitBy,
    /// The share of rows held out.
    pub validation: f64,
}

/// The rule of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitBy {
    /// At random, each class in its share.
    Random,
    /// The latest rows are held out.
    Time,
    /// All rows of a subject on one side.
    Subject,
    /// All rows of a group on one side.
    Group,
}

impl Default for Split {
    fn default() -> Self {
        Split {
            by: SplitBy::Random,
            validation: 0.2,
        }
    }
}

/// What is known of the features beforehand.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Columns that are not used.
    pub drop: Vec<String>,
    /// If not empty, only these columns are used.
    pub only: Vec<String>,
    /// What is said about single columns.
    pub given: BTreeMap<String, FeatureSpec>,
}

/// What a recipe says about one feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureSpec {
    /// Its type.
    pub kind: Option<KindWord>,
    /// The levels of an ordinal, lowest first.
    pub levels: Vec<String>,
    /// The allowed values of a category.
    pub values: Vec<String>,
    /// Inclusive lower bound.
    pub min: Option<f64>,
    /// Inclusive upper bound.
    pub max: Option<f64>,
    /// Whether it may be absent.
    pub missing: Option<bool>,
    /// Where it sits in a request.
    pub path: Option<FieldPath>,
    /// +1: the answer may only rise with it; -1: only fall.
    pub monotone: Option<i8>,
}

/// The word for a feature's type in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindWord {
    /// A quantity.
    Number,
    /// Levels with an order.
    Ordinal,
    /// Values without an order.
    Category,
    /// Free text.
    Text,
    /// Numbers in order.
    Sequence,
}

const KIND_WORDS: [(&str, KindWord); 5] = [
    ("number", KindWord::Number),
    ("ordinal", KindWord::Ordinal),
    ("category", KindWord::Category),
    ("text", KindWord::Text),
    ("sequence", KindWord::Sequence),
];

/// How to train.
#[derive(Debug, Clone)]
pub struct Train {
    /// The algorithm, when said.
    pub algorithm: Option<Algorithm>,
    /// How probabilities are corrected.
    pub calibrate: Calibrate,
    /// The seed of everything random.
    pub seed: u64,
    /// How classes are weighted.
    pub class_weights: ClassWeights,
    /// Per class, the recall or precision its threshold is tuned for.
    pub thresholds: Vec<(String, Wanted)>,
    /// The share of rows whose interval or set must hold the truth.
    pub coverage: Option<f64>,
    /// Folds of a cross-validation reported beside the held-out rows.
    pub cross_validate: Option<usize>,
    /// Search over parameters.
    pub search: Option<Search>,
    /// Whether the final weights are fitted on all rows after measuring; `None` lets the size of the data decide.
    pub refit: Option<bool>,
    /// Threads used; all by default. The result does not depend on it.
    pub threads: Option<usize>,
}

/// How probabilities are corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calibrate {
    /// The best by cross-validated log loss, which may be none.
    Auto,
    /// As the model gives them.
    None,
    /// A sigmoid.
    Platt,
    /// A monotone step curve.
    Isotonic,
    /// One temperature.
    Temperature,
}

/// How classes are weighted in training.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeights {
    /// Every row counts the same.
    Even,
    /// Every class counts the same.
    Balanced,
    /// As given; classes not named count 1.
    Given(BTreeMap<String, f64>),
}

/// What a class's threshold is tuned for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// At least this recall, at the best precision.
    Recall(f64),
    /// At least this precision, at the best recall.
    Precision(f64),
}

/// A search over parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Most trials.
    pub trials: usize,
    /// Most time.
    pub time: Seconds,
}

/// Why a recipe cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeError {
    /// The file, as the caller names it.
    pub file: String,
    /// Every mistake, in the order of lines.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for mistake in &self.mistakes {
            write!(f, "{separator}{}: {mistake}", self.file)?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for RecipeError {}

impl RecipeError {
    fn one(file: &str, line: usize, what: impl Into<String>, hint: Option<String>) -> Self {
        let mistake = Mistake {
            line,
            key: String::new(),
            what: what.into(),
            hint,
        };
        RecipeError {
            file: file.to_owned(),
            mistakes: vec![mistake],
        }
    }

    /// What to do about the first mistake that has a remedy.
    pub fn hint(&self) -> Option<&str> {
        self.mistakes
            .iter()
            .find_map(|mistake| mistake.hint.as_deref())
    }
}

impl Recipe {
    /// Reads a recipe. `file` is only used in errors.
    pub fn parse(file: &str, text: &str) -> Result<Recipe, RecipeError> {
        Recipe::parse_with(file, text, &[])
    }

    /// Reads a recipe with overrides of the form `train.rounds=100`.
    pub fn parse_with(file: &str, text: &str, overrides: &[String]) -> Result<Recipe, RecipeError> {
        if text.len() > RECIPE_BYTES_MAX {
            return Err(RecipeError::one(
                file,
                0,
                "is longer than a recipe may be",
                None,
            ));
        }
        let text = apply_overrides(file, text, overrides)?;
        let document = DeTable::parse(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_of(&text, &span));
            RecipeError::one(
                file,
                line,
                format!("is not TOML: {}", error.message()),
                None,
            )
        })?;
        let mistakes = Mistakes::default();
        let root = Section::root(&text, &document, mistakes.clone());
        let recipe = read(&root, &text);
        root.finish();
        match recipe {
            Some(recipe) if mistakes.is_empty() => Ok(recipe),
            _ => Err(RecipeError {
                file: file.to_owned(),
                mistakes: mistakes.take(),
            }),
        }
    }
}

fn apply_overrides(file: &str, text: &str, overrides: &[String]) -> Result<String, RecipeError> {
    if overrides.is_empty() {
        return Ok(text.to_owned());
    }
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| {
            let line = error.span().map_or(0, |span| line_of(text, &span));
            RecipeError::one(
                file,
                line,
                format!("is not TOML: {}", error.message()),
                None,
            )
        })?;
    for set in overrides {
        let wrong = |what: &str| {
            let hint = Some("write it like --set train.rounds=100".to_owned());
            RecipeError::one("--set", 0, format!("{set:?} {what}"), hint)
        };
        let (path, value) = set.split_once('=').ok_or_else(|| wrong("has no `=`"))?;
        // A bare word is meant as a text, so that `--set train.algorithm=linear` needs no quotes within quotes.
        let value: toml_edit::Value = value
            .trim()
            .parse()
            .unwrap_or_else(|_| toml_edit::Value::from(value.trim()));
        let (last, parents) = path
            .trim()
            .split('.')
            .collect::<Vec<_>>()
            .split_last()
            .map(|(l, p)| ((*l).to_owned(), p.to_vec()))
            .ok_or_else(|| wrong("has no key"))?;
        let mut table = document.as_table_mut() as &mut dyn toml_edit::TableLike;
        for parent in parents {
            let item = table.entry(parent).or_insert_with(toml_edit::table);
            table = item
                .as_table_like_mut()
                .ok_or_else(|| wrong("goes through a key that is no table"))?;
        }
        table.insert(&last, toml_edit::Item::Value(value));
    }
    Ok(document.to_string())
}

const TASK_WORDS: [(&str, Task); 6] = [
    ("classification", Task::Classification),
    ("multi_label", Task::MultiLabel),
    ("ordered", Task::Ordered),
    ("regression", Task::Regression),
    ("clustering", Task::Clustering),
    ("text", Task::Classification),
];

fn read(root: &Section<'_>, text: &str) -> Option<Recipe> {
    let model = root.section("model");
    if model.is_none() {
        let hint = Some("start with `[model]` and `name = \"…\"`".to_owned());
        root.mistake(0, "model", "is missing", hint);
    }
    let name = model.as_ref().and_then(read_name);
    let label = model.as_ref().and_then(|model| {
        let found = model.get(&["label"])?;
        let label = found.value.as_str().map(Label::new)?;
        label
            .map_err(|error| model.mistake(found.line, "label", error.to_string(), None))
            .ok()
    });
    let task = model.as_ref().and_then(|model| read_task(model));
    let description = model
        .as_ref()
        .and_then(|model| model.text(&["description"]))
        .unwrap_or_default();
    if let Some(model) = model {
        model.finish();
    }
    let data = root.section("data").map(read_data).unwrap_or_default();
    let features = root
        .section("features")
        .map(read_features)
        .unwrap_or_default();
    let stages = stages::read(root);
    let train = read_train(root.section("train"));
    let gates = root.section("gates").map(gates::read).unwrap_or_default();
    let watch = root
        .section("watch")
        .map(standing::read_watch)
        .unwrap_or_default();
    let retrain = root
        .section("retrain")
        .map(standing::read_retrain)
        .unwrap_or_default();
    Some(Recipe {
        text: text.to_owned(),
        name: name?,
        label,
        task,
        description,
        data,
        features,
        stages,
        train,
        gates,
        watch,
        retrain,
    })
}

fn read_name(model: &Section<'_>) -> Option<ModelName> {
    let found = model.get(&["name"]);
    model.require("name", found.map(|_| ()), "name = \"claim_outcome\"");
    let found = found?;
    let Some(text) = found.value.as_str() else {
        return model.wrong_type("name", found, "a text in quotes");
    };
    let hint = || Some("use small letters, digits, `_` and `-`, starting with a letter".to_owned());
    ModelName::new(text)
        .map_err(|error| model.mistake(found.line, "name", error.to_string(), hint()))
        .ok()
}

fn read_task(model: &Section<'_>) -> Option<Task> {
    const COMING: [&str; 3] = ["sequence", "tokens", "generation"];
    let found = model.get(&["task"])?;
    match found.value.as_str() {
        Some(word) if COMING.contains(&word) => {
            let what = format!("is {word:?}, which this version does not train");
            model.mistake(found.line, "task", what, None);
            None
        }
        Some(word) => model.one_of("task", found.line, word, &TASK_WORDS),
        None => model.wrong_type("task", found, "a word in quotes"),
    }
}

fn read_data(section: Section<'_>) -> Data {
    let data = Data {
        source: section.text(&["source"]),
        query: section.text(&["query"]),
        series: section.section("series").and_then(read_series),
        target: section.text(&["target"]),
        subject: section.text(&["subject"]),
        time: section.text(&["time"]),
        group: section.text(&["group"]),
        weight: section.text(&["weight"]),
        ids: section.texts(&["ids"]),
        protected: section.texts(&["protected"]),
        split: read_split(&section),
        positive: section.text(&["positive"]),
        levels: section.texts(&["levels"]),
        separator: section.text(&["separator"]),
        exclude: section.texts(&["exclude"]),
    };
    let needs = |by: SplitBy, column: &Option<String>, name: &str| {
        if data.split.is_some_and(|split| split.by == by) && column.is_none() {
            let hint = Some(format!("name the column: `{name} = \"…\"` in [data]"));
            section.mistake(
                section.line(),
                "split",
                format!("is by {name}, but no {name} column is named"),
                hint,
            );
        }
    };
    needs(SplitBy::Time, &data.time, "time");
    needs(SplitBy::Subject, &data.subject, "subject");
    needs(SplitBy::Group, &data.group, "group");
    section.finish();
    data
}

fn read_series(section: Section<'_>) -> Option<Series> {
    let source = section.text(&["source"]);
    let key = section.text(&["key"]);
    let order = section.text(&["order"]);
    let columns = section.texts(&["columns"]);
    let source = section.require("source", source, "source = \"csv:series.csv\"");
    let key = section.require("key", key, "key = \"record_id\"");
    let order = section.require("order", order, "order = \"step\"");
    section.require(
        "columns",
        (!columns.is_empty()).then_some(()),
        "columns = [\"heart_rate\"]",
    );
    section.finish();
    Some(Series {
        source: source?,
        key: key?,
        order: order?,
        columns,
    })
}

const SPLIT_WORDS: [(&str, SplitBy); 4] = [
    ("random", SplitBy::Random),
    ("time", SplitBy::Time),
    ("subject", SplitBy::Subject),
    ("group", SplitBy::Group),
];

fn read_split(data: &Section<'_>) -> Option<Split> {
    let found = data.get(&["split"])?;
    if let Some(word) = found.value.as_str() {
        let by = data.one_of("split", found.line, word, &SPLIT_WORDS)?;
        return Some(Split {
            by,
            ..Split::default()
        });
    }
    let section = data.as_section("split", found)?;
    let by = section
        .word(&["by"], &SPLIT_WORDS)
        .unwrap_or(SplitBy::Random);
    let validation = section
        .number(&["validation"], 0.01..=0.9)
        .unwrap_or(Split::default().validation);
    section.finish();
    Some(Split { by, validation })
}

fn read_features(section: Section<'_>) -> Features {
    let drop = section.texts(&["drop"]);
    let only = section.texts(&["only"]);
    let mut given = BTreeMap::new();
    for (name, found) in section.rest() {
        if let Some(spec) = read_feature(&section, &name, found) {
            given.insert(name, spec);
        }
    }
    Features { drop, only, given }
}

fn read_feature(parent: &Section<'_>, name: &str, found: Found<'_>) -> Option<FeatureSpec> {
    if let Some(word) = found.value.as_str() {
        let kind = parent.one_of(name, found.line, word, &KIND_WORDS)?;
        return Some(FeatureSpec {
            kind: Some(kind),
            ..FeatureSpec::default()
        });
    }
    let section = parent.as_section(name, found)?;
    let kind = section.word(&["type"], &KIND_WORDS);
    let levels = section.texts(&["levels"]);
    let values = section.texts(&["values"]);
    let any = f64::MIN..=f64::MAX;
    let path = section.get(&["path"]).and_then(|found| {
        let path = found.value.as_str().map(FieldPath::parse)?;
        path.map_err(|error| section.mistake(found.line, "path", error.to_string(), None))
            .ok()
    });
    let monotone = section.word(&["monotone"], &[("up", 1), ("down", -1)]);
    let kind = kind.or({
        if !levels.is_empty() {
            Some(KindWord::Ordinal)
        } else if !values.is_empty() {
            Some(KindWord::Category)
        } else {
            None
        }
    });
    let spec = FeatureSpec {
        kind,
        levels,
        values,
        min: section.number(&["min"], any.clone()),
        max: section.number(&["max"], any),
        missing: section.flag(&["missing"]),
        path,
        monotone,
    };
    section.finish();
    Some(spec)
}

fn read_train(section: Option<Section<'_>>) -> Train {
    let Some(section) = section else {
        return Train::default();
    };
    let default = Train::default();
    let train = Train {
        algorithm: algorithm::read(&section),
        calibrate: section
            .word(
                &["calibrate"],
                &[
                    ("auto", Calibrate::Auto),
                    ("none", Calibrate::None),
                    ("platt", Calibrate::Platt),
                    ("isotonic", Calibrate::Isotonic),
                    ("temperature", Calibrate::Temperature),
                ],
            )
            .unwrap_or(default.calibrate),
        seed: section
            .whole(&["seed"], 0..=u64::MAX / 2)
            .unwrap_or(default.seed),
        class_weights: read_class_weights(&section),
        thresholds: read_thresholds(&section),
        coverage: section.number(&["coverage"], 0.5..=0.999),
        cross_validate: section
            .whole(&["cross_validate"], 2..=20)
            .map(|folds| folds as usize),
        search: section.section("search").and_then(read_search),
        refit: section.flag(&["refit"]),
        threads: section
            .whole(&["threads"], 1..=512)
            .map(|threads| threads as usize),
    };
    section.finish();
    train
}

impl Default for Train {
    fn default() -> Self {
        Train {
            algorithm: None,
            calibrate: Calibrate::Auto,
            seed: 7,
            class_weights: ClassWeights::Even,
            thresholds: Vec::new(),
            coverage: None,
            cross_validate: None,
            search: None,
            refit: None,
            threads: None,
        }
    }
}

fn read_class_weights(section: &Section<'_>) -> ClassWeights {
    let Some(found) = section.get(&["class_weights"]) else {
        return ClassWeights::Even;
    };
    if let Some(word) = found.value.as_str() {
        let words = [("balanced", true), ("even", false)];
        return match section.one_of("class_weights", found.line, word, &words) {
            Some(true) => ClassWeights::Balanced,
            _ => ClassWeights::Even,
        };
    }
    let Some(table) = section.as_section("class_weights", found) else {
        return ClassWeights::Even;
    };
    let mut weights = BTreeMap::new();
    for (class, found) in table.rest() {
        match as_number(found.value) {
            Some(weight) if weight > 0.0 && weight <= 1e6 => {
                weights.insert(class, weight);
            }
            _ => table.mistake(
                found.line,
                &class,
                "is no weight; allowed is a number above 0",
                None,
            ),
        }
    }
    ClassWeights::Given(weights)
}

fn read_thresholds(section: &Section<'_>) -> Vec<(String, Wanted)> {
    let Some(table) = section.section("thresholds") else {
        return Vec::new();
    };
    let mut thresholds = Vec::new();
    for (class, found) in table.rest() {
        let Some(wanted) = table.as_section(&class, found) else {
            continue;
        };
        let recall = wanted.number(&["recall"], 0.01..=1.0);
        let precision = wanted.number(&["precision"], 0.01..=1.0);
        match (recall, precision) {
            (Some(recall), None) => thresholds.push((class, Wanted::Recall(recall))),
            (None, Some(precision)) => thresholds.push((class, Wanted::Precision(precision))),
            _ => {
                let hint = Some(format!("write `{class} = {{ recall = 0.98 }}`"));
                table.mistake(
                    found.line,
                    &class,
                    "needs either `recall` or `precision`",
                    hint,
                );
            }
        }
        wanted.finish();
    }
    thresholds
}

fn read_search(section: Section<'_>) -> Option<Search> {
    let search = Search {
        trials: section.whole(&["trials"], 1..=10_000).unwrap_or(40) as usize,
        time: section.duration(&["time"]).unwrap_or(Seconds(600)),
    };
    section.finish();
    Some(search)
}

/// The hint for a column that a recipe names and the data does not have.
pub fn column_hint<'a>(wrong: &str, columns: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, columns.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let shown: Vec<&str> = columns.into_iter().take(12).collect();
            format!("the data has: {}", shown.join(", "))
        }
    }
}
