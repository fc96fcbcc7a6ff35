//! Operators that prepare numbers: scaling, filling, normalizing, cutting at a threshold, gluing together.

use super::attributes::Attributes;
use super::graph::{Kernel, Versions, one};
use super::tensor::{Data, Fault, Tensor};

type Built = Result<Kernel, Fault>;

/// `(x − offset) × scale` by column.
pub(super) fn scaler(node: Attributes<'_>, _: Versions) -> Built {
    let (offsets, scales) = (
        node.floats("offset")?.to_vec(),
        node.floats("scale")?.to_vec(),
    );
    if offsets.is_empty() || scales.is_empty() {
        return Err(Fault::new("it has no offset or no scale"));
    }
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let columns = x.shape().last().copied().unwrap_or(1).max(1);
        let fits = |settings: &[f32]| settings.len() == 1 || settings.len() == columns;
        if !fits(&offsets) || !fits(&scales) {
            return Err(Fault::new(format!(
                "it is given {columns} columns where it takes {}",
                offsets.len()
            )));
        }
        let values = x.as_f64()?;
        let of = |settings: &[f32], at: usize| f64::from(settings[at % columns % settings.len()]);
        let out = values
            .iter()
            .enumerate()
            .map(|(at, x)| ((x - of(&offsets, at)) * of(&scales, at)) as f32);
        one(Tensor::of::<f32>(x.shape().to_vec(), out.collect()))
    }))
}

/// Divides each row by its greatest, its sum or its length.
pub(super) fn normalizer(node: Attributes<'_>, _: Versions) -> Built {
    let norm: fn(&[f64]) -> f64 = match &node.text_or("norm", "MAX")?[..] {
        "MAX" => |row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "L1" => |row| row.iter().map(|x| x.abs()).sum(),
        "L2" => |row| row.iter().map(|x| x * x).sum::<f64>().sqrt(),
        other => return Err(Fault::new(format!("the norm {other:?} is not known"))),
    };
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let (_, columns) = x.rows_and_columns()?;
        call.budget.claim(x.len())?;
        let mut out = Vec::with_capacity(x.len());
        for row in x.as_f64()?.chunks_exact(columns.max(1)) {
            let norm = norm(row);
            // A row of zeros stays one.
            out.extend(
                row.iter()
                    .map(|x| (if norm == 0.0 { *x } else { x / norm }) as f32),
            );
        }
        one(Tensor::of::<f32>(x.shape().to_vec(), out))
    }))
}

/// Puts a column's value where a number is the one that stands for nothing.
pub(super) fn imputer(node: Attributes<'_>, _: Versions) -> Built {
    let floats = node.floats("imputed_value_floats")?.to_vec();
    let ints = node.ints("imputed_value_int64s")?.to_vec();
    let missing = node.float_or("replaced_value_float", 0.0)?;
    let missing_int = node.int_or("replaced_value_int64", 0)?;
    if floats.is_empty() && ints.is_empty() {
        return Err(Fault::new("it has nothing to put in"));
    }
    fn filled<T: Copy>(
        values: &[T],
        columns: usize,
        by: &[T],
        is_missing: impl Fn(T) -> bool,
    ) -> Result<Vec<T>, Fault> {
        if by.len() != 1 && by.len() != columns {
            return Err(Fault::new(format!(
                "it is given {columns} columns where it takes {}",
                by.len()
            )));
        }
        let fill = |(at, &x): (usize, &T)| {
            if is_missing(x) {
                by[at % columns % by.len()]
            } else {
                x
            }
        };
        Ok(values.iter().enumerate().map(fill).collect())
    }
    let floats_wide: Vec<f64> = floats.iter().map(|&x| f64::from(x)).collect();
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let columns = x.shape().last().copied().unwrap_or(1).max(1);
        let shape = x.shape().to_vec();
        let is_missing = |x: f64| x == f64::from(missing) || (x.is_nan() && missing.is_nan());
        one(match x.data() {
            Data::Float(values) => Tensor::of(
                shape,
                filled(values, columns, &floats, |x| is_missing(f64::from(x)))?,
            ),
            Data::Double(values) => {
                Tensor::of(shape, filled(values, columns, &floats_wide, is_missing)?)
            }
            Data::Int64(values) => {
                Tensor::of(shape, filled(values, columns, &ints, |x| x == missing_int)?)
            }
            _ => return Err(Fault::new("it takes real numbers or 64-bit integers")),
        })
    }))
}

/// One above the threshold, else zero.
pub(super) fn binarizer(node: Attributes<'_>, _: Versions) -> Built {
    let threshold = f64::from(node.float_or("threshold", 0.0)?);
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let out = x
            .as_f64()?
            .iter()
            .map(|&x| if x > threshold { 1.0 } else { 0.0 })
            .collect();
        one(Tensor::of::<f32>(x.shape().to_vec(), out))
    }))
}

/// Tables side by side, as single precision.
pub(super) fn feature_vectorizer(node: Attributes<'_>, _: Versions) -> Built {
    let widths = node.ints("inputdimensions")?.to_vec();
    Ok(Box::new(move |call| {
        let parts = (0..call.inputs.len())
            .map(|index| {
                call.tensor(index)
                    .and_then(|x| Ok((x.rows_and_columns()?, x.as_f32()?)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let rows = parts.first().map_or(0, |((rows, _), _)| *rows);
        let mut width = 0_usize;
        for (index, ((part_rows, columns), _)) in parts.iter().enumerate() {
            let declared = widths
                .get(index)
                .and_then(|&width| usize::try_from(width).ok());
            if *part_rows != rows || declared.is_some_and(|declared| declared != *columns) {
                return Err(Fault::new("its tables do not fit"));
            }
            width += columns;
        }
        call.budget.claim(rows.saturating_mul(width))?;
        let mut out = Vec::with_capacity(rows * width);
        for row in 0..rows {
            for ((_, columns), values) in &parts {
                out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
            }
        }
        one(Tensor::of::<f32>(vec![rows, width], out))
    }))
}
