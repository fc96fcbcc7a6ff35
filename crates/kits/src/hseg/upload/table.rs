//! Files as tables: CSV, XLSX and JSON become columns and rows of JSON values.

use calamine::{Data, Reader, Xlsx};
use ombud_api::{Code, Refusal};
use ombud_core::Fault;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::io::Cursor;

/// Rows of one file.
pub const ROWS_MAX: usize = 200_000;
/// Columns of one file.
pub const COLUMNS_MAX: usize = 500;
/// How far an XLSX may unfold: a small file can be made to fill a machine's memory.
const UNFOLDED_BYTES_MAX: u64 = 512 << 20;

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// Reads a file; without a format, its first bytes tell.
    pub fn read(file: &[u8], format: Option<&str>) -> Result<Table, Refusal> {
        let format = format.unwrap_or_else(|| sniffed(file));
        let table = match format {
            "csv" => csv(file),
            "xlsx" => xlsx(file),
            "json" => json(file),
            other => Err(Refusal::from(Fault::new(
                "format",
                other,
                "csv, xlsx or json",
            ))),
        }?;
        if table.rows.len() > ROWS_MAX || table.columns.len() > COLUMNS_MAX {
            let detail = format!("a file may have {ROWS_MAX} rows and {COLUMNS_MAX} columns");
            return Err(Refusal::new(Code::TooLarge, detail));
        }
        table.check()?;
        Ok(table)
    }

    /// Of two columns of one name only one would be read, and a file without rows is another file than was meant.
    fn check(&self) -> Result<(), Refusal> {
        let mut seen = HashSet::new();
        let named = self.columns.iter().filter(|name| !name.is_empty());
        if let Some(twice) = named.into_iter().find(|name| !seen.insert(*name)) {
            let came = format!("the column {twice:?} twice");
            return Err(Fault::new("file", &came, "each column once").into());
        }
        if self.rows.is_empty() {
            let allowed = "a line of names and at least one row of answers";
            return Err(Fault::new("file", "no rows", allowed).into());
        }
        Ok(())
    }
}

fn sniffed(file: &[u8]) -> &'static str {
    let first = file.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'P') if file.starts_with(b"PK\x03\x04") => "xlsx",
        Some(b'[' | b'{') => "json",
        _ => "csv",
    }
}

fn csv(file: &[u8]) -> Result<Table, Refusal> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let first_line = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |separator: u8| first_line.iter().filter(|byte| **byte == separator).count();
    let separator = [b',', b';', b'\t']
        .into_iter()
        .max_by_key(|it| count(*it))
        .unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .from_reader(file);
    let columns = reader.headers().map_err(|error| unreadable_csv(&error))?;
    let columns: Vec<String> = columns.iter().map(|name| name.trim().to_owned()).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| unreadable_csv(&error))?;
        rows.push(record.iter().map(cell).collect());
        if rows.len() > ROWS_MAX {
            break;
        }
    }
    Ok(Table { columns, rows })
}

fn cell(text: &str) -> Value {
    match text.trim() {
        "" => Value::Null,
        _ => Value::from(text),
    }
}

fn xlsx(file: &[u8]) -> Result<Table, Refusal> {
    if unfolded_bytes(file) > UNFOLDED_BYTES_MAX {
        return Err(Refusal::new(
            Code::TooLarge,
            "the workbook unfolds to more than may be read",
        ));
    }
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(file)).map_err(|error| {
        unreadable("XLSX", &error).hint("save it as an unprotected .xlsx workbook")
    })?;
    let sheet = book.worksheet_range_at(0).ok_or_else(|| {
        Refusal::from(Fault::new(
            "file",
            "a workbook without sheets",
            "answers on the first sheet",
        ))
    })?;
    let sheet = sheet.map_err(|error| unreadable("XLSX", &error))?;
    let mut lines = sheet.rows();
    let columns = lines
        .next()
        .unwrap_or_default()
        .iter()
        .map(|cell| cell.to_string().trim().to_owned());
    let columns: Vec<String> = columns.collect();
    let rows = lines
        .take(ROWS_MAX + 1)
        .map(|row| row.iter().map(value).collect());
    // Sheets often end in rows that were once filled.
    let rows = rows.filter(|row: &Vec<Value>| !row.iter().all(Value::is_null));
    Ok(Table {
        columns,
        rows: rows.collect(),
    })
}

