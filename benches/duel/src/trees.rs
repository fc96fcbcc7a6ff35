//! Growing a forest of a fixed number of trees, from a table in memory.

use crate::prepared::{codes, count, floats};
use crate::{Measure, serve};
use anyhow::{Context, Result};
use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use ombud_core::schema::Columns;
use ombud_core::{Feature, Frame, Kind, Schema};
use ombud_learn::fit::{Fitted, ForestLearner, Problem, Watching};
use ombud_learn::progress::Silent;
use ombud_learn::recipe::{ClassWeights, ForestParameters};
use ombud_learn::target::Target;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub fn play(folder: &Path, threads: usize) -> Result<()> {
    let rows = floats(folder, "rows.f32")?;
    let classes = codes(folder, "classes.u32")?;
    let (count, rounds) = (count(folder, "classes")?, count(folder, "rounds")?);
    let column = |feature: usize| -> ArrayRef {
        let cells = rows.values.iter().skip(feature).step_by(rows.columns);
        Arc::new(
            cells
                .map(|cell| Some(f64::from(*cell)))
                .collect::<Float64Array>(),
        )
    };
    let names: Vec<String> = (0..rows.columns)
        .map(|feature| format!("f{feature}"))
        .collect();
    let columns = names
        .iter()
        .enumerate()
        .map(|(place, name)| (name, column(place)));
    let batch = RecordBatch::try_from_iter(columns)?;
    let features = names.iter().map(|name| Feature::new(name, Kind::number()));
    let schema = Arc::new(Schema::new(features.collect(), Columns::default())?);
    let (frame, _) = Frame::bind(&schema, &batch)?;
    let target = Target::Classes {
        names: (0..count).map(|class| class.to_string()).collect(),
        codes: classes,
        is_ordered: false,
    };
    let monotone = vec![0; rows.columns];
    let problem = Problem {
        frame: &frame,
        target: &target,
        weights: None,
        class_weights: &ClassWeights::Even,
        monotone: &monotone,
        keys: None,
        seed: 7,
        threads: Some(threads),
    };
    let places: Vec<u32> = (0..rows.rows() as u32).collect();
    let parameters = ForestParameters {
        depth: Some(6),
        learning_rate: Some(0.1),
        subsample: 1.0,
        colsample: 1.0,
        ..ForestParameters::default()
    };
    let last: RefCell<Option<Fitted>> = RefCell::new(None);
    let grow = Measure::new("grow", rounds, || {
        let learner = ForestLearner::new(&problem, &places, &Silent)?;
        let go_on = &mut |_: usize| ControlFlow::Continue(());
        let grown = learner.fit(None, Watching::Nothing, &parameters, rounds, go_on)?;
        let grown_rounds = grown.rounds as f64;
        last.replace(Some(Fitted::from(grown)));
        Ok(grown_rounds)
    });
    let loss = Measure::new("loss", places.len(), || {
        let fitted = last.borrow();
        let fitted = fitted.as_ref().context("grow first")?;
        let mut scores = vec![0.0; frame.rows() * count];
        fitted.engine.score_frame(&frame, &mut scores);
        let rows = scores
            .chunks_exact(count)
            .zip(problem.target.codes().unwrap_or_default());
        let sum: f64 = rows
            .map(|(scores, class)| -scores[*class as usize].max(1e-15).ln())
            .sum();
        Ok(sum / places.len() as f64)
    });
    serve(vec![grow, loss])
}
