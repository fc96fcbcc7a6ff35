//! Writes predictions: CSV, JSON lines or Parquet, batch after batch.
//!
//! A file is written beside its place and renamed when it is whole, so that whoever reads the place never sees half of it
//! and an interrupted run leaves nothing. Columns are texts, numbers, whole numbers and flags. Rows are put into text
//! on all threads in fixed runs, in order, so that the bytes do not depend on their number. Numbers are written in
//! the fewest digits that read back to the same value.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, LargeStringArray,
    RecordBatch, StringArray,
};
use arrow_schema::{DataType, SchemaRef};
use ombud_core::Class;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use crate::source::Format;

/// Rows that one thread puts into text at once.
const RUN_ROWS: usize = 8 << 10;
/// Room for the longest whole number: sign and digits.
const WHOLE_BYTES: usize = 20;

/// Why predictions cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{file} cannot be written")]
    Io {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} cannot be written as Parquet: {problem}")]
    Parquet { file: String, problem: String },
    #[error("column {column:?} has the type {kind}, which is not written")]
    UnsupportedType { column: String, kind: String },
    #[error("Parquet cannot be written to standard output")]
    StandardOutput,
    #[error("the columns changed from one batch to the next")]
    Columns,
}

impl WriteError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            WriteError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Class::NotFound,
                io::ErrorKind::PermissionDenied => Class::Forbidden,
                _ => Class::Unavailable,
            },
            WriteError::StandardOutput => Class::Unsupported,
            WriteError::Parquet { .. }
            | WriteError::UnsupportedType { .. }
            | WriteError::Columns => Class::Internal,
        }
    }

    /// What the person can do about it.
    pub fn hint(&self) -> String {
        match self {
            WriteError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make the folder first".into()
            }
            WriteError::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                "whoever read the output stopped reading".into()
            }
            WriteError::Io { .. } => "check the folder's rights and the space on the disk".into(),
            WriteError::StandardOutput => "name a file, or choose csv or jsonl".into(),
            WriteError::Parquet { .. }
            | WriteError::UnsupportedType { .. }
            | WriteError::Columns => "this is a mistake of ours; please report it".into(),
        }
    }
}

/// Where predictions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Path(PathBuf),
    StandardOutput,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub bytes: u64,
}

/// Writes batches of one set of columns.
pub struct Writer {
    file: String,
    output: Output,
    aside: Option<Aside>,
    schema: SchemaRef,
    rows: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("file", &self.file)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

enum Output {
    Text { form: TextForm, sink: Counted },
    Parquet(Box<ArrowWriter<Counted>>),
}

#[derive(Debug, Clone, Copy)]
enum TextForm {
    Separated(u8),
    JsonLines,
}

impl Writer {
    /// Starts a file, or standard output.
    ///
    /// # Errors
    /// A column of a type that is not written, a place that cannot be written, Parquet to standard output.
    pub fn create(
        format: Format,
        destination: &Destination,
        schema: &SchemaRef,
    ) -> Result<Writer, WriteError> {
        for field in schema.fields() {
            if !is_written(field.data_type()) {
                return Err(WriteError::UnsupportedType {
                    column: field.name().clone(),
                    kind: field.data_type().to_string(),
                });
            }
        }
        let (file, aside, sink): (String, _, Box<dyn Write + Send>) = match destination {
            Destination::StandardOutput if format == Format::Parquet => {
                return Err(WriteError::StandardOutput);
            }
            Destination::StandardOutput => ("standard output".into(), None, Box::new(io::stdout())),
            Destination::Path(path) => {
                let file = path.display().to_string();
                let (aside, handle) =
                    Aside::create(path).map_err(|source| failed(&file, source))?;
                (file, Some(aside), Box::new(handle))
            }
        };
        let sink = Counted {
            inner: BufWriter::with_capacity(256 << 10, sink),
            bytes: 0,
        };
        let output = match format {
            Format::Csv => Output::text(TextForm::Separated(b','), sink),
            Format::Tsv => Output::text(TextForm::Separated(b'\t'), sink),
            Format::Jsonl => Output::text(TextForm::JsonLines, sink),
            Format::Parquet => Output::parquet(&file, sink, schema)?,
        };
        let mut writer = Writer {
            file,
            output,
            aside,
            schema: schema.clone(),
            rows: 0,
        };
        writer.write_header()?;
        Ok(writer)
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        if batch.schema().fields() != self.schema.fields() {
            return Err(WriteError::Columns);
        }
        self.rows += batch.num_rows() as u64;
        match &mut self.output {
            Output::Text { form, sink } => {
                let columns = columns_of(batch);
                let names: Vec<String> = batch
                    .schema()
                    .fields()
                    .iter()
                    .map(|field| json_key(field.name()))
                    .collect();
                let form = *form;
                let runs: Vec<Vec<u8>> = (0..batch.num_rows().div_ceil(RUN_ROWS))
                    .into_par_iter()
                    .map(|run| {
                        let rows = run * RUN_ROWS..((run + 1) * RUN_ROWS).min(batch.num_rows());
                        let mut text = Vec::with_capacity(rows.len() * columns.len() * 12);
                        rows.for_each(|row| form.push_row(&mut text, &columns, &names, row));
                        text
                    })
                    .collect();
                for run in runs {
                    sink.write_all(&run)
                        .map_err(|source| failed(&self.file, source))?;
                }
                Ok(())
            }
            Output::Parquet(writer) => writer
                .write(batch)
                .map_err(|problem| parquet_failed(&self.file, &problem)),
        }
    }

