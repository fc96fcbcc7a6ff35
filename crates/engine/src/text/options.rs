//! How text becomes features, as a person writes it in a recipe, and the check that it can be done.
//!
//! Plain data with scikit-learn's meanings, so that a reader of a model card can repeat the model
//! elsewhere. Checked once, when a [`super::Vectorizer`] is made; what the options do is in
//! [`super::Analysis`] (grams) and [`super::Vectorizer`] (weights).

use serde::{Deserialize, Serialize};

/// Longer grams are all but unique and only cost memory.
pub const GRAM_LENGTH_MAX: u8 = 10;
/// 2²² buckets times a handful of classes is the most a hashed model should weigh.
pub const HASHING_BITS_MAX: u8 = 22;
/// Fewer buckets than 2⁴ say nothing about text.
pub const HASHING_BITS_MIN: u8 = 4;

/// How text becomes features. The default is lower-cased words and word pairs that at least two
/// documents hold, with sublinear counts and rows of length one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextOptions {
    /// What is counted.
    pub analyzer: Analyzer,
    /// Shortest and longest run of words.
    pub word_grams: GramRange,
    /// Shortest and longest run of characters; a word is counted with one space on either side.
    pub character_grams: GramRange,
    /// Words left out before runs of words are formed. Characters are not affected.
    pub stop_words: StopWords,
    /// `é` counts as `e`.
    pub strip_accents: bool,
    /// Terms in fewer documents are left out.
    pub min_df: DocumentLimit,
    /// Terms in more documents are left out.
    pub max_df: DocumentLimit,
    /// The most frequent terms kept, for words and for characters each; ties go to the term that sorts first.
    pub max_features: Option<u32>,
    /// Features by hash in place of a vocabulary; the document limits do not apply then.
    pub hashing: Option<Hashing>,
    /// 1 + ln(count) in place of the count.
    pub sublinear: bool,
    /// Weigh terms down that many documents hold.
    pub idf: bool,
    /// As if one more document held every term.
    pub smooth_idf: bool,
    /// Scale each document to Euclidean length one (words and characters each).
    pub normalize: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            analyzer: Analyzer::Words,
            word_grams: GramRange {
                shortest: 1,
                longest: 2,
            },
            character_grams: GramRange {
                shortest: 3,
                longest: 5,
            },
            stop_words: StopWords::default(),
            strip_accents: false,
            min_df: DocumentLimit::Count(2),
            max_df: DocumentLimit::Share(1.0),
            max_features: None,
            hashing: None,
            sublinear: true,
            idf: true,
            smooth_idf: true,
            normalize: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Analyzer {
    /// Runs of at least two letters, digits or underscores: scikit-learn's `\b\w\w+\b`.
    Words,
    /// Runs of characters within words between white space: scikit-learn's `char_wb`.
    Characters,
    /// Words first, then characters, side by side.
    Both,
}

/// The two kinds of units that an [`Analyzer`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Words,
    Characters,
}

/// Lengths of grams, both ends included; written as `[1, 2]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u8; 2]", into = "[u8; 2]")]
pub struct GramRange {
    pub shortest: u8,
    pub longest: u8,
}

impl From<[u8; 2]> for GramRange {
    fn from([shortest, longest]: [u8; 2]) -> Self {
        Self { shortest, longest }
    }
}

impl From<GramRange> for [u8; 2] {
    fn from(range: GramRange) -> Self {
        [range.shortest, range.longest]
    }
}

/// Written as `"none"`, `"english"` or `{ given = ["word", …] }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopWords {
    #[default]
    None,
    /// [`super::ENGLISH_STOP_WORDS`].
    English,
    Given(Vec<String>),
}

/// A number of documents (`2`) or a share of them (`0.5`; `1.0` is all).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DocumentLimit {
    Count(u32),
    Share(f64),
}

impl DocumentLimit {
    /// The limit in documents, a real number as in scikit-learn.
    pub fn of(self, documents: usize) -> f64 {
        match self {
            Self::Count(count) => f64::from(count),
            Self::Share(share) => share * documents as f64,
        }
    }

    fn is_possible(self) -> bool {
        match self {
            Self::Count(count) => count >= 1,
            Self::Share(share) => (0.0..=1.0).contains(&share),
        }
    }
}

/// Features by hash: nothing to learn and nothing to leak, but terms may share a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hashing {
    /// There are 2^bits features for words and as many for characters.
    pub bits: u8,
    /// Half of the terms count downwards, so that collisions cancel on average.
    #[serde(default)]
    pub signed: bool,
}

