//! Orders that people write: Likert words, grades of severity, bands of numbers.
//!
//! A set of values is ordered only when every value has its place; one stranger makes it a plain category.

/// Known scales, lowest first; words are compared without case and separators.
const SCALES: [&[&str]; 17] = [
    &[
        "never",
        "rarely",
        "seldom",
        "sometimes",
        "often",
        "usually",
        "very often",
        "always",
    ],
    &[
        "strongly disagree",
        "disagree",
        "somewhat disagree",
        "neutral",
        "neither agree nor disagree",
        "somewhat agree",
        "agree",
        "strongly agree",
    ],
    &["very low", "low", "medium", "moderate", "high", "very high"],
    &[
        "none",
        "minimal",
        "mild",
        "moderate",
        "severe",
        "very severe",
        "critical",
    ],
    &[
        "very difficult",
        "difficult",
        "somewhat difficult",
        "neither easy nor difficult",
        "somewhat easy",
        "easy",
        "very easy",
    ],
    &[
        "very poor",
        "poor",
        "fair",
        "good",
        "vgood",
        "very good",
        "excellent",
    ],
    &[
        "very dissatisfied",
        "dissatisfied",
        "neutral",
        "satisfied",
        "very satisfied",
    ],
    &["small", "medium", "large", "very large"],
    &["entry", "junior", "mid", "senior", "lead", "executive"],
    &["minor", "moderate", "major", "critical"],
    &["safe", "low risk", "medium risk", "high risk", "crisis"],
    &[
        "not at all",
        "a little",
        "somewhat",
        "quite a bit",
        "very much",
        "extremely",
    ],
    &["nodays", "several", "most"],
    &["noneofthem", "some", "all"],
    &["no", "maybe", "yes"],
    &["primary", "secondary", "tertiary"],
    &[
        "8thgrade",
        "9 - 11th grade",
        "high school",
        "some college",
        "college grad",
    ],
];

/// The values in their order, if every one has a place.
pub(super) fn order<'a>(values: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let values: Vec<&str> = values.collect();
    const LEVELS_MIN: usize = 3;
    if values.len() < LEVELS_MIN || values.len() > 60 {
        return None;
    }
    by_scale(&values).or_else(|| by_band(&values))
}

fn by_scale(values: &[&str]) -> Option<Vec<String>> {
    SCALES.iter().find_map(|scale| {
        let place = |value: &str| {
            scale
                .iter()
                .position(|level| folded(level) == folded(value))
        };
        let places: Option<Vec<usize>> = values.iter().map(|value| place(value)).collect();
        let mut placed: Vec<(usize, &str)> =
            places?.into_iter().zip(values.iter().copied()).collect();
        placed.sort_unstable();
        // Two spellings of one level would make an order of nothing.
        let is_strict = placed.windows(2).all(|pair| pair[0].0 < pair[1].0);
        is_strict.then(|| {
            placed
                .into_iter()
                .map(|(_, value)| value.to_owned())
                .collect()
        })
    })
}

/// Bands such as `18-24`, `65+`, `<1_year`, `[70-80)`, `more than 1000`.
fn by_band(values: &[&str]) -> Option<Vec<String>> {
    let mut placed: Vec<(f64, &str)> = values
        .iter()
        .map(|value| Some((band(value)?, *value)))
        .collect::<Option<_>>()?;
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let is_strict = placed.windows(2).all(|pair| pair[0].0 < pair[1].0);
    is_strict.then(|| {
        placed
            .into_iter()
            .map(|(_, value)| value.to_owned())
            .collect()
    })
}

/// Where a band begins; open ends lie just outside their number.
fn band(value: &str) -> Option<f64> {
    const EDGE: f64 = 1e-6;
    let lower = value.trim().to_ascii_lowercase();
    let bare = lower.trim_start_matches(['[', '(', '$', '€', '£', ' ']);
    let is_below = bare.starts_with('<')
        || bare.starts_with("under")
        || bare.starts_with("less")
        || bare.starts_with("below")
        || bare.starts_with("up to");
    let is_above = bare.starts_with('>')
        || bare.starts_with("over")
        || bare.starts_with("more")
        || bare.starts_with("above");
    let digits: String = bare
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | ' '))
        .filter(|c| !matches!(c, ',' | ' '))
        .collect();
    let number: f64 = digits.trim_end_matches('.').parse().ok()?;
    let rest = &bare[bare.find(|c: char| c.is_ascii_digit())?..];
    let marks = rest.contains('-')
        || rest.contains('–')
        || rest.contains('+')
        || rest.contains(" to ")
        || rest.contains("or more");
    match (is_below, is_above, marks) {
        (true, _, _) => Some(number - EDGE),
        (_, true, _) => Some(number + EDGE),
        (_, _, true) => Some(number),
        _ => None,
    }
}

fn folded(value: &str) -> String {
    value
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::order;

    fn check(values: &[&str], expected: Option<&[&str]>) {
        let found = order(values.iter().copied());
        let found: Option<Vec<&str>> = found
            .as_ref()
            .map(|levels| levels.iter().map(String::as_str).collect());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn words_of_a_scale_take_their_places() {
        check(
            &["Often", "Never", "Sometimes"],
            Some(&["Never", "Sometimes", "Often"]),
        );
        check(&["high", "low", "medium"], Some(&["low", "medium", "high"]));
        check(&["high", "low", "purple"], None);
    }

    #[test]
    fn bands_are_ordered_by_where_they_begin() {
        check(&["65+", "18-24", "25-34"], Some(&["18-24", "25-34", "65+"]));
        check(
            &["8+_years", "<1_year", "1-3_years"],
            Some(&["<1_year", "1-3_years", "8+_years"]),
        );
        check(
            &["More than 1000", "6-25", "1-5"],
            Some(&["1-5", "6-25", "More than 1000"]),
        );
        check(&["3 dogs", "2 dogs", "1 dog"], None);
    }
}
