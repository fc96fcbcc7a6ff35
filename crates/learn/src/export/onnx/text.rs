//! A text's vectorizer as operators: lower case, tokens, stop words, counts, TF-IDF.
//!
//! Words are cut by `Tokenizer` with the very class of characters that [`ombud_engine::text`] takes for letters, written
//! out as ranges. Characters are counted over words with a space on either side, laid end to end: a run across two words
//! holds two spaces, and no term does.

use std::sync::Arc;

use ombud_engine::linear::Linear;
use ombud_engine::text::{
    ENGLISH_STOP_WORDS, Fitted, StopWords, Terms, TextOptions, Unit, Vectorizer,
};
use ombud_onnx::data_type;

use super::builder::{Builder, MICROSOFT, ML, Port, Setting, texts};
use super::{ExportError, Source, contradiction, letters};

/// The locale whose lower case onnxruntime asks the C library for; every glibc has it, `en_US` only some.
const LOCALE: &str = "C.UTF-8";
/// Smaller than the length of any document that holds a term.
const LENGTH_MIN: f64 = 1e-30;
/// More than the tokens of any document: what is added to the place of a stop word to sort it last.
const PLACES_MAX: i64 = 1 << 40;

/// A vectorizer by its name.
pub(super) fn vectorizer<'a>(
    source: &Source<'a>,
    name: &str,
) -> Result<&'a Arc<Vectorizer>, ExportError> {
    let missing = || contradiction(format!("the vectorizer {name:?} is missing"));
    source.parts.vectorizers.get(name).ok_or_else(missing)
}

/// The margins of a text model as doubles, NaN where there is no text.
pub(super) fn stage(
    builder: &mut Builder,
    text: &Port,
    vectorizer: &Vectorizer,
    linear: &Linear,
) -> Result<Port, ExportError> {
    let margins = margins(builder, text, vectorizer, linear, 0)?;
    let bias = builder.doubles(&[1, linear.outputs()], linear.bias());
    let margins = builder.op("Add", &[&margins, &bias]);
    let is_missing = is_blank(builder, text);
    let nan = builder.number(f64::NAN);
    Ok(builder.op("Where", &[&is_missing, &nan, &margins]))
}

/// What a text adds to a model's margins, as doubles; `offset` is the column its first term has there.
pub(super) fn margins(
    builder: &mut Builder,
    text: &Port,
    vectorizer: &Vectorizer,
    linear: &Linear,
    mut offset: usize,
) -> Result<Port, ExportError> {
    let options = vectorizer.options();
    if options.strip_accents {
        let what = "taking accents off (strip_accents)".to_owned();
        return Err(ExportError::Unsupported {
            what,
            hint: "train the text without it",
        });
    }
    let lowered = lower(builder, text);
    let mut sum: Option<Port> = None;
    for (unit, fitted) in vectorizer.parts() {
        let rows = features(builder, &lowered, options, unit, fitted)?;
        let terms = fitted.terms.features();
        let weights = (offset..offset + terms)
            .flat_map(|term| (0..linear.outputs()).map(move |output| linear.weight(term, output)));
        let weights: Vec<f64> = weights.collect();
        let weights = builder.exact(&[terms, linear.outputs()], &weights);
        let part = builder.op("MatMul", &[&rows, &weights]);
        sum = Some(match sum {
            Some(sum) => builder.op("Add", &[&sum, &part]),
            None => part,
        });
        offset += terms;
    }
    sum.ok_or_else(|| contradiction("a vectorizer has no parts"))
}

/// One row of texts, in lower case.
fn lower(builder: &mut Builder, text: &Port) -> Port {
    let flat = builder.reshape(text, &[-1]);
    let flat = letters::settled(builder, &flat);
    let settings = vec![
        ("case_change_action", Setting::Text("LOWER".to_owned())),
        ("locale", Setting::Text(LOCALE.to_owned())),
    ];
    builder.op_with("StringNormalizer", &[&flat], settings)
}

/// A row of features a text: doubles of what single precision keeps, as here.
fn features(
    builder: &mut Builder,
    lowered: &Port,
    options: &TextOptions,
    unit: Unit,
    fitted: &Fitted,
) -> Result<Port, ExportError> {
    let Terms::Listed(vocabulary) = &fitted.terms else {
        let what = "text by hash".to_owned();
        return Err(ExportError::Unsupported {
            what,
            hint: "train the text with a vocabulary (no hashing)",
        });
    };
    let terms: Vec<&str> = (0..vocabulary.len())
        .filter_map(|at| vocabulary.term(at))
        .collect();
    let (tokens, split): (Port, fn(&str) -> Vec<String>) = match unit {
        Unit::Words => (words(builder, lowered, &options.stop_words), |term| {
            term.split(' ').map(str::to_owned).collect()
        }),
        Unit::Characters => (characters(builder, lowered), |term| {
            term.chars().map(String::from).collect()
        }),
    };
    let grams: Vec<Vec<String>> = terms.into_iter().map(split).collect();
    let longest = usize::from(options.grams(unit).longest);
    let counts = counts(builder, &tokens, &grams, longest)?;
    Ok(weighed(builder, options, fitted, &counts))
}

