//! Products of matrices, and distances between rows.

use rayon::prelude::*;

use super::attributes::Attributes;
use super::broadcast::{advance, common_shape, strides};
use super::elementwise::Number;
use super::graph::{Call, Kernel, Versions, one};
use super::tensor::{Data, Fault, Tensor, volume};

type Built = Result<Kernel, Fault>;

/// Rows of a product that one thread takes at a time.
const ROWS_PER_TASK: usize = 64;

pub(super) fn mat_mul(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let (left, right) = (call.tensor(0)?, call.tensor(1)?);
        one(match left.data() {
            Data::Float(values) => product(call, left, values, right)?,
            Data::Double(values) => product(call, left, values, right)?,
            _ => return Err(Fault::new("it takes real numbers only")),
        })
    }))
}

pub(super) fn gemm(node: Attributes<'_>, _: Versions) -> Built {
    let (alpha, beta) = (
        f64::from(node.float_or("alpha", 1.0)?),
        f64::from(node.float_or("beta", 1.0)?),
    );
    let (left_turned, right_turned) = (node.flag("transA", false)?, node.flag("transB", false)?);
    Ok(Box::new(move |call| {
        let (left, right) = (call.tensor(0)?, call.tensor(1)?);
        let ([a, b], [c, d]) = (table(left)?, table(right)?);
        let (rows, inner) = if left_turned { (b, a) } else { (a, b) };
        let (other, columns) = if right_turned { (d, c) } else { (c, d) };
        if inner != other {
            return Err(Fault::new(format!(
                "shapes {:?} and {:?} do not fit",
                left.shape(),
                right.shape()
            )));
        }
        claim(call, rows, inner, columns)?;
        let left_values = turned(left.as_f64()?.into_owned(), a, b, left_turned);
        let right_values = turned(right.as_f64()?.into_owned(), c, d, right_turned);
        let mut out = vec![0.0; rows * columns];
        multiply(&left_values, &right_values, inner, columns, &mut out);
        out.iter_mut().for_each(|x| *x *= alpha);
        if let Some(bias) = call.optional(2)? {
            let shape = [rows, columns];
            if common_shape(bias.shape(), &shape)? != shape {
                return Err(Fault::new("its bias is larger than the product"));
            }
            let steps = strides(bias.shape(), &shape);
            let values = bias.as_f64()?;
            for (at, x) in out.iter_mut().enumerate() {
                *x += beta * values[at / columns * steps[0] + at % columns * steps[1]];
            }
        }
        one(typed(left, vec![rows, columns], out)?)
    }))
}

/// Distances from every row of one table to every row of another.
pub(super) fn c_dist(node: Attributes<'_>, _: Versions) -> Built {
    let is_squared = match &node.text_or("metric", "sqeuclidean")?[..] {
        "sqeuclidean" => true,
        "euclidean" => false,
        metric => {
            return Err(Fault::new(format!(
                "the metric {metric:?} is not supported"
            )));
        }
    };
    Ok(Box::new(move |call| {
        let (left, right) = (call.tensor(0)?, call.tensor(1)?);
        let ([rows, inner], [columns, other]) = (table(left)?, table(right)?);
        if inner != other {
            return Err(Fault::new("its rows have different lengths"));
        }
        claim(call, rows, inner, columns)?;
        let (a, b) = (left.as_f64()?, right.as_f64()?);
        let mut out = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let row = &a[row * inner..(row + 1) * inner];
            for column in 0..columns {
                let square: f64 = row
                    .iter()
                    .zip(&b[column * inner..])
                    .map(|(x, y)| (x - y) * (x - y))
                    .sum();
                out.push(if is_squared { square } else { square.sqrt() });
            }
        }
        one(typed(left, vec![rows, columns], out)?)
    }))
}

