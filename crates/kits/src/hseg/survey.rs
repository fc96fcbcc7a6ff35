//! What is asked: 22 statements in six categories, worded for three domains, and how a rating is read.
//!
//! A respondent says how far a statement is true, from 1 (not at all) to 4 (fully). A [`Rating`] is that answer turned so
//! that 4 is always the healthiest: a negative statement is reversed by [`Statement::rating_of`]. Whatever arrives under
//! the names `q1` to `q22` is already a rating. Ratings may have decimals, and may be missing.

use serde_json::Value;
use std::fmt;

/// How many statements there are.
pub const QUESTIONS: usize = 22;
/// How many open questions follow them: `q23` to `q25`.
pub const OPEN_QUESTIONS: [OpenQuestion; 3] = [
    OpenQuestion {
        name: "q23",
        text: "What would make your workplace safer or healthier for you?",
    },
    OpenQuestion {
        name: "q24",
        text: "Tell us about something at work that weighed on you lately, if you like.",
    },
    OpenQuestion {
        name: "q25",
        text: "What works well here and should stay as it is?",
    },
];
/// Longest open answer, in bytes.
pub const OPEN_ANSWER_BYTES_MAX: usize = 20_000;

/// A question answered in the respondent's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenQuestion {
    pub name: &'static str,
    pub text: &'static str,
}

/// The kind of place that is assessed; some statements are worded for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    Healthcare,
    University,
    Business,
}

impl Domain {
    pub const ALL: [Domain; 3] = [Domain::Healthcare, Domain::University, Domain::Business];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Domain::Healthcare => "Healthcare",
            Domain::University => "University",
            Domain::Business => "Business",
        }
    }

    /// Reads the word; capitals do not matter.
    pub fn parse(word: &str) -> Option<Domain> {
        let is_named = |domain: &Domain| domain.word().eq_ignore_ascii_case(word.trim());
        Domain::ALL.into_iter().find(is_named)
    }
}

/// What a group of statements is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    PowerAbuse,
    Discrimination,
    Manipulation,
    Accountability,
    MentalHealth,
    Voice,
}

impl Category {
    pub const ALL: [Category; 6] = [
        Category::PowerAbuse,
        Category::Discrimination,
        Category::Manipulation,
        Category::Accountability,
        Category::MentalHealth,
        Category::Voice,
    ];

    /// 1 to 6, its name on the wire.
    pub fn number(self) -> usize {
        self.index() + 1
    }

    /// 0 to 5, its place in arrays.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The full name.
    pub fn title(self) -> &'static str {
        match self {
            Category::PowerAbuse => "Power Abuse & Suppression",
            Category::Discrimination => "Discrimination & Exclusion",
            Category::Manipulation => "Manipulative Work Culture",
            Category::Accountability => "Failure of Accountability",
            Category::MentalHealth => "Mental Health Harm",
            Category::Voice => "Erosion of Voice & Autonomy",
        }
    }

    /// The name in columns and labels.
    pub fn word(self) -> &'static str {
        match self {
            Category::PowerAbuse => "power_abuse",
            Category::Discrimination => "discrimination",
            Category::Manipulation => "manipulation",
            Category::Accountability => "accountability",
            Category::MentalHealth => "mental_health",
            Category::Voice => "voice",
        }
    }

    /// Reads the name in columns and labels.
    pub fn parse(word: &str) -> Option<Category> {
        Category::ALL.into_iter().find(|it| it.word() == word)
    }

    /// How much it counts in the overall score.
    pub fn weight(self) -> f64 {
        match self {
            Category::PowerAbuse | Category::Accountability => 3.0,
            Category::Discrimination | Category::MentalHealth => 2.5,
            Category::Manipulation | Category::Voice => 2.0,
        }
    }

    /// Its statements, as places in [`STATEMENTS`].
    pub fn questions(self) -> std::ops::Range<usize> {
        match self {
            Category::PowerAbuse => 0..4,
            Category::Discrimination => 4..7,
            Category::Manipulation => 7..10,
            Category::Accountability => 10..14,
            Category::MentalHealth => 14..18,
            Category::Voice => 18..22,
        }
    }
}

