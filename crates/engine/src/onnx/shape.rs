//! Operators that move elements about and compute nothing.

use std::sync::Arc;

use super::attributes::{Attributes, vector};
use super::broadcast::{advance, common_shape, strides};
use super::graph::{Call, Kernel, Versions, one};
use super::reduce::axis_of;
use super::tensor::{Data, Fault, RANK_MAX, Scalar, Tensor, Value, count, each_element, volume};

type Built = Result<Kernel, Fault>;

pub(super) fn identity(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let value = call.inputs.first().copied().flatten();
        Ok(vec![
            value
                .ok_or_else(|| Fault::new("its input is missing"))?
                .clone(),
        ])
    }))
}

/// Nothing but its input: what it does in training is done when nets are trained.
pub(super) fn dropout(node: Attributes<'_>, _: Versions) -> Built {
    let has_mask = node.0.output.get(1).is_some_and(|name| !name.is_empty());
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let trains = call.optional(2)?.map(Tensor::values::<bool>).transpose()?;
        if trains.is_some_and(|trains| trains.contains(&true)) {
            return Err(Fault::new("it is set to train, and would draw at random"));
        }
        let mut values = vec![Value::Tensor(x.clone())];
        if has_mask {
            call.budget.claim(x.len())?;
            let mask = Tensor::of(x.shape().to_vec(), vec![true; x.len()]);
            values.push(Value::Tensor(mask));
        }
        Ok(values)
    }))
}

/// Parts along one dimension: of the sizes given, or as equal as they can be.
pub(super) fn split(node: Attributes<'_>, versions: Versions) -> Built {
    let axis = node.int_or("axis", 0)?;
    let fixed = node.ints_if_any("split")?.map(<[i64]>::to_vec);
    let parts = node.0.output.len();
    if node.int_or("num_outputs", parts as i64)? != parts as i64 || parts == 0 {
        return Err(Fault::new("it has another number of outputs than it says"));
    }
    // Since version 18 the last part may be the smaller one.
    let may_be_uneven = versions.core >= 18;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let axis = axis_of(axis, x.shape().len())?;
        let whole = x.shape()[axis];
        let sizes = match (call.optional(1)?, &fixed) {
            (Some(sizes), _) => sizes.as_i64()?.into_owned(),
            (None, Some(sizes)) => sizes.clone(),
            (None, None) if may_be_uneven || whole.is_multiple_of(parts) => {
                equal_sizes(whole, parts)
            }
            (None, None) => return Err(Fault::new("its parts are not equal")),
        };
        let sizes: Option<Vec<usize>> = sizes
            .iter()
            .map(|&size| usize::try_from(size).ok())
            .collect();
        let sizes = sizes.filter(|sizes| {
            let sum = sizes
                .iter()
                .try_fold(0_usize, |sum, &size| sum.checked_add(size));
            sizes.len() == parts && sum == Some(whole)
        });
        let sizes = sizes.ok_or_else(|| Fault::new("the sizes of its parts do not fit"))?;
        call.budget.claim(x.len())?;
        let mut first = 0;
        let part = |size: usize| {
            let part = part(x, axis, first, size);
            first += size;
            Value::Tensor(part)
        };
        Ok(sizes.into_iter().map(part).collect())
    }))
}

fn equal_sizes(whole: usize, parts: usize) -> Vec<i64> {
    let size = whole.div_ceil(parts);
    (0..parts)
        .map(|part| size.min(whole.saturating_sub(part * size)) as i64)
        .collect()
}

/// Some places along one dimension.
fn part(x: &Tensor, axis: usize, first: usize, size: usize) -> Tensor {
    let mut shape = x.shape().to_vec();
    let whole = std::mem::replace(&mut shape[axis], size);
    let inner: usize = shape[axis + 1..].iter().product();
    fn gathered<T: Clone>(values: &[T], stride: usize, taken: std::ops::Range<usize>) -> Vec<T> {
        let runs = values.chunks_exact(stride.max(1));
        runs.flat_map(|run| run[taken.clone()].iter().cloned())
            .collect()
    }
    let taken = first * inner..(first + size) * inner;
    each_element!(x.data(), values => Tensor::of(shape, gathered(values, whole * inner, taken)))
}

