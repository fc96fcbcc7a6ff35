//! Answers as tensors: those that were asked for, in the order in which they were asked for.
//!
//! What is asked is checked before anybody is answered ([`Plan`]), so that no decision is on record that could not be told.

use crate::error::{Error, Result};
use crate::model::{
    self, DECISION_ID, EXPLANATION, INTERVAL, LABEL, LABELS, PREDICTION, PROBABILITIES, Slot,
};
use crate::request::{Request, Wanted};
use crate::response::Output;
use crate::tensor::{Data, Datatype, Parameters, Tensor};
use bytes::Bytes;
use ombud_core::task::Outputs;
use serde_json::Value;
use std::collections::BTreeMap;

/// An answer about one row.
#[derive(Debug, Clone)]
pub struct Told<'a> {
    /// The class or segment, a list of labels, or a number.
    pub prediction: &'a Value,
    /// By class, label or segment.
    pub probabilities: &'a BTreeMap<String, f64>,
    pub interval: Option<(f64, f64)>,
    pub decision_id: String,
    /// As JSON, where it was asked for.
    pub explanation: Option<String>,
}

/// The outputs of an answer.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    names: &'a [String],
    wanted: Vec<Wanted>,
}

impl<'a> Plan<'a> {
    /// What a request wants of a model.
    pub fn new(outputs: &'a Outputs, request: &Request) -> Result<Self> {
        let given = model::outputs(outputs);
        let every = |slot: &Slot| Wanted {
            name: slot.name.clone(),
            is_binary: request.is_binary,
            classification: None,
        };
        let wanted = match request.outputs.as_slice() {
            [] => given.iter().map(every).collect(),
            named => named.to_vec(),
        };
        for output in &wanted {
            let is_interval = output.name == INTERVAL && matches!(outputs, Outputs::Number { .. });
            let is_given = given.iter().any(|slot| slot.name == output.name);
            if !(is_given || is_interval || output.name == EXPLANATION) {
                let mut allowed: Vec<&str> = given.iter().map(|slot| slot.name.as_str()).collect();
                allowed.push(EXPLANATION);
                return Err(Error::UnknownOutput {
                    came: output.name.chars().take(80).collect(),
                    allowed: allowed.join(", "),
                });
            }
            if output.classification.is_some() && output.name != PROBABILITIES {
                return Err(Error::Classification(output.name.clone()));
            }
        }
        Ok(Plan {
            names: outputs.names(),
            wanted,
        })
    }

    /// Whether reasons are wanted.
    pub fn explains(&self) -> bool {
        self.wanted.iter().any(|output| output.name == EXPLANATION)
    }