/// Whether agreeing with a statement is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Full agreement is the healthiest answer.
    Positive,
    /// Full agreement is the least healthy answer; reversed before scoring.
    Negative,
}

/// One statement of the survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// `q1` to `q22`.
    pub name: &'static str,
    pub category: Category,
    pub framing: Framing,
    text: &'static str,
    healthcare: Option<&'static str>,
    university: Option<&'static str>,
}

impl Statement {
    /// The wording for a domain.
    pub fn text(&self, domain: Domain) -> &'static str {
        let variant = match domain {
            Domain::Healthcare => self.healthcare,
            Domain::University => self.university,
            Domain::Business => None,
        };
        variant.unwrap_or(self.text)
    }

    /// The rating that an agreement from 1 to 4 means.
    pub fn rating_of(&self, agreement: Rating) -> Rating {
        match self.framing {
            Framing::Positive => agreement,
            Framing::Negative => Rating(Rating::MIN + Rating::MAX - agreement.0),
        }
    }
}

/// The 22 statements, in order.
pub const STATEMENTS: [Statement; QUESTIONS] = [
    statement("q1", Category::PowerAbuse, Framing::Positive, "People with authority here treat those below them with respect.")
        .in_healthcare("Senior clinicians and managers here treat those below them with respect.")
        .at_university("Professors, heads and administrators here treat those below them with respect."),
    statement("q2", Category::PowerAbuse, Framing::Negative, "People who question a decision of their manager pay for it later.")
        .in_healthcare("People who question a clinical or management decision pay for it later.")
        .at_university("People who question a supervisor, chair or committee pay for it later."),
    statement("q3", Category::PowerAbuse, Framing::Positive, "I can disagree with the person I report to without fear."),
    statement("q4", Category::PowerAbuse, Framing::Negative, "Shouting, threats or humiliation are used here to get work done.")
        .in_healthcare("Shouting, threats or humiliation happen on my ward or unit."),
    statement("q5", Category::Discrimination, Framing::Positive, "People of every background have the same chance to be hired, heard and promoted.")
        .at_university("People of every background have the same chance to be admitted, heard, published and promoted."),
    statement("q6", Category::Discrimination, Framing::Negative, "I have seen people mocked, left out or passed over because of who they are."),
    statement("q7", Category::Discrimination, Framing::Positive, "I belong here without having to hide a part of myself."),
    statement("q8", Category::Manipulation, Framing::Negative, "Guilt or loyalty is used to make people work beyond what was agreed.")
        .in_healthcare("Guilt about patients is used to make people work beyond their rostered hours.")
        .at_university("Guilt, references or visas are used to make people work beyond what was agreed."),
    statement("q9", Category::Manipulation, Framing::Positive, "What I am told about my work and its goals is honest."),
    statement("q10", Category::Manipulation, Framing::Negative, "Promises are made to keep people quiet or working, and then not kept."),
    statement("q11", Category::Accountability, Framing::Positive, "When someone reports misconduct, it is looked into fairly and in time.")
        .in_healthcare("When someone reports misconduct or a safety event, it is looked into fairly and in time."),
    statement("q12", Category::Accountability, Framing::Negative, "Some people here can break the rules and nothing happens to them.")
        .at_university("Some people here, because of grants or fame, can break the rules and nothing happens to them."),
    statement("q13", Category::Accountability, Framing::Positive, "Leaders admit their mistakes and put them right."),
    statement("q14", Category::Accountability, Framing::Negative, "Those who report a problem end up worse off than those who caused it."),
    statement("q15", Category::MentalHealth, Framing::Negative, "My work leaves me too drained for the rest of my life.")
        .in_healthcare("My shifts leave me too drained for the rest of my life."),
    statement("q16", Category::MentalHealth, Framing::Positive, "I can take the breaks and the leave that I need without being judged."),
    statement("q17", Category::MentalHealth, Framing::Negative, "I feel dread when I think of my next day here."),
    statement("q18", Category::MentalHealth, Framing::Positive, "If I were struggling, I would find real support here."),
    statement("q19", Category::Voice, Framing::Positive, "My ideas and concerns are heard and get an answer.")
        .in_healthcare("My ideas and concerns about care and work are heard and get an answer."),
    statement("q20", Category::Voice, Framing::Positive, "I have a say in how I do my own work.")
        .at_university("I have a say in how I teach, research or study."),
    statement("q21", Category::Voice, Framing::Negative, "I am watched or controlled more closely than my work needs."),
    statement("q22", Category::Voice, Framing::Negative, "People here have stopped speaking up, because it changes nothing."),
];

