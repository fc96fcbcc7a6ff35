//! Files as tables: CSV, XLSX and JSON become columns and rows of JSON values.

use calamine::{DataRef, Reader, Xlsx, XlsxError};
use ombud_api::{Code, Refusal};
use ombud_core::Fault;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;

/// Rows of one file.
pub const ROWS_MAX: usize = 200_000;
/// Columns of one file.
pub const COLUMNS_MAX: usize = 500;
/// Cells of one file, those that a short row lacks counted too: a small file can name a far one.
const CELLS_MAX: usize = 16_000_000;
/// How far an XLSX may unfold: a small file can be made to fill a machine's memory.
const UNFOLDED_BYTES_MAX: u64 = 512 << 20;
/// What a sheet shows where a formula failed.
const ERRORS: [&str; 8] = [
    "#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#DATA!",
];
/// What some programs write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
        check_size(table.rows.len(), table.columns.len())?;
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

/// Whether a cell holds what a sheet shows in place of a value.
pub fn is_error(cell: &Value) -> bool {
    cell.as_str().is_some_and(|text| ERRORS.contains(&text))
}

fn check_size(rows: usize, columns: usize) -> Result<(), Refusal> {
    if rows > ROWS_MAX || columns > COLUMNS_MAX || rows.saturating_mul(columns) > CELLS_MAX {
        let detail =
            format!("a file may have {ROWS_MAX} rows, {COLUMNS_MAX} columns and {CELLS_MAX} cells");
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    Ok(())
}

fn sniffed(file: &[u8]) -> &'static str {
    let plain = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    let first = plain.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'P') if file.starts_with(b"PK\x03\x04") => "xlsx",
        Some(b'[' | b'{') => "json",
        _ => "csv",
    }
}

fn csv(file: &[u8]) -> Result<Table, Refusal> {
    let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
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
    let sheet = book.sheet_names().first().cloned().ok_or_else(|| {
        Refusal::from(Fault::new(
            "file",
            "a workbook without sheets",
            "answers on the first sheet",
        ))
    })?;
    let cells = used_cells(&mut book, &sheet)?;
    let first = cells.values().filter_map(|row| row.keys().next()).min();
    let (Some(first), Some((_, names))) = (first.copied(), cells.iter().next()) else {
        return Ok(Table {
            columns: Vec::new(),
            rows: Vec::new(),
        });
    };
    let last = names.keys().next_back().copied().unwrap_or(first);
    let name = |at: u32| names.get(&at).map(shown).unwrap_or_default();
    let columns: Vec<String> = (first..=last).map(name).collect();
    check_size(cells.len() - 1, columns.len())?;
    // Sheets often have rows that were once filled; they have no cell in what was read.
    let row = |row: &BTreeMap<u32, Value>| {
        let cell = |at: u32| row.get(&at).cloned().unwrap_or(Value::Null);
        (first..=last).map(cell).collect()
    };
    let rows = cells.values().skip(1).map(row).collect();
    Ok(Table { columns, rows })
}

/// Cells that hold something, by row and column.
type Cells = BTreeMap<u32, BTreeMap<u32, Value>>;

/// Reads a sheet cell by cell: its bounds are what the farthest cell says, and would be allocated in full.
fn used_cells(book: &mut Xlsx<Cursor<&[u8]>>, sheet: &str) -> Result<Cells, Refusal> {
    let failed = |error: XlsxError| unreadable("XLSX", &error);
    let mut reader = book.worksheet_cells_reader(sheet).map_err(failed)?;
    let mut cells = Cells::new();
    while let Some(cell) = reader.next_cell().map_err(failed)? {
        let (row, column) = cell.get_position();
        let value = value(cell.get_value());
        if !value.is_null() {
            check_place(&cells, column)?;
            cells.entry(row).or_default().insert(column, value);
        }
    }
    Ok(cells)
}

fn check_place(cells: &Cells, column: u32) -> Result<(), Refusal> {
    // Columns are counted from the first that is used, so a sheet may begin to the right of them.
    check_size(cells.len().saturating_sub(2), 1)?;
    check_size(1, column as usize / 2)
}

