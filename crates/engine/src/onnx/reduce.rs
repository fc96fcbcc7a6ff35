//! Operators that take many elements along a dimension together.

use super::attributes::Attributes;
use super::elementwise::Number;
use super::graph::{Call, Kernel, Versions, one};
use super::tensor::{Fault, Tensor, Value, count, each_number};

type Built = Result<Kernel, Fault>;

macro_rules! reductions {
    ($($name:ident: since $version:expr, $function:expr;)*) => {
        $(pub(super) fn $name(node: Attributes<'_>, versions: Versions) -> Built {
            let axes_are_input = versions.core >= $version;
            reduction(node, axes_are_input, $function)
        })*
    };
}

// Sums are kept in double precision: the order in which onnxruntime adds is its own.
reductions! {
    sum: since 13, |lane| lane.sum();
    mean: since 18, |lane| { let (sum, count) = lane.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0)); sum / count };
    product: since 18, |lane| lane.product();
    max: since 18, |lane| lane.fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b });
    min: since 18, |lane| lane.fold(f64::INFINITY, |a, b| if a.is_nan() || a < b { a } else { b });
    l1: since 18, |lane| lane.map(f64::abs).sum();
    l2: since 18, |lane| lane.map(|x| x * x).sum::<f64>().sqrt();
    sum_square: since 18, |lane| lane.map(|x| x * x).sum();
    log_sum: since 18, |lane| lane.sum::<f64>().ln();
    log_sum_exp: since 18, |lane| {
        let values: Vec<f64> = lane.collect();
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if top.is_finite() { top + values.iter().map(|x| (x - top).exp()).sum::<f64>().ln() } else { top }
    };
}

pub(super) fn arg_max(node: Attributes<'_>, _: Versions) -> Built {
    arg_best(node, |candidate, best| candidate > best)
}

pub(super) fn arg_min(node: Attributes<'_>, _: Versions) -> Built {
    arg_best(node, |candidate, best| candidate < best)
}

pub(super) fn softmax(node: Attributes<'_>, versions: Versions) -> Built {
    shares(node, versions, |values, top, total| {
        values
            .iter_mut()
            .for_each(|x| *x = (*x - top).exp() / total);
    })
}

pub(super) fn log_softmax(node: Attributes<'_>, versions: Versions) -> Built {
    shares(node, versions, |values, top, total| {
        values.iter_mut().for_each(|x| *x = *x - top - total.ln());
    })
}

/// The greatest (or smallest) along a dimension, with their places; of equals, the first.
pub(super) fn top_k(node: Attributes<'_>, _: Versions) -> Built {
    let axis = node.int_or("axis", -1)?;
    let is_largest = node.flag("largest", true)?;
    let fixed = node.int("k")?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let wanted = match fixed {
            Some(k) => Some(k),
            None => call.tensor(1)?.as_i64()?.first().copied(),
        };
        let axis = axis_of(axis, x.shape().len())?;
        let size = x.shape()[axis];
        let k = wanted
            .and_then(|k| usize::try_from(k).ok())
            .filter(|&k| k <= size);
        let k = k.ok_or_else(|| Fault::new("k is more than there are"))?;
        each_number!(x.data(), values => top_of(call, x, values, axis, k, is_largest))
    }))
}

pub(super) fn cum_sum(node: Attributes<'_>, _: Versions) -> Built {
    if node.flag("exclusive", false)? || node.flag("reverse", false)? {
        return Err(Fault::new("exclusive and reverse are not supported"));
    }
    Ok(Box::new(|call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let axis = call.tensor(1)?.as_i64()?.first().copied().unwrap_or(0);
        let lanes = Lanes::new(x.shape(), axis_of(axis, x.shape().len())?);
        one(each_number!(x.data(), values => {
            let mut out = values.to_vec();
            for start in lanes.starts() {
                for at in 1..lanes.size {
                    let before = out[start + (at - 1) * lanes.stride];
                    let place = &mut out[start + at * lanes.stride];
                    *place = place.plus(before);
                }
            }
            Ok(Tensor::of(x.shape().to_vec(), out))
        })?)
    }))
}

