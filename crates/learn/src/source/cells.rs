//! Columns in the making: pieces grow row by row in parallel, and are joined in the order of the file.
//!
//! Every reader ends here, so that all formats give the same raw columns: numbers (missing is NaN until the end, because
//! NaN never is a value), flags, texts (as a dictionary while few are distinct), and lists of numbers. Where two
//! pieces of one column disagree, the column becomes text.

use super::RawKind;
use super::interner::Interner;
use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, LargeListArray,
    LargeStringArray, StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use ombud_core::frame::is_missing_word;
use ombud_core::row::number_text;
use std::borrow::Cow;
use std::sync::Arc;

/// From this many distinct texts on, a column must repeat itself to stay a dictionary.
const DISTINCT_FEW: usize = 1 << 10;
/// Most distinct texts a dictionary may hold; past it the texts are kept as they come.
const DISTINCT_MAX: usize = 1 << 18;

/// The cells of one column, so far.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    /// Nothing but missing cells.
    Nothing(usize),
    Numbers(Vec<f64>),
    Flags(Vec<Option<bool>>),
    Texts(Texts),
    Lists(Lists),
}

/// Texts, with missing ones.
#[derive(Debug, Clone)]
pub(crate) enum Texts {
    Dictionary {
        /// The place of each text among the distinct ones; negative where missing.
        keys: Vec<i32>,
        distinct: Interner,
    },
    Plain(PlainTexts),
}

#[derive(Debug, Clone)]
pub(crate) struct PlainTexts {
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    present: Presence,
}

/// Lists of numbers, with missing ones.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    values: Vec<f64>,
    offsets: Vec<i64>,
    present: Presence,
}

/// Which rows hold something. A type of its own because Arrow's builder cannot be cloned.
#[derive(Debug, Clone, Default)]
struct Presence(Vec<bool>);

impl Presence {
    fn nulls(&self) -> Option<NullBuffer> {
        if self.0.iter().all(|is_present| *is_present) {
            return None;
        }
        let mut builder = BooleanBufferBuilder::new(self.0.len());
        builder.append_slice(&self.0);
        Some(NullBuffer::new(builder.finish()))
    }
}

