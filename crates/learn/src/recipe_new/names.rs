//! What a column's name alone suggests: a person, a moment, an attribute that the law protects.
//!
//! Names are taken apart into words (`SeniorCitizen`, `age_at_visit`), so that `page` is no age. Only a first guess, for
//! a recipe that a person reads and corrects.

/// Words of a name that make a column about the person a row is of.
const PERSONS: [&str; 16] = [
    "subject",
    "patient",
    "member",
    "person",
    "employee",
    "respondent",
    "user",
    "customer",
    "client",
    "student",
    "participant",
    "worker",
    "resident",
    "beneficiary",
    "applicant",
    "record",
];
/// Words that make it an identifier.
const IDENTIFIERS: [&str; 6] = ["id", "no", "nr", "number", "key", "uuid"];
/// Names that identify a person on their own.
const PERSON_NAMES: [&str; 4] = ["subject", "pid", "mrn", "personid"];
/// Words of a moment when something became known.
const TIMES: [&str; 12] = [
    "date",
    "filed",
    "created",
    "timestamp",
    "time",
    "admitted",
    "opened",
    "received",
    "submitted",
    "when",
    "start",
    "visit",
];
/// Words of attributes by which people must not be treated differently.
const PROTECTED: [&str; 24] = [
    "gender",
    "sex",
    "male",
    "female",
    "age",
    "race",
    "ethnicity",
    "ethnic",
    "disability",
    "disabled",
    "religion",
    "marital",
    "married",
    "nationality",
    "citizenship",
    "citizen",
    "senior",
    "pregnant",
    "pregnancy",
    "orientation",
    "veteran",
    "minority",
    "caste",
    "dependents",
];
/// Stems of numbered questions.
const QUESTIONS: [&str; 7] = ["q", "question", "item", "answer", "x", "v", "feature"];

/// Whether a column identifies the person a row is about.
pub(super) fn is_subject(name: &str) -> bool {
    let words = words(name);
    let is_one_of = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let is_whole = words.len() == 1 && PERSON_NAMES.contains(&words[0].as_str());
    let joined = words.concat();
    let is_joined = PERSONS.iter().any(|person| {
        let rest = joined.strip_prefix(person);
        rest.is_some_and(|rest| IDENTIFIERS.contains(&rest))
    });
    is_whole || is_joined || (is_one_of(&PERSONS) && is_one_of(&IDENTIFIERS) && words.len() <= 3)
}

/// Whether a column says when a person was born, which is never when a row became true.
pub(super) fn is_birth(name: &str) -> bool {
    let births = ["birth", "born", "dob", "birthday", "birthdate"];
    words(name)
        .iter()
        .any(|word| births.contains(&word.as_str()))
}

/// Whether a column says when a row became true.
pub(super) fn is_time(name: &str) -> bool {
    if is_birth(name) {
        return false;
    }
    words(name)
        .iter()
        .any(|word| TIMES.contains(&word.as_str()))
}

/// Whether a column looks like a protected attribute.
pub(super) fn is_protected(name: &str) -> bool {
    words(name)
        .iter()
        .any(|word| PROTECTED.contains(&word.as_str()))
}

/// Whether numbered columns of this stem are questions.
pub(super) fn is_question(stem: &str) -> bool {
    QUESTIONS
        .iter()
        .any(|question| stem.eq_ignore_ascii_case(question))
}

/// A count a person would write: its first digit, and zeros.
pub(super) fn rounded_down(count: usize) -> usize {
    let magnitude = 10_usize.pow(count.checked_ilog10().unwrap_or(0));
    count / magnitude * magnitude
}

/// The words of a name, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        let begins = !letter.is_alphanumeric() || (letter.is_uppercase() && was_small);
        if begins {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        was_small = letter.is_lowercase() || letter.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_into_words() {
        assert_eq!(words("SeniorCitizen"), ["senior", "citizen"]);
        assert_eq!(words("age_at visit-2"), ["age", "at", "visit", "2"]);
        assert_eq!(words("customerID"), ["customer", "id"]);
        assert!(words("__").is_empty());
    }

    #[test]
    fn persons_and_protected_attributes_are_known_by_their_words() {
        for name in [
            "patient_id",
            "customerID",
            "PID",
            "employee_no",
            "respondent",
            "memberid",
        ] {
            assert_eq!(is_subject(name), name != "respondent", "{name}");
        }
        for name in [
            "SeniorCitizen",
            "male",
            "Age",
            "gender_identity",
            "dependents",
        ] {
            assert!(is_protected(name), "{name}");
        }
        for name in ["page", "manager_rating", "wage", "stage", "message"] {
            assert!(!is_protected(name) && !is_subject(name), "{name}");
        }
        assert!(is_time("filed_at") && !is_time("tenure") && !is_time("date_of_birth"));
    }

    #[test]
    fn counts_are_rounded_as_a_person_would() {
        assert_eq!([0, 7, 459, 24_000].map(rounded_down), [0, 7, 400, 20_000]);
    }
}
