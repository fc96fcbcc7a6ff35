//! Parquet files, alone or as the partitions of a folder.
//!
//! Every ordinary type becomes a raw column: whole and decimal numbers are numbers (whole ones too large for a double
//! are texts, because they name something), dates and times are texts in ISO 8601, structs are columns with
//! dotted names, lists of texts are one text with a line for each. Columns are read apart from each other on all
//! threads straight into their final place, so that reading holds little besides the table itself.

use super::cells::{Cells, Lists, Texts};
use super::error::ReadError;
use super::spec::{Format, Place, SourceSpec};
use super::{BatchSender, Batches, COLUMNS_MAX, Hints, Meter, ROWS_MAX, Source, Table, batch_of};
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use ombud_core::Digest;
use ombud_core::frame;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rows decoded at once.
const BATCH_ROWS: usize = 16 << 10;
/// Most partitions of one table.
const PARTITIONS_MAX: usize = 10_000;

/// Parquet files of one table.
#[derive(Debug)]
pub(crate) struct ParquetSource {
    spec: SourceSpec,
    files: Vec<PathBuf>,
    meter: Arc<Meter>,
}

/// A file whose footer is read.
#[derive(Clone)]
struct Opened {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
}

impl ParquetSource {
    pub(crate) fn new(spec: &SourceSpec) -> Result<Self, ReadError> {
        let files = match &spec.place {
            Place::Path(path) => files_of(path)?,
            Place::StandardInput => {
                return Err(ReadError::StandardInputFormat {
                    file: spec.to_string(),
                    format: Format::Parquet,
                });
            }
        };
        Ok(ParquetSource {
            spec: spec.clone(),
            files,
            meter: Arc::default(),
        })
    }

    /// Reads all footers and checks that the files are parts of one table.
    fn open(&self) -> Result<Vec<Opened>, ReadError> {
        self.meter.rows.store(0, Ordering::Relaxed);
        self.meter.bytes_read.store(0, Ordering::Relaxed);
        let mut opened = Vec::with_capacity(self.files.len());
        let mut bytes = 0;
        for path in &self.files {
            let file = File::open(path).map_err(|e| ReadError::opening(path, e))?;
            bytes += file.metadata().map_or(0, |about| about.len());
            if file.metadata().is_ok_and(|about| about.len() == 0) {
                return Err(ReadError::Empty {
                    file: path.display().to_string(),
                });
            }
            let metadata = guarded(path, || {
                ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
                    .map_err(|error| damaged(path, &error))
            })?;
            opened.push(Opened {
                path: path.clone(),
                metadata,
            });
        }
        self.meter.bytes_total.store(bytes, Ordering::Relaxed);
        check_parts(&opened)?;
        Ok(opened)
    }

    fn rows(&self, opened: &[Opened]) -> Result<usize, ReadError> {
        let rows = |file: &Opened| file.metadata.metadata().file_metadata().num_rows().max(0);
        let rows: i64 = opened.iter().map(rows).sum();
        usize::try_from(rows)
            .ok()
            .filter(|rows| *rows <= ROWS_MAX)
            .ok_or_else(|| ReadError::TooManyRows {
                file: self.spec.to_string(),
                limit: ROWS_MAX,
            })
    }

    /// One column of all files; a struct gives several.
    fn column(&self, opened: &[Opened], index: usize) -> Result<Vec<(String, Cells)>, ReadError> {
        let mut grown: Vec<(String, Cells)> = Vec::new();
        for file in opened {
            for batch in file.reader(&[index], BATCH_ROWS)? {
                let batch = batch.map_err(|error| damaged(&file.path, &error))?;
                let mut pieces = Vec::new();
                flatten_batch(&batch, &file.path, &mut pieces)?;
                match grown.is_empty() {
                    true => grown = pieces,
                    false => grown
                        .iter_mut()
                        .zip(pieces)
                        .for_each(|((_, cells), (_, piece))| cells.append(piece)),
                }
            }
            self.meter
                .bytes_read
                .fetch_add(file.stored_bytes(index), Ordering::Relaxed);
        }
        Ok(grown)
    }

