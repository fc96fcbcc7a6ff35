//! What sets each segment apart, in numbers and in a plain-words name.
//!
//! Works on the columns as people know them, not on the scaled matrix: the caller describes each
//! column once for the whole population ([`ProfileFeature`]) and hands over its values. For a
//! number the effect is the difference of the segment's mean from the population's in standard
//! deviations; for a category it is Cohen's h of the value whose share differs most, `2·asin √p −
//! 2·asin √q`, which is on a like scale and does not explode for rare values. Names only say where
//! a segment lies ("older, higher blood pressure, less sleep"); they never judge or diagnose.

use ombud_engine::clusters::SEGMENTS_MAX;
use serde::{Deserialize, Serialize};

use super::ClusterError;

/// From this effect on a feature may be part of a name.
pub const NAMED_EFFECT_MIN: f64 = 0.3;
/// From this effect on a feature may keep two names apart, or be the only word in one.
pub const HINTED_EFFECT_MIN: f64 = 0.1;
/// Phrases in a name, unless more are needed to tell two segments apart.
pub const PHRASES: usize = 3;
/// Phrases in the longest name.
pub const PHRASES_MAX: usize = 6;
/// Letters of a feature's or value's name that go into a phrase.
const LETTERS_MAX: usize = 40;

/// A column, described for the whole population.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileFeature {
    pub name: String,
    pub kind: ProfileKind,
}

/// What a column holds and how it is distributed in the population.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileKind {
    Number {
        mean: f64,
        sd: f64,
        unit: Option<String>,
    },
    Category {
        values: Vec<String>,
        shares: Vec<f64>,
    },
}

/// The values of a column, one for each row.
#[derive(Debug, Clone, Copy)]
pub enum ProfileColumn<'data> {
    /// NaN is missing.
    Number(&'data [f64]),
    /// Positions in the feature's list of values; none is missing.
    Category(&'data [Option<usize>]),
}

/// One segment for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub segment: usize,
    /// Plain words, different for every segment.
    pub name: String,
    /// Rows in the segment.
    pub size: usize,
    /// Its share of the total weight.
    pub share: f64,
    /// One per feature with values in the segment, the most telling first.
    pub traits: Vec<Trait>,
}

/// How a segment differs from the population in one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trait {
    pub feature: String,
    /// Signed; comparable between numbers and categories.
    pub effect: f64,
    /// Difference from the population in its standard deviations.
    pub difference_sd: f64,
    /// Such as "less sleep".
    pub phrase: String,
    pub detail: TraitDetail,
}

/// The numbers behind a trait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraitDetail {
    Number {
        mean: f64,
        population_mean: f64,
        unit: Option<String>,
    },
    Category {
        value: String,
        share: f64,
        population_share: f64,
    },
}

impl ProfileFeature {
    /// Describes a column of numbers by its own mean and standard deviation.
    pub fn number(name: &str, values: &[f64], unit: Option<&str>) -> Self {
        let known = || values.iter().copied().filter(|value| value.is_finite());
        let count = known().count().max(1) as f64;
        let mean = known().sum::<f64>() / count;
        let variance = known()
            .map(|value| (value - mean) * (value - mean))
            .sum::<f64>()
            / count;
        let kind = ProfileKind::Number {
            mean,
            sd: variance.sqrt(),
            unit: unit.map(str::to_owned),
        };
        Self {
            name: name.to_owned(),
            kind,
        }
    }

    /// Describes a column of categories by the shares of its values among the rows that have one.
    pub fn category(name: &str, values: &[String], codes: &[Option<usize>]) -> Self {
        let mut counts = vec![0.0; values.len()];
        let mut known = 0.0;
        for slot in codes
            .iter()
            .flatten()
            .filter_map(|code| Some((*code, values.get(*code)?)))
        {
            counts[slot.0] += 1.0;
            known += 1.0;
        }
        let shares = counts
            .iter()
            .map(|count| count / f64::max(known, 1.0))
            .collect();
        let kind = ProfileKind::Category {
            values: values.to_vec(),
            shares,
        };
        Self {
            name: name.to_owned(),
            kind,
        }
    }
}

