//! Forests of XGBoost and LightGBM: kept in their own formats, because only those keep every answer.

use super::{ImportError, Parts, Wanted};
use crate::train;
use ombud_core::schema::{Feature, Kind, Unseen, VALUES_MAX};
use ombud_core::task::Outputs;
use ombud_core::{Schema, Task};
use ombud_engine::bundle::Files;
use ombud_engine::encoding::Block;
use ombud_engine::forest::{FeatureKind, Forest, ImportedForest, Link, Node, Split, Test};
use ombud_engine::model::{ENCODING_FILE, FOREST_FILE, LIGHTGBM_FILE};
use serde_json::json;
use std::collections::BTreeMap;

/// A model of XGBoost.
pub(super) fn xgboost(bytes: &[u8], wanted: &Wanted) -> Result<Parts, ImportError> {
    let imported = Forest::from_xgboost(bytes)?;
    let stored = imported.forest.to_xgboost_ubjson()?;
    let is_one_class = false;
    let mut parts = parts(imported, wanted, FOREST_FILE, stored, is_one_class)?;
    if memchr::memmem::find(bytes, b"best_iteration").is_some() {
        parts.warnings.push(
            "the model was stopped early: all its trees answer here, as in Booster.predict; XGBClassifier and XGBRegressor \
             leave out those after the best round (save booster[: booster.best_iteration + 1] for that)"
                .into(),
        );
    }
    Ok(parts)
}

/// A model of LightGBM.
pub(super) fn lightgbm(bytes: &[u8], wanted: &Wanted) -> Result<Parts, ImportError> {
    let imported = Forest::from_lightgbm(bytes)?;
    // Its `multiclassova` asks about each class alone, and means one of them.
    let is_one_class = true;
    parts(
        imported,
        wanted,
        LIGHTGBM_FILE,
        bytes.to_vec(),
        is_one_class,
    )
}

fn parts(
    imported: ImportedForest,
    wanted: &Wanted,
    file: &str,
    stored: Vec<u8>,
    is_one_class: bool,
) -> Result<Parts, ImportError> {
    let forest = &imported.forest;
    let mut warnings = Vec::new();
    let own = own_features(&imported, file == LIGHTGBM_FILE, &mut warnings);
    let schema = wanted.resolve(own, !imported.feature_names.is_empty())?;
    check_kinds(&imported, &schema)?;
    check_codes(&imported, &schema)?;
    if !wanted.is_silent() {
        warnings.clear();
    }
    let (task, outputs) = answers(forest, wanted, is_one_class)?;
    if outputs.names().first().is_some_and(|name| name == "0") && wanted.names.is_empty() {
        warnings.push(
            "the file does not hold the names of the classes: they are numbered; name them with `[data] levels` in --schema"
                .into(),
        );
    }
    let blocks: Vec<Block> = (0..schema.features().len())
        .map(|feature| Block::Raw { feature })
        .collect();
    let mut files = Files::new();
    train::add(&mut files, file, stored)?;
    train::add_json(&mut files, ENCODING_FILE, &blocks)?;
    let parameters = BTreeMap::from([
        ("algorithm".to_owned(), json!("forest")),
        ("trees".to_owned(), json!(forest.trees())),
        ("depth".to_owned(), json!(forest.depth())),
    ]);
    Ok(Parts {
        task,
        engine: "forest",
        schema,
        outputs,
        files,
        parameters,
        warnings,
    })
}

/// The features as the file has them, in its order.
fn own_features(
    imported: &ImportedForest,
    is_lightgbm: bool,
    warnings: &mut Vec<String>,
) -> Vec<Feature> {
    let codes = highest_codes(&imported.forest);
    (0..imported.forest.features())
        .map(|place| {
            let name = imported.feature_names.get(place);
            let name = name.cloned().unwrap_or_else(|| format!("f{place}"));
            let is_said = match imported.feature_kinds.get(place) {
                Some(FeatureKind::Category { labels }) if !labels.is_empty() => {
                    return Feature::new(&name, category(labels.clone()));
                }
                Some(FeatureKind::Category { .. }) => true,
                // Its values come from the schema, or it is refused.
                Some(FeatureKind::UnreadableCategory { .. }) => {
                    return Feature::new(&name, Kind::number());
                }
                Some(FeatureKind::Number) | None => false,
            };
            let code = codes.get(&(place as u32)).copied();
            if !is_said && code.is_none() {
                return Feature::new(&name, Kind::number());
            }
            let highest = code.unwrap_or(0) as usize;
            // LightGBM sends a code that no split names where it sends a missing one; XGBoost does not, so there the
            // code itself must arrive.
            if is_lightgbm && highest < VALUES_MAX {
                warnings.push(format!(
                    "{name} is a category whose values the file does not hold: give its code, or its values in the order of \
                     their codes with --schema"
                ));
                return Feature::new(&name, category((0..=highest).map(|c| c.to_string()).collect()));
            }
            warnings.push(format!(
                "{name} is a category whose values the file does not hold: give its code as a number, or its values in the \
                 order of their codes with --schema"
            ));
            Feature::new(&name, Kind::number())
        })
        .collect()
}

fn category(values: Vec<String>) -> Kind {
    Kind::Category {
        values,
        unseen: Unseen::Missing,
    }
}