    fn fingerprint(&self) -> Result<Digest, ReadError> {
        let digests: Result<Vec<Digest>, ReadError> =
            self.files.par_iter().map(|path| digest_of(path)).collect();
        let digests = digests?;
        let fingerprint = match digests.as_slice() {
            [one] => *one,
            many => {
                let mut hash = Sha256::new();
                many.iter()
                    .for_each(|digest| hash.update(digest.as_bytes()));
                Digest::new(hash.finalize().into())
            }
        };
        let _ = self.meter.fingerprint.set(fingerprint);
        Ok(fingerprint)
    }
}

impl Source for ParquetSource {
    fn describe(&self) -> String {
        match self.files.len() {
            1 => self.spec.to_string(),
            files => format!("{} ({files} files)", self.spec),
        }
    }

    fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn read_all(&self) -> Result<Table, ReadError> {
        let opened = self.open()?;
        let rows = self.rows(&opened)?;
        if rows == 0 {
            return Err(ReadError::NoRows {
                file: self.spec.to_string(),
            });
        }
        let width = opened[0].metadata.schema().fields().len();
        let columns: Result<Vec<_>, ReadError> = (0..width)
            .into_par_iter()
            .map(|index| {
                let cells = guarded(&self.files[0], || self.column(&opened, index))?;
                let arrays = cells
                    .into_iter()
                    .map(|(name, cells)| (name, cells.finish()));
                Ok(arrays.collect::<Vec<(String, ArrayRef)>>())
            })
            .collect();
        let columns: Vec<(String, ArrayRef)> = columns?.into_iter().flatten().collect();
        check_columns(&columns, rows, &self.spec.to_string())?;
        self.meter.rows.store(rows as u64, Ordering::Relaxed);
        Ok(Table {
            batch: batch_of(columns, rows),
            fingerprint: self.fingerprint()?,
            bytes: self.meter.bytes_total().unwrap_or(0),
        })
    }

    fn stream(&self, hints: &Hints, batch_rows: usize) -> Result<Batches, ReadError> {
        let opened = self.open()?;
        let hints = hints.clone();
        let source = ParquetSource {
            spec: self.spec.clone(),
            files: self.files.clone(),
            meter: self.meter.clone(),
        };
        Batches::produced_by(move |sender: &BatchSender| {
            let read = guarded(&source.files[0], || {
                source.send_batches(&opened, &hints, batch_rows.max(1), sender)
            });
            if let Err(error) = read.and_then(|()| source.fingerprint().map(|_| ())) {
                sender.send(Err(error));
            }
        })
    }
}