impl Cells {
    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Cells::Nothing(rows) => *rows,
            Cells::Numbers(values) => values.len(),
            Cells::Flags(values) => values.len(),
            Cells::Texts(texts) => texts.len(),
            Cells::Lists(lists) => lists.offsets.len() - 1,
        }
    }

    /// Puts missing cells at the end until there are so many rows.
    pub(crate) fn pad(&mut self, rows: usize) {
        let count = rows.saturating_sub(self.len());
        match self {
            Cells::Nothing(have) => *have += count,
            Cells::Numbers(values) => values.extend(std::iter::repeat_n(f64::NAN, count)),
            Cells::Flags(values) => values.extend(std::iter::repeat_n(None, count)),
            Cells::Texts(texts) => (0..count).for_each(|_| texts.push(None)),
            Cells::Lists(lists) => (0..count).for_each(|_| lists.push(None)),
        }
    }

    pub(crate) fn push_number(&mut self, number: f64) {
        match self {
            Cells::Nothing(rows) => {
                let mut values = vec![f64::NAN; *rows];
                values.push(number);
                *self = Cells::Numbers(values);
            }
            Cells::Numbers(values) => values.push(number),
            Cells::Flags(_) | Cells::Texts(_) | Cells::Lists(_) => {
                self.push_text(&number_text(number));
            }
        }
    }

    pub(crate) fn push_flag(&mut self, flag: bool) {
        match self {
            Cells::Nothing(rows) => {
                let mut values = vec![None; *rows];
                values.push(Some(flag));
                *self = Cells::Flags(values);
            }
            Cells::Flags(values) => values.push(Some(flag)),
            Cells::Numbers(_) | Cells::Texts(_) | Cells::Lists(_) => {
                self.push_text(flag_text(flag));
            }
        }
    }

    pub(crate) fn push_text(&mut self, text: &str) {
        self.texts_mut().push(Some(text));
    }

    pub(crate) fn push_list(&mut self, numbers: &[f64]) {
        match self {
            Cells::Nothing(rows) => {
                let mut lists = Lists::default();
                (0..*rows).for_each(|_| lists.push(None));
                lists.push(Some(numbers));
                *self = Cells::Lists(lists);
            }
            Cells::Lists(lists) => lists.push(Some(numbers)),
            Cells::Numbers(_) | Cells::Flags(_) | Cells::Texts(_) => {
                self.push_text(&list_text(numbers));
            }
        }
    }

    /// Adds the cells that come after these.
    pub(crate) fn append(&mut self, piece: Cells) {
        match (&mut *self, piece) {
            (_, Cells::Nothing(rows)) => {
                let rows = self.len() + rows;
                self.pad(rows);
            }
            (Cells::Nothing(0), piece) => *self = piece,
            (Cells::Nothing(rows), mut piece) => {
                let mut grown = piece.empty_like();
                grown.pad(*rows);
                grown.append(std::mem::replace(&mut piece, Cells::Nothing(0)));
                *self = grown;
            }
            (Cells::Numbers(values), Cells::Numbers(more)) => values.extend_from_slice(&more),
            (Cells::Flags(values), Cells::Flags(more)) => values.extend_from_slice(&more),
            (Cells::Texts(texts), Cells::Texts(more)) => texts.append(more),
            (Cells::Lists(lists), Cells::Lists(more)) => lists.append(&more),
            (_, piece) => self.texts_mut().append(piece.into_texts()),
        }
    }

    /// The cells in the form a stream was asked for. What is no number where one is wanted becomes infinite.
    pub(crate) fn wanted_as(self, kind: RawKind) -> Cells {
        match (kind, self) {
            (RawKind::Number, cells @ (Cells::Numbers(_) | Cells::Nothing(_))) => cells,
            (RawKind::Number, Cells::Flags(flags)) => {
                let number = |flag: Option<bool>| flag.map_or(f64::NAN, |f| f64::from(u8::from(f)));
                Cells::Numbers(flags.into_iter().map(number).collect())
            }
            (RawKind::Number, Cells::Lists(lists)) => {
                let number = |is_present: &bool| if *is_present { f64::INFINITY } else { f64::NAN };
                Cells::Numbers(lists.present.0.iter().map(number).collect())
            }
            (RawKind::Number, Cells::Texts(texts)) => Cells::Numbers(texts.map_each(|text| {
                text.map_or(f64::NAN, |text| {
                    number_or_unfit(&String::from_utf8_lossy(text))
                })
            })),
            (RawKind::List, cells @ (Cells::Lists(_) | Cells::Nothing(_))) => cells,
            (RawKind::List, other) => {
                // An empty list fits no number of steps, so that it is counted as unfit.
                let mut lists = Lists::default();
                (0..other.len()).for_each(|_| lists.push(Some(&[])));
                Cells::Lists(lists)
            }
            (RawKind::Text, cells) => Cells::Texts(cells.into_texts()),
            (RawKind::NumberName, Cells::Texts(texts)) => {
                let mut names = Texts::default();
                texts.each(|text| {
                    let text = text.map(String::from_utf8_lossy);
                    names.push(text.as_deref().map(number_name).as_deref());
                });
                Cells::Texts(names)
            }
            (RawKind::NumberName, cells) => Cells::Texts(cells.into_texts()),
        }
    }

    /// The column as it leaves the readers.
    pub(crate) fn finish(self) -> ArrayRef {
        match self {
            // Nothing is known of such a column, and a column of numbers costs no dictionary.
            Cells::Nothing(rows) => Arc::new(Float64Array::new_null(rows)),
            Cells::Numbers(values) => Arc::new(number_array(values)),
            Cells::Flags(values) => Arc::new(BooleanArray::from(values)),
            Cells::Texts(texts) => texts.finish(),
            Cells::Lists(lists) => lists.finish(),
        }
    }

    fn empty_like(&self) -> Cells {
        match self {
            Cells::Nothing(_) => Cells::Nothing(0),
            Cells::Numbers(_) => Cells::Numbers(Vec::new()),
            Cells::Flags(_) => Cells::Flags(Vec::new()),
            Cells::Texts(_) => Cells::Texts(Texts::default()),
            Cells::Lists(_) => Cells::Lists(Lists::default()),
        }
    }

    fn texts_mut(&mut self) -> &mut Texts {
        if !matches!(self, Cells::Texts(_)) {
            let cells = std::mem::replace(self, Cells::Nothing(0));
            *self = Cells::Texts(cells.into_texts());
        }
        match self {
            Cells::Texts(texts) => texts,
            _ => unreachable!("the cells were just made texts"),
        }
    }

    fn into_texts(self) -> Texts {
        let mut texts = Texts::default();
        match self {
            Cells::Nothing(rows) => (0..rows).for_each(|_| texts.push(None)),
            Cells::Numbers(values) => values.iter().for_each(|value| {
                let text = (!value.is_nan()).then(|| number_text(*value));
                texts.push(text.as_deref());
            }),
            Cells::Flags(values) => values
                .iter()
                .for_each(|value| texts.push(value.map(flag_text))),
            Cells::Texts(same) => return same,
            Cells::Lists(lists) => (0..lists.offsets.len() - 1).for_each(|row| {
                let text = lists.get(row).map(list_text);
                texts.push(text.as_deref());
            }),
        }
        texts
    }
}