/// For every feature that splits ask as a category, the highest code they name.
fn highest_codes(forest: &Forest) -> BTreeMap<u32, u32> {
    let draft = forest.to_draft();
    let mut codes = BTreeMap::new();
    for node in draft.trees.iter().flat_map(|tree| &tree.nodes) {
        if let Node::Split(Split {
            feature,
            test: Test::Members(set),
            ..
        }) = node
        {
            let highest = draft.sets[*set as usize].codes().max().unwrap_or(0);
            let known = codes.entry(*feature).or_insert(0);
            *known = highest.max(*known);
        }
    }
    codes
}

/// Where the file says what a feature is, a schema may not say otherwise: the same row would get another answer.
fn check_kinds(imported: &ImportedForest, schema: &Schema) -> Result<(), ImportError> {
    let mut column = 0;
    for feature in schema.features() {
        match imported.feature_kinds.get(column) {
            Some(FeatureKind::Category { labels }) if !labels.is_empty() => {
                check_values(feature, labels)?;
            }
            Some(FeatureKind::UnreadableCategory { values }) => {
                check_unreadable(feature, *values)?;
            }
            _ if matches!(feature.kind, Kind::Text) => {
                return Err(ImportError::Schema {
                    what: format!(
                        "says that {:?} is a text, and a forest takes numbers and categories",
                        feature.name
                    ),
                    hint: "say `number`, or `category` with its values in the order of their codes"
                        .into(),
                });
            }
            _ => {}
        }
        column += super::schema::columns(&feature.kind);
    }
    Ok(())
}

fn check_values(feature: &Feature, labels: &[String]) -> Result<(), ImportError> {
    const SHOWN_MAX: usize = 10;
    if feature.kind.values() == labels {
        return Ok(());
    }
    let listed = |values: &[String]| {
        let more = if values.len() > SHOWN_MAX {
            ", …"
        } else {
            ""
        };
        let shown = values
            .iter()
            .take(SHOWN_MAX)
            .map(|value| format!("{value:?}"));
        format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
    };
    let said = match feature.kind.values() {
        [] => format!("is a {}", feature.kind.word()),
        values => format!("has the values {}", listed(values)),
    };
    Err(ImportError::Schema {
        what: format!(
            "says that {:?} {said}, and the file has a category with the values {}",
            feature.name,
            listed(labels)
        ),
        hint: "leave its type and values out: the file has them, in the order of their codes"
            .into(),
    })
}

/// XGBoost stores the names of values in signed bytes and cuts them by characters, so that beyond ASCII none can be told.
fn check_unreadable(feature: &Feature, values: usize) -> Result<(), ImportError> {
    let hint = || {
        format!(
            "list its {values} values in the order of their codes in --schema: {} = {{ type = \"category\", values = [\"…\"] }}; \
             pandas has them as frame[\"{}\"].cat.categories",
            feature.name, feature.name
        )
    };
    match feature.kind.values().len() {
        0 => Err(ImportError::Schema {
            what: format!(
                "is needed: XGBoost stored the values of the category {:?} in a way that lost all beyond ASCII",
                feature.name
            ),
            hint: hint(),
        }),
        said if said == values => Ok(()),
        said => Err(ImportError::Schema {
            what: format!(
                "gives {:?} {said} values, and the file has {values}",
                feature.name
            ),
            hint: hint(),
        }),
    }
}

/// A category that was named must have room for every code that splits ask for.
fn check_codes(imported: &ImportedForest, schema: &Schema) -> Result<(), ImportError> {
    let codes = highest_codes(&imported.forest);
    let mut column = 0;
    for feature in schema.features() {
        let values = feature.kind.values().len();
        if let Some(highest) = codes.get(&(column as u32))
            && values > 0
            && *highest as usize >= values
        {
            let name = &feature.name;
            return Err(ImportError::Schema {
                what: format!(
                    "gives {name:?} {values} values, and the model knows a code {highest}"
                ),
                hint: "list the values in the order of their codes, the first has code 0".into(),
            });
        }
        column += super::schema::columns(&feature.kind);
    }
    Ok(())
}

fn answers(
    forest: &Forest,
    wanted: &Wanted,
    is_one_class: bool,
) -> Result<(Task, Outputs), ImportError> {
    let outputs = forest.outputs();
    let is_yes_or_no = matches!(forest.link(), Link::Logistic { .. } | Link::Step);
    let classes = match forest.link() {
        Link::Softmax => outputs,
        _ if is_yes_or_no && outputs == 1 => 2,
        _ if is_yes_or_no => outputs,
        _ if outputs == 1 => {
            let name = wanted.columns.target.clone();
            let name = name.unwrap_or_else(|| "value".into());
            return Ok((Task::Regression, Outputs::Number { name }));
        }
        _ => {
            return Err(ImportError::Unsupported {
                what: format!("answers {outputs} numbers a row, and a bundle answers one"),
                hint: "train one model per target or quantile".into(),
            });
        }
    };
    let names = super::onnx::named(wanted, classes)?
        .unwrap_or_else(|| (0..classes).map(|class| class.to_string()).collect());
    if is_yes_or_no && outputs > 1 && !is_one_class {
        return Ok((Task::MultiLabel, Outputs::Labels { names }));
    }
    let task = match wanted.task {
        Some(Task::Ordered) => Task::Ordered,
        _ => Task::Classification,
    };
    Ok((task, Outputs::Classes { names }))
}
