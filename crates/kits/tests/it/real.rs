//! The kit's pipelines on real survey items and real texts, so that it is not only good on its own generator.
//!
//! The data sets lie beside the repository and are not ours to ship; a test that does not find its set says so loudly and
//! measures nothing. Reference scores are scikit-learn's defaults, from the note that comes with the data. Nothing that
//! a person wrote is printed.

use arrow_array::RecordBatch;
use ombud_core::Frame;
use ombud_core::frame::{numbers, texts};
use ombud_engine::Model;
use ombud_kits::hseg::generate::{Generator, Options};
use ombud_kits::hseg::lexicon::Lexicon;
use ombud_kits::hseg::recipes;
use ombud_kits::table::{Cell, Column, TableWriter};
use ombud_learn::progress::Silent;
use ombud_learn::recipe::Recipe;
use ombud_learn::source::{self, SourceSpec};
use ombud_learn::train::{TrainOptions, Trained, train};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file of a real data set, if the sets lie beside the repository.
fn real(set: &str, file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(set)
        .join(file);
    if !path.is_file() {
        eprintln!(
            "!! REAL DATA ABSENT: ../shared/data/{set}/{file} is not there, so NOTHING WAS MEASURED by this test"
        );
        return None;
    }
    Some(path)
}

fn recipe(name: &str) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("recipes/hseg/real")
        .join(name);
    Recipe::parse(name, &std::fs::read_to_string(path).unwrap()).unwrap()
}

fn trained(recipe: &Recipe, data: &Path, out: &Path) -> Trained {
    let data = data.display().to_string();
    let options = TrainOptions {
        recipe_folder: Path::new("."),
        data: Some(&data),
        out,
        key: None,
    };
    train(recipe, &options, &Silent).unwrap()
}

/// A metric of the held-out rows, told to whoever reads the test's output.
fn metric(trained: &Trained, name: &str) -> f64 {
    let metric = trained.evaluation.metrics[name];
    eprintln!(
        "{}: {name} {:.4} [{:.4}, {:.4}] on {} held-out rows",
        trained.bundle.manifest().name,
        metric.value,
        metric.lower.unwrap_or(f64::NAN),
        metric.upper.unwrap_or(f64::NAN),
        trained.evaluation.rows
    );
    metric.value
}

fn read(path: &Path) -> RecordBatch {
    let spec = SourceSpec::parse(&path.display().to_string(), Path::new(".")).unwrap();
    source::open(&spec).unwrap().read_all().unwrap().batch
}

/// Chances of one class for every row of a table.
fn chances(model: &Model, batch: &RecordBatch, class: &str) -> Vec<f64> {
    let (frame, _) = Frame::bind(model.schema(), batch).unwrap();
    let scores = model.predict_frame(&frame);
    let place = model
        .manifest()
        .outputs
        .names()
        .iter()
        .position(|it| it == class)
        .unwrap();
    scores
        .values
        .chunks_exact(scores.width)
        .map(|row| row[place])
        .collect()
}

/// The chance that a positive row scores above a negative one; ties count half.
fn roc_auc(scores: &[f64], is_positive: &[bool]) -> f64 {
    let mut wins = 0.0;
    let mut pairs = 0.0;
    for (a, _) in scores
        .iter()
        .zip(is_positive)
        .filter(|(_, positive)| **positive)
    {
        for (b, _) in scores
            .iter()
            .zip(is_positive)
            .filter(|(_, positive)| !**positive)
        {
            wins += if a > b {
                1.0
            } else if a == b {
                0.5
            } else {
                0.0
            };
            pairs += 1.0;
        }
    }
    wins / pairs
}

#[test]
fn strain_of_workers_is_told_from_survey_items() {
    let Some(data) = real("workaholism_workers", "train.csv") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // scikit-learn: 0.8834 by logistic regression, 0.8744 by boosting.
    let anxiety = trained(&recipe("anxiety.toml"), &data, folder.path());
    assert!(metric(&anxiety, "roc_auc") > 0.86);
    // scikit-learn: 0.8761 and 0.8602.
    let depression = trained(&recipe("depression.toml"), &data, folder.path());
    assert!(metric(&depression, "roc_auc") > 0.83);
}

