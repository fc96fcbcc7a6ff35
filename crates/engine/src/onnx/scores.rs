//! From raw scores to what classifiers give, in the manner of onnxruntime, which the standard leaves open.

use super::attributes::Attributes;
use super::tensor::{Data, Fault, Tensor};

/// What happens to the scores of a row in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

/// How the single score of a binary classifier becomes two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecondClass {
    /// It stays single.
    No,
    /// The score is a probability: the other is what remains.
    Remainder,
    /// The score is a margin: the other is its opposite.
    Opposite,
}

impl Transform {
    pub fn read(node: Attributes<'_>) -> Result<Self, Fault> {
        Ok(match &node.text_or("post_transform", "NONE")?[..] {
            "NONE" => Transform::None,
            "SOFTMAX" => Transform::Softmax,
            "LOGISTIC" => Transform::Logistic,
            "SOFTMAX_ZERO" => Transform::SoftmaxZero,
            "PROBIT" => Transform::Probit,
            other => return Err(Fault::new(format!("the transform {other:?} is not known"))),
        })
    }

    /// The transform of `TreeEnsemble`, which numbers them.
    pub fn numbered(number: i64) -> Result<Self, Fault> {
        Ok(match number {
            0 => Transform::None,
            1 => Transform::Softmax,
            2 => Transform::Logistic,
            3 => Transform::SoftmaxZero,
            4 => Transform::Probit,
            _ => return Err(Fault::new("the transform is not known")),
        })
    }

    /// Finishes one row, appending what it gives to `out`. A single score only ever becomes a probit or two classes.
    pub fn finish(self, scores: &mut [f64], second: SecondClass, out: &mut Vec<f64>) {
        if let &mut [score] = scores {
            return self.finish_single(score, second, out);
        }
        match self {
            Transform::None => {}
            Transform::Logistic => scores
                .iter_mut()
                .for_each(|x| *x = crate::calibration::sigmoid(*x)),
            Transform::Probit => scores.iter_mut().for_each(|x| *x = probit(*x)),
            Transform::Softmax => softmax(scores),
            Transform::SoftmaxZero => softmax_zero(scores),
        }
        out.extend_from_slice(scores);
    }

    fn finish_single(self, score: f64, second: SecondClass, out: &mut Vec<f64>) {
        let pair = match (self, second) {
            (Transform::Probit, SecondClass::No) => return out.push(probit(score)),
            (_, SecondClass::No) => return out.push(score),
            // Of two classes onnxruntime writes only the first here; the rest of its buffer is left as it was.
            (Transform::Probit, _) => [probit(score), 1.0 - probit(score)],
            (Transform::Logistic, _) => [
                crate::calibration::sigmoid(-score),
                crate::calibration::sigmoid(score),
            ],
            (_, SecondClass::Remainder) => [1.0 - score, score],
            (_, SecondClass::Opposite) => [-score, score],
        };
        out.extend(pair);
    }
}

/// A table of scores in single precision, which the standard asks for whatever was computed.
pub(super) fn single(shape: Vec<usize>, values: &[f64]) -> Tensor {
    Tensor::of(shape, values.iter().map(|&x| x as f32).collect::<Vec<_>>())
}

/// The labels at these places, in the type of the labels.
pub(super) fn labels_at(labels: &Tensor, places: &[usize]) -> Tensor {
    let shape = vec![places.len()];
    match labels.data() {
        Data::Text(labels) => Tensor::of(
            shape,
            places.iter().map(|&place| labels[place].clone()).collect(),
        ),
        Data::Int64(labels) => {
            Tensor::of(shape, places.iter().map(|&place| labels[place]).collect())
        }
        _ => unreachable!("labels are texts or integers"),
    }
}

/// The place of the greatest; of equals, the first.
pub(super) fn greatest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(
        0,
        |best, at| if scores[at] > scores[best] { at } else { best },
    )
}

fn softmax(scores: &mut [f64]) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|x| *x = (*x - top).exp());
    let total: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|x| *x /= total);
}

/// Softmax among the scores that are not zero.
fn softmax_zero(scores: &mut [f64]) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut total = 0.0;
    for score in scores.iter_mut() {
        if score.abs() > 1e-7 {
            *score = (*score - top).exp();
            total += *score;
        } else {
            *score *= (-top).exp();
        }
    }
    scores.iter_mut().for_each(|x| *x /= total);
}

/// The inverse of the normal distribution's error function, in onnxruntime's approximation.
fn probit(x: f64) -> f64 {
    let y = 2.0 * x - 1.0;
    let log = ((1.0 - y) * (1.0 + y)).ln();
    let half = 2.0 / (std::f64::consts::PI * 0.147) + 0.5 * log;
    let inner = (half * half - log / 0.147).sqrt() - half;
    std::f64::consts::SQRT_2 * inner.sqrt().copysign(if y < 0.0 { -1.0 } else { 1.0 })
}
