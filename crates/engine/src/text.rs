//! Turns free text into sparse rows of numbers: words or characters, counted and weighed by TF-IDF.
//!
//! Equal to scikit-learn's `TfidfVectorizer` (or a union of two) wherever the options mean the same,
//! so that a model can be repeated elsewhere. This is the fitted half: a [`Vectorizer`] holds terms
//! and weights and never changes. Fitting one from texts is the training crate's business, which cuts
//! texts with the same [`Analysis`]; what the numbers mean is the business of [`crate::linear`].

mod accents;
mod analysis;
mod hash;
mod marks;
mod options;
mod stored;
mod vocabulary;

use std::borrow::Cow;

pub use analysis::{Analysis, ENGLISH_STOP_WORDS, Gram, Normalized, Units, Word};
pub use hash::{bucket, gram_hash};
pub use marks::Mark;
pub use options::{
    Analyzer, DocumentLimit, GRAM_LENGTH_MAX, GramRange, HASHING_BITS_MAX, HASHING_BITS_MIN,
    Hashing, OptionError, StopWords, TextOptions, Unit,
};
pub use vocabulary::{TERMS_MAX, Vocabulary, VocabularyError};

/// No corpus gives more: 1 + ln(2⁶⁴ documents) is below 46.
const IDF_MAX: f64 = 46.0;

/// A row of which most entries are zero: indices rising, each with its value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseVector {
    pub indices: Vec<u32>,
    pub values: Vec<f32>,
}

impl SparseVector {
    pub fn clear(&mut self) {
        self.indices.clear();
        self.values.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> + Clone + '_ {
        self.indices
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }
}

/// The features of one unit, as fitting found them.
#[derive(Debug, Clone)]
pub struct Fitted {
    pub terms: Terms,
    /// One weight per feature, or none when the options ask for no `idf`.
    pub idf: Option<Vec<f64>>,
}

/// Where features come from.
#[derive(Debug, Clone)]
pub enum Terms {
    Listed(Vocabulary),
    Hashed(Hashing),
}

impl Terms {
    pub fn features(&self) -> usize {
        match self {
            Self::Listed(vocabulary) => vocabulary.len(),
            Self::Hashed(Hashing { bits, .. }) => 1 << bits,
        }
    }

    /// The feature of a gram and whether it counts downwards.
    #[inline]
    pub fn find(&self, gram: &str) -> Option<(u32, bool)> {
        match self {
            Self::Listed(vocabulary) => vocabulary.find(gram).map(|index| (index, false)),
            Self::Hashed(Hashing { bits, signed }) => {
                let (index, is_negative) = bucket(gram_hash(gram.as_bytes()), *bits);
                Some((index, is_negative && *signed))
            }
        }
    }
}

/// A fitted vectorizer: text in, sparse row out.
#[derive(Debug, Clone)]
pub struct Vectorizer {
    options: TextOptions,
    parts: Vec<Part>,
}

/// One unit with its features, which follow those of the part before.
#[derive(Debug, Clone)]
struct Part {
    analysis: Analysis,
    fitted: Fitted,
    offset: u32,
}

/// What `transform` needs besides its result; make one per thread and reuse it.
#[derive(Debug, Default)]
pub struct Scratch {
    normalized: Normalized,
    units: Units,
    /// Feature and sign of each gram found, as `feature << 1 | is_negative`.
    hits: Vec<u32>,
    weights: Vec<f64>,
}

/// Options and fitted parts that do not belong together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VectorizerError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("{found} fitted parts for {expected} units")]
    Parts { found: usize, expected: usize },
    #[error("hashing of the {unit:?} part differs from the options")]
    Terms { unit: Unit },
    #[error("{found} idf weights for {expected} features of the {unit:?} part")]
    Idf {
        unit: Unit,
        found: usize,
        expected: usize,
    },
    #[error("an idf weight of the {unit:?} part does not lie within 1 and {IDF_MAX}")]
    IdfValue { unit: Unit },
}

impl Vectorizer {
    /// Joins options and one fitted part per [`TextOptions::units`], in that order.
    pub fn new(options: TextOptions, fitted: Vec<Fitted>) -> Result<Self, VectorizerError> {
        options.check()?;
        let units = options.units();
        if fitted.len() != units.len() {
            let (found, expected) = (fitted.len(), units.len());
            return Err(VectorizerError::Parts { found, expected });
        }
        let mut parts = Vec::with_capacity(units.len());
        let mut offset = 0;
        for (&unit, fitted) in units.iter().zip(fitted) {
            check_part(&options, unit, &fitted)?;
            let features = fitted.terms.features() as u32;
            parts.push(Part {
                analysis: Analysis::new(&options, unit),
                fitted,
                offset,
            });
            offset += features;
        }
        Ok(Self { options, parts })
    }