pub(super) fn shape(node: Attributes<'_>, _: Versions) -> Built {
    let (start, end) = (node.int_or("start", 0)?, node.int_or("end", i64::MAX)?);
    Ok(Box::new(move |call| {
        let shape = call.tensor(0)?.shape();
        let rank = shape.len() as i64;
        let bound =
            |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (bound(start), bound(end));
        one(vector(
            shape[start..end.max(start)]
                .iter()
                .map(|&size| size as i64)
                .collect(),
        ))
    }))
}

/// Zero keeps a size, minus one takes what is left.
pub(super) fn reshape(node: Attributes<'_>, _: Versions) -> Built {
    let zero_is_zero = node.flag("allowzero", false)?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let wanted = call.tensor(1)?.as_i64()?;
        let mut shape = Vec::with_capacity(wanted.len());
        let mut rest = None;
        for (dimension, &size) in wanted.iter().enumerate() {
            let size = match size {
                -1 if rest.is_some() => return Err(Fault::new("two sizes are left open")),
                -1 => {
                    rest = Some(dimension);
                    1
                }
                0 if !zero_is_zero => *x
                    .shape()
                    .get(dimension)
                    .ok_or_else(|| Fault::new("a size is kept that is not there"))?,
                size => usize::try_from(size).map_err(|_| Fault::new("a size is negative"))?,
            };
            shape.push(size);
        }
        if let Some(rest) = rest {
            let known = count(&shape).filter(|&known| known > 0 || x.is_empty());
            shape[rest] = match known {
                Some(0) => 0,
                Some(known) => x.len() / known,
                None => return Err(Fault::new("the sizes do not fit")),
            };
        }
        one(x.reshaped(shape)?)
    }))
}

pub(super) fn flatten(node: Attributes<'_>, _: Versions) -> Built {
    let axis = node.int_or("axis", 1)?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let rank = x.shape().len();
        let axis = if axis == rank as i64 {
            rank
        } else {
            axis_of(axis, rank)?
        };
        let (rows, columns) = x.shape().split_at(axis);
        one(x.reshaped(vec![rows.iter().product(), columns.iter().product()])?)
    }))
}

/// The dimensions were an attribute before version 13 and are an input since.
pub(super) fn squeeze(node: Attributes<'_>, _: Versions) -> Built {
    let fixed = node.ints_if_any("axes")?.map(<[i64]>::to_vec);
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let rank = x.shape().len();
        let mut is_gone: Vec<bool> = x.shape().iter().map(|&size| size == 1).collect();
        if let Some(axes) = axes_of(call, fixed.as_deref())? {
            is_gone.fill(false);
            for axis in axes {
                is_gone[axis_of(axis, rank)?] = true;
            }
        }
        let kept = x
            .shape()
            .iter()
            .zip(&is_gone)
            .filter(|(_, is_gone)| !**is_gone);
        one(x.reshaped(kept.map(|(&size, _)| size).collect())?)
    }))
}

pub(super) fn unsqueeze(node: Attributes<'_>, _: Versions) -> Built {
    let fixed = node.ints_if_any("axes")?.map(<[i64]>::to_vec);
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let axes =
            axes_of(call, fixed.as_deref())?.ok_or_else(|| Fault::new("it says no dimensions"))?;
        let rank = x.shape().len() + axes.len();
        let mut is_new = vec![false; rank];
        for axis in axes {
            is_new[axis_of(axis, rank)?] = true;
        }
        let mut old = x.shape().iter().copied();
        let shape = is_new
            .iter()
            .map(|&is_new| if is_new { 1 } else { old.next().unwrap_or(1) });
        one(x.reshaped(shape.collect())?)
    }))
}

pub(super) fn transpose(node: Attributes<'_>, _: Versions) -> Built {
    let order = node.ints_if_any("perm")?.map(<[i64]>::to_vec);
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let rank = x.shape().len();
        let order = match &order {
            None => (0..rank).rev().collect(),
            Some(order) => order
                .iter()
                .map(|&axis| axis_of(axis, rank))
                .collect::<Result<Vec<_>, _>>()?,
        };
        let is_permutation = order.len() == rank && (0..rank).all(|axis| order.contains(&axis));
        if !is_permutation {
            return Err(Fault::new("its order of dimensions is none"));
        }
        let strides = strides(x.shape(), x.shape());
        let shape: Vec<usize> = order.iter().map(|&axis| x.shape()[axis]).collect();
        let strides: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
        one(picked(call, x, shape, &strides)?)
    }))
}