const fn statement(
    name: &'static str,
    category: Category,
    framing: Framing,
    text: &'static str,
) -> Statement {
    Statement {
        name,
        category,
        framing,
        text,
        healthcare: None,
        university: None,
    }
}

impl Statement {
    const fn in_healthcare(mut self, text: &'static str) -> Statement {
        self.healthcare = Some(text);
        self
    }

    const fn at_university(mut self, text: &'static str) -> Statement {
        self.university = Some(text);
        self
    }
}

/// An answer from 1 to 4, 4 the healthiest.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rating(f64);

impl Rating {
    pub const MIN: f64 = 1.0;
    pub const MAX: f64 = 4.0;

    /// `None` for what is not a number from 1 to 4.
    pub fn new(value: f64) -> Option<Rating> {
        let is_within = (Rating::MIN..=Rating::MAX).contains(&value);
        is_within.then_some(Rating(value))
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

/// The answers of one person to the 22 statements; any may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ratings([Option<Rating>; QUESTIONS]);

impl Ratings {
    /// What agreements with the statements mean.
    #[must_use]
    pub fn of_agreement(&self) -> Ratings {
        let meant = |question: usize| {
            let agreement = self.0[question]?;
            Some(STATEMENTS[question].rating_of(agreement))
        };
        Ratings(std::array::from_fn(meant))
    }

    pub fn new(ratings: [Option<Rating>; QUESTIONS]) -> Ratings {
        Ratings(ratings)
    }

    /// Reads what a form, a file or a request names `q1` to `q22`. `null` and an empty text are missing; a number in
    /// quotes is a number.
    ///
    /// # Errors
    /// Every entry at fault, not only the first.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Ratings, Vec<RatingFault>> {
        let mut ratings = Ratings::default();
        let mut faults = Vec::new();
        for (name, value) in entries {
            match read_entry(name, value) {
                Ok((question, rating)) => ratings.0[question] = rating,
                Err(fault) => faults.push(fault),
            }
        }
        match faults.is_empty() {
            true => Ok(ratings),
            false => Err(faults),
        }
    }

    /// The rating of a statement, by its place in [`STATEMENTS`].
    pub fn get(&self, question: usize) -> Option<Rating> {
        self.0[question]
    }

    /// All 22, in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<Rating>> {
        self.0.into_iter()
    }

