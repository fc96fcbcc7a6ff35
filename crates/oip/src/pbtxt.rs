//! The text form of protocol buffers, as far as a `config.pbtxt` of Triton needs it.
//!
//! Read into plain [`Field`]s without knowing any message: names, scalars, lists and nested messages. Within bounds, because
//! the file comes from elsewhere.

/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// A field of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub value: Value,
}

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, an enum's name, `true`, or a text without its quotes.
    Scalar(String),
    Message(Vec<Field>),
    List(Vec<Value>),
}

/// A text that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {expected} expected")]
pub struct TextError {
    pub line: usize,
    pub expected: &'static str,
}

type Result<T> = std::result::Result<T, TextError>;

/// Reads a whole text.
pub fn parse(text: &str) -> Result<Vec<Field>> {
    let mut reader = Reader {
        text: text.as_bytes(),
        at: 0,
        depth: 0,
    };
    let fields = reader.fields(None)?;
    Ok(fields)
}

/// The scalar of a field by its name.
pub fn scalar<'f>(fields: &'f [Field], name: &str) -> Option<&'f str> {
    fields
        .iter()
        .find(|field| field.name == name)
        .and_then(|field| match &field.value {
            Value::Scalar(text) => Some(text.as_str()),
            _ => None,
        })
}

/// The messages of a field by its name, however often and in whatever form it stands.
pub fn messages<'f>(fields: &'f [Field], name: &str) -> Vec<&'f [Field]> {
    let mut found = Vec::new();
    for field in fields.iter().filter(|field| field.name == name) {
        match &field.value {
            Value::Message(fields) => found.push(fields.as_slice()),
            Value::List(values) => found.extend(values.iter().filter_map(|value| match value {
                Value::Message(fields) => Some(fields.as_slice()),
                _ => None,
            })),
            Value::Scalar(_) => {}
        }
    }
    found
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn fields(&mut self, end: Option<u8>) -> Result<Vec<Field>> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wanted("less nesting"));
        }
        let mut fields = Vec::new();
        loop {
            match self.next_byte() {
                None if end.is_none() => break,
                None => return Err(self.wanted("a closing brace")),
                found if found == end => {
                    self.at += 1;
                    break;
                }
                Some(b',' | b';') => self.at += 1,
                Some(_) => fields.push(self.field()?),
            }
        }
        self.depth -= 1;
        Ok(fields)
    }

    fn field(&mut self) -> Result<Field> {
        let name = self.word("a field's name")?;
        if self.next_byte() == Some(b':') {
            self.at += 1;
        }
        Ok(Field {
            name,
            value: self.value()?,
        })
    }

    fn value(&mut self) -> Result<Value> {
        match self.next_byte() {
            Some(b'{') => {
                self.at += 1;
                self.fields(Some(b'}')).map(Value::Message)
            }
            Some(b'<') => {
                self.at += 1;
                self.fields(Some(b'>')).map(Value::Message)
            }
            Some(b'[') => {
                self.at += 1;
                self.list()
            }
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Value::Scalar),
            _ => self.word("a value").map(Value::Scalar),
        }
    }

    fn list(&mut self) -> Result<Value> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wanted("less nesting"));
        }
        let mut values = Vec::new();
        loop {
            match self.next_byte() {
                None => return Err(self.wanted("a closing bracket")),
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(Value::List(values));
                }
                Some(b',') => self.at += 1,
                Some(_) => values.push(self.value()?),
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<String> {
        let mut bytes = Vec::new();
        // Texts beside each other are one.
        while self.next_byte() == Some(quote) {
            self.at += 1;
            loop {
                let byte = *self
                    .text
                    .get(self.at)
                    .ok_or_else(|| self.wanted("a closing quote"))?;
                self.at += 1;
                match byte {
                    found if found == quote => break,
                    b'\\' => {
                        let escaped = *self
                            .text
                            .get(self.at)
                            .ok_or_else(|| self.wanted("a closing quote"))?;
                        self.at += 1;
                        bytes.push(match escaped {
                            b'n' => b'\n',
                            b't' => b'\t',
                            plain => plain,
                        });
                    }
                    plain => bytes.push(plain),
                }
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn word(&mut self, expected: &'static str) -> Result<String> {
        self.next_byte();
        let rest = &self.text[self.at..];
        let is_word =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+');
        let length = rest.iter().take_while(|byte| is_word(byte)).count();
        if length == 0 {
            return Err(self.wanted(expected));
        }
        self.at += length;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    /// The next byte that is neither space nor comment.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b'#' => {
                    let rest = &self.text[self.at..];
                    self.at += rest
                        .iter()
                        .position(|byte| *byte == b'\n')
                        .unwrap_or(rest.len());
                }
                space if space.is_ascii_whitespace() => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn wanted(&self, expected: &'static str) -> TextError {
        let before = &self.text[..self.at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        TextError { line, expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_triton_is_read_in_every_way_of_writing_it() {
        let fields = parse(
            "name: \"claims\" # a comment\nbackend: 'onnxruntime'\nmax_batch_size: 8\n\
             input [ { name: \"x\" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]\n\
             input { name: \"y\", dims: 1 }\nparameters: { key: \"k\" value: { string_value: \"a\\\"b\" } }",
        )
        .expect("a message");
        assert_eq!(scalar(&fields, "name"), Some("claims"));
        assert_eq!(scalar(&fields, "max_batch_size"), Some("8"));
        let names: Vec<_> = messages(&fields, "input")
            .into_iter()
            .map(|input| scalar(input, "name"))
            .collect();
        assert_eq!(names, [Some("x"), Some("y")]);
        let value = messages(messages(&fields, "parameters")[0], "value")[0];
        assert_eq!(scalar(value, "string_value"), Some("a\"b"));
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_line() {
        assert_eq!(parse("a: 1\nb {").expect_err("open").line, 2);
        assert!(parse("a: \"x").is_err());
        assert!(parse(&"a{".repeat(1_000)).is_err());
        assert!(parse("}").is_err());
    }
}
