//! Operators between categories and numbers, and the maps that classifiers end in.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::attributes::{Attributes, vector};
use super::graph::{Kernel, Versions, one};
use super::tensor::{Data, Element, Fault, Maps, Scalar, Tensor, Value, each_element};

type Built = Result<Kernel, Fault>;

/// A value that can be looked up; reals by their bits, all NaNs alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Text(Arc<str>),
    Int(i64),
    Real(u64),
}

pub(super) fn label_encoder(node: Attributes<'_>, versions: Versions) -> Built {
    if versions.ml < 2 && node.has("classes_strings") {
        return old_label_encoder(node);
    }
    let keys = settings(node, "keys")?.ok_or_else(|| Fault::new("it has no keys"))?;
    let values = settings(node, "values")?.ok_or_else(|| Fault::new("it has no values"))?;
    if keys.len() != values.len() {
        return Err(Fault::new(format!(
            "{} keys have {} values",
            keys.len(),
            values.len()
        )));
    }
    let default = match node.tensor("default_tensor")? {
        Some(tensor) => tensor,
        None => match values.element() {
            Element::Text => vector(vec![node.text_or("default_string", "_Unused")?]),
            Element::Int64 => vector(vec![node.int_or("default_int64", -1)?]),
            // A float may be the default of a double.
            Element::Double => vector(vec![f64::from(node.float_or("default_float", -0.0)?)]),
            _ => vector(vec![node.float_or("default_float", -0.0)?]),
        },
    };
    let (taken, found) = (keys.element(), default.element());
    if default.len() != 1 || found != values.element() {
        return Err(Fault::new("its default is of another type than its values"));
    }
    // Of keys that are listed twice, the last counts.
    let places: HashMap<Key, usize> = keys_of(&keys)?
        .into_iter()
        .enumerate()
        .map(|(place, key)| (key, place))
        .collect();
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        if x.element() != taken {
            return Err(Fault::new(format!(
                "it is given {} where it takes {taken}",
                x.element()
            )));
        }
        let found: Vec<Option<usize>> = keys_of(x)?
            .iter()
            .map(|key| places.get(key).copied())
            .collect();
        one(each_element!(values.data(), values => looked_up(values, &default, &found, x.shape())?))
    }))
}

/// Texts and 64-bit integers, either way.
pub(super) fn category_mapper(node: Attributes<'_>, _: Versions) -> Built {
    let (texts, ints) = (
        node.texts("cats_strings")?,
        node.ints("cats_int64s")?.to_vec(),
    );
    if texts.len() != ints.len() {
        return Err(Fault::new("its categories do not pair up"));
    }
    two_way(node, texts, ints)
}

/// One column per category, along a new last dimension.
pub(super) fn one_hot_encoder(node: Attributes<'_>, _: Versions) -> Built {
    let texts = node.texts("cats_strings")?;
    let ints = node.ints("cats_int64s")?;
    let allows_others = node.flag("zeros", true)?;
    let is_text = !texts.is_empty();
    let categories = if is_text { texts.len() } else { ints.len() };
    let texts = texts.into_iter().map(Key::Text);
    let keys: Vec<Key> = if is_text {
        texts.collect()
    } else {
        ints.iter().map(|&x| Key::Int(x)).collect()
    };
    let places: HashMap<Key, usize> = keys
        .into_iter()
        .enumerate()
        .map(|(place, key)| (key, place))
        .collect();
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        let total = x.len().saturating_mul(categories);
        call.budget.claim(total)?;
        let keys = match x.data() {
            Data::Text(_) | Data::Int64(_) => keys_of(x)?,
            _ => x.as_f64()?.iter().map(|&x| Key::Int(x as i64)).collect(),
        };
        let mut out = vec![0.0_f32; total];
        for (row, key) in keys.iter().enumerate() {
            match places.get(key) {
                Some(place) => out[row * categories + place] = 1.0,
                None if allows_others => {}
                None => return Err(Fault::new("a category is not among those it knows")),
            }
        }
        let mut shape = x.shape().to_vec();
        shape.push(categories);
        one(Tensor::of(vec![total], out).reshaped(shape)?)
    }))
}

