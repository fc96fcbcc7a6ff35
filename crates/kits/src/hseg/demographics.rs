//! Who answered, as far as they said, and how carefully.
//!
//! Everything is optional and every word has one exact spelling, which is what today's callers send. The department is a
//! free word of the organization; all else is closed. What is measured about the answering itself is [`ResponseQuality`].

use super::survey::{Rating, Ratings};
use ombud_core::nearest::nearest;

/// Longest department name, in bytes.
pub const DEPARTMENT_BYTES_MAX: usize = 120;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $field:literal { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// The name of the field that carries it.
            pub const FIELD: &'static str = $field;
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// Every word, in order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word on the wire.
            pub fn word(self) -> &'static str {
                Self::WORDS[self as usize]
            }

            /// Reads the word, spelled exactly.
            ///
            /// # Errors
            /// A word that is none of these, with the nearest.
            pub fn parse(word: &str) -> Result<Self, UnknownWord> {
                let place = Self::WORDS.iter().position(|it| *it == word);
                place.map(|place| Self::ALL[place]).ok_or_else(|| UnknownWord::new($field, word, Self::WORDS))
            }
        }
    };
}

words!(
    /// Age in years.
    AgeRange, "age_range" {
        From18 = "18-24", From25 = "25-34", From35 = "35-44", From45 = "45-54", From55 = "55-64", From65 = "65+",
    }
);
words!(
    GenderIdentity, "gender_identity" {
        Man = "Man", Woman = "Woman", NonBinary = "Non-binary", PreferNotToSay = "Prefer_not_to_say",
    }
);
words!(
    /// How long a person has been with the organization.
    TenureRange, "tenure_range" {
        UnderOne = "<1_year", OneToThree = "1-3_years", FourToSeven = "4-7_years", EightOrMore = "8+_years",
    }
);
words!(
    PositionLevel, "position_level" {
        Entry = "Entry", Mid = "Mid", Senior = "Senior", Executive = "Executive",
    }
);
words!(
    WorkLocation, "work_location" { OnSite = "On_Site", Remote = "Remote", Hybrid = "Hybrid" }
);
words!(
    EmploymentStatus, "employment_status" {
        FullTime = "Full_Time", PartTime = "Part_Time", Contract = "Contract", Intern = "Intern",
    }
);
words!(
    EducationLevel, "education_level" {
        HighSchool = "High_School", SomeCollege = "Some_College", Bachelors = "Bachelors", Masters = "Masters",
        Doctorate = "Doctorate",
    }
);
words!(
    /// A person may name several.
    Ethnicity, "ethnicity" {
        Asian = "Asian", Black = "Black", HispanicLatino = "Hispanic_Latino", Indigenous = "Indigenous",
        MiddleEastern = "Middle_Eastern", PacificIslander = "Pacific_Islander", White = "White", Other = "Other",
        PreferNotToSay = "Prefer_not_to_say",
    }
);

/// A word that a closed field does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {word:?}; allowed: {}", allowed.join(", "))]
pub struct UnknownWord {
    pub field: &'static str,
    pub word: String,
    pub allowed: &'static [&'static str],
}

impl UnknownWord {
    fn new(field: &'static str, word: &str, allowed: &'static [&'static str]) -> UnknownWord {
        UnknownWord {
            field,
            word: word.to_owned(),
            allowed,
        }
    }

    /// The allowed word that was probably meant.
    pub fn nearest(&self) -> Option<&'static str> {
        nearest(&self.word, self.allowed.iter().copied())
    }
}

/// What a person said of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demographics {
    pub age_range: Option<AgeRange>,
    pub gender_identity: Option<GenderIdentity>,
    pub tenure_range: Option<TenureRange>,
    pub position_level: Option<PositionLevel>,
    /// A name of the organization's own.
    pub department: Option<String>,
    pub supervises_others: Option<bool>,
    pub work_location: Option<WorkLocation>,
    pub employment_status: Option<EmploymentStatus>,
    pub education_level: Option<EducationLevel>,
    pub ethnicity: Vec<Ethnicity>,
}