/// Whether a cell says that nothing is known. The first letter rules out most cells at once.
pub(crate) fn is_missing(cell: &str) -> bool {
    let cell = cell.trim();
    match cell.as_bytes().first() {
        None => true,
        Some(b'n' | b'N' | b'm' | b'M' | b'#' | b'-' | b'<' | b'?') => is_missing_word(cell),
        Some(_) => false,
    }
}

/// A cell as a number: NaN where missing, infinite where it is none.
pub(crate) fn number_or_unfit(cell: &str) -> f64 {
    if is_missing(cell) {
        return f64::NAN;
    }
    cell.trim().parse().unwrap_or(f64::INFINITY)
}

/// A number that names something, in its shortest form; other texts as they are.
pub(crate) fn number_name(cell: &str) -> Cow<'_, str> {
    match cell.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Cow::Owned(number_text(number)),
        _ => Cow::Borrowed(cell),
    }
}

fn flag_text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

fn list_text(numbers: &[f64]) -> String {
    let texts = numbers.iter().map(|number| {
        if number.is_nan() {
            "null".to_owned()
        } else {
            number_text(*number)
        }
    });
    format!("[{}]", texts.collect::<Vec<_>>().join(","))
}

/// Numbers as an array; NaN is missing.
pub(crate) fn number_array(values: Vec<f64>) -> Float64Array {
    let nulls = values.iter().any(|value| value.is_nan()).then(|| {
        NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |i| {
            !values[i].is_nan()
        }))
    });
    Float64Array::new(ScalarBuffer::from(values), nulls)
}

impl Default for Texts {
    fn default() -> Self {
        Texts::Dictionary {
            keys: Vec::new(),
            distinct: Interner::default(),
        }
    }
}

impl Texts {
    fn len(&self) -> usize {
        match self {
            Texts::Dictionary { keys, .. } => keys.len(),
            Texts::Plain(plain) => plain.offsets.len() - 1,
        }
    }

    pub(crate) fn push(&mut self, text: Option<&str>) {
        match self {
            Texts::Dictionary { keys, distinct } => {
                let Some(text) = text else {
                    keys.push(-1);
                    return;
                };
                let before = distinct.len();
                keys.push(distinct.intern(text.as_bytes()) as i32);
                if distinct.len() > before {
                    self.settle();
                }
            }
            Texts::Plain(plain) => plain.push(text),
        }
    }

