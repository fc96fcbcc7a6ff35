//! One row that fits its schema, parsed straight from JSON.
//!
//! The hot path of every decision starts here, so the parser walks the bytes once and puts each value in its place
//! without building a tree first. It collects every fault instead of stopping at the first one.

use crate::frame::is_blank;
use crate::nearest::nearest;
use crate::refusal::{Fault, Refusal};
use crate::schema::{Feature, Kind, Missing, STEPS_MAX, Schema, TEXT_BYTES_MAX, Unseen, absent};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A value of a feature.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing is known.
    Missing,
    /// A quantity; always finite.
    Number(f64),
    /// The place of an ordinal's or category's value among the allowed ones.
    Code(u32),
    /// A text.
    Text(String),
    /// Numbers in order; NaN where one is missing.
    Sequence(Vec<f64>),
}

/// One value per feature, in the schema's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    values: Vec<Value>,
}

impl Row {
    /// The values, in the schema's order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The same row with another value of one feature, for asking "what if".
    ///
    /// # Panics
    /// When the value is not of the feature's kind: a caller takes it from another row of the same schema.
    pub fn with_value(&self, feature: usize, value: Value) -> Row {
        let is_same_kind = |a: &Value, b: &Value| {
            matches!(a, Value::Missing)
                || matches!(b, Value::Missing)
                || std::mem::discriminant(a) == std::mem::discriminant(b)
        };
        assert!(
            is_same_kind(&self.values[feature], &value),
            "the value is of another kind"
        );
        let mut values = self.values.clone();
        values[feature] = value;
        Row { values }
    }

    /// A row of values that were computed instead of parsed.
    ///
    /// # Panics
    /// When there is another number of values than features, or one is of another kind than its feature.
    pub fn of(schema: &Schema, values: Vec<Value>) -> Row {
        let features = schema.features();
        assert_eq!(values.len(), features.len(), "one value per feature");
        let fits = |(feature, value): (&Feature, &Value)| match (&feature.kind, value) {
            (_, Value::Missing)
            | (Kind::Number { .. }, Value::Number(_))
            | (Kind::Text, Value::Text(_)) => true,
            (
                Kind::Ordinal { levels: values } | Kind::Category { values, .. },
                Value::Code(code),
            ) => (*code as usize) < values.len(),
            (Kind::Sequence { steps, .. }, Value::Sequence(numbers)) => numbers.len() == *steps,
            _ => false,
        };
        assert!(
            features.iter().zip(&values).all(fits),
            "a value is of another kind than its feature"
        );
        Row { values }
    }

    /// A row of values that are already known to fit (from a frame of the same schema).
    pub(crate) fn from_values(values: Vec<Value>) -> Self {
        Row { values }
    }
}

/// Reads rows of one schema. Made once per model, because it holds the look-up of names and values.
#[derive(Debug, Clone)]
pub struct RowParser {
    schema: Arc<Schema>,
    root: Branch,
    codes: Vec<HashMap<String, u32>>,
}

#[derive(Debug, Clone, Default)]
struct Branch {
    children: HashMap<String, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(usize),
    Branch(Branch),
}

impl RowParser {
    /// A parser for a schema.
    pub fn new(schema: Arc<Schema>) -> Self {
        let mut root = Branch::default();
        for (index, feature) in schema.features().iter().enumerate() {
            root.insert(feature.path.steps(), index);
        }
        let codes = schema
            .features()
            .iter()
            .map(|feature| code_table(&feature.kind))
            .collect();
        RowParser {
            schema,
            root,
            codes,
        }
    }

    /// The schema that rows will fit.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Parses a JSON object.
    pub fn parse(&self, json: &[u8]) -> Result<Row, Refusal> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let row = self.parse_from(&mut deserializer)?;
        deserializer.end().map_err(|error| malformed(&error))?;
        Ok(row)
    }

    /// Parses an already parsed JSON value.
    pub fn parse_value(&self, json: &serde_json::Value) -> Result<Row, Refusal> {
        self.parse_from(json)
    }

    fn parse_from<'de, D>(&self, deserializer: D) -> Result<Row, Refusal>
    where
        D: Deserializer<'de>,
        D::Error: fmt::Display,
    {
        let mut reading = Reading {
            parser: self,
            values: vec![Value::Missing; self.schema.features().len()],
            came: vec![false; self.schema.features().len()],
            has_blank_text: false,
            refusal: Refusal::default(),
        };
        let seed = BranchSeed {
            reading: &mut reading,
            branch: &self.root,
            path: String::new(),
        };
        seed.deserialize(deserializer)
            .map_err(|error| malformed(&error))?;
        reading.finish()
    }

    /// The code of a category's or ordinal's value.
    pub fn code(&self, feature: usize, value: &str) -> Option<u32> {
        self.codes[feature].get(value).copied()
    }
}

