//! `ombud kit hseg`: the assessment of psychological safety at work.

mod demo;
mod report;

use crate::commands::Outcome;
use crate::console::{Console, Shade};
use crate::failure::{Failure, chain};
use crate::keys;
use crate::numbers::{count, seconds};
use crate::progress::{self, Shown};
use crate::table::{Table, facts};
use clap::{Args, Subcommand, ValueEnum};
use ombud_kits::hseg::generate::{self, Generated, Generator, Options, Phrases, ceiling};
use ombud_kits::hseg::lexicon::Lexicon;
use ombud_kits::hseg::score::Score;
use ombud_kits::hseg::survey::{Category, RatingFault, Ratings};
use ombud_kits::hseg::training::quality::{Beside, Line, Measured};
use ombud_kits::hseg::training::{self, Plan, TrainingError};
use ombud_kits::table::TableError;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// People whose ceiling is integrated when a table is written.
const INTEGRATED: usize = 1_000;
/// Longest body that `score` reads.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Assess psychological safety at work
#[derive(Debug, Subcommand)]
pub enum Command {
    Generate(GenerateArguments),
    Train(TrainArguments),
    Score(ScoreArguments),
    Report(report::ReportArguments),
    Demo(demo::DemoArguments),
}

/// Write survey data with the structure of real ones
///
/// The same seed gives the same bytes. The last columns are what became of each person three months later; the
/// equations, and the ceiling that no model can pass, are in docs/kits/hseg.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud kit hseg generate --records 49550 --seed 7 --out survey.csv
  ombud kit hseg generate --phrases reserved --out unseen-wording.parquet")]
pub struct GenerateArguments {
    /// How many responses
    #[arg(long, value_name = "N", default_value_t = generate::RECORDS, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
    /// Which world
    #[arg(long, value_name = "SEED", default_value_t = 7)]
    pub seed: u64,
    /// How many organizations answer
    #[arg(long, value_name = "N", default_value_t = generate::ORGANIZATIONS, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub organizations: usize,
    /// Which phrases the open answers are written from
    #[arg(long, value_name = "WHICH", default_value = "common")]
    pub phrases: PhrasesWord,
    /// The file to write: .csv or .parquet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Which phrases are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PhrasesWord {
    /// Those that models are trained on
    Common,
    /// Those that training never sees
    Reserved,
}

/// Train the kit's models on generated data, and measure them on a fresh world
///
/// Five bundles are written: hseg-text, hseg-text-signals, hseg-individual, hseg-organization, hseg-turnover. The table
/// of quality shows each number with its 95 % interval, beside simple answers and below the ceiling.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud kit hseg train --out models
  ombud kit hseg train --out models --keep tables --json")]
pub struct TrainArguments {
    /// How many responses to learn from
    #[arg(long, value_name = "N", default_value_t = generate::RECORDS)]
    pub records: u64,
    /// Which world
    #[arg(long, value_name = "SEED", default_value_t = 7)]
    pub seed: u64,
    /// How many organizations the organization models learn from
    #[arg(long, value_name = "N")]
    pub organizations: Option<usize>,
    /// The folder of models
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub out: PathBuf,
    /// Keep the training tables in this folder
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// The private key that signs the bundles
    #[arg(long, value_name = "PRIVATE_KEY")]
    pub key: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Score one survey by the formula, and read its open answers with the lexicon
///
/// Takes what the server's POST /predict/individual takes. No model is asked: this is arithmetic that anyone can redo.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  echo '{\"survey_responses\": {\"q1\": 2.5, \"q2\": 3}}' | ombud kit hseg score -")]
pub struct ScoreArguments {
    /// A file with one JSON object, or - for standard input
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        match self {
            Command::Generate(arguments) => arguments.json,
            Command::Train(arguments) => arguments.json,
            Command::Score(arguments) => arguments.json,
            Command::Report(_) | Command::Demo(_) => false,
        }
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::Generate(arguments) => generate(arguments, console),
        Command::Train(arguments) => train(arguments, console),
        Command::Score(arguments) => score(arguments, console),
        Command::Report(arguments) => report::run(arguments, console),
        Command::Demo(arguments) => demo::run(arguments, console),
    }
}

