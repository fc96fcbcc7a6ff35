//! Any bytes as a model of XGBoost (JSON or UBJSON): refused, or a forest that every evaluator agrees on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ombud_engine::forest::Forest;

/// A forest may ask for a row of any width; a wide one is sound, and slow to run.
const WIDTH_MAX: usize = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let Ok(imported) = Forest::from_xgboost(bytes) else {
        return;
    };
    let forest = imported.forest;
    if forest.features() > WIDTH_MAX {
        return;
    }
    let row = vec![0.5; forest.features()];
    let mut plain = vec![0.0; forest.outputs()];
    let mut fast = plain.clone();
    forest.margins_row(&row, &mut plain);
    forest.compile().margins_row(&row, &mut fast);
    let is_same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    assert!(plain.iter().zip(&fast).all(is_same));
});
