//! Quality on real data: each recipe of `benches/recipes/quality/` beside its scikit-learn reference.
//!
//! `benches/peers/quality.py` owns the data sets, the split and the references; a recipe belongs to the
//! task of its file name. Both sides learn from the same train.csv and are scored on the same test.csv.
//! Our 95 % interval decides: *better* when all of it beats the reference, *level* when the reference
//! lies inside, *below* when all of it falls short, which fails the benchmark.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Report, python};
use crate::command;
use crate::house::House;

const RECIPES: &str = "benches/recipes/quality";
const SCRIPT: &str = "benches/peers/quality.py";
/// The data sets lie beside the repository: they are not ours to ship.
const DATA: &str = "../shared/data";

/// A reference's score in one metric.
struct Reference {
    metric: String,
    higher_is_better: bool,
    value: f64,
    by: String,
}

/// Our score in the same metric, with its interval when there is one.
struct Score {
    value: f64,
    interval: Option<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Better,
    Level,
    Below,
}

pub fn run(house: &House) -> Result<Report> {
    let data = house.root.join(DATA);
    if !data.is_dir() {
        bail!("the data sets are missing: {DATA} must lie beside the repository");
    }
    let recipes = recipes(house)?;
    let folder = house.target.join("bench/quality");
    make_references(house, &recipes, &data, &folder)?;
    let ombud = house.ombud()?;
    let mut report = empty_report();
    for recipe in &recipes {
        let task = recipe
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        println!("── {task}");
        match compare(house, &ombud, recipe, &folder.join(&task)) {
            Ok(lines) => lines
                .into_iter()
                .for_each(|line| add(&mut report, &task, line)),
            Err(error) => {
                println!("error: {error:#}");
                report
                    .rows
                    .push(vec![task, "none: training failed".to_owned()]);
                report.failed = true;
            }
        }
    }
    Ok(report)
}

fn recipes(house: &House) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(house.root.join(RECIPES))
        .with_context(|| format!("there are no recipes in {RECIPES}"))?;
    let mut recipes = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    recipes.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    recipes.sort();
    if recipes.is_empty() {
        bail!("there are no recipes in {RECIPES}");
    }
    Ok(recipes)
}

fn make_references(house: &House, recipes: &[PathBuf], data: &Path, out: &Path) -> Result<()> {
    let requirements = house.root.join("benches/peers/requirements.txt");
    let mut script = Command::new(python::ready(house, "bench-venv", &requirements)?);
    script
        .current_dir(&house.root)
        .arg(SCRIPT)
        .arg(data)
        .arg(out);
    for recipe in recipes {
        script
            .arg("--only")
            .arg(recipe.file_stem().unwrap_or_default());
    }
    command::run(&mut script)
}

fn compare(
    house: &House,
    ombud: &Path,
    recipe: &Path,
    folder: &Path,
) -> Result<Vec<(Reference, Option<Score>)>> {
    let references = references(&json_file(&folder.join("reference.json"))?)?;
    let out = folder.join("models");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let mut train = Command::new(ombud);
    train.current_dir(&house.root).arg("train").arg(recipe);
    train
        .arg("--data")
        .arg(folder.join("train.csv"))
        .arg("--out")
        .arg(&out)
        .arg("--json");
    let trained: Value = serde_json::from_str(&command::capture(&mut train)?)?;
    let bundle = trained["bundle"]
        .as_str()
        .context("train --json names no bundle")?;
    let mut evaluate = Command::new(ombud);
    evaluate
        .current_dir(&house.root)
        .arg("evaluate")
        .arg(bundle);
    evaluate
        .arg("--data")
        .arg(folder.join("test.csv"))
        .arg("--json");
    let report: Value = serde_json::from_str(&command::capture(&mut evaluate)?)?;
    Ok(references
        .into_iter()
        .map(|wanted| pair(wanted, &report))
        .collect())
}