/// Names the columns of a table of scores.
pub(super) fn zip_map(node: Attributes<'_>, _: Versions) -> Built {
    let keys = node.labels("classlabels_strings", "classlabels_int64s")?;
    Ok(Box::new(move |call| {
        let scores = call.tensor(0)?;
        let (rows, columns) = scores.rows_and_columns()?;
        if columns != keys.len() {
            return Err(Fault::new(format!(
                "{columns} scores do not fit {} labels",
                keys.len()
            )));
        }
        let scores = scores.reshaped(vec![rows, columns])?;
        Ok(vec![Value::Maps(Maps {
            keys: keys.clone(),
            scores,
        })])
    }))
}

fn old_label_encoder(node: Attributes<'_>) -> Built {
    let texts = node.texts("classes_strings")?;
    let ints = (0..texts.len() as i64).collect();
    two_way(node, texts, ints)
}

fn two_way(node: Attributes<'_>, texts: Vec<Arc<str>>, ints: Vec<i64>) -> Built {
    let default_text = node.text_or("default_string", "_Unused")?;
    let default_int = node.int_or("default_int64", -1)?;
    let by_text: HashMap<Arc<str>, i64> = texts.iter().cloned().zip(ints.iter().copied()).collect();
    let by_int: HashMap<i64, Arc<str>> = ints.into_iter().zip(texts).collect();
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let shape = x.shape().to_vec();
        fn found<K: Hash + Eq, V: Clone>(
            keys: &[K],
            by_key: &HashMap<K, V>,
            default: &V,
        ) -> Vec<V> {
            keys.iter()
                .map(|key| by_key.get(key).unwrap_or(default).clone())
                .collect()
        }
        one(match x.data() {
            Data::Text(keys) => Tensor::of(shape, found(keys, &by_text, &default_int)),
            Data::Int64(keys) => Tensor::of(shape, found(keys, &by_int, &default_text)),
            _ => return Err(Fault::new("it takes texts or 64-bit integers")),
        })
    }))
}

/// Keys or values, under whichever of their names they are stored.
fn settings(node: Attributes<'_>, which: &str) -> Result<Option<Tensor>, Fault> {
    let name = |kind: &str| format!("{which}_{kind}");
    if let Some(tensor) = node.tensor(&name("tensor"))? {
        return Ok(Some(tensor));
    }
    Ok(if node.has(&name("strings")) {
        Some(vector(node.texts(&name("strings"))?))
    } else if node.has(&name("int64s")) {
        Some(vector(node.ints(&name("int64s"))?.to_vec()))
    } else if node.has(&name("floats")) {
        Some(vector(node.floats(&name("floats"))?.to_vec()))
    } else {
        None
    })
}

fn keys_of(tensor: &Tensor) -> Result<Vec<Key>, Fault> {
    let real = |x: f64| Key::Real(if x.is_nan() { f64::NAN } else { x + 0.0 }.to_bits());
    Ok(match tensor.data() {
        Data::Text(values) => values.iter().cloned().map(Key::Text).collect(),
        Data::Int64(values) => values.iter().map(|&x| Key::Int(x)).collect(),
        Data::Int32(values) => values.iter().map(|&x| Key::Int(i64::from(x))).collect(),
        Data::Bool(values) => values.iter().map(|&x| Key::Int(i64::from(x))).collect(),
        Data::Float(values) => values.iter().map(|&x| real(f64::from(x))).collect(),
        Data::Double(values) => values.iter().map(|&x| real(x)).collect(),
    })
}

fn looked_up<T: Scalar>(
    values: &[T],
    default: &Tensor,
    found: &[Option<usize>],
    shape: &[usize],
) -> Result<Tensor, Fault> {
    let default = default.values::<T>()?;
    let out = found
        .iter()
        .map(|place| place.map_or(&default[0], |place| &values[place]).clone());
    Ok(Tensor::of(shape.to_vec(), out.collect()))
}