/// Divides runs by their length; a run of zeros stays one.
pub(super) fn lp_normalization(node: Attributes<'_>, _: Versions) -> Built {
    let axis = node.int_or("axis", -1)?;
    let is_euclidean = match node.int_or("p", 2)? {
        1 => false,
        2 => true,
        _ => return Err(Fault::new("its norm is not known")),
    };
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let lanes = Lanes::new(x.shape(), axis_of(axis, x.shape().len())?);
        one(each_number!(x.data(), values => {
            let mut out = values.to_vec();
            for start in lanes.starts() {
                let lane = lanes.lane(values, start);
                let norm = if is_euclidean { lane.map(|x| x * x).sum::<f64>().sqrt() } else { lane.map(f64::abs).sum() };
                for at in (0..lanes.size).filter(|_| norm != 0.0) {
                    let place = &mut out[start + at * lanes.stride];
                    *place = Number::from_f64(place.to_f64() / norm);
                }
            }
            Ok(Tensor::of(x.shape().to_vec(), out))
        })?)
    }))
}

/// A dimension counted from the front, whichever end it was counted from.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize, Fault> {
    let from_front = if axis < 0 {
        axis.checked_add(rank as i64)
    } else {
        Some(axis)
    };
    from_front
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| Fault::new(format!("there is no dimension {axis} among {rank}")))
}

/// The runs of elements along one dimension.
pub(super) struct Lanes {
    /// Elements of a run.
    pub size: usize,
    /// How far apart neighbours in a run are.
    pub stride: usize,
    outer: usize,
}

impl Lanes {
    pub fn new(shape: &[usize], axis: usize) -> Self {
        let stride = shape[axis + 1..].iter().product();
        Lanes {
            size: shape[axis],
            stride,
            outer: shape[..axis].iter().product(),
        }
    }

    /// Where each run begins.
    pub fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let (block, stride) = (self.size * self.stride, self.stride);
        (0..self.outer).flat_map(move |outer| (0..stride).map(move |inner| outer * block + inner))
    }

    fn lane<'a, T: Number>(
        &self,
        values: &'a [T],
        start: usize,
    ) -> impl Iterator<Item = f64> + use<'a, T> {
        let stride = self.stride;
        (0..self.size).map(move |at| values[start + at * stride].to_f64())
    }
}

type Fold = fn(&mut dyn Iterator<Item = f64>) -> f64;

fn reduction(node: Attributes<'_>, axes_are_input: bool, fold: Fold) -> Built {
    let fixed = node.ints_if_any("axes")?.map(<[i64]>::to_vec);
    let keeps = node.flag("keepdims", true)?;
    let does_nothing_without = node.flag("noop_with_empty_axes", false)?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let given = if axes_are_input {
            call.optional(1)?
        } else {
            None
        };
        let axes = match (given, &fixed) {
            (Some(axes), _) => axes.as_i64()?.into_owned(),
            (None, Some(axes)) => axes.clone(),
            (None, None) => Vec::new(),
        };
        if axes.is_empty() && does_nothing_without {
            return one(x.clone());
        }
        let rank = x.shape().len();
        let mut is_reduced = vec![axes.is_empty(); rank];
        for axis in axes {
            is_reduced[axis_of(axis, rank)?] = true;
        }
        let kept = x
            .shape()
            .iter()
            .zip(&is_reduced)
            .filter(|(_, is_reduced)| !**is_reduced);
        call.budget.claim(
            x.len()
                .saturating_add(kept.map(|(&size, _)| size).product()),
        )?;
        one(
            each_number!(x.data(), values => Ok(reduced(x.shape(), values, &is_reduced, keeps, fold)))?,
        )
    }))
}

fn reduced<T: Number>(
    shape: &[usize],
    values: &[T],
    is_reduced: &[bool],
    keeps: bool,
    fold: Fold,
) -> Tensor {
    let side = |wanted: bool| -> (Vec<usize>, Vec<usize>) {
        let mut stride = 1;
        let mut dimensions = Vec::new();
        for (&size, &is_reduced) in shape.iter().zip(is_reduced).rev() {
            if is_reduced == wanted {
                dimensions.push((size, stride));
            }
            stride *= size;
        }
        dimensions.into_iter().rev().unzip()
    };
    let (kept, kept_strides) = side(false);
    let (gone, gone_strides) = side(true);
    let offsets = places(&gone, &gone_strides);
    let out = places(&kept, &kept_strides)
        .into_iter()
        .map(|start| {
            T::from_f64(fold(
                &mut offsets.iter().map(|offset| values[start + offset].to_f64()),
            ))
        })
        .collect();
    let sizes = shape.iter().zip(is_reduced);
    let shape = match keeps {
        true => sizes
            .map(|(&size, &is_reduced)| if is_reduced { 1 } else { size })
            .collect(),
        false => kept,
    };
    Tensor::of(shape, out)
}

