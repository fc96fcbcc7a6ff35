//! Says how much each word of a text spoke for a class, so that a person can see the words marked.
//!
//! A feature's contribution is value × weight. It is shared equally among the feature's occurrences,
//! and each occurrence equally among the words it covers. So the marks of a text sum to the class's
//! margin less its bias, up to rounding; nothing is hidden in features that no word shows.

use super::{
    Normalized, Part, Scratch, SparseVector, TextOptions, Unit, Units, Vectorizer, net_count,
};

/// One word of the original text and what it added to the margin.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where the word begins, in bytes of the text as it was given; always a character boundary.
    pub start: usize,
    /// Where it ends, exclusive.
    pub end: usize,
    /// The word as it was written.
    pub text: String,
    pub weight: f64,
}

/// A word found by a part, with the offsets in normalised text.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    weight: f64,
    /// Whether any gram the vectorizer knows covers it.
    is_known: bool,
}

/// One gram found: its feature with sign, and the words it covers.
#[derive(Debug, Clone, Copy)]
struct Occurrence {
    hit: u32,
    first_word: usize,
    word_count: usize,
}

impl Vectorizer {
    /// The words of `text` that known features cover, in order, each with its share of the margin.
    ///
    /// `weight_of` gives a feature's weight for the class in question. When characters are counted,
    /// a word is what lies between white space, less the punctuation around it; else it is a run of
    /// letters and digits.
    pub fn marks(
        &self,
        text: &str,
        scratch: &mut Scratch,
        weight_of: &dyn Fn(u32) -> f64,
    ) -> Vec<Mark> {
        scratch.normalized.set(text, self.options.strip_accents);
        let mut spans = Vec::new();
        // Characters come last and have the widest words; those of the other parts move into them.
        for part in self.parts.iter().rev() {
            let found = part.spans(&self.options, scratch, weight_of);
            match spans.is_empty() {
                true => spans = found,
                false => move_into(&mut spans, &found),
            }
        }
        let is_chunk = self
            .parts
            .iter()
            .any(|part| part.analysis.unit() == Unit::Characters);
        let known = spans.iter().filter(|span| span.is_known);
        known
            .map(|span| mark(text, &scratch.normalized, span, is_chunk))
            .collect()
    }
}

impl Part {
    fn spans(
        &self,
        options: &TextOptions,
        scratch: &mut Scratch,
        weight_of: &dyn Fn(u32) -> f64,
    ) -> Vec<Span> {
        self.analysis.split(&scratch.normalized, &mut scratch.units);
        let words = scratch.units.words().iter().map(|word| word.normalized);
        let span = |(start, end)| Span {
            start,
            end,
            weight: 0.0,
            is_known: false,
        };
        let mut spans = words.map(span).collect::<Vec<_>>();
        let mut occurrences = self.occurrences(&mut scratch.units);
        occurrences.sort_by_key(|occurrence| occurrence.hit);
        scratch.hits.clear();
        scratch
            .hits
            .extend(occurrences.iter().map(|occurrence| occurrence.hit));
        let mut row = SparseVector::default();
        self.append_row(options, scratch, &mut row);
        for run in occurrences.chunk_by(|left, right| left.hit >> 1 == right.hit >> 1) {
            let feature = self.offset + (run[0].hit >> 1);
            if let Ok(at) = row.indices.binary_search(&feature) {
                share(
                    run,
                    f64::from(row.values[at]) * weight_of(feature),
                    &mut spans,
                );
            }
        }
        spans
    }

    fn occurrences(&self, units: &mut Units) -> Vec<Occurrence> {
        let mut occurrences = Vec::new();
        self.analysis.for_each_gram(units, |gram| {
            if let Some((index, is_negative)) = self.fitted.terms.find(gram.text) {
                let hit = index << 1 | u32::from(is_negative);
                let (first_word, word_count) = (gram.first_word, gram.word_count);
                occurrences.push(Occurrence {
                    hit,
                    first_word,
                    word_count,
                });
            }
        });
        occurrences
    }
}

/// A gram that counted downwards takes its share off, so that the shares still sum to the whole.
fn share(run: &[Occurrence], contribution: f64, spans: &mut [Span]) {
    let hits = run
        .iter()
        .map(|occurrence| occurrence.hit)
        .collect::<Vec<_>>();
    let each = contribution / net_count(&hits) as f64;
    for occurrence in run {
        let signed = if occurrence.hit & 1 == 1 { -each } else { each };
        let covered = occurrence.first_word..occurrence.first_word + occurrence.word_count;
        for span in &mut spans[covered] {
            span.weight += signed / occurrence.word_count as f64;
            span.is_known = true;
        }
    }
}

