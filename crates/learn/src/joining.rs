//! The long table of a recipe's `[data.series]`, joined again to rows that come later.
//!
//! Training reads the table its recipe names; whoever asks or measures the model later has other rows and another long
//! table, with the same columns. Key, order and columns come from the recipe that the bundle carries, the number of
//! steps from what the model learned, so that new rows fit it whatever their own table holds.

use crate::prepare::PrepareError;
use crate::recipe::Recipe;
use crate::source::{self, Series, SeriesSpec, SourceSpec};
use ombud_core::Kind;
use ombud_engine::Model;
use std::path::Path;

/// The recipe that a model was trained by, when it joins a series.
pub(crate) fn recipe_of(model: &Model) -> Option<Recipe> {
    let text = model.manifest().lineage.recipe.as_ref()?;
    let recipe = Recipe::parse("the bundle's recipe", text).ok()?;
    recipe.data.series.is_some().then_some(recipe)
}

/// Reads a long table as a model's recipe joins it.
pub fn open(model: &Model, source: &str, base: &Path) -> Result<Series, PrepareError> {
    let recipe = recipe_of(model).ok_or_else(|| PrepareError::NoSeries {
        model: model.manifest().name.to_string(),
    })?;
    let series = recipe.data.series.as_ref();
    let series = series.expect("only recipes with a series come back");
    let spec = SeriesSpec {
        source: source.to_owned(),
        key: series.key.clone(),
        order: series.order.clone(),
        columns: series.columns.clone(),
        steps: steps_of(model, &series.columns),
    };
    let long = source::open(&SourceSpec::parse(source, base)?)?.read_all()?;
    Ok(Series::new(&long.batch, &spec)?)
}

/// The features that a model's recipe joins from a long table.
pub fn columns(model: &Model) -> Vec<String> {
    let series = recipe_of(model).and_then(|recipe| recipe.data.series);
    series.map_or_else(Vec::new, |series| series.columns)
}

/// How many steps the model learned of the first of these columns.
fn steps_of(model: &Model, columns: &[String]) -> Option<usize> {
    let features = model.schema().features().iter();
    let mut learned = features.filter(|feature| columns.contains(&feature.name));
    learned.find_map(|feature| match feature.kind {
        Kind::Sequence { steps, .. } => Some(steps),
        Kind::Number { .. } | Kind::Ordinal { .. } | Kind::Category { .. } | Kind::Text => None,
    })
}