impl ParquetSource {
    fn send_batches(
        &self,
        opened: &[Opened],
        hints: &Hints,
        batch_rows: usize,
        sender: &BatchSender,
    ) -> Result<(), ReadError> {
        for file in opened {
            let wanted = file.wanted_columns(hints);
            for batch in file.reader(&wanted, batch_rows)? {
                let batch = batch.map_err(|error| damaged(&file.path, &error))?;
                let rows = batch.num_rows();
                let mut pieces = Vec::new();
                flatten_batch(&batch, &file.path, &mut pieces)?;
                let columns = pieces.into_iter().filter_map(|(name, cells)| {
                    let want = hints.get(&name)?;
                    Some((name, cells.wanted_as(want).finish()))
                });
                let batch = batch_of(columns.collect(), rows);
                self.meter.rows.fetch_add(rows as u64, Ordering::Relaxed);
                if !sender.send(Ok(batch)) {
                    return Ok(());
                }
            }
            let stored: u64 = wanted.iter().map(|index| file.stored_bytes(*index)).sum();
            self.meter.bytes_read.fetch_add(stored, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Opened {
    fn reader(
        &self,
        columns: &[usize],
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader, ReadError> {
        let file = File::open(&self.path).map_err(|e| ReadError::opening(&self.path, e))?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
            .map_err(|error| damaged(&self.path, &error))
    }

    /// The top-level columns that hold something wanted.
    fn wanted_columns(&self, hints: &Hints) -> Vec<usize> {
        let fields = self.metadata.schema().fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| match field.data_type() {
            // Its parts have dotted names; the whole is read when any of them may be wanted.
            DataType::Struct(_) => {
                let prefix = format!("{}.", field.name());
                hints.kinds.keys().any(|name| name.starts_with(&prefix))
            }
            _ => hints.get(field.name()).is_some(),
        });
        wanted.map(|(index, _)| index).collect()
    }

    fn stored_bytes(&self, index: usize) -> u64 {
        let schema = self.metadata.parquet_schema();
        let leaves =
            (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == index);
        let leaves: Vec<usize> = leaves.collect();
        let groups = self.metadata.metadata().row_groups().iter();
        let sizes = groups.flat_map(|group| {
            leaves
                .iter()
                .filter_map(|leaf| group.columns().get(*leaf))
                .map(|column| column.compressed_size().max(0) as u64)
        });
        sizes.sum()
    }
}

fn damaged(path: &Path, problem: &dyn std::fmt::Display) -> ReadError {
    ReadError::Parquet {
        file: path.display().to_string(),
        problem: problem.to_string().chars().take(300).collect(),
    }
}

/// The library panics on some damaged files instead of refusing them; an input must not be able to make us panic.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    outcome.unwrap_or_else(|_| Err(damaged(path, &"its parts contradict each other")))
}

fn digest_of(path: &Path) -> Result<Digest, ReadError> {
    let mut file = File::open(path).map_err(|e| ReadError::opening(path, e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest::new(hash.finalize().into())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::opening(path, error)),
        }
    }
}

/// The files behind a path: itself, a folder's `*.parquet`, or those that match a pattern in its last part.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let (folder, pattern) = match name {
        Some(name) if name.contains('*') => (path.parent().unwrap_or(Path::new("")), name),
        _ if path.is_dir() => (path, "*.parquet".to_owned()),
        _ => return Ok(vec![path.to_owned()]),
    };
    let entries = std::fs::read_dir(folder).map_err(|e| ReadError::opening(folder, e))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| ReadError::opening(folder, e))?;
        let is_match = matches(&pattern, &entry.file_name().to_string_lossy());
        if is_match && entry.path().is_file() && files.len() < PARTITIONS_MAX {
            files.push(entry.path());
        }
    }
    if files.is_empty() {
        return Err(ReadError::NoPartitions {
            file: path.display().to_string(),
        });
    }
    files.sort();
    Ok(files)
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut rest = rest;
    while let Some((part, after)) = rest.split_once('*') {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
        rest = after;
    }
    name.ends_with(rest)
}

fn check_parts(opened: &[Opened]) -> Result<(), ReadError> {
    let names = |file: &Opened| -> Vec<String> {
        let fields = file.metadata.schema().fields().iter();
        fields.map(|field| field.name().clone()).collect()
    };
    let Some((first, others)) = opened.split_first() else {
        return Ok(());
    };
    let first = names(first);
    for other in others {
        let theirs = names(other);
        let odd = match first.iter().find(|name| !theirs.contains(name)) {
            Some(name) => Some(name),
            None => theirs.iter().find(|name| !first.contains(name)),
        };
        let is_other_order = first != theirs;
        if let Some(column) = odd.or(theirs.first().filter(|_| is_other_order)) {
            return Err(ReadError::Partitions {
                file: other.path.display().to_string(),
                column: column.clone(),
            });
        }
    }
    Ok(())
}