fn generate(arguments: &GenerateArguments, console: &Console) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let generator = Generator::new(Options {
        records: arguments.records,
        seed: arguments.seed,
        organizations: arguments.organizations,
        phrases: match arguments.phrases {
            PhrasesWord::Common => Phrases::Common,
            PhrasesWord::Reserved => Phrases::Reserved,
        },
    });
    let shown = Shown::new(console);
    let mut seen = Seen::default();
    let written = generate::write(&generator, &arguments.out, &shown, |batch| seen.look(batch));
    let took = began.elapsed().as_secs_f64();
    let written = progress::ended(written, Failure::from)?;
    if progress::is_stopped() {
        return Err(Failure::Stopped);
    }
    let oracle = ceiling::Ceiling::of(seen.oracle);
    let bayes = ceiling::Ceiling::of(seen.first.iter().map(|it| ceiling::bayes(&generator, it)));
    drop(shown);
    if console.is_json {
        console.print_json(&json!({
            "file": arguments.out.display().to_string(),
            "records": written,
            "organizations": generator.world().organizations.len(),
            "seconds": took,
            "ceilings": { "bayes": measured_json(&of_ceiling(bayes)), "oracle": measured_json(&of_ceiling(oracle)) },
        }))?;
        return Ok(Outcome::Done);
    }
    let lines = vec![
        ("file", arguments.out.display().to_string()),
        ("responses", count(written)),
        (
            "organizations",
            count(generator.world().organizations.len() as u64),
        ),
        (
            "ceiling",
            format!(
                "{} of follow-up tiers can be foreseen from the answers (Bayes)",
                of_ceiling(bayes)
            ),
        ),
        (
            "oracle",
            format!(
                "{} if the latent state itself were known",
                of_ceiling(oracle)
            ),
        ),
        ("time", seconds(took)),
    ];
    console.print(&facts(console, lines))?;
    Ok(Outcome::Done)
}

/// What is kept of the records while they pass.
#[derive(Default)]
struct Seen {
    oracle: Vec<f64>,
    first: Vec<Generated>,
}

impl Seen {
    fn look(&mut self, batch: &[Generated]) {
        self.oracle.extend(batch.iter().map(ceiling::oracle));
        let wanted = INTEGRATED.saturating_sub(self.first.len());
        self.first.extend(batch.iter().take(wanted).cloned());
    }
}

fn train(arguments: &TrainArguments, console: &Console) -> Result<Outcome, Failure> {
    crate::commands::train::check_out(&arguments.out)?;
    let key = keys::signing_key(arguments.key.as_deref(), console)?;
    let passing = tempfile::tempdir()
        .map_err(|error| Failure::file("made", Path::new("a folder for tables"), &error))?;
    let began = Instant::now();
    let shown = Shown::new(console);
    let trainings = training::train(
        &Plan {
            records: arguments.records,
            seed: arguments.seed,
            organizations: arguments.organizations,
            out: &arguments.out,
            work: arguments.keep.as_deref().unwrap_or(passing.path()),
            key: key.as_ref(),
        },
        &shown,
    );
    drop(shown);
    let trainings = progress::ended(trainings, Failure::from)?;
    let took = began.elapsed().as_secs_f64();
    if console.is_json {
        let bundles = trainings.models.iter().map(|it| {
            let manifest = it.bundle.manifest();
            json!({ "name": manifest.name.as_str(), "bundle": it.path.display().to_string(), "digest": it.bundle.digest().to_string() })
        });
        console.print_json(&json!({
            "bundles": bundles.collect::<Vec<_>>(),
            "quality": trainings.quality.iter().map(line_json).collect::<Vec<_>>(),
            "seconds": took,
        }))?;
        return Ok(Outcome::Done);
    }
    for trained in &trainings.models {
        trained
            .warnings
            .iter()
            .for_each(|warning| console.warn(warning));
    }
    let heading = format!(
        "Measured on a world that no model has seen ({})",
        seconds(took)
    );
    console.print(&console.shade(Shade::Strong, &heading))?;
    console.print(&quality_table(&trainings.quality, console))?;
    let bundles = trainings
        .models
        .iter()
        .map(|it| format!("\n  {}", it.path.display()));
    console.print(&format!("\nbundles{}", bundles.collect::<String>()))?;
    Ok(Outcome::Done)
}

/// The table of quality; the demonstration prints it too.
pub fn quality_table(lines: &[Line], console: &Console) -> String {
    let mut table = Table::new(
        console,
        &["model", "what", "rows", "measured", "beside", "ceiling"],
        &[2],
    );
    for line in lines {
        table.row([
            line.model.to_owned(),
            line.what.to_owned(),
            count(line.rows as u64),
            line.measured.to_string(),
            beside(&line.baselines),
            beside(&line.ceilings),
        ]);
    }
    table.text()
}