    pub fn options(&self) -> &TextOptions {
        &self.options
    }

    /// How many features a row has.
    pub fn features(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.fitted.terms.features())
            .sum()
    }

    /// The term behind a feature, or `bucket N` when features come by hash.
    pub fn feature_name(&self, feature: usize) -> Option<Cow<'_, str>> {
        let part = self
            .parts
            .iter()
            .rfind(|part| part.offset as usize <= feature)?;
        let index = feature - part.offset as usize;
        match &part.fitted.terms {
            Terms::Listed(vocabulary) => vocabulary.term(index).map(Cow::Borrowed),
            Terms::Hashed(_) if index < part.fitted.terms.features() => {
                Some(Cow::Owned(format!("bucket {index}")))
            }
            Terms::Hashed(_) => None,
        }
    }

    /// The fitted parts in the order of their features.
    pub fn parts(&self) -> impl Iterator<Item = (Unit, &Fitted)> {
        self.parts
            .iter()
            .map(|part| (part.analysis.unit(), &part.fitted))
    }

    /// Writes the row of `text` over `row`. Terms never seen in fitting count for nothing.
    pub fn transform(&self, text: &str, scratch: &mut Scratch, row: &mut SparseVector) {
        row.clear();
        scratch.normalized.set(text, self.options.strip_accents);
        for part in &self.parts {
            part.find_hits(scratch);
            part.append_row(&self.options, scratch, row);
        }
    }
}

impl Part {
    fn find_hits(&self, scratch: &mut Scratch) {
        let Scratch {
            normalized,
            units,
            hits,
            ..
        } = scratch;
        hits.clear();
        self.analysis.split(normalized, units);
        self.analysis.for_each_gram(units, |gram| {
            if let Some((index, is_negative)) = self.fitted.terms.find(gram.text) {
                hits.push(index << 1 | u32::from(is_negative));
            }
        });
        hits.sort_unstable();
    }

    fn append_row(&self, options: &TextOptions, scratch: &mut Scratch, row: &mut SparseVector) {
        let weights = &mut scratch.weights;
        weights.clear();
        for run in scratch.hits.chunk_by(|left, right| left >> 1 == right >> 1) {
            let index = run[0] >> 1;
            let count = net_count(run);
            if count != 0 {
                row.indices.push(self.offset + index);
                weights.push(self.weight(options, index, count));
            }
        }
        let squares = weights.iter().map(|weight| weight * weight).sum::<f64>();
        let length = if options.normalize && squares > 0.0 {
            squares.sqrt()
        } else {
            1.0
        };
        row.values
            .extend(weights.iter().map(|weight| (weight / length) as f32));
    }

    fn weight(&self, options: &TextOptions, index: u32, count: i64) -> f64 {
        let size = count.unsigned_abs() as f64;
        let size = if options.sublinear && size > 1.0 {
            1.0 + size.ln()
        } else {
            size
        };
        let idf = self
            .fitted
            .idf
            .as_ref()
            .map_or(1.0, |idf| idf[index as usize]);
        size.copysign(count as f64) * idf
    }
}

/// Grams counted upwards less those counted downwards; a run is sorted, downward ones last.
fn net_count(run: &[u32]) -> i64 {
    let upwards = run.partition_point(|hit| hit & 1 == 0);
    upwards as i64 - (run.len() - upwards) as i64
}

