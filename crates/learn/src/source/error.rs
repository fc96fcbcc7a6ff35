//! Why data cannot be read: the cause with its place, the class, and the cure.
//!
//! Kept in one enum for all formats, because a person who meets one of these in the first hour wants the same three
//! things each time: which file and line, what was wrong there, and what to do about it.

use super::spec::Format;
use ombud_core::Class;
use std::path::Path;

/// Why data cannot be read. `file` is the source as the person named it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{text:?} names no source that can be read")]
    UnknownForm { text: String },
    #[error("{file} does not exist")]
    NotFound { file: String },
    #[error("{file} holds no Parquet files")]
    NoPartitions { file: String },
    #[error("{file} cannot be read")]
    Io {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{file} is empty")]
    Empty { file: String },
    #[error("{file} has a header but no rows")]
    NoRows { file: String },
    #[error("{file} is {found}, not {expected}")]
    WrongFormat {
        file: String,
        found: &'static str,
        expected: Format,
    },
    #[error("{file}, line {line}: byte {byte} of the file is not valid UTF-8")]
    Encoding { file: String, line: u64, byte: u64 },
    #[error("{file} is encoded as {encoding}, not as UTF-8")]
    WideEncoding {
        file: String,
        encoding: &'static str,
    },
    #[error("{file}: the lines end in a carriage return alone")]
    CarriageReturns { file: String },
    #[error("{file}, line {line}: {found} fields where the header has {expected}")]
    Ragged {
        file: String,
        line: u64,
        expected: usize,
        found: usize,
    },
    #[error("{file}, line {line}: a quote is opened in this record and never closed")]
    OpenQuote { file: String, line: u64 },
    #[error("{file}, line {line}: the record is longer than {limit_bytes} bytes")]
    RecordTooLong {
        file: String,
        line: u64,
        limit_bytes: usize,
    },
    #[error("{file}, line {line}: field {position} is longer than {limit_bytes} bytes")]
    FieldTooLong {
        file: String,
        line: u64,
        position: usize,
        limit_bytes: usize,
    },
    #[error("{file}: column {position} of the header has no name")]
    HeaderUnnamed { file: String, position: usize },
    #[error("{file}: columns {first} and {second} of the header are both named {name:?}")]
    HeaderTwice {
        file: String,
        name: String,
        first: usize,
        second: usize,
    },
    #[error("{file} has {count} columns, more than the {limit} allowed")]
    TooManyColumns {
        file: String,
        count: usize,
        limit: usize,
    },
    #[error("{file} has more than {limit} rows")]
    TooManyRows { file: String, limit: usize },
    #[error("{file}, line {line}: {problem}")]
    Json {
        file: String,
        line: u64,
        problem: String,
    },
    #[error("{file}: the compressed data is damaged or cut short")]
    Gzip {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{file} is no Parquet file that can be read: {problem}")]
    Parquet { file: String, problem: String },
    #[error("{file}: column {column:?} has the type {kind}, which is not supported")]
    UnsupportedType {
        file: String,
        column: String,
        kind: String,
    },
    #[error("{file}: column {column:?} is not in every partition")]
    Partitions { file: String, column: String },
    #[error("{file} has no column {column:?}")]
    NoColumn {
        file: String,
        column: String,
        nearest: Option<String>,
    },
    #[error("standard input carried more than {limit_bytes} bytes")]
    StandardInputTooLong { limit_bytes: usize },
    #[error("{file} cannot be read from standard input as {format}")]
    StandardInputFormat { file: String, format: Format },
    #[error("{file} changed while it was read")]
    Changed { file: String },
    #[error("{file}: key {key:?} has two rows with the order {order}")]
    SeriesTwice {
        file: String,
        key: String,
        order: String,
    },
    #[error("{file}, row {row}: the order {order:?} is no number")]
    SeriesOrder {
        file: String,
        row: usize,
        order: String,
    },
    #[error("{file}: {steps} steps are not between 1 and {limit}")]
    SeriesSteps {
        file: String,
        steps: usize,
        limit: usize,
    },
    #[error("{file}: the table already has a column {column:?}")]
    SeriesClash { file: String, column: String },
    #[error("{file}: column {column:?} is not made of numbers")]
    SeriesColumn { file: String, column: String },
    #[error("{file}: none of its keys is in the table's column {column:?}")]
    SeriesApart { file: String, column: String },
    /// A source of another room failed; it names its own class and cure.
    #[error("{what}")]
    Other {
        what: String,
        class: Class,
        hint: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl ReadError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            ReadError::UnknownForm { .. }
            | ReadError::Empty { .. }
            | ReadError::NoRows { .. }
            | ReadError::WrongFormat { .. }
            | ReadError::Encoding { .. }
            | ReadError::WideEncoding { .. }
            | ReadError::CarriageReturns { .. }
            | ReadError::Ragged { .. }
            | ReadError::OpenQuote { .. }
            | ReadError::HeaderUnnamed { .. }
            | ReadError::HeaderTwice { .. }
            | ReadError::Json { .. }
            | ReadError::Partitions { .. }
            | ReadError::SeriesTwice { .. }
            | ReadError::SeriesOrder { .. }
            | ReadError::SeriesSteps { .. }
            | ReadError::SeriesClash { .. }
            | ReadError::SeriesColumn { .. }
            | ReadError::SeriesApart { .. } => Class::Invalid,
            ReadError::NotFound { .. }
            | ReadError::NoPartitions { .. }
            | ReadError::NoColumn { .. } => Class::NotFound,
            ReadError::RecordTooLong { .. }
            | ReadError::FieldTooLong { .. }
            | ReadError::TooManyColumns { .. }
            | ReadError::TooManyRows { .. }
            | ReadError::StandardInputTooLong { .. } => Class::TooLarge,
            ReadError::UnsupportedType { .. } | ReadError::StandardInputFormat { .. } => {
                Class::Unsupported
            }
            ReadError::Gzip { .. } | ReadError::Parquet { .. } => Class::Corrupt,
            ReadError::Changed { .. } => Class::Conflict,
            ReadError::Io { source, .. } => io_class(source),
            ReadError::Other { class, .. } => *class,
        }
    }

    /// What the person can do about it.
    pub fn hint(&self) -> String {
        match self {
            ReadError::UnknownForm { .. } => "write csv:FILE, tsv:FILE, jsonl:FILE or parquet:FILE, or a file whose name ends in .csv, .tsv, .txt, .jsonl, .ndjson or .parquet (also with .gz), or - for standard input".into(),
            ReadError::NotFound { .. } => "a relative path starts at the folder of the recipe".into(),
            ReadError::NoPartitions { .. } => "a folder is read as partitions named *.parquet".into(),
            ReadError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => "allow this user to read the file".into(),
            ReadError::Io { .. } => "check the file and the disk, then try again".into(),
            ReadError::Empty { .. } => "write a header line with the column names, then the rows".into(),
            ReadError::NoRows { .. } => "check the query or export that made the file".into(),
            ReadError::WrongFormat { found, .. } if found.contains("Excel") => "save the sheet as CSV (UTF-8)".into(),
            ReadError::WrongFormat { found, .. } if found.contains("array") => "write one object per line, for example with: jq -c '.[]'".into(),
            ReadError::WrongFormat { found, .. } => format!("name the format in front of the path, such as parquet:FILE; this file is {found}"),
            ReadError::Encoding { .. } => "save the file as UTF-8; for a file from older Windows programs: iconv -f WINDOWS-1252 -t UTF-8 IN > OUT".into(),
            ReadError::WideEncoding { encoding, .. } => format!("save the file as UTF-8, for example with: iconv -f {encoding} -t UTF-8 IN > OUT"),
            ReadError::CarriageReturns { .. } => "save the file with line feeds, for example with: tr '\\r' '\\n' < IN > OUT".into(),
            ReadError::Ragged { expected, found, .. } if found > expected => "put quotes around fields that contain the separator, and check that the header names every column".into(),
            ReadError::Ragged { .. } => "the line may be cut short, or a quote or line break inside a field is not quoted".into(),
            ReadError::OpenQuote { .. } => "close the quote, or double a quote that belongs to the text (\"\")".into(),
            ReadError::RecordTooLong { .. } | ReadError::FieldTooLong { .. } => "a quote that is never closed swallows the lines after it; check the quotes from this line on".into(),
            ReadError::HeaderUnnamed { .. } => "give every column a name; pandas writes its index without one, to_csv(index=False) leaves it out".into(),
            ReadError::HeaderTwice { .. } => "rename one of the two columns".into(),
            ReadError::TooManyColumns { .. } => "keep the columns that matter, or check the separator".into(),
            ReadError::TooManyRows { .. } => "split the file or sample its rows".into(),
            ReadError::Json { .. } => "each line must be one JSON object, with each field once".into(),
            ReadError::Gzip { .. } => "fetch or make the file again; gzip -t FILE checks it".into(),
            ReadError::Parquet { .. } => "write the file again, for example with pandas to_parquet".into(),
            ReadError::UnsupportedType { .. } => "turn the column into numbers, texts, dates or a list of numbers, or leave it out of the file".into(),
            ReadError::Partitions { .. } => "all partitions of one table need the same columns".into(),
            ReadError::NoColumn { nearest: Some(nearest), .. } => format!("the nearest name is {nearest:?}"),
            ReadError::NoColumn { .. } => "names are compared exactly, upper and lower case too".into(),
            ReadError::StandardInputTooLong { .. } => "write the data to a file first".into(),
            ReadError::StandardInputFormat { .. } => "give a file instead of -".into(),
            ReadError::Changed { .. } => "read it again when nobody writes to it".into(),
            ReadError::SeriesTwice { .. } => "keep one row per key and order".into(),
            ReadError::SeriesOrder { .. } => "the order column numbers the steps of a series: 1, 2, 3, …".into(),
            ReadError::SeriesSteps { .. } => "set steps in the recipe".into(),
            ReadError::SeriesClash { .. } => "rename the column in one of the two files".into(),
            ReadError::SeriesColumn { .. } => "name only columns of numbers as a series".into(),
            ReadError::SeriesApart { .. } => "check that both files name the same people in the key column".into(),
            ReadError::Other { hint, .. } => hint.clone(),
        }
    }

    pub(crate) fn io(file: &str, source: std::io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            std::io::ErrorKind::NotFound => ReadError::NotFound { file },
            _ => ReadError::Io { file, source },
        }
    }

    pub(crate) fn opening(path: &Path, source: std::io::Error) -> Self {
        ReadError::io(&path.display().to_string(), source)
    }
}

fn io_class(source: &std::io::Error) -> Class {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => Class::Forbidden,
        std::io::ErrorKind::IsADirectory => Class::Invalid,
        _ => Class::Unavailable,
    }
}
