//! JSON as XGBoost writes it: with bare `NaN` and `Infinity`, and arrays of a million numbers.
//!
//! A reader of our own because strict JSON has no such numbers and because arrays should arrive flat;
//! strings are left to `serde_json`.

use super::document::{ArrayBuilder, Budget, NESTING_MAX, Value, Width};
use super::{ForestError, Place};

/// Reads a JSON document.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ForestError> {
    let mut reader = Reader {
        bytes,
        position: 0,
        budget: Budget::new(),
    };
    let value = reader.value(0).and_then(|value| match reader.peek() {
        None => Ok(value),
        Some(_) => Err("more follows after the end"),
    });
    let place = Place::Byte(reader.position);
    value.map_err(|reason| ForestError::Malformed {
        reason: reason.to_owned(),
        place,
    })
}

/// Writes a JSON document.
pub(super) fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_value(value, &mut out);
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, &'static str> {
        if depth > NESTING_MAX {
            return Err("it nests too deeply");
        }
        match self.peek().ok_or("it ends early")? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.text().map(Value::Text),
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            _ => Err("a value is expected"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, &'static str> {
        let mut fields = Vec::new();
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.budget.spend(1)?;
            let name = self.text()?;
            self.expect(b':')?;
            fields.push((name, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Value::Object(fields));
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, &'static str> {
        let mut array = ArrayBuilder::new();
        self.expect(b'[')?;
        if self.take(b']') {
            return Ok(array.finish());
        }
        loop {
            let value = self.value(depth + 1)?;
            array.push(value, &mut self.budget)?;
            if self.take(b']') {
                return Ok(array.finish());
            }
            self.expect(b',')?;
        }
    }

    fn text(&mut self) -> Result<String, &'static str> {
        self.expect(b'"')?;
        let start = self.position - 1;
        loop {
            let &byte = self.bytes.get(self.position).ok_or("a text does not end")?;
            self.position += 1;
            match byte {
                b'\\' => self.position += 1,
                b'"' => break,
                _ => {}
            }
        }
        let quoted = &self.bytes[start..self.position];
        serde_json::from_slice(quoted).map_err(|_| "a text is malformed")
    }

    /// A number, or one of the few bare words.
    fn word(&mut self) -> Result<Value, &'static str> {
        let rest = &self.bytes[self.position..];
        let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = rest
            .iter()
            .position(|byte| !is_inside(byte))
            .unwrap_or(rest.len());
        let word = std::str::from_utf8(&rest[..length]).map_err(|_| "a word is malformed")?;
        self.position += length;
        Ok(match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Number(word.parse().map_err(|_| "a number is malformed")?),
        })
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.position) {
            if !byte.is_ascii_whitespace() {
                return Some(byte);
            }
            self.position += 1;
        }
        None
    }

    fn take(&mut self, wanted: u8) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.position += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, wanted: u8) -> Result<(), &'static str> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err("the punctuation is wrong")
        }
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Number(number) => write_number(*number, Width::I64, out),
        Value::Text(text) => write_text(text, out),
        Value::Numbers(numbers) => {
            write_list(&numbers.values, out, |&x, out| {
                write_number(x, numbers.width, out);
            });
        }
        Value::Array(elements) => write_list(elements, out, write_value),
        Value::Object(fields) => write_object(fields, out),
    }
}

fn write_object(fields: &[(String, Value)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

fn write_list<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn write_number(number: f64, width: Width, out: &mut Vec<u8>) {
    let text = match width {
        _ if number.is_nan() => "NaN".to_owned(),
        _ if number == f64::INFINITY => "Infinity".to_owned(),
        _ if number == f64::NEG_INFINITY => "-Infinity".to_owned(),
        Width::F32 => format!("{:E}", number as f32),
        Width::Each | Width::U8 | Width::I32 | Width::I64 => format!("{}", number as i64),
    };
    out.extend_from_slice(text.as_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            control if u32::from(control) < 0x20 => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text =
            br#"{"a \"b\"\\\u0001":["x",null,true,[1E0,-2.5E-1,NaN,-Infinity]],"c":{},"d":[]}"#;
        let value = read(text).expect("sound");
        assert_eq!(write(&value), text);
    }

    #[test]
    fn broken_json_is_refused_with_its_position() {
        for text in [
            "", "{", "[1,", "[1 2]", "{\"a\"}", "\"\\", "[1]x", "nul", "[-]", "\"\\q\"",
        ] {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(
                matches!(error, ForestError::Malformed { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }
}