/// Runs of at least two letters, without stop words: rows of tokens, the shorter ones filled up with empty ones.
fn words(builder: &mut Builder, lowered: &Port, stop_words: &StopWords) -> Port {
    let class = word_class();
    let tokens = runs(builder, lowered, format!("{class}{class}+"));
    let stop_words: Vec<String> = match stop_words {
        StopWords::None => return tokens,
        StopWords::English => ENGLISH_STOP_WORDS
            .iter()
            .map(|&word| word.to_owned())
            .collect(),
        StopWords::Given(words) => words.iter().map(|word| word.to_lowercase()).collect(),
    };
    without(builder, &tokens, &stop_words)
}

/// Characters of words with a space on either side.
fn characters(builder: &mut Builder, lowered: &Port) -> Port {
    let chunks = runs(builder, lowered, format!("{}+", space_class_negated()));
    let space = builder.texts(&[1, 1], &[" "]);
    let nothing = builder.texts(&[1, 1], &[""]);
    let led = builder.op("StringConcat", &[&space, &chunks]);
    let padded = builder.op("StringConcat", &[&led, &space]);
    let is_nothing = is_empty(builder, &chunks);
    let padded = builder.op("Where", &[&is_nothing, &nothing, &padded]);
    let settings = tokenizer(("separators", Setting::Texts(texts(&[""]))));
    let letters = builder.node(MICROSOFT, "Tokenizer", &[&padded], settings);
    let shape = builder.ints(&[0, -1]);
    builder.op("Reshape", &[&letters, &shape])
}

/// The runs of a pattern in each text, and at least one empty token, so that no table is without columns.
fn runs(builder: &mut Builder, lowered: &Port, pattern: String) -> Port {
    let found = tokens(builder, lowered, pattern);
    let column = builder.reshape(lowered, &[-1, 1]);
    let empty = letters::emptied(builder, &column);
    builder.concat(&[found, empty])
}

/// What a pattern finds in each text, along a new last dimension.
pub(super) fn tokens(builder: &mut Builder, text: &Port, pattern: String) -> Port {
    let settings = tokenizer(("tokenexp", Setting::Text(pattern)));
    builder.node(MICROSOFT, "Tokenizer", &[text], settings)
}