    /// The tensors of these answers.
    pub fn outputs(&self, told: &[Told<'_>]) -> Vec<Output> {
        let output = |wanted: &Wanted| Output {
            tensor: self.tensor(wanted, told),
            is_binary: wanted.is_binary,
        };
        self.wanted.iter().map(output).collect()
    }

    fn tensor(&self, wanted: &Wanted, told: &[Told<'_>]) -> Tensor {
        let (datatype, width, data) = match wanted.name.as_str() {
            LABEL => texts(told, |told| plain(told.prediction)),
            DECISION_ID => texts(told, |told| told.decision_id.clone()),
            EXPLANATION => texts(told, |told| told.explanation.clone().unwrap_or_default()),
            LABELS => {
                let applies = |told: &Told<'_>, name: &String| {
                    let labels = told.prediction.as_array();
                    labels.is_some_and(|labels| labels.iter().any(|label| label == name.as_str()))
                };
                let flags = told
                    .iter()
                    .flat_map(|told| self.names.iter().map(move |name| applies(told, name)));
                (
                    Datatype::Bool,
                    self.names.len(),
                    Data::Bools(flags.collect()),
                )
            }
            PREDICTION => {
                let numbers = told
                    .iter()
                    .map(|told| told.prediction.as_f64().unwrap_or(f64::NAN));
                (Datatype::Fp64, 1, Data::Doubles(numbers.collect()))
            }
            INTERVAL => {
                let ends = told
                    .iter()
                    .map(|told| told.interval.unwrap_or((f64::NAN, f64::NAN)));
                (
                    Datatype::Fp64,
                    2,
                    Data::Doubles(ends.flat_map(|(low, high)| [low, high]).collect()),
                )
            }
            _ => match wanted.classification {
                Some(count) => self.classes(told, count.min(self.names.len())),
                None => {
                    let scores = told.iter().flat_map(|told| self.scores(told));
                    (
                        Datatype::Fp64,
                        self.names.len(),
                        Data::Doubles(scores.collect()),
                    )
                }
            },
        };
        Tensor {
            name: wanted.name.clone(),
            datatype,
            shape: vec![told.len() as u64, width as u64],
            parameters: Parameters::new(),
            data,
        }
    }

    fn scores(&self, told: &Told<'_>) -> Vec<f64> {
        let score = |name: &String| told.probabilities.get(name).copied().unwrap_or(f64::NAN);
        self.names.iter().map(score).collect()
    }

    /// The best classes of each row as Triton writes them: `score:index:label`.
    fn classes(&self, told: &[Told<'_>], count: usize) -> (Datatype, usize, Data) {
        let mut texts = Vec::with_capacity(told.len() * count);
        for told in told {
            let scores = self.scores(told);
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
            let class =
                |index: usize| format!("{:.6}:{index}:{}", scores[index], self.names[index]);
            texts.extend(
                order
                    .into_iter()
                    .take(count)
                    .map(|index| Some(Bytes::from(class(index)))),
            );
        }
        (Datatype::Bytes, count, Data::Texts(texts))
    }
}

fn texts(told: &[Told<'_>], text: impl Fn(&Told<'_>) -> String) -> (Datatype, usize, Data) {
    let texts = told.iter().map(|told| Some(Bytes::from(text(told))));
    (Datatype::Bytes, 1, Data::Texts(texts.collect()))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(prediction: &'a Value, probabilities: &'a BTreeMap<String, f64>) -> Told<'a> {
        Told {
            prediction,
            probabilities,
            interval: None,
            decision_id: "d1".to_owned(),
            explanation: None,
        }
    }

    fn request(outputs: Vec<Wanted>) -> Request {
        Request {
            outputs,
            ..Request::default()
        }
    }

    fn wanted(name: &str, classification: Option<usize>) -> Wanted {
        Wanted {
            name: name.to_owned(),
            is_binary: false,
            classification,
        }
    }

    #[test]
    fn classes_come_best_first_with_their_places() {
        let outputs = Outputs::Classes {
            names: vec!["lost".into(), "open".into(), "won".into()],
        };
        let request = request(vec![
            wanted("probabilities", Some(2)),
            wanted("label", None),
        ]);
        let plan = Plan::new(&outputs, &request).expect("a plan");
        let scores = [("lost", 0.125), ("open", 0.25), ("won", 0.625)];
        let scores = scores.map(|(name, score)| (name.to_owned(), score)).into();
        let given = plan.outputs(&[told(&Value::from("won"), &scores)]);
        let text = |text: &'static str| Some(Bytes::from(text));
        assert_eq!(
            given[0].tensor.data,
            Data::Texts(vec![text("0.625000:2:won"), text("0.250000:1:open")])
        );
        assert_eq!(given[0].tensor.shape, [1, 2]);
        assert_eq!(given[1].tensor.data, Data::Texts(vec![text("won")]));
    }

    #[test]
    fn what_a_model_does_not_give_is_refused_before_anybody_is_answered() {
        let outputs = Outputs::Number {
            name: "days".into(),
        };
        for wrong in [wanted("probabilities", None), wanted("prediction", Some(1))] {
            assert!(Plan::new(&outputs, &request(vec![wrong])).is_err());
        }
        assert!(Plan::new(&outputs, &request(vec![wanted("interval", None)])).is_ok());
        let plan = Plan::new(&outputs, &request(Vec::new())).expect("a plan");
        assert!(!plan.explains());
    }
}
