//! What really happened, in the words of the model that was asked.
//!
//! An outcome that the model could never have answered would count against it for ever, so a word it does not know is refused
//! with the nearest one it does. A class that looks like a number or a truth may come as one.

use ombud_core::nearest::nearest;
use ombud_core::refusal::Fault;
use ombud_core::task::Outputs;
use serde_json::Value;

/// The field of a report.
const FIELD: &str = "value";
/// Names that are listed when none is close.
const NAMES_LISTED_MAX: usize = 20;

/// The value as the model's answers say it.
pub(super) fn in_words_of(outputs: &Outputs, value: Value) -> Result<Value, Fault> {
    match outputs {
        Outputs::Number { .. } if value.is_number() => Ok(value),
        Outputs::Number { name } => Err(fault(&value, format!("a number ({name})"))),
        Outputs::Classes { names } | Outputs::Segments { names } => known(names, &value),
        Outputs::Labels { names } => {
            let Value::Array(labels) = &value else {
                return Err(fault(&value, "a list of labels".to_owned()));
            };
            let labels: Result<Vec<Value>, Fault> =
                labels.iter().map(|label| known(names, label)).collect();
            labels.map(Value::Array)
        }
    }
}

fn known(names: &[String], value: &Value) -> Result<Value, Fault> {
    let came = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        other => return Err(fault(other, listed(names))),
    };
    if names.contains(&came) {
        return Ok(Value::String(came));
    }
    let near = nearest(&came, names.iter().map(String::as_str));
    Err(fault(value, listed(names)).near(near))
}

fn fault(value: &Value, allowed: String) -> Fault {
    Fault::new(FIELD, &value.to_string(), allowed)
}

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names
        .iter()
        .take(NAMES_LISTED_MAX)
        .map(String::as_str)
        .collect();
    let rest = names.len() - shown.len();
    match rest {
        0 => format!("one of {}", shown.join(", ")),
        _ => format!("one of {} and {rest} others", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_class_may_come_as_the_number_or_truth_that_it_looks_like() {
        let classes = |all: &[&str]| Outputs::Classes { names: names(all) };
        let taken = |outputs: Outputs, value| in_words_of(&outputs, value);
        assert_eq!(taken(classes(&["0", "1"]), json!(1)), Ok(json!("1")));
        assert_eq!(
            taken(classes(&["false", "true"]), json!(true)),
            Ok(json!("true"))
        );
        assert_eq!(
            taken(classes(&["no", "yes"]), json!("yes")),
            Ok(json!("yes"))
        );
    }

    #[test]
    fn another_word_is_refused_with_the_nearest_one() {
        let outputs = Outputs::Classes {
            names: names(&["denied", "upheld"]),
        };
        let refused = in_words_of(&outputs, json!("Uphelt")).unwrap_err();
        assert_eq!(refused.path, "value");
        assert_eq!(refused.nearest.as_deref(), Some("upheld"));
        assert_eq!(refused.allowed, "one of denied, upheld");
        let refused = in_words_of(&outputs, json!(["upheld"])).unwrap_err();
        assert_eq!(refused.nearest, None);
    }

    #[test]
    fn labels_are_a_list_of_known_ones_and_a_number_is_a_number() {
        let labels = Outputs::Labels {
            names: names(&["anger", "fear"]),
        };
        assert!(in_words_of(&labels, json!([])).is_ok());
        assert!(in_words_of(&labels, json!(["fear"])).is_ok());
        assert!(in_words_of(&labels, json!("fear")).is_err());
        let refused = in_words_of(&labels, json!(["fear", "angr"])).unwrap_err();
        assert_eq!(refused.nearest.as_deref(), Some("anger"));
        let number = Outputs::Number {
            name: "days".to_owned(),
        };
        assert!(in_words_of(&number, json!(12.5)).is_ok());
        assert!(in_words_of(&number, json!("12.5")).is_err());
    }
}
