//! ONNX graphs: which input takes which features, and which output is the answer.
//!
//! The graph is tried on made-up rows ([`super::probe`]); what comes out decides, and a graph whose answer cannot be told
//! is refused here rather than misunderstood later.

use super::probe::{self, Known, Probed, Seen};
use super::{ImportError, Parts, Wanted};
use crate::train;
use ombud_core::schema::{Feature, Kind, Missing};
use ombud_core::task::Outputs;
use ombud_core::{Schema, Task};
use ombud_engine::answering::highest;
use ombud_engine::bundle::Files;
use ombud_engine::engine::{Given, Mapping, OnnxEngine, OnnxEngineError};
use ombud_engine::model::{MAPPING_FILE, ONNX_FILE};
use ombud_engine::onnx::{Element, Input, OnnxModel};
use ombud_engine::shown;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// How far probabilities may add up to something else than one: they are in single precision.
const SUM_TOLERANCE: f64 = 1e-3;
/// Words tried in text inputs.
const WORDS_MAX: usize = 256;

/// What was understood.
struct Understood {
    answer: Given,
    labels: Vec<String>,
    outputs: Outputs,
    task: Task,
}

/// A graph as the parts of a bundle.
pub(super) fn read(bytes: &[u8], wanted: &Wanted) -> Result<Parts, ImportError> {
    let model = OnnxModel::open(bytes.to_vec())?;
    let own = own_features(&model, wanted)?;
    let is_named = model.inputs().iter().all(|input| width(input) == Some(1));
    let schema = wanted.resolve(own, is_named)?;
    let mut mapping = Mapping {
        inputs: places(&model, &schema)?,
        answer: Given::Number { output: 0 },
        labels: Vec::new(),
    };
    let asked =
        probe::lenient(&schema).ok_or_else(|| misfit("its features contradict each other"))?;
    let known = Known {
        words: words(&model),
        numbers: model
            .categories()
            .iter()
            .map(|&number| number as f64)
            .collect(),
    };
    let engine = OnnxEngine::new(model, mapping.clone(), asked.clone(), 1).map_err(refused)?;
    let probed = probe::run(&engine, &asked, &known)?;
    let mut warnings = Vec::new();
    let understood = understand(engine.model(), &probed, wanted, &mut warnings)?;
    let schema = with_needed(&schema, &probed.needed(&engine, &asked))?;
    mapping.answer = understood.answer;
    mapping.labels = understood.labels;
    let mut files = Files::new();
    train::add(&mut files, ONNX_FILE, bytes.to_vec())?;
    train::add_json(&mut files, MAPPING_FILE, &mapping)?;
    let producer = shown::name(engine.model().producer());
    warnings.push("an ONNX graph gives no reasons for its answers".into());
    Ok(Parts {
        task: understood.task,
        engine: "onnx",
        schema,
        outputs: understood.outputs,
        files,
        parameters: BTreeMap::from([("producer".to_owned(), json!(producer))]),
        warnings,
    })
}

/// Names given for this many classes, labels or segments.
pub(super) fn named(wanted: &Wanted, count: usize) -> Result<Option<Vec<String>>, ImportError> {
    match wanted.names.len() {
        0 => Ok(None),
        _ => named_apart(&wanted.names, count),
    }
}

/// What stands in `levels`, if it can be told apart.
fn named_apart(names: &[String], count: usize) -> Result<Option<Vec<String>>, ImportError> {
    let place = |name: &String| names.iter().position(|other| other == name);
    let twice = names.iter().enumerate().find_map(|(at, name)| {
        let first = place(name).filter(|first| *first < at)?;
        Some((first, at, name))
    });
    if let Some((first, second, name)) = twice {
        return Err(ImportError::Schema {
            what: format!(
                "gives one name to two classes: levels {} and {} are both {name:?}",
                first + 1,
                second + 1
            ),
            hint: "give every class a name of its own in `levels`".into(),
        });
    }
    if let Some(blank) = names.iter().position(|name| name.trim().is_empty()) {
        return Err(ImportError::Schema {
            what: format!(
                "leaves a class without a name: level {} is empty",
                blank + 1
            ),
            hint: "give every class a name in `levels`".into(),
        });
    }
    match names.len() {
        found if found == count => Ok(Some(names.to_vec())),
        found => Err(ImportError::Schema {
            what: format!("names {found} classes, and the model has {count}"),
            hint: "list all of them in `levels`, in the model's order".into(),
        }),
    }
}

