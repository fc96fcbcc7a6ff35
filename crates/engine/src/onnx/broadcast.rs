//! Two tensors of different shapes, element by element, by NumPy's rule.

use super::graph::Call;
use super::tensor::{Fault, count, volume};

/// How two shapes meet.
pub(super) struct Broadcast {
    pub shape: Vec<usize>,
    left: Vec<usize>,
    right: Vec<usize>,
}

impl Broadcast {
    /// Claims room for the result.
    pub fn new(call: &Call<'_>, left: &[usize], right: &[usize]) -> Result<Self, Fault> {
        let shape = common_shape(left, right)?;
        let elements = volume(&shape)?;
        call.budget.claim(elements)?;
        let (left, right) = (strides(left, &shape), strides(right, &shape));
        Ok(Broadcast { shape, left, right })
    }

    /// Applies `function` to every pair.
    pub fn zip<A, B, C>(&self, left: &[A], right: &[B], function: impl Fn(&A, &B) -> C) -> Vec<C> {
        let total = count(&self.shape).unwrap_or(0);
        let mut out = Vec::with_capacity(total);
        let (outer, inner) = match self.shape.split_last() {
            Some((&inner, outer)) => (outer, inner),
            None => (&[][..], 1),
        };
        let step = |strides: &[usize]| strides.last().copied().unwrap_or(0);
        let (left_step, right_step) = (step(&self.left), step(&self.right));
        let mut places = vec![0; outer.len()];
        while out.len() < total {
            let start = |strides: &[usize]| {
                places
                    .iter()
                    .zip(strides)
                    .map(|(place, stride)| place * stride)
                    .sum()
            };
            let (left_at, right_at): (usize, usize) = (start(&self.left), start(&self.right));
            out.extend((0..inner).map(|at| {
                function(
                    &left[left_at + at * left_step],
                    &right[right_at + at * right_step],
                )
            }));
            advance(&mut places, outer);
        }
        out
    }
}

/// The next place in a shape, the last dimension first.
pub(super) fn advance(places: &mut [usize], shape: &[usize]) {
    for (place, size) in places.iter_mut().zip(shape).rev() {
        *place += 1;
        if *place < *size {
            return;
        }
        *place = 0;
    }
}

/// The shape that both are stretched to.
pub(super) fn common_shape(left: &[usize], right: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = left.len().max(right.len());
    let size = |shape: &[usize], dimension: usize| {
        (dimension + shape.len())
            .checked_sub(rank)
            .map_or(1, |dimension| shape[dimension])
    };
    (0..rank)
        .map(
            |dimension| match (size(left, dimension), size(right, dimension)) {
                (a, b) if a == b => Ok(a),
                (1, b) => Ok(b),
                (a, 1) => Ok(a),
                _ => Err(Fault::new(format!(
                    "shapes {left:?} and {right:?} do not fit"
                ))),
            },
        )
        .collect()
}

/// How far apart neighbours along each dimension of `shape` are in a tensor stretched to it.
pub(super) fn strides(of: &[usize], shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for (slot, &size) in strides.iter_mut().rev().zip(of.iter().rev()) {
        *slot = if size == 1 { 0 } else { stride };
        stride *= size;
    }
    strides
}
