//! Elements as JSON: nested as the shape is, or flat; both come, and both mean the same row-major order.
//!
//! The data is walked once and put in place by the datatype, without building a tree first.

use crate::error::{Error, Result};
use crate::tensor::{Data, Datatype};
use bytes::Bytes;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Reads the elements of a tensor, at most `elements_max`.
pub fn read(tensor: &str, datatype: Datatype, json: &str, elements_max: u64) -> Result<Data> {
    let max = usize::try_from(elements_max).unwrap_or(usize::MAX);
    let wrong = |reason: serde_json::Error| Error::Data {
        tensor: tensor.to_owned(),
        datatype: datatype.name(),
        reason: reason.to_string(),
    };
    match datatype {
        Datatype::Bool => flat(json, max).map(Data::Bools),
        Datatype::Uint8 => within(json, max, 0, u64::from(u8::MAX)).map(Data::Uints),
        Datatype::Uint16 => within(json, max, 0, u64::from(u16::MAX)).map(Data::Uints),
        Datatype::Uint32 => within(json, max, 0, u64::from(u32::MAX)).map(Data::Uints),
        Datatype::Uint64 => flat(json, max).map(Data::Uints),
        Datatype::Int8 => within(json, max, i64::from(i8::MIN), i64::from(i8::MAX)).map(Data::Ints),
        Datatype::Int16 => {
            within(json, max, i64::from(i16::MIN), i64::from(i16::MAX)).map(Data::Ints)
        }
        Datatype::Int32 => {
            within(json, max, i64::from(i32::MIN), i64::from(i32::MAX)).map(Data::Ints)
        }
        Datatype::Int64 => flat(json, max).map(Data::Ints),
        Datatype::Fp32 => flat(json, max).map(Data::Singles),
        Datatype::Fp64 => flat(json, max).map(Data::Doubles),
        Datatype::Bytes => flat(json, max).map(Data::Texts),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Error::BinaryOnly {
                tensor: tensor.to_owned(),
                datatype: datatype.name(),
            });
        }
    }
    .map_err(wrong)
}

/// Elements as they are written: flat.
impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Data::Bools(values) => values.serialize(serializer),
            Data::Ints(values) => values.serialize(serializer),
            Data::Uints(values) => values.serialize(serializer),
            Data::Singles(values) => values.serialize(serializer),
            Data::Doubles(values) => values.serialize(serializer),
            Data::Texts(values) => {
                let mut sequence = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    let text = value.as_deref().map(String::from_utf8_lossy);
                    sequence.serialize_element(&text)?;
                }
                sequence.end()
            }
        }
    }
}

