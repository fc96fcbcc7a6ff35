//! Fits a vectorizer: finds the terms of many texts, counts the documents that hold each, and weighs.
//!
//! The result equals scikit-learn's `TfidfVectorizer`. Texts are read in parallel by chunks; every
//! count is a sum of whole numbers, so the result is the same for any number of threads. Large
//! collections are read twice: first only small counters by hash are kept, and the second reading
//! remembers no term that cannot reach `min_df`, so memory follows the vocabulary and not the text.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use hashbrown::HashTable;
use ombud_engine::text::{
    Analysis, Fitted, Hashing, Normalized, OptionError, Scratch, SparseVector, TERMS_MAX, Terms,
    TextOptions, Unit, Units, Vectorizer, VectorizerError, Vocabulary, VocabularyError, bucket,
    gram_hash,
};
use rayon::prelude::*;

use crate::rows::Csr;

/// Terms remembered while counting, rare ones included: about one gigabyte.
const TERMS_COUNTED_MAX: usize = 1 << 24;
/// Collections longer than this are read twice, when `min_df` allows to forget terms.
const READ_ONCE_BYTES_MAX: usize = 64 << 20;
/// Counters of the first reading, one byte each; more text than this only makes them less sharp.
const COUNTERS_MAX: usize = 1 << 27;
const CHUNK_TEXTS: usize = 256;
/// Chunks counted before their terms are merged, which bounds what waits to be merged.
const WAVE_CHUNKS: usize = 64;
/// Terms are merged in this many parts by hash, side by side.
const SHARDS: u64 = 8;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("there are no texts to learn from")]
    NoTexts,
    #[error("max_df allows {highest} documents, fewer than the {lowest} that min_df asks for")]
    Limits { lowest: f64, highest: f64 },
    #[error("no term of the {unit:?} is left: the texts are empty, only stop words, or all rare")]
    NoTerms { unit: Unit },
    #[error("more than {limit} different terms: raise min_df, shorten the grams, or use hashing")]
    TooManyTerms { limit: usize },
    #[error(transparent)]
    Vectorizer(#[from] VectorizerError),
}

/// Learns terms and their weights from `texts`.
pub fn fit<S: AsRef<str> + Sync>(
    options: &TextOptions,
    texts: &[S],
) -> Result<Vectorizer, FitError> {
    options.check()?;
    if texts.is_empty() {
        return Err(FitError::NoTexts);
    }
    let fitted = options
        .units()
        .iter()
        .map(|&unit| fit_unit(options, unit, texts));
    let fitted = fitted.collect::<Result<Vec<_>, _>>()?;
    Ok(Vectorizer::new(options.clone(), fitted)?)
}

/// The rows of all `texts`, in order.
pub fn transform<S: AsRef<str> + Sync>(vectorizer: &Vectorizer, texts: &[S]) -> Csr<f32> {
    let blocks = texts
        .par_chunks(CHUNK_TEXTS)
        .map(|texts| transform_chunk(vectorizer, texts));
    let blocks = blocks.collect::<Vec<_>>();
    let mut rows = Csr::new(vectorizer.features());
    for block in &blocks {
        rows.append(block)
            .expect("all blocks have the vectorizer's columns");
    }
    rows
}

fn transform_chunk<S: AsRef<str>>(vectorizer: &Vectorizer, texts: &[S]) -> Csr<f32> {
    let (mut scratch, mut row) = (Scratch::default(), SparseVector::default());
    let mut rows = Csr::new(vectorizer.features());
    for text in texts {
        vectorizer.transform(text.as_ref(), &mut scratch, &mut row);
        rows.push(&row.indices, &row.values)
            .expect("a transformed row has rising indices");
    }
    rows
}

