//! The same measures for each protected group, and how far apart the groups are.
//!
//! | difference | highest − lowest group value of |
//! | --- | --- |
//! | `demographic_parity_difference` | selection rate: share decided as the class |
//! | `equal_opportunity_difference` | true positive rate: share of the class decided as such |
//! | `equalized_odds_difference` | true or false positive rate, whichever is further apart |
//! | `mean_error_difference` | mean (ŷ − y), for numbers |
//!
//! Equal to fairlearn 0.15 (`between_groups`) where every group has both truths. A group without
//! rows of the class has no true positive rate and is left out of that difference; with fewer than
//! two groups left it is absent. Groups under the minimum are counted and never scored: their
//! numbers would be noise, and might point at a person.
//!
//! With [`Focus::WorstCase`] each class is taken as the positive one and the widest difference is
//! reported with its class. Intervals keep the class and the two groups found on all rows and
//! resample their signed difference: an interval that reaches below zero says that even the
//! direction is uncertain. The widest of many pairs is picked after looking, so with many groups
//! the interval is a little optimistic.
//!
//! ```
//! use ombud_learn::evaluate::{Classified, groups::{Attribute, Focus, GroupOptions, by_group}};
//! let probabilities = [0.1, 0.9, 0.8, 0.2].repeat(20);
//! let sample = Classified::new(&[1; 40], &probabilities, 2)?;
//! let (codes, values) = ([0, 1].repeat(20), ["a".to_owned(), "b".to_owned()]);
//! let attribute = Attribute { name: "shift", codes: &codes, values: &values };
//! let report = by_group(&sample, &attribute, Focus::Class(1), &GroupOptions::default())?;
//! assert_eq!(report.differences["demographic_parity_difference"].metric.value, 1.0);
//! # Ok::<(), ombud_learn::evaluate::SampleError>(())
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

use super::bootstrap::{Resampling, Scorer, measure};
use super::classification::{self, Order};
use super::confusion::{Confusion, cell_of_each_row};
use super::metric::{Metric, Metrics, Undefined, divide};
use super::regression;
use super::sample::{Classified, Regressed, SampleError, check_length};

/// Rows below which a group is counted but not scored.
pub const GROUP_ROWS_MIN: usize = 20;

/// The most values of one attribute; more is an id, not a group.
pub const GROUPS_MAX: usize = 100;

/// A protected attribute: a code per row, and what each code means.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    pub name: &'a str,
    pub codes: &'a [u32],
    pub values: &'a [String],
}

/// Which class is the outcome that groups should have equally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    Class(u32),
    /// Every class in turn; the widest difference counts.
    WorstCase,
}

#[derive(Debug, Clone)]
pub struct GroupOptions<'a> {
    pub rows_min: usize,
    pub order: Order,
    pub resampling: Resampling<'a>,
}

/// What was measured by one attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    pub attribute: String,
    pub groups: Vec<Group>,
    pub differences: BTreeMap<String, Difference>,
    pub absent: BTreeMap<String, Undefined>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    pub value: String,
    pub rows: usize,
    /// Absent for a group under the minimum.
    pub metrics: Option<Metrics>,
}

/// How far two groups are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    #[serde(flatten)]
    pub metric: Metric,
    pub highest: String,
    pub lowest: String,
    /// The class taken as positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
}

impl Default for GroupOptions<'_> {
    fn default() -> Self {
        Self {
            rows_min: GROUP_ROWS_MIN,
            order: Order::None,
            resampling: Resampling::default(),
        }
    }
}