fn check_part(options: &TextOptions, unit: Unit, fitted: &Fitted) -> Result<(), VectorizerError> {
    let hashing = match fitted.terms {
        Terms::Listed(_) => None,
        Terms::Hashed(hashing) => Some(hashing),
    };
    if hashing != options.hashing {
        return Err(VectorizerError::Terms { unit });
    }
    let found = fitted.idf.as_ref().map_or(0, Vec::len);
    let expected = if options.idf {
        fitted.terms.features()
    } else {
        0
    };
    if found != expected || fitted.idf.is_some() != options.idf {
        return Err(VectorizerError::Idf {
            unit,
            found,
            expected,
        });
    }
    let is_wrong = |weight: &f64| !(1.0..=IDF_MAX).contains(weight);
    if fitted.idf.iter().flatten().any(is_wrong) {
        return Err(VectorizerError::IdfValue { unit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(terms: &[&str], idf: Vec<f64>) -> Fitted {
        Fitted {
            terms: Terms::Listed(Vocabulary::new(terms).unwrap()),
            idf: Some(idf),
        }
    }

    fn row(vectorizer: &Vectorizer, text: &str) -> Vec<(u32, f32)> {
        let mut row = SparseVector::default();
        vectorizer.transform(text, &mut Scratch::default(), &mut row);
        row.iter().collect()
    }

    #[test]
    fn counts_are_sublinear_weighed_and_of_length_one() {
        let fitted = listed(&["calm", "calm day", "day"], vec![1.0, 2.0, 1.5]);
        let vectorizer = Vectorizer::new(TextOptions::default(), vec![fitted]).unwrap();
        let (calm, pair, day) = (1.0 + 2_f64.ln(), 2.0, 1.5);
        let length = (calm * calm + pair * pair + day * day).sqrt();
        let expected = [(0, calm), (1, pair), (2, day)];
        let expected = expected.map(|(index, weight)| (index, (weight / length) as f32));
        assert_eq!(row(&vectorizer, "Calm, calm day!"), expected);
        assert_eq!(row(&vectorizer, "nothing known"), []);
    }

    #[test]
    fn characters_follow_words_side_by_side() {
        let options = TextOptions {
            analyzer: Analyzer::Both,
            ..TextOptions::default()
        };
        let parts = vec![
            listed(&["ok"], vec![1.0]),
            listed(&[" ok", "ok "], vec![1.0, 1.0]),
        ];
        let vectorizer = Vectorizer::new(options, parts).unwrap();
        let half = 0.5_f64.sqrt() as f32;
        assert_eq!(row(&vectorizer, "ok"), [(0, 1.0), (1, half), (2, half)]);
        assert_eq!(vectorizer.feature_name(0).as_deref(), Some("ok"));
        assert_eq!(vectorizer.feature_name(2).as_deref(), Some("ok "));
        assert_eq!(vectorizer.feature_name(3), None);
    }

    #[test]
    fn signed_buckets_cancel_to_nothing() {
        let hashing = Some(Hashing {
            bits: 4,
            signed: true,
        });
        let options = TextOptions {
            hashing,
            idf: false,
            ..TextOptions::default()
        };
        let terms = Terms::Hashed(Hashing {
            bits: 4,
            signed: true,
        });
        let vectorizer = Vectorizer::new(options, vec![Fitted { terms, idf: None }]).unwrap();
        let words = (0..400)
            .map(|number| format!("w{number}"))
            .collect::<Vec<_>>();
        let same_bucket = |left: &String, right: &String| {
            let [left, right] = [left, right].map(|word| bucket(gram_hash(word.as_bytes()), 4));
            left.0 == right.0 && left.1 != right.1
        };
        let other = words
            .iter()
            .find(|word| same_bucket(&words[0], word))
            .unwrap();
        let with_pair = row(&vectorizer, &format!("{} {other}", words[0]));
        assert!(
            with_pair.len() <= 1,
            "only the pair of words is left: {with_pair:?}"
        );
        assert_eq!(row(&vectorizer, &words[0]).len(), 1);
    }

    #[test]
    fn parts_that_do_not_fit_their_options_are_refused() {
        let refused = |fitted| Vectorizer::new(TextOptions::default(), fitted).unwrap_err();
        assert_eq!(
            refused(vec![]),
            VectorizerError::Parts {
                found: 0,
                expected: 1
            }
        );
        let unit = Unit::Words;
        let error = VectorizerError::Idf {
            unit,
            found: 2,
            expected: 1,
        };
        assert_eq!(refused(vec![listed(&["a"], vec![1.0, 2.0])]), error);
        let error = VectorizerError::IdfValue { unit };
        assert_eq!(refused(vec![listed(&["a"], vec![f64::NAN])]), error);
        let hashed = Terms::Hashed(Hashing {
            bits: 8,
            signed: false,
        });
        let hashed = Fitted {
            terms: hashed,
            idf: Some(vec![1.0; 256]),
        };
        assert_eq!(refused(vec![hashed]), VectorizerError::Terms { unit });
    }
}