/// An option that cannot work, with what it may be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OptionError {
    #[error("{option} = [{shortest}, {longest}] must run upwards within 1 and {GRAM_LENGTH_MAX}")]
    Grams {
        option: &'static str,
        shortest: u8,
        longest: u8,
    },
    #[error("{option} must be a count of at least 1 or a share within 0 and 1")]
    DocumentLimit { option: &'static str },
    #[error("max_features must be at least 1")]
    NoFeatures,
    #[error("hashing bits = {bits} must lie within {HASHING_BITS_MIN} and {HASHING_BITS_MAX}")]
    HashingBits { bits: u8 },
    #[error("max_features does not go with hashing: choose fewer bits instead")]
    HashingLimit,
}

impl TextOptions {
    /// The units counted, in the order of their features.
    pub fn units(&self) -> &'static [Unit] {
        match self.analyzer {
            Analyzer::Words => &[Unit::Words],
            Analyzer::Characters => &[Unit::Characters],
            Analyzer::Both => &[Unit::Words, Unit::Characters],
        }
    }

    pub fn grams(&self, unit: Unit) -> GramRange {
        match unit {
            Unit::Words => self.word_grams,
            Unit::Characters => self.character_grams,
        }
    }

    pub fn check(&self) -> Result<(), OptionError> {
        check_grams("word_grams", self.word_grams)?;
        check_grams("character_grams", self.character_grams)?;
        for (option, limit) in [("min_df", self.min_df), ("max_df", self.max_df)] {
            if !limit.is_possible() {
                return Err(OptionError::DocumentLimit { option });
            }
        }
        if self.max_features == Some(0) {
            return Err(OptionError::NoFeatures);
        }
        self.hashing
            .map_or(Ok(()), |hashing| self.check_hashing(hashing))
    }

    fn check_hashing(&self, Hashing { bits, .. }: Hashing) -> Result<(), OptionError> {
        if !(HASHING_BITS_MIN..=HASHING_BITS_MAX).contains(&bits) {
            return Err(OptionError::HashingBits { bits });
        }
        if self.max_features.is_some() {
            return Err(OptionError::HashingLimit);
        }
        Ok(())
    }
}

fn check_grams(option: &'static str, range: GramRange) -> Result<(), OptionError> {
    let GramRange { shortest, longest } = range;
    if 1 <= shortest && shortest <= longest && longest <= GRAM_LENGTH_MAX {
        return Ok(());
    }
    Err(OptionError::Grams {
        option,
        shortest,
        longest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_as_a_recipe_writes_them() {
        let written = r#"{"analyzer": "both", "word_grams": [1, 3], "min_df": 3, "max_df": 0.5,
            "stop_words": {"given": ["we"]}, "hashing": {"bits": 18}}"#;
        let options: TextOptions = serde_json::from_str(written).unwrap();
        assert_eq!(options.analyzer, Analyzer::Both);
        assert_eq!(
            options.word_grams,
            GramRange {
                shortest: 1,
                longest: 3
            }
        );
        assert_eq!(options.min_df, DocumentLimit::Count(3));
        assert_eq!(options.max_df, DocumentLimit::Share(0.5));
        assert_eq!(options.stop_words, StopWords::Given(vec!["we".to_owned()]));
        assert_eq!(
            options.hashing,
            Some(Hashing {
                bits: 18,
                signed: false
            })
        );
        let again = serde_json::to_string(&options).unwrap();
        assert_eq!(
            serde_json::from_str::<TextOptions>(&again).unwrap(),
            options
        );
    }

    #[test]
    fn a_whole_share_is_not_mistaken_for_a_count() {
        let options: TextOptions = serde_json::from_str(r#"{"max_df": 1.0}"#).unwrap();
        assert_eq!(options.max_df, DocumentLimit::Share(1.0));
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(serde_json::from_str::<TextOptions>(r#"{"min_fd": 2}"#).is_err());
    }

    #[test]
    fn impossible_options_are_refused_by_name() {
        let default = TextOptions::default();
        let check = |options: TextOptions| options.check().unwrap_err().to_string();
        let word_grams = GramRange {
            shortest: 2,
            longest: 1,
        };
        let refused = check(TextOptions {
            word_grams,
            ..default.clone()
        });
        assert!(refused.starts_with("word_grams = [2, 1]"), "{refused}");
        let max_df = DocumentLimit::Share(f64::NAN);
        let refused = check(TextOptions {
            max_df,
            ..default.clone()
        });
        assert!(refused.starts_with("max_df"), "{refused}");
        let hashing = Some(Hashing {
            bits: 64,
            signed: false,
        });
        let refused = check(TextOptions {
            hashing,
            ..default.clone()
        });
        assert!(refused.starts_with("hashing bits = 64"), "{refused}");
        assert_eq!(default.check(), Ok(()));
    }
}