/// Headline metrics and rates by group, and the differences, for exclusive classes.
pub fn by_group(
    sample: &Classified,
    attribute: &Attribute,
    focus: Focus,
    options: &GroupOptions,
) -> Result<GroupReport, SampleError> {
    let classes = focus.classes(sample.class_count())?;
    let members = Members::of(attribute, sample.rows(), options)?;
    let mut groups = members.score(attribute, options, |rows, resampling| {
        classification::measure_all(&sample.select(rows), options.order, resampling).0
    });
    let full = Rates::new(sample, attribute.codes, attribute.values.len(), Vec::new());
    let rates = full.counts(sample.weights());
    let gaps =
        RATE_GAPS.map(|(name, kinds)| (name, widest(&rates, &members.scored, &classes, kinds)));
    let mut questions: Vec<Question> = gaps
        .iter()
        .filter_map(|(_, gap)| gap.ok())
        .map(Question::Gap)
        .collect();
    let gap_count = questions.len();
    // The rates of single groups are shown for one chosen class; for all of them they would fill
    // pages.
    let named_rates = named_rates(&members.scored, focus);
    questions.extend(named_rates.iter().map(|&(_, _, rate)| Question::One(rate)));
    let prepare = |rows: Option<&[u32]>| match rows {
        None => Rates::new(
            sample,
            attribute.codes,
            attribute.values.len(),
            questions.clone(),
        ),
        Some(rows) => {
            let codes: Vec<u32> = rows
                .iter()
                .map(|&row| attribute.codes[row as usize])
                .collect();
            Rates::new(
                &sample.select(rows),
                &codes,
                attribute.values.len(),
                questions.clone(),
            )
        }
    };
    let cells = attribute.values.len() * sample.class_count() * sample.class_count();
    let visits = RATE_VISITS_PER_ROW + cells / sample.rows();
    let outcomes = measure(sample.weights(), visits, &options.resampling, prepare);
    let (gap_outcomes, rate_outcomes) = outcomes.split_at(gap_count);
    for (&(group, name, _), outcome) in named_rates.iter().zip(rate_outcomes) {
        if let Some(metrics) = &mut groups[group].metrics {
            metrics.insert(name, *outcome);
        }
    }
    Ok(report(attribute, groups, &gaps, gap_outcomes))
}

/// Errors by group, and the difference of mean errors, for numbers.
pub fn by_group_of_numbers(
    sample: &Regressed,
    attribute: &Attribute,
    options: &GroupOptions,
) -> Result<GroupReport, SampleError> {
    let members = Members::of(attribute, sample.rows(), options)?;
    let groups = members.score(attribute, options, |rows, resampling| {
        regression::measure_all(&sample.select(rows), resampling)
    });
    let means: Vec<Option<f64>> = groups
        .iter()
        .map(|group| group.metrics.as_ref()?.value("mean_error"))
        .collect();
    let gap = extremes(
        (0..)
            .zip(&means)
            .filter_map(|(group, mean)| Some((group, (*mean)?))),
    );
    let gap = gap.map(|(highest, lowest)| Gap {
        kind: Rate::Selection,
        class: None,
        highest,
        lowest,
    });
    let gaps = [("mean_error_difference", gap)];
    let Ok(found) = gap else {
        return Ok(report(attribute, groups, &gaps, &[]));
    };
    let prepare = |rows: Option<&[u32]>| {
        let all: Vec<u32>;
        let rows = match rows {
            Some(rows) => rows,
            None => {
                all = (0..sample.rows() as u32).collect();
                &all
            }
        };
        MeanErrors::new(sample, attribute.codes, rows, found)
    };
    let outcomes = measure(
        sample.weights(),
        RATE_VISITS_PER_ROW,
        &options.resampling,
        prepare,
    );
    Ok(report(attribute, groups, &gaps, &outcomes))
}

/// What one row costs in one replicate: drawing it and counting it.
const RATE_VISITS_PER_ROW: usize = 3;

