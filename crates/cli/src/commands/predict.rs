//! `ombud predict`: answers for many rows, in bounded memory, as fast as the machine allows.
//!
//! Three things go on at once: one thread reads and parses ahead, all threads answer and format batches, and the main
//! thread writes what is ready, in order. The queues between them are short, so a slow disk holds the rest back.

use super::Outcome;
use crate::bundles::{self, StagesArguments};
use crate::console::Console;
use crate::failure::{Failure, STARTS_HERE};
use crate::keys::TrustArguments;
use crate::numbers;
use crate::predictions::Maker;
use crate::predictions::sink::{Piece, Sink, TableFormat, Target};
use crate::progress::Shown;
use arrow_array::RecordBatch;
use clap::{Args, ValueEnum};
use ombud_core::Class;
use ombud_core::frame::Notes;
use ombud_engine::Model;
use ombud_learn::joining;
use ombud_learn::progress::Progress;
use ombud_learn::source::{self, Batches, Meter, Place, ReadError, Source, SourceSpec};
use ombud_learn::train::TrainError;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Rows answered at once: enough to outweigh handing them out, few enough to keep memory small.
const ROWS_PER_BATCH: usize = 8_192;
/// With reasons a row takes a hundred times longer, so smaller batches keep all threads busy to the end.
const ROWS_PER_EXPLAINED_BATCH: usize = 1_024;
/// Batches being answered or waiting to be written, per thread.
const BATCHES_PER_THREAD: usize = 2;
/// Largest file that is read a second time to explain what is wrong with it.
const READ_AGAIN_BYTES_MAX: u64 = 32 << 20;
/// Remarks about the data that are told; a wrong file would fill the screen.
const NOTES_TOLD_MAX: usize = 20;

/// Answer the rows of a file or a pipe
///
/// Every row becomes one row of answers in the same order: the subject and id columns of the recipe, then for classes
/// `prediction, confidence, p_<class>…`, for numbers `prediction` (and `lower, upper` where the recipe promised
/// coverage), for segments `segment, segment_name, confidence`. Cells that the model does not know count as missing
/// and are summed up at the end on standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud predict models/claim_outcome/latest --data new.csv --out answers.csv
  ombud predict models/claim_outcome/latest --data new.parquet --explain --format jsonl
  cat new.csv | ombud predict models/claim_outcome/latest --data - | head")]
pub struct Arguments {
    /// The bundle: a folder or a .tar.gz
    pub bundle: PathBuf,
    /// The rows: a .csv, .tsv, .jsonl or .parquet file, or - for standard input
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    pub data: String,
    /// The long table that the recipe joins to the rows as sequences
    #[arg(long, value_name = "SOURCE")]
    pub series: Option<String>,
    /// The file to write, whole or not at all; standard output without it, or with `-`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Add the strongest reasons of every answer
    #[arg(long)]
    pub explain: bool,
    /// The format of the answers [default: what the name of --out says, else csv]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<TableFormat>,
    /// The format of the rows [default: what the name says, csv on standard input]
    #[arg(long, value_name = "FORMAT")]
    pub input_format: Option<InputFormat>,
    #[command(flatten)]
    pub trust: TrustArguments,
    #[command(flatten)]
    pub stages: StagesArguments,
}

impl Arguments {
    /// The file to write; none where answers go to standard output.
    fn file(&self) -> Option<&Path> {
        self.out.as_deref().filter(|path| *path != Path::new("-"))
    }
}

/// The format of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// Comma-separated values
    Csv,
    /// Tab-separated values
    Tsv,
    /// One JSON object per line
    Jsonl,
    /// Apache Parquet
    Parquet,
}

impl InputFormat {
    fn word(self) -> &'static str {
        match self {
            InputFormat::Csv => "csv",
            InputFormat::Tsv => "tsv",
            InputFormat::Jsonl => "jsonl",
            InputFormat::Parquet => "parquet",
        }
    }
}