    fn append(&mut self, more: Texts) {
        match (&mut *self, more) {
            (
                Texts::Dictionary { keys, distinct },
                Texts::Dictionary {
                    keys: more,
                    distinct: other,
                },
            ) => {
                let place: Vec<i32> = (0..other.len())
                    .map(|i| distinct.intern(other.get(i)) as i32)
                    .collect();
                keys.extend(
                    more.iter()
                        .map(|&key| usize::try_from(key).map_or(-1, |key| place[key])),
                );
                self.settle();
            }
            (Texts::Plain(plain), Texts::Plain(more)) => plain.append(&more),
            (Texts::Plain(plain), Texts::Dictionary { keys, distinct }) => {
                plain.append_dictionary(&keys, &distinct);
            }
            (Texts::Dictionary { .. }, Texts::Plain(more)) => {
                self.spread();
                if let Texts::Plain(plain) = self {
                    plain.append(&more);
                }
            }
        }
    }

    fn each(&self, mut visit: impl FnMut(Option<&[u8]>)) {
        match self {
            Texts::Dictionary { keys, distinct } => keys
                .iter()
                .for_each(|key| visit(usize::try_from(*key).ok().map(|key| distinct.get(key)))),
            Texts::Plain(plain) => {
                for (row, is_present) in plain.present.0.iter().enumerate() {
                    let range = plain.offsets[row] as usize..plain.offsets[row + 1] as usize;
                    visit(is_present.then(|| &plain.bytes[range]));
                }
            }
        }
    }

    fn map_each<T>(&self, map: impl Fn(Option<&[u8]>) -> T) -> Vec<T> {
        let mut mapped = Vec::with_capacity(self.len());
        self.each(|text| mapped.push(map(text)));
        mapped
    }

    /// A dictionary pays only while texts repeat.
    fn settle(&mut self) {
        let Texts::Dictionary { keys, distinct } = self else {
            return;
        };
        let repeats_little = distinct.len() > DISTINCT_FEW && distinct.len() * 2 > keys.len();
        if repeats_little || distinct.len() > DISTINCT_MAX {
            self.spread();
        }
    }

    fn spread(&mut self) {
        if let Texts::Dictionary { keys, distinct } = self {
            let mut plain = PlainTexts::default();
            plain.append_dictionary(keys, distinct);
            *self = Texts::Plain(plain);
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Texts::Dictionary { keys, distinct } => {
                let nulls = keys.iter().any(|key| *key < 0).then(|| {
                    NullBuffer::new(BooleanBuffer::collect_bool(keys.len(), |i| keys[i] >= 0))
                });
                let keys: Vec<i32> = keys.into_iter().map(|key| key.max(0)).collect();
                let values: StringArray = (0..distinct.len())
                    .map(|i| Some(String::from_utf8_lossy(distinct.get(i))))
                    .collect();
                let is_all_missing = values.is_empty();
                if is_all_missing {
                    return Arc::new(DictionaryArray::new(
                        Int32Array::new_null(keys.len()),
                        Arc::new(values),
                    ));
                }
                let keys = Int32Array::new(ScalarBuffer::from(keys), nulls);
                Arc::new(DictionaryArray::new(keys, Arc::new(values)))
            }
            Texts::Plain(plain) => plain.finish(),
        }
    }
}

impl Default for PlainTexts {
    fn default() -> Self {
        PlainTexts {
            bytes: Vec::new(),
            offsets: vec![0],
            present: Presence::default(),
        }
    }
}

impl PlainTexts {
    fn push(&mut self, text: Option<&str>) {
        self.bytes.extend_from_slice(text.unwrap_or("").as_bytes());
        self.offsets.push(self.bytes.len() as i64);
        self.present.0.push(text.is_some());
    }