/// An input's name where it takes one column, else `f0`, `f1`, … as XGBoost has it, after the input's name when there are
/// several.
fn own_features(model: &OnnxModel, wanted: &Wanted) -> Result<Vec<Feature>, ImportError> {
    let is_alone = model.inputs().len() == 1;
    let mut features = Vec::new();
    for input in model.inputs() {
        let kind = match input.element {
            Element::Text => Kind::Text,
            _ => Kind::number(),
        };
        match width(input) {
            Some(1) => features.push(Feature::new(&input.name, kind)),
            Some(width) if width <= ombud_core::schema::FEATURES_MAX => {
                features.extend((0..width).map(|place| {
                    let name = match is_alone {
                        true => format!("f{place}"),
                        false => format!("{}_{place}", input.name),
                    };
                    Feature::new(&name, kind.clone())
                }));
            }
            Some(width) => {
                return Err(ImportError::Unsupported {
                    what: format!("takes {width} numbers in the input {:?}", input.name),
                    hint: "say with --schema that they are one sequence".into(),
                });
            }
            None if wanted.is_silent() => {
                return Err(ImportError::Schema {
                    what: format!(
                        "is needed: the file does not say how many columns the input {:?} takes",
                        input.name
                    ),
                    hint: "list the features in the model's order with --schema FILE".into(),
                });
            }
            // Whoever lists the features says how many there are.
            None => return Ok(Vec::new()),
        }
    }
    Ok(features)
}

/// Columns of an input, when the file says.
fn width(input: &Input) -> Option<usize> {
    match input.shape.as_slice() {
        [] => None,
        [_] => Some(1),
        [_, rest @ ..] => rest.iter().copied().product(),
    }
}

/// Hands the features to the inputs in order, as many to each as it has columns.
fn places(model: &OnnxModel, schema: &Schema) -> Result<Vec<Vec<usize>>, ImportError> {
    let features = schema.features();
    let mut next = 0;
    let mut places = Vec::with_capacity(model.inputs().len());
    for (index, input) in model.inputs().iter().enumerate() {
        let is_last = index + 1 == model.inputs().len();
        let wanted = width(input);
        let mut taken = Vec::new();
        let mut columns = 0;
        while next < features.len() && (is_last || wanted.is_none_or(|wanted| columns < wanted)) {
            columns += super::schema::columns(&features[next].kind);
            taken.push(next);
            next += 1;
        }
        places.push(taken);
    }
    if next < features.len() {
        return Err(misfit("it takes fewer features than the schema has"));
    }
    Ok(places)
}

/// Words that the graph itself knows, for trying it.
fn words(model: &OnnxModel) -> Vec<String> {
    let known: BTreeSet<&String> = model.class_names().iter().flatten().collect();
    known.into_iter().take(WORDS_MAX).cloned().collect()
}

fn with_needed(schema: &Schema, needed: &[usize]) -> Result<Schema, ImportError> {
    let mut features = schema.features().to_vec();
    for place in needed {
        features[*place].missing = Missing::Refused;
    }
    Schema::new(features, schema.columns.clone()).map_err(|error| misfit(&error.to_string()))
}

fn understand(
    model: &OnnxModel,
    probed: &Probed,
    wanted: &Wanted,
    warnings: &mut Vec<String>,
) -> Result<Understood, ImportError> {
    let outputs = &probed.outputs;
    let label = outputs
        .iter()
        .position(|seen| matches!(seen, Seen::Labels(_)));
    let scores = outputs
        .iter()
        .position(|seen| matches!(seen, Seen::Numbers { .. }));
    if let Some(own) = of_our_own(model, outputs, wanted)? {
        return Ok(own);
    }
    let found = Found {
        model,
        wanted,
        label: label.and_then(|place| match &outputs[place] {
            Seen::Labels(texts) => Some((place, texts.as_slice())),
            _ => None,
        }),
    };
    if let Some(understood) = found.columns(outputs, warnings)? {
        return Ok(understood);
    }
    match scores.map(|place| (place, &outputs[place])) {
        Some((place, Seen::Numbers { width, rows, keys })) => match (width, found.label) {
            (1, None) => found.one_number(place, rows),
            (1, Some(_)) => found.one_margin(place, rows, warnings),
            (_, None) => found.table_alone(place, rows, *width, warnings),
            (_, Some(label)) => found.table(place, rows, keys.as_deref(), label, warnings),
        },
        _ => found.label_alone(warnings),
    }
}