impl Branch {
    fn insert(&mut self, steps: &[String], index: usize) {
        let [step, rest @ ..] = steps else { return };
        if rest.is_empty() {
            self.children.insert(step.clone(), Node::Leaf(index));
            return;
        }
        let child = self
            .children
            .entry(step.clone())
            .or_insert_with(|| Node::Branch(Branch::default()));
        if let Node::Branch(branch) = child {
            branch.insert(rest, index);
        }
    }
}

/// The codes of a kind's values.
pub(crate) fn code_table(kind: &Kind) -> HashMap<String, u32> {
    kind.values()
        .iter()
        .enumerate()
        .map(|(code, value)| (value.clone(), code as u32))
        .collect()
}

fn malformed(error: &dyn fmt::Display) -> Refusal {
    Fault::new("(input)", &error.to_string(), "a JSON object").into()
}

/// A row in the making.
struct Reading<'p> {
    parser: &'p RowParser,
    values: Vec<Value>,
    came: Vec<bool>,
    /// Whether a text came that says nothing: an empty form is a row, an empty object is a mistake.
    has_blank_text: bool,
    refusal: Refusal,
}

impl Reading<'_> {
    fn finish(mut self) -> Result<Row, Refusal> {
        for (index, feature) in self.parser.schema.features().iter().enumerate() {
            let is_absent = matches!(self.values[index], Value::Missing);
            if is_absent && feature.missing == Missing::Refused && !self.came[index] {
                self.refusal.add(absent(feature));
            }
        }
        let is_empty = self
            .values
            .iter()
            .all(|value| matches!(value, Value::Missing));
        if is_empty && !self.has_blank_text && self.refusal.count == 0 {
            self.refusal.add(Fault::new(
                "(input)",
                "no value at all",
                "at least one feature of the model",
            ));
        }
        self.refusal.or(Row {
            values: self.values,
        })
    }

    fn accept(&mut self, index: usize, raw: Raw<'_>) {
        let parser = self.parser;
        let feature = &parser.schema.features()[index];
        if self.came[index] {
            let fault = Fault::new(
                feature.path.to_string(),
                "the field twice",
                "the field once",
            );
            self.refusal.add(fault);
            return;
        }
        self.came[index] = true;
        self.has_blank_text |= matches!(
            (&feature.kind, &raw),
            (Kind::Text, Raw::Text(text)) if is_blank(text)
        );
        match value_of(feature, &parser.codes[index], raw) {
            Ok(value) => self.values[index] = value,
            Err(fault) => self.refusal.add(fault),
        }
    }

    fn refuse_unknown(&mut self, branch: &Branch, path: &str, key: &str) {
        let full = join(path, key);
        let names = branch.children.keys().map(String::as_str);
        let near = nearest(key, names).map(|name| join(path, name));
        let fault =
            Fault::new(full, "an unknown field", "the features of the model").near(near.as_deref());
        self.refusal.add(fault);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A JSON value before its feature has judged it.
enum Raw<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    Numbers(Vec<f64>),
    Other(&'static str),
}

impl Raw<'_> {
    fn shown(&self) -> String {
        match self {
            Raw::Null => "null".into(),
            Raw::Bool(value) => value.to_string(),
            Raw::Number(value) => value.to_string(),
            Raw::Text(text) => format!("{text:?}"),
            Raw::Numbers(values) => format!("{} numbers", values.len()),
            Raw::Other(what) => (*what).to_owned(),
        }
    }
}

