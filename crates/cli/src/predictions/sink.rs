//! Where tables of answers go: a pipe, or a file that appears only when it is whole.

use super::text::{self, TextFormat};
use crate::failure::Failure;
use arrow_array::RecordBatch;
use ombud_core::Class;
use ombud_engine::bundle::staging::RestingPlace;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Comma-separated values
    Csv,
    /// One JSON object per line
    Jsonl,
    /// Apache Parquet
    Parquet,
}

impl TableFormat {
    /// The format that a file's name asks for.
    pub fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(TableFormat::Csv),
            "jsonl" | "ndjson" => Some(TableFormat::Jsonl),
            "parquet" => Some(TableFormat::Parquet),
            _ => None,
        }
    }

    /// How texts within it are written.
    pub fn text(self) -> TextFormat {
        match self {
            TableFormat::Csv | TableFormat::Parquet => TextFormat::Csv,
            TableFormat::Jsonl => TextFormat::Jsonl,
        }
    }
}

/// A part of the output, ready to be written: text is made where the answers are made, on many threads.
#[derive(Debug)]
pub enum Piece {
    /// Bytes as they are.
    Text(Vec<u8>),
    /// A table that the writer encodes.
    Table(RecordBatch),
}

impl Piece {
    /// Prepares a table for a format.
    pub fn of(table: RecordBatch, format: TableFormat) -> Self {
        match format {
            TableFormat::Csv => Piece::Text(text::rows(&table, TextFormat::Csv)),
            TableFormat::Jsonl => Piece::Text(text::rows(&table, TextFormat::Jsonl)),
            TableFormat::Parquet => Piece::Table(table),
        }
    }
}

/// Takes the pieces, in order.
#[derive(Debug)]
pub enum Sink {
    /// Text into a target.
    Text(Target),
    /// Parquet into a target.
    Parquet(Box<ArrowWriter<Target>>),
}

impl Sink {
    /// Opens a sink and writes what comes before the rows.
    pub fn open(
        mut target: Target,
        format: TableFormat,
        columns: &std::sync::Arc<arrow_schema::Schema>,
    ) -> Result<Self, Failure> {
        if format == TableFormat::Parquet {
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                // Probabilities seldom repeat: a dictionary of them costs time and saves nothing.
                .set_dictionary_enabled(false)
                .build();
            let writer = ArrowWriter::try_new(target, columns.clone(), Some(properties))
                .map_err(parquet_failure)?;
            return Ok(Sink::Parquet(Box::new(writer)));
        }
        let head = text::head(columns, format.text());
        target
            .write_all(&head)
            .map_err(|error| target.failure(&error))?;
        Ok(Sink::Text(target))
    }

    /// Writes a piece.
    pub fn write(&mut self, piece: &Piece) -> Result<(), Failure> {
        match (self, piece) {
            (Sink::Text(target), Piece::Text(bytes)) => target
                .write_all(bytes)
                .map_err(|error| target.failure(&error)),
            (Sink::Parquet(writer), Piece::Table(table)) => {
                writer.write(table).map_err(parquet_failure)
            }
            (Sink::Text(_), Piece::Table(_)) | (Sink::Parquet(_), Piece::Text(_)) => Ok(()),
        }
    }

    /// Ends the table; a file appears under its name now.
    pub fn finish(self) -> Result<(), Failure> {
        match self {
            Sink::Text(target) => target.finish(),
            Sink::Parquet(writer) => writer.into_inner().map_err(parquet_failure)?.finish(),
        }
    }
}

fn parquet_failure(error: ParquetError) -> Failure {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => Failure::output(&error),
            Err(error) => unwritable(&error.to_string()),
        },
        error => unwritable(&error.to_string()),
    }
}

fn unwritable(reason: &str) -> Failure {
    Failure::new(
        Class::Unavailable,
        format!("the answers cannot be written as Parquet: {reason}"),
        "check the disk",
    )
}

/// Where bytes go.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    StandardOutput(io::Stdout),
    /// A file under another name until it is whole.
    File(Draft),
    /// A pipe or a device, which is written into and never replaced.
    Stream(File, PathBuf),
}