fn tokenizer(cut: (&'static str, Setting)) -> Vec<(&'static str, Setting)> {
    vec![
        ("mark", Setting::Int(0)),
        ("mincharnum", Setting::Int(1)),
        ("pad_value", Setting::Text(String::new())),
        cut,
    ]
}

/// Moves stop words behind the other tokens and empties them, so that their neighbours become neighbours.
fn without(builder: &mut Builder, tokens: &Port, stop_words: &[String]) -> Port {
    if stop_words.is_empty() {
        return tokens.clone();
    }
    let is_stop = marked(builder, tokens, stop_words, PLACES_MAX, 0);
    let ones = marked(builder, tokens, &[""], 1, 1);
    let axis = builder.int(1);
    let places = builder.op("CumSum", &[&ones, &axis]);
    let keys = builder.op("Add", &[&is_stop, &places]);
    let shape = builder.op("Shape", &[tokens]);
    let one = builder.ints(&[1]);
    let width = builder.op_with("Gather", &[&shape, &one], vec![("axis", Setting::Int(0))]);
    let settings = vec![
        ("axis", Setting::Int(1)),
        ("largest", Setting::Int(0)),
        ("sorted", Setting::Int(1)),
    ];
    let order = builder
        .nodes("", "TopK", &[&keys, &width], 2, settings)
        .swap_remove(1);
    let along = || vec![("axis", Setting::Int(1))];
    let moved = builder.op_with("GatherElements", &[tokens, &order], along());
    let moved_stop = builder.op_with("GatherElements", &[&is_stop, &order], along());
    let zero = builder.ints(&[0]);
    let is_stop = builder.op("Greater", &[&moved_stop, &zero]);
    let nothing = builder.texts(&[1, 1], &[""]);
    builder.op("Where", &[&is_stop, &nothing, &moved])
}

/// Whether a text holds nothing but white space: then it is missing, as everywhere.
fn is_blank(builder: &mut Builder, text: &Port) -> Port {
    let flat = builder.reshape(text, &[-1]);
    let found = runs(
        builder,
        &flat,
        format!("{}+", class("[^", char::is_whitespace)),
    );
    let first = builder.ints(&[0]);
    let first = builder.op_with("Gather", &[&found, &first], vec![("axis", Setting::Int(1))]);
    is_empty(builder, &first)
}

/// Whether a text is empty. Texts can be compared only since version 19, but looked up always.
pub(super) fn is_empty(builder: &mut Builder, text: &Port) -> Port {
    let marks = marked(builder, text, &[""], 1, 0);
    builder.cast(&marks, data_type::BOOL)
}

/// One number for the texts listed, another for the rest.
pub(super) fn marked<T: AsRef<str>>(
    builder: &mut Builder,
    text: &Port,
    listed: &[T],
    mark: i64,
    other: i64,
) -> Port {
    let settings = vec![
        ("keys_strings", Setting::Texts(texts(listed))),
        ("values_int64s", Setting::Ints(vec![mark; listed.len()])),
        ("default_int64", Setting::Int(other)),
    ];
    builder.node(ML, "LabelEncoder", &[text], settings)
}

/// How often each gram comes in each row.
fn counts(
    builder: &mut Builder,
    tokens: &Port,
    grams: &[Vec<String>],
    longest: usize,
) -> Result<Port, ExportError> {
    let shortest = grams
        .iter()
        .map(Vec::len)
        .min()
        .ok_or_else(|| contradiction("a vocabulary is empty"))?;
    let longest = grams.iter().map(Vec::len).max().unwrap_or(1).max(longest);
    let (mut starts, mut columns, mut pool) = (Vec::new(), Vec::new(), Vec::new());
    for length in 1..=longest {
        starts.push(pool.len() as i64);
        for (column, gram) in grams
            .iter()
            .enumerate()
            .filter(|(_, gram)| gram.len() == length)
        {
            columns.push(column as i64);
            pool.extend(texts(gram));
        }
    }
    let settings = vec![
        ("mode", Setting::Text("TF".to_owned())),
        ("min_gram_length", Setting::Int(shortest as i64)),
        ("max_gram_length", Setting::Int(longest as i64)),
        ("max_skip_count", Setting::Int(0)),
        ("ngram_counts", Setting::Ints(starts)),
        ("ngram_indexes", Setting::Ints(columns)),
        ("pool_strings", Setting::Texts(pool)),
    ];
    Ok(builder.op_with("TfIdfVectorizer", &[tokens], settings))
}

fn weighed(builder: &mut Builder, options: &TextOptions, fitted: &Fitted, counts: &Port) -> Port {
    let counts = builder.cast(counts, data_type::DOUBLE);
    let mut rows = counts.clone();
    if options.sublinear {
        let one = builder.number(1.0);
        let raised = builder.op("Max", &[&counts, &one]);
        let log = builder.op("Log", &[&raised]);
        let size = builder.op("Add", &[&log, &one]);
        let is_there = builder.op("Min", &[&counts, &one]);
        rows = builder.op("Mul", &[&size, &is_there]);
    }
    if let Some(idf) = &fitted.idf {
        let idf = builder.doubles(&[1, idf.len()], idf);
        rows = builder.op("Mul", &[&rows, &idf]);
    }
    if options.normalize {
        let length = builder.reduce("ReduceL2", &rows);
        let least = builder.number(LENGTH_MIN);
        let length = builder.op("Max", &[&length, &least]);
        rows = builder.op("Div", &[&rows, &length]);
    }
    let rows = builder.cast(&rows, data_type::FLOAT);
    builder.cast(&rows, data_type::DOUBLE)
}

/// Letters, numbers and the underscore, as ranges.
fn word_class() -> String {
    class("[", |letter| letter.is_alphanumeric() || letter == '_')
}

/// All but white space and the four separators that Python's `split` knows.
fn space_class_negated() -> String {
    class("[^", |letter| {
        letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
    })
}

pub(super) fn class(open: &str, holds: impl Fn(char) -> bool) -> String {
    let mut class = open.to_owned();
    let mut run: Option<(char, char)> = None;
    let mut close = |run: Option<(char, char)>| {
        if let Some((first, last)) = run {
            class.push_str(&format!(
                "\\x{{{:x}}}-\\x{{{:x}}}",
                u32::from(first),
                u32::from(last)
            ));
        }
    };
    for letter in (char::MIN..=char::MAX).filter(|&letter| holds(letter)) {
        run = match run {
            Some((first, last)) if u32::from(last) + 1 == u32::from(letter) => {
                Some((first, letter))
            }
            ended => {
                close(ended);
                Some((letter, letter))
            }
        };
    }
    close(run);
    class.push(']');
    class
}
