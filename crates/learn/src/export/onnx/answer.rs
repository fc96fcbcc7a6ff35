//! From scores to the graph's outputs: calibration, the decision rule, names.

use ombud_core::task::Outputs;
use ombud_engine::calibration::{Calibrator, Classes, Curve, Line, Method, PROBABILITY_FLOOR};
use ombud_engine::decision::{DecisionRule, LABEL_THRESHOLD};
use ombud_onnx::data_type;

use super::builder::{Builder, Port, Setting};
use super::{ExportError, Source, contradiction};

/// A step too small to divide by, between knots that are one.
const STEP_MIN: f64 = 1e-300;

/// Calibrates the scores and writes the outputs.
pub(super) fn finish(
    builder: &mut Builder,
    source: &Source<'_>,
    scores: &Port,
) -> Result<(), ExportError> {
    let width = source.outputs.width();
    let scores = match &source.answering.calibrator {
        Some(calibrator) => {
            calibrator
                .check_width(width)
                .map_err(|error| contradiction(error.to_string()))?;
            calibrated(builder, calibrator, scores, width)
        }
        None => scores.clone(),
    };
    let rule = source.answering.decision.as_ref();
    let names = source.outputs.names();
    builder.note("names", names.join("\n"));
    match source.outputs {
        Outputs::Number { .. } => builder.output("value", data_type::DOUBLE, Some(1), &scores),
        Outputs::Classes { .. } => {
            let best = decided(builder, rule, &scores, width);
            named(builder, names, &best);
            table(builder, "probabilities", &scores, width);
        }
        Outputs::Segments { .. } => {
            let best = builder.arg_max(&scores);
            named(builder, names, &best);
            table(builder, "memberships", &scores, width);
        }
        Outputs::Labels { .. } => {
            let thresholds: Vec<f64> = (0..width).map(|label| threshold(rule, label)).collect();
            let thresholds = builder.doubles(&[1, width], &thresholds);
            let holds = builder.op("GreaterOrEqual", &[&scores, &thresholds]);
            builder.output("labels", data_type::BOOL, Some(width), &holds);
            table(builder, "probabilities", &scores, width);
        }
    }
    Ok(())
}

/// Two classes from the probability of the second.
pub(super) fn binary(builder: &mut Builder, positive: &Port) -> Port {
    let one = builder.number(1.0);
    let negative = builder.op("Sub", &[&one, positive]);
    builder.concat(&[negative, positive.clone()])
}

/// Divides each row by its sum; a row of zeros becomes even.
pub(super) fn shares(builder: &mut Builder, scores: &Port, width: usize) -> Port {
    let total = builder.reduce("ReduceSum", scores);
    let zero = builder.number(0.0);
    let is_some = builder.op("Greater", &[&total, &zero]);
    let divided = builder.op("Div", &[scores, &total]);
    let even = builder.number(1.0 / width as f64);
    builder.op("Where", &[&is_some, &divided, &even])
}

fn table(builder: &mut Builder, name: &str, scores: &Port, width: usize) {
    let scores = builder.cast(scores, data_type::FLOAT);
    builder.output(name, data_type::FLOAT, Some(width), &scores);
}

fn named(builder: &mut Builder, names: &[String], places: &Port) {
    let names = builder.texts(&[names.len()], names);
    let label = builder.op_with("Gather", &[&names, places], vec![("axis", Setting::Int(0))]);
    builder.output("label", data_type::STRING, None, &label);
}

fn threshold(rule: Option<&DecisionRule>, label: usize) -> f64 {
    let given = rule.and_then(|rule| {
        rule.thresholds()
            .iter()
            .find(|given| given.class as usize == label)
    });
    given.map_or(LABEL_THRESHOLD, |given| given.threshold)
}

/// The class decided on: the first whose threshold is reached, else the most probable without one.
fn decided(
    builder: &mut Builder,
    rule: Option<&DecisionRule>,
    scores: &Port,
    width: usize,
) -> Port {
    let thresholds = rule.map_or(&[][..], DecisionRule::thresholds);
    let mut candidates = scores.clone();
    if !thresholds.is_empty() && thresholds.len() < width {
        // A candidate's probability is at least zero.
        let mut handicaps = vec![0.0; width];
        thresholds
            .iter()
            .for_each(|given| handicaps[given.class as usize] = -2.0);
        let handicaps = builder.doubles(&[1, width], &handicaps);
        candidates = builder.op("Add", &[scores, &handicaps]);
    }
    let mut best = builder.arg_max(&candidates);
    for given in thresholds.iter().rev() {
        let score = column(builder, scores, given.class as usize);
        let score = builder.reshape(&score, &[-1]);
        let threshold = builder.number(given.threshold);
        let is_reached = builder.op("GreaterOrEqual", &[&score, &threshold]);
        let class = builder.int(i64::from(given.class));
        best = builder.op("Where", &[&is_reached, &class, &best]);
    }
    best
}

/// One column of a table, as a table.
fn column(builder: &mut Builder, scores: &Port, at: usize) -> Port {
    let at = builder.ints(&[at as i64]);
    builder.op_with("Gather", &[scores, &at], vec![("axis", Setting::Int(1))])
}

