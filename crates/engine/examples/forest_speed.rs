//! How fast a forest answers, next to hessboost on the same rows and the same trees.
//!
//! `cargo run --release --example forest_speed [FOLDER]` trains 5 classes × 300 rounds × depth 6 on 28
//! features and prints rows a second and ratios, one thread, rounds interleaved. With a folder, the model
//! (UBJSON) and the rows (little-endian `f32`) are left there, for timing XGBoost on the same.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use hessboost::objective::Multiclass;
use hessboost::prelude::{DMatrix, Iterations, ModelFormat, Objective, TrainingParams, train};
use ombud_engine::forest::{CompiledForest, Forest};

const FEATURES: usize = 28;
const CLASSES: usize = 5;
const ROUNDS: usize = 300;
const TRAINING_ROWS: usize = 20_000;
const ROWS: usize = 8_192;
const SINGLE_ROWS: usize = 256;
const EXPLAINED_ROWS: usize = 256;
const EXPLAINED_ALONE: usize = 16;
const REPEATS: usize = 7;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for rounds in [ROUNDS, 20] {
        pool.install(|| compare(rounds))?;
    }
    Ok(())
}

fn compare(rounds: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (x, y) = survey(TRAINING_ROWS);
    let training = DMatrix::from_dense(&x, TRAINING_ROWS, FEATURES)?.with_labels(&y)?;
    let parameters = TrainingParams::builder()
        .objective(Objective::Softprob(Multiclass::new(CLASSES)?))
        .max_depth(6)
        .eta(0.1)
        .build()?;
    let model = train(&parameters, &training, rounds)?;
    let bytes = model.encode(ModelFormat::XgboostUbjson)?;
    let forest = Forest::from_xgboost(&bytes)?.forest;
    let compiled = forest.compile();
    let explainer = forest.explainer();
    println!("{} trees, depth {}", forest.trees(), forest.depth());

    let singles = &x[..ROWS * FEATURES];
    let rows: Vec<f64> = singles.iter().map(|&value| f64::from(value)).collect();
    let matrix = DMatrix::from_dense(singles, ROWS, FEATURES)?;
    if let (Some(folder), ROUNDS) = (std::env::args().nth(1), rounds) {
        leave(Path::new(&folder), &bytes, singles)?;
    }
    let mut ours = vec![0.0; ROWS * CLASSES];
    let theirs = model.predict_margin(&matrix, Iterations::Best)?.into_vec();
    compiled.margins(&rows, &mut ours);
    let is_equal = ours
        .iter()
        .zip(&theirs)
        .all(|(&ours, &theirs)| ours as f32 == theirs);
    println!("margins equal hessboost's to the bit: {is_equal}");

    let batch = time(ROWS, || compiled.margins(black_box(&rows), &mut ours));
    let mut one = [0.0; CLASSES];
    let single = time(SINGLE_ROWS, || one_by_one(&compiled, &rows, &mut one));
    let mut parts = vec![0.0; EXPLAINED_ROWS * explainer.width()];
    let some = &rows[..EXPLAINED_ROWS * FEATURES];
    let explained = time(EXPLAINED_ROWS, || {
        explainer.contributions(black_box(some), &mut parts);
    });
    let explained_alone = time(EXPLAINED_ALONE, || {
        let alone = some.chunks_exact(FEATURES).take(EXPLAINED_ALONE);
        alone.for_each(|row| explainer.contributions(row, &mut parts[..explainer.width()]));
    });
    let hess_batch = time(ROWS, || {
        black_box(model.predict_margin(&matrix, Iterations::Best).is_ok());
    });
    let mut margins = [0.0f32; CLASSES];
    let hess_single = time(SINGLE_ROWS, || {
        for row in singles.chunks_exact(FEATURES).take(SINGLE_ROWS) {
            black_box(
                model
                    .predict_margin_row_into(row, Iterations::Best, &mut margins)
                    .is_ok(),
            );
        }
    });
    println!(
        "batch      {batch:>9.0} rows/s  {:>5.2} times hessboost",
        batch / hess_batch
    );
    println!(
        "single row {single:>9.0} rows/s  {:>5.2} times hessboost",
        single / hess_single
    );
    println!("            {:>8.2} µs a row", 1e6 / single);
    println!("explained  {explained:>9.0} rows/s, one by one {explained_alone:.0}");
    Ok(())
}

fn one_by_one(compiled: &CompiledForest, rows: &[f64], out: &mut [f64]) {
    for row in rows.chunks_exact(FEATURES).take(SINGLE_ROWS) {
        compiled.margins_row(black_box(row), out);
    }
}

/// The best rate of a few repeats, in rows a second.
fn time(rows: usize, mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    rows as f64 / best
}

/// Answers on a few scales, counts and numbers, a class that depends on some of them, and noise.
fn survey(rows: usize) -> (Vec<f32>, Vec<f32>) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1u32 << 24) as f32
    };
    let (mut x, mut y) = (
        Vec::with_capacity(rows * FEATURES),
        Vec::with_capacity(rows),
    );
    for _ in 0..rows {
        let row: Vec<f32> = (0..FEATURES)
            .map(|feature| match feature % 3 {
                0 => (next() * 10.0).floor(),
                1 => next() * 2.0 - 1.0,
                _ => next() + next() + next(),
            })
            .collect();
        let score = row[0] / 3.0 + row[1] * row[2] + (row[4] * 3.0).sin() + row[5] + next() * 2.0;
        y.push((score - 1.5).clamp(0.0, (CLASSES - 1) as f32).floor());
        x.extend(row);
    }
    (x, y)
}

fn leave(folder: &Path, model: &[u8], rows: &[f32]) -> Result<(), Box<dyn Error + Send + Sync>> {
    std::fs::write(folder.join("forest.ubj"), model)?;
    let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(folder.join("rows.f32"), bytes)?;
    Ok(())
}
