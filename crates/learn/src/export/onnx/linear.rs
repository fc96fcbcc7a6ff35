//! A linear model: every block's columns times its weights, added up, and the link.

use ombud_engine::encoding::Block;
use ombud_engine::linear::{Linear, Link};
use ombud_onnx::data_type;

use super::answer::{binary, shares};
use super::builder::{Builder, Port, Setting};
use super::columns::{Inputs, columns};
use super::{ExportError, Source, contradiction, text};

/// Scores as doubles, one a class or label.
pub(super) fn scores(
    builder: &mut Builder,
    source: &Source<'_>,
    linear: &Linear,
    is_exclusive: bool,
) -> Result<Port, ExportError> {
    let mut inputs = Inputs::new(builder, source);
    let outputs = linear.outputs();
    let mut offset = 0;
    let mut margins = builder.doubles(&[1, outputs], linear.bias());
    for block in source.blocks {
        let part = match block {
            Block::Text {
                feature,
                vectorizer,
            } => {
                let vectorizer = text::vectorizer(source, vectorizer)?;
                let part =
                    text::margins(builder, inputs.text(*feature), vectorizer, linear, offset)?;
                offset += vectorizer.features();
                part
            }
            block => {
                let (columns, width) = columns(builder, source, &mut inputs, block)?;
                let part = product(builder, &columns, width, linear, offset);
                offset += width;
                part
            }
        };
        margins = builder.op("Add", &[&margins, &part]);
    }
    if offset != linear.features() || offset == 0 {
        return Err(contradiction(format!(
            "{offset} columns for {} weights",
            linear.features()
        )));
    }
    Ok(linked(builder, linear, is_exclusive, &margins))
}

/// Numbers that are missing count as nothing in a linear model.
fn product(
    builder: &mut Builder,
    columns: &Port,
    width: usize,
    linear: &Linear,
    offset: usize,
) -> Port {
    let is_missing = builder.op("IsNaN", &[columns]);
    let zero = builder.number(0.0);
    let filled = builder.op("Where", &[&is_missing, &zero, columns]);
    // A row's columns are kept single here too.
    let single = builder.cast(&filled, data_type::FLOAT);
    let filled = builder.cast(&single, data_type::DOUBLE);
    let weights = (offset..offset + width)
        .flat_map(|column| (0..linear.outputs()).map(move |output| linear.weight(column, output)));
    let weights: Vec<f64> = weights.collect();
    let weights = builder.doubles(&[width, linear.outputs()], &weights);
    builder.op("MatMul", &[&filled, &weights])
}

fn linked(builder: &mut Builder, linear: &Linear, is_exclusive: bool, margins: &Port) -> Port {
    if linear.link() == Link::Softmax {
        return builder.op_with("Softmax", &[margins], vec![("axis", Setting::Int(1))]);
    }
    let scores = builder.op("Sigmoid", &[margins]);
    match (is_exclusive, linear.outputs()) {
        (true, 1) => binary(builder, &scores),
        (true, outputs) => shares(builder, &scores, outputs),
        (false, _) => scores,
    }
}
