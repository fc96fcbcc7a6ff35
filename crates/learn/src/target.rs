//! What is predicted, as numbers: classes as codes, labels as flags, or the number itself.
//!
//! Decides the task when the recipe does not, and the order of classes once and for all: it is the order of
//! probabilities in every answer. Rows without a target cannot be learned from and are named to the caller.

use crate::recipe::Recipe;
use arrow_array::{Array, ArrayRef};
use ombud_core::Task;
use ombud_core::frame::{is_missing_word, numbers, texts};
use ombud_core::task::Outputs;
use std::collections::{BTreeMap, HashMap};

/// Most classes; a column with more is no class but an identifier.
pub const CLASSES_MAX: usize = 10_000;
/// Fewest rows a class needs before it can be learned and measured.
pub const CLASS_ROWS_MIN: usize = 2;
/// A numeric target with at most this many distinct whole values is taken for classes.
const DISTINCT_CLASSES_MAX: usize = 10;
/// Separates several labels in one cell unless the recipe says otherwise.
const LABEL_SEPARATOR: &str = "|";

/// The target of every kept row.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// One class per row.
    Classes {
        /// In the order of probabilities; for [`Task::Ordered`] lowest first; for two, the positive one last.
        names: Vec<String>,
        /// The class of each row.
        codes: Vec<u32>,
        /// Whether the order means something.
        is_ordered: bool,
    },
    /// Any number of labels per row.
    Labels {
        /// In the order of probabilities.
        names: Vec<String>,
        /// Row after row, whether each label holds.
        flags: Vec<bool>,
    },
    /// A number per row.
    Numbers(Vec<f64>),
    /// Nothing to learn from: the task is to find segments.
    Nothing {
        /// Number of rows.
        rows: usize,
    },
}

/// A target with the rows it was found in.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The target of the kept rows.
    pub target: Target,
    /// The rows kept, ascending.
    pub rows: Vec<u32>,
    /// Rows without a target.
    pub without: usize,
    /// Why this task, in words, when the data decided.
    pub why: Option<String>,
}

/// Why a column cannot be a target.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TargetError {
    #[error("the target {column:?} has no value in any row")]
    Empty { column: String },
    #[error("the target {column:?} has only one value, {value:?}: there is nothing to tell apart")]
    OneClass { column: String, value: String },
    #[error(
        "the target {column:?} has {count} different values, more than the {CLASSES_MAX} classes allowed"
    )]
    TooManyClasses { column: String, count: usize },
    #[error(
        "the target {column:?} is to be a number, and {count} cells are none, such as {example:?}"
    )]
    NotNumbers {
        column: String,
        count: usize,
        example: String,
    },
    #[error("the class {class:?} of the recipe does not occur in the target {column:?}")]
    UnknownClass {
        column: String,
        class: String,
        nearest: Option<String>,
    },
    #[error("the target {column:?} holds {value:?}, which is not among the levels of the recipe")]
    UnknownLevel { column: String, value: String },
    #[error("the order of the target {column:?} cannot be told from its words")]
    NoOrder { column: String },
    #[error("a positive class is only known to a target of two classes; {column:?} has {count}")]
    NotBinary { column: String, count: usize },
}

impl TargetError {
    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            TargetError::Empty { .. } => "name another column as target, or check the file".into(),
            TargetError::OneClass { .. } => {
                "use data in which both outcomes occur, or name another target".into()
            }
            TargetError::TooManyClasses { .. } => {
                "is it an identifier? set `task = \"regression\"` if it is a number, or name another target".into()
            }
            TargetError::NotNumbers { .. } => {
                "set `task = \"classification\"`, or mend the cells".into()
            }
            TargetError::UnknownClass { nearest: Some(nearest), .. } => format!("did you mean {nearest:?}?"),
            TargetError::UnknownClass { .. } | TargetError::UnknownLevel { .. } => {
                "classes are written exactly as in the data".into()
            }
            TargetError::NoOrder { .. } => {
                "give `levels`, lowest first, in [data]".into()
            }
            TargetError::NotBinary { .. } => "leave `positive` out".into(),
        }
    }
}