fn value(cell: &Data) -> Value {
    match cell {
        Data::Empty | Data::Error(_) => Value::Null,
        Data::String(text) => self::cell(text),
        Data::Float(number) => serde_json::json!(number),
        Data::Int(number) => Value::from(*number),
        Data::Bool(truth) => Value::from(*truth),
        other => Value::from(other.to_string()),
    }
}

/// What the parts of a ZIP say they unfold to, by its central directory.
fn unfolded_bytes(file: &[u8]) -> u64 {
    const ENTRY: &[u8] = b"PK\x01\x02";
    let mut sum = 0u64;
    let mut rest = file;
    while let Some(at) = rest.windows(4).position(|window| window == ENTRY) {
        let entry = &rest[at..];
        if let Some(size) = entry.get(24..28).and_then(|bytes| bytes.try_into().ok()) {
            sum = sum.saturating_add(u64::from(u32::from_le_bytes(size)));
        }
        rest = &entry[4..];
    }
    sum
}

fn json(file: &[u8]) -> Result<Table, Refusal> {
    let document: Value = serde_json::from_slice(file).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        unreadable("JSON", &error).hint(format!("look at line {line}, place {column}"))
    })?;
    let rows = match document {
        Value::Array(rows) => rows,
        Value::Object(mut object) => match object.remove("responses") {
            Some(Value::Array(rows)) => rows,
            _ => return Err(Fault::new("file", "an object", "a list of responses").into()),
        },
        _ => return Err(Fault::new("file", "something else", "a list of responses").into()),
    };
    let mut columns: Vec<String> = Vec::new();
    let mut flat = Vec::with_capacity(rows.len());
    for row in rows {
        let Value::Object(row) = row else {
            return Err(
                Fault::new("file", "a row that is no object", "a list of responses").into(),
            );
        };
        let row = flattened(row);
        for name in row.keys() {
            if columns.len() <= COLUMNS_MAX && !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        flat.push(row);
    }
    let cells = |mut row: Map<String, Value>| {
        let cell = |name: &String| row.remove(name).unwrap_or(Value::Null);
        columns.iter().map(cell).collect()
    };
    let rows = flat.into_iter().map(cells).collect();
    Ok(Table { columns, rows })
}

/// The parts of a request's body become one level.
fn flattened(row: Map<String, Value>) -> Map<String, Value> {
    const PARTS: [&str; 4] = [
        "survey_responses",
        "text_responses",
        "demographics",
        "response_quality",
    ];
    let mut flat = Map::new();
    for (name, value) in row {
        match value {
            Value::Object(part) if PARTS.contains(&name.as_str()) => flat.extend(part),
            value => {
                flat.insert(name, value);
            }
        }
    }
    flat
}

/// Where a CSV goes wrong, without what stands there.
fn unreadable_csv(error: &csv::Error) -> Refusal {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(0, csv::Position::line);
    let hint = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "line {} has {len} cells and the first line {expected_len}; put texts that hold the separator in quotes",
            line(pos)
        ),
        csv::ErrorKind::Utf8 { pos, .. } => {
            format!("line {} is not UTF-8; save the file as UTF-8", line(pos))
        }
        _ => "save it as CSV with one line of names on top".to_owned(),
    };
    unreadable("CSV", error).hint(hint)
}

/// Readers' words may quote the file, so only the format is told.
fn unreadable(format: &str, error: &dyn std::error::Error) -> Refusal {
    tracing::debug!(%error, format, "an uploaded file could not be read");
    Refusal::malformed(format!("the file cannot be read as {format}"))
}
