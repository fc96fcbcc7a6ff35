//! JSON lines: one object per line.
//!
//! Nested objects become columns with dotted names, in order of first appearance. Numbers, flags and texts are what they
//! are; a list of numbers is a list; a list of texts is one text with a line for each; any other list is kept as
//! its JSON. A column whose lines disagree becomes text. Unlike in a CSV, `null` or absence says that nothing is
//! known, so a text such as `"none"` stays a text. A whole number too large for a double names something
//! and is kept as text.

use super::blocks::{
    BLOCK_BYTES, Block, BlockFault, Blocks, Fault, Origin, Parsed, Records, in_waves, one_by_one,
};
use super::cells::Cells;
use super::error::ReadError;
use super::spec::{Format, SourceSpec};
use super::{BatchSender, Batches, COLUMNS_MAX, Hints, Meter, RawKind, Source, Table, batch_of};
use arrow_array::RecordBatch;
use ombud_core::field_path::PATH_DEPTH_MAX;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A file of JSON lines.
#[derive(Debug)]
pub(crate) struct JsonlSource {
    spec: SourceSpec,
    meter: Arc<Meter>,
    block_bytes: usize,
}

impl JsonlSource {
    pub(crate) fn new(spec: &SourceSpec) -> Self {
        JsonlSource {
            spec: spec.clone(),
            meter: Arc::default(),
            block_bytes: BLOCK_BYTES,
        }
    }

    fn open(&self) -> Result<Blocks, ReadError> {
        self.meter.rows.store(0, Ordering::Relaxed);
        let origin = Origin::Place(self.spec.clone());
        let blocks = Blocks::open(&origin, Format::Jsonl, &self.meter, self.block_bytes)?;
        let first = blocks.ahead().iter().find(|b| !b.is_ascii_whitespace());
        match first {
            None => Err(ReadError::Empty {
                file: blocks.file().to_owned(),
            }),
            Some(b'[') => Err(ReadError::WrongFormat {
                file: blocks.file().to_owned(),
                found: "one JSON array",
                expected: Format::Jsonl,
            }),
            Some(_) => Ok(blocks),
        }
    }
}

impl Source for JsonlSource {
    fn describe(&self) -> String {
        self.spec.to_string()
    }

    fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn read_all(&self) -> Result<Table, ReadError> {
        let mut blocks = self.open()?;
        let mut all = Piece::default();
        in_waves(
            &mut blocks,
            Records::Lines,
            |block| parse(block, None),
            |piece| {
                all.append(piece);
                Ok(())
            },
        )?;
        all.drop_empty_objects();
        let file = || blocks.file().to_owned();
        if all.rows == 0 || all.columns.is_empty() {
            return Err(ReadError::NoRows { file: file() });
        }
        if all.columns.len() > COLUMNS_MAX {
            return Err(ReadError::TooManyColumns {
                file: file(),
                count: all.columns.len(),
                limit: COLUMNS_MAX,
            });
        }
        let fingerprint = blocks.fingerprint();
        let _ = self.meter.fingerprint.set(fingerprint);
        Ok(Table {
            batch: all.into_batch(None),
            fingerprint,
            bytes: self.meter.bytes_read(),
        })
    }

    fn stream(&self, hints: &Hints, batch_rows: usize) -> Result<Batches, ReadError> {
        let mut blocks = self.open()?;
        let meter = self.meter.clone();
        let hints = hints.clone();
        Batches::produced_by(move |sender: &BatchSender| {
            // A column that was there once and is not in a later batch is missing there, not absent.
            let mut seen: Vec<String> = Vec::new();
            let read = one_by_one(
                &mut blocks,
                Records::Lines,
                |block| parse(block, Some(&hints)),
                |mut piece| {
                    for name in &seen {
                        piece.column(name);
                    }
                    seen = piece.names.clone();
                    Ok(sender.send_sliced(&piece.into_batch(Some(&hints)), batch_rows))
                },
            );
            match read {
                Ok(()) => drop(meter.fingerprint.set(blocks.fingerprint())),
                Err(error) => drop(sender.send(Err(error))),
            }
        })
    }
}

