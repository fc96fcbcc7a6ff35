//! Operators on texts: normalizing, cutting into tokens, counting runs of tokens.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::attributes::Attributes;
use super::broadcast::Broadcast;
use super::graph::{Call, Kernel, Versions, one};
use super::pattern::Pattern;
use super::tensor::{Data, Fault, Tensor};

type Built = Result<Kernel, Fault>;

/// Longest run of tokens that is counted.
const GRAM_MAX: usize = 32;

/// Lower or upper case, and stop words left out. Case is changed letter by letter, as onnxruntime asks the C library to,
/// whatever locale the file names.
pub(super) fn string_normalizer(node: Attributes<'_>, _: Versions) -> Built {
    let case: fn(&str) -> Option<String> = match &node.text_or("case_change_action", "NONE")?[..] {
        "NONE" => |_| None,
        "LOWER" => |text| Some(text.chars().map(lower).collect()),
        "UPPER" => |text| Some(text.chars().map(upper).collect()),
        other => {
            return Err(Fault::new(format!(
                "the case change {other:?} is not known"
            )));
        }
    };
    let is_sensitive = node.flag("is_case_sensitive", false)?;
    let compared = move |text: &str| {
        if is_sensitive {
            text.to_owned()
        } else {
            text.chars().map(lower).collect()
        }
    };
    let stop_words: HashSet<String> = node
        .texts("stopwords")?
        .iter()
        .map(|word| compared(word))
        .collect();
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        if !matches!(x.shape(), [_] | [1, _]) {
            return Err(Fault::new("it takes one row of texts"));
        }
        let texts = x.values::<Arc<str>>()?;
        claim_bytes(call, texts.iter().map(|text| text.len().saturating_mul(3)))?;
        let kept = texts
            .iter()
            .filter(|text| stop_words.is_empty() || !stop_words.contains(&compared(text)));
        let mut out: Vec<Arc<str>> = kept
            .map(|text| case(text).map_or_else(|| text.clone(), Arc::from))
            .collect();
        if out.is_empty() {
            out.push("".into());
        }
        let mut shape = x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out.len();
        }
        one(Tensor::of(shape, out))
    }))
}

/// The lower case of a letter alone: İ is the only one that has two.
fn lower(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

/// The upper case of a letter alone; one of several letters (ß) is none.
fn upper(letter: char) -> char {
    let mut letters = letter.to_uppercase();
    match (letters.next(), letters.next()) {
        (Some(only), None) => only,
        _ => letter,
    }
}

pub(super) fn string_concat(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let (left, right) = (call.tensor(0)?, call.tensor(1)?);
        let broadcast = Broadcast::new(call, left.shape(), right.shape())?;
        let (left, right) = (left.values::<Arc<str>>()?, right.values::<Arc<str>>()?);
        claim_bytes(
            call,
            broadcast
                .zip(left, right, |a, b| a.len() + b.len())
                .into_iter(),
        )?;
        let out: Vec<Arc<str>> = broadcast.zip(left, right, |a, b| format!("{a}{b}").into());
        one(Tensor::of(broadcast.shape, out))
    }))
}

/// How a tokenizer cuts.
enum Cut {
    Characters,
    Separators(Vec<Arc<str>>),
    Runs(Pattern),
}

/// Tokens along a new last dimension, the shorter rows filled up.
pub(super) fn tokenizer(node: Attributes<'_>, _: Versions) -> Built {
    if node.flag("mark", false)? {
        return Err(Fault::new("marks at the ends of texts are not supported"));
    }
    let filler = node.text_or("pad_value", "#")?;
    let shortest = usize::try_from(node.int_or("mincharnum", 1)?).unwrap_or(1);
    let separators = node.texts("separators")?;
    let cut = match node.text("tokenexp")? {
        Some(pattern) if separators.is_empty() => Cut::Runs(Pattern::read(&pattern)?),
        Some(_) => return Err(Fault::new("it has separators and a pattern")),
        None if separators.len() == 1 && separators[0].is_empty() => Cut::Characters,
        None => Cut::plain(separators)?,
    };
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let texts = x.values::<Arc<str>>()?;
        claim_bytes(call, texts.iter().map(|text| text.len()))?;
        let bytes = texts.iter().map(|text| text.len() + 1).sum::<usize>();
        call.budget.work(bytes.saturating_mul(cut.passes()))?;
        let rows: Vec<Vec<&str>> = texts
            .iter()
            .map(|text| cut.tokens(text, shortest))
            .collect();
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        call.budget.claim(rows.len().saturating_mul(width))?;
        let mut out: Vec<Arc<str>> = Vec::with_capacity(rows.len() * width);
        for row in rows {
            let fill = width - row.len();
            out.extend(row.into_iter().map(Arc::<str>::from));
            out.extend(std::iter::repeat_n(filler.clone(), fill));
        }
        let mut shape = x.shape().to_vec();
        shape.push(width);
        let flat = Tensor::of(vec![out.len()], out);
        one(flat.reshaped(shape)?)
    }))
}