fn check_columns(columns: &[(String, ArrayRef)], rows: usize, file: &str) -> Result<(), ReadError> {
    if columns.len() > COLUMNS_MAX {
        return Err(ReadError::TooManyColumns {
            file: file.to_owned(),
            count: columns.len(),
            limit: COLUMNS_MAX,
        });
    }
    let mut names: Vec<(&str, usize)> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, _))| (name.as_str(), index + 1))
        .collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(ReadError::HeaderTwice {
            file: file.to_owned(),
            name: twice[0].0.to_owned(),
            first: twice[0].1,
            second: twice[1].1,
        });
    }
    match columns.iter().find(|(_, array)| array.len() != rows) {
        None => Ok(()),
        Some((name, array)) => Err(ReadError::Parquet {
            file: file.to_owned(),
            problem: format!("column {name:?} has {} rows of {rows}", array.len()),
        }),
    }
}

fn flatten_batch(
    batch: &RecordBatch,
    path: &Path,
    out: &mut Vec<(String, Cells)>,
) -> Result<(), ReadError> {
    let schema = batch.schema();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        flatten(field.name(), array, out).map_err(|(column, kind)| ReadError::UnsupportedType {
            file: path.display().to_string(),
            column,
            kind,
        })?;
    }
    Ok(())
}

/// A column of any ordinary type as raw cells; a type we cannot read is told with its column.
fn flatten(
    name: &str,
    array: &ArrayRef,
    out: &mut Vec<(String, Cells)>,
) -> Result<(), (String, String)> {
    if let Some(parts) = array.as_struct_opt() {
        for (field, part) in parts.fields().iter().zip(parts.columns()) {
            flatten(&format!("{name}.{}", field.name()), part, out)?;
        }
        return Ok(());
    }
    match cells_of(array) {
        Some(cells) => {
            out.push((name.to_owned(), cells));
            Ok(())
        }
        None => Err((name.to_owned(), array.data_type().to_string())),
    }
}

fn cells_of(array: &ArrayRef) -> Option<Cells> {
    match array.data_type() {
        DataType::Null => Some(Cells::Nothing(array.len())),
        DataType::Boolean => Some(Cells::Flags(array.as_boolean().iter().collect())),
        DataType::Int64 | DataType::UInt64 if !is_exact(array) => text_cells(array),
        kind if is_number(kind) => Some(Cells::Numbers(numbers(array)?)),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(_, _)
        | DataType::Time32(_)
        | DataType::Time64(_) => text_cells(array),
        DataType::Dictionary(_, value) => cells_of(&cast(array, value).ok()?),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
            list_cells(array)
        }
        _ => None,
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric()
}

/// Whether a double keeps every whole number of the column.
fn is_exact(array: &ArrayRef) -> bool {
    const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
    match array.data_type() {
        DataType::Int64 => array
            .as_primitive::<Int64Type>()
            .iter()
            .flatten()
            .all(|whole| whole.unsigned_abs() <= EXACT_MAX),
        _ => array
            .as_primitive::<UInt64Type>()
            .iter()
            .flatten()
            .all(|whole| whole <= EXACT_MAX),
    }
}

fn numbers(array: &ArrayRef) -> Option<Vec<f64>> {
    let cast = cast(array, &DataType::Float64).ok()?;
    let numbers = cast.as_primitive::<Float64Type>();
    Some(match numbers.null_count() {
        0 => numbers.values().to_vec(),
        _ => numbers
            .iter()
            .map(|number| number.unwrap_or(f64::NAN))
            .collect(),
    })
}

fn text_cells(array: &ArrayRef) -> Option<Cells> {
    let cast = cast(array, &DataType::LargeUtf8).ok()?;
    // The cast makes bytes that are no text missing instead of failing.
    if cast.null_count() > array.null_count() {
        return None;
    }
    let mut texts = Texts::default();
    frame::texts(&cast).iter().for_each(|text| texts.push(text));
    Some(Cells::Texts(texts))
}

