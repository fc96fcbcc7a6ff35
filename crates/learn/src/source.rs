//! Tables from files: CSV, JSON lines and Parquet become Arrow batches of raw columns.
//!
//! A [`Source`] is read in one of two ways. [`Source::read_all`] finds out what each column is and gives the whole table, for
//! training. [`Source::stream`] is told what is wanted and gives batch after batch in bounded memory, for
//! prediction. Raw columns are numbers (`Float64`), texts (`LargeUtf8`, or a dictionary of `Utf8` while few are
//! distinct), flags (`Boolean`) and lists of numbers (`LargeList`). What a column is *for* is decided in
//! [`crate::infer`]; a schema gives it its type in [`ombud_core::frame`]. The trait is object safe, so that a
//! database can be a source too.
//!
//! Rules that all text formats share: bytes are UTF-8 (a byte-order mark is dropped, gzip is seen through); a fault
//! names the file and the line; the fingerprint is the SHA-256 of the bytes as they are stored.

mod blocks;
mod cells;
mod csv;
mod error;
mod interner;
mod jsonl;
mod parquet;
mod series;
mod spec;

pub use blocks::{RECORD_BYTES_MAX, STANDARD_INPUT_BYTES_MAX};
pub use csv::FIELD_BYTES_MAX;
pub use error::ReadError;
pub use ombud_core::frame::ROWS_MAX;
pub use series::{Series, SeriesSpec};
pub use spec::{Format, Place, SourceSpec};

use arrow_array::{ArrayRef, RecordBatch};
use ombud_core::schema::{Kind, Schema};
use ombud_core::{Digest, nearest::nearest};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

/// Most columns a table may have: as many features as a schema may hold, and as many others again.
pub const COLUMNS_MAX: usize = 20_000;
/// Batches that wait to be taken from a stream.
const BATCHES_WAITING_MAX: usize = 4;

/// Something a table can be read from.
pub trait Source: fmt::Debug + Send + Sync {
    /// What it is, for people: the path, or the query.
    fn describe(&self) -> String;

    /// How far the reading is.
    fn meter(&self) -> &Arc<Meter>;

    /// Reads everything and finds out what each column is.
    ///
    /// # Errors
    /// Whatever keeps the data from being read, and a source without rows.
    fn read_all(&self) -> Result<Table, ReadError>;

    /// Reads the wanted columns in batches of at most `batch_rows` rows, in order.
    ///
    /// # Errors
    /// Whatever is wrong at the start; later faults come from the batches.
    fn stream(&self, hints: &Hints, batch_rows: usize) -> Result<Batches, ReadError>;
}

/// A whole table.
#[derive(Debug, Clone)]
pub struct Table {
    /// The raw columns.
    pub batch: RecordBatch,
    /// The SHA-256 of the bytes it was read from. Of partitions: of their digests, in order.
    pub fingerprint: Digest,
    /// How many bytes that were.
    pub bytes: u64,
}

impl Table {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }
}

/// How far a reading is; may be looked at from another thread.
#[derive(Debug, Default)]
pub struct Meter {
    bytes_read: AtomicU64,
    bytes_total: AtomicU64,
    rows: AtomicU64,
    fingerprint: OnceLock<Digest>,
}

impl Meter {
    /// Bytes read so far, as they are stored.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// All bytes there are, when that is known.
    pub fn bytes_total(&self) -> Option<u64> {
        match self.bytes_total.load(Ordering::Relaxed) {
            0 => None,
            total => Some(total),
        }
    }

    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// The SHA-256 of the bytes, once all are read.
    pub fn fingerprint(&self) -> Option<Digest> {
        self.fingerprint.get().copied()
    }
}

/// What a column is to be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawKind {
    /// A number. A cell that is none becomes infinite, which binding to a schema counts and drops.
    Number,
    /// The text as it stands.
    Text,
    /// A number that names something (`1`, `1.0` and `01` are the same): its shortest text.
    NumberName,
    /// A list of numbers.
    List,
}

/// The columns wanted from a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    kinds: BTreeMap<String, RawKind>,
}