/// Parsed rows with the columns they have.
#[derive(Debug, Default)]
struct Piece {
    rows: usize,
    lines: u64,
    names: Vec<String>,
    columns: Vec<Cells>,
    by_name: HashMap<String, usize>,
}

impl Parsed for Piece {
    fn lines(&self) -> u64 {
        self.lines
    }
    fn rows(&self) -> usize {
        self.rows
    }
}

impl Piece {
    fn column(&mut self, name: &str) -> usize {
        if let Some(&column) = self.by_name.get(name) {
            return column;
        }
        let column = self.names.len();
        self.by_name.insert(name.to_owned(), column);
        self.names.push(name.to_owned());
        self.columns.push(Cells::Nothing(0));
        column
    }

    fn append(&mut self, piece: Piece) {
        for (name, mut cells) in piece.names.into_iter().zip(piece.columns) {
            let column = self.column(&name);
            cells.pad(piece.rows);
            self.columns[column].pad(self.rows);
            self.columns[column].append(cells);
        }
        self.rows += piece.rows;
    }

    /// Null may stand for a whole object; a column made of nothing else is none.
    fn drop_empty_objects(&mut self) {
        let mut sorted: Vec<&String> = self.names.iter().collect();
        sorted.sort_unstable();
        let is_object = |name: &str| {
            let below = format!("{name}.");
            let at = sorted.partition_point(|other| **other < below);
            sorted
                .get(at)
                .is_some_and(|other| other.starts_with(&below))
        };
        let is_kept = |(name, cells): (&String, &Cells)| {
            !(matches!(cells, Cells::Nothing(_)) && is_object(name))
        };
        let kept: Vec<bool> = self.names.iter().zip(&self.columns).map(is_kept).collect();
        let mut flags = kept.iter();
        self.names.retain(|_| flags.next() == Some(&true));
        let mut flags = kept.iter();
        self.columns.retain(|_| flags.next() == Some(&true));
        self.by_name.clear();
    }

    fn into_batch(self, hints: Option<&Hints>) -> RecordBatch {
        let rows = self.rows;
        let columns = self.names.into_iter().zip(self.columns);
        let columns = columns.map(|(name, mut cells)| {
            cells.pad(rows);
            let cells = match hints.and_then(|hints| hints.get(&name)) {
                Some(want) => cells.wanted_as(want),
                None => cells,
            };
            (name, cells.finish())
        });
        batch_of(columns.collect(), rows)
    }
}

fn parse(block: &Block, hints: Option<&Hints>) -> Result<Piece, BlockFault> {
    let mut reading = Reading {
        piece: Piece::default(),
        hints,
        branches: vec![Branch::default()],
    };
    for line in block.text.split_terminator('\n') {
        reading.piece.lines += 1;
        if line.trim().is_empty() {
            continue;
        }
        reading.line(line).map_err(|what| BlockFault {
            line: reading.piece.lines,
            what,
        })?;
    }
    Ok(reading.piece)
}

/// Rows in the making. Objects of one shape follow each other, so each object remembers where its keys led.
struct Reading<'h> {
    piece: Piece,
    hints: Option<&'h Hints>,
    branches: Vec<Branch>,
}