fn beside(list: &[Beside]) -> String {
    let shown = list.iter().map(|it| format!("{} {}", it.name, it.measured));
    shown.collect::<Vec<_>>().join("; ")
}

fn line_json(line: &Line) -> Value {
    let named = |list: &[Beside]| -> Value {
        list.iter()
            .map(|it| (it.name.to_owned(), measured_json(&it.measured)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "model": line.model,
        "what": line.what,
        "rows": line.rows,
        "measured": measured_json(&line.measured),
        "baselines": named(&line.baselines),
        "ceilings": named(&line.ceilings),
    })
}

fn measured_json(measured: &Measured) -> Value {
    json!({ "value": measured.value, "lower": measured.lower, "upper": measured.upper })
}

fn of_ceiling(ceiling: ceiling::Ceiling) -> Measured {
    Measured {
        value: ceiling.value,
        lower: ceiling.lower,
        upper: ceiling.upper,
    }
}

fn score(arguments: &ScoreArguments, console: &Console) -> Result<Outcome, Failure> {
    let body = body(&arguments.file)?;
    let ratings = ratings(&body)?;
    let Some(score) = Score::of(&ratings) else {
        let hint = "give at least one of q1 to q22 under \"survey_responses\"";
        return Err(Failure::invalid(
            "no statement is answered, so there is no score",
            hint,
        ));
    };
    let texts = body.get("text_responses").and_then(Value::as_object);
    let texts: Vec<&str> = texts
        .into_iter()
        .flat_map(|it| it.values())
        .filter_map(Value::as_str)
        .collect();
    let reading = Lexicon::shipped().read(&texts.join("\n"));
    let found: Vec<&str> = reading
        .indicators
        .iter()
        .map(|it| it.words.as_str())
        .collect();
    if console.is_json {
        let categories = Category::ALL
            .iter()
            .map(|it| (it.number().to_string(), json!(score.category(*it))));
        console.print_json(&json!({
            "overall_hseg_score": score.overall,
            "overall_risk_tier": score.tier.word(),
            "category_scores": categories.collect::<serde_json::Map<_, _>>(),
            "answered": ratings.answered(),
            "lexicon": { "is_crisis": reading.is_crisis, "indicators": found, "intensity": reading.intensity },
        }))?;
        return Ok(Outcome::Done);
    }
    let mut lines = vec![
        ("score", format!("{:.2} of 28", score.overall)),
        ("tier", score.tier.to_string()),
        ("answered", format!("{} of 22", ratings.answered())),
    ];
    for category in Category::ALL {
        let shown = score
            .category(category)
            .map_or("not answered".to_owned(), |it| format!("{it:.2} of 4"));
        lines.push((category.title(), shown));
    }
    if reading.is_crisis {
        lines.push((
            "lexicon",
            format!("somebody should read this at once: {}", found.join("; ")),
        ));
    }
    console.print(&facts(console, lines))?;
    Ok(Outcome::Done)
}

fn body(file: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin()
            .take(BODY_BYTES_MAX)
            .read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(BODY_BYTES_MAX).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::file("read", file, &error))?;
    let hint = "write it as the server takes it: {\"survey_responses\": {\"q1\": 2.5}}";
    serde_json::from_str(&text)
        .map_err(|error| Failure::invalid(format!("{} is not JSON: {error}", file.display()), hint))
}

fn ratings(body: &Value) -> Result<Ratings, Failure> {
    let empty = serde_json::Map::new();
    let entries = body
        .get("survey_responses")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let entries = entries.iter().map(|(name, value)| (name.as_str(), value));
    Ratings::parse(entries).map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure::invalid(
            told.join("\n"),
            faults.first().map_or("", RatingFault::hint),
        )
    })
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        Failure::new(error.class(), chain(&error), error.hint())
    }
}

impl From<TrainingError> for Failure {
    fn from(error: TrainingError) -> Self {
        match (error.hint(), error) {
            (_, TrainingError::Stopped) => Failure::Stopped,
            (Some(hint), error) => Failure::new(error.class(), chain(&error), hint),
            (None, error) => Failure::new(
                error.class(),
                chain(&error),
                "this should not happen; please report it",
            ),
        }
    }
}