/// Counts of the runs of tokens in its pool.
pub(super) fn tf_idf_vectorizer(node: Attributes<'_>, _: Versions) -> Built {
    let counter = Counter::read(node)?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let (rows, columns) = x.rows_and_columns()?;
        call.budget
            .claim(x.len().saturating_add(rows.saturating_mul(counter.width)))?;
        call.budget
            .work(x.len().saturating_mul(counter.steps_per_token()))?;
        let tokens = counter.numbered(x)?;
        let mut out = vec![0.0_f32; rows * counter.width];
        for row in 0..rows {
            let tokens = &tokens[row * columns..(row + 1) * columns];
            counter.count(
                tokens,
                &mut out[row * counter.width..(row + 1) * counter.width],
            );
        }
        let shape = if x.shape().len() == 1 {
            vec![counter.width]
        } else {
            vec![rows, counter.width]
        };
        one(Tensor::of(shape, out))
    }))
}

impl Cut {
    fn plain(separators: Vec<Arc<str>>) -> Result<Cut, Fault> {
        let is_plain = |text: &Arc<str>| {
            !text.is_empty() && !text.contains(|letter| r"\.+*?()|[]{}^$".contains(letter))
        };
        if separators.is_empty() || !separators.iter().all(is_plain) {
            return Err(Fault::new("its separators are patterns"));
        }
        Ok(Cut::Separators(separators))
    }

    /// How often it goes over a text.
    fn passes(&self) -> usize {
        match self {
            Cut::Separators(separators) => separators.len(),
            Cut::Characters | Cut::Runs(_) => 1,
        }
    }

    fn tokens<'a>(&'a self, text: &'a str, shortest: usize) -> Vec<&'a str> {
        let is_long = |token: &&str| token.chars().nth(shortest.saturating_sub(1)).is_some();
        match self {
            Cut::Characters => text.split_inclusive(|_| true).collect(),
            Cut::Runs(pattern) => pattern.found(text).into_iter().filter(is_long).collect(),
            Cut::Separators(separators) => {
                let mut tokens = vec![text];
                for separator in separators {
                    tokens = tokens
                        .into_iter()
                        .flat_map(|token| token.split(&**separator))
                        .collect();
                }
                tokens.into_iter().filter(is_long).collect()
            }
        }
    }
}

/// What makes a weight of a count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Count,
    Presence,
    Weighted,
}

/// The runs of tokens that count. Tokens are numbers here: those of the pool, in the order they first come in it.
struct Counter {
    by_text: HashMap<Arc<str>, u32>,
    by_int: HashMap<i64, u32>,
    /// From a run of numbers to its column and weight.
    grams: HashMap<Vec<u32>, (usize, f32)>,
    lengths: std::ops::RangeInclusive<usize>,
    skips: usize,
    mode: Mode,
    width: usize,
}

/// No token of the pool.
const UNKNOWN: u32 = u32::MAX;

impl Counter {
    fn read(node: Attributes<'_>) -> Result<Self, Fault> {
        let length = |name: &str| -> Result<usize, Fault> {
            let length = usize::try_from(node.int_or(name, 0)?)
                .ok()
                .filter(|length| *length <= GRAM_MAX);
            length.ok_or_else(|| Fault::new(format!("{name} is out of range")))
        };
        let (shortest, longest) = (length("min_gram_length")?, length("max_gram_length")?);
        let mode = match &node.text_or("mode", "")?[..] {
            "TF" => Mode::Count,
            "IDF" => Mode::Presence,
            "TFIDF" => Mode::Weighted,
            other => return Err(Fault::new(format!("the mode {other:?} is not known"))),
        };
        let mut counter = Counter {
            by_text: HashMap::new(),
            by_int: HashMap::new(),
            grams: HashMap::new(),
            lengths: shortest..=longest,
            skips: length("max_skip_count")?,
            mode,
            width: 0,
        };
        if shortest == 0 || shortest > longest {
            return Err(Fault::new("its lengths of runs do not rise from one"));
        }
        let pool = counter.number_pool(node)?;
        counter.read_grams(node, &pool)?;
        Ok(counter)
    }

