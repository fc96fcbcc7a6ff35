//! `Scan`: an inner graph run row by row. Converters write distances between rows with it.

use std::sync::Arc;

use super::attributes::Attributes;
use super::graph::{Call, Graph, Versions};
use super::operators::{BuildError, Built};
use super::tensor::{Data, Fault, Scalar, Tensor, Value, each_element};

/// Rows run forward along the first dimension; whatever else the operator can do is refused.
const PLAIN_ONLY: [&str; 4] = [
    "scan_input_axes",
    "scan_input_directions",
    "scan_output_axes",
    "scan_output_directions",
];

pub(super) fn build(node: Attributes<'_>, versions: Versions) -> Result<Built, BuildError> {
    if versions.core < 9 {
        return Err(Fault::new("only its version 9 and later is known here").into());
    }
    for name in PLAIN_ONLY {
        if node.ints(name)?.iter().any(|&setting| setting != 0) {
            return Err(Fault::new(format!("{name} is not supported")).into());
        }
    }
    let body = node
        .graph("body")?
        .ok_or_else(|| Fault::new("it has no body"))?;
    let body = Graph::compile_within(body, versions).map_err(BuildError::Inner)?;
    let scanned = usize::try_from(node.int_or("num_scan_inputs", 0)?).unwrap_or(0);
    let inputs = node.0.input.len();
    if scanned == 0
        || scanned > inputs
        || body.inputs() != inputs
        || body.outputs() < inputs - scanned
    {
        return Err(Fault::new("its body takes or gives another number of values").into());
    }
    let captured = body.captured_names().map(str::to_owned).collect();
    let states = inputs - scanned;
    let kernel = Box::new(move |call: &Call<'_>| run(call, &body, states, scanned));
    Ok(Built { kernel, captured })
}

fn run(call: &Call<'_>, body: &Graph, states: usize, scanned: usize) -> Result<Vec<Value>, Fault> {
    let given = |index: usize| {
        let value = call.inputs.get(index).copied().flatten();
        value.ok_or_else(|| Fault::new("an input is missing"))
    };
    let mut state: Vec<Value> = (0..states)
        .map(|index| given(index).cloned())
        .collect::<Result<_, _>>()?;
    let tables: Vec<&Tensor> = (states..states + scanned)
        .map(|index| call.tensor(index))
        .collect::<Result<_, _>>()?;
    let captured: Vec<&Value> = (states + scanned..call.inputs.len())
        .map(given)
        .collect::<Result<_, _>>()?;
    let rows = tables[0].shape().first().copied().unwrap_or(0);
    if tables
        .iter()
        .any(|table| table.shape().first() != Some(&rows))
    {
        return Err(Fault::new("its inputs have different numbers of rows"));
    }
    let mut stacks: Vec<Vec<Tensor>> = vec![Vec::new(); body.outputs() - states];
    for row in 0..rows {
        let mut inputs = state;
        for table in &tables {
            inputs.push(Value::Tensor(row_of(call, table, row)?));
        }
        let mut outputs = body
            .run_within(inputs, &captured, call.budget)
            .map_err(|error| Fault::new(error.to_string()))?;
        for (stack, output) in stacks.iter_mut().zip(outputs.split_off(states)) {
            let Value::Tensor(tensor) = output else {
                return Err(Fault::new("its body gives maps"));
            };
            stack.push(tensor);
        }
        state = outputs;
    }
    for stack in &stacks {
        state.push(Value::Tensor(stacked(call, stack)?));
    }
    Ok(state)
}

fn row_of(call: &Call<'_>, table: &Tensor, row: usize) -> Result<Tensor, Fault> {
    let shape = table.shape()[1..].to_vec();
    let size = table.len() / table.shape()[0];
    call.budget.claim(size)?;
    let places = row * size..(row + 1) * size;
    Ok(each_element!(table.data(), values => Tensor::of(shape, values[places].to_vec())))
}

fn stacked(call: &Call<'_>, rows: &[Tensor]) -> Result<Tensor, Fault> {
    let Some(first) = rows.first() else {
        return Ok(Tensor::of(vec![0, 0], Vec::<f32>::new()));
    };
    let mut shape = vec![rows.len()];
    shape.extend(first.shape());
    call.budget.claim(first.len().saturating_mul(rows.len()))?;
    fn gather<T: Scalar>(
        first: &Tensor,
        rows: &[Tensor],
        shape: Vec<usize>,
    ) -> Result<Tensor, Fault> {
        let mut all = Vec::with_capacity(first.len() * rows.len());
        for row in rows {
            if row.shape() != first.shape() {
                return Err(Fault::new("its body gives rows of different shapes"));
            }
            all.extend_from_slice(row.values::<T>()?);
        }
        Ok(Tensor::of(shape, all))
    }
    match first.data() {
        Data::Float(_) => gather::<f32>(first, rows, shape),
        Data::Double(_) => gather::<f64>(first, rows, shape),
        Data::Int32(_) => gather::<i32>(first, rows, shape),
        Data::Int64(_) => gather::<i64>(first, rows, shape),
        Data::Bool(_) => gather::<bool>(first, rows, shape),
        Data::Text(_) => gather::<Arc<str>>(first, rows, shape),
    }
}