pub(super) fn expand(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let x = call.tensor(0)?;
        let wanted = sizes(call.tensor(1)?)?;
        let shape = common_shape(x.shape(), &wanted)?;
        let strides = strides(x.shape(), &shape);
        one(picked(call, x, shape, &strides)?)
    }))
}

pub(super) fn tile(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let x = call.tensor(0)?;
        let repeats = sizes(call.tensor(1)?)?;
        let rank = x.shape().len();
        if repeats.len() != rank {
            return Err(Fault::new("it repeats another number of dimensions"));
        }
        // A tile is a pair of dimensions, the repeats (standing still) and the size; twice the rank must be allowed.
        let pairs = repeats
            .iter()
            .zip(x.shape())
            .flat_map(|(&repeat, &size)| [repeat, size])
            .collect();
        let own = strides(x.shape(), x.shape());
        let steps: Vec<usize> = own.iter().flat_map(|&stride| [0, stride]).collect();
        let shape: Vec<usize> = repeats
            .iter()
            .zip(x.shape())
            .map(|(&repeat, &size)| repeat.saturating_mul(size))
            .collect();
        one(picked(call, x, pairs, &steps)?.reshaped(shape)?)
    }))
}

pub(super) fn concat(node: Attributes<'_>, _: Versions) -> Built {
    let axis = node.int_or("axis", 0)?;
    Ok(Box::new(move |call| {
        let first = call.tensor(0)?;
        let axis = axis_of(axis, first.shape().len())?;
        let parts = (0..call.inputs.len())
            .map(|index| call.tensor(index))
            .collect::<Result<Vec<_>, _>>()?;
        one(each_element!(first.data(), values => joined(call, values, &parts, axis))?)
    }))
}

pub(super) fn slice(node: Attributes<'_>, _: Versions) -> Built {
    let fixed = [node.ints("starts")?.to_vec(), node.ints("ends")?.to_vec()];
    let fixed_axes = node.ints_if_any("axes")?.map(<[i64]>::to_vec);
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let rank = x.shape().len();
        let given = |index: usize| -> Result<Option<Vec<i64>>, Fault> {
            call.optional(index)?
                .map(|tensor| Ok(tensor.as_i64()?.into_owned()))
                .transpose()
        };
        let starts = given(1)?.unwrap_or_else(|| fixed[0].clone());
        let ends = given(2)?.unwrap_or_else(|| fixed[1].clone());
        let axes = given(3)?
            .or_else(|| fixed_axes.clone())
            .unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = given(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(Fault::new("its starts and ends differ in number"));
        }
        let mut indices: Vec<Vec<usize>> =
            x.shape().iter().map(|&size| (0..size).collect()).collect();
        for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let axis = axis_of(axis, rank)?;
            indices[axis] = range(start, end, step, x.shape()[axis])?;
        }
        one(chosen(call, x, &indices)?)
    }))
}

/// Whole slices by index along one dimension.
pub(super) fn gather(node: Attributes<'_>, _: Versions) -> Built {
    let axis = node.int_or("axis", 0)?;
    Ok(Box::new(move |call| {
        let (x, at) = (call.tensor(0)?, call.tensor(1)?);
        let axis = axis_of(axis, x.shape().len())?;
        let wanted = indices_in(at, x.shape()[axis])?;
        let mut indices: Vec<Vec<usize>> =
            x.shape().iter().map(|&size| (0..size).collect()).collect();
        indices[axis] = wanted;
        let mut shape = x.shape()[..axis].to_vec();
        shape.extend(at.shape());
        shape.extend(&x.shape()[axis + 1..]);
        one(chosen(call, x, &indices)?.reshaped(shape)?)
    }))
}