/// Reads, answers, writes.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let format = format(arguments)?;
    let spec = spec(arguments)?;
    let model = bundles::open_model(&arguments.bundle, &arguments.trust, &arguments.stages)?;
    if arguments.explain && !model.explains() {
        return Err(no_reasons(&model));
    }
    let series = arguments
        .series
        .as_deref()
        .map(|series| joining::open(&model, series, Path::new("")))
        .transpose()
        .map_err(|error| Failure::of_data_named_here(TrainError::from(error)))?;
    let maker = Maker::new(model, series, arguments.explain.then(|| format.text()))?;
    let rows_per_batch = if arguments.explain {
        ROWS_PER_EXPLAINED_BATCH
    } else {
        ROWS_PER_BATCH
    };
    let source = source::open(&spec).map_err(unreadable)?;
    let batches = source
        .stream(&maker.hints(), rows_per_batch)
        .map_err(unreadable)?;
    let shown = Shown::new(console);
    let answered = answer_all(
        &maker,
        batches,
        source.meter(),
        format,
        arguments.file(),
        &shown,
    );
    drop(shown);
    let written =
        answered.map_err(|failure| told_by_all_columns(failure, &maker, source.as_ref(), &spec))?;
    tell(&written.notes, console);
    if let Some(out) = arguments.file() {
        let answers = numbers::plural(written.rows, "answer");
        console.note(&format!("{answers} in {}", out.display()));
    }
    Ok(Outcome::Done)
}

/// A stream holds only the columns that were asked for. When some are not there, the others' names tell what they may
/// be called, so a small file is read again as a whole.
fn told_by_all_columns(
    failure: Failure,
    maker: &Maker,
    source: &dyn Source,
    spec: &SourceSpec,
) -> Failure {
    let is_small = source
        .meter()
        .bytes_total()
        .is_some_and(|bytes| bytes <= READ_AGAIN_BYTES_MAX);
    let is_misfit = matches!(&failure, Failure::Wrong(wrong) if wrong.is_about_columns);
    if !is_misfit || !is_small || spec.place == Place::StandardInput {
        return failure;
    }
    match source.read_all().map(|table| maker.table(&table.batch)) {
        Ok(Err(better)) => better,
        _ => failure,
    }
}

fn no_reasons(model: &Model) -> Failure {
    let message = format!(
        "{} came as an ONNX graph, which gives no reasons for its answers",
        model.manifest().name
    );
    Failure::new(
        Class::Unsupported,
        message,
        "leave out --explain; a model of XGBoost or LightGBM keeps its reasons when it is imported from its own file",
    )
}

fn format(arguments: &Arguments) -> Result<TableFormat, Failure> {
    let named = arguments
        .file()
        .map(|path| (path, TableFormat::of_name(path)));
    let format = match (arguments.format, named) {
        (Some(format), _) | (None, Some((_, Some(format)))) => format,
        (None, None) => TableFormat::Csv,
        (None, Some((path, None))) => {
            let message = format!(
                "the name {} does not tell the format of the answers",
                path.display()
            );
            return Err(Failure::invalid(
                message,
                "end it in .csv, .jsonl or .parquet, or give --format",
            ));
        }
    };
    if format == TableFormat::Parquet
        && arguments.file().is_none()
        && std::io::stdout().is_terminal()
    {
        return Err(Failure::invalid(
            "Parquet cannot be shown on a terminal",
            "write it to a file with --out answers.parquet",
        ));
    }
    Ok(format)
}

fn spec(arguments: &Arguments) -> Result<SourceSpec, Failure> {
    let named = match arguments.input_format {
        Some(format) => {
            // The flag speaks louder than a prefix that says the same.
            let place = arguments
                .data
                .strip_prefix(&format!("{}:", format.word()))
                .unwrap_or(&arguments.data);
            format!("{}:{place}", format.word())
        }
        None => arguments.data.clone(),
    };
    SourceSpec::parse(&named, Path::new("")).map_err(unreadable)
}