    /// Ends the file and puts it in its place.
    pub fn finish(self) -> Result<Written, WriteError> {
        let file = self.file;
        let mut sink = match self.output {
            Output::Text { sink, .. } => sink,
            Output::Parquet(writer) => writer
                .into_inner()
                .map_err(|problem| parquet_failed(&file, &problem))?,
        };
        sink.flush().map_err(|source| failed(&file, source))?;
        let bytes = sink.bytes;
        drop(sink);
        if let Some(aside) = self.aside {
            aside
                .put_in_place()
                .map_err(|source| failed(&file, source))?;
        }
        Ok(Written {
            rows: self.rows,
            bytes,
        })
    }

    fn write_header(&mut self) -> Result<(), WriteError> {
        let Output::Text {
            form: TextForm::Separated(separator),
            sink,
        } = &mut self.output
        else {
            return Ok(());
        };
        let mut header = Vec::new();
        for (index, field) in self.schema.fields().iter().enumerate() {
            if index > 0 {
                header.push(*separator);
            }
            push_separated(&mut header, field.name(), *separator);
        }
        header.push(b'\n');
        sink.write_all(&header)
            .map_err(|source| failed(&self.file, source))
    }
}

impl Output {
    fn text(form: TextForm, sink: Counted) -> Output {
        Output::Text { form, sink }
    }

    fn parquet(file: &str, sink: Counted, schema: &SchemaRef) -> Result<Output, WriteError> {
        let level = ZstdLevel::try_new(3).map_err(|problem| parquet_failed(file, &problem))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .build();
        let writer = ArrowWriter::try_new(sink, schema.clone(), Some(properties))
            .map_err(|problem| parquet_failed(file, &problem))?;
        Ok(Output::Parquet(Box::new(writer)))
    }
}

fn failed(file: &str, source: io::Error) -> WriteError {
    WriteError::Io {
        file: file.to_owned(),
        source,
    }
}

fn parquet_failed(file: &str, problem: &dyn std::fmt::Display) -> WriteError {
    WriteError::Parquet {
        file: file.to_owned(),
        problem: problem.to_string(),
    }
}

/// A file in the making, beside its place. Dropped unfinished, it is gone.
struct Aside {
    place: PathBuf,
    path: PathBuf,
    is_in_place: bool,
}

impl Aside {
    fn create(place: &Path) -> io::Result<(Aside, File)> {
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let aside = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let path = place.with_file_name(aside);
        let handle = File::create(&path)?;
        let aside = Aside {
            place: place.to_owned(),
            path,
            is_in_place: false,
        };
        Ok((aside, handle))
    }

