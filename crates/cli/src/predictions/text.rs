//! Tables of answers as CSV and as JSON lines.
//!
//! Numbers are written as the shortest text that reads back as the same number. Written for speed, because a million
//! answers are mostly digits: a batch becomes one buffer, column by column taken apart once.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use std::collections::HashMap;

/// The ways to write a table as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Marks a column of texts that are JSON already.
const RAW_JSON: &str = "ombud.raw_json";

/// A text column whose cells are JSON values.
pub fn raw_json(field: Field) -> Field {
    field.with_metadata(HashMap::from([(RAW_JSON.to_owned(), "true".to_owned())]))
}

/// What comes before the rows.
pub fn head(schema: &arrow_schema::Schema, format: TextFormat) -> Vec<u8> {
    let mut out = Vec::new();
    if format == TextFormat::Csv {
        for (place, field) in schema.fields().iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            csv_text(field.name(), &mut out);
        }
        out.push(b'\n');
    }
    out
}

/// The rows of a table.
pub fn rows(table: &RecordBatch, format: TextFormat) -> Vec<u8> {
    const CELL_BYTES_EXPECTED: usize = 20;
    let columns: Vec<Cells<'_>> = table
        .columns()
        .iter()
        .filter_map(|array| Cells::of(array.as_ref()))
        .collect();
    let mut out = Vec::with_capacity(table.num_rows() * columns.len() * CELL_BYTES_EXPECTED);
    let mut digits = zmij::Buffer::new();
    match format {
        TextFormat::Csv => {
            for row in 0..table.num_rows() {
                csv_row(&columns, row, &mut digits, &mut out);
            }
        }
        TextFormat::Jsonl => {
            let keys = json_keys(&table.schema());
            for row in 0..table.num_rows() {
                json_row(&keys, &columns, row, &mut digits, &mut out);
            }
        }
    }
    out
}

enum Cells<'a> {
    Numbers(&'a Float64Array),
    Wholes(&'a Int64Array),
    Texts(&'a StringArray),
    LongTexts(&'a LargeStringArray),
}

enum Cell<'a> {
    Nothing,
    Number(f64),
    Whole(i64),
    Text(&'a str),
}

impl<'a> Cells<'a> {
    /// The kinds of columns that answers are made of.
    fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Float64 => Some(Cells::Numbers(array.as_primitive::<Float64Type>())),
            DataType::Int64 => Some(Cells::Wholes(array.as_primitive::<Int64Type>())),
            DataType::Utf8 => Some(Cells::Texts(array.as_string::<i32>())),
            DataType::LargeUtf8 => Some(Cells::LongTexts(array.as_string::<i64>())),
            _ => None,
        }
    }

    fn cell(&self, row: usize) -> Cell<'a> {
        match self {
            Cells::Numbers(values) if values.is_valid(row) => Cell::Number(values.value(row)),
            Cells::Wholes(values) if values.is_valid(row) => Cell::Whole(values.value(row)),
            Cells::Texts(values) if values.is_valid(row) => Cell::Text(values.value(row)),
            Cells::LongTexts(values) if values.is_valid(row) => Cell::Text(values.value(row)),
            Cells::Numbers(_) | Cells::Wholes(_) | Cells::Texts(_) | Cells::LongTexts(_) => {
                Cell::Nothing
            }
        }
    }
}

fn csv_row(columns: &[Cells<'_>], row: usize, digits: &mut zmij::Buffer, out: &mut Vec<u8>) {
    for (place, column) in columns.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        match column.cell(row) {
            Cell::Number(number) if number.is_finite() => {
                out.extend_from_slice(digits.format_finite(number).as_bytes());
            }
            Cell::Whole(whole) => out.extend_from_slice(whole.to_string().as_bytes()),
            Cell::Text(text) => csv_text(text, out),
            Cell::Number(_) | Cell::Nothing => {}
        }
    }
    out.push(b'\n');
}

/// Quotes where RFC 4180 asks for it.
fn csv_text(text: &str, out: &mut Vec<u8>) {
    if !text
        .bytes()
        .any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'))
    {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A key with its quotes and colon, and whether the cells are JSON already.
fn json_keys(schema: &arrow_schema::Schema) -> Vec<(Vec<u8>, bool)> {
    let key = |field: &Field| {
        let mut key = Vec::new();
        json_text(field.name(), &mut key);
        key.push(b':');
        (key, field.metadata().contains_key(RAW_JSON))
    };
    schema.fields().iter().map(|field| key(field)).collect()
}

fn json_row(
    keys: &[(Vec<u8>, bool)],
    columns: &[Cells<'_>],
    row: usize,
    digits: &mut zmij::Buffer,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (place, ((key, is_raw), column)) in keys.iter().zip(columns).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        match column.cell(row) {
            Cell::Number(number) if number.is_finite() => {
                out.extend_from_slice(digits.format_finite(number).as_bytes());
            }
            Cell::Whole(whole) => out.extend_from_slice(whole.to_string().as_bytes()),
            Cell::Text(text) if *is_raw => out.extend_from_slice(text.as_bytes()),
            Cell::Text(text) => json_text(text, out),
            Cell::Number(_) | Cell::Nothing => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b"}\n");
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    if text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::ArrayRef;
    use std::sync::Arc;

    fn table() -> RecordBatch {
        let schema = arrow_schema::Schema::new(vec![
            Field::new("id", DataType::LargeUtf8, true),
            Field::new("p_a,b", DataType::Float64, true),
            raw_json(Field::new("why", DataType::Utf8, true)),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(LargeStringArray::from(vec![Some("x\"1"), None])),
            Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN)])),
            Arc::new(StringArray::from(vec!["{\"a\":1}", "[]"])),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit")
    }

    #[test]
    fn csv_quotes_what_needs_quotes_and_leaves_nothing_for_nothing() {
        let table = table();
        let mut text = head(&table.schema(), TextFormat::Csv);
        text.extend(rows(&table, TextFormat::Csv));
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(
            text,
            "id,\"p_a,b\",why\n\"x\"\"1\",0.1,\"{\"\"a\"\":1}\"\n,,[]\n"
        );
    }

    #[test]
    fn json_lines_hold_null_for_nothing_and_objects_as_they_are() {
        let text = String::from_utf8(rows(&table(), TextFormat::Jsonl)).expect("UTF-8");
        let expected = "{\"id\":\"x\\\"1\",\"p_a,b\":0.1,\"why\":{\"a\":1}}\n{\"id\":null,\"p_a,b\":null,\"why\":[]}\n";
        assert_eq!(text, expected);
    }
}