/// A file being written; dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    file: File,
    draft: PathBuf,
    path: PathBuf,
    is_finished: bool,
}

impl Target {
    /// Standard output, or a file.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Ok(Target::StandardOutput(io::stdout())),
            Some(path) => Target::at(path),
        }
    }

    fn at(path: &Path) -> Result<Self, Failure> {
        let place =
            RestingPlace::of(path).map_err(|error| Failure::file("written", path, &error))?;
        match place {
            RestingPlace::File(path) => Ok(Target::File(Draft::new(&path)?)),
            RestingPlace::Stream => {
                let opened = RestingPlace::open_stream(path);
                let stream = opened.map_err(|error| Failure::file("written", path, &error))?;
                Ok(Target::Stream(stream, path.to_owned()))
            }
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        match self {
            Target::StandardOutput(_) => Failure::output(error),
            Target::File(draft) => Failure::file("written", &draft.path, error),
            Target::Stream(..) if error.kind() == io::ErrorKind::BrokenPipe => Failure::PipeClosed,
            Target::Stream(_, path) => Failure::file("written", path, error),
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.flush().map_err(|error| self.failure(&error))?;
        match self {
            Target::StandardOutput(_) | Target::Stream(..) => Ok(()),
            Target::File(draft) => draft.finish(),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::StandardOutput(out) => out.write(bytes),
            Target::File(draft) => draft.file.write(bytes),
            Target::Stream(stream, _) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::StandardOutput(out) => out.flush(),
            Target::File(draft) => draft.file.flush(),
            Target::Stream(stream, _) => stream.flush(),
        }
    }
}

impl Draft {
    fn new(path: &Path) -> Result<Self, Failure> {
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            let hint = format!(
                "name the file, such as {}",
                path.join("predictions.csv").display()
            );
            return Err(Failure::invalid(
                format!("{} is a folder", path.display()),
                hint,
            ));
        };
        // The process's number keeps two runs apart; what a killed run left under it may be replaced.
        let draft = path.with_file_name(format!(
            ".{}.{}.draft",
            name.to_string_lossy(),
            std::process::id()
        ));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&draft);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let message = format!("the folder of {} does not exist", path.display());
                Failure::new(
                    Class::NotFound,
                    message,
                    "make the folder first, or choose another place",
                )
            }
            _ => Failure::file("written", path, &error),
        })?;
        Ok(Draft {
            file,
            draft,
            path: path.to_owned(),
            is_finished: false,
        })
    }

    fn finish(mut self) -> Result<(), Failure> {
        let placed = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.draft, &self.path));
        placed.map_err(|error| Failure::file("written", &self.path, &error))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            // The first failure is the one to tell.
            let _ = fs::remove_file(&self.draft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("a.csv");
        let mut target = Target::open(Some(&path)).expect("opens");
        target.write_all(b"half").expect("writes");
        drop(target);
        assert_eq!(fs::read_dir(place.path()).expect("reads").count(), 0);
    }

    #[test]
    fn a_device_is_written_into_and_a_link_followed() {
        let mut target = Target::open(Some(Path::new("/dev/null"))).expect("opens");
        target.write_all(b"gone").expect("writes");
        target.finish().expect("finishes");
        assert!(!fs::metadata("/dev/null").expect("there").is_file());

        let place = tempfile::tempdir().expect("a temporary folder");
        let (link, path) = (place.path().join("link"), place.path().join("a.csv"));
        std::os::unix::fs::symlink("a.csv", &link).expect("a link");
        let mut target = Target::open(Some(&link)).expect("opens");
        target.write_all(b"new").expect("writes");
        target.finish().expect("finishes");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "new");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    }

    #[test]
    fn a_finished_file_replaces_the_old_one() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("a.csv");
        fs::write(&path, "old").expect("writes");
        let mut target = Target::open(Some(&path)).expect("opens");
        target.write_all(b"new").expect("writes");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "old");
        target.finish().expect("finishes");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "new");
    }
}
