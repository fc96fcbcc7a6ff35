//! `ombud compare`: whether one model is better than another on the same rows, beyond chance.

use super::Outcome;
use crate::bundles::{self, StagesArguments};
use crate::console::{Console, Shade};
use crate::failure::Failure;
use crate::keys::TrustArguments;
use crate::numbers::{measured, plural};
use crate::progress::{self, Shown};
use crate::table::Table;
use clap::Args;
use ombud_engine::Model;
use ombud_learn::judge::{self, Comparison, TestResult};
use std::path::{Path, PathBuf};

/// Compare two models on the same rows: McNemar, paired bootstrap, DeLong
///
/// A difference whose interval holds zero may be chance.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ombud compare models/claim_outcome/3 models/claim_outcome/latest --data held_out.csv")]
pub struct Arguments {
    /// The first bundle
    pub a: PathBuf,
    /// The second bundle
    pub b: PathBuf,
    /// Rows that neither model was trained on, with the target
    #[arg(long, value_name = "SOURCE")]
    pub data: String,
    /// The long table that the recipe joins to the rows, when it is not the recipe's own
    #[arg(long, value_name = "SOURCE")]
    pub series: Option<String>,
    #[command(flatten)]
    pub trust: TrustArguments,
    #[command(flatten)]
    pub stages: StagesArguments,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Compares and prints.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let a = bundles::open_model(&arguments.a, &arguments.trust, &arguments.stages)?;
    let b = bundles::open_model(&arguments.b, &arguments.trust, &arguments.stages)?;
    let shown = Shown::new(console);
    let compared = judge::compare(
        &a,
        &b,
        &arguments.data,
        arguments.series.as_deref(),
        Path::new(""),
        &shown,
    );
    drop(shown);
    let comparison = progress::ended(compared, Failure::of_data_named_here)?;
    if console.is_json {
        console.print_json(&comparison)?;
    } else {
        tell(&comparison, [&a, &b], console)?;
    }
    Ok(Outcome::Done)
}

fn tell(comparison: &Comparison, [a, b]: [&Model; 2], console: &Console) -> Result<(), Failure> {
    let named = |model: &Model| {
        format!(
            "{} version {}",
            model.manifest().name,
            model.manifest().version
        )
    };
    console.print(&format!(
        "A  {}\nB  {}\n{}\n",
        named(a),
        named(b),
        plural(comparison.rows, "row")
    ))?;
    let head = ["test", "metric", "A", "B", "B − A", "95 % interval", "p"];
    let mut table = Table::new(console, &head, &[2, 3, 4, 6]);
    for test in &comparison.tests {
        table.row([
            test.name.clone(),
            test.metric.clone(),
            told(test.a),
            told(test.b),
            told(test.difference),
            interval(test),
            test.p_value.map_or_else(String::new, p_value),
        ]);
    }
    console.print(&table.text())?;
    // Several tests say the same in words; the verdict says it once more.
    let mut told = vec![comparison.verdict.as_str()];
    for test in &comparison.tests {
        if !test.note.is_empty() && !told.contains(&test.note.as_str()) {
            console.print(&format!(" - {}: {}", test.name, test.note))?;
            told.push(&test.note);
        }
    }
    console.print(&format!(
        "\n{}",
        console.shade(Shade::Strong, &comparison.verdict)
    ))
}

fn told(number: Option<f64>) -> String {
    number.map_or_else(String::new, measured)
}

fn interval(test: &TestResult) -> String {
    match (test.lower, test.upper) {
        (Some(lower), Some(upper)) => format!("{} … {}", measured(lower), measured(upper)),
        _ => String::new(),
    }
}

fn p_value(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        format!("{p:.4}")
    }
}