fn fit_unit<S: AsRef<str> + Sync>(
    options: &TextOptions,
    unit: Unit,
    texts: &[S],
) -> Result<Fitted, FitError> {
    let analysis = Analysis::new(options, unit);
    let Some(hashing) = options.hashing else {
        return fit_listed(options, &analysis, texts, READ_ONCE_BYTES_MAX);
    };
    let frequencies = options
        .idf
        .then(|| bucket_frequencies(&analysis, hashing, texts));
    let idf = frequencies.map(|frequencies| weigh(options, &frequencies, texts.len()));
    Ok(Fitted {
        terms: Terms::Hashed(hashing),
        idf,
    })
}

fn fit_listed<S: AsRef<str> + Sync>(
    options: &TextOptions,
    analysis: &Analysis,
    texts: &[S],
    read_once_bytes_max: usize,
) -> Result<Fitted, FitError> {
    let [lowest, highest] = [options.min_df, options.max_df].map(|limit| limit.of(texts.len()));
    if highest < lowest {
        return Err(FitError::Limits { lowest, highest });
    }
    let bytes = texts.iter().map(|text| text.as_ref().len()).sum::<usize>();
    let sieve = (bytes > read_once_bytes_max && lowest > 1.0)
        .then(|| Sieve::new(analysis, texts, bytes, lowest));
    let shards = count_terms(analysis, texts, sieve.as_ref())?;
    let terms = shards.iter().flat_map(TermTable::iter);
    let mut terms = terms
        .filter(|term| (lowest..=highest).contains(&f64::from(term.documents)))
        .collect::<Vec<_>>();
    if let Some(limit) = options.max_features {
        keep_most_frequent(&mut terms, limit as usize);
    }
    terms.par_sort_unstable_by(|left, right| left.text.cmp(right.text));
    if terms.is_empty() {
        return Err(FitError::NoTerms {
            unit: analysis.unit(),
        });
    }
    let documents = terms.iter().map(|term| term.documents).collect::<Vec<_>>();
    let idf = options.idf.then(|| weigh(options, &documents, texts.len()));
    let vocabulary = Vocabulary::new(terms.iter().map(|term| term.text));
    let vocabulary = vocabulary.map_err(|error| match error {
        VocabularyError::TooMany { limit } => FitError::TooManyTerms { limit },
        VocabularyError::Ends | VocabularyError::Order { .. } => {
            FitError::TooManyTerms { limit: TERMS_MAX }
        }
    })?;
    Ok(Fitted {
        terms: Terms::Listed(vocabulary),
        idf,
    })
}

/// scikit-learn's weights: ln(texts / documents) + 1, both one larger when smooth.
fn weigh(options: &TextOptions, documents: &[u32], texts: usize) -> Vec<f64> {
    let more = if options.smooth_idf { 1.0 } else { 0.0 };
    let texts = texts as f64 + more;
    // Only a bucket that no term fell into has no documents; it weighs as if it had one.
    let weigh = |&documents: &u32| {
        let documents = f64::from(documents) + more;
        (texts / documents.max(1.0)).ln() + 1.0
    };
    documents.iter().map(weigh).collect()
}

fn keep_most_frequent(terms: &mut Vec<Term<'_>>, limit: usize) {
    if terms.len() <= limit {
        return;
    }
    terms.par_sort_unstable_by(|left, right| {
        right
            .count
            .cmp(&left.count)
            .then_with(|| left.text.cmp(right.text))
    });
    terms.truncate(limit);
}

/// One term, how often it occurs and in how many texts.
#[derive(Debug, Clone, Copy)]
struct Term<'a> {
    text: &'a str,
    hash: u64,
    documents: u32,
    count: u64,
}

/// Counted terms: their letters end to end beside a table.
#[derive(Debug, Default)]
struct TermTable {
    letters: String,
    table: HashTable<Counted>,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    hash: u64,
    start: usize,
    length: u32,
    documents: u32,
    count: u64,
    /// The text that counted last, so that a text counts once.
    last_text: u32,
}

impl TermTable {
    fn len(&self) -> usize {
        self.table.len()
    }

