//! The digest of a question in its canonical form: what the model is given, however it was written.
//!
//! Two requests that differ in spaces, in the order of their fields or in how a number is spelled are one question; a
//! missing value and an absent field are, too. Taken from the parsed row, so it cannot disagree with the model about it.

use ombud_core::Digest;
use ombud_core::row::{Row, Value};
use sha2::{Digest as _, Sha256};

/// Whether reasons are asked for: an answer without them is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasons {
    Wanted,
    NotWanted,
}

/// The digest of a row.
pub fn digest(row: &Row, reasons: Reasons) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([u8::from(reasons == Reasons::Wanted)]);
    for value in row.values() {
        add(&mut hasher, value);
    }
    Digest::new(hasher.finalize().into())
}

fn add(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Missing => hasher.update([0]),
        Value::Number(number) => {
            hasher.update([1]);
            hasher.update(bits(*number));
        }
        Value::Code(code) => {
            hasher.update([2]);
            hasher.update(code.to_be_bytes());
        }
        Value::Text(text) => {
            hasher.update([3]);
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        Value::Sequence(steps) => {
            hasher.update([4]);
            hasher.update((steps.len() as u64).to_be_bytes());
            steps.iter().for_each(|step| hasher.update(bits(*step)));
        }
    }
}

/// One spelling for zero, and one for what is missing.
fn bits(number: f64) -> [u8; 8] {
    let number = if number.is_nan() {
        f64::NAN
    } else {
        number + 0.0
    };
    number.to_bits().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::row::RowParser;
    use ombud_core::schema::{Columns, Feature, Kind, Schema};
    use std::sync::Arc;

    fn of(json: &str, reasons: Reasons) -> Digest {
        let features = vec![
            Feature::new("a", Kind::number()),
            Feature::new("note", Kind::Text),
        ];
        let schema = Schema::new(features, Columns::default()).unwrap();
        let row = RowParser::new(Arc::new(schema))
            .parse(json.as_bytes())
            .unwrap();
        digest(&row, reasons)
    }

    #[test]
    fn one_question_has_one_digest_however_it_is_written() {
        let one = of(r#"{"a":1,"note":"x"}"#, Reasons::Wanted);
        for same in [
            r#"{ "note": "x", "a": 1.0 }"#,
            r#"{"a":10e-1,"note":"\u0078"}"#,
        ] {
            assert_eq!(of(same, Reasons::Wanted), one, "{same}");
        }
        let zero = of(r#"{"a":0,"note":"x"}"#, Reasons::Wanted);
        assert_eq!(of(r#"{"a":-0.0,"note":"x"}"#, Reasons::Wanted), zero);
    }

    #[test]
    fn another_question_has_another_digest() {
        let one = of(r#"{"a":1,"note":"x"}"#, Reasons::Wanted);
        for another in [
            r#"{"a":2,"note":"x"}"#,
            r#"{"a":1,"note":"y"}"#,
            r#"{"a":1,"note":""}"#,
        ] {
            assert_ne!(of(another, Reasons::Wanted), one, "{another}");
        }
        assert_ne!(of(r#"{"a":1,"note":"x"}"#, Reasons::NotWanted), one);
    }
}