fn shown(cell: &Value) -> String {
    match cell {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

fn value(cell: &DataRef<'_>) -> Value {
    match cell {
        DataRef::Empty => Value::Null,
        DataRef::String(text) => self::cell(text),
        DataRef::SharedString(text) => self::cell(text),
        DataRef::Float(number) => serde_json::json!(number),
        DataRef::Int(number) => Value::from(*number),
        DataRef::Bool(truth) => Value::from(*truth),
        DataRef::Error(error) => Value::from(error.to_string()),
        DataRef::DateTime(time) => Value::from(time.to_string()),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Value::from(text.as_str()),
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
    let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
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
    check_size(flat.len(), columns.len())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::{SimpleFileOptions, ZipWriter};

    /// A workbook of one sheet with these rows, as the format has them.
    fn workbook(rows: &str) -> Vec<u8> {
        const PARTS: [(&str, &str); 3] = [
            (
                "_rels/.rels",
                r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#,
            ),
            (
                "xl/workbook.xml",
                r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Answers" sheetId="1" r:id="r1"/></sheets></workbook>"#,
            ),
            (
                "xl/_rels/workbook.xml.rels",
                r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#,
            ),
        ];
        let sheet = format!(
            r#"<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{rows}</sheetData></worksheet>"#
        );
        let mut book = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in PARTS
            .into_iter()
            .chain([("xl/worksheets/sheet1.xml", &*sheet)])
        {
            book.start_file(name, SimpleFileOptions::default()).unwrap();
            book.write_all(content.as_bytes()).unwrap();
        }
        book.finish().unwrap().into_inner()
    }

    fn text(place: &str, text: &str) -> String {
        format!(r#"<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>"#)
    }

    fn read(rows: &str) -> Result<Table, Refusal> {
        Table::read(&workbook(rows), None)
    }

    #[test]
    fn a_sheet_is_read_from_where_it_begins() {
        let rows = format!(
            r#"<row r="3">{}{}</row><row r="4"><c r="B4"><v>2.5</v></c></row><row r="6"><c r="B6"/></row><row r="7">{}<c r="C7" t="e"><v>#N/A</v></c></row>"#,
            text("B3", " q1 "),
            text("C3", "q2"),
            text("B7", "3")
        );
        let table = read(&rows).unwrap();
        assert_eq!(table.columns, ["q1", "q2"]);
        let null = Value::Null;
        assert_eq!(
            table.rows,
            [
                vec![Value::from(2.5), null],
                vec![Value::from("3"), Value::from("#N/A")]
            ]
        );
        assert!(is_error(&table.rows[1][1]) && !is_error(&table.rows[0][0]));
    }

    #[test]
    fn a_far_cell_takes_no_room() {
        let names = format!(r#"<row r="1">{}</row>"#, text("A1", "q1"));
        let row = |place: &str| {
            let number: String = place.chars().filter(char::is_ascii_digit).collect();
            format!(r#"<row r="{number}"><c r="{place}"><v>1</v></c></row>"#)
        };
        let far = read(&format!("{names}{}", row("A1048576"))).unwrap();
        assert_eq!(far.rows, [vec![Value::from(1.0)]]);
        for place in ["XFD2", "ZZZ3", "XFD1048576"] {
            let refused = read(&format!("{names}{}", row(place))).unwrap_err();
            assert_eq!(refused.code(), Code::TooLarge, "{place}");
        }
    }

    #[test]
    fn sparse_rows_are_not_filled_up_without_end() {
        let wide: Vec<String> = (0..400).map(|at| format!("\"c{at}\": 1")).collect();
        let file = format!("[{{ {} }}{}]", wide.join(", "), ", {}".repeat(150_000));
        let refused = Table::read(file.as_bytes(), Some("json")).unwrap_err();
        assert_eq!(refused.code(), Code::TooLarge);
        let marked = [BYTE_ORDER_MARK, br#"[{ "q1": 2 }]"#].concat();
        assert_eq!(Table::read(&marked, None).unwrap().columns, ["q1"]);
    }
}
