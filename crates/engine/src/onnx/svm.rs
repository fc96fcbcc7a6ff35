//! `SVMClassifier` and `SVMRegressor`: kernels against support vectors, votes and coupled probabilities.

use super::attributes::Attributes;
use super::graph::{Call, Kernel, Versions, one};
use super::scores::{SecondClass, Transform, greatest, labels_at, single};
use super::tensor::{Fault, Tensor, Value};

type Built = Result<Kernel, Fault>;

/// Rounds of the coupling of pairwise probabilities (Wu, Lin and Weng 2004), as libsvm has it.
const COUPLING_ROUNDS: usize = 100;
/// Pairs of classes are compared all with all.
const CLASSES_MAX: usize = 4096;

/// How alike a row and a support vector are.
#[derive(Debug, Clone, Copy)]
enum Likeness {
    Linear,
    Polynomial {
        gamma: f32,
        offset: f32,
        degree: f32,
    },
    Radial {
        gamma: f32,
    },
    Sigmoid {
        gamma: f32,
        offset: f32,
    },
}

/// Vectors with their kernel.
struct Vectors {
    values: Vec<f32>,
    columns: usize,
    count: usize,
    likeness: Likeness,
}

pub(super) fn regressor(node: Attributes<'_>, _: Versions) -> Built {
    let supports = usize::try_from(node.int_or("n_supports", 0)?)
        .map_err(|_| Fault::new("n_supports is negative"))?;
    let coefficients = node.weights("coefficients")?.to_vec();
    let rho = *node
        .weights("rho")?
        .first()
        .ok_or_else(|| Fault::new("it has no rho"))?;
    let is_one_class = node.flag("one_class", false)?;
    let transform = Transform::read(node)?;
    let vectors = match supports {
        0 => Vectors::new(&coefficients, 1, Likeness::Linear)?,
        _ => Vectors::new(
            node.weights("support_vectors")?,
            supports,
            Likeness::read(node)?,
        )?,
    };
    let weights = if supports == 0 {
        vec![1.0]
    } else {
        coefficients
    };
    if weights.len() != vectors.count || transform != Transform::None {
        return Err(Fault::new(
            "its weights do not fit its vectors, or it transforms",
        ));
    }
    Ok(Box::new(move |call| {
        let (rows, likenesses) = vectors.apply(call)?;
        let out = likenesses.chunks_exact(vectors.count).map(|row| {
            let sum: f64 = row
                .iter()
                .zip(&weights)
                .map(|(x, &weight)| x * f64::from(weight))
                .sum();
            let value = (sum + f64::from(rho)) as f32;
            match is_one_class {
                true => {
                    if value > 0.0 {
                        1.0
                    } else {
                        -1.0
                    }
                }
                false => value,
            }
        });
        one(Tensor::of::<f32>(vec![rows, 1], out.collect()))
    }))
}

pub(super) fn classifier(node: Attributes<'_>, _: Versions) -> Built {
    let labels = node.labels("classlabels_strings", "classlabels_ints")?;
    if !(2..=CLASSES_MAX).contains(&labels.len()) {
        return Err(Fault::new(format!("it has {} classes", labels.len())));
    }
    match node.ints("vectors_per_class")? {
        [] => linear_classifier(node, labels),
        sizes => vector_classifier(node, labels, sizes),
    }
}

/// Without vectors the coefficients are one weight vector a class.
fn linear_classifier(node: Attributes<'_>, labels: Tensor) -> Built {
    let classes = labels.len();
    let coefficients = node.weights("coefficients")?;
    let vectors = Vectors::new(coefficients, classes, Likeness::Linear)?;
    let rho = *node
        .weights("rho")?
        .first()
        .ok_or_else(|| Fault::new("it has no rho"))?;
    let all_positive = coefficients.iter().all(|&weight| weight >= 0.0);
    let transform = Transform::read(node)?;
    Ok(Box::new(move |call| {
        let (rows, mut scores) = vectors.apply(call)?;
        scores.iter_mut().for_each(|score| *score += f64::from(rho));
        let mut places = Vec::with_capacity(rows);
        let mut out = Vec::with_capacity(scores.len());
        for row in scores.chunks_exact_mut(classes) {
            let best = greatest(row);
            let is_second = classes == 2
                && if all_positive {
                    row[best] >= 0.5
                } else {
                    row[best] > 0.0
                };
            places.push(if is_second { 1 } else { best });
            transform.finish(row, SecondClass::No, &mut out);
        }
        let scores = single(vec![rows, classes], &out);
        Ok(vec![
            Value::Tensor(labels_at(&labels, &places)),
            Value::Tensor(scores),
        ])
    }))
}