/// A text in which `NaN`, as Python writes a missing number, is `null`; `None` when it holds none. JSON has no word for it, and
/// Triton's client sends it all the same.
pub fn without_nan(json: &[u8]) -> Option<Vec<u8>> {
    const NAN: &[u8] = b"NaN";
    let mut mended = Vec::new();
    let (mut from, mut at, mut is_text) = (0, 0, false);
    while at < json.len() {
        match json[at] {
            // Whatever is escaped ends no text.
            b'\\' if is_text => at += 1,
            b'"' => is_text = !is_text,
            b'N' if !is_text && json[at..].starts_with(NAN) => {
                mended.extend_from_slice(&json[from..at]);
                mended.extend_from_slice(b"null");
                at += NAN.len() - 1;
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if from == 0 {
        return None;
    }
    mended.extend_from_slice(&json[from..]);
    Some(mended)
}

/// Refuses a list where an object is needed: what derives its reading from a struct would take the list's values by the order
/// of the fields, and nobody means that.
pub fn refuse_list(json: &[u8]) -> Result<()> {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'[') => Err(Error::NoObject),
        _ => Ok(()),
    }
}

type Json<T> = std::result::Result<T, serde_json::Error>;

/// An element by what JSON says it is; `None` when it cannot be one.
trait Element: Sized {
    const WORD: &'static str;

    fn bool(_: bool) -> Option<Self> {
        None
    }
    fn int(_: i64) -> Option<Self> {
        None
    }
    fn uint(_: u64) -> Option<Self> {
        None
    }
    fn float(_: f64) -> Option<Self> {
        None
    }
    fn text(_: &str) -> Option<Self> {
        None
    }
    fn null() -> Option<Self> {
        None
    }
}

impl Element for bool {
    const WORD: &'static str = "true or false";

    fn bool(value: bool) -> Option<Self> {
        Some(value)
    }
    fn int(value: i64) -> Option<Self> {
        (value == 0 || value == 1).then_some(value == 1)
    }
    fn uint(value: u64) -> Option<Self> {
        (value <= 1).then_some(value == 1)
    }
}

impl Element for i64 {
    const WORD: &'static str = "a whole number";

    fn int(value: i64) -> Option<Self> {
        Some(value)
    }
    fn uint(value: u64) -> Option<Self> {
        i64::try_from(value).ok()
    }
    fn float(value: f64) -> Option<Self> {
        // Beyond 2^53 a double is not what somebody wrote.
        (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
    }
}

impl Element for u64 {
    const WORD: &'static str = "a whole number that is not negative";

    fn uint(value: u64) -> Option<Self> {
        Some(value)
    }
    fn int(value: i64) -> Option<Self> {
        u64::try_from(value).ok()
    }
    fn float(value: f64) -> Option<Self> {
        (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as u64)
    }
}

impl Element for f64 {
    const WORD: &'static str = "a number";

    fn int(value: i64) -> Option<Self> {
        Some(value as f64)
    }
    fn uint(value: u64) -> Option<Self> {
        Some(value as f64)
    }
    fn float(value: f64) -> Option<Self> {
        Some(value)
    }
    fn null() -> Option<Self> {
        Some(f64::NAN)
    }
}

impl Element for f32 {
    const WORD: &'static str = "a number";

    fn int(value: i64) -> Option<Self> {
        Some(value as f32)
    }
    fn uint(value: u64) -> Option<Self> {
        Some(value as f32)
    }
    fn float(value: f64) -> Option<Self> {
        Some(value as f32)
    }
    fn null() -> Option<Self> {
        Some(f32::NAN)
    }
}

/// A text, or what a cell of mixed columns holds instead of one.
impl Element for Option<Bytes> {
    const WORD: &'static str = "a text";

    fn bool(value: bool) -> Option<Self> {
        Some(Some(Bytes::from(value.to_string())))
    }
    fn int(value: i64) -> Option<Self> {
        Some(Some(Bytes::from(value.to_string())))
    }
    fn uint(value: u64) -> Option<Self> {
        Some(Some(Bytes::from(value.to_string())))
    }
    fn float(value: f64) -> Option<Self> {
        Some(Some(Bytes::from(value.to_string())))
    }
    fn text(value: &str) -> Option<Self> {
        Some(Some(Bytes::copy_from_slice(value.as_bytes())))
    }
    fn null() -> Option<Self> {
        Some(None)
    }
}

fn flat<T: Element>(json: &str, max: usize) -> Json<Vec<T>> {
    let mut into = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Flat {
        into: &mut into,
        max,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(into)
}

fn within<T, B>(json: &str, max: usize, least: B, most: B) -> Json<Vec<T>>
where
    T: Element + PartialOrd<B> + Copy + fmt::Display,
    B: fmt::Display,
{
    let values: Vec<T> = flat(json, max)?;
    match values
        .iter()
        .find(|value| **value < least || **value > most)
    {
        None => Ok(values),
        Some(value) => Err(de::Error::custom(format!(
            "{value} is not from {least} to {most}"
        ))),
    }
}

/// Takes the scalars of whatever nesting, in their order.
struct Flat<'v, T> {
    into: &'v mut Vec<T>,
    max: usize,
}

impl<'de, T: Element> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: Element> Flat<'_, T> {
    fn push<E: de::Error>(
        self,
        element: Option<T>,
        unexpected: de::Unexpected<'_>,
    ) -> std::result::Result<(), E> {
        if self.into.len() >= self.max {
            return Err(E::custom(format!(
                "more than the {} elements of the shape",
                self.max
            )));
        }
        let word = Expected::<T>(PhantomData);
        self.into
            .push(element.ok_or_else(|| E::invalid_type(unexpected, &word))?);
        Ok(())
    }
}

struct Expected<T>(PhantomData<T>);

impl<T: Element> de::Expected for Expected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WORD)
    }
}

impl<'de, T: Element> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list", T::WORD)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while list
            .next_element_seed(Flat {
                into: self.into,
                max: self.max,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> std::result::Result<(), E> {
        self.push(T::bool(value), de::Unexpected::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<(), E> {
        self.push(T::int(value), de::Unexpected::Signed(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<(), E> {
        self.push(T::uint(value), de::Unexpected::Unsigned(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<(), E> {
        self.push(T::float(value), de::Unexpected::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> std::result::Result<(), E> {
        self.push(T::text(value), de::Unexpected::Other("a text"))
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<(), E> {
        self.push(T::null(), de::Unexpected::Unit)
    }
}

/// The fields of an object in their order, those among them that came twice.
#[derive(Debug)]
pub(crate) struct Pairs<V>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
    type Value = Pairs<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a key per input")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_flat_data_mean_the_same() {
        let nested = read("t", Datatype::Fp32, "[[1, 2.5], [null, 4]]", 4).expect("numbers");
        let flat = read("t", Datatype::Fp32, "[1, 2.5, null, 4]", 4).expect("numbers");
        // NaN is not equal to itself.
        assert_eq!(format!("{nested:?}"), format!("{flat:?}"));
        assert_eq!(nested.len(), 4);
    }

    #[test]
    fn a_missing_number_as_python_writes_it_is_null() {
        let mended =
            |text: &str| without_nan(text.as_bytes()).map(|b| String::from_utf8(b).expect("text"));
        assert_eq!(
            mended(r#"{"NaN":"\"NaN","a":[NaN, 1,NaN]}"#).as_deref(),
            Some(r#"{"NaN":"\"NaN","a":[null, 1,null]}"#)
        );
        assert_eq!(mended(r#"{"a":"NaN"}"#), None);
    }

    #[test]
    fn what_does_not_fit_its_datatype_is_refused_in_words() {
        let said = |datatype, json| {
            read("age", datatype, json, 9)
                .expect_err("refused")
                .to_string()
        };
        assert!(said(Datatype::Uint8, "[256]").contains("0 to 255"));
        assert!(said(Datatype::Int32, "[1.5]").contains("a whole number"));
        assert!(said(Datatype::Bool, "[\"yes\"]").contains("true or false"));
        assert!(said(Datatype::Fp16, "[1]").contains("binary"));
        assert!(said(Datatype::Fp32, "[1,2,3,4,5,6,7,8,9,10]").contains("9 elements"));
    }
}