/// One element for every index.
pub(super) fn gather_elements(node: Attributes<'_>, _: Versions) -> Built {
    let axis = node.int_or("axis", 0)?;
    Ok(Box::new(move |call| {
        let (x, at) = (call.tensor(0)?, call.tensor(1)?);
        let axis = axis_of(axis, x.shape().len())?;
        let fits = at.shape().len() == x.shape().len()
            && at
                .shape()
                .iter()
                .zip(x.shape())
                .enumerate()
                .all(|(dimension, (a, b))| dimension == axis || a <= b);
        if !fits {
            return Err(Fault::new("its indices have another shape"));
        }
        call.budget.claim(at.len())?;
        let strides = strides_of(x.shape());
        let mut places = vec![0; at.shape().len()];
        let mut from = Vec::with_capacity(at.len());
        for index in indices_in(at, x.shape()[axis])? {
            let mut place = index * strides[axis];
            for (dimension, at) in places
                .iter()
                .enumerate()
                .filter(|(dimension, _)| *dimension != axis)
            {
                place += at * strides[dimension];
            }
            from.push(place);
            advance(&mut places, at.shape());
        }
        let shape = at.shape().to_vec();
        one(each_element!(x.data(), values => {
            Tensor::of(shape, taken(values, from.into_iter()))
        }))
    }))
}

/// Columns by index; one row stays a row.
pub(super) fn array_feature_extractor(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let x = call.tensor(0)?;
        let Some((&columns, outer)) = x.shape().split_last() else {
            return Err(Fault::new("it takes no single number"));
        };
        let wanted = indices_in(call.tensor(1)?, columns)?;
        let rows: usize = outer.iter().product();
        call.budget.claim(rows.saturating_mul(wanted.len()))?;
        let mut shape = if outer.is_empty() {
            vec![1]
        } else {
            outer.to_vec()
        };
        shape.push(wanted.len());
        one(each_element!(x.data(), values => {
            let places = (0..rows).flat_map(|row| wanted.iter().map(move |&column| row * columns + column));
            Tensor::of(shape, taken(values, places))
        }))
    }))
}

pub(super) fn compress(node: Attributes<'_>, _: Versions) -> Built {
    let axis = node.int("axis")?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let flat;
        let (x, axis) = match axis {
            Some(axis) => (x, axis_of(axis, x.shape().len())?),
            None => {
                flat = x.reshaped(vec![x.len()])?;
                (&flat, 0)
            }
        };
        let condition = call.tensor(1)?.values::<bool>()?;
        let mut indices: Vec<Vec<usize>> =
            x.shape().iter().map(|&size| (0..size).collect()).collect();
        indices[axis].retain(|&at| condition.get(at).copied().unwrap_or(false));
        one(chosen(call, x, &indices)?)
    }))
}

pub(super) fn non_zero(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let x = call.tensor(0)?;
        let rank = x.shape().len();
        call.budget.claim(x.len().saturating_mul(rank))?;
        let is_set: Vec<bool> = match x.data() {
            Data::Bool(values) => values.to_vec(),
            _ => x.as_f64()?.iter().map(|&x| x != 0.0).collect(),
        };
        let mut found = vec![Vec::new(); rank];
        let mut places = vec![0; rank];
        for is_set in is_set {
            if is_set {
                found
                    .iter_mut()
                    .zip(&places)
                    .for_each(|(found, &place)| found.push(place as i64));
            }
            advance(&mut places, x.shape());
        }
        let columns = found.first().map_or(0, Vec::len);
        one(Tensor::of(vec![rank, columns], found.concat()))
    }))
}

pub(super) fn constant_of_shape(node: Attributes<'_>, _: Versions) -> Built {
    let value = match node.tensor("value")? {
        Some(value) => value,
        None => vector(vec![0.0_f32]),
    };
    if value.len() != 1 {
        return Err(Fault::new("its value is not one element"));
    }
    Ok(Box::new(move |call| {
        let shape = sizes(call.tensor(0)?)?;
        let strides = vec![0; shape.len()];
        one(picked(call, &value, shape, &strides)?)
    }))
}

/// Sizes from a tensor of integers.
fn sizes(tensor: &Tensor) -> Result<Vec<usize>, Fault> {
    let sizes = tensor.as_i64()?;
    if sizes.len() > RANK_MAX {
        return Err(Fault::new("a shape has too many dimensions"));
    }
    let sizes = sizes.iter().map(|&size| usize::try_from(size));
    sizes
        .collect::<Result<_, _>>()
        .map_err(|_| Fault::new("a size is negative"))
}

/// Dimensions from the second input or the attribute.
fn axes_of(call: &Call<'_>, fixed: Option<&[i64]>) -> Result<Option<Vec<i64>>, Fault> {
    match call.optional(1)? {
        Some(axes) => Ok(Some(axes.as_i64()?.into_owned())),
        None => Ok(fixed.map(<[i64]>::to_vec)),
    }
}

