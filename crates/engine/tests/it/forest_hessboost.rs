//! What hessboost trains and writes in XGBoost's formats answers here as it does there.

use hessboost::objective::Multiclass;
use hessboost::prelude::{
    BoostedModel, DMatrix, Iterations, ModelFormat, Objective, RegLoss, TrainingParams, train,
};
use ombud_engine::forest::Forest;

const ROWS: usize = 400;
const FEATURES: usize = 24;

/// Numbers with ties and holes, and what depends on them.
fn data() -> (Vec<f32>, Vec<f32>) {
    let value = |i: usize| match (i * 7919 + i / 13) % 97 {
        hole if hole < 6 => f32::NAN,
        other => (other as f32 - 50.0) / 9.0,
    };
    let x: Vec<f32> = (0..ROWS * FEATURES).map(value).collect();
    let known = |x: f32| if x.is_nan() { 0.0 } else { x };
    let score = |row: &[f32]| {
        let rest: f32 = row[3..].iter().map(|&x| known(x)).sum();
        known(row[0]) + known(row[1]) * known(row[2]) / 4.0 + rest / 5.0
    };
    let y = x.chunks_exact(FEATURES).map(score).collect();
    (x, y)
}

fn trained(
    objective: Objective,
    depth: usize,
    label: impl Fn(f32) -> f32,
) -> (BoostedModel, DMatrix) {
    let (x, y) = data();
    let labels: Vec<f32> = y.into_iter().map(label).collect();
    let data = DMatrix::from_dense(&x, ROWS, FEATURES).expect("data");
    let training = data.clone().with_labels(&labels).expect("labels");
    let builder = TrainingParams::builder()
        .objective(objective)
        .max_depth(depth)
        .eta(0.3);
    let parameters = builder.build().expect("parameters");
    (train(&parameters, &training, 15).expect("a model"), data)
}

fn check(objective: Objective, depth: usize, label: impl Fn(f32) -> f32) {
    let (model, matrix) = trained(objective, depth, label);
    let rows: Vec<f64> = data().0.into_iter().map(f64::from).collect();
    let expected = model
        .predict_margin(&matrix, Iterations::Best)
        .expect("margins");
    let explained = model
        .predict_contribs(&matrix, Iterations::Best)
        .expect("contributions");
    for format in [ModelFormat::XgboostJson, ModelFormat::XgboostUbjson] {
        let bytes = model.encode(format).expect("bytes");
        let forest = Forest::from_xgboost(&bytes).expect("readable").forest;
        let mut margins = vec![0.0; ROWS * forest.outputs()];
        forest.compile().margins(&rows, &mut margins);
        let margins: Vec<f32> = margins.into_iter().map(|margin| margin as f32).collect();
        assert_eq!(margins, expected.as_slice());
        let explainer = forest.explainer();
        let mut parts = vec![0.0; ROWS * explainer.width()];
        explainer.contributions(&rows, &mut parts);
        for (ours, &theirs) in parts.iter().zip(explained.as_slice()) {
            assert!(
                (ours - f64::from(theirs)).abs() < 1e-5,
                "{ours} is not {theirs}"
            );
        }
        let written = forest.to_xgboost_ubjson().expect("expressible");
        assert_eq!(
            Forest::from_xgboost(&written).expect("readable").forest,
            forest
        );
    }
}

#[test]
fn a_binary_model() {
    check(Objective::BinaryLogistic(RegLoss::default()), 5, |y| {
        f32::from(u8::from(y > 0.0))
    });
}

#[test]
fn a_regression_with_deep_trees() {
    check(Objective::SquaredError(RegLoss::default()), 14, |y| y);
}

#[test]
fn a_multiclass_model() {
    let classes = Multiclass::new(3).expect("three classes");
    check(Objective::Softprob(classes), 7, |y| {
        (y + 1.5).clamp(0.0, 2.0).floor()
    });
}
