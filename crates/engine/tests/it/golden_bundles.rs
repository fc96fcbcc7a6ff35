//! Bundles of format 1, made by `ombud 0.1.0` from the shipped examples, keep answering as they did.
//!
//! A bundle in production outlives the program that made it. When a format changes, its files are added beside these
//! under a new number, and these stay.

use ombud_core::ensemble::Stage;
use ombud_core::manifest::FORMAT;
use ombud_engine::bundle::path_name::PathName;
use ombud_engine::bundle::{Trust, archive};
use ombud_engine::{Bundle, Model, ModelError, StageBundles};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Sums of the same numbers in the same order; only a compiler's rounding of `exp` may differ.
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Case {
    input: serde_json::Value,
    name: String,
    confidence: f64,
}

fn folder(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{format}/bundles"))
}

fn cases() -> BTreeMap<String, Vec<Case>> {
    let text = fs::read(folder(1).join("expected.json")).expect("the expected answers");
    serde_json::from_slice(&text).expect("cases")
}

#[test]
fn every_format_has_golden_bundles() {
    for format in 1..=FORMAT {
        assert!(
            folder(format).is_dir(),
            "format {format} has no golden bundles"
        );
    }
}

#[test]
fn golden_bundles_answer_as_they_did() {
    for (name, cases) in cases() {
        let model = Model::open(folder(1).join(format!("{name}.tar.gz"))).expect("a golden bundle");
        for case in cases {
            let row = model.row(case.input.to_string().as_bytes()).expect("a row");
            let answer = model.predict(&row);
            assert_eq!(model.name_of(&answer), case.name, "{name}");
            let confidence = answer.confidence.expect("a confidence");
            assert!(
                (confidence - case.confidence).abs() < TOLERANCE,
                "{name}: {confidence}"
            );
        }
    }
}

#[test]
fn a_row_alone_and_in_a_frame_get_the_same_scores() {
    for (name, cases) in cases() {
        let model = Model::open(folder(1).join(format!("{name}.tar.gz"))).expect("a golden bundle");
        let rows: Vec<_> = cases
            .iter()
            .map(|case| model.row(case.input.to_string().as_bytes()).expect("a row"))
            .collect();
        let scores = model.predict_frame(&ombud_core::Frame::from_rows(model.schema(), &rows));
        for (row, in_frame) in rows.iter().zip(scores.values.chunks_exact(scores.width)) {
            assert_eq!(model.predict(row).probabilities, in_frame, "{name}");
        }
    }
}

/// Gives another bundle than the one that was asked for.
struct Wrong;

impl StageBundles for Wrong {
    fn bundle(&self, _stage: &Stage) -> Result<Option<Bundle>, ModelError> {
        let other = Bundle::open(&folder(1).join("note_need.tar.gz"), &Trust::default());
        Ok(Some(other?))
    }
}

#[test]
fn an_ensemble_takes_no_other_stage_than_the_one_it_was_trained_behind() {
    let open = || Bundle::open(&folder(1).join("callers.tar.gz"), &Trust::default());
    let bundle = open().expect("a golden bundle");
    let ensemble = bundle.manifest().ensemble.clone().expect("an ensemble");
    let digest = ensemble.stages[0].digest.to_string();
    let alone = Model::from_bundle(bundle)
        .expect_err("no stage is at hand")
        .to_string();
    assert!(
        alone.contains("notes version 1") && alone.contains(&digest),
        "{alone}"
    );
    let bundle = open().expect("a golden bundle");
    let wrong = Model::from_bundle_with(bundle, &Wrong).expect_err("another bundle");
    assert!(wrong.to_string().contains("is another bundle"), "{wrong}");
}

#[test]
fn a_stage_tells_its_own_reasons_below_those_of_the_ensemble() {
    let model = Model::open(folder(1).join("callers.tar.gz")).expect("a golden bundle");
    let rows = &cases()["callers"];
    let told = |case: &Case| {
        let row = model.row(case.input.to_string().as_bytes()).expect("a row");
        model.explain(&row, &model.predict(&row))
    };
    let reasons = told(&rows[0]);
    let mut features: Vec<&str> = reasons
        .contributions
        .iter()
        .map(|r| r.feature.as_str())
        .collect();
    features.sort_unstable();
    assert_eq!(
        features,
        ["hours", "need", "talk"],
        "what the engine decides by"
    );
    assert_eq!(reasons.stages.len(), 1);
    let words = &reasons.stages[0].explanation.words;
    assert!(
        words[0].text == "alone" || words[0].text == "worried",
        "{words:?}"
    );
    assert!(told(&rows[2]).stages.is_empty(), "nobody wrote anything");
}

#[test]
fn contributions_and_base_add_up_to_the_explained_margin() {
    let model = Model::open(folder(1).join("claim_outcome.tar.gz")).expect("a golden bundle");
    for case in &cases()["claim_outcome"] {
        let row = model.row(case.input.to_string().as_bytes()).expect("a row");
        let mut scores = vec![0.0; model.engine().width()];
        model.engine().score_row(&row, &mut scores);
        let explained: Vec<f64> = (0..scores.len())
            .map(|output| {
                let reasons = model.engine().explain_row(&row, output);
                reasons.base + reasons.by_feature.iter().sum::<f64>()
            })
            .collect();
        // Softmax leaves differences of margins: log p_i - log p_0.
        for (score, margin) in scores.iter().zip(&explained) {
            let from_scores = (score / scores[0]).ln();
            assert!(
                (from_scores - (margin - explained[0])).abs() < 1e-4,
                "{from_scores} {margin}"
            );
        }
    }
}

#[test]
fn any_changed_byte_of_a_golden_bundle_is_noticed() {
    let packed = fs::read(folder(1).join("wellness_segments.tar.gz")).expect("a golden bundle");
    let files = archive::unpack(packed.as_slice(), &Default::default()).expect("a package");
    let names: Vec<PathName> = files.keys().cloned().collect();
    for name in names {
        let length = files[&name].len();
        for place in [0, length / 2, length - 1] {
            let mut changed = files.clone();
            changed.get_mut(&name).expect("a file")[place] ^= 0x20;
            let opened = Bundle::from_files(changed, &Trust::default());
            // A manifest may stay a manifest when a letter of a description changes; without a signature nobody can
            // tell, so only the files it lists are promised.
            if name.as_str() != "manifest.json" {
                assert!(opened.is_err(), "{} at {place}", name.as_str());
            }
        }
    }
}