/// Profiles of all segments, in their order; weights count rows by how many people they stand for.
pub fn profile(
    labels: &[usize],
    segments: usize,
    weights: Option<&[f64]>,
    columns: &[(ProfileFeature, ProfileColumn<'_>)],
) -> Result<Vec<Profile>, ClusterError> {
    check(labels, segments, weights, columns)?;
    let members = Members {
        labels,
        weights,
        segments,
    };
    let mut traits: Vec<Vec<Trait>> = vec![Vec::new(); segments];
    for (feature, column) in columns {
        for (traits, found) in traits.iter_mut().zip(members.traits(feature, column)) {
            traits.extend(found);
        }
    }
    for traits in &mut traits {
        traits.sort_by(|a, b| b.effect.abs().total_cmp(&a.effect.abs()));
    }
    let sizes = members.sizes();
    let masses = members.masses(|_| true);
    let total: f64 = masses.iter().sum();
    let names = names(&traits, &sizes);
    let parts = traits.into_iter().zip(names).enumerate();
    let profiles = parts.map(|(segment, (traits, name))| {
        let share = if total > 0.0 {
            masses[segment] / total
        } else {
            0.0
        };
        Profile {
            segment,
            name,
            size: sizes[segment],
            share,
            traits,
        }
    });
    Ok(profiles.collect())
}

/// Which rows are in which segment, and what they weigh.
struct Members<'data> {
    labels: &'data [usize],
    weights: Option<&'data [f64]>,
    segments: usize,
}

impl Members<'_> {
    fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row])
    }

    fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.segments];
        self.labels.iter().for_each(|label| sizes[*label] += 1);
        sizes
    }

    /// The weight of the rows of each segment for which a condition holds.
    fn masses(&self, holds: impl Fn(usize) -> bool) -> Vec<f64> {
        self.sums(|row| if holds(row) { 1.0 } else { 0.0 })
    }

    fn sums(&self, term: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.segments];
        for (row, &label) in self.labels.iter().enumerate() {
            sums[label] += self.weight(row) * term(row);
        }
        sums
    }

    /// One trait per segment, none where the segment has no values.
    fn traits(&self, feature: &ProfileFeature, column: &ProfileColumn<'_>) -> Vec<Option<Trait>> {
        match (&feature.kind, column) {
            (ProfileKind::Number { mean, sd, unit }, ProfileColumn::Number(values)) => {
                let known = self.masses(|row| values[row].is_finite());
                let sums = self.sums(|row| {
                    if values[row].is_finite() {
                        values[row]
                    } else {
                        0.0
                    }
                });
                let means = sums.iter().zip(&known);
                let build = |(sum, known): (&f64, &f64)| {
                    let unit = unit.as_deref();
                    (*known > 0.0)
                        .then(|| number_trait(&feature.name, sum / known, *mean, *sd, unit))
                };
                means.map(build).collect()
            }
            (ProfileKind::Category { values, shares }, ProfileColumn::Category(codes)) => {
                let known = self.masses(|row| codes[row].is_some());
                let by_value: Vec<Vec<f64>> = (0..values.len())
                    .map(|value| self.masses(|row| codes[row] == Some(value)))
                    .collect();
                let build = |segment: usize| {
                    let share = |value: usize| by_value[value][segment] / known[segment];
                    let found: Vec<f64> = (0..values.len()).map(share).collect();
                    (known[segment] > 0.0)
                        .then(|| category_trait(&feature.name, values, &found, shares))?
                };
                (0..self.segments).map(build).collect()
            }
            _ => vec![None; self.segments],
        }
    }
}