fn value_of(feature: &Feature, codes: &HashMap<String, u32>, raw: Raw<'_>) -> Result<Value, Fault> {
    let fault = |raw: &Raw<'_>| {
        Fault::new(
            feature.path.to_string(),
            &raw.shown(),
            feature.kind.allowed(),
        )
    };
    match (&feature.kind, raw) {
        (_, Raw::Null) if feature.missing == Missing::Allowed => Ok(Value::Missing),
        (Kind::Text, Raw::Text(text)) if is_blank(&text) => match feature.missing {
            Missing::Allowed => Ok(Value::Missing),
            Missing::Refused => Err(fault(&Raw::Text(text))),
        },
        (Kind::Number { bounds }, Raw::Number(number))
            if number.is_finite() && bounds.allow(number) =>
        {
            Ok(Value::Number(number))
        }
        (Kind::Number { bounds }, Raw::Bool(flag)) if bounds.allow(f64::from(u8::from(flag))) => {
            Ok(Value::Number(f64::from(u8::from(flag))))
        }
        (
            Kind::Ordinal { .. } | Kind::Category { .. },
            raw @ (Raw::Text(_) | Raw::Number(_) | Raw::Bool(_)),
        ) => code_of(feature, codes, &raw).ok_or_else(|| {
            let near = nearest(
                &plain(&raw),
                feature.kind.values().iter().map(String::as_str),
            );
            fault(&raw).near(near)
        }),
        (Kind::Text, Raw::Text(text)) if text.len() <= TEXT_BYTES_MAX => {
            Ok(Value::Text(text.into_owned()))
        }
        (Kind::Sequence { steps, bounds }, Raw::Numbers(numbers))
            if numbers.len() == *steps
                && numbers.iter().all(|n| n.is_nan() || bounds.allow(*n)) =>
        {
            Ok(Value::Sequence(numbers))
        }
        (_, raw) => Err(fault(&raw)),
    }
}

fn code_of(feature: &Feature, codes: &HashMap<String, u32>, raw: &Raw<'_>) -> Option<Value> {
    match codes.get(plain(raw).as_ref()) {
        Some(code) => Some(Value::Code(*code)),
        None => match feature.kind {
            Kind::Category {
                unseen: Unseen::Missing,
                ..
            } => Some(Value::Missing),
            _ => None,
        },
    }
}

/// A scalar as the text a category's value would have.
fn plain<'a>(raw: &'a Raw<'_>) -> Cow<'a, str> {
    match raw {
        Raw::Text(text) => Cow::Borrowed(text.as_ref()),
        Raw::Number(number) => Cow::Owned(number_text(*number)),
        Raw::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Raw::Null | Raw::Numbers(_) | Raw::Other(_) => Cow::Borrowed(""),
    }
}

/// How a number is written when it names a category: `1`, not `1.0`.
pub fn number_text(number: f64) -> String {
    format!("{number}")
}

struct BranchSeed<'r, 'p> {
    reading: &'r mut Reading<'p>,
    branch: &'r Branch,
    path: String,
}

impl<'de> DeserializeSeed<'de> for BranchSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BranchSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match self.branch.children.get(key.as_ref()) {
                Some(Node::Leaf(index)) => {
                    let raw = map.next_value_seed(RawSeed)?;
                    self.reading.accept(*index, raw);
                }
                Some(Node::Branch(branch)) => {
                    let path = join(&self.path, &key);
                    map.next_value_seed(BranchSeed {
                        reading: &mut *self.reading,
                        branch,
                        path,
                    })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    self.reading.refuse_unknown(self.branch, &self.path, &key);
                }
            }
        }
        Ok(())
    }

    /// A whole branch may be null: everything below is missing.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() {
            Err(E::invalid_type(de::Unexpected::Unit, &self))
        } else {
            Ok(())
        }
    }
}

/// A key, borrowed from the input when it has no escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
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

struct RawSeed;