/// What Ombud itself exported says its names in the file.
fn of_our_own(
    model: &OnnxModel,
    outputs: &[Seen],
    wanted: &Wanted,
) -> Result<Option<Understood>, ImportError> {
    let place = |name: &str| model.outputs().iter().position(|output| output == name);
    let Some(names) = model.metadata("names") else {
        return Ok(None);
    };
    let labels: Vec<String> = names.split('\n').map(str::to_owned).collect();
    let width = |place: usize| match outputs.get(place) {
        Some(Seen::Numbers { width, .. }) => *width,
        _ => 0,
    };
    let (task, output) = match (
        place("labels"),
        place("memberships"),
        place("probabilities"),
    ) {
        (Some(_), _, Some(output)) => (Task::MultiLabel, output),
        (_, Some(output), _) => (Task::Clustering, output),
        _ => return Ok(None),
    };
    if width(output) != labels.len() {
        return Ok(None);
    }
    let names = named(wanted, labels.len())?.unwrap_or_else(|| labels.clone());
    let (answer, outputs) = match task {
        Task::MultiLabel => (Given::Independent { output }, Outputs::Labels { names }),
        _ => (
            Given::Probabilities {
                output,
                label: place("label"),
            },
            Outputs::Segments { names },
        ),
    };
    Ok(Some(Understood {
        answer,
        labels,
        outputs,
        task,
    }))
}

/// What is known while the answer is looked for.
struct Found<'a> {
    model: &'a OnnxModel,
    wanted: &'a Wanted,
    label: Option<(usize, &'a [String])>,
}