impl Target {
    /// How many rows.
    pub fn rows(&self) -> usize {
        match self {
            Target::Classes { codes, .. } => codes.len(),
            Target::Labels { names, flags } => flags.len() / names.len().max(1),
            Target::Numbers(numbers) => numbers.len(),
            Target::Nothing { rows } => *rows,
        }
    }

    /// The task it sets.
    pub fn task(&self) -> Task {
        match self {
            Target::Classes {
                is_ordered: true, ..
            } => Task::Ordered,
            Target::Classes { .. } => Task::Classification,
            Target::Labels { .. } => Task::MultiLabel,
            Target::Numbers(_) => Task::Regression,
            Target::Nothing { .. } => Task::Clustering,
        }
    }

    /// The classes of all rows, if there are any; what splits are stratified by.
    pub fn codes(&self) -> Option<&[u32]> {
        match self {
            Target::Classes { codes, .. } => Some(codes),
            _ => None,
        }
    }

    /// The names of classes or labels.
    pub fn names(&self) -> &[String] {
        match self {
            Target::Classes { names, .. } | Target::Labels { names, .. } => names,
            Target::Numbers(_) | Target::Nothing { .. } => &[],
        }
    }

    /// The target of some rows.
    pub fn take(&self, rows: &[u32]) -> Target {
        match self {
            Target::Classes {
                names,
                codes,
                is_ordered,
            } => Target::Classes {
                names: names.clone(),
                codes: rows.iter().map(|row| codes[*row as usize]).collect(),
                is_ordered: *is_ordered,
            },
            Target::Labels { names, flags } => {
                let width = names.len();
                let of =
                    |row: &u32| flags[*row as usize * width..(*row as usize + 1) * width].to_vec();
                Target::Labels {
                    names: names.clone(),
                    flags: rows.iter().flat_map(of).collect(),
                }
            }
            Target::Numbers(numbers) => {
                Target::Numbers(rows.iter().map(|row| numbers[*row as usize]).collect())
            }
            Target::Nothing { .. } => Target::Nothing { rows: rows.len() },
        }
    }
}

/// Reads the target column as the recipe's task asks, or as the data suggests.
pub fn find(column: &str, array: &ArrayRef, recipe: &Recipe) -> Result<Found, TargetError> {
    let cells = texts(array);
    let cell = |row: u32| {
        cells
            .is_valid(row as usize)
            .then(|| cells.value(row as usize).trim())
    };
    let is_known = |row: &u32| {
        cell(*row).is_some_and(|cell| {
            !is_missing_word(cell) && !recipe.data.exclude.iter().any(|e| e == cell)
        })
    };
    let mut rows: Vec<u32> = (0..cells.len() as u32).filter(is_known).collect();
    if rows.is_empty() {
        return Err(TargetError::Empty {
            column: column.to_owned(),
        });
    }
    let known: Vec<&str> = rows.iter().filter_map(|row| cell(*row)).collect();
    let (task, why) = match recipe.task {
        Some(task) => (task, None),
        None => {
            let (task, why) = suggest(array, &known, recipe);
            (task, Some(why))
        }
    };
    if task == Task::MultiLabel {
        // Where any number of labels may hold, an empty cell says that none does.
        let is_none = |row: &u32| cell(*row).unwrap_or_default().is_empty();
        rows = (0..cells.len() as u32)
            .filter(|row| is_none(row) || is_known(row))
            .collect();
    }
    let without = cells.len() - rows.len();
    let kept: Vec<&str> = rows
        .iter()
        .map(|row| cell(*row).unwrap_or_default())
        .collect();
    let target = match task {
        Task::Regression => as_numbers(column, array, &rows)?,
        Task::MultiLabel => as_labels(column, &kept, recipe)?,
        Task::Classification | Task::Ordered => as_classes(column, &kept, recipe, task)?,
        Task::Clustering => Target::Nothing { rows: rows.len() },
    };
    Ok(Found {
        target,
        rows,
        without,
        why,
    })
}