fn vector_classifier(node: Attributes<'_>, labels: Tensor, sizes: &[i64]) -> Built {
    let machine = Machine::read(node, labels.len(), sizes)?;
    let transform = Transform::read(node)?;
    let second = match (machine.platt.is_empty() && labels.len() == 2, transform) {
        (false, _) => SecondClass::No,
        (true, Transform::None) => SecondClass::Opposite,
        (true, _) => SecondClass::Remainder,
    };
    let width = match machine.platt.is_empty() {
        true if labels.len() > 2 => machine.pairs(),
        _ => labels.len(),
    };
    Ok(Box::new(move |call| {
        let (rows, likenesses) = machine.vectors.apply(call)?;
        call.budget
            .claim(rows.saturating_mul(machine.pairs() + width))?;
        call.budget
            .work(rows.saturating_mul(machine.steps_per_row()))?;
        let mut places = Vec::with_capacity(rows);
        let mut out = Vec::with_capacity(rows * width);
        for row in likenesses.chunks_exact(machine.vectors.count) {
            let (mut scores, best) = machine.decide(row);
            if !machine.platt.is_empty() {
                scores = machine.probabilities(&scores);
            }
            places.push(best);
            transform.finish(&mut scores, second, &mut out);
        }
        let scores = single(vec![rows, width], &out);
        Ok(vec![
            Value::Tensor(labels_at(&labels, &places)),
            Value::Tensor(scores),
        ])
    }))
}

/// One against one: a decision for every pair of classes.
struct Machine {
    vectors: Vectors,
    /// Where each class's vectors begin, and the end of the last.
    starts: Vec<usize>,
    coefficients: Vec<f32>,
    rho: Vec<f32>,
    /// Slope and offset of every pair's probability, or none.
    platt: Vec<(f32, f32)>,
}

impl Machine {
    fn read(node: Attributes<'_>, classes: usize, sizes: &[i64]) -> Result<Self, Fault> {
        let misfit = || Fault::new("its vectors, coefficients and classes do not fit");
        let mut starts = vec![0_usize];
        for &size in sizes {
            let size = usize::try_from(size).map_err(|_| misfit())?;
            let end = starts
                .last()
                .and_then(|start| start.checked_add(size))
                .ok_or_else(misfit)?;
            starts.push(end);
        }
        let count = starts.last().copied().unwrap_or(0);
        let vectors = Vectors::new(
            node.weights("support_vectors")?,
            count,
            Likeness::read(node)?,
        )?;
        let (slopes, offsets) = (node.weights("prob_a")?, node.weights("prob_b")?);
        let machine = Machine {
            vectors,
            starts,
            coefficients: node.weights("coefficients")?.to_vec(),
            rho: node.weights("rho")?.to_vec(),
            platt: slopes
                .iter()
                .copied()
                .zip(offsets.iter().copied())
                .collect(),
        };
        let fits = machine.starts.len() == classes + 1
            && machine.coefficients.len() == (classes - 1).saturating_mul(count)
            && machine.rho.len() == machine.pairs()
            && slopes.len() == offsets.len()
            && (machine.platt.is_empty() || machine.platt.len() == machine.pairs());
        if fits { Ok(machine) } else { Err(misfit()) }
    }

    fn classes(&self) -> usize {
        self.starts.len() - 1
    }

    fn pairs(&self) -> usize {
        self.classes() * (self.classes() - 1) / 2
    }

    fn steps_per_row(&self) -> usize {
        let coupling = if self.platt.is_empty() {
            0
        } else {
            COUPLING_ROUNDS
        };
        self.classes() * self.vectors.count + 2 * coupling * self.classes() * self.classes()
    }

    /// The decision of every pair, and the class with the most votes.
    fn decide(&self, likenesses: &[f64]) -> (Vec<f64>, usize) {
        let mut decisions = Vec::with_capacity(self.pairs());
        let mut votes = vec![0.0; self.classes()];
        for first in 0..self.classes() {
            for second in first + 1..self.classes() {
                // A class's coefficients against the others lie in rows that skip the class itself.
                let sum =
                    self.part(likenesses, first, second - 1) + self.part(likenesses, second, first);
                let decision = sum + f64::from(self.rho[decisions.len()]);
                votes[if decision > 0.0 { first } else { second }] += 1.0;
                decisions.push(decision);
            }
        }
        (decisions, greatest(&votes))
    }

    fn part(&self, likenesses: &[f64], class: usize, row: usize) -> f64 {
        let vectors = self.starts[class]..self.starts[class + 1];
        let coefficients = &self.coefficients[row * self.vectors.count..][vectors.clone()];
        coefficients
            .iter()
            .zip(&likenesses[vectors])
            .map(|(&weight, x)| f64::from(weight) * x)
            .sum()
    }