/// Adds each inner span to the outer one it lies in. White space parts the outer spans and no word
/// holds any, so there is always one.
fn move_into(outer: &mut [Span], inner: &[Span]) {
    for span in inner {
        let after = outer.partition_point(|outer| outer.start <= span.start);
        let home = &mut outer[after.max(1) - 1];
        home.weight += span.weight;
        home.is_known |= span.is_known;
    }
}

fn mark(text: &str, normalized: &Normalized, span: &Span, is_chunk: bool) -> Mark {
    let mut start = text.floor_char_boundary(normalized.origin(span.start));
    let mut end = text
        .ceil_char_boundary(normalized.origin(span.end))
        .max(start);
    if is_chunk {
        let is_around = |letter: char| !letter.is_alphanumeric();
        let chunk = &text[start..end];
        let inner = chunk.trim_matches(is_around);
        if !inner.is_empty() {
            start += chunk.len() - chunk.trim_start_matches(is_around).len();
            end = start + inner.len();
        }
    }
    Mark {
        start,
        end,
        text: text[start..end].to_owned(),
        weight: span.weight,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Analyzer, Fitted, Hashing, Terms, TextOptions};
    use super::*;

    fn hashed(analyzer: Analyzer, signed: bool) -> Vectorizer {
        let hashing = Hashing { bits: 6, signed };
        let options = TextOptions {
            analyzer,
            strip_accents: true,
            hashing: Some(hashing),
            idf: false,
            ..TextOptions::default()
        };
        let fitted = || Fitted {
            terms: Terms::Hashed(hashing),
            idf: None,
        };
        let parts = options.units().iter().map(|_| fitted()).collect();
        Vectorizer::new(options, parts).unwrap()
    }

    fn weight_of(feature: u32) -> f64 {
        f64::from(feature * 37 % 101) / 50.0 - 1.0
    }

    fn margin(vectorizer: &Vectorizer, text: &str) -> f64 {
        let mut row = SparseVector::default();
        vectorizer.transform(text, &mut Scratch::default(), &mut row);
        row.iter()
            .map(|(feature, value)| f64::from(value) * weight_of(feature))
            .sum()
    }

    #[test]
    fn marks_sum_to_the_margin() {
        let text = "«Ça va?» I can't — İ cope, cope, cope with THIS; ﬁne… ΣΑΣ ¨ x_1 日本語";
        for analyzer in [Analyzer::Words, Analyzer::Characters, Analyzer::Both] {
            for signed in [false, true] {
                let vectorizer = hashed(analyzer, signed);
                let marks = vectorizer.marks(text, &mut Scratch::default(), &weight_of);
                let sum = marks.iter().map(|mark| mark.weight).sum::<f64>();
                let margin = margin(&vectorizer, text);
                assert!(
                    (sum - margin).abs() < 1e-12,
                    "{analyzer:?} {signed}: {sum} {margin}"
                );
            }
        }
    }

    #[test]
    fn marks_are_words_as_they_were_written() {
        let text = "«Ça» İ can't, ﬁne…";
        let words = |analyzer| {
            let marks = hashed(analyzer, false).marks(text, &mut Scratch::default(), &weight_of);
            assert!(
                marks
                    .iter()
                    .all(|mark| text[mark.start..mark.end] == mark.text)
            );
            marks.into_iter().map(|mark| mark.text).collect::<Vec<_>>()
        };
        assert_eq!(words(Analyzer::Words), ["Ça", "can", "ﬁne"]);
        assert_eq!(words(Analyzer::Both), ["Ça", "İ", "can't", "ﬁne"]);
    }

    #[test]
    fn an_empty_text_has_no_marks() {
        let vectorizer = hashed(Analyzer::Both, false);
        assert_eq!(
            vectorizer.marks(" \n", &mut Scratch::default(), &weight_of),
            []
        );
    }

    mod any_text {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn sums_to_the_margin(text in "\\PC{0,60}") {
                for analyzer in [Analyzer::Words, Analyzer::Characters, Analyzer::Both] {
                    let vectorizer = hashed(analyzer, true);
                    let marks = vectorizer.marks(&text, &mut Scratch::default(), &weight_of);
                    let sum = marks.iter().map(|mark| mark.weight).sum::<f64>();
                    prop_assert!((sum - margin(&vectorizer, &text)).abs() < 1e-9);
                    for mark in &marks {
                        prop_assert_eq!(&text[mark.start..mark.end], mark.text.as_str());
                    }
                }
            }
        }
    }
}