#[derive(Debug, Default)]
struct Branch {
    /// The dotted name of this object, with the dot behind.
    prefix: String,
    depth: usize,
    keys: Vec<Key>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Key {
    name: String,
    /// The branch of an object under this key, once there was one.
    branch: Option<usize>,
    /// The column of a value under this key, once there was one.
    column: Option<usize>,
    want: Option<RawKind>,
}

impl Reading<'_> {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let object = ObjectSeed {
            reading: self,
            branch: 0,
        };
        object
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|error| Fault::Json(plain_problem(&error)))?;
        let count = self.piece.columns.len();
        if count > COLUMNS_MAX {
            let limit = COLUMNS_MAX;
            return Err(Fault::TooManyColumns { count, limit });
        }
        self.piece.rows += 1;
        Ok(())
    }

    /// The key's place in its object; `guess` is right when objects keep their order.
    fn key(&mut self, branch: usize, name: &str, guess: usize) -> usize {
        let keys = &self.branches[branch];
        if keys.keys.get(guess).is_some_and(|key| key.name == name) {
            return guess;
        }
        if let Some(&place) = keys.by_name.get(name) {
            return place;
        }
        let full = format!("{}{name}", keys.prefix);
        let want = self.hints.and_then(|hints| hints.get(&full));
        let keys = &mut self.branches[branch];
        let place = keys.keys.len();
        keys.by_name.insert(name.to_owned(), place);
        keys.keys.push(Key {
            name: name.to_owned(),
            branch: None,
            column: None,
            want,
        });
        place
    }

    fn branch_under(&mut self, branch: usize, key: usize) -> Result<usize, String> {
        if let Some(under) = self.branches[branch].keys[key].branch {
            return Ok(under);
        }
        let parent = &self.branches[branch];
        let depth = parent.depth + 1;
        if depth >= PATH_DEPTH_MAX {
            return Err(format!("objects are nested deeper than {PATH_DEPTH_MAX}"));
        }
        let prefix = format!("{}{}.", parent.prefix, parent.keys[key].name);
        self.branches.push(Branch {
            prefix,
            depth,
            ..Branch::default()
        });
        let under = self.branches.len() - 1;
        self.branches[branch].keys[key].branch = Some(under);
        Ok(under)
    }

    fn accept(&mut self, branch: usize, key: usize, value: Value<'_>) -> Result<(), String> {
        let want = self.branches[branch].keys[key].want;
        if self.hints.is_some() && want.is_none() {
            return Ok(());
        }
        let column = match self.branches[branch].keys[key].column {
            Some(column) => column,
            None => {
                let at = &self.branches[branch];
                let full = format!("{}{}", at.prefix, at.keys[key].name);
                let column = self.piece.column(&full);
                self.branches[branch].keys[key].column = Some(column);
                column
            }
        };
        let rows = self.piece.rows;
        let cells = &mut self.piece.columns[column];
        if cells.len() > rows {
            let name = &self.piece.names[column];
            return Err(format!("the field {name:?} is there twice"));
        }
        cells.pad(rows);
        push(cells, value);
        Ok(())
    }
}

/// The cause without serde's own place: lines are counted by us, and there is one object per line.
fn plain_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((cause, _)) => format!("{cause} (column {})", error.column()),
        None => text,
    }
}

/// A value that is no object.
enum Value<'a> {
    Nothing,
    Flag(bool),
    Number(f64),
    Text(Cow<'a, str>),
    Numbers(Vec<f64>),
}

fn push(cells: &mut Cells, value: Value<'_>) {
    match value {
        Value::Nothing => cells.pad(cells.len() + 1),
        Value::Flag(flag) => cells.push_flag(flag),
        Value::Number(number) => cells.push_number(number),
        Value::Text(text) => cells.push_text(&text),
        Value::Numbers(numbers) => cells.push_list(&numbers),
    }
}

struct ObjectSeed<'r, 'h> {
    reading: &'r mut Reading<'h>,
    branch: usize,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut guess = 0;
        while let Some(name) = map.next_key_seed(TextSeed)? {
            let key = self.reading.key(self.branch, &name, guess);
            guess = key + 1;
            map.next_value_seed(MemberSeed {
                reading: &mut *self.reading,
                branch: self.branch,
                key,
            })?;
        }
        Ok(())
    }
}

/// The value under a key: an object opens a branch, anything else is a cell.
struct MemberSeed<'r, 'h> {
    reading: &'r mut Reading<'h>,
    branch: usize,
    key: usize,
}

