//! From what a graph gives to a row's scores.

use super::{Given, Mapping};
use crate::answering::highest;
use crate::onnx::{Data, Tensor, Value};

/// A chosen class that is less probable than another by this much was chosen by rounding, not by a rule.
const ROUNDING: f64 = 1e-5;

/// Writes the scores of all rows; `None` when the values are not those that the mapping promises.
pub(super) fn read(
    mapping: &Mapping,
    width: usize,
    values: &[Value],
    scores: &mut [f64],
) -> Option<()> {
    let names = mapping.labels.as_slice();
    let rows = scores.len() / width;
    match mapping.answer {
        Given::Probabilities { output, label } => {
            copy(&table(values.get(output)?, names, rows)?, scores)?;
            prefer(label, values, names, scores, rows, &nudge)
        }
        Given::Margins { output, label } => {
            let margins = numbers(scores_of(values.get(output)?))?;
            write_margins(&margins, width, rows, scores)?;
            scores.chunks_exact_mut(width).for_each(softmax);
            prefer(label, values, names, scores, rows, &exchange)
        }
        Given::Distances { output, label } => {
            copy(&numbers(scores_of(values.get(output)?))?, scores)?;
            scores.iter_mut().for_each(|d| *d = -*d * *d / 2.0);
            scores.chunks_exact_mut(width).for_each(softmax);
            prefer(label, values, names, scores, rows, &exchange)
        }
        Given::Second { output } => {
            let second = numbers(scores_of(values.get(output)?))?;
            if second.len() != rows || width != 2 {
                return None;
            }
            for (scores, second) in scores.chunks_exact_mut(2).zip(second) {
                scores.copy_from_slice(&[1.0 - second, second]);
            }
            Some(())
        }
        Given::Columns {
            first,
            count,
            label,
        } => {
            write_columns(values.get(first..first.checked_add(count)?)?, rows, scores)?;
            prefer(Some(label), values, names, scores, rows, &nudge)
        }
        Given::Label { output } => {
            let chosen = labels(values.get(output)?, names, rows)?;
            for (scores, chosen) in scores.chunks_exact_mut(width).zip(chosen) {
                scores.fill(0.0);
                scores[chosen] = 1.0;
            }
            Some(())
        }
        Given::Independent { output } | Given::Number { output } => {
            copy(&numbers(scores_of(values.get(output)?))?, scores)
        }
    }
}

/// The label of every row, as a text.
pub fn label_texts(value: &Value) -> Option<Vec<String>> {
    let data = value.tensor()?.data();
    Some(match data {
        Data::Text(values) => values.iter().map(ToString::to_string).collect(),
        Data::Int64(values) => values.iter().map(ToString::to_string).collect(),
        Data::Int32(values) => values.iter().map(ToString::to_string).collect(),
        Data::Bool(values) => values.iter().map(|x| i32::from(*x).to_string()).collect(),
        Data::Float(values) => values.iter().map(ToString::to_string).collect(),
        Data::Double(values) => values.iter().map(ToString::to_string).collect(),
    })
}

fn labels(value: &Value, names: &[String], rows: usize) -> Option<Vec<usize>> {
    let texts = label_texts(value)?;
    if texts.len() != rows {
        return None;
    }
    let place = |text: &String| names.iter().position(|name| name == text);
    texts.iter().map(place).collect()
}

/// A table of scores in the order of the names, also where maps come in another.
fn table(value: &Value, names: &[String], rows: usize) -> Option<Vec<f64>> {
    let found = numbers(scores_of(value))?;
    let Value::Maps(maps) = value else {
        return Some(found);
    };
    let keys = label_texts(&Value::Tensor(maps.keys.clone()))?;
    if keys == names || names.is_empty() {
        return Some(found);
    }
    let place = |name: &String| keys.iter().position(|key| key == name);
    let places: Vec<usize> = names.iter().map(place).collect::<Option<_>>()?;
    let rows = found.chunks_exact(keys.len()).take(rows);
    Some(
        rows.flat_map(|row| places.iter().map(|p| row[*p]))
            .collect(),
    )
}

fn scores_of(value: &Value) -> &Tensor {
    match value {
        Value::Tensor(tensor) => tensor,
        Value::Maps(maps) => &maps.scores,
    }
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    Some(match tensor.data() {
        Data::Float(values) => values.iter().map(|x| f64::from(*x)).collect(),
        Data::Double(values) => values.to_vec(),
        Data::Int32(values) => values.iter().map(|x| f64::from(*x)).collect(),
        Data::Int64(values) => values.iter().map(|x| *x as f64).collect(),
        Data::Bool(values) => values.iter().map(|x| f64::from(u8::from(*x))).collect(),
        Data::Text(_) => return None,
    })
}

fn copy(found: &[f64], scores: &mut [f64]) -> Option<()> {
    if found.len() != scores.len() {
        return None;
    }
    scores.copy_from_slice(found);
    Some(())
}

/// One output a class, one number a row in each.
fn write_columns(columns: &[Value], rows: usize, scores: &mut [f64]) -> Option<()> {
    if scores.len() != rows * columns.len() {
        return None;
    }
    for (class, column) in columns.iter().enumerate() {
        let column = numbers(scores_of(column))?;
        if column.len() != rows {
            return None;
        }
        for (row, score) in column.into_iter().enumerate() {
            scores[row * columns.len() + class] = score;
        }
    }
    Some(())
}