const RATE_GAPS: [(&str, &[Rate]); 3] = [
    ("demographic_parity_difference", &[Rate::Selection]),
    ("equal_opportunity_difference", &[Rate::TruePositive]),
    (
        "equalized_odds_difference",
        &[Rate::TruePositive, Rate::FalsePositive],
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    Selection,
    TruePositive,
    FalsePositive,
}

/// A rate of one group, taking `class` as positive.
#[derive(Debug, Clone, Copy)]
struct GroupRate {
    kind: Rate,
    class: u32,
    group: usize,
}

/// The two groups that are furthest apart, and in what.
#[derive(Debug, Clone, Copy)]
struct Gap {
    kind: Rate,
    class: Option<u32>,
    highest: usize,
    lowest: usize,
}

#[derive(Debug, Clone, Copy)]
enum Question {
    One(GroupRate),
    Gap(Gap),
}

/// The rows of each group.
struct Members {
    rows: Vec<Vec<u32>>,
    /// Groups with enough rows.
    scored: Vec<usize>,
}

impl Focus {
    fn classes(self, class_count: usize) -> Result<Vec<u32>, SampleError> {
        match self {
            Self::Class(class) if class as usize >= class_count => Err(SampleError::UnknownClass {
                row: 0,
                what: "the positive class",
                class,
                class_count,
            }),
            Self::Class(class) => Ok(vec![class]),
            Self::WorstCase => Ok((0..class_count as u32).collect()),
        }
    }
}

impl Members {
    fn of(attribute: &Attribute, rows: usize, options: &GroupOptions) -> Result<Self, SampleError> {
        check_length("the protected attribute", rows, attribute.codes.len())?;
        options.resampling.check(rows)?;
        let group_count = attribute.values.len();
        if group_count > GROUPS_MAX {
            return Err(SampleError::ClassCount {
                count: group_count,
                most: GROUPS_MAX,
            });
        }
        let mut members = vec![Vec::new(); group_count];
        for (row, &code) in attribute.codes.iter().enumerate() {
            let Some(group) = members.get_mut(code as usize) else {
                let what = "the protected attribute";
                return Err(SampleError::UnknownClass {
                    row,
                    what,
                    class: code,
                    class_count: group_count,
                });
            };
            group.push(row as u32);
        }
        let enough = options.rows_min.max(1);
        let scored = (0..group_count)
            .filter(|&group| members[group].len() >= enough)
            .collect();
        Ok(Self {
            rows: members,
            scored,
        })
    }

    /// Measures every group that has enough rows; together they may cost what one evaluation may.
    fn score(
        &self,
        attribute: &Attribute,
        options: &GroupOptions,
        measure: impl Fn(&[u32], &Resampling) -> Metrics,
    ) -> Vec<Group> {
        let visits_max = options.resampling.visits_max / self.scored.len().max(1) as u64;
        let mut groups = Vec::new();
        for (group, rows) in self.rows.iter().enumerate() {
            let metrics = self.scored.contains(&group).then(|| {
                let pick = |subjects: &[u64]| {
                    rows.iter()
                        .map(|&row| subjects[row as usize])
                        .collect::<Vec<u64>>()
                };
                let subjects = options.resampling.subjects.map(pick);
                let subjects = subjects.as_deref();
                measure(
                    rows,
                    &Resampling {
                        subjects,
                        visits_max,
                        ..options.resampling
                    },
                )
            });
            groups.push(Group {
                value: attribute.values[group].clone(),
                rows: rows.len(),
                metrics,
            });
        }
        groups
    }
}

/// Counts by group, from which every rate follows.
struct Rates {
    class_count: usize,
    group_count: usize,
    /// (group, truth, decision) of each row as one number.
    cells: Vec<u32>,
    questions: Vec<Question>,
}

impl Rates {
    fn new(
        sample: &Classified,
        codes: &[u32],
        group_count: usize,
        questions: Vec<Question>,
    ) -> Self {
        let class_count = sample.class_count();
        let cells = cell_of_each_row(sample);
        let square = (class_count * class_count) as u32;
        let cells = cells
            .into_iter()
            .zip(codes)
            .map(|(cell, code)| code * square + cell)
            .collect();
        Self {
            class_count,
            group_count,
            cells,
            questions,
        }
    }

    fn counts(&self, weights: &[f64]) -> Vec<Confusion> {
        let square = self.class_count * self.class_count;
        let mut cells = vec![0.0; self.group_count * square];
        for (&cell, weight) in self.cells.iter().zip(weights) {
            cells[cell as usize] += weight;
        }
        cells
            .chunks_exact(square)
            .map(|group| Confusion::from_counts(group.to_vec(), self.class_count))
            .collect()
    }
}

impl Scorer for Rates {
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
        let counts = self.counts(weights);
        let answer = |question: &Question| match *question {
            Question::One(GroupRate { kind, class, group }) => rate(&counts[group], kind, class),
            Question::Gap(Gap {
                kind,
                class,
                highest,
                lowest,
            }) => {
                let class = class.unwrap_or_default();
                Ok(rate(&counts[highest], kind, class)? - rate(&counts[lowest], kind, class)?)
            }
        };
        self.questions.iter().map(answer).collect()
    }
}