#[test]
fn strain_of_unseen_members_adds_up_to_that_of_their_organizations() {
    let Some(data) = real("workaholism_workers", "train.csv") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&data).unwrap();
    let mut lines = text.lines();
    let head = lines.next().unwrap();
    let (mut learned, mut held) = (vec![head], vec![head]);
    // Rows are in no order, so every fifth is as good as a random fifth.
    lines.enumerate().for_each(|(at, line)| {
        if at % 5 == 0 {
            held.push(line);
        } else {
            learned.push(line);
        }
    });
    let (learned_path, held_path) = (
        folder.path().join("learned.csv"),
        folder.path().join("held.csv"),
    );
    std::fs::write(&learned_path, learned.join("\n")).unwrap();
    std::fs::write(&held_path, held.join("\n")).unwrap();
    let model = trained(&recipe("anxiety.toml"), &learned_path, folder.path()).model;
    let batch = read(&held_path);
    let chances = chances(&model, &batch, "1");
    let organizations = texts(batch.column_by_name("org").unwrap());
    let (truth, _) = numbers(batch.column_by_name("label_anxiety").unwrap());
    let mut sums: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    for (row, chance) in chances.iter().enumerate() {
        let of = sums.entry(organizations.value(row)).or_default();
        *of = (of.0 + chance, of.1 + truth.value(row), of.2 + 1.0);
    }
    let pairs: Vec<(f64, f64)> = sums
        .values()
        .filter(|it| it.2 >= 30.0)
        .map(|it| (it.0 / it.2, it.1 / it.2))
        .collect();
    let correlation = correlation(&pairs);
    let error = pairs.iter().map(|(a, b)| (a - b).abs()).sum::<f64>() / pairs.len() as f64;
    eprintln!(
        "organizations: {} of 30 and more unseen members, correlation {correlation:.3}, mean absolute error {error:.4}",
        pairs.len()
    );
    // scikit-learn, on another random fifth: 21 organizations, correlation 0.688, error 0.0267.
    assert!(pairs.len() >= 15 && correlation > 0.3 && error < 0.05);
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let count = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (a, b) = (mean(|it| it.0), mean(|it| it.1));
    let product: f64 = pairs.iter().map(|it| (it.0 - a) * (it.1 - b)).sum();
    let spread = |at: f64, of: fn(&(f64, f64)) -> f64| {
        pairs
            .iter()
            .map(|it| (of(it) - at).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    product / (spread(a, |it| it.0) * spread(b, |it| it.1))
}

#[test]
fn seeking_help_is_told_from_perceptions_of_the_workplace() {
    let Some(data) = real("osmi_tech_survey", "train.csv") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // scikit-learn: 0.8110 by logistic regression, 0.7791 by boosting.
    let help = trained(&recipe("sought-help.toml"), &data, folder.path());
    assert!(metric(&help, "roc_auc") > 0.76);
}

#[test]
fn emotions_are_told_from_texts_that_nobody_here_wrote() {
    let Some(data) = real("goemotions", "train.csv") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // scikit-learn, balanced one-vs-rest: macro-F1 0.5751, micro-F1 0.6318.
    let emotions = trained(&recipe("emotions.toml"), &data, folder.path());
    assert!(metric(&emotions, "macro_f1") > 0.53);
    assert!(metric(&emotions, "micro_f1") > 0.58);
}

#[test]
fn danger_in_real_posts_is_ranked_by_nets_that_never_saw_any() {
    let Some(data) = real("cssrs_reddit", "train.jsonl") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = text_model(folder.path());
    let crisis = model
        .manifest()
        .outputs
        .names()
        .iter()
        .position(|it| it == "crisis")
        .unwrap();
    let (mut by_model, mut by_lexicon, mut is_at_risk) = (Vec::new(), Vec::new(), Vec::new());
    for line in std::fs::read_to_string(&data).unwrap().lines() {
        let user: serde_json::Value = serde_json::from_str(line).unwrap();
        let posts = user["posts"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|it| it.as_str());
        let read = posts.map(|post| {
            let row = model
                .parser()
                .parse_value(&serde_json::json!({ "text": post }))
                .unwrap();
            let found = Lexicon::shipped().read(post);
            (
                model.predict(&row).probabilities[crisis],
                found.indicators.len() as f64 + found.intensity,
            )
        });
        let (chances, findings): (Vec<f64>, Vec<f64>) = read.unzip();
        by_model.push(chances.into_iter().fold(0.0, f64::max));
        by_lexicon.push(findings.into_iter().fold(0.0, f64::max));
        is_at_risk.push(user["risk_level"].as_i64().unwrap() >= 2);
    }
    let (model, lexicon) = (
        roc_auc(&by_model, &is_at_risk),
        roc_auc(&by_lexicon, &is_at_risk),
    );
    eprintln!(
        "{} writers: area under the curve {model:.3} by the text model, {lexicon:.3} by the lexicon, neither trained on them",
        is_at_risk.len()
    );
    // scikit-learn, trained on this very set: 0.7459.
    assert!(model > 0.52 && lexicon > 0.55);
}

/// The kit's text model, from generated texts only.
fn text_model(folder: &Path) -> Model {
    let path = folder.join("texts.parquet");
    let columns = ["response_id", "text", "text_risk"].map(Column::text);
    let mut table = TableWriter::create(&path, columns.to_vec()).unwrap();
    let generator = Generator::new(Options {
        records: 15_000,
        ..Options::default()
    });
    for generated in generator.batch(0..15_000) {
        let record = generated.record;
        if let (Some(text), Some(label)) = (record.text(), record.label) {
            let row = [record.response_id, text, label.risk.class().to_owned()];
            table.write(row.map(Cell::Text).to_vec()).unwrap();
        }
    }
    table.finish().unwrap();
    trained(&recipes::TEXT.recipe(&[]).unwrap(), &path, folder).model
}