/// Reads a target column in the terms of a finished model; rows whose value it does not know are left out.
pub fn align(
    column: &str,
    array: &ArrayRef,
    task: Task,
    outputs: &Outputs,
    separator: Option<&str>,
) -> Result<Found, TargetError> {
    let names = outputs.names();
    let places: HashMap<&str, u32> = names
        .iter()
        .enumerate()
        .map(|(place, name)| (name.as_str(), place as u32))
        .collect();
    let cells = texts(array);
    let (values, _) = numbers(array);
    let cell = |row: u32| {
        cells
            .is_valid(row as usize)
            .then(|| cells.value(row as usize).trim())
    };
    let is_known = |row: &u32| match task {
        Task::Regression => values.is_valid(*row as usize),
        Task::Clustering => true,
        Task::MultiLabel => {
            !cell(*row).is_some_and(|cell| !cell.is_empty() && is_missing_word(cell))
        }
        Task::Classification | Task::Ordered => {
            cell(*row).is_some_and(|cell| places.contains_key(cell))
        }
    };
    let rows: Vec<u32> = (0..cells.len() as u32).filter(is_known).collect();
    if rows.is_empty() {
        return Err(TargetError::Empty {
            column: column.to_owned(),
        });
    }
    let target = match task {
        Task::Regression => {
            Target::Numbers(rows.iter().map(|row| values.value(*row as usize)).collect())
        }
        Task::Clustering => Target::Nothing { rows: rows.len() },
        Task::Classification | Task::Ordered => Target::Classes {
            names: names.to_vec(),
            codes: rows
                .iter()
                .filter_map(|row| places.get(cell(*row)?).copied())
                .collect(),
            is_ordered: task == Task::Ordered,
        },
        Task::MultiLabel => {
            let mut flags = vec![false; rows.len() * names.len()];
            for (place, row) in rows.iter().enumerate() {
                let labels = cell(*row)
                    .unwrap_or_default()
                    .split(separator.unwrap_or(LABEL_SEPARATOR));
                for label in labels.filter_map(|label| places.get(label.trim())) {
                    flags[place * names.len() + *label as usize] = true;
                }
            }
            Target::Labels {
                names: names.to_vec(),
                flags,
            }
        }
    };
    Ok(Found {
        target,
        without: cells.len() - rows.len(),
        rows,
        why: None,
    })
}

/// The task that the cells suggest.
fn suggest(array: &ArrayRef, kept: &[&str], recipe: &Recipe) -> (Task, String) {
    if !recipe.data.levels.is_empty() {
        return (
            Task::Ordered,
            "the recipe gives the levels of the target in their order".into(),
        );
    }
    let separated = kept
        .iter()
        .filter(|cell| cell.contains(LABEL_SEPARATOR))
        .count();
    if recipe.data.separator.is_some() || separated * 100 >= kept.len() {
        return (
            Task::MultiLabel,
            format!("{separated} cells of the target hold several labels"),
        );
    }
    let (values, unfit) = numbers(array);
    if unfit > 0 {
        return (Task::Classification, "the target holds words".into());
    }
    let mut distinct = std::collections::HashSet::new();
    let mut is_whole = true;
    for value in values.iter().flatten() {
        is_whole &= value.fract() == 0.0;
        distinct.insert(value.to_bits());
        if distinct.len() > DISTINCT_CLASSES_MAX {
            break;
        }
    }
    if is_whole && distinct.len() <= DISTINCT_CLASSES_MAX {
        (
            Task::Classification,
            format!("the target holds {} whole numbers", distinct.len()),
        )
    } else {
        (
            Task::Regression,
            "the target holds many different numbers".into(),
        )
    }
}

fn as_numbers(column: &str, array: &ArrayRef, rows: &[u32]) -> Result<Target, TargetError> {
    let (values, unfit) = numbers(array);
    if unfit > 0 {
        let cells = texts(array);
        let is_odd = |row: &&u32| values.is_null(**row as usize);
        let example = rows
            .iter()
            .find(is_odd)
            .map(|row| cells.value(*row as usize).to_owned())
            .unwrap_or_default();
        return Err(TargetError::NotNumbers {
            column: column.to_owned(),
            count: unfit,
            example,
        });
    }
    let numbers: Vec<f64> = rows.iter().map(|row| values.value(*row as usize)).collect();
    let is_constant = numbers.iter().all(|number| *number == numbers[0]);
    if is_constant {
        return Err(TargetError::OneClass {
            column: column.to_owned(),
            value: numbers[0].to_string(),
        });
    }
    Ok(Target::Numbers(numbers))
}