    fn iter(&self) -> impl Iterator<Item = Term<'_>> {
        self.table.iter().map(|counted| Term {
            text: counted.text(&self.letters),
            hash: counted.hash,
            documents: counted.documents,
            count: counted.count,
        })
    }

    fn see(&mut self, text: &str, hash: u64, number: u32) {
        let counted = self.entry(text, hash);
        counted.count += 1;
        counted.documents += u32::from(counted.last_text != number);
        counted.last_text = number;
    }

    fn add(&mut self, term: Term<'_>) {
        let counted = self.entry(term.text, term.hash);
        counted.count += term.count;
        counted.documents += term.documents;
    }

    fn entry(&mut self, text: &str, hash: u64) -> &mut Counted {
        let Self { letters, table } = self;
        let is_same =
            |counted: &Counted| counted.hash == hash && counted.text(letters.as_str()) == text;
        let entry = table.entry(hash, is_same, |counted| counted.hash);
        let entry = entry.or_insert_with(|| {
            let (start, length) = (letters.len(), text.len() as u32);
            Counted {
                hash,
                start,
                length,
                documents: 0,
                count: 0,
                last_text: u32::MAX,
            }
        });
        let counted = entry.into_mut();
        if counted.count == 0 {
            letters.push_str(text);
        }
        counted
    }
}

impl Counted {
    fn text<'a>(&self, letters: &'a str) -> &'a str {
        &letters[self.start..self.start + self.length as usize]
    }
}

fn count_terms<S: AsRef<str> + Sync>(
    analysis: &Analysis,
    texts: &[S],
    sieve: Option<&Sieve>,
) -> Result<Vec<TermTable>, FitError> {
    let mut shards = (0..SHARDS)
        .map(|_| TermTable::default())
        .collect::<Vec<_>>();
    for wave in texts.chunks(CHUNK_TEXTS * WAVE_CHUNKS) {
        let counted = wave
            .par_chunks(CHUNK_TEXTS)
            .map(|texts| count_chunk(analysis, texts, sieve));
        let counted = counted.collect::<Vec<_>>();
        shards
            .par_iter_mut()
            .enumerate()
            .for_each(|(number, shard)| {
                let terms = counted.iter().flat_map(TermTable::iter);
                let own = terms.filter(|term| term.hash % SHARDS == number as u64);
                own.for_each(|term| shard.add(term));
            });
        if shards.iter().map(TermTable::len).sum::<usize>() > TERMS_COUNTED_MAX {
            return Err(FitError::TooManyTerms {
                limit: TERMS_COUNTED_MAX,
            });
        }
    }
    Ok(shards)
}

fn count_chunk<S: AsRef<str>>(
    analysis: &Analysis,
    texts: &[S],
    sieve: Option<&Sieve>,
) -> TermTable {
    let mut table = TermTable::default();
    let (mut normalized, mut units) = (Normalized::default(), Units::default());
    for (number, text) in texts.iter().enumerate() {
        normalized.set(text.as_ref(), analysis.strip_accents());
        analysis.split(&normalized, &mut units);
        analysis.for_each_gram(&mut units, |gram| {
            let hash = gram_hash(gram.text.as_bytes());
            if sieve.is_none_or(|sieve| sieve.passes(hash)) {
                table.see(gram.text, hash, number as u32);
            }
        });
    }
    table
}

/// What the first reading knows: for each hash, in how many texts at most a term can be.
struct Sieve {
    counters: Vec<AtomicU8>,
    enough: u8,
}

impl Sieve {
    /// Counters saturate, so adding in any order gives the same.
    fn new<S: AsRef<str> + Sync>(
        analysis: &Analysis,
        texts: &[S],
        bytes: usize,
        lowest: f64,
    ) -> Self {
        let counters = bytes.next_power_of_two().min(COUNTERS_MAX);
        let counters = (0..counters).map(|_| AtomicU8::new(0)).collect();
        let sieve = Self {
            counters,
            enough: lowest.ceil().min(255.0) as u8,
        };
        texts.par_chunks(CHUNK_TEXTS).for_each(|texts| {
            for_each_distinct(analysis, texts, |hash| sieve.count(hash), |hash| hash);
        });
        sieve
    }