fn number_trait(name: &str, mean: f64, population: f64, sd: f64, unit: Option<&str>) -> Trait {
    let difference = (mean - population) / sd;
    let effect = if sd > 0.0 && difference.is_finite() {
        difference
    } else {
        0.0
    };
    let unit_owned = unit.map(str::to_owned);
    Trait {
        feature: name.to_owned(),
        effect,
        difference_sd: effect,
        phrase: number_phrase(name, unit, effect > 0.0),
        detail: TraitDetail::Number {
            mean,
            population_mean: population,
            unit: unit_owned,
        },
    }
}

/// The value that tells most; of two that tell the same, the affirmative one, then the more
/// frequent one.
fn category_trait(
    name: &str,
    values: &[String],
    found: &[f64],
    population: &[f64],
) -> Option<Trait> {
    let angle = |share: f64| 2.0 * share.clamp(0.0, 1.0).sqrt().asin();
    let effect = |value: usize| angle(found[value]) - angle(population[value]);
    let rank = |value: usize| {
        let size = (effect(value).abs() * 1e9).round();
        (
            size,
            is_word(&values[value], AFFIRMATIVE),
            effect(value) > 0.0,
        )
    };
    let best =
        (0..values.len()).reduce(|best, next| if rank(next) > rank(best) { next } else { best })?;
    let (share, population_share) = (found[best], population[best]);
    let sd = (population_share * (1.0 - population_share)).sqrt();
    let difference_sd = if sd > 0.0 {
        (share - population_share) / sd
    } else {
        0.0
    };
    let value = values[best].clone();
    Some(Trait {
        feature: name.to_owned(),
        effect: effect(best),
        difference_sd,
        phrase: category_phrase(name, &value, effect(best) > 0.0),
        detail: TraitDetail::Category {
            value,
            share,
            population_share,
        },
    })
}

const AFFIRMATIVE: &[&str] = &["yes", "true", "1", "y"];
const NEGATIVE: &[&str] = &["no", "false", "0", "n"];
/// Features whose values are understood without the feature's name.
const SPEAKS_FOR_ITSELF: &[&str] = &[
    "gender",
    "sex",
    "region",
    "sector",
    "occupation",
    "department",
];
/// Words for amounts of something: there is more or less of it, it is not higher or lower.
const AMOUNTS: &[&str] = &[
    "sleep", "hours", "hrs", "minutes", "mins", "days", "visits", "count", "steps", "activity",
];
/// Units of amounts.
const AMOUNT_UNITS: &[&str] = &["h", "hours", "min", "minutes", "d", "days", "steps"];
/// Words of a name that only repeat its unit.
const UNIT_WORDS: &[&str] = &["hrs", "hours", "mins", "minutes"];

fn number_phrase(name: &str, unit: Option<&str>, is_more: bool) -> String {
    let words = words(name);
    if is_word(&words.join(" "), &["age"]) {
        return if is_more { "older" } else { "younger" }.to_owned();
    }
    let is_amount = words.iter().any(|word| is_word(word, AMOUNTS))
        || unit.is_some_and(|unit| is_word(unit, AMOUNT_UNITS));
    if !is_amount {
        return format!(
            "{} {}",
            if is_more { "higher" } else { "lower" },
            shortened(&words)
        );
    }
    let named: Vec<String> = words
        .iter()
        .filter(|word| !is_word(word, UNIT_WORDS))
        .cloned()
        .collect();
    let named = if named.is_empty() { words } else { named };
    format!(
        "{} {}",
        if is_more { "more" } else { "less" },
        shortened(&named)
    )
}

fn category_phrase(name: &str, value: &str, is_more: bool) -> String {
    let feature = words(name);
    let often = |is_more: bool| if is_more { "more often" } else { "less often" };
    if is_word(value, AFFIRMATIVE) {
        return format!("{} {}", often(is_more), shortened(&feature));
    }
    if is_word(value, NEGATIVE) {
        return format!("{} {}", often(!is_more), shortened(&feature));
    }
    let value = shortened(&words(value));
    if is_word(&feature.join(" "), SPEAKS_FOR_ITSELF) {
        return format!("{} {value}", often(is_more));
    }
    format!("{} {} {value}", often(is_more), shortened(&feature))
}