    fn number_pool(&mut self, node: Attributes<'_>) -> Result<Vec<u32>, Fault> {
        let texts = node.texts("pool_strings")?;
        if texts.is_empty() {
            let ints = node.ints("pool_int64s")?;
            let mut number = |&int| {
                let next = self.by_int.len() as u32;
                *self.by_int.entry(int).or_insert(next)
            };
            return Ok(ints.iter().map(&mut number).collect());
        }
        let mut number = |text| {
            let next = self.by_text.len() as u32;
            *self.by_text.entry(text).or_insert(next)
        };
        Ok(texts.into_iter().map(&mut number).collect())
    }

    /// The pool holds all runs of one token, then all of two, and so on.
    fn read_grams(&mut self, node: Attributes<'_>, pool: &[u32]) -> Result<(), Fault> {
        let misfit = || Fault::new("its pool, counts and columns do not fit");
        let starts = node.ints("ngram_counts")?;
        let columns = node.ints("ngram_indexes")?;
        let weights = node.floats("weights")?;
        if !(weights.is_empty() || weights.len() == columns.len()) || starts.len() > GRAM_MAX {
            return Err(misfit());
        }
        let mut place = 0;
        for (at, &start) in starts.iter().enumerate() {
            let end = starts.get(at + 1).copied().unwrap_or(pool.len() as i64);
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let (start, end) = range.ok_or_else(misfit)?;
            let runs = pool.get(start..end).ok_or_else(misfit)?;
            if !runs.len().is_multiple_of(at + 1) {
                return Err(misfit());
            }
            for run in runs.chunks_exact(at + 1) {
                let column = columns
                    .get(place)
                    .and_then(|&column| usize::try_from(column).ok())
                    .ok_or_else(misfit)?;
                let weight = weights.get(place).copied().unwrap_or(1.0);
                self.width = self.width.max(column.saturating_add(1));
                self.grams.insert(run.to_vec(), (column, weight));
                place += 1;
            }
        }
        let is_dense = self.width <= columns.len().saturating_mul(16).saturating_add(1 << 16);
        if place != columns.len() || !is_dense {
            return Err(misfit());
        }
        Ok(())
    }

    fn steps_per_token(&self) -> usize {
        self.lengths.clone().sum::<usize>() * (self.skips + 1)
    }

    fn numbered(&self, x: &Tensor) -> Result<Vec<u32>, Fault> {
        if let Data::Text(texts) = x.data() {
            return Ok(texts
                .iter()
                .map(|text| self.by_text.get(text).copied().unwrap_or(UNKNOWN))
                .collect());
        }
        Ok(x.as_i64()?
            .iter()
            .map(|int| self.by_int.get(int).copied().unwrap_or(UNKNOWN))
            .collect())
    }

    fn count(&self, tokens: &[u32], out: &mut [f32]) {
        let mut run = Vec::with_capacity(*self.lengths.end());
        for length in self.lengths.clone() {
            let steps = if length == 1 { 1 } else { self.skips + 1 };
            for step in 1..=steps {
                let reach = (length - 1) * step;
                for start in 0..tokens.len().saturating_sub(reach) {
                    run.clear();
                    run.extend(tokens[start..=start + reach].iter().step_by(step));
                    if let Some(&(column, weight)) = self.grams.get(&run) {
                        self.add(&mut out[column], weight);
                    }
                }
            }
        }
    }

    fn add(&self, slot: &mut f32, weight: f32) {
        match self.mode {
            Mode::Count => *slot += 1.0,
            Mode::Presence => *slot = weight,
            Mode::Weighted => *slot += weight,
        }
    }
}

/// Texts claim an element for every eight bytes, and a step for each.
fn claim_bytes(call: &Call<'_>, lengths: impl Iterator<Item = usize>) -> Result<(), Fault> {
    let (bytes, count) = lengths.fold((0_usize, 0_usize), |(bytes, count), length| {
        (bytes.saturating_add(length), count + 1)
    });
    call.budget.work(bytes)?;
    call.budget.claim(bytes / 8 + count)
}