    fn passes(&self, hash: u64) -> bool {
        self.counter(hash).load(Ordering::Relaxed) >= self.enough
    }

    fn count(&self, hash: u64) {
        let more = |count: u8| count.checked_add(1);
        // At the largest count nothing is left to add, and that is as it should be.
        let _ = self
            .counter(hash)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn counter(&self, hash: u64) -> &AtomicU8 {
        &self.counters[hash as usize & (self.counters.len() - 1)]
    }
}

fn bucket_frequencies<S: AsRef<str> + Sync>(
    analysis: &Analysis,
    hashing: Hashing,
    texts: &[S],
) -> Vec<u32> {
    let counters = (0..1_usize << hashing.bits)
        .map(|_| AtomicU32::new(0))
        .collect::<Vec<_>>();
    texts.par_chunks(CHUNK_TEXTS).for_each(|texts| {
        let count = |index: u64| {
            counters[index as usize].fetch_add(1, Ordering::Relaxed);
        };
        for_each_distinct(analysis, texts, count, |hash| {
            u64::from(bucket(hash, hashing.bits).0)
        });
    });
    counters.into_iter().map(AtomicU32::into_inner).collect()
}

/// Calls `each` once per text for every distinct `key` of its grams' hashes.
fn for_each_distinct<S: AsRef<str>>(
    analysis: &Analysis,
    texts: &[S],
    each: impl Fn(u64),
    key: impl Fn(u64) -> u64,
) {
    let (mut normalized, mut units) = (Normalized::default(), Units::default());
    let mut keys = Vec::new();
    for text in texts {
        keys.clear();
        normalized.set(text.as_ref(), analysis.strip_accents());
        analysis.split(&normalized, &mut units);
        analysis.for_each_gram(&mut units, |gram| {
            keys.push(key(gram_hash(gram.text.as_bytes())));
        });
        keys.sort_unstable();
        keys.dedup();
        keys.iter().for_each(|&key| each(key));
    }
}

#[cfg(test)]
mod tests {
    use ombud_engine::text::{Analyzer, DocumentLimit, GramRange, StopWords};

    use super::*;

    const TEXTS: [&str; 6] = [
        "I feel calm and rested today",
        "Work, work, work: I feel worn out",
        "Nobody listens; I don't feel safe at work",
        "A calm day at work, a good day",
        "Sleep was bad, work was bad",
        "Über den Tag: CAFÉ & café_42!",
    ];

    /// Terms with their idf, one to a line.
    fn terms(vectorizer: &Vectorizer) -> Vec<(String, f64)> {
        let part = vectorizer.parts().next().unwrap().1;
        let idf = part.idf.clone().unwrap();
        let name = |feature| vectorizer.feature_name(feature).unwrap().into_owned();
        idf.into_iter()
            .enumerate()
            .map(|(feature, idf)| (name(feature), idf))
            .collect()
    }

    fn check_terms(vectorizer: &Vectorizer, expected: &[(&str, f64)]) {
        let found = terms(vectorizer);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((term, idf), (expected_term, expected_idf)) in found.iter().zip(expected) {
            assert_eq!(term, expected_term);
            assert!(
                (idf - expected_idf).abs() < 1e-12,
                "{term}: {idf} {expected_idf}"
            );
        }
    }

    fn check_row(rows: &Csr<f32>, row: usize, expected: &[(u32, f64)]) {
        let (indices, values) = rows.row(row);
        assert_eq!(
            indices,
            expected.iter().map(|entry| entry.0).collect::<Vec<_>>()
        );
        for (value, (_, expected)) in values.iter().zip(expected) {
            assert!(
                (f64::from(*value) - expected).abs() < 1e-6 * expected.abs(),
                "row {row}"
            );
        }
    }