fn is_word(text: &str, list: &[&str]) -> bool {
    list.iter()
        .any(|word| word.eq_ignore_ascii_case(text.trim()))
}

fn shortened(words: &[String]) -> String {
    words
        .join(" ")
        .chars()
        .take(LETTERS_MAX)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// The words of a column's name: cut at underscores, points, spaces and changes of case; capitals
/// only where a word has no small letters.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, &letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() && letter != '\'' && letter != '%' {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).map(|before| letters[before]);
        let after = letters.get(at + 1);
        let is_rise = before.is_some_and(char::is_lowercase);
        let is_last_capital =
            before.is_some_and(char::is_uppercase) && after.is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (is_rise || is_last_capital) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
        .iter()
        .map(|word| {
            if is_acronym(word) {
                word.clone()
            } else {
                word.to_lowercase()
            }
        })
        .collect()
}

fn is_acronym(word: &str) -> bool {
    word.chars().count() > 1 && !word.chars().any(char::is_lowercase)
}

/// A different name for every segment.
fn names(traits: &[Vec<Trait>], sizes: &[usize]) -> Vec<String> {
    if traits.len() == 1 {
        return vec!["everyone".to_owned()];
    }
    let mut lengths = vec![PHRASES; traits.len()];
    let mut names: Vec<String> = Vec::new();
    for _ in PHRASES..=PHRASES_MAX {
        let named = traits.iter().zip(sizes).zip(&lengths);
        names = named
            .map(|((traits, size), length)| name(traits, *size, *length))
            .collect();
        for (segment, length) in lengths.iter_mut().enumerate() {
            *length += usize::from(is_taken(&names, segment));
        }
    }
    let is_taken: Vec<bool> = (0..names.len())
        .map(|segment| is_taken(&names, segment))
        .collect();
    for (segment, name) in names.iter_mut().enumerate() {
        if is_taken[segment] {
            *name = format!("{name} (segment {})", segment + 1);
        }
    }
    names
}

fn is_taken(names: &[String], segment: usize) -> bool {
    names
        .iter()
        .enumerate()
        .any(|(other, name)| other != segment && *name == names[segment])
}

fn name(traits: &[Trait], size: usize, length: usize) -> String {
    if size == 0 {
        return "nobody".to_owned();
    }
    let least = if length > PHRASES {
        HINTED_EFFECT_MIN
    } else {
        NAMED_EFFECT_MIN
    };
    let telling = |least: f64| traits.iter().filter(move |one| one.effect.abs() >= least);
    let mut phrases: Vec<&str> = Vec::new();
    for one in telling(least).chain(telling(HINTED_EFFECT_MIN).take(1)) {
        let is_room = phrases.len() < length;
        if is_room && !phrases.contains(&one.phrase.as_str()) {
            phrases.push(&one.phrase);
        }
    }
    if phrases.is_empty() {
        "close to average".to_owned()
    } else {
        phrases.join(", ")
    }
}

