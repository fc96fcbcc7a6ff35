//! UBJSON (draft 12) as far as model files use it: bounded reading, and writing.
//!
//! Lengths are believed only after comparing them with the bytes that are left, so nothing a file says
//! can make the reader allocate more than a small multiple of the file.

use super::document::{ArrayBuilder, Budget, NESTING_MAX, Numbers, Value, Width};
use super::{ForestError, Place};

/// Reads a UBJSON document.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ForestError> {
    let mut reader = Reader {
        bytes,
        position: 0,
        budget: Budget::new(),
    };
    let value = reader.document();
    let place = Place::Byte(reader.position);
    value.map_err(|reason| ForestError::Malformed {
        reason: reason.to_owned(),
        place,
    })
}

/// Writes a UBJSON document.
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
    fn document(&mut self) -> Result<Value, &'static str> {
        let marker = self.byte()?;
        let value = self.value(marker, 0)?;
        if self.position < self.bytes.len() {
            return Err("more follows after the end");
        }
        Ok(value)
    }

    fn value(&mut self, marker: u8, depth: usize) -> Result<Value, &'static str> {
        if depth > NESTING_MAX {
            return Err("it nests too deeply");
        }
        match marker {
            b'Z' => Ok(Value::Null),
            b'T' => Ok(Value::Bool(true)),
            b'F' => Ok(Value::Bool(false)),
            b'C' => Ok(Value::Text(char::from(self.byte()?).to_string())),
            b'S' => self.text().map(Value::Text),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number(marker).map(Value::Number),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, &'static str> {
        let mut left = self.count()?;
        let mut fields = Vec::new();
        while self.has_more(&mut left, b'}')? {
            self.budget.spend(1)?;
            let name = self.text()?;
            let marker = self.byte()?;
            fields.push((name, self.value(marker, depth + 1)?));
        }
        Ok(Value::Object(fields))
    }

    fn array(&mut self, depth: usize) -> Result<Value, &'static str> {
        if self.take(b'$') {
            return self.typed_array();
        }
        let mut left = self.count()?;
        let mut array = ArrayBuilder::new();
        while self.has_more(&mut left, b']')? {
            let marker = self.byte()?;
            let value = self.value(marker, depth + 1)?;
            array.push(value, &mut self.budget)?;
        }
        Ok(array.finish())
    }

    /// `[$` type `#` count, then the bare numbers.
    fn typed_array(&mut self) -> Result<Value, &'static str> {
        let marker = self.byte()?;
        if !self.take(b'#') {
            return Err("a typed array has no count");
        }
        let count = self.length()?;
        let size = size_of_number(marker)?;
        let bytes = self.slice(count.checked_mul(size).ok_or("a count is too large")?)?;
        let values = bytes
            .chunks_exact(size)
            .map(|bytes| decode(marker, bytes))
            .collect();
        Ok(Value::from_numbers(values, Width::F32))
    }

    /// An optional count in front of a container's content.
    fn count(&mut self) -> Result<Option<usize>, &'static str> {
        match self.peek() {
            Some(b'$') => Err("a typed container holds something other than numbers"),
            Some(b'#') => {
                self.position += 1;
                self.length().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether a container goes on; takes its end if not.
    fn has_more(&mut self, left: &mut Option<usize>, end: u8) -> Result<bool, &'static str> {
        match left {
            Some(0) => Ok(false),
            Some(count) => {
                *count -= 1;
                Ok(true)
            }
            None if self.peek().is_none() => Err("it ends early"),
            None => Ok(!self.take(end)),
        }
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let length = self.length()?;
        let bytes = self.slice(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
        Ok(text.to_owned())
    }

    fn length(&mut self) -> Result<usize, &'static str> {
        let marker = self.byte()?;
        if !b"iUIlL".contains(&marker) {
            return Err("a length is not a whole number");
        }
        let length = self.number(marker)?;
        // Whole numbers up to 2⁵³ are exact, and no longer file exists.
        if (0.0..9e15).contains(&length) {
            Ok(length as usize)
        } else {
            Err("a length is absurd")
        }
    }

    fn number(&mut self, marker: u8) -> Result<f64, &'static str> {
        let size = size_of_number(marker)?;
        Ok(decode(marker, self.slice(size)?))
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let rest = &self.bytes[self.position..];
        let slice = rest.get(..length).ok_or("it ends early")?;
        self.position += length;
        Ok(slice)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.slice(1).map(|bytes| bytes[0])
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.position += usize::from(is_next);
        is_next
    }
}

