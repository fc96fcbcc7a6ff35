//! The nearest right name to a wrong one, for error messages.
//!
//! One rule for the whole house (recipe keys, columns, category values, flags), so that a hint means the same
//! everywhere: names are compared without case, and a hint is given only when it is close enough to be a typing
//! mistake rather than another word.

/// The candidate closest to `wrong`, when it is close enough to be meant.
///
/// Close means at most one edit per three letters (at least one), or equal but for case and separators.
///
/// ```
/// use ombud_core::nearest::nearest;
/// assert_eq!(nearest("departmnt", ["gender", "department"]), Some("department"));
/// assert_eq!(nearest("salary", ["gender", "department"]), None);
/// ```
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = fold(wrong);
    let allowed_edits = (wrong.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wrong, &fold(candidate)),
                candidate,
            )
        })
        .filter(|(edits, _)| *edits <= allowed_edits)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Case and separators are the commonest differences and mean nothing.
fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' ' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn case_and_separators_do_not_count() {
        assert_eq!(nearest("Age-Band", ["age_band", "age"]), Some("age_band"));
    }

    #[test]
    fn the_closest_wins() {
        assert_eq!(nearest("sourec", ["score", "source"]), Some("source"));
    }

    #[test]
    fn a_different_word_gets_no_hint() {
        assert_eq!(nearest("xyz", ["accuracy", "recall"]), None);
    }
}
