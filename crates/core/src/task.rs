//! What a model is asked to do, and what its answers are made of.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of question a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of several classes.
    Classification,
    /// Any number of labels at once.
    MultiLabel,
    /// One of several classes that have an order.
    Ordered,
    /// A number.
    Regression,
    /// A segment found in the data, without a label to learn from.
    Clustering,
}

impl Task {
    /// The word used in recipes and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Classification => "classification",
            Task::MultiLabel => "multi_label",
            Task::Ordered => "ordered",
            Task::Regression => "regression",
            Task::Clustering => "clustering",
        }
    }

    /// Whether answers choose among named classes or labels.
    pub fn has_classes(self) -> bool {
        match self {
            Task::Classification | Task::MultiLabel | Task::Ordered => true,
            Task::Regression | Task::Clustering => false,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a model's raw scores mean, in the order the engine gives them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outputs {
    /// A probability for each class; for [`Task::Ordered`] the classes are in their order.
    Classes { names: Vec<String> },
    /// An independent probability for each label.
    Labels { names: Vec<String> },
    /// One number, in the target's unit.
    Number { name: String },
    /// A membership for each segment.
    Segments { names: Vec<String> },
}

impl Outputs {
    /// How many scores a row gets.
    pub fn width(&self) -> usize {
        match self {
            Outputs::Classes { names }
            | Outputs::Labels { names }
            | Outputs::Segments { names } => names.len(),
            Outputs::Number { .. } => 1,
        }
    }

    /// Whether a task is answered this way.
    pub fn fits(&self, task: Task) -> bool {
        match self {
            Outputs::Classes { .. } => matches!(task, Task::Classification | Task::Ordered),
            Outputs::Labels { .. } => task == Task::MultiLabel,
            Outputs::Number { .. } => task == Task::Regression,
            Outputs::Segments { .. } => task == Task::Clustering,
        }
    }

    /// The first name that stands twice: two answers that no reader can tell apart.
    pub fn repeated_name(&self) -> Option<&str> {
        let mut seen = std::collections::HashSet::new();
        let names = self.names().iter().map(String::as_str);
        names.into_iter().find(|name| !seen.insert(*name))
    }

    /// The names of classes, labels or segments; none for a number.
    pub fn names(&self) -> &[String] {
        match self {
            Outputs::Classes { names }
            | Outputs::Labels { names }
            | Outputs::Segments { names } => names,
            Outputs::Number { .. } => &[],
        }
    }
}