impl Found<'_> {
    /// A table of scores beside a label.
    fn table(
        &self,
        output: usize,
        rows: &[Vec<f64>],
        keys: Option<&[String]>,
        (place, labels): (usize, &[String]),
        warnings: &mut Vec<String>,
    ) -> Result<Understood, ImportError> {
        let width = rows.first().map_or(0, Vec::len);
        let label = Some(place);
        let best: Vec<usize> = rows.iter().map(|row| highest(row)).collect();
        let nearest: Vec<usize> = rows.iter().map(|row| lowest(row)).collect();
        let are_shares = are_probabilities(rows);
        let numbered: Vec<String> = (0..width).map(|class| class.to_string()).collect();
        let is_distance = !are_shares
            && keys.is_none()
            && rows.iter().flatten().all(|x| *x >= 0.0)
            && agreement(&numbered, &nearest, labels) == labels.len();
        if is_distance || (are_shares && self.wanted.task == Some(Task::Clustering)) {
            let answer = match is_distance {
                true => Given::Distances { output, label },
                false => Given::Probabilities { output, label },
            };
            return self.segments(answer, numbered);
        }
        let own = match keys {
            Some(keys) => keys.to_vec(),
            None => self.names_of(width, &best, labels)?,
        };
        let answer = if are_shares {
            if agreement(&own, &best, labels) < labels.len() {
                warnings.push(OTHER_LABEL.into());
            }
            Given::Probabilities { output, label }
        } else {
            warnings.push(NO_PROBABILITIES.into());
            Given::Margins { output, label }
        };
        self.classes(answer, own)
    }

    /// One output a class beside a label: skl2onnx's `zipmap="columns"`.
    fn columns(
        &self,
        outputs: &[Seen],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Understood>, ImportError> {
        let Some((place, labels)) = self.label else {
            return Ok(None);
        };
        let column = |seen: &Seen| match seen {
            Seen::Numbers { width: 1, rows, .. } => Some(rows.clone()),
            _ => None,
        };
        let columns: Vec<(usize, Vec<Vec<f64>>)> = outputs
            .iter()
            .enumerate()
            .filter_map(|(output, seen)| Some((output, column(seen)?)))
            .collect();
        let [(first, _), .., (last, _)] = columns.as_slice() else {
            return Ok(None);
        };
        let (first, count) = (*first, columns.len());
        let rows: Vec<Vec<f64>> = (0..labels.len())
            .map(|row| columns.iter().map(|(_, rows)| rows[row][0]).collect())
            .collect();
        if last - first + 1 != count || !are_probabilities(&rows) {
            return Err(ImportError::Unsupported {
                what: format!(
                    "gives {count} outputs of one number each, which are no probabilities of classes together"
                ),
                hint:
                    "convert it with one table of scores: options={id(model): {\"zipmap\": False}}"
                        .into(),
            });
        }
        let best: Vec<usize> = rows.iter().map(|row| highest(row)).collect();
        let own = self.names_of(count, &best, labels)?;
        if agreement(&own, &best, labels) < labels.len() {
            warnings.push(OTHER_LABEL.into());
        }
        let answer = Given::Columns {
            first,
            count,
            label: place,
        };
        self.classes(answer, own).map(Some)
    }

    /// Scores alone: probabilities by their sum, or by what was said about them.
    fn table_alone(
        &self,
        output: usize,
        rows: &[Vec<f64>],
        width: usize,
        warnings: &mut Vec<String>,
    ) -> Result<Understood, ImportError> {
        let numbered: Vec<String> = (0..width).map(|class| class.to_string()).collect();
        if self.wanted.task == Some(Task::MultiLabel) {
            let names = named(self.wanted, width)?.unwrap_or(numbered);
            return Ok(Understood {
                answer: Given::Independent { output },
                labels: Vec::new(),
                outputs: Outputs::Labels { names },
                task: Task::MultiLabel,
            });
        }
        if are_probabilities(rows) {
            return self.classes(
                Given::Probabilities {
                    output,
                    label: None,
                },
                numbered,
            );
        }
        if self.wanted.names.len() == width {
            warnings.push(NO_PROBABILITIES.into());
            return self.classes(
                Given::Margins {
                    output,
                    label: None,
                },
                numbered,
            );
        }
        Err(ImportError::Unsupported {
            what: format!(
                "gives {width} numbers a row, which are no probabilities, and a bundle answers one"
            ),
            hint: "name the classes with `[data] levels` in --schema if they are scores of classes"
                .into(),
        })
    }

    /// One number without a label: the answer itself, unless two classes were named.
    fn one_number(&self, output: usize, rows: &[Vec<f64>]) -> Result<Understood, ImportError> {
        let is_share = rows.iter().flatten().all(|x| (0.0..=1.0).contains(x));
        if self.wanted.names.len() == 2 {
            let answer = match is_share {
                true => Given::Second { output },
                false => Given::Margins {
                    output,
                    label: None,
                },
            };
            return self.classes(answer, vec!["0".into(), "1".into()]);
        }
        let name = self.wanted.columns.target.clone();
        Ok(Understood {
            answer: Given::Number { output },
            labels: Vec::new(),
            outputs: Outputs::Number {
                name: name.unwrap_or_else(|| "value".into()),
            },
            task: Task::Regression,
        })
    }

    /// One number beside a label tells two classes apart.
    fn one_margin(
        &self,
        output: usize,
        rows: &[Vec<f64>],
        warnings: &mut Vec<String>,
    ) -> Result<Understood, ImportError> {
        let (place, labels) = match self.label {
            Some(found) => found,
            None => return self.one_number(output, rows),
        };
        let is_share = rows.iter().flatten().all(|x| (0.0..=1.0).contains(x));
        let above = |limit: f64| -> Vec<usize> {
            rows.iter().map(|row| usize::from(row[0] > limit)).collect()
        };
        if is_share {
            let own = self.names_of(2, &above(0.5), labels)?;
            if agreement(&own, &above(0.5), labels) == labels.len() {
                return self.classes(Given::Second { output }, own);
            }
        }
        let own = self.names_of(2, &above(0.0), labels)?;
        warnings.push(NO_PROBABILITIES.into());
        let answer = Given::Margins {
            output,
            label: Some(place),
        };
        self.classes(answer, own)
    }

    fn label_alone(&self, warnings: &mut Vec<String>) -> Result<Understood, ImportError> {
        let Some((output, labels)) = self.label else {
            return Err(ImportError::Unsupported {
                what: "gives nothing that a row could be answered with".into(),
                hint: "export the predictor, not a transformer or a part of it".into(),
            });
        };
        let holds_all = |list: &&Vec<String>| labels.iter().all(|label| list.contains(label));
        let own = self.model.class_names().iter().find(holds_all).cloned();
        let said = (!self.wanted.names.is_empty()).then(|| self.wanted.names.clone());
        let own = own.or(said).ok_or_else(unnamed)?;
        warnings.push(NO_PROBABILITIES.into());
        self.classes(Given::Label { output }, own)
    }

    /// The list of names in the graph that agrees best with the labels that were seen.
    fn names_of(
        &self,
        width: usize,
        chosen: &[usize],
        labels: &[String],
    ) -> Result<Vec<String>, ImportError> {
        let numbered: Vec<String> = (0..width).map(|class| class.to_string()).collect();
        let inlier = vec!["-1".to_owned(), "1".to_owned()];
        let said = self.wanted.names.clone();
        let lists = self
            .model
            .class_names()
            .iter()
            .chain([&numbered, &inlier, &said]);
        let fits = |list: &&Vec<String>| {
            list.len() == width && labels.iter().all(|label| list.contains(label))
        };
        // Of equals the first wins: the graph's own lists stand before the numbers.
        let mut best: Option<(usize, &Vec<String>)> = None;
        for list in lists.filter(fits) {
            let agreed = agreement(list, chosen, labels);
            if best.is_none_or(|(most, _)| agreed > most) {
                best = Some((agreed, list));
            }
        }
        best.map(|(_, list)| list.clone()).ok_or_else(unnamed)
    }

    fn classes(&self, answer: Given, own: Vec<String>) -> Result<Understood, ImportError> {
        let said = named(self.wanted, own.len())?;
        let is_same_set = |said: &Vec<String>| own.iter().all(|name| said.contains(name));
        // Whoever repeats the file's own names means them, in whichever order.
        let names = said
            .filter(|said| !is_same_set(said))
            .unwrap_or_else(|| own.clone());
        let task = match self.wanted.task {
            Some(Task::Ordered) => Task::Ordered,
            _ => Task::Classification,
        };
        Ok(Understood {
            answer,
            labels: own,
            outputs: Outputs::Classes { names },
            task,
        })
    }

    fn segments(&self, answer: Given, own: Vec<String>) -> Result<Understood, ImportError> {
        let names = named(self.wanted, own.len())?.unwrap_or_else(|| own.clone());
        Ok(Understood {
            answer,
            labels: own,
            outputs: Outputs::Segments { names },
            task: Task::Clustering,
        })
    }
}