/// Adds the product of row-major matrices to `out`, in parallel over rows.
///
/// Sums run in double precision and in one order, whatever the number of threads.
pub(super) fn multiply<A: Number, B: Number>(
    left: &[A],
    right: &[B],
    inner: usize,
    columns: usize,
    out: &mut [f64],
) {
    if inner == 0 || columns == 0 {
        return;
    }
    let is_finite = right.iter().all(|weight| weight.to_f64().is_finite());
    let tasks = out
        .par_chunks_mut(ROWS_PER_TASK * columns)
        .zip(left.par_chunks(ROWS_PER_TASK * inner));
    tasks.for_each(|(out, left)| {
        for (out, row) in out.chunks_exact_mut(columns).zip(left.chunks_exact(inner)) {
            for (&x, weights) in row.iter().zip(right.chunks_exact(columns)) {
                let x = x.to_f64();
                // Rows of text are almost all zeros; zero times infinity must still be told.
                if x != 0.0 || !is_finite {
                    out.iter_mut()
                        .zip(weights)
                        .for_each(|(sum, weight)| *sum += x * weight.to_f64());
                }
            }
        }
    });
}

/// A product claims its result, and a step for every multiplication.
fn claim(call: &Call<'_>, rows: usize, inner: usize, columns: usize) -> Result<(), Fault> {
    let elements = rows.saturating_mul(columns);
    call.budget.claim(elements)?;
    call.budget.work(elements.saturating_mul(inner))
}

/// Matrices, stacks of them, and vectors as one row or one column.
fn product<T: Number>(
    call: &Call<'_>,
    left: &Tensor,
    values: &[T],
    right: &Tensor,
) -> Result<Tensor, Fault> {
    let others = right.values::<T>()?;
    let misfit = || {
        Fault::new(format!(
            "shapes {:?} and {:?} do not fit",
            left.shape(),
            right.shape()
        ))
    };
    let (left_stack, rows, inner) = match left.shape() {
        [] => return Err(misfit()),
        [inner] => (&[][..], 1, *inner),
        [stack @ .., rows, inner] => (stack, *rows, *inner),
    };
    let (right_stack, other, columns) = match right.shape() {
        [] => return Err(misfit()),
        [inner] => (&[][..], *inner, 1),
        [stack @ .., inner, columns] => (stack, *inner, *columns),
    };
    if inner != other {
        return Err(misfit());
    }
    let stack = common_shape(left_stack, right_stack)?;
    let matrices = volume(&stack)?;
    claim(call, rows.saturating_mul(matrices), inner, columns)?;
    let (left_steps, right_steps) = (strides(left_stack, &stack), strides(right_stack, &stack));
    let mut out = vec![0.0; matrices * rows * columns];
    let mut places = vec![0; stack.len()];
    for matrix in 0..matrices {
        let start = |steps: &[usize]| {
            places
                .iter()
                .zip(steps)
                .map(|(place, step)| place * step)
                .sum::<usize>()
        };
        let left = &values[start(&left_steps) * rows * inner..][..rows * inner];
        let right = &others[start(&right_steps) * inner * columns..][..inner * columns];
        multiply(
            left,
            right,
            inner,
            columns,
            &mut out[matrix * rows * columns..][..rows * columns],
        );
        advance(&mut places, &stack);
    }
    let mut shape = stack;
    if left.shape().len() > 1 {
        shape.push(rows);
    }
    if right.shape().len() > 1 {
        shape.push(columns);
    }
    typed(left, shape, out)
}

fn table(tensor: &Tensor) -> Result<[usize; 2], Fault> {
    tensor
        .shape()
        .try_into()
        .map_err(|_| Fault::new("it takes tables of rows and columns"))
}

fn turned(values: Vec<f64>, rows: usize, columns: usize, is_turned: bool) -> Vec<f64> {
    if !is_turned {
        return values;
    }
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| (row, column)))
        .map(|(row, column)| values[row * columns + column])
        .collect()
}

/// The result in the type of an input.
fn typed(like: &Tensor, shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor, Fault> {
    Ok(match like.data() {
        Data::Float(_) => Tensor::of(
            shape,
            values.into_iter().map(|x| x as f32).collect::<Vec<_>>(),
        ),
        Data::Double(_) => Tensor::of(shape, values),
        _ => return Err(Fault::new("it takes real numbers only")),
    })
}