fn unreadable(error: ReadError) -> Failure {
    let is_absent = matches!(error, ReadError::NotFound { .. });
    let failure = Failure::from(error);
    if is_absent {
        failure.with_hint(STARTS_HERE)
    } else {
        failure
    }
}

/// Answers that are ready to be written.
struct Answered {
    piece: Piece,
    rows: usize,
    notes: Notes,
}

/// A batch on its way: the writer waits for it in order.
type Promise = Receiver<Result<Answered, Failure>>;

/// What was written.
#[derive(Default)]
struct Written {
    rows: usize,
    notes: Notes,
}

fn answer_all(
    maker: &Maker,
    batches: Batches,
    meter: &Arc<Meter>,
    format: TableFormat,
    out: Option<&Path>,
    progress: &Shown,
) -> Result<Written, Failure> {
    let waiting_max = rayon::current_num_threads() * BATCHES_PER_THREAD;
    let (promised, promises) = sync_channel::<Promise>(waiting_max);
    progress.start("answering", meter.bytes_total());
    let answered = rayon::in_place_scope(|tasks| {
        thread::scope(|threads| {
            threads.spawn(move || feed(tasks, maker, batches, format, &promised));
            write_all(promises, maker, meter, format, out, progress)
        })
    });
    progress.finish();
    answered
}

/// Hands batches to the threads as they come; ends when nobody waits for answers any more.
fn feed<'m>(
    tasks: &rayon::Scope<'m>,
    maker: &'m Maker,
    batches: Batches,
    format: TableFormat,
    promised: &SyncSender<Promise>,
) {
    for batch in batches {
        let (keep, promise) = sync_channel(1);
        if promised.send(promise).is_err() {
            return;
        }
        tasks.spawn(move |_| {
            // Nobody waits for it after a failure.
            let _ = keep.send(answer(maker, batch, format));
        });
    }
}

fn answer(
    maker: &Maker,
    batch: Result<RecordBatch, ReadError>,
    format: TableFormat,
) -> Result<Answered, Failure> {
    let answers = maker.table(&batch.map_err(unreadable)?)?;
    Ok(Answered {
        rows: answers.table.num_rows(),
        piece: Piece::of(answers.table, format),
        notes: answers.notes,
    })
}

/// Writes what was promised, in order. The output is opened when the first batch is known to be good. Owns the
/// promises, so that a failure here drops them and the feeding thread, which may wait for room, ends too.
fn write_all(
    promises: Receiver<Promise>,
    maker: &Maker,
    meter: &Meter,
    format: TableFormat,
    out: Option<&Path>,
    progress: &Shown,
) -> Result<Written, Failure> {
    let mut written = Written::default();
    let mut sink = None;
    for promise in promises {
        let answered = promise.recv().map_err(|_| gone())??;
        written.rows += answered.rows;
        written.notes.merge(answered.notes);
        let sink = match &mut sink {
            Some(sink) => sink,
            none => none.insert(Sink::open(Target::open(out)?, format, maker.columns())?),
        };
        sink.write(&answered.piece)?;
        progress.advance(meter.bytes_read());
        if progress.is_stopped() {
            return Err(Failure::Stopped);
        }
    }
    let sink = match sink {
        Some(sink) => sink,
        None => Sink::open(Target::open(out)?, format, maker.columns())?,
    };
    sink.finish()?;
    Ok(written)
}

fn gone() -> Failure {
    Failure::new(
        Class::Internal,
        "a thread ended without its answers",
        "report this",
    )
}

fn tell(notes: &Notes, console: &Console) {
    let sentences = notes.sentences();
    for sentence in sentences.iter().take(NOTES_TOLD_MAX) {
        console.warn(sentence);
    }
    if sentences.len() > NOTES_TOLD_MAX {
        console.warn(&format!(
            "and {} more such remarks",
            sentences.len() - NOTES_TOLD_MAX
        ));
    }
}