fn size_of_number(marker: u8) -> Result<usize, &'static str> {
    match marker {
        b'i' | b'U' => Ok(1),
        b'I' => Ok(2),
        b'l' | b'd' => Ok(4),
        b'L' | b'D' => Ok(8),
        _ => Err("a type is unknown"),
    }
}

/// Decodes a big-endian number whose marker [`size_of_number`] knows.
fn decode(marker: u8, bytes: &[u8]) -> f64 {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_be_bytes(padded);
    match marker {
        b'U' => f64::from(bytes[0]),
        b'd' => f64::from(f32::from_bits((bits >> 32) as u32)),
        b'D' => f64::from_bits(bits),
        // Shifting a signed number right keeps its sign.
        _ => ((bits as i64) >> (64 - 8 * bytes.len())) as f64,
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'Z'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Number(number) => write_whole(*number, out),
        Value::Text(text) => {
            out.push(b'S');
            write_text(text, out);
        }
        Value::Numbers(numbers) => write_numbers(numbers, out),
        Value::Array(elements) => {
            out.extend_from_slice(b"[#");
            write_length(elements.len(), out);
            elements
                .iter()
                .for_each(|element| write_value(element, out));
        }
        Value::Object(fields) => {
            out.push(b'{');
            for (name, value) in fields {
                write_text(name, out);
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

fn write_numbers(numbers: &Numbers, out: &mut Vec<u8>) {
    let marker = match numbers.width {
        Width::Each => {
            out.extend_from_slice(b"[#");
            write_length(numbers.values.len(), out);
            numbers
                .values
                .iter()
                .for_each(|&number| write_whole(number, out));
            return;
        }
        Width::U8 => b'U',
        Width::I32 => b'l',
        Width::I64 => b'L',
        Width::F32 => b'd',
    };
    out.extend_from_slice(&[b'[', b'$', marker, b'#']);
    write_length(numbers.values.len(), out);
    for &number in &numbers.values {
        match numbers.width {
            Width::U8 => out.push(number as u8),
            Width::I32 => out.extend_from_slice(&(number as i32).to_be_bytes()),
            Width::Each | Width::I64 => out.extend_from_slice(&(number as i64).to_be_bytes()),
            Width::F32 => out.extend_from_slice(&(number as f32).to_be_bytes()),
        }
    }
}

fn write_whole(number: f64, out: &mut Vec<u8>) {
    out.push(b'L');
    out.extend_from_slice(&(number as i64).to_be_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    out.push(b'L');
    out.extend_from_slice(&(length as i64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read_back() {
        let numbers = |width, values: &[f64]| Value::from_numbers(values.to_vec(), width);
        let value = Value::Object(vec![
            ("text".to_owned(), Value::Text("å".to_owned())),
            ("numbers".to_owned(), numbers(Width::F32, &[1.5, -0.25])),
            (
                "mixed".to_owned(),
                Value::Array(vec![Value::Null, Value::Bool(true)]),
            ),
            ("one".to_owned(), Value::Number(-7.0)),
            ("empty".to_owned(), numbers(Width::F32, &[])),
        ]);
        assert_eq!(read(&write(&value)).expect("sound"), value);
    }

    #[test]
    fn all_number_types_are_read() {
        let bytes = b"[i\xffU\xffI\xff\xfel\xff\xff\xff\xfdL\xff\xff\xff\xff\xff\xff\xff\xfcd\x3f\x80\0\0D\x40\0\0\0\0\0\0\0]";
        let value = read(bytes).expect("sound");
        assert_eq!(
            value.numbers(),
            Some([-1.0, 255.0, -2.0, -3.0, -4.0, 1.0, 2.0].as_slice())
        );
    }

    #[test]
    fn a_count_beyond_the_file_allocates_nothing() {
        let error = read(b"[$L#L\x00\x0f\xff\xff\xff\xff\xff\xff").expect_err("short");
        assert!(error.to_string().contains("ends early"), "{error}");
    }

    #[test]
    fn values_without_bytes_cannot_multiply() {
        for bytes in [
            b"[$Z#l\x7f\xff\xff\xff".as_slice(),
            b"[#l\x7f\xff\xff\xff",
            b"{#L",
        ] {
            assert!(read(bytes).is_err());
        }
    }
}