    /// How many are given.
    pub fn answered(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// The given share, 0 to 1.
    pub fn completion(&self) -> f64 {
        self.answered() as f64 / QUESTIONS as f64
    }
}

/// What is wrong with one entry of a survey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatingFault {
    #[error("{name:?} is no question of this survey")]
    UnknownQuestion { name: String },
    #[error("{name} is {value}, and a rating is a number from 1 to 4")]
    NotARating { name: &'static str, value: String },
}

impl RatingFault {
    /// The entry at fault.
    pub fn name(&self) -> &str {
        match self {
            RatingFault::UnknownQuestion { name } => name,
            RatingFault::NotARating { name, .. } => name,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            RatingFault::UnknownQuestion { .. } => {
                "the rated statements are q1 to q22; open answers (q23 to q25) belong in text_responses"
            }
            RatingFault::NotARating { .. } => "4 is the healthiest; leave a missing answer out",
        }
    }
}

/// The place of a statement by its name.
pub fn question(name: &str) -> Option<usize> {
    STATEMENTS.iter().position(|it| it.name == name)
}

fn read_entry(name: &str, value: &Value) -> Result<(usize, Option<Rating>), RatingFault> {
    let question = question(name).ok_or_else(|| RatingFault::UnknownQuestion {
        name: name.to_owned(),
    })?;
    let wrong = || RatingFault::NotARating {
        name: STATEMENTS[question].name,
        value: value.to_string(),
    };
    let number = match value {
        Value::Null => return Ok((question, None)),
        Value::String(text) if text.trim().is_empty() => return Ok((question, None)),
        Value::String(text) => text.trim().replace(',', ".").parse::<f64>().ok(),
        Value::Number(number) => number.as_f64(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let rating = number.and_then(Rating::new).ok_or_else(wrong)?;
    Ok((question, Some(rating)))
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: &Value) -> Result<Ratings, Vec<RatingFault>> {
        let entries = value.as_object().unwrap().iter();
        Ratings::parse(entries.map(|(name, value)| (name.as_str(), value)))
    }

    #[test]
    fn every_statement_stands_in_its_category_under_its_number() {
        for category in Category::ALL {
            for question in category.questions() {
                assert_eq!(STATEMENTS[question].category, category);
                assert_eq!(STATEMENTS[question].name, format!("q{}", question + 1));
            }
        }
        let covered: usize = Category::ALL.iter().map(|it| it.questions().len()).sum();
        assert_eq!(covered, QUESTIONS);
    }

    #[test]
    fn both_framings_occur_in_every_category() {
        for category in Category::ALL {
            let negative = category
                .questions()
                .filter(|q| STATEMENTS[*q].framing == Framing::Negative)
                .count();
            assert!(
                (1..category.questions().len()).contains(&negative),
                "{category}"
            );
        }
    }

    #[test]
    fn agreeing_with_a_negative_statement_is_the_least_healthy_rating() {
        let fully = Rating::new(4.0).unwrap();
        let partly = Rating::new(1.5).unwrap();
        assert_eq!(STATEMENTS[1].rating_of(fully).get(), 1.0);
        assert_eq!(STATEMENTS[1].rating_of(partly).get(), 3.5);
        assert_eq!(STATEMENTS[0].rating_of(fully).get(), 4.0);
    }

    #[test]
    fn decimals_numbers_in_quotes_and_missing_answers_are_read() {
        let ratings = parsed(&json!({"q1": "2,5", "q2": "3", "q3": null, "q4": ""})).unwrap();
        let first: Vec<Option<f64>> = ratings
            .iter()
            .take(5)
            .map(|it| it.map(Rating::get))
            .collect();
        assert_eq!(first, [Some(2.5), Some(3.0), None, None, None]);
        assert_eq!(ratings.answered(), 2);
    }

    #[test]
    fn every_entry_at_fault_is_told() {
        let faults = parsed(
            &json!({"q1": 0.9, "q2": 4.1, "q3": "often", "q23": 3, "q4": true, "q5": "NaN"}),
        )
        .unwrap_err();
        let names: Vec<&str> = faults.iter().map(RatingFault::name).collect();
        assert_eq!(names, ["q1", "q2", "q23", "q3", "q4", "q5"]);
        assert_eq!(
            faults[0].to_string(),
            "q1 is 0.9, and a rating is a number from 1 to 4"
        );
    }

    #[test]
    fn wording_differs_where_the_place_does() {
        assert!(STATEMENTS[14].text(Domain::Healthcare).contains("shifts"));
        assert!(STATEMENTS[19].text(Domain::University).contains("teach"));
        assert_eq!(
            STATEMENTS[2].text(Domain::University),
            STATEMENTS[2].text(Domain::Business)
        );
    }
}