/// One margin tells two classes apart: above zero it is the second.
fn write_margins(margins: &[f64], width: usize, rows: usize, scores: &mut [f64]) -> Option<()> {
    if width == 2 && margins.len() == rows {
        for (scores, margin) in scores.chunks_exact_mut(2).zip(margins) {
            scores.copy_from_slice(&[0.0, *margin]);
        }
        return Some(());
    }
    copy(margins, scores)
}

fn softmax(scores: &mut [f64]) {
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|x| *x = (*x - greatest).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|x| *x /= sum);
}

/// Lets every row's highest score be that of the class that the graph chose.
fn prefer(
    label: Option<usize>,
    values: &[Value],
    names: &[String],
    scores: &mut [f64],
    rows: usize,
    mend: &dyn Fn(&mut [f64], usize, usize),
) -> Option<()> {
    let Some(label) = label else {
        return Some(());
    };
    let chosen = labels(values.get(label)?, names, rows)?;
    for (scores, chosen) in scores.chunks_exact_mut(names.len()).zip(chosen) {
        let best = highest(scores);
        if best != chosen {
            mend(scores, chosen, best);
        }
    }
    Some(())
}

/// Probabilities stay what they are, but for a tie or its rounding.
fn nudge(scores: &mut [f64], chosen: usize, best: usize) {
    if scores[best] - scores[chosen] <= ROUNDING {
        scores[chosen] = scores[best].next_up();
    }
}

/// Shares that are no probabilities follow the choice.
fn exchange(scores: &mut [f64], chosen: usize, best: usize) {
    scores.swap(chosen, best);
    if scores[chosen] == scores[best] {
        scores[chosen] = scores[best].next_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: Vec<usize>, values: &[f32]) -> Value {
        Value::Tensor(Tensor::float(shape, values.to_vec()).unwrap())
    }

    fn integers(values: &[i64]) -> Value {
        Value::Tensor(Tensor::int64(vec![values.len()], values.to_vec()).unwrap())
    }

    fn scored<const N: usize>(given: Given, values: &[Value], names: &[&str]) -> Option<[f64; N]> {
        let mapping = Mapping {
            inputs: Vec::new(),
            answer: given,
            labels: names.iter().map(ToString::to_string).collect(),
        };
        let mut scores = [0.0; N];
        read(&mapping, names.len().max(1), values, &mut scores)?;
        Some(scores)
    }

    #[test]
    fn a_tie_goes_to_the_class_that_the_graph_chose() {
        let given = Given::Probabilities {
            output: 1,
            label: Some(0),
        };
        let values = [integers(&[1]), floats(vec![1, 2], &[0.5, 0.5])];
        let scores: [f64; 2] = scored(given, &values, &["0", "1"]).unwrap();
        assert!(scores[1] > scores[0] && scores[1] - scores[0] < 1e-12);
    }

    #[test]
    fn a_probability_is_never_bent_to_fit_a_label() {
        let given = Given::Probabilities {
            output: 1,
            label: Some(0),
        };
        let values = [integers(&[1]), floats(vec![1, 2], &[0.75, 0.25])];
        assert_eq!(scored(given, &values, &["0", "1"]), Some([0.75, 0.25]));
    }

    #[test]
    fn every_class_may_have_an_output_of_its_own() {
        let given = Given::Columns {
            first: 1,
            count: 2,
            label: 0,
        };
        let values = [
            integers(&[0, 1]),
            floats(vec![2], &[0.75, 0.25]),
            floats(vec![2, 1], &[0.25, 0.75]),
        ];
        let scores = scored(given, &values, &["0", "1"]);
        assert_eq!(scores, Some([0.75, 0.25, 0.25, 0.75]));
        assert_eq!(scored::<2>(given, &values[..2], &["0", "1"]), None);
    }

    #[test]
    fn one_margin_tells_two_classes_apart() {
        let given = Given::Margins {
            output: 0,
            label: None,
        };
        let values = [floats(vec![2], &[0.0, 40.0])];
        let scores: [f64; 4] = scored(given, &values, &["no", "yes"]).unwrap();
        assert_eq!(scores[..2], [0.5, 0.5]);
        assert!(scores[3] > 0.999_999);
    }

    #[test]
    fn the_nearest_segment_has_the_largest_share() {
        let given = Given::Distances {
            output: 0,
            label: None,
        };
        let values = [floats(vec![1, 3], &[2.0, 1.0, 3.0])];
        let scores: [f64; 3] = scored(given, &values, &["a", "b", "c"]).unwrap();
        assert_eq!(highest(&scores), 1);
    }

    #[test]
    fn values_of_another_shape_give_no_scores() {
        let given = Given::Number { output: 0 };
        let values = [floats(vec![1, 2], &[1.0, 2.0])];
        assert_eq!(scored::<1>(given, &values, &[]), None);
    }

    #[test]
    fn a_label_that_has_no_name_gives_no_scores() {
        let given = Given::Label { output: 0 };
        assert_eq!(scored::<2>(given, &[integers(&[7])], &["0", "1"]), None);
    }
}