    /// scikit-learn 1.9.1: `TfidfVectorizer(ngram_range=(1,2), min_df=2, sublinear_tf=True)`.
    #[test]
    fn words_and_pairs_equal_the_reference() {
        let vectorizer = fit(&TextOptions::default(), &TEXTS).unwrap();
        let (rare, common) = (1.8472978603872037, 1.5596157879354227);
        let work = 1.336472236621213;
        let terms = [
            ("at", rare),
            ("at work", rare),
            ("calm", rare),
            ("feel", common),
            ("work", work),
        ];
        check_terms(&vectorizer, &terms);
        let rows = transform(&vectorizer, &TEXTS);
        check_row(&rows, 0, &[(2, 0.764096101185661), (3, 0.6451024322949592)]);
        check_row(
            &rows,
            1,
            &[(3, 0.4859830462855401), (4, 0.8739682366785573)],
        );
        let third = [
            (0, 0.5558812450009762),
            (1, 0.5558812450009762),
            (3, 0.46931314354416104),
            (4, 0.4021657074006025),
        ];
        check_row(&rows, 2, &third);
        check_row(&rows, 4, &[(4, 1.0)]);
        check_row(&rows, 5, &[]);
    }

    /// scikit-learn 1.9.1: `TfidfVectorizer(max_df=0.5, max_features=6, norm=None, smooth_idf=False)`.
    #[test]
    fn limits_and_plain_weights_equal_the_reference() {
        let options = TextOptions {
            word_grams: GramRange {
                shortest: 1,
                longest: 1,
            },
            min_df: DocumentLimit::Count(1),
            max_df: DocumentLimit::Share(0.5),
            max_features: Some(6),
            sublinear: false,
            smooth_idf: false,
            normalize: false,
            ..TextOptions::default()
        };
        let vectorizer = fit(&options, &TEXTS).unwrap();
        let (once, twice, thrice) = (2.791759469228055, 2.09861228866811, 1.6931471805599454);
        let expected = [
            ("at", twice),
            ("bad", once),
            ("calm", twice),
            ("day", once),
            ("feel", thrice),
            ("was", once),
        ];
        check_terms(&vectorizer, &expected);
        let rows = transform(&vectorizer, &TEXTS);
        check_row(&rows, 3, &[(0, twice), (2, twice), (3, 5.58351893845611)]);
        check_row(&rows, 4, &[(1, 5.58351893845611), (5, 5.58351893845611)]);
    }

    /// scikit-learn 1.9.1: `TfidfVectorizer(analyzer="char_wb", ngram_range=(3,4), min_df=3, max_df=4,
    /// strip_accents="unicode")`.
    #[test]
    fn characters_equal_the_reference() {
        let options = TextOptions {
            analyzer: Analyzer::Characters,
            character_grams: GramRange {
                shortest: 3,
                longest: 4,
            },
            min_df: DocumentLimit::Count(3),
            max_df: DocumentLimit::Count(4),
            strip_accents: true,
            sublinear: false,
            ..TextOptions::default()
        };
        let vectorizer = fit(&options, &TEXTS).unwrap();
        let (three, four) = (1.5596157879354227, 1.336472236621213);
        let expected = [
            (" ca", three),
            (" fe", three),
            (" fee", three),
            (" i ", three),
            (" wo", four),
            (" wor", four),
            ("eel", three),
            ("eel ", three),
            ("el ", three),
            ("fee", three),
            ("feel", three),
            ("ork", four),
            ("wor", four),
            ("work", four),
        ];
        check_terms(&vectorizer, &expected);
        let rows = transform(&vectorizer, &TEXTS);
        let (_, values) = rows.row(1);
        assert!((values[0] - 0.133_079_2).abs() < 1e-6 && (values[7] - 0.133_079_2).abs() < 1e-6);
        check_row(&rows, 5, &[(0, 1.0)]);
    }