impl Hints {
    /// What a schema needs: its features by kind, and the other named columns as texts.
    pub fn of(schema: &Schema) -> Hints {
        let mut hints = Hints::default();
        for name in schema.columns.carried() {
            hints.want(name, RawKind::Text);
        }
        for feature in schema.features() {
            let path = feature.path.to_string();
            for name in [feature.name.as_str(), path.as_str()] {
                hints.want(name, raw_kind(&feature.kind));
            }
            if let Kind::Sequence { steps, .. } = feature.kind {
                for step in 1..=steps {
                    let name = format!("{}_{step}", feature.name);
                    hints.kinds.entry(name).or_insert(RawKind::Number);
                }
            }
        }
        hints
    }

    /// Wants one more column, or another kind of it.
    pub fn want(&mut self, name: &str, kind: RawKind) {
        self.kinds.insert(name.to_owned(), kind);
    }

    /// What a column is wanted as, if it is wanted.
    pub fn get(&self, name: &str) -> Option<RawKind> {
        self.kinds.get(name).copied()
    }
}

fn raw_kind(kind: &Kind) -> RawKind {
    match kind {
        Kind::Number { .. } => RawKind::Number,
        Kind::Sequence { .. } => RawKind::List,
        Kind::Text => RawKind::Text,
        // Values that were numbers in training are found again however another program writes them.
        Kind::Ordinal { levels: values } | Kind::Category { values, .. } => {
            let is_number_name = |value: &String| {
                value
                    .parse::<f64>()
                    .is_ok_and(|n| ombud_core::row::number_text(n) == *value)
            };
            match values.iter().all(is_number_name) && !values.is_empty() {
                true => RawKind::NumberName,
                false => RawKind::Text,
            }
        }
    }
}

/// The batches of a stream, in order. Parsing runs ahead on another thread.
#[derive(Debug)]
pub struct Batches {
    receiver: Receiver<Result<RecordBatch, ReadError>>,
}

impl Batches {
    /// A stream fed by `produce` on a thread of its own; `produce` ends when a send answers false.
    pub fn produced_by(
        produce: impl FnOnce(&BatchSender) + Send + 'static,
    ) -> Result<Batches, ReadError> {
        let (sender, receiver) = sync_channel(BATCHES_WAITING_MAX);
        std::thread::Builder::new()
            .name("ombud-read".into())
            .spawn(move || produce(&BatchSender { sender }))
            .map_err(|source| ReadError::io("a thread for reading", source))?;
        Ok(Batches { receiver })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ReadError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.recv().ok()
    }
}

/// The giving end of [`Batches`].
#[derive(Debug)]
pub struct BatchSender {
    sender: SyncSender<Result<RecordBatch, ReadError>>,
}

impl BatchSender {
    /// Waits until there is room; false when nobody takes the batches any more.
    pub fn send(&self, batch: Result<RecordBatch, ReadError>) -> bool {
        self.sender.send(batch).is_ok()
    }

    /// Sends a batch in slices of at most so many rows.
    fn send_sliced(&self, batch: &RecordBatch, rows_max: usize) -> bool {
        let rows = batch.num_rows();
        (0..rows)
            .step_by(rows_max.max(1))
            .all(|start| self.send(Ok(batch.slice(start, rows_max.max(1).min(rows - start)))))
    }
}

/// Makes a source ready. Nothing is read before it is asked to.
pub fn open(spec: &SourceSpec) -> Result<Box<dyn Source>, ReadError> {
    match spec.format {
        Format::Csv | Format::Tsv => Ok(Box::new(csv::CsvSource::new(spec))),
        Format::Jsonl => Ok(Box::new(jsonl::JsonlSource::new(spec))),
        Format::Parquet => Ok(Box::new(parquet::ParquetSource::new(spec)?)),
    }
}

/// The column of a table, or an error with the nearest name.
pub fn column<'b>(
    batch: &'b RecordBatch,
    name: &str,
    file: &str,
) -> Result<&'b ArrayRef, ReadError> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        ReadError::NoColumn {
            file: file.to_owned(),
            column: name.to_owned(),
            nearest: nearest(name, names).map(str::to_owned),
        }
    })
}