fn calibrated(builder: &mut Builder, calibrator: &Calibrator, scores: &Port, width: usize) -> Port {
    let is_exclusive = calibrator.classes() == Classes::Exclusive;
    match calibrator.method() {
        Method::Identity => scores.clone(),
        Method::Temperature { temperature } => {
            softened(builder, scores, *temperature, is_exclusive)
        }
        Method::Platt { lines } => {
            let is_pair = is_exclusive && lines.len() == 1;
            let raw = if is_pair {
                column(builder, scores, 1)
            } else {
                scores.clone()
            };
            let mapped = on_lines(builder, &raw, lines);
            joined(builder, &mapped, is_pair, is_exclusive, width)
        }
        Method::Isotonic { curves } => {
            let is_pair = is_exclusive && curves.len() == 1;
            let mut mapped = Vec::with_capacity(curves.len());
            for (class, curve) in curves.iter().enumerate() {
                let raw = column(builder, scores, if is_pair { 1 } else { class });
                mapped.push(on_curve(builder, &raw, curve));
            }
            let mapped = builder.concat(&mapped);
            joined(builder, &mapped, is_pair, is_exclusive, width)
        }
    }
}

fn joined(
    builder: &mut Builder,
    mapped: &Port,
    is_pair: bool,
    is_exclusive: bool,
    width: usize,
) -> Port {
    match (is_pair, is_exclusive) {
        (true, _) => binary(builder, mapped),
        (false, true) => shares(builder, mapped, width),
        (false, false) => mapped.clone(),
    }
}

fn softened(builder: &mut Builder, scores: &Port, temperature: f64, is_exclusive: bool) -> Port {
    let temperature = builder.number(temperature);
    if !is_exclusive {
        let logits = logit(builder, scores);
        let cooled = builder.op("Div", &[&logits, &temperature]);
        return builder.op("Sigmoid", &[&cooled]);
    }
    let floor = builder.number(PROBABILITY_FLOOR);
    let held = builder.op("Max", &[scores, &floor]);
    let log = builder.op("Log", &[&held]);
    // The difference comes before the division, so that a tiny temperature cannot make ∞ − ∞.
    let top = builder.reduce("ReduceMax", &log);
    let gap = builder.op("Sub", &[&log, &top]);
    let cooled = builder.op("Div", &[&gap, &temperature]);
    builder.op_with("Softmax", &[&cooled], vec![("axis", Setting::Int(1))])
}

fn on_lines(builder: &mut Builder, scores: &Port, lines: &[Line]) -> Port {
    let slopes: Vec<f64> = lines.iter().map(|line| line.slope).collect();
    let intercepts: Vec<f64> = lines.iter().map(|line| line.intercept).collect();
    let slopes = builder.doubles(&[1, lines.len()], &slopes);
    let intercepts = builder.doubles(&[1, lines.len()], &intercepts);
    let logits = logit(builder, scores);
    let scaled = builder.op("Mul", &[&logits, &slopes]);
    let shifted = builder.op("Add", &[&scaled, &intercepts]);
    builder.op("Sigmoid", &[&shifted])
}

fn logit(builder: &mut Builder, scores: &Port) -> Port {
    let (low, high) = (
        builder.number(PROBABILITY_FLOOR),
        builder.number(1.0 - PROBABILITY_FLOOR),
    );
    let held = builder.op("Max", &[scores, &low]);
    let held = builder.op("Min", &[&held, &high]);
    let one = builder.number(1.0);
    let rest = builder.op("Sub", &[&one, &held]);
    let (log, log_rest) = (builder.op("Log", &[&held]), builder.op("Log", &[&rest]));
    builder.op("Sub", &[&log, &log_rest])
}

/// Interpolation between the knots on either side, found by counting the knots passed.
fn on_curve(builder: &mut Builder, scores: &Port, curve: &Curve) -> Port {
    let knots = curve.at.len();
    let row = builder.doubles(&[1, knots], &curve.at);
    let is_passed = builder.op("GreaterOrEqual", &[scores, &row]);
    let is_passed = builder.cast(&is_passed, data_type::INT64);
    let passed = builder.reduce("ReduceSum", &is_passed);
    let (zero, one, last) = (
        builder.int(0),
        builder.int(1),
        builder.int(knots as i64 - 1),
    );
    let before = builder.op("Sub", &[&passed, &one]);
    let before = builder.op("Max", &[&before, &zero]);
    let after = builder.op("Min", &[&passed, &last]);
    let at = builder.doubles(&[knots], &curve.at);
    let value = builder.doubles(&[knots], &curve.value);
    let mut pick = |from: &Port, places: &Port| {
        builder.op_with("Gather", &[from, places], vec![("axis", Setting::Int(0))])
    };
    let (left, right) = (pick(&at, &before), pick(&at, &after));
    let (low, high) = (pick(&value, &before), pick(&value, &after));
    let least = builder.number(STEP_MIN);
    let gap = builder.op("Sub", &[&right, &left]);
    let gap = builder.op("Max", &[&gap, &least]);
    let way = builder.op("Sub", &[scores, &left]);
    let share = builder.op("Div", &[&way, &gap]);
    let rise = builder.op("Sub", &[&high, &low]);
    let risen = builder.op("Mul", &[&share, &rise]);
    let value = builder.op("Add", &[&low, &risen]);
    let value = builder.op("Max", &[&value, &low]);
    builder.op("Min", &[&value, &high])
}