fn as_classes(
    column: &str,
    kept: &[&str],
    recipe: &Recipe,
    task: Task,
) -> Result<Target, TargetError> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in kept {
        *counts.entry(cell).or_default() += 1;
        if counts.len() > CLASSES_MAX {
            return Err(TargetError::TooManyClasses {
                column: column.to_owned(),
                count: counts.len(),
            });
        }
    }
    let mut names: Vec<String> = counts.keys().map(|name| (*name).to_owned()).collect();
    if names.len() < 2 {
        return Err(TargetError::OneClass {
            column: column.to_owned(),
            value: names.remove(0),
        });
    }
    sort_names(&mut names);
    let is_numbers = names.iter().all(|name| name.parse::<f64>().is_ok());
    if task == Task::Ordered && recipe.data.levels.is_empty() && !is_numbers {
        names = crate::infer::order_of(&names).ok_or_else(|| TargetError::NoOrder {
            column: column.to_owned(),
        })?;
    }
    if !recipe.data.levels.is_empty() {
        if let Some(value) = names.iter().find(|name| !recipe.data.levels.contains(name)) {
            return Err(TargetError::UnknownLevel {
                column: column.to_owned(),
                value: value.clone(),
            });
        }
        names.clone_from(&recipe.data.levels);
    }
    if let Some(positive) = &recipe.data.positive {
        positive_last(column, &mut names, positive)?;
    } else if names.len() == 2
        && recipe.data.levels.is_empty()
        && is_positive_word(&names[0])
        && !is_positive_word(&names[1])
    {
        names.swap(0, 1);
    }
    let places: HashMap<&str, u32> = names
        .iter()
        .enumerate()
        .map(|(place, name)| (name.as_str(), place as u32))
        .collect();
    let codes = kept.iter().map(|cell| places[cell]).collect();
    Ok(Target::Classes {
        names,
        codes,
        is_ordered: task == Task::Ordered,
    })
}

fn positive_last(column: &str, names: &mut Vec<String>, positive: &str) -> Result<(), TargetError> {
    let Some(place) = names.iter().position(|name| name == positive) else {
        let near = ombud_core::nearest::nearest(positive, names.iter().map(String::as_str));
        return Err(TargetError::UnknownClass {
            column: column.to_owned(),
            class: positive.to_owned(),
            nearest: near.map(str::to_owned),
        });
    };
    if names.len() != 2 {
        return Err(TargetError::NotBinary {
            column: column.to_owned(),
            count: names.len(),
        });
    }
    let name = names.remove(place);
    names.push(name);
    Ok(())
}

fn is_positive_word(name: &str) -> bool {
    ["yes", "true", "1", "positive", "y", "t", "high", "present"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word))
}

/// Numbers in their order, words in theirs.
fn sort_names(names: &mut [String]) {
    let all_numbers: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok()).collect();
    match all_numbers {
        Some(_) => names.sort_by(|a, b| {
            let (a, b): (f64, f64) = (a.parse().unwrap_or(0.0), b.parse().unwrap_or(0.0));
            a.total_cmp(&b)
        }),
        None => names.sort(),
    }
}