    fn append(&mut self, more: &PlainTexts) {
        let start = self.bytes.len() as i64;
        self.bytes.extend_from_slice(&more.bytes);
        self.offsets
            .extend(more.offsets[1..].iter().map(|offset| start + offset));
        self.present.0.extend_from_slice(&more.present.0);
    }

    fn append_dictionary(&mut self, keys: &[i32], distinct: &Interner) {
        for &key in keys {
            if let Ok(key) = usize::try_from(key) {
                self.bytes.extend_from_slice(distinct.get(key));
            }
            self.offsets.push(self.bytes.len() as i64);
            self.present.0.push(key >= 0);
        }
    }

    fn finish(self) -> ArrayRef {
        let nulls = self.present.nulls();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let texts = LargeStringArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls);
        Arc::new(texts.expect("only texts were pushed"))
    }
}

impl Default for Lists {
    fn default() -> Self {
        Lists {
            values: Vec::new(),
            offsets: vec![0],
            present: Presence::default(),
        }
    }
}

impl Lists {
    pub(crate) fn push(&mut self, numbers: Option<&[f64]>) {
        self.values.extend_from_slice(numbers.unwrap_or(&[]));
        self.offsets.push(self.values.len() as i64);
        self.present.0.push(numbers.is_some());
    }

    fn append(&mut self, more: &Lists) {
        let start = self.values.len() as i64;
        self.values.extend_from_slice(&more.values);
        self.offsets
            .extend(more.offsets[1..].iter().map(|offset| start + offset));
        self.present.0.extend_from_slice(&more.present.0);
    }

    fn get(&self, row: usize) -> Option<&[f64]> {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        self.present.0[row].then(|| &self.values[range])
    }

    pub(crate) fn finish(self) -> ArrayRef {
        let nulls = self.present.nulls();
        Arc::new(LargeListArray::new(
            Arc::new(Field::new("item", DataType::Float64, true)),
            OffsetBuffer::new(ScalarBuffer::from(self.offsets)),
            Arc::new(number_array(self.values)),
            nulls,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::frame;

    fn texts_of(cells: Cells) -> Vec<Option<String>> {
        let texts = frame::texts(&cells.finish());
        texts.iter().map(|t| t.map(str::to_owned)).collect()
    }

    #[test]
    fn a_column_that_disagrees_with_itself_becomes_text() {
        let mut cells = Cells::Nothing(1);
        cells.push_number(1.5);
        cells.push_flag(true);
        cells.push_list(&[1.0, f64::NAN]);
        let told = texts_of(cells);
        let expected = [None, Some("1.5"), Some("true"), Some("[1,null]")];
        assert_eq!(told, expected.map(|t| t.map(str::to_owned)));
    }

    #[test]
    fn pieces_join_whatever_their_form() {
        let piece = |start: usize, distinct: usize| {
            let mut cells = Cells::Nothing(1);
            (0..3000).for_each(|i| cells.push_text(&format!("t{}", start + i % distinct)));
            cells
        };
        for (first, second) in [(10, 10), (10, 3000), (3000, 10), (3000, 3000)] {
            let mut joined = piece(0, first);
            joined.append(piece(5, second));
            let expected: Vec<Option<String>> = [(0, first), (5, second)]
                .into_iter()
                .flat_map(|(start, distinct)| {
                    std::iter::once(None)
                        .chain((0..3000).map(move |i| Some(format!("t{}", start + i % distinct))))
                })
                .collect();
            assert_eq!(texts_of(joined), expected, "{first} {second}");
        }
    }

    #[test]
    fn few_distinct_texts_are_a_dictionary_and_many_are_not() {
        let mut few = Cells::Nothing(0);
        let mut many = Cells::Nothing(0);
        for i in 0..5000 {
            few.push_text(&(i % 7).to_string());
            many.push_text(&i.to_string());
        }
        assert!(matches!(
            few.finish().data_type(),
            DataType::Dictionary(_, _)
        ));
        assert_eq!(many.finish().data_type(), &DataType::LargeUtf8);
    }
}