/// How carefully the survey was answered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ResponseQuality {
    /// Time taken, in seconds.
    pub seconds: Option<f64>,
    /// The answered share, 0 to 1.
    pub completion: Option<f64>,
    /// Whether the attention check ("please mark 2 here") was passed.
    pub attention_passed: Option<bool>,
    /// The longest run of equal agreements as a share of the answers, 0 to 1.
    pub straight_lining: Option<f64>,
}

impl ResponseQuality {
    /// Fills what the ratings themselves show.
    pub fn completed_from(mut self, ratings: &Ratings) -> ResponseQuality {
        self.completion.get_or_insert(ratings.completion());
        if self.straight_lining.is_none() {
            self.straight_lining = straight_lining(ratings);
        }
        self
    }

    /// From 0 (nothing to rely on) to 1: the answered share, halved by each sign of carelessness.
    pub fn reliability(&self) -> f64 {
        let is_hasty = self.seconds.is_some_and(|seconds| seconds < SECONDS_MIN);
        let is_inattentive = self.attention_passed == Some(false);
        let is_straight = self
            .straight_lining
            .is_some_and(|share| share > STRAIGHT_LINING_MAX);
        let signs = [is_hasty, is_inattentive, is_straight]
            .into_iter()
            .filter(|sign| *sign)
            .count();
        self.completion.unwrap_or(1.0) * 0.5f64.powi(signs as i32)
    }
}

/// Nobody reads 22 statements in less: two seconds each is the usual limit of survey research.
const SECONDS_MIN: f64 = 44.0;
/// Statements of both framings alternate, so an honest run of equal marks is short.
const STRAIGHT_LINING_MAX: f64 = 0.5;

/// The longest run of equal *agreements* among the answered statements. Agreements, not ratings: who marks 3 all the way
/// down gives ratings of 3 and 2 in turn.
pub fn straight_lining(ratings: &Ratings) -> Option<f64> {
    let agreements: Vec<f64> = ratings
        .iter()
        .zip(super::survey::STATEMENTS)
        .filter_map(|(rating, statement)| rating.map(|rating| statement.rating_of(rating)))
        .map(Rating::get)
        .collect();
    let runs = agreements.chunk_by(|a, b| a == b).map(<[f64]>::len);
    runs.max()
        .map(|longest| longest as f64 / agreements.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hseg::survey::{QUESTIONS, STATEMENTS};

    #[test]
    fn words_are_read_as_today_s_callers_spell_them() {
        assert_eq!(AgeRange::parse("65+"), Ok(AgeRange::From65));
        assert_eq!(TenureRange::parse("<1_year"), Ok(TenureRange::UnderOne));
        assert_eq!(
            GenderIdentity::parse("Non-binary"),
            Ok(GenderIdentity::NonBinary)
        );
        assert_eq!(WorkLocation::parse("On_Site").unwrap().word(), "On_Site");
    }

    #[test]
    fn a_wrong_word_is_told_with_the_nearest_one() {
        let error = PositionLevel::parse("Midd").unwrap_err();
        assert_eq!(error.nearest(), Some("Mid"));
        assert!(
            error
                .to_string()
                .starts_with("position_level is \"Midd\"; allowed: Entry, Mid")
        );
    }

    #[test]
    fn marking_the_same_all_the_way_down_is_seen_through_the_reversals() {
        let three = Rating::new(3.0).unwrap();
        let ratings = Ratings::new(std::array::from_fn(|q| {
            Some(STATEMENTS[q].rating_of(three))
        }));
        assert_eq!(straight_lining(&ratings), Some(1.0));
        let healthiest = Ratings::new([Rating::new(4.0); QUESTIONS]);
        assert!(straight_lining(&healthiest).unwrap() < 0.2);
        assert_eq!(straight_lining(&Ratings::default()), None);
    }

    #[test]
    fn each_sign_of_carelessness_halves_the_reliability() {
        let careful = ResponseQuality {
            seconds: Some(300.0),
            completion: Some(1.0),
            attention_passed: Some(true),
            straight_lining: Some(0.1),
        };
        assert_eq!(careful.reliability(), 1.0);
        let hasty = ResponseQuality {
            seconds: Some(20.0),
            attention_passed: Some(false),
            ..careful
        };
        assert_eq!(hasty.reliability(), 0.25);
    }
}