/// The offsets of every place of a shape under the strides.
fn places(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut all = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        all = all
            .iter()
            .flat_map(|&start| (0..size).map(move |at| start + at * stride))
            .collect();
    }
    all
}

fn arg_best(node: Attributes<'_>, is_better: fn(f64, f64) -> bool) -> Built {
    let axis = node.int_or("axis", 0)?;
    let keeps = node.flag("keepdims", true)?;
    let takes_last = node.flag("select_last_index", false)?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let axis = axis_of(axis, x.shape().len())?;
        call.budget.claim(x.len())?;
        let lanes = Lanes::new(x.shape(), axis);
        if lanes.size == 0 {
            return Err(Fault::new("there is nothing to choose from"));
        }
        let best_of = |lane: &mut dyn Iterator<Item = f64>| {
            let mut best: Option<(usize, f64)> = None;
            for (at, x) in lane.enumerate() {
                if best.is_none_or(|(_, top)| is_better(x, top) || (takes_last && x == top)) {
                    best = Some((at, x));
                }
            }
            best.map_or(0, |(at, _)| at as i64)
        };
        let places = each_number!(x.data(), values => {
            Ok(lanes.starts().map(|start| best_of(&mut lanes.lane(values, start))).collect())
        })?;
        let mut shape = x.shape().to_vec();
        match keeps {
            true => shape[axis] = 1,
            false => drop(shape.remove(axis)),
        }
        one(Tensor::of::<i64>(shape, places))
    }))
}

/// Before version 13 everything from `axis` on was one run.
fn shares(node: Attributes<'_>, versions: Versions, finish: fn(&mut [f64], f64, f64)) -> Built {
    let is_flat = versions.core < 13;
    let axis = node.int_or("axis", if is_flat { 1 } else { -1 })?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let axis = axis_of(axis, x.shape().len())?;
        let lanes = match is_flat {
            true => Lanes {
                size: x.shape()[axis..].iter().product(),
                stride: 1,
                outer: x.shape()[..axis].iter().product(),
            },
            false => Lanes::new(x.shape(), axis),
        };
        one(each_number!(x.data(), values => Ok(shared(x.shape(), values, &lanes, finish)))?)
    }))
}

fn shared<T: Number>(
    shape: &[usize],
    values: &[T],
    lanes: &Lanes,
    finish: fn(&mut [f64], f64, f64),
) -> Tensor {
    let mut out = values.to_vec();
    for start in lanes.starts() {
        let mut lane: Vec<f64> = lanes.lane(values, start).collect();
        let top = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total = lane.iter().map(|x| (x - top).exp()).sum();
        finish(&mut lane, top, total);
        for (at, x) in lane.into_iter().enumerate() {
            out[start + at * lanes.stride] = T::from_f64(x);
        }
    }
    Tensor::of(shape.to_vec(), out)
}

fn top_of<T: Number>(
    call: &Call<'_>,
    x: &Tensor,
    values: &[T],
    axis: usize,
    k: usize,
    is_largest: bool,
) -> Result<Vec<Value>, Fault> {
    let lanes = Lanes::new(x.shape(), axis);
    let mut shape = x.shape().to_vec();
    shape[axis] = k;
    let total = count(&shape).unwrap_or(0);
    call.budget.claim(2 * total)?;
    call.budget.work(x.len().saturating_mul(8))?;
    let chosen_lanes = Lanes::new(&shape, axis);
    let (mut best, mut indices) = (vec![T::default(); total], vec![0_i64; total]);
    for (start, out) in lanes.starts().zip(chosen_lanes.starts()) {
        let lane: Vec<f64> = lanes.lane(values, start).collect();
        let mut order: Vec<usize> = (0..lane.len()).collect();
        // A stable sort leaves equals in the order of their places.
        order.sort_by(|&a, &b| match is_largest {
            true => lane[b].total_cmp(&lane[a]),
            false => lane[a].total_cmp(&lane[b]),
        });
        for (rank, &at) in order.iter().take(k).enumerate() {
            best[out + rank * chosen_lanes.stride] = values[start + at * lanes.stride];
            indices[out + rank * chosen_lanes.stride] = at as i64;
        }
    }
    Ok(vec![
        Value::Tensor(Tensor::of(shape.clone(), best)),
        Value::Tensor(Tensor::of(shape, indices)),
    ])
}
