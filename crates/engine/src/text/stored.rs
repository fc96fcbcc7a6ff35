//! Stores a [`Vectorizer`] as bytes and reads it back, trusting nothing in them.
//!
//! Layout, version 1: safetensors with the options as JSON in the header. Each unit (`words`,
//! `characters`) with a vocabulary has `<unit>.terms` (all terms end to end, UTF-8) and `<unit>.ends`
//! (where each term ends, u32); each unit with idf weights has `<unit>.idf` (f64).

use super::{Fitted, Terms, TextOptions, Unit, Vectorizer, Vocabulary};
use crate::tensors::{self, Incoming, Outgoing, StoredError};

const FORMAT: &str = "vectorizer";

impl Vectorizer {
    /// Equal vectorizers give equal bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoredError> {
        let mut out = Vec::new();
        for (unit, fitted) in self.parts() {
            let name = |what: &str| format!("{}.{what}", prefix(unit));
            if let Terms::Listed(vocabulary) = &fitted.terms {
                out.push((
                    name("terms"),
                    Outgoing::bytes(vocabulary.joined().as_bytes()),
                ));
                out.push((name("ends"), Outgoing::u32(vocabulary.ends())));
            }
            if let Some(idf) = &fitted.idf {
                out.push((name("idf"), Outgoing::f64(idf, vec![idf.len()])));
            }
        }
        tensors::write(FORMAT, self.options(), &out)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoredError> {
        let (incoming, options) = Incoming::open::<TextOptions>(bytes, FORMAT)?;
        options.check().map_err(inconsistent)?;
        let units = options.units();
        let tensors_per_unit = if options.hashing.is_none() { 2 } else { 0 };
        incoming.expect_count(units.len() * (tensors_per_unit + usize::from(options.idf)))?;
        let fitted = units
            .iter()
            .map(|&unit| read_part(&incoming, &options, unit));
        let fitted = fitted.collect::<Result<Vec<_>, _>>()?;
        Self::new(options, fitted).map_err(inconsistent)
    }
}

fn read_part(
    incoming: &Incoming<'_>,
    options: &TextOptions,
    unit: Unit,
) -> Result<Fitted, StoredError> {
    let name = |what: &str| format!("{}.{what}", prefix(unit));
    let terms = match options.hashing {
        Some(hashing) => Terms::Hashed(hashing),
        None => {
            let terms = incoming.bytes(&name("terms"))?;
            let terms = std::str::from_utf8(terms).map_err(|error| StoredError::Tensor {
                name: name("terms"),
                reason: error.to_string(),
            })?;
            let ends = incoming.u32(&name("ends"))?;
            Terms::Listed(Vocabulary::from_joined(terms.to_owned(), ends).map_err(inconsistent)?)
        }
    };
    let idf = options
        .idf
        .then(|| incoming.f64(&name("idf")))
        .transpose()?;
    Ok(Fitted { terms, idf })
}

fn prefix(unit: Unit) -> &'static str {
    match unit {
        Unit::Words => "words",
        Unit::Characters => "characters",
    }
}

fn inconsistent(error: impl ToString) -> StoredError {
    StoredError::Inconsistent {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Analyzer, Hashing, Scratch, SparseVector};
    use super::*;

    /// The bytes of [`sample`] as version 1 writes them; a change of format fails here first.
    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/1/vectorizer.safetensors");

    fn sample() -> Vectorizer {
        let options = TextOptions {
            analyzer: Analyzer::Both,
            ..TextOptions::default()
        };
        let part = |terms: &[&str]| Fitted {
            terms: Terms::Listed(Vocabulary::new(terms).unwrap()),
            idf: Some(
                (0..terms.len())
                    .map(|index| 1.0 + index as f64 / 8.0)
                    .collect(),
            ),
        };
        let words = part(&["calm", "calm day", "day", "été"]);
        Vectorizer::new(options, vec![words, part(&[" da", "ay ", "day"])]).unwrap()
    }

    fn row(vectorizer: &Vectorizer) -> SparseVector {
        let mut row = SparseVector::default();
        vectorizer.transform("Calm day, Été day", &mut Scratch::default(), &mut row);
        row
    }

    #[test]
    fn the_golden_vectorizer_of_version_1_still_reads() {
        let vectorizer = Vectorizer::from_bytes(GOLDEN).unwrap();
        assert_eq!(vectorizer.options(), sample().options());
        assert_eq!(row(&vectorizer), row(&sample()));
        assert_eq!(sample().to_bytes().unwrap(), GOLDEN);
    }

    #[test]
    fn a_hashed_vectorizer_stores_only_what_it_needs() {
        let hashing = Hashing {
            bits: 20,
            signed: true,
        };
        let options = TextOptions {
            hashing: Some(hashing),
            idf: false,
            ..TextOptions::default()
        };
        let fitted = Fitted {
            terms: Terms::Hashed(hashing),
            idf: None,
        };
        let bytes = Vectorizer::new(options, vec![fitted])
            .unwrap()
            .to_bytes()
            .unwrap();
        assert!(bytes.len() < 1000);
        assert_eq!(Vectorizer::from_bytes(&bytes).unwrap().features(), 1 << 20);
    }

    #[test]
    fn another_format_is_named() {
        let bytes = tensors::write("linear", TextOptions::default(), &[]).unwrap();
        let refused = Vectorizer::from_bytes(&bytes).unwrap_err();
        let (found, version) = ("linear".to_owned(), 1);
        assert_eq!(
            refused,
            StoredError::Format {
                found,
                version,
                expected: FORMAT
            }
        );
    }

    #[test]
    fn every_cut_is_refused() {
        for length in 0..GOLDEN.len() {
            assert!(
                Vectorizer::from_bytes(&GOLDEN[..length]).is_err(),
                "cut at {length}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Vectorizer::from_bytes(&bytes).is_err());
        }

        #[test]
        fn a_damaged_vectorizer_is_usable_or_refused(
            damage in proptest::collection::vec((0..GOLDEN.len(), any::<u8>()), 1..6),
        ) {
            let mut bytes = GOLDEN.to_vec();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            if let Ok(vectorizer) = Vectorizer::from_bytes(&bytes) {
                let row = row(&vectorizer);
                prop_assert!(row.values.iter().all(|value| value.is_finite()));
            }
        }
    }
}