fn as_labels(column: &str, kept: &[&str], recipe: &Recipe) -> Result<Target, TargetError> {
    let separator = recipe.data.separator.as_deref().unwrap_or(LABEL_SEPARATOR);
    let labels_of = |cell: &'_ str| -> Vec<String> {
        cell.split(separator)
            .map(str::trim)
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for cell in kept {
        for label in labels_of(cell) {
            *counts.entry(label).or_default() += 1;
        }
        if counts.len() > CLASSES_MAX {
            return Err(TargetError::TooManyClasses {
                column: column.to_owned(),
                count: counts.len(),
            });
        }
    }
    let mut names: Vec<String> = counts.into_keys().collect();
    if names.len() < 2 {
        return Err(TargetError::OneClass {
            column: column.to_owned(),
            value: names.pop().unwrap_or_default(),
        });
    }
    sort_names(&mut names);
    let mut flags = vec![false; kept.len() * names.len()];
    for (row, cell) in kept.iter().enumerate() {
        for label in labels_of(cell) {
            if let Some(place) = names.iter().position(|name| *name == label) {
                flags[row * names.len() + place] = true;
            }
        }
    }
    Ok(Target::Labels { names, flags })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Float64Array, LargeStringArray};
    use std::sync::Arc;

    fn recipe(data: &str) -> Recipe {
        Recipe::parse("r.toml", &format!("[model]\nname = \"m\"\n[data]\n{data}")).unwrap()
    }

    fn words(cells: &[Option<&str>]) -> ArrayRef {
        Arc::new(cells.iter().copied().collect::<LargeStringArray>())
    }

    #[test]
    fn the_positive_class_comes_last() {
        let cells = words(&[Some("yes"), Some("zero"), None, Some("yes")]);
        let found = find("t", &cells, &recipe("")).unwrap();
        assert_eq!(found.target.names(), ["zero", "yes"]);
        assert_eq!((found.rows, found.without), (vec![0, 1, 3], 1));
        let found = find("t", &cells, &recipe("positive = \"zero\"")).unwrap();
        assert_eq!(found.target.names(), ["yes", "zero"]);
    }

    #[test]
    fn few_whole_numbers_are_classes_and_many_numbers_are_not() {
        let few: ArrayRef = Arc::new(Float64Array::from(vec![10.0, 2.0, 10.0]));
        assert_eq!(
            find("t", &few, &recipe("")).unwrap().target.names(),
            ["2", "10"]
        );
        let many: ArrayRef = Arc::new(Float64Array::from_iter_values((0..50).map(f64::from)));
        assert_eq!(
            find("t", &many, &recipe("")).unwrap().target.task(),
            Task::Regression
        );
    }

    #[test]
    fn levels_give_the_order_and_refuse_strangers() {
        let cells = words(&[Some("mid"), Some("low"), Some("high")]);
        let levels = recipe("levels = [\"low\", \"mid\", \"high\"]");
        let found = find("t", &cells, &levels).unwrap();
        assert_eq!(found.target.task(), Task::Ordered);
        assert_eq!(found.target.codes().unwrap(), [1, 0, 2]);
        assert!(find("t", &words(&[Some("low"), Some("other")]), &levels).is_err());
    }

    #[test]
    fn cells_with_several_labels_become_flags() {
        let found = find(
            "t",
            &words(&[Some("a|b"), Some("b"), Some("c | a")]),
            &recipe(""),
        )
        .unwrap();
        let Target::Labels { names, flags } = found.target else {
            panic!("no labels")
        };
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(
            flags,
            [true, true, false, false, true, false, true, false, true]
        );
    }

    #[test]
    fn an_empty_cell_says_that_no_label_holds() {
        let cells = words(&[Some("a|b"), None, Some("NA"), Some("")]);
        let found = find("t", &cells, &recipe("")).unwrap();
        assert_eq!((found.rows, found.without), (vec![0, 1, 3], 1));
        let Target::Labels { flags, names } = found.target else {
            panic!("no labels")
        };
        assert_eq!(flags, [true, true, false, false, false, false]);
        let outputs = Outputs::Labels { names };
        let again = align("t", &cells, Task::MultiLabel, &outputs, None).unwrap();
        assert_eq!((again.rows, again.without), (vec![0, 1, 3], 1));
    }

    #[test]
    fn one_class_and_no_class_are_refused() {
        assert!(matches!(
            find("t", &words(&[Some("a"), Some("a")]), &recipe("")),
            Err(TargetError::OneClass { .. })
        ));
        assert!(matches!(
            find("t", &words(&[None, Some("NA")]), &recipe("")),
            Err(TargetError::Empty { .. })
        ));
    }
}