/// Errors of the two groups that are furthest apart.
struct MeanErrors {
    errors: Vec<f64>,
    /// 1 for the highest group, −1 for the lowest, 0 for all others.
    sides: Vec<i8>,
}

impl MeanErrors {
    fn new(sample: &Regressed, codes: &[u32], rows: &[u32], gap: Gap) -> Self {
        let side = |&row: &u32| match codes[row as usize] as usize {
            group if group == gap.highest => 1,
            group if group == gap.lowest => -1,
            _ => 0,
        };
        let error = |&row: &u32| sample.predicted()[row as usize] - sample.truth()[row as usize];
        Self {
            errors: rows.iter().map(error).collect(),
            sides: rows.iter().map(side).collect(),
        }
    }

    fn mean(&self, weights: &[f64], side: i8) -> Result<f64, Undefined> {
        let (mut sum, mut total) = (0.0, 0.0);
        for ((error, weight), _) in self
            .errors
            .iter()
            .zip(weights)
            .zip(&self.sides)
            .filter(|(_, own)| **own == side)
        {
            sum += weight * error;
            total += weight;
        }
        divide(sum, total, Undefined::NoRows)
    }
}

impl Scorer for MeanErrors {
    fn score(&self, weights: &[f64]) -> Vec<Result<f64, Undefined>> {
        let gap = || Ok(self.mean(weights, 1)? - self.mean(weights, -1)?);
        vec![gap()]
    }
}

fn rate(counts: &Confusion, kind: Rate, class: u32) -> Result<f64, Undefined> {
    let class = class as usize;
    let right = counts.count(class, class);
    let negatives = counts.total() - counts.truth(class);
    match kind {
        Rate::Selection => divide(counts.chosen(class), counts.total(), Undefined::NoRows),
        Rate::TruePositive => divide(
            right,
            counts.truth(class),
            Undefined::ClassMissing { class },
        ),
        Rate::FalsePositive => divide(counts.chosen(class) - right, negatives, Undefined::OneClass),
    }
}

/// The widest gap over the given classes and rates; the first found wins a tie.
fn widest(
    counts: &[Confusion],
    scored: &[usize],
    classes: &[u32],
    kinds: &[Rate],
) -> Result<Gap, Undefined> {
    let mut best: Option<(f64, Gap)> = None;
    for (&class, &kind) in classes
        .iter()
        .flat_map(|class| kinds.iter().map(move |kind| (class, kind)))
    {
        let value = |group: usize| rate(&counts[group], kind, class).ok();
        let rates = scored
            .iter()
            .filter_map(|&group| Some((group, value(group)?)));
        let Ok((highest, lowest)) = extremes(rates) else {
            continue;
        };
        let (Some(high), Some(low)) = (value(highest), value(lowest)) else {
            continue;
        };
        if best.is_none_or(|(width, _)| high - low > width) {
            best = Some((
                high - low,
                Gap {
                    kind,
                    class: Some(class),
                    highest,
                    lowest,
                },
            ));
        }
    }
    best.map(|(_, gap)| gap).ok_or(Undefined::TooFewGroups)
}

