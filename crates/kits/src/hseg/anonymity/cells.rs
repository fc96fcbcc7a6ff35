//! Divides respondents into disjoint cells, none below the floor.
//!
//! Dimensions are taken one after another, the most wanted first. Within a group, the values that enough people share
//! become cells of their own; the others are pooled, and when the pool itself is too small, the smallest of the others
//! joins it, so that a pool can be told neither directly nor as what is left over. Pure and without chance: the same
//! respondents give the same cells.

use super::Floor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one respondent said in each dimension; nothing where nothing was said.
pub type Traits = Vec<Option<String>>;

/// What the people of a cell have in common in one dimension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// They all said this, or all said nothing.
    Is(Option<String>),
    /// They said different things, which are told together only.
    Mixed,
}

/// People who are always told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// One for each dimension.
    pub labels: Vec<Label>,
    /// Places in the list of respondents.
    pub members: Vec<usize>,
}

/// The division; empty when there are fewer respondents than the floor.
pub fn divide(respondents: &[Traits], dimensions: usize, floor: Floor) -> Vec<Cell> {
    let mut cells = Vec::new();
    if floor.admits(respondents.len()) {
        let everybody = (0..respondents.len()).collect();
        split(
            respondents,
            everybody,
            dimensions,
            floor,
            &mut Vec::new(),
            &mut cells,
        );
    }
    cells
}

/// Gives what was written alike but for capitals and spaces its most frequent spelling.
pub fn spell_alike(respondents: &mut [Traits], dimensions: usize) {
    for dimension in 0..dimensions {
        let mut spellings: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
        for said in respondents.iter().filter_map(|it| it[dimension].as_deref()) {
            let spellings = spellings.entry(plain(said)).or_default();
            *spellings.entry(said.trim()).or_default() += 1;
        }
        let usual: BTreeMap<String, String> = spellings
            .into_iter()
            .filter_map(|(plain, spellings)| {
                let (usual, _) = spellings
                    .into_iter()
                    .max_by_key(|(spelling, number)| (*number, std::cmp::Reverse(*spelling)))?;
                Some((plain, usual.to_owned()))
            })
            .collect();
        for said in respondents
            .iter_mut()
            .filter_map(|it| it[dimension].as_mut())
        {
            if let Some(usual) = usual.get(&plain(said)) {
                said.clone_from(usual);
            }
        }
    }
}

/// What was said, without capitals and superfluous spaces.
pub fn plain(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

fn split(
    respondents: &[Traits],
    members: Vec<usize>,
    dimensions: usize,
    floor: Floor,
    labels: &mut Vec<Label>,
    cells: &mut Vec<Cell>,
) {
    let dimension = labels.len();
    if dimension == dimensions {
        let labels = labels.clone();
        cells.push(Cell { labels, members });
        return;
    }
    for (label, part) in parts(respondents, members, dimension, floor) {
        labels.push(label);
        split(respondents, part, dimensions, floor, labels, cells);
        labels.pop();
    }
}

/// A group by one dimension, in parts that are all large enough.
fn parts(
    respondents: &[Traits],
    members: Vec<usize>,
    dimension: usize,
    floor: Floor,
) -> Vec<(Label, Vec<usize>)> {
    let mut values: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for member in members {
        let said = respondents[member]
            .get(dimension)
            .and_then(Option::as_deref);
        values.entry(said).or_default().push(member);
    }
    let (mut large, small): (Vec<_>, Vec<_>) = values
        .into_iter()
        .map(|(value, part)| (Label::Is(value.map(str::to_owned)), part))
        .partition(|(_, part)| floor.admits(part.len()));
    let mut pool: Vec<usize> = small.into_iter().flat_map(|(_, part)| part).collect();
    // Complementary suppression: a pool that is too small would be what is left when all others are taken away.
    while !pool.is_empty() && !floor.admits(pool.len()) {
        let smallest = (0..large.len()).min_by_key(|place| large[*place].1.len());
        let Some(smallest) = smallest else { break };
        pool.extend(large.remove(smallest).1);
    }
    if !pool.is_empty() {
        pool.sort_unstable();
        large.push((Label::Mixed, pool));
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn people(groups: &[(&str, &str, usize)]) -> Vec<Traits> {
        let traits = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let one = |(department, level, number): &(&str, &str, usize)| {
            vec![vec![traits(department), traits(level)]; *number]
        };
        groups.iter().flat_map(one).collect()
    }

    fn told(groups: &[(&str, &str, usize)]) -> String {
        let cells = divide(&people(groups), 2, Floor::default());
        let word = |label: &Label| match label {
            Label::Is(Some(value)) => value.clone(),
            Label::Is(None) => "unsaid".to_owned(),
            Label::Mixed => "mixed".to_owned(),
        };
        let line = |cell: &Cell| {
            let words: Vec<String> = cell.labels.iter().map(word).collect();
            format!("{} {}", words.join("/"), cell.members.len())
        };
        cells.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_small_department_takes_another_with_it() {
        let told = told(&[("Lab", "Mid", 20), ("Law", "Mid", 7), ("Roof", "Mid", 1)]);
        assert_eq!(told, "Lab/Mid 20, mixed/Mid 8");
    }

    #[test]
    fn several_small_departments_are_told_together() {
        let told = told(&[("Lab", "", 20), ("Law", "", 3), ("Roof", "", 2)]);
        assert_eq!(told, "Lab/unsaid 20, mixed/unsaid 5");
    }

    #[test]
    fn a_level_that_is_too_rare_hides_the_next_rarest_in_its_department() {
        let told = told(&[("Lab", "Mid", 9), ("Lab", "Entry", 6), ("Lab", "Senior", 1)]);
        assert_eq!(told, "Lab/Mid 9, Lab/mixed 7");
    }

    #[test]
    fn fewer_people_than_the_floor_give_nothing() {
        assert_eq!(told(&[("Lab", "Mid", 4)]), "");
        assert_eq!(told(&[("Lab", "Mid", 3), ("Law", "Mid", 2)]), "mixed/Mid 5");
    }

    proptest! {
        #[test]
        fn cells_are_disjoint_whole_and_never_small(
            codes in prop::collection::vec((0..7u8, 0..4u8, 0..3u8), 0..150),
            floor in 3..9usize,
        ) {
            let said = |code: u8| (code > 0).then(|| code.to_string());
            let people: Vec<Traits> = codes.iter().map(|(a, b, c)| vec![said(*a), said(*b), said(*c)]).collect();
            let cells = divide(&people, 3, Floor::new(floor).unwrap());
            let mut seen: Vec<usize> = cells.iter().flat_map(|cell| cell.members.clone()).collect();
            seen.sort_unstable();
            let expected = if people.len() >= floor { people.len() } else { 0 };
            prop_assert_eq!(seen, (0..expected).collect::<Vec<_>>());
            for cell in &cells {
                prop_assert!(cell.members.len() >= floor);
                for (dimension, label) in cell.labels.iter().enumerate() {
                    let Label::Is(value) = label else { continue };
                    prop_assert!(cell.members.iter().all(|member| &people[*member][dimension] == value));
                }
            }
        }
    }
}
