//! `LinearClassifier` and `LinearRegressor`.

use super::algebra::multiply;
use super::attributes::Attributes;
use super::graph::{Call, Kernel, Versions, one};
use super::scores::{SecondClass, Transform, greatest, labels_at, single};
use super::tensor::{Fault, Value};

type Built = Result<Kernel, Fault>;

/// Weights turned so that a column's weights for all targets lie together.
struct Weights {
    values: Vec<f32>,
    intercepts: Vec<f32>,
    columns: usize,
    targets: usize,
}

pub(super) fn classifier(node: Attributes<'_>, _: Versions) -> Built {
    let labels = node.labels("classlabels_strings", "classlabels_ints")?;
    let intercepts = node.weights("intercepts")?;
    // Without intercepts the labels tell how many scores there are.
    let targets = if intercepts.is_empty() {
        labels.len()
    } else {
        intercepts.len()
    };
    let weights = Weights::read(node, targets)?;
    let transform = Transform::read(node)?;
    let is_binary = targets == 1;
    if is_binary && labels.len() > 2 || !is_binary && labels.len() < targets {
        return Err(Fault::new(format!(
            "{targets} scores do not fit {} labels",
            labels.len()
        )));
    }
    let second = if is_binary && labels.len() == 2 {
        SecondClass::Remainder
    } else {
        SecondClass::No
    };
    let is_single = labels.len() == 1 && is_binary;
    if is_single {
        return Err(Fault::new("it tells only one class"));
    }
    Ok(Box::new(move |call| {
        let (rows, mut scores) = weights.apply(call)?;
        let mut places = Vec::with_capacity(rows);
        let width = if second == SecondClass::No {
            targets
        } else {
            2
        };
        let mut out = Vec::with_capacity(rows * width);
        for row in scores.chunks_exact_mut(targets) {
            places.push(if is_binary {
                usize::from(row[0] > 0.0)
            } else {
                greatest(row)
            });
            transform.finish(row, second, &mut out);
        }
        let scores = single(vec![rows, width], &out);
        Ok(vec![
            Value::Tensor(labels_at(&labels, &places)),
            Value::Tensor(scores),
        ])
    }))
}

pub(super) fn regressor(node: Attributes<'_>, _: Versions) -> Built {
    let targets =
        usize::try_from(node.int_or("targets", 1)?).map_err(|_| Fault::new("it has no targets"))?;
    let weights = Weights::read(node, targets)?;
    let transform = Transform::read(node)?;
    Ok(Box::new(move |call| {
        let (rows, mut scores) = weights.apply(call)?;
        let mut out = Vec::with_capacity(scores.len());
        for row in scores.chunks_exact_mut(targets) {
            transform.finish(row, SecondClass::No, &mut out);
        }
        one(single(vec![rows, targets], &out))
    }))
}

impl Weights {
    fn read(node: Attributes<'_>, targets: usize) -> Result<Self, Fault> {
        let (coefficients, intercepts) =
            (node.weights("coefficients")?, node.weights("intercepts")?);
        let is_whole =
            targets > 0 && !coefficients.is_empty() && coefficients.len().is_multiple_of(targets);
        if !is_whole || !(intercepts.is_empty() || intercepts.len() == targets) {
            let (weights, intercepts) = (coefficients.len(), intercepts.len());
            return Err(Fault::new(format!(
                "{weights} weights and {intercepts} intercepts do not fit {targets} targets"
            )));
        }
        let columns = coefficients.len() / targets;
        let turned = (0..columns)
            .flat_map(|column| (0..targets).map(move |target| target * columns + column));
        let mut intercepts = intercepts.to_vec();
        intercepts.resize(targets, 0.0);
        Ok(Weights {
            values: turned.map(|at| coefficients[at]).collect(),
            intercepts,
            columns,
            targets,
        })
    }

    /// The scores of every row, before any transform.
    fn apply(&self, call: &Call<'_>) -> Result<(usize, Vec<f64>), Fault> {
        let x = call.tensor(0)?;
        let (rows, columns) = x.rows_and_columns()?;
        if columns != self.columns {
            return Err(Fault::new(format!(
                "it is given {columns} columns where it takes {}",
                self.columns
            )));
        }
        let elements = rows.saturating_mul(self.targets + 1);
        call.budget.claim(elements)?;
        call.budget.work(elements.saturating_mul(columns))?;
        let mut scores: Vec<f64> = (0..rows)
            .flat_map(|_| self.intercepts.iter().map(|&x| f64::from(x)))
            .collect();
        multiply(
            &x.as_f32()?,
            &self.values,
            columns,
            self.targets,
            &mut scores,
        );
        Ok((rows, scores))
    }
}