const OTHER_LABEL: &str = "on some rows the file's own label is not its most probable class; the most probable one is answered";
const NO_PROBABILITIES: &str = "the file gives no probabilities: the shares put the classes in order and say nothing of how sure an answer is";

fn unnamed() -> ImportError {
    ImportError::Schema {
        what: "is needed: the names of the classes cannot be found in the file".into(),
        hint: "list them in the model's order: `[data]` and `levels = [\"…\", \"…\"]` in --schema"
            .into(),
    }
}

/// Rows whose chosen class has the label that was seen.
fn agreement(names: &[String], chosen: &[usize], labels: &[String]) -> usize {
    let pairs = chosen.iter().zip(labels);
    pairs
        .filter(|(class, label)| names.get(**class) == Some(label))
        .count()
}

fn are_probabilities(rows: &[Vec<f64>]) -> bool {
    let is_share = |x: &f64| (-SUM_TOLERANCE..=1.0 + SUM_TOLERANCE).contains(x);
    let has_gap = |row: &&Vec<f64>| row.iter().any(|x| x.is_nan());
    rows.iter().filter(|row| !has_gap(row)).all(|row| {
        let sum: f64 = row.iter().sum();
        row.iter().all(is_share) && (sum - 1.0).abs() <= SUM_TOLERANCE
    })
}

fn lowest(row: &[f64]) -> usize {
    let negative: Vec<f64> = row.iter().map(|x| -x).collect();
    highest(&negative)
}

fn misfit(reason: &str) -> ImportError {
    ImportError::Schema {
        what: format!("does not fit the model: {reason}"),
        hint: "name and type the features in the model's order with --schema FILE".into(),
    }
}

fn refused(error: OnnxEngineError) -> ImportError {
    match error {
        OnnxEngineError::Model(error) => error.into(),
        OnnxEngineError::Mapping { reason } => misfit(&reason),
    }
}