/// A batch of named columns of one length.
fn batch_of(columns: Vec<(String, ArrayRef)>, rows: usize) -> RecordBatch {
    use arrow_array::{Array, RecordBatchOptions};
    let fields = columns
        .iter()
        .map(|(name, array)| arrow_schema::Field::new(name, array.data_type().clone(), true));
    let schema = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, arrays, &options)
        .expect("readers give columns of one length")
}

#[cfg(test)]
pub(crate) mod testing {
    //! Tables as plain values, for tests of all readers.

    use super::*;
    use std::path::Path;

    /// A file with these bytes, and its name as a source.
    pub(crate) fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, SourceSpec) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let spec = SourceSpec::parse(name, folder.path()).unwrap();
        (folder, spec)
    }

    /// A table as names and texts; numbers in their shortest form.
    pub(crate) fn shown(batch: &RecordBatch) -> Vec<(String, Vec<Option<String>>)> {
        let schema = batch.schema();
        let column = |(name, array): (&str, &ArrayRef)| {
            let texts = ombud_core::frame::texts(array);
            let cells = texts.iter().map(|text| text.map(str::to_owned));
            (name.to_owned(), cells.collect())
        };
        let names = schema.fields().iter().map(|field| field.name().as_str());
        names.zip(batch.columns()).map(column).collect()
    }

    /// What reading gives, or the error and its hint, without the folder.
    pub(crate) fn told(name: &str, bytes: &[u8]) -> String {
        let (folder, spec) = file(name, bytes);
        let base = format!("{}/", folder.path().display());
        match open(&spec).and_then(|source| source.read_all()) {
            Ok(table) => format!("{:?}", shown(&table.batch)),
            Err(error) => {
                assert!(!error.hint().is_empty());
                error.to_string().replace(&base, "")
            }
        }
    }

    /// All batches of a stream as one list of shown batches.
    pub(crate) fn streamed(
        source: &dyn Source,
        hints: &Hints,
        rows: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        source.stream(hints, rows)?.collect()
    }

    #[test]
    fn a_wrong_column_is_told_with_the_nearest_name() {
        let (_folder, spec) = file("a.csv", b"gender,age\nf,1\n");
        let table = open(&spec).unwrap().read_all().unwrap();
        let error = column(&table.batch, "gendre", "a.csv").unwrap_err();
        assert_eq!(error.hint(), "the nearest name is \"gender\"");
    }

    #[test]
    fn a_source_that_is_not_there_is_told_before_anything_else() {
        let spec = SourceSpec::parse("nowhere.csv", Path::new("/nonexistent")).unwrap();
        let error = open(&spec).unwrap().read_all().unwrap_err();
        assert_eq!(error.class(), ombud_core::Class::NotFound);
    }

    #[test]
    fn a_schema_wants_its_features_and_the_columns_it_carries() {
        use ombud_core::schema::{Columns, Feature, Unseen};
        let category = |values: [&str; 2]| Kind::Category {
            values: values.map(str::to_owned).to_vec(),
            unseen: Unseen::Missing,
        };
        let features = vec![
            Feature::new("age", Kind::number()),
            Feature::new("sex", category(["f", "m"])),
            Feature::new("senior", category(["0", "1"])),
            Feature::new(
                "hr",
                Kind::Sequence {
                    steps: 2,
                    bounds: ombud_core::schema::Bounds::default(),
                },
            ),
        ];
        let columns = Columns {
            subject: Some("id".into()),
            protected: vec!["age".into()],
            ..Columns::default()
        };
        let hints = Hints::of(&Schema::new(features, columns).unwrap());
        let wanted =
            ["id", "age", "sex", "senior", "hr", "hr_2", "hr_3"].map(|name| hints.get(name));
        let expected = [
            Some(RawKind::Text),
            Some(RawKind::Number),
            Some(RawKind::Text),
            Some(RawKind::NumberName),
            Some(RawKind::List),
            Some(RawKind::Number),
            None,
        ];
        assert_eq!(wanted, expected);
    }
}