    fn probabilities(&self, decisions: &[f64]) -> Vec<f64> {
        let classes = self.classes();
        let mut pairwise = vec![0.0; classes * classes];
        let mut pair = 0;
        for first in 0..classes {
            for second in first + 1..classes {
                let (slope, offset) = self.platt[pair];
                let raw = crate::calibration::sigmoid(
                    -(decisions[pair] * f64::from(slope) + f64::from(offset)),
                );
                let held = raw.clamp(1e-7, 1.0 - 1e-7);
                pairwise[first * classes + second] = held;
                pairwise[second * classes + first] = 1.0 - held;
                pair += 1;
            }
        }
        coupled(&pairwise, classes)
    }
}

/// Probabilities of classes from those of pairs.
fn coupled(pairwise: &[f64], classes: usize) -> Vec<f64> {
    let mut q = vec![0.0; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|&j| j != i) {
            q[i * classes + i] += pairwise[j * classes + i] * pairwise[j * classes + i];
            q[i * classes + j] = -pairwise[j * classes + i] * pairwise[i * classes + j];
        }
    }
    let mut shares = vec![1.0 / classes as f64; classes];
    let enough = 0.005 / classes as f64;
    for _ in 0..COUPLING_ROUNDS {
        let mut pulls: Vec<f64> = q
            .chunks_exact(classes)
            .map(|row| row.iter().zip(&shares).map(|(q, share)| q * share).sum())
            .collect();
        let mut total: f64 = shares
            .iter()
            .zip(&pulls)
            .map(|(share, pull)| share * pull)
            .sum();
        if pulls.iter().all(|pull| (pull - total).abs() < enough) {
            break;
        }
        for i in 0..classes {
            let row = &q[i * classes..(i + 1) * classes];
            let step = (total - pulls[i]) / row[i];
            shares[i] += step;
            let scale = 1.0 + step;
            total = (total + step * (step * row[i] + 2.0 * pulls[i])) / scale / scale;
            for ((pull, share), q) in pulls.iter_mut().zip(&mut shares).zip(row) {
                *pull = (*pull + step * q) / scale;
                *share /= scale;
            }
        }
    }
    shares
}

impl Likeness {
    fn read(node: Attributes<'_>) -> Result<Self, Fault> {
        let (gamma, offset, degree) = match *node.floats("kernel_params")? {
            [] => (0.0, 0.0, 0.0),
            [gamma, offset, degree] => (gamma, offset, degree),
            _ => return Err(Fault::new("kernel_params holds three numbers")),
        };
        Ok(match &node.text_or("kernel_type", "LINEAR")?[..] {
            "LINEAR" => Likeness::Linear,
            "POLY" => Likeness::Polynomial {
                gamma,
                offset,
                degree,
            },
            "RBF" => Likeness::Radial { gamma },
            "SIGMOID" => Likeness::Sigmoid { gamma, offset },
            other => return Err(Fault::new(format!("the kernel {other:?} is not known"))),
        })
    }

    fn of(self, row: &[f32], vector: &[f32]) -> f64 {
        let pairs = row
            .iter()
            .zip(vector)
            .map(|(&x, &v)| (f64::from(x), f64::from(v)));
        if let Likeness::Radial { gamma } = self {
            let distance: f64 = pairs.map(|(x, v)| (x - v) * (x - v)).sum();
            return (-f64::from(gamma) * distance).exp();
        }
        let product: f64 = pairs.map(|(x, v)| x * v).sum();
        match self {
            Likeness::Polynomial {
                gamma,
                offset,
                degree,
            } => (f64::from(gamma) * product + f64::from(offset)).powf(f64::from(degree)),
            Likeness::Sigmoid { gamma, offset } => {
                (f64::from(gamma) * product + f64::from(offset)).tanh()
            }
            Likeness::Linear | Likeness::Radial { .. } => product,
        }
    }
}

impl Vectors {
    fn new(values: &[f32], count: usize, likeness: Likeness) -> Result<Self, Fault> {
        if count == 0 || values.is_empty() || !values.len().is_multiple_of(count) {
            return Err(Fault::new(format!(
                "{} numbers are not {count} vectors",
                values.len()
            )));
        }
        Ok(Vectors {
            values: values.to_vec(),
            columns: values.len() / count,
            count,
            likeness,
        })
    }

    /// The likeness of every row to every vector.
    fn apply(&self, call: &Call<'_>) -> Result<(usize, Vec<f64>), Fault> {
        let x = call.tensor(0)?;
        let (rows, columns) = x.rows_and_columns()?;
        if columns != self.columns {
            return Err(Fault::new(format!(
                "it is given {columns} columns where it takes {}",
                self.columns
            )));
        }
        let elements = rows.saturating_mul(self.count);
        call.budget.claim(elements)?;
        call.budget.work(elements.saturating_mul(columns))?;
        let x = x.as_f32()?;
        let rows_of = x.chunks_exact(columns);
        let vectors = || self.values.chunks_exact(columns);
        Ok((
            rows,
            rows_of
                .flat_map(|row| vectors().map(|vector| self.likeness.of(row, vector)))
                .collect(),
        ))
    }
}