fn check(
    labels: &[usize],
    segments: usize,
    weights: Option<&[f64]>,
    columns: &[(ProfileFeature, ProfileColumn<'_>)],
) -> Result<(), ClusterError> {
    let rows = labels.len();
    if rows == 0 {
        return Err(ClusterError::NoRows);
    }
    if segments > SEGMENTS_MAX {
        return Err(ClusterError::Segments {
            wanted: segments,
            limit: SEGMENTS_MAX,
        });
    }
    if let Some(&label) = labels.iter().find(|label| **label >= segments) {
        return Err(ClusterError::Label { label, segments });
    }
    if let Some(weights) = weights {
        if weights.len() != rows {
            let (what, found) = ("the list of weights", weights.len());
            return Err(ClusterError::Length { what, found, rows });
        }
        if let Some(row) = weights
            .iter()
            .position(|weight| !(weight.is_finite() && *weight >= 0.0))
        {
            return Err(ClusterError::Weight {
                row,
                weight: weights[row],
            });
        }
    }
    columns
        .iter()
        .try_for_each(|(feature, column)| check_column(feature, column, rows))
}

fn check_column(
    feature: &ProfileFeature,
    column: &ProfileColumn<'_>,
    rows: usize,
) -> Result<(), ClusterError> {
    let wrong = |cause| {
        Err(ClusterError::Column {
            name: feature.name.clone(),
            cause,
        })
    };
    let found = match column {
        ProfileColumn::Number(values) => values.len(),
        ProfileColumn::Category(codes) => codes.len(),
    };
    if found != rows {
        return wrong("it has another number of rows than there are labels");
    }
    match (&feature.kind, column) {
        (ProfileKind::Number { .. }, ProfileColumn::Number(_)) => Ok(()),
        (ProfileKind::Category { values, shares }, ProfileColumn::Category(codes)) => {
            if shares.len() != values.len() {
                return wrong("its values and their shares differ in number");
            }
            if codes.iter().flatten().any(|code| *code >= values.len()) {
                return wrong("a row has a value that is not in the list of values");
            }
            Ok(())
        }
        _ => wrong("it is described as one kind and given as another"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGES: [f64; 6] = [70.0, 72.0, 74.0, 30.0, 32.0, 28.0];

    fn number<'data>(name: &str, values: &'data [f64]) -> (ProfileFeature, ProfileColumn<'data>) {
        (
            ProfileFeature::number(name, values, None),
            ProfileColumn::Number(values),
        )
    }

    fn names_of(
        labels: &[usize],
        segments: usize,
        columns: &[(ProfileFeature, ProfileColumn<'_>)],
    ) -> Vec<String> {
        let profiles = profile(labels, segments, None, columns).unwrap();
        profiles.into_iter().map(|profile| profile.name).collect()
    }

    #[test]
    fn a_name_says_where_the_segment_lies() {
        let pressure = [150.0, 148.0, 150.0, 120.0, 121.0, 119.0];
        let sleep = [5.0, 6.0, 5.5, 7.0, 7.5, 8.0];
        let columns = [
            number("Age", &AGES),
            number("blood_pressure", &pressure),
            number("SleepHrs", &sleep),
        ];
        let names = names_of(&[0, 0, 0, 1, 1, 1], 2, &columns);
        assert_eq!(
            names,
            [
                "higher blood pressure, older, less sleep",
                "lower blood pressure, younger, more sleep"
            ]
        );
    }

    #[test]
    fn categories_are_named_by_their_most_telling_value() {
        let values = ["male".to_owned(), "female".to_owned()];
        let codes = [Some(1), Some(1), None, Some(0), Some(0), Some(1)];
        let smokes = ["No".to_owned(), "Yes".to_owned()];
        let smoking = [Some(0), Some(0), Some(0), Some(0), Some(1), Some(1)];
        let columns = [
            (
                ProfileFeature::category("Gender", &values, &codes),
                ProfileColumn::Category(&codes),
            ),
            (
                ProfileFeature::category("SmokeNow", &smokes, &smoking),
                ProfileColumn::Category(&smoking),
            ),
        ];
        let names = names_of(&[0, 0, 0, 1, 1, 1], 2, &columns);
        assert_eq!(
            names,
            [
                "more often female, less often smoke now",
                "more often smoke now, more often male"
            ]
        );
    }

    #[test]
    fn the_profile_holds_the_numbers() {
        let profiles = profile(&[0, 0, 0, 1, 1, 1], 2, None, &[number("Age", &AGES)]).unwrap();
        assert_eq!((profiles[0].size, profiles[0].share), (3, 0.5));
        let trait_ = &profiles[0].traits[0];
        assert!((trait_.difference_sd - 21.0 / (1331.0f64 / 3.0).sqrt()).abs() < 1e-12);
        let TraitDetail::Number {
            mean,
            population_mean,
            ..
        } = trait_.detail
        else {
            panic!()
        };
        assert_eq!((mean, population_mean), (72.0, 51.0));
        let json = serde_json::to_string(&profiles).unwrap();
        let read: Vec<Profile> = serde_json::from_str(&json).unwrap();
        assert_eq!(read[0].traits[0].detail, trait_.detail);
        assert_eq!((read.len(), &read[1].name), (2, &profiles[1].name));
    }

    #[test]
    fn weights_move_means_and_shares() {
        let weights = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let columns = [number("Age", &AGES)];
        let profiles = profile(&[0, 0, 0, 1, 1, 1], 2, Some(&weights), &columns).unwrap();
        assert_eq!((profiles[0].size, profiles[0].share), (3, 0.25));
        assert!(matches!(
            profiles[0].traits[0].detail,
            TraitDetail::Number { mean: 70.0, .. }
        ));
    }

    #[test]
    fn no_two_segments_share_a_name() {
        let same = [1.0; 6];
        let labels = [0, 0, 1, 1, 2, 2];
        assert_eq!(
            names_of(&labels, 4, &[number("constant", &same)]),
            [
                "close to average (segment 1)",
                "close to average (segment 2)",
                "close to average (segment 3)",
                "nobody"
            ]
        );
        let high = [9.0, 9.0, 9.0, 9.0, 1.0, 1.0];
        let slight = [5.0, 5.0, 5.2, 5.2, 4.0, 6.4];
        let names = names_of(
            &labels,
            3,
            &[number("score", &high), number("load", &slight)],
        );
        assert!(
            names[0] != names[1] && names[0].starts_with("higher score"),
            "{names:?}"
        );
        assert_eq!(
            names_of(&[0; 6], 1, &[number("score", &high)]),
            ["everyone"]
        );
    }

    #[test]
    fn names_of_columns_become_words() {
        assert_eq!(words("BPSysAve").join(" "), "BP sys ave");
        assert_eq!(words("sleep_hrs.night").join(" "), "sleep hrs night");
        assert_eq!(words("BMI").join(" "), "BMI");
        assert_eq!(words("__").len(), 0);
        assert_eq!(words("größeCM").join(" "), "größe CM");
        let long = "x".repeat(1000);
        assert_eq!(
            number_phrase(&long, None, true).len(),
            "higher ".len() + LETTERS_MAX
        );
    }

    #[test]
    fn missing_and_mismatched_columns_are_handled() {
        let missing = [f64::NAN; 6];
        let labels = [0, 0, 0, 1, 1, 1];
        let profiles = profile(&labels, 2, None, &[number("Age", &missing)]).unwrap();
        assert!(profiles.iter().all(|profile| profile.traits.is_empty()));
        let codes = [Some(7); 6];
        let feature = ProfileFeature::category("site", &["a".to_owned()], &codes);
        let column = ProfileColumn::Category(&codes);
        let wrong = profile(&labels, 2, None, &[(feature.clone(), column)]);
        assert!(matches!(wrong, Err(ClusterError::Column { .. })));
        let wrong = profile(&labels, 2, None, &[(feature, ProfileColumn::Number(&AGES))]);
        assert!(matches!(wrong, Err(ClusterError::Column { .. })));
        assert!(profile(&labels, 2, None, &[number("Age", &AGES[..3])]).is_err());
        assert!(profile(&labels, 1, None, &[]).is_err());
        assert!(profile(&labels, usize::MAX, None, &[]).is_err());
        assert!(profile(&[], 1, None, &[]).is_err());
    }
}