impl<'de> DeserializeSeed<'de> for RawSeed {
    type Value = Raw<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Null)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Bool(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::Number(value as f64))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw<'de>, E> {
        Ok(Raw::Number(value as f64))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw<'de>, E> {
        Ok(Raw::Number(value))
    }
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Raw::Other("an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Raw<'de>, A::Error> {
        let mut numbers = Vec::new();
        let mut is_numbers = true;
        while let Some(element) = sequence.next_element_seed(RawSeed)? {
            let number = match element {
                Raw::Number(number) => number,
                Raw::Null => f64::NAN,
                _ => {
                    is_numbers = false;
                    continue;
                }
            };
            // One more than the limit is kept, so that the length is refused without holding the rest.
            if numbers.len() <= STEPS_MAX {
                numbers.push(number);
            }
        }
        Ok(if is_numbers {
            Raw::Numbers(numbers)
        } else {
            Raw::Other("a list that is not of numbers")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field_path::FieldPath;
    use crate::schema::{Bounds, Columns};
    use proptest::prelude::*;

    fn parser() -> RowParser {
        let q1 = Feature {
            path: FieldPath::parse("survey_responses.q1").unwrap(),
            ..Feature::new(
                "q1",
                Kind::Number {
                    bounds: Bounds {
                        min: Some(1.0),
                        max: Some(4.0),
                    },
                },
            )
        };
        let domain = Feature {
            missing: Missing::Refused,
            ..Feature::new(
                "domain",
                Kind::Category {
                    values: vec!["Business".into(), "Healthcare".into()],
                    unseen: Unseen::Refused,
                },
            )
        };
        let features = vec![
            q1,
            domain,
            Feature::new("comment", Kind::Text),
            Feature::new(
                "hr",
                Kind::Sequence {
                    steps: 2,
                    bounds: Bounds::default(),
                },
            ),
        ];
        RowParser::new(Arc::new(Schema::new(features, Columns::default()).unwrap()))
    }

    #[test]
    fn a_nested_row_lands_in_schema_order() {
        let json = br#"{"comment":"a\u00e9","survey_responses":{"q1":2.5},"hr":[80,null],"domain":"Business"}"#;
        let row = parser().parse(json).unwrap();
        assert_eq!(row.values()[0], Value::Number(2.5));
        assert_eq!(row.values()[1], Value::Code(0));
        assert_eq!(row.values()[2], Value::Text("aé".into()));
        assert!(matches!(&row.values()[3], Value::Sequence(s) if s[0] == 80.0 && s[1].is_nan()));
    }

    #[test]
    fn every_fault_is_listed_with_the_nearest_name() {
        let json = br#"{"survey_responses":{"q1":7,"q11":1},"domian":"x","hr":[1]}"#;
        let refusal = parser().parse(json).unwrap_err();
        let told: Vec<String> = refusal.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "survey_responses.q1: came 7, allowed is a number from 1 to 4",
                "survey_responses.q11: came an unknown field, allowed is the features of the model (nearest: survey_responses.q1)",
                "domian: came an unknown field, allowed is the features of the model (nearest: domain)",
                "hr: came 1 numbers, allowed is 2 numbers (null where missing)",
                "domain: came nothing, allowed is one of \"Business\", \"Healthcare\"",
            ]
        );
    }

    #[test]
    fn a_wrong_value_names_the_nearest_right_one() {
        let refusal = parser().parse(br#"{"domain":"busines"}"#).unwrap_err();
        assert_eq!(refusal.faults[0].nearest.as_deref(), Some("Business"));
    }

    #[test]
    fn a_text_of_nothing_but_white_space_is_missing() {
        let note = |missing| Feature {
            missing,
            ..Feature::new("note", Kind::Text)
        };
        let parser = |missing| {
            let schema = Schema::new(vec![note(missing)], Columns::default()).unwrap();
            RowParser::new(Arc::new(schema))
        };
        for blank in [r#"{"note":""}"#, r#"{"note":" \t\u00a0"}"#] {
            let row = parser(Missing::Allowed).parse(blank.as_bytes()).unwrap();
            assert_eq!(row.values(), [Value::Missing]);
            let refusal = parser(Missing::Refused).parse(blank.as_bytes());
            assert_eq!(refusal.unwrap_err().faults[0].path, "note");
        }
        let row = parser(Missing::Allowed).parse(br#"{"note":"none"}"#);
        assert_eq!(row.unwrap().values(), [Value::Text("none".into())]);
    }

    #[test]
    fn a_row_without_any_value_is_refused() {
        let schema =
            Schema::new(vec![Feature::new("a", Kind::number())], Columns::default()).unwrap();
        let parser = RowParser::new(Arc::new(schema));
        assert!(parser.parse(b"{}").is_err());
        assert!(parser.parse(br#"{"a":null}"#).is_err());
        assert!(parser.parse(br#"{"a":0,"a":1}"#).is_err());
        assert!(parser.parse(b"null").is_err());
        assert!(parser.parse(br#"{"a":1} trailing"#).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parser().parse(&bytes);
        }

        #[test]
        fn a_value_and_its_text_are_read_alike(q1 in 1.0..4.0f64, text in ".*") {
            let json = serde_json::json!({"survey_responses": {"q1": q1}, "comment": text, "domain": "Business"});
            let parser = parser();
            let from_text = parser.parse(json.to_string().as_bytes()).unwrap();
            prop_assert_eq!(from_text, parser.parse_value(&json).unwrap());
        }
    }
}