/// Lists of numbers as lists; lists of texts as lines.
fn list_cells(array: &ArrayRef) -> Option<Cells> {
    let item = match array.data_type() {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field.data_type().clone()
        }
        _ => return None,
    };
    let is_text = matches!(
        item,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    if !is_text && !is_number(&item) && item != DataType::Boolean {
        return None;
    }
    let mut lists = Lists::default();
    let mut texts = Texts::default();
    for row in 0..array.len() {
        let list = match array.data_type() {
            _ if array.is_null(row) => None,
            DataType::List(_) => Some(array.as_list::<i32>().value(row)),
            DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
            _ => Some(array.as_fixed_size_list().value(row)),
        };
        if is_text {
            let lines = list.map(|list| -> Option<String> {
                let list = frame::texts(&cast(&list, &DataType::LargeUtf8).ok()?);
                Some(list.iter().flatten().collect::<Vec<_>>().join("\n"))
            });
            texts.push(lines.flatten().as_deref());
        } else {
            let numbers = list.and_then(|list| numbers(&list));
            lists.push(numbers.as_deref());
        }
    }
    Some(if is_text {
        Cells::Texts(texts)
    } else {
        Cells::Lists(lists)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, shown, streamed, told};
    use super::super::{RawKind, open};
    use super::*;
    use ::parquet::arrow::ArrowWriter;
    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::types::Float32Type;
    use arrow_array::{
        BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, ListArray, MapArray,
        StringArray, StructArray, TimestampMillisecondArray, UInt8Array,
    };
    use arrow_schema::Field;
    use proptest::prelude::*;

    fn bytes_of(batches: &[RecordBatch]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batches[0].schema(), None).unwrap();
        batches
            .iter()
            .for_each(|batch| writer.write(batch).unwrap());
        writer.close().unwrap();
        bytes
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
            .unwrap()
    }

    fn small(values: Vec<i64>) -> RecordBatch {
        batch(vec![("n", Arc::new(Int64Array::from(values)))])
    }

    #[test]
    fn ordinary_types_become_raw_columns() {
        let mut words = ListBuilder::new(StringBuilder::new());
        words.append_value([Some("p"), Some("q")]);
        words.append_null();
        let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("in"), None]));
        let parts = StructArray::from(vec![(
            Arc::new(Field::new("part", DataType::Utf8, true)),
            inner,
        )]);
        let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([
            Some(vec![Some(1.5), None]),
            None,
        ]);
        let cents = Decimal128Array::from(vec![Some(1250), None]);
        let all = batch(vec![
            ("i", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("u", Arc::new(UInt8Array::from(vec![7, 8]))),
            ("big", Arc::new(Int64Array::from(vec![i64::MAX, 1]))),
            (
                "cents",
                Arc::new(cents.with_precision_and_scale(10, 2).unwrap()),
            ),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("text", Arc::new(StringArray::from(vec![Some("NA"), None]))),
            ("day", Arc::new(Date32Array::from(vec![19_800, 0]))),
            (
                "at",
                Arc::new(TimestampMillisecondArray::from(vec![0, 1500])),
            ),
            ("words", Arc::new(words.finish())),
            ("parts", Arc::new(parts)),
            ("lists", Arc::new(lists)),
        ]);
        let expected = [
            r#"("i", [Some("1"), None])"#,
            r#"("u", [Some("7"), Some("8")])"#,
            r#"("big", [Some("9223372036854775807"), Some("1")])"#,
            r#"("cents", [Some("12.5"), None])"#,
            r#"("flag", [Some("true"), None])"#,
            r#"("text", [Some("NA"), None])"#,
            r#"("day", [Some("2024-03-18"), Some("1970-01-01")])"#,
            r#"("at", [Some("1970-01-01T00:00:00"), Some("1970-01-01T00:00:01.500")])"#,
            r#"("words", [Some("p\nq"), None])"#,
            r#"("parts.part", [Some("in"), None])"#,
            r#"("lists", [None, None])"#,
        ];
        let bytes = bytes_of(&[all]);
        assert_eq!(
            told("a.parquet", &bytes),
            format!("[{}]", expected.join(", "))
        );
        let (_folder, spec) = file("a.parquet", &bytes);
        let table = open(&spec).unwrap().read_all().unwrap();
        let lists = table.batch.column_by_name("lists").unwrap();
        assert_eq!(lists.as_list::<i64>().value(0).null_count(), 1);
        assert_eq!(table.bytes, bytes.len() as u64);
    }

    #[test]
    fn a_folder_of_partitions_is_one_table() {
        let folder = tempfile::tempdir().unwrap();
        for (name, values) in [
            ("b.parquet", vec![3]),
            ("a.parquet", vec![1, 2]),
            ("c.txt", vec![9]),
        ] {
            std::fs::write(folder.path().join(name), bytes_of(&[small(values)])).unwrap();
        }
        let read = |text: &str| {
            let spec = SourceSpec::parse(text, folder.path()).unwrap();
            let table = open(&spec).and_then(|source| source.read_all());
            table.map(|table| (format!("{:?}", shown(&table.batch)), table.fingerprint))
        };
        let expected = r#"[("n", [Some("1"), Some("2"), Some("3")])]"#;
        assert_eq!(read("parquet:.").unwrap().0, expected);
        assert_eq!(read("*.parquet").unwrap(), read("parquet:.").unwrap());
        assert_eq!(
            read("a*.parquet").unwrap().0,
            r#"[("n", [Some("1"), Some("2")])]"#
        );
        assert!(matches!(
            read("x*.parquet"),
            Err(ReadError::NoPartitions { .. })
        ));
        let other = batch(vec![("m", Arc::new(Int64Array::from(vec![1])))]);
        std::fs::write(folder.path().join("d.parquet"), bytes_of(&[other])).unwrap();
        assert!(
            matches!(read("parquet:."), Err(ReadError::Partitions { column, .. }) if column == "n")
        );
    }

    #[test]
    fn a_stream_reads_only_what_is_wanted() {
        let all = batch(vec![
            ("n", Arc::new(StringArray::from(vec!["1", "x", "3"]))),
            ("code", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("other", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ]);
        let (_folder, spec) = file("a.parquet", &bytes_of(&[all]));
        let source = open(&spec).unwrap();
        let mut hints = Hints::default();
        hints.want("n", RawKind::Number);
        hints.want("code", RawKind::NumberName);
        let batches = streamed(source.as_ref(), &hints, 2).unwrap();
        let told: Vec<String> = batches.iter().map(|b| format!("{:?}", shown(b))).collect();
        assert_eq!(
            told,
            [
                r#"[("n", [Some("1"), Some("inf")]), ("code", [Some("1"), Some("2")])]"#,
                r#"[("n", [Some("3")]), ("code", [Some("3")])]"#,
            ]
        );
        assert_eq!(
            source.meter().fingerprint(),
            Some(source.read_all().unwrap().fingerprint)
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let map =
            MapArray::new_from_strings(["a"].into_iter(), &Int32Array::from(vec![1]), &[0, 1])
                .unwrap();
        let map = batch(vec![("m", Arc::new(map))]);
        assert!(
            told("a.parquet", &bytes_of(&[map]))
                .starts_with("a.parquet: column \"m\" has the type Map")
        );
        assert_eq!(told("a.parquet", b""), "a.parquet is empty");
        assert!(
            told("a.parquet", b"a,b\n1,2\n")
                .starts_with("a.parquet is no Parquet file that can be read")
        );
        let none = bytes_of(&[small(vec![])]);
        assert_eq!(
            told("a.parquet", &none),
            "a.parquet has a header but no rows"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_bytes_are_refused_or_read(at in 0usize..2_000, byte in any::<u8>()) {
            let texts: StringArray = (0..50).map(|i| Some(["x", "yy", "zzz"][i % 3])).collect();
            let numbers = Int64Array::from_iter_values(0..50);
            let all = batch(vec![("n", Arc::new(numbers)), ("t", Arc::new(texts))]);
            let mut bytes = bytes_of(&[all]);
            let place = at % bytes.len();
            bytes[place] ^= byte;
            let _ = told("a.parquet", &bytes);
        }
    }
}
