//! Features into columns, block by block: what [`ombud_engine::encoding`] does, as operators.

use ombud_core::Kind;
use ombud_engine::encoding::Block;
use ombud_onnx::data_type;

use super::builder::{Builder, ML, Port, Setting, texts};
use super::{ExportError, Source, contradiction, text};

/// The inputs, one a feature, and the codes of those that are categories.
pub(super) struct Inputs {
    raw: Vec<Port>,
    codes: Vec<Option<Port>>,
}

impl Inputs {
    pub fn new(builder: &mut Builder, source: &Source<'_>) -> Self {
        let features = source.schema.features();
        let raw = features.iter().map(|feature| match &feature.kind {
            Kind::Number { .. } => builder.input(&feature.name, data_type::DOUBLE, 1),
            Kind::Sequence { steps, .. } => builder.input(&feature.name, data_type::DOUBLE, *steps),
            Kind::Ordinal { .. } | Kind::Category { .. } | Kind::Text => {
                builder.input(&feature.name, data_type::STRING, 1)
            }
        });
        Inputs {
            raw: raw.collect(),
            codes: vec![None; features.len()],
        }
    }

    pub fn text(&self, feature: usize) -> &Port {
        &self.raw[feature]
    }

    /// The numbers of a feature: itself, or the places of its values, NaN where missing.
    fn numbers(&mut self, builder: &mut Builder, source: &Source<'_>, feature: usize) -> Port {
        let values = source.schema.features()[feature].kind.values();
        if values.is_empty() {
            return self.raw[feature].clone();
        }
        if let Some(codes) = &self.codes[feature] {
            return codes.clone();
        }
        let settings = vec![
            ("keys_strings", Setting::Texts(texts(values))),
            (
                "values_floats",
                Setting::Floats((0..values.len()).map(|code| code as f32).collect()),
            ),
            ("default_float", Setting::Float(f32::NAN)),
        ];
        let codes = builder.node(ML, "LabelEncoder", &[&self.raw[feature]], settings);
        let codes = builder.cast(&codes, data_type::DOUBLE);
        self.codes[feature] = Some(codes.clone());
        codes
    }
}

/// All columns side by side, as doubles.
pub(super) fn dense(builder: &mut Builder, source: &Source<'_>) -> Result<Port, ExportError> {
    let mut inputs = Inputs::new(builder, source);
    let mut parts = Vec::with_capacity(source.blocks.len());
    for block in source.blocks {
        parts.push(columns(builder, source, &mut inputs, block)?.0);
    }
    if parts.is_empty() {
        return Err(contradiction("there are no columns"));
    }
    Ok(builder.concat(&parts))
}

/// The columns of a block as doubles, and how many they are; texts with a vocabulary have their own way.
pub(super) fn columns(
    builder: &mut Builder,
    source: &Source<'_>,
    inputs: &mut Inputs,
    block: &Block,
) -> Result<(Port, usize), ExportError> {
    let kind = &source
        .schema
        .features()
        .get(block.feature())
        .ok_or_else(|| contradiction("a block names no feature"))?
        .kind;
    let steps = if let Kind::Sequence { steps, .. } = kind {
        *steps
    } else {
        1
    };
    Ok(match block {
        Block::Raw { feature } => (inputs.numbers(builder, source, *feature), steps),
        Block::Scaled {
            feature,
            center,
            scale,
            flags,
        } => {
            let numbers = inputs.numbers(builder, source, *feature);
            scaled(builder, &numbers, center, scale, *flags)
        }
        Block::OneOf {
            feature,
            values,
            weight,
        } => (one_of(builder, source, inputs, *feature, *weight), *values),
        Block::Text { .. } => return Err(contradiction("a text is not a dense column")),
        Block::TextStage {
            feature,
            vectorizer,
            linear,
        } => {
            let vectorizer = text::vectorizer(source, vectorizer)?;
            let stage = source.parts.linears.get(linear);
            let stage = stage
                .ok_or_else(|| contradiction(format!("the text stage {linear:?} is missing")))?;
            (
                text::stage(builder, inputs.text(*feature), vectorizer, stage)?,
                stage.outputs(),
            )
        }
    })
}

fn scaled(
    builder: &mut Builder,
    numbers: &Port,
    center: &[f64],
    scale: &[f64],
    flags: bool,
) -> (Port, usize) {
    let centers = builder.doubles(&[1, center.len()], center);
    let scales = builder.doubles(&[1, scale.len()], scale);
    let shifted = builder.op("Sub", &[numbers, &centers]);
    let divided = builder.op("Div", &[&shifted, &scales]);
    let is_missing = builder.op("IsNaN", &[numbers]);
    let zero = builder.number(0.0);
    let filled = builder.op("Where", &[&is_missing, &zero, &divided]);
    if !flags {
        return (filled, center.len());
    }
    let flags = builder.cast(&is_missing, data_type::DOUBLE);
    (builder.concat(&[filled, flags]), 2 * center.len())
}

fn one_of(
    builder: &mut Builder,
    source: &Source<'_>,
    inputs: &Inputs,
    feature: usize,
    weight: f64,
) -> Port {
    let values = source.schema.features()[feature].kind.values();
    let settings = vec![
        ("cats_strings", Setting::Texts(texts(values))),
        ("zeros", Setting::Int(1)),
    ];
    let hot = builder.node(ML, "OneHotEncoder", &[&inputs.raw[feature]], settings);
    let flat = builder.reshape(&hot, &[-1, values.len() as i64]);
    let flat = builder.cast(&flat, data_type::DOUBLE);
    if weight == 1.0 {
        return flat;
    }
    let weight = builder.number(weight);
    builder.op("Mul", &[&flat, &weight])
}