/// The groups with the highest and the lowest value; the first found wins a tie.
fn extremes(values: impl Iterator<Item = (usize, f64)>) -> Result<(usize, usize), Undefined> {
    let values: Vec<(usize, f64)> = values.collect();
    if values.len() < 2 {
        return Err(Undefined::TooFewGroups);
    }
    let (mut highest, mut lowest) = (values[0], values[0]);
    for &value in &values[1..] {
        highest = if value.1 > highest.1 { value } else { highest };
        lowest = if value.1 < lowest.1 { value } else { lowest };
    }
    if highest.0 == lowest.0 {
        // All are equal: any two groups show it.
        return Ok((values[0].0, values[1].0));
    }
    Ok((highest.0, lowest.0))
}

fn named_rates(scored: &[usize], focus: Focus) -> Vec<(usize, &'static str, GroupRate)> {
    let Focus::Class(class) = focus else {
        return Vec::new();
    };
    let kinds = [
        ("selection_rate", Rate::Selection),
        ("true_positive_rate", Rate::TruePositive),
        ("false_positive_rate", Rate::FalsePositive),
    ];
    let of_group =
        |&group: &usize| kinds.map(|(name, kind)| (group, name, GroupRate { kind, class, group }));
    scored.iter().flat_map(of_group).collect()
}