fn pair(reference: Reference, report: &Value) -> (Reference, Option<Score>) {
    let value = report["metrics"][&reference.metric].as_f64();
    let bounds = &report["intervals"][&reference.metric];
    let interval = bounds[0].as_f64().zip(bounds[1].as_f64());
    let score = value.map(|value| Score { value, interval });
    (reference, score)
}

fn references(report: &Value) -> Result<Vec<Reference>> {
    let metrics = report["metrics"]
        .as_array()
        .context("a reference has no metrics")?;
    metrics
        .iter()
        .map(|metric| reference(metric).context("a reference is incomplete"))
        .collect()
}

fn reference(metric: &Value) -> Option<Reference> {
    Some(Reference {
        metric: metric["name"].as_str()?.to_owned(),
        higher_is_better: metric["higher_is_better"].as_bool()?,
        value: metric["reference"].as_f64()?,
        by: metric["by"].as_str()?.to_owned(),
    })
}

fn json_file(path: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("{} is missing", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn verdict(reference: &Reference, score: &Score) -> Verdict {
    let sign = if reference.higher_is_better {
        1.0
    } else {
        -1.0
    };
    let (one, other) = score.interval.unwrap_or((score.value, score.value));
    let (low, high) = (
        (sign * one).min(sign * other),
        (sign * one).max(sign * other),
    );
    let wanted = sign * reference.value;
    if low > wanted {
        return Verdict::Better;
    }
    if high < wanted {
        Verdict::Below
    } else {
        Verdict::Level
    }
}

fn add(report: &mut Report, task: &str, (reference, score): (Reference, Option<Score>)) {
    let wanted = format!("{:.4} ({})", reference.value, reference.by);
    let (ours, word) = match &score {
        None => ("not reported".to_owned(), "-".to_owned()),
        Some(score) => {
            let verdict = verdict(&reference, score);
            report.failed |= verdict == Verdict::Below;
            (spelled(score), format!("{verdict:?}").to_lowercase())
        }
    };
    let arrow = if reference.higher_is_better {
        "↑"
    } else {
        "↓"
    };
    let metric = format!("{} {arrow}", reference.metric);
    report
        .rows
        .push(vec![task.to_owned(), metric, wanted, ours, word]);
}

fn spelled(score: &Score) -> String {
    match score.interval {
        Some((low, high)) => format!("{:.4} [{low:.4}, {high:.4}]", score.value),
        None => format!("{:.4}", score.value),
    }
}

fn empty_report() -> Report {
    Report {
        title: "Quality on real data".to_owned(),
        columns: vec!["task", "metric", "reference", "ombud, 95 % interval", "verdict"],
        notes: vec![
            "A random fifth of each file (seed 20261121, whole groups where rows belong together) is \
             scored by both sides; the rest is for training, with default settings. The reference is the \
             best scikit-learn model by the task's first metric. `cargo xtask bench quality` makes this \
             table from the recipes in benches/recipes/quality."
                .to_owned(),
        ],
        ..Report::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(higher_is_better: bool, wanted: f64, interval: (f64, f64)) -> Verdict {
        let reference = Reference {
            metric: "m".to_owned(),
            higher_is_better,
            value: wanted,
            by: "LR".to_owned(),
        };
        verdict(
            &reference,
            &Score {
                value: 0.0,
                interval: Some(interval),
            },
        )
    }

    #[test]
    fn a_reference_inside_the_interval_is_level() {
        assert_eq!(verdict_of(true, 0.80, (0.78, 0.82)), Verdict::Level);
        assert_eq!(verdict_of(false, 0.80, (0.78, 0.82)), Verdict::Level);
    }

    #[test]
    fn the_direction_of_a_metric_counts() {
        assert_eq!(verdict_of(true, 0.70, (0.78, 0.82)), Verdict::Better);
        assert_eq!(verdict_of(false, 0.70, (0.78, 0.82)), Verdict::Below);
        assert_eq!(verdict_of(true, 0.90, (0.78, 0.82)), Verdict::Below);
        assert_eq!(verdict_of(false, 0.90, (0.78, 0.82)), Verdict::Better);
    }
}