impl MemberSeed<'_, '_> {
    fn accept<E: de::Error>(self, value: Value<'_>) -> Result<(), E> {
        self.reading
            .accept(self.branch, self.key, value)
            .map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for MemberSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MemberSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        // Null may stand for a whole object; only a field that was a value before, or never was anything, is a cell.
        let key = &self.reading.branches[self.branch].keys[self.key];
        match key.branch {
            Some(_) if key.column.is_none() => Ok(()),
            _ => self.accept(Value::Nothing),
        }
    }
    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<(), E> {
        self.accept(Value::Flag(flag))
    }
    fn visit_i64<E: de::Error>(self, whole: i64) -> Result<(), E> {
        self.accept(whole_number(i128::from(whole)))
    }
    fn visit_u64<E: de::Error>(self, whole: u64) -> Result<(), E> {
        self.accept(whole_number(i128::from(whole)))
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        self.accept(Value::Number(number))
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<(), E> {
        self.accept(Value::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.accept(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let branch = self
            .reading
            .branch_under(self.branch, self.key)
            .map_err(de::Error::custom)?;
        let object = ObjectSeed {
            reading: self.reading,
            branch,
        };
        object.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let key = &self.reading.branches[self.branch].keys[self.key];
        if self.reading.hints.is_some() && key.want.is_none() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut elements: Vec<serde_json::Value> = Vec::new();
        let mut numbers: Vec<f64> = Vec::new();
        while let Some(element) = list.next_element_seed(ElementSeed)? {
            match element {
                Element::Number(number) if elements.is_empty() => numbers.push(number),
                Element::Number(number) => elements.push(json_number(number)),
                Element::Other(other) => {
                    // The first element that is no number: those before it were.
                    if elements.is_empty() {
                        elements.extend(numbers.drain(..).map(json_number));
                    }
                    elements.push(other);
                }
            }
        }
        let value = match (elements.is_empty(), numbers.is_empty()) {
            // Nobody can tell what an empty list would have held.
            (true, true) => Value::Nothing,
            (true, false) => Value::Numbers(numbers),
            (false, _) => Value::Text(Cow::Owned(lines_of(elements))),
        };
        self.accept(value)
    }
}

fn whole_number(whole: i128) -> Value<'static> {
    const EXACT_MAX: i128 = 1 << f64::MANTISSA_DIGITS;
    if whole.abs() <= EXACT_MAX {
        Value::Number(whole as f64)
    } else {
        Value::Text(Cow::Owned(whole.to_string()))
    }
}

fn json_number(number: f64) -> serde_json::Value {
    // A null among numbers was read as not-a-number, which JSON writes as null again.
    serde_json::Value::from(number)
}

/// Texts as lines; anything else as JSON.
fn lines_of(elements: Vec<serde_json::Value>) -> String {
    let texts: Option<Vec<&str>> = elements.iter().map(serde_json::Value::as_str).collect();
    match texts {
        Some(texts) => texts.join("\n"),
        None => serde_json::Value::Array(elements).to_string(),
    }
}

enum Element {
    Number(f64),
    Other(serde_json::Value),
}

struct ElementSeed;

impl<'de> DeserializeSeed<'de> for ElementSeed {
    type Value = Element;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        let value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
        Ok(match &value {
            serde_json::Value::Null => Element::Number(f64::NAN),
            serde_json::Value::Number(number) => match number.as_f64() {
                Some(number) => Element::Number(number),
                None => Element::Other(value),
            },
            _ => Element::Other(value),
        })
    }
}

struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, shown, streamed, told};
    use super::*;
    use arrow_array::Array;
    use proptest::prelude::*;

    fn read(bytes: &[u8], block_bytes: usize) -> Result<Table, ReadError> {
        let (_folder, spec) = file("a.jsonl", bytes);
        let source = JsonlSource {
            block_bytes,
            ..JsonlSource::new(&spec)
        };
        source.read_all()
    }

    #[test]
    fn objects_become_columns_with_dotted_names() {
        let text = r#"{"a":1,"b":{"c":"x","d":{"e":true}},"l":[1,null,2.5],"t":["p","q"],"none":[]}
{"b":null,"a":"NA","l":[3],"t":["r"],"o":[{"k":1}],"big":12345678901234567890}

{"b":{"c":"z","d":null}}"#;
        let expected = r#"[("a", [Some("1"), Some("NA"), None]), ("b.c", [Some("x"), None, Some("z")]), ("b.d.e", [Some("true"), None, None]), ("l", [None, None, None]), ("t", [Some("p\nq"), Some("r"), None]), ("none", [None, None, None]), ("o", [None, Some("[{\"k\":1}]"), None]), ("big", [None, Some("12345678901234567890"), None])]"#;
        assert_eq!(told("a.jsonl", text.as_bytes()), expected);
        assert_eq!(
            format!("{:?}", shown(&read(text.as_bytes(), 3).unwrap().batch)),
            expected
        );
        let batch = read(text.as_bytes(), BLOCK_BYTES).unwrap().batch;
        let lists = batch.column_by_name("l").unwrap();
        assert_eq!(lists.null_count(), 1);
        assert!(matches!(
            lists.data_type(),
            arrow_schema::DataType::LargeList(_)
        ));
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number() {
        for (text, expected) in [
            ("", "a.jsonl is empty"),
            (" \n", "a.jsonl is empty"),
            ("[{\"a\":1}]", "a.jsonl is one JSON array, not jsonl"),
            (
                "{\"a\":1}\n\n{\"a\":}\n",
                "a.jsonl, line 3: expected value (column 6)",
            ),
            (
                "{\"a\":1}\n7\n",
                "a.jsonl, line 2: invalid type: integer `7`, expected a JSON object (column 1)",
            ),
            (
                "{\"a\":1,\"a\":2}",
                "a.jsonl, line 1: the field \"a\" is there twice (column 12)",
            ),
            ("{}\n{}", "a.jsonl has a header but no rows"),
        ] {
            assert_eq!(told("a.jsonl", text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_column_absent_from_a_later_batch_is_missing_there() {
        let text = "{\"a\":1,\"b\":\"x\"}\n{\"a\":\"2\",\"c\":9}\n{\"a\":[1]}\n";
        let (_folder, spec) = file("a.jsonl", text.as_bytes());
        let source = JsonlSource {
            block_bytes: 4,
            ..JsonlSource::new(&spec)
        };
        let mut hints = Hints::default();
        hints.want("a", RawKind::Number);
        hints.want("b", RawKind::Text);
        let batches = streamed(&source, &hints, 100).unwrap();
        let told: Vec<String> = batches.iter().map(|b| format!("{:?}", shown(b))).collect();
        assert_eq!(
            told,
            [
                r#"[("a", [Some("1")]), ("b", [Some("x")])]"#,
                r#"[("a", [Some("2")]), ("b", [None])]"#,
                r#"[("a", [Some("inf")]), ("b", [None])]"#,
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), block in 1usize..64) {
            let _ = read(&bytes, block);
        }

        #[test]
        fn no_likely_bytes_make_it_panic(text in "[{}\"a:1,\\[\\]\n.-]{0,100}", block in 1usize..64) {
            let _ = read(text.as_bytes(), block);
        }

        #[test]
        fn the_cut_into_blocks_changes_nothing(
            rows in proptest::collection::vec(
                prop_oneof![
                    "[a-c]{0,3}".prop_map(|t| serde_json::json!({"x": t, "y": {"z": 1}})),
                    any::<f32>().prop_map(|n| serde_json::json!({"x": n, "y": null})),
                    any::<bool>().prop_map(|f| serde_json::json!({"y": {"z": f}, "w": [1.5, null]})),
                ],
                1..20,
            ),
            block in 1usize..60,
        ) {
            let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
            let text = lines.join("\n");
            let table = |block| read(text.as_bytes(), block).map(|table| shown(&table.batch)).unwrap();
            prop_assert_eq!(table(block), table(BLOCK_BYTES));
        }
    }
}