/// Puts the outcomes of the gaps that were found beside the reasons of those that were not.
fn report(
    attribute: &Attribute,
    groups: Vec<Group>,
    gaps: &[(&str, Result<Gap, Undefined>)],
    outcomes: &[Result<Metric, Undefined>],
) -> GroupReport {
    let mut differences = BTreeMap::new();
    let mut absent = BTreeMap::new();
    let mut outcomes = outcomes.iter();
    for &(name, gap) in gaps {
        let outcome =
            gap.and_then(|gap| Ok((gap, (*outcomes.next().unwrap_or(&Err(Undefined::NoRows)))?)));
        match outcome {
            Err(reason) => drop(absent.insert(name.to_owned(), reason)),
            Ok((gap, metric)) => {
                let value = |group: usize| attribute.values[group].clone();
                let (highest, lowest) = (value(gap.highest), value(gap.lowest));
                let difference = Difference {
                    metric,
                    highest,
                    lowest,
                    class: gap.class,
                };
                differences.insert(name.to_owned(), difference);
            }
        }
    }
    GroupReport {
        attribute: attribute.name.to_owned(),
        groups,
        differences,
        absent,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{assert_close, binary, multiclass, numbers};
    use super::*;

    fn values(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn codes(rows: u32, groups: u32) -> Vec<u32> {
        (0..rows).map(|i| (i * 5 + i / 7) % groups).collect()
    }

    fn options<'a>(rows_min: usize) -> GroupOptions<'a> {
        GroupOptions {
            rows_min,
            ..GroupOptions::default()
        }
    }

    fn differences(report: &GroupReport) -> [f64; 3] {
        RATE_GAPS.map(|(name, _)| report.differences[name].metric.value)
    }

    fn assert_all_close(found: &[f64], expected: &[f64]) {
        found
            .iter()
            .zip(expected)
            .for_each(|(found, expected)| assert_close(*found, *expected));
    }

    #[test]
    fn binary_differences_are_fairlearns() {
        // fairlearn 0.15.0: demographic parity, equal opportunity, equalized odds.
        let rows = binary();
        let (codes, values) = (codes(60, 3), values(&["a", "b", "c"]));
        let attribute = Attribute {
            name: "team",
            codes: &codes,
            values: &values,
        };
        let report =
            by_group(&rows.sample(), &attribute, Focus::Class(1), &options(15)).expect("valid");
        assert_all_close(
            &differences(&report),
            &[
                0.17647058823529416,
                0.33333333333333337,
                0.33333333333333337,
            ],
        );
        let rates = report.groups[1].metrics.as_ref().expect("scored");
        assert_close(
            rates.value("selection_rate").expect("rate"),
            0.4117647058823529,
        );
        assert_close(rates.value("true_positive_rate").expect("rate"), 0.5);
        assert_close(rates.value("false_positive_rate").expect("rate"), 2.0 / 7.0);
        let gap = &report.differences["demographic_parity_difference"];
        assert_eq!(
            (gap.highest.as_str(), gap.lowest.as_str(), gap.class),
            ("c", "b", Some(1))
        );
        assert!(
            gap.metric
                .interval
                .expect("60 rows")
                .contains(gap.metric.value)
        );

        let weighted =
            by_group(&rows.weighted(), &attribute, Focus::Class(1), &options(15)).expect("valid");
        assert_all_close(
            &differences(&weighted),
            &[0.2268361581920904, 0.3883928571428571, 0.3883928571428571],
        );
        // With the other class as positive the two rates change places.
        let other =
            by_group(&rows.sample(), &attribute, Focus::Class(0), &options(15)).expect("valid");
        assert_all_close(
            &differences(&other),
            &[0.17647058823529416, 0.2857142857142857, 0.33333333333333337],
        );
    }

    #[test]
    fn the_worst_class_counts_when_there_are_many() {
        // fairlearn 0.15.0, each class against the rest, the widest.
        let rows = multiclass();
        let (codes, values) = (codes(90, 2), values(&["a", "b"]));
        let attribute = Attribute {
            name: "team",
            codes: &codes,
            values: &values,
        };
        let report =
            by_group(&rows.sample(), &attribute, Focus::WorstCase, &options(20)).expect("valid");
        assert_all_close(
            &differences(&report),
            &[0.06485671191553544, 0.1809954751131222, 0.1809954751131222],
        );
        assert_eq!(
            report.differences["demographic_parity_difference"].class,
            Some(0)
        );
        assert_eq!(
            report.differences["equal_opportunity_difference"].class,
            Some(2)
        );
    }

    #[test]
    fn mean_errors_are_compared_for_numbers() {
        // numpy: means of (predicted − truth) by group.
        let rows = numbers();
        let (codes, values) = (codes(70, 3), values(&["a", "b", "c"]));
        let attribute = Attribute {
            name: "team",
            codes: &codes,
            values: &values,
        };
        let report = by_group_of_numbers(&rows.sample(), &attribute, &options(20)).expect("valid");
        let gap = &report.differences["mean_error_difference"];
        assert_close(
            gap.metric.value,
            0.007142857142857129 + 0.038095238095238085,
        );
        assert_eq!((gap.highest.as_str(), gap.lowest.as_str()), ("c", "a"));
        assert!(
            gap.metric
                .interval
                .expect("70 rows")
                .contains(gap.metric.value)
        );
    }

    #[test]
    fn a_small_group_is_counted_and_not_scored() {
        let rows = binary();
        let codes: Vec<u32> = (0..60).map(|i| u32::from(i >= 55)).collect();
        let values = values(&["many", "few"]);
        let attribute = Attribute {
            name: "team",
            codes: &codes,
            values: &values,
        };
        let options = GroupOptions::default();
        let report =
            by_group(&rows.sample(), &attribute, Focus::Class(1), &options).expect("valid");
        assert_eq!(
            (report.groups[1].rows, &report.groups[1].metrics),
            (5, &None)
        );
        assert!(report.groups[0].metrics.is_some());
        assert!(report.differences.is_empty());
        assert_eq!(
            report.absent["demographic_parity_difference"],
            Undefined::TooFewGroups
        );
    }

    #[test]
    fn a_code_without_meaning_is_refused() {
        let rows = binary();
        let values = values(&["a"]);
        let attribute = Attribute {
            name: "team",
            codes: &[1; 60],
            values: &values,
        };
        let refusal = by_group(&rows.sample(), &attribute, Focus::Class(1), &options(20));
        assert!(matches!(
            refusal,
            Err(SampleError::UnknownClass { class: 1, .. })
        ));
    }
}