    /// scikit-learn 1.9.1: `TfidfVectorizer(strip_accents="unicode", stop_words=["work", "feel"])`.
    #[test]
    fn stop_words_and_accents_equal_the_reference() {
        let options = TextOptions {
            word_grams: GramRange {
                shortest: 1,
                longest: 1,
            },
            min_df: DocumentLimit::Count(1),
            strip_accents: true,
            stop_words: StopWords::Given(vec!["work".to_owned(), "feel".to_owned()]),
            ..TextOptions::default()
        };
        let found = terms(&fit(&options, &TEXTS).unwrap());
        let found = found
            .iter()
            .map(|(term, _)| term.as_str())
            .collect::<Vec<_>>();
        let expected = "and at bad cafe cafe_42 calm day den don good listens nobody out rested \
                        safe sleep tag today uber was worn";
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn words_and_characters_side_by_side_are_both_vectorizers() {
        let fit = |analyzer| {
            let options = TextOptions {
                analyzer,
                ..TextOptions::default()
            };
            fit(&options, &TEXTS).unwrap()
        };
        let vectorizers = [Analyzer::Words, Analyzer::Characters, Analyzer::Both].map(fit);
        let [words, characters, both] = vectorizers
            .each_ref()
            .map(|vectorizer| transform(vectorizer, &TEXTS));
        assert_eq!(both.columns(), words.columns() + characters.columns());
        for row in 0..TEXTS.len() {
            let values = [words.row(row).1, characters.row(row).1].concat();
            assert_eq!(both.row(row).1, values);
        }
    }

    /// Texts of words with a few common and many rare ones.
    fn many_texts() -> Vec<String> {
        let text = |number: usize| {
            let words = (1..12).map(|place| format!("w{}", number * place * 7919 % 4001 / place));
            words.collect::<Vec<_>>().join(" ")
        };
        (0..3000).map(text).collect()
    }

    #[test]
    fn reading_twice_finds_the_same_terms() {
        let (texts, options) = (many_texts(), TextOptions::default());
        let analysis = Analysis::new(&options, Unit::Words);
        let terms = |limit| {
            let fitted = fit_listed(&options, &analysis, &texts, limit).unwrap();
            let Terms::Listed(vocabulary) = fitted.terms else {
                unreachable!("no hashing")
            };
            (vocabulary.joined().to_owned(), fitted.idf)
        };
        assert_eq!(terms(0), terms(usize::MAX));
    }

    #[test]
    fn any_number_of_threads_finds_the_same() {
        let texts = many_texts();
        let fitted = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let vectorizer = fit(&TextOptions::default(), &texts).unwrap();
                (
                    vectorizer.to_bytes().unwrap(),
                    transform(&vectorizer, &texts),
                )
            })
        };
        assert_eq!(fitted(1), fitted(2));
    }

    #[test]
    fn hashed_features_weigh_like_listed_ones() {
        let plain = TextOptions {
            min_df: DocumentLimit::Count(1),
            ..TextOptions::default()
        };
        let hashing = Some(Hashing {
            bits: 20,
            signed: false,
        });
        let listed = transform(&fit(&plain, &TEXTS).unwrap(), &TEXTS);
        let hashed = TextOptions { hashing, ..plain };
        let hashed = transform(&fit(&hashed, &TEXTS).unwrap(), &TEXTS);
        for row in 0..TEXTS.len() {
            let [mut listed, mut hashed] =
                [listed.row(row).1, hashed.row(row).1].map(<[f32]>::to_vec);
            listed.sort_by(f32::total_cmp);
            hashed.sort_by(f32::total_cmp);
            for (listed, hashed) in listed.iter().zip(&hashed) {
                assert!((listed - hashed).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn texts_that_teach_nothing_are_refused() {
        let refused = |options: &TextOptions, texts: &[&str]| fit(options, texts).unwrap_err();
        let default = TextOptions::default();
        assert_eq!(refused(&default, &[]), FitError::NoTexts);
        let nothing = FitError::NoTerms { unit: Unit::Words };
        assert_eq!(refused(&default, &["", " ? ", "a"]), nothing);
        assert_eq!(refused(&default, &["every word", "once only"]), nothing);
        let narrow = TextOptions {
            max_df: DocumentLimit::Count(1),
            ..default
        };
        assert_eq!(
            refused(&narrow, &["a"]),
            FitError::Limits {
                lowest: 2.0,
                highest: 1.0
            }
        );
    }
}