    fn put_in_place(mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        std::fs::rename(&self.path, &self.place)?;
        self.is_in_place = true;
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_in_place {
            // Nothing more can be done about a file that cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

struct Counted {
    inner: BufWriter<Box<dyn Write + Send>>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn is_written(kind: &DataType) -> bool {
    match kind {
        DataType::Float64
        | DataType::Int64
        | DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8 => true,
        DataType::Dictionary(key, value) => **key == DataType::Int32 && **value == DataType::Utf8,
        _ => false,
    }
}

/// A column whose cells can be taken one by one.
enum Column<'b> {
    Number(&'b Float64Array),
    Whole(&'b Int64Array),
    Flag(&'b BooleanArray),
    Text(&'b StringArray),
    LargeText(&'b LargeStringArray),
    Dictionary(&'b DictionaryArray<Int32Type>, &'b StringArray),
}

enum Cell<'b> {
    Missing,
    Number(f64),
    Whole(i64),
    Flag(bool),
    Text(&'b str),
}

fn columns_of(batch: &RecordBatch) -> Vec<Column<'_>> {
    let columns: Vec<Column<'_>> = batch.columns().iter().filter_map(column_of).collect();
    assert_eq!(columns.len(), batch.num_columns(), "types were checked");
    columns
}

fn column_of(array: &ArrayRef) -> Option<Column<'_>> {
    match array.data_type() {
        DataType::Float64 => Some(Column::Number(array.as_primitive::<Float64Type>())),
        DataType::Int64 => Some(Column::Whole(array.as_primitive::<Int64Type>())),
        DataType::Boolean => Some(Column::Flag(array.as_boolean())),
        DataType::Utf8 => Some(Column::Text(array.as_string())),
        DataType::LargeUtf8 => Some(Column::LargeText(array.as_string())),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary_opt::<Int32Type>()?;
            Some(Column::Dictionary(
                dictionary,
                dictionary.values().as_string_opt()?,
            ))
        }
        _ => None,
    }
}

impl Column<'_> {
    fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Column::Number(numbers) if numbers.is_valid(row) => {
                let number = numbers.value(row);
                if number.is_nan() {
                    Cell::Missing
                } else {
                    Cell::Number(number)
                }
            }
            Column::Whole(wholes) if wholes.is_valid(row) => Cell::Whole(wholes.value(row)),
            Column::Flag(flags) if flags.is_valid(row) => Cell::Flag(flags.value(row)),
            Column::Text(texts) if texts.is_valid(row) => Cell::Text(texts.value(row)),
            Column::LargeText(texts) if texts.is_valid(row) => Cell::Text(texts.value(row)),
            Column::Dictionary(dictionary, values) => match dictionary.key(row) {
                Some(key) if values.is_valid(key) => Cell::Text(values.value(key)),
                _ => Cell::Missing,
            },
            _ => Cell::Missing,
        }
    }
}

impl TextForm {
    fn push_row(self, text: &mut Vec<u8>, columns: &[Column<'_>], names: &[String], row: usize) {
        match self {
            TextForm::Separated(separator) => {
                let start = text.len();
                for (index, column) in columns.iter().enumerate() {
                    if index > 0 {
                        text.push(separator);
                    }
                    match column.cell(row) {
                        Cell::Missing => {}
                        Cell::Number(number) => push_number(text, number),
                        Cell::Whole(whole) => push_whole(text, whole),
                        Cell::Flag(flag) => push_flag(text, flag),
                        Cell::Text(cell) => push_separated(text, cell, separator),
                    }
                }
                // A blank line would be skipped by readers.
                if text.len() == start {
                    text.extend_from_slice(b"\"\"");
                }
            }
            TextForm::JsonLines => {
                for (index, (column, name)) in columns.iter().zip(names).enumerate() {
                    text.push(if index == 0 { b'{' } else { b',' });
                    text.extend_from_slice(name.as_bytes());
                    match column.cell(row) {
                        Cell::Number(number) if number.is_finite() => push_number(text, number),
                        Cell::Missing | Cell::Number(_) => text.extend_from_slice(b"null"),
                        Cell::Whole(whole) => push_whole(text, whole),
                        Cell::Flag(flag) => push_flag(text, flag),
                        Cell::Text(cell) => push_json(text, cell),
                    }
                }
                text.push(b'}');
            }
        }
        text.push(b'\n');
    }
}

fn json_key(name: &str) -> String {
    let mut key = Vec::new();
    push_json(&mut key, name);
    key.push(b':');
    String::from_utf8_lossy(&key).into_owned()
}

fn push_flag(text: &mut Vec<u8>, flag: bool) {
    text.extend_from_slice(if flag { b"true" } else { b"false" });
}

fn push_whole(text: &mut Vec<u8>, whole: i64) {
    let mut digits = [0u8; WHOLE_BYTES];
    let mut at = digits.len();
    let mut rest = whole.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if whole < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    text.extend_from_slice(&digits[at..]);
}

fn push_number(text: &mut Vec<u8>, number: f64) {
    const WHOLE_MAX: f64 = 1e15;
    let is_whole = number.fract() == 0.0 && number.abs() < WHOLE_MAX;
    if is_whole && !(number == 0.0 && number.is_sign_negative()) {
        return push_whole(text, number as i64);
    }
    let mut buffer = zmij::Buffer::new();
    text.extend_from_slice(buffer.format(number).as_bytes());
}

fn push_separated(text: &mut Vec<u8>, cell: &str, separator: u8) {
    let bytes = cell.as_bytes();
    let needs_quotes = |byte: &u8| matches!(*byte, b'"' | b'\n' | b'\r') || *byte == separator;
    if !bytes.iter().any(needs_quotes) {
        return text.extend_from_slice(bytes);
    }
    text.push(b'"');
    for &byte in bytes {
        if byte == b'"' {
            text.push(b'"');
        }
        text.push(byte);
    }
    text.push(b'"');
}

fn push_json(text: &mut Vec<u8>, cell: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    text.push(b'"');
    for &byte in cell.as_bytes() {
        match byte {
            b'"' => text.extend_from_slice(b"\\\""),
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            0..0x20 => {
                text.extend_from_slice(b"\\u00");
                text.push(HEX[usize::from(byte >> 4)]);
                text.push(HEX[usize::from(byte & 15)]);
            }
            _ => text.push(byte),
        }
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Hints, RawKind, SourceSpec, open, testing::shown};
    use arrow_schema::{Field, Schema};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn batch(rows: &[(String, Option<f64>, i64)]) -> RecordBatch {
        let texts: StringArray = rows.iter().map(|row| Some(row.0.as_str())).collect();
        let numbers: Float64Array = rows.iter().map(|row| row.1).collect();
        let wholes: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
        let schema = Schema::new(vec![
            Field::new("text, \"quoted\"", DataType::Utf8, true),
            Field::new("number", DataType::Float64, true),
            Field::new("whole", DataType::Int64, true),
        ]);
        let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(numbers), Arc::new(wholes)];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn written(name: &str, batches: &[RecordBatch]) -> (tempfile::TempDir, SourceSpec) {
        let folder = tempfile::tempdir().unwrap();
        let spec = SourceSpec::parse(name, folder.path()).unwrap();
        let place = Destination::Path(folder.path().join(name));
        let mut writer = Writer::create(spec.format, &place, &batches[0].schema()).unwrap();
        batches
            .iter()
            .for_each(|batch| writer.write(batch).unwrap());
        let written = writer.finish().unwrap();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let bytes = std::fs::metadata(folder.path().join(name)).unwrap().len();
        assert_eq!(
            written,
            Written {
                rows: rows as u64,
                bytes
            }
        );
        (folder, spec)
    }

    #[test]
    fn numbers_are_short_and_missing_is_empty() {
        let rows = [
            ("a".to_owned(), Some(0.1), 1),
            ("b,\"c\"\n".to_owned(), None, -20),
            (String::new(), Some(3.0), i64::MIN),
            ("d".to_owned(), Some(1e21), 0),
        ];
        let (folder, _) = written("a.csv", &[batch(&rows)]);
        let text = std::fs::read_to_string(folder.path().join("a.csv")).unwrap();
        assert_eq!(
            text,
            "\"text, \"\"quoted\"\"\",number,whole\na,0.1,1\n\"b,\"\"c\"\"\n\",,-20\n,3,-9223372036854775808\nd,1e+21,0\n"
        );
        let (folder, _) = written("a.jsonl", &[batch(&rows[..2])]);
        let text = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
        assert_eq!(
            text,
            "{\"text, \\\"quoted\\\"\":\"a\",\"number\":0.1,\"whole\":1}\n{\"text, \\\"quoted\\\"\":\"b,\\\"c\\\"\\n\",\"number\":null,\"whole\":-20}\n"
        );
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = Destination::Path(folder.path().join("a.csv"));
        let rows = batch(&[("a".into(), None, 1)]);
        let mut writer = Writer::create(Format::Csv, &place, &rows.schema()).unwrap();
        writer.write(&rows).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let rows = batch(&[("a".into(), None, 1)]);
        let place = Destination::Path("/nonexistent/a.csv".into());
        let error = Writer::create(Format::Csv, &place, &rows.schema()).unwrap_err();
        assert_eq!(
            (error.class(), error.hint().as_str()),
            (Class::NotFound, "make the folder first")
        );
        let place = Destination::StandardOutput;
        assert!(Writer::create(Format::Parquet, &place, &rows.schema()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_is_written_reads_back(
            rows in proptest::collection::vec(
                ("[a-z\",;\\\\\n\r\t\u{1}é]{1,8}x", proptest::option::of(proptest::num::f64::NORMAL), -1i64 << 53..1 << 53),
                1..40,
            ),
        ) {
            let all = batch(&rows);
            let names: Vec<String> = all.schema().fields().iter().map(|f| f.name().clone()).collect();
            let kinds = [RawKind::Text, RawKind::Number, RawKind::Number];
            let mut hints = Hints::default();
            names.iter().zip(kinds).for_each(|(name, kind)| hints.want(name, kind));
            for file in ["a.csv", "a.tsv", "a.jsonl", "a.parquet"] {
                let halves = [all.slice(0, rows.len() / 2), all.slice(rows.len() / 2, rows.len() - rows.len() / 2)];
                let (_folder, spec) = written(file, &halves);
                let batches = open(&spec).unwrap().stream(&hints, 1 << 20).unwrap();
                let batches: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
                let together = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
                prop_assert_eq!(shown(&together), shown(&all), "{}", file);
            }
        }
    }
}
