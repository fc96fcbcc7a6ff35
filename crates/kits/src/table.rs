//! Tables written row by row to CSV or Parquet, in bounded memory and with the same bytes for the same rows.

use arrow_array::builder::{BooleanBuilder, Float64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows kept before a block is written.
const BLOCK_ROWS: usize = 8_192;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Number,
    Text,
    Flag,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

impl Column {
    pub fn number(name: impl Into<String>) -> Column {
        Column {
            name: name.into(),
            kind: ColumnKind::Number,
        }
    }

    pub fn text(name: impl Into<String>) -> Column {
        Column {
            name: name.into(),
            kind: ColumnKind::Text,
        }
    }

    pub fn flag(name: impl Into<String>) -> Column {
        Column {
            name: name.into(),
            kind: ColumnKind::Flag,
        }
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Missing,
    Number(f64),
    Text(String),
    Flag(bool),
}

impl Cell {
    pub fn number(value: Option<f64>) -> Cell {
        value.map_or(Cell::Missing, Cell::Number)
    }

    pub fn text(value: Option<impl Into<String>>) -> Cell {
        value.map_or(Cell::Missing, |text| Cell::Text(text.into()))
    }

    pub fn flag(value: Option<bool>) -> Cell {
        value.map_or(Cell::Missing, Cell::Flag)
    }
}

/// Why a table was not written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("{} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} cannot be written as Parquet", path.display())]
    Parquet {
        path: PathBuf,
        #[source]
        source: parquet::errors::ParquetError,
    },
    #[error("{} ends in neither .csv nor .parquet", path.display())]
    UnknownForm { path: PathBuf },
}

impl TableError {
    /// Whose mistake it is.
    pub fn class(&self) -> ombud_core::Class {
        match self {
            TableError::UnknownForm { .. } => ombud_core::Class::Invalid,
            TableError::Write { .. } | TableError::Parquet { .. } => ombud_core::Class::Unavailable,
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            TableError::UnknownForm { .. } => "name a file such as survey.csv or survey.parquet",
            TableError::Write { .. } | TableError::Parquet { .. } => {
                "check the disk and the rights on the folder"
            }
        }
    }
}

/// A table being written.
pub struct TableWriter {
    path: PathBuf,
    columns: Vec<Column>,
    sink: Sink,
}

impl std::fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableWriter")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

enum Sink {
    Csv(BufWriter<File>),
    Parquet {
        writer: Box<ArrowWriter<File>>,
        schema: Arc<Schema>,
        block: Vec<Vec<Cell>>,
    },
}

impl TableWriter {
    /// Begins a file; its ending says the format.
    pub fn create(path: &Path, columns: Vec<Column>) -> Result<TableWriter, TableError> {
        let ending = path
            .extension()
            .and_then(|it| it.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let written = |source| TableError::Write {
            path: path.to_owned(),
            source,
        };
        let sink = match ending.as_str() {
            "csv" => Sink::Csv(
                begin_csv(File::create(path).map_err(written)?, &columns).map_err(written)?,
            ),
            "parquet" => {
                let file = File::create(path).map_err(written)?;
                begin_parquet(file, &columns).map_err(|source| TableError::Parquet {
                    path: path.to_owned(),
                    source,
                })?
            }
            _ => {
                return Err(TableError::UnknownForm {
                    path: path.to_owned(),
                });
            }
        };
        Ok(TableWriter {
            path: path.to_owned(),
            columns,
            sink,
        })
    }

    /// Adds a row: a cell per column.
    pub fn write(&mut self, row: Vec<Cell>) -> Result<(), TableError> {
        assert_eq!(row.len(), self.columns.len(), "a row has a cell per column");
        match &mut self.sink {
            Sink::Csv(file) => write_line(file, &row).map_err(|source| TableError::Write {
                path: self.path.clone(),
                source,
            }),
            Sink::Parquet { block, .. } => {
                block.push(row);
                match block.len() < BLOCK_ROWS {
                    true => Ok(()),
                    false => self.write_block(),
                }
            }
        }
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<(), TableError> {
        self.write_block()?;
        match self.sink {
            Sink::Csv(mut file) => file.flush().map_err(|source| TableError::Write {
                path: self.path,
                source,
            }),
            Sink::Parquet { writer, .. } => match writer.close() {
                Ok(_) => Ok(()),
                Err(source) => Err(TableError::Parquet {
                    path: self.path,
                    source,
                }),
            },
        }
    }

    fn write_block(&mut self) -> Result<(), TableError> {
        let Sink::Parquet {
            writer,
            schema,
            block,
        } = &mut self.sink
        else {
            return Ok(());
        };
        let rows = std::mem::take(block);
        if rows.is_empty() {
            return Ok(());
        }
        let arrays = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| array(column.kind, &rows, at));
        let batch = RecordBatch::try_new(schema.clone(), arrays.collect());
        let written = batch
            .map_err(Into::into)
            .and_then(|batch| writer.write(&batch));
        written.map_err(|source| TableError::Parquet {
            path: self.path.clone(),
            source,
        })
    }
}

fn begin_csv(file: File, columns: &[Column]) -> std::io::Result<BufWriter<File>> {
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    writeln!(file, "{}", names.join(","))?;
    Ok(file)
}

fn begin_parquet(file: File, columns: &[Column]) -> Result<Sink, parquet::errors::ParquetError> {
    let fields = columns.iter().map(|column| {
        let kind = match column.kind {
            ColumnKind::Number => DataType::Float64,
            ColumnKind::Text => DataType::Utf8,
            ColumnKind::Flag => DataType::Boolean,
        };
        Field::new(&column.name, kind, true)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    Ok(Sink::Parquet {
        writer: Box::new(ArrowWriter::try_new(
            file,
            schema.clone(),
            Some(properties),
        )?),
        schema,
        block: Vec::new(),
    })
}

fn array(kind: ColumnKind, rows: &[Vec<Cell>], at: usize) -> ArrayRef {
    match kind {
        ColumnKind::Number => {
            let mut builder = Float64Builder::with_capacity(rows.len());
            rows.iter().for_each(|row| match &row[at] {
                Cell::Number(number) => builder.append_value(*number),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Text => {
            let mut builder = StringBuilder::new();
            rows.iter().for_each(|row| match &row[at] {
                Cell::Text(text) => builder.append_value(text),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Flag => {
            let mut builder = BooleanBuilder::with_capacity(rows.len());
            rows.iter().for_each(|row| match &row[at] {
                Cell::Flag(flag) => builder.append_value(*flag),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
    }
}

fn write_line(file: &mut impl Write, row: &[Cell]) -> std::io::Result<()> {
    for (at, cell) in row.iter().enumerate() {
        if at > 0 {
            file.write_all(b",")?;
        }
        match cell {
            Cell::Missing => {}
            Cell::Number(number) => write!(file, "{number}")?,
            Cell::Flag(flag) => write!(file, "{flag}")?,
            Cell::Text(text) if text.contains(['"', ',', '\n', '\r']) => {
                write!(file, "\"{}\"", text.replace('"', "\"\""))?;
            }
            Cell::Text(text) => file.write_all(text.as_bytes())?,
        }
    }
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_only_where_they_must_be() {
        let mut line = Vec::new();
        let row = [
            Cell::Number(2.5),
            Cell::Missing,
            Cell::Text("a \"b\", c\nd".into()),
            Cell::Text("plain".into()),
            Cell::Flag(true),
        ];
        write_line(&mut line, &row).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "2.5,,\"a \"\"b\"\", c\nd\",plain,true\n"
        );
    }

    #[test]
    fn another_ending_is_refused() {
        let error =
            TableWriter::create(Path::new("survey.xlsx"), vec![Column::number("q1")]).unwrap_err();
        assert_eq!(error.class(), ombud_core::Class::Invalid);
    }
}