/// Indices within a size; negative ones count from the end.
fn indices_in(tensor: &Tensor, size: usize) -> Result<Vec<usize>, Fault> {
    let index = |&at: &i64| {
        let at = if at < 0 {
            at.saturating_add(size as i64)
        } else {
            at
        };
        usize::try_from(at).ok().filter(|&at| at < size)
    };
    let found: Option<Vec<usize>> = tensor.as_i64()?.iter().map(index).collect();
    found.ok_or_else(|| Fault::new(format!("an index lies outside of {size}")))
}

/// Python's `range(size)[start:end:step]`.
fn range(start: i64, end: i64, step: i64, size: usize) -> Result<Vec<usize>, Fault> {
    let size = size as i64;
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (start, end) = (from_front(start), from_front(end));
    let step_size = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(match step {
        0 => return Err(Fault::new("its step is zero")),
        1.. => (start.clamp(0, size) as usize..end.clamp(0, size) as usize)
            .step_by(step_size)
            .collect(),
        _ => {
            let (start, end) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
            ((end + 1) as usize..(start + 1) as usize)
                .rev()
                .step_by(step_size)
                .collect()
        }
    })
}

/// How far apart neighbours along each dimension are, single ones too.
fn strides_of(shape: &[usize]) -> Vec<usize> {
    (0..shape.len())
        .map(|axis| shape[axis + 1..].iter().product())
        .collect()
}

/// The elements at these places.
fn taken<T: Scalar>(values: &[T], places: impl Iterator<Item = usize>) -> Vec<T> {
    places.map(|place| values[place].clone()).collect()
}

/// A tensor read under other strides.
fn picked(
    call: &Call<'_>,
    x: &Tensor,
    shape: Vec<usize>,
    strides: &[usize],
) -> Result<Tensor, Fault> {
    let total = volume(&shape)?;
    call.budget.claim(total)?;
    let mut places = vec![0; shape.len()];
    let mut from = Vec::with_capacity(total);
    for _ in 0..total {
        from.push(
            places
                .iter()
                .zip(strides)
                .map(|(place, stride)| place * stride)
                .sum::<usize>(),
        );
        advance(&mut places, &shape);
    }
    // Tiles pass through twice as many dimensions as a tensor may have; a flat one is given its shape by the caller.
    Ok(each_element!(x.data(), values => {
        Tensor::of(shape, taken(values, from.into_iter()))
    }))
}

/// The elements at every combination of indices.
fn chosen(call: &Call<'_>, x: &Tensor, indices: &[Vec<usize>]) -> Result<Tensor, Fault> {
    let shape: Vec<usize> = indices.iter().map(Vec::len).collect();
    let total = volume(&shape)?;
    call.budget.claim(total)?;
    let strides = strides_of(x.shape());
    let mut from = vec![0_usize];
    for (indices, stride) in indices.iter().zip(&strides) {
        from = from
            .iter()
            .flat_map(|&start| indices.iter().map(move |&at| start + at * stride))
            .collect();
    }
    Ok(each_element!(x.data(), values => {
        Tensor::of(shape, taken(values, from.into_iter()))
    }))
}

fn joined<T: Scalar>(
    call: &Call<'_>,
    _: &Arc<Vec<T>>,
    parts: &[&Tensor],
    axis: usize,
) -> Result<Tensor, Fault> {
    let first = parts[0].shape();
    let mut shape = first.to_vec();
    shape[axis] = 0;
    for part in parts {
        let fits = part.shape().len() == first.len()
            && part
                .shape()
                .iter()
                .zip(first)
                .enumerate()
                .all(|(dimension, (a, b))| dimension == axis || a == b);
        if !fits {
            return Err(Fault::new(format!(
                "shapes {first:?} and {:?} do not fit",
                part.shape()
            )));
        }
        shape[axis] += part.shape()[axis];
    }
    let total = volume(&shape)?;
    call.budget.claim(total)?;
    let outer: usize = first[..axis].iter().product();
    let mut out = Vec::with_capacity(total);
    let parts = parts
        .iter()
        .map(|part| {
            Ok((
                part.values::<T>()?,
                part.shape()[axis..].iter().product::<usize>(),
            ))
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    for row in 0..outer {
        for (values, size) in &parts {
            out.extend_from_slice(&values[row * size..(row + 1) * size]);
        }
    }
    Ok(Tensor::of(shape, out))
}
