//! Training, whole process: `ombud train` from CSV to signed bundle beside a script that reads the CSV
//! with pandas and only trains XGBoost.
//!
//! Both get the same file, the same rounds, depth and learning rate, and every core. After the timed
//! runs both score the same unseen rows, so that a fast but poor model would show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::measure::{Cost, median, process};
use super::{Report, data, python};
use crate::command;
use crate::house::House;

const ROWS: usize = 49_550;
const UNSEEN_ROWS: usize = 10_000;
const RECIPE: &str = "benches/recipes/train.toml";
const SCRIPT: &str = "benches/peers/train_xgboost.py";

/// The two sides and the files they share.
struct Sides<'h> {
    house: &'h House,
    ombud: PathBuf,
    python: PathBuf,
    folder: PathBuf,
}

pub fn run(rounds: usize, house: &House) -> Result<Report> {
    let sides = Sides::ready(house)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        theirs.push(process(
            &mut sides.xgboost(false),
            &sides.folder.join("xgboost.log"),
        )?);
        ours.push(sides.train()?);
        let (Some(ours), Some(theirs)) = (ours.last(), theirs.last()) else {
            continue;
        };
        let seconds = |cost: &Cost| cost.wall.as_secs_f64();
        println!(
            "round {round}: ombud {:.2} s, XGBoost {:.2} s",
            seconds(ours),
            seconds(theirs)
        );
    }
    let losses = (sides.our_log_loss()?, sides.their_log_loss()?);
    Ok(report(&ours, &theirs, losses))
}

impl<'h> Sides<'h> {
    fn ready(house: &'h House) -> Result<Self> {
        let folder = house.target.join("bench/train");
        fs::create_dir_all(&folder)?;
        data::write(&folder.join("train.csv"), ROWS, 1)?;
        data::write(&folder.join("unseen.csv"), UNSEEN_ROWS, 2)?;
        let requirements = house.root.join("benches/peers/requirements.txt");
        let sides = Self {
            house,
            ombud: house.ombud()?,
            python: python::ready(house, "bench-venv", &requirements)?,
            folder,
        };
        sides.make_key()?;
        Ok(sides)
    }

    /// A signing key of this benchmark's own, so that the bundle is signed whoever runs it.
    fn make_key(&self) -> Result<()> {
        if self.key().is_file() {
            return Ok(());
        }
        let mut new = Command::new(&self.ombud);
        command::run(
            new.args(["keys", "signing", "new", "--out"])
                .arg(self.folder.join("keys")),
        )
    }

    fn key(&self) -> PathBuf {
        self.folder.join("keys/signing.key")
    }

    fn train(&self) -> Result<Cost> {
        let out = self.folder.join("models");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        let mut train = Command::new(&self.ombud);
        train
            .current_dir(&self.house.root)
            .args(["train", RECIPE, "--json", "--data"]);
        train
            .arg(self.folder.join("train.csv"))
            .arg("--out")
            .arg(&out);
        train.arg("--key").arg(self.key());
        process(&mut train, &self.folder.join("ombud.log"))
    }

    fn xgboost(&self, scores_unseen: bool) -> Command {
        let mut script = Command::new(&self.python);
        script
            .current_dir(&self.house.root)
            .arg(SCRIPT)
            .arg(self.folder.join("train.csv"));
        if scores_unseen {
            script.arg("--unseen").arg(self.folder.join("unseen.csv"));
        }
        script
    }

    fn our_log_loss(&self) -> Result<f64> {
        let report = last_json(&self.folder.join("ombud.log"))?;
        let bundle = report["bundle"]
            .as_str()
            .context("train --json names no bundle")?;
        let mut evaluate = Command::new(&self.ombud);
        evaluate
            .current_dir(&self.house.root)
            .args(["evaluate", bundle, "--json", "--data"]);
        let report = command::capture(evaluate.arg(self.folder.join("unseen.csv")))?;
        let report: Value = serde_json::from_str(&report)?;
        report["metrics"]["log_loss"]
            .as_f64()
            .context("evaluate --json has no log_loss")
    }

    fn their_log_loss(&self) -> Result<f64> {
        let report: Value = serde_json::from_str(&command::capture(&mut self.xgboost(true))?)?;
        report["log_loss"]
            .as_f64()
            .context("the script printed no log_loss")
    }
}

/// The JSON object in a log that also caught what was said beside it.
fn last_json(log: &Path) -> Result<Value> {
    let text = fs::read_to_string(log)?;
    let start = text.find('{').context("train --json printed no JSON")?;
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
    values
        .next()
        .context("train --json printed no JSON")?
        .context("train --json is not JSON")
}

fn report(ours: &[Cost], theirs: &[Cost], (our_loss, their_loss): (f64, f64)) -> Report {
    let wall = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wall.as_secs_f64()).collect());
    let peak = |costs: &[Cost]| {
        median(
            costs
                .iter()
                .map(|cost| cost.peak_bytes as f64 / f64::from(1 << 20))
                .collect(),
        )
    };
    let row = |name: &str, costs: &[Cost], loss: f64| {
        let times = [
            format!("{:.2}", wall(costs)),
            format!("{:.2}", wall(costs) / wall(theirs)),
        ];
        let [seconds, ratio] = times;
        vec![
            name.to_owned(),
            seconds,
            ratio,
            format!("{:.0}", peak(costs)),
            format!("{loss:.4}"),
        ]
    };
    Report {
        title: "Training a five-class forest, whole process".to_owned(),
        columns: vec!["", "seconds", "ratio", "peak MiB", "log loss, unseen rows"],
        rows: vec![
            row("ombud train: CSV to signed bundle", ours, our_loss),
            row(
                "pandas.read_csv + XGBoost hist, training only",
                theirs,
                their_loss,
            ),
        ],
        notes: vec![format!(
            "{ROWS} rows × 28 features of xtask/src/bench/data.rs, 200 rounds, depth 6, all cores; \
             medians of {} runs each, taking turns. `cargo xtask bench train` makes this table.",
            ours.len()
        )],
        failed: wall(ours) >= wall(theirs),
    }
}
