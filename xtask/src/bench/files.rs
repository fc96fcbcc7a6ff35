//! Answers for a whole file, whole process: `ombud predict` beside a script that reads with pandas or polars and asks
//! XGBoost for the same forest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::measure::{Cost, median, process};
use super::{Report, data, python};
use crate::command;
use crate::house::House;

const ROWS: usize = 1_000_000;
const TRAINING_ROWS: usize = 49_550;
const RECIPE: &str = "benches/recipes/train.toml";
const SCRIPT: &str = "benches/peers/predict_file.py";

/// A format, its peer, and what is asked of the ratios.
struct Contest {
    ending: &'static str,
    peer: &'static str,
    /// Our time as a share of theirs.
    time_max: f64,
    /// Our peak memory as a share of theirs, where something is asked of it.
    memory_max: Option<f64>,
}

const CONTESTS: [Contest; 2] = [
    Contest {
        ending: "csv",
        peer: "pandas + XGBoost",
        time_max: 0.1,
        memory_max: Some(0.25),
    },
    Contest {
        ending: "parquet",
        peer: "polars + XGBoost",
        time_max: 0.25,
        memory_max: None,
    },
];

struct Sides<'h> {
    house: &'h House,
    ombud: PathBuf,
    python: PathBuf,
    folder: PathBuf,
    bundle: PathBuf,
}

pub fn run(rounds: usize, house: &House) -> Result<Report> {
    let sides = Sides::ready(house)?;
    let mut report = Report {
        title: format!("Answers for a file of {ROWS} rows, whole process"),
        columns: vec![
            "",
            "seconds",
            "peak MiB",
            "share of time",
            "share of memory",
            "goal",
        ],
        ..Report::default()
    };
    for contest in &CONTESTS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            ours.push(sides.ombud(contest)?);
            theirs.push(sides.peer(contest)?);
            println!("{} round {round} of {rounds}", contest.ending);
        }
        add(&mut report, contest, &ours, &theirs);
    }
    report.notes.push(format!(
        "28 features, 5 classes × 200 rounds × depth 6; both read the file, answer by the same forest with all cores, and write \
         class, confidence and probabilities. Medians of {rounds} runs each, taking turns. `cargo xtask bench files` makes this table."
    ));
    Ok(report)
}

impl<'h> Sides<'h> {
    fn ready(house: &'h House) -> Result<Self> {
        let folder = house.target.join("bench/files");
        fs::create_dir_all(&folder)?;
        let requirements = house.root.join("benches/peers/requirements.txt");
        let mut sides = Self {
            house,
            ombud: house.ombud()?,
            python: python::ready(house, "bench-venv", &requirements)?,
            bundle: folder.join("models/bench_train/1"),
            folder,
        };
        sides.make_rows()?;
        sides.train()?;
        Ok(sides)
    }

    fn make_rows(&self) -> Result<()> {
        data::write(&self.folder.join("train.csv"), TRAINING_ROWS, 1)?;
        let (csv, parquet) = (self.file("csv"), self.file("parquet"));
        if !csv.is_file() {
            data::write(&csv, ROWS, 3)?;
        }
        if parquet.is_file() {
            return Ok(());
        }
        let convert = "import sys, polars; polars.read_csv(sys.argv[1]).write_parquet(sys.argv[2])";
        let mut script = Command::new(&self.python);
        command::run(script.args(["-c", convert]).arg(csv).arg(parquet))
    }

    /// A forest without calibration, so that both sides come to the same numbers.
    fn train(&mut self) -> Result<()> {
        let models = self.folder.join("models");
        if models.exists() {
            fs::remove_dir_all(&models)?;
        }
        let mut train = Command::new(&self.ombud);
        train
            .current_dir(&self.house.root)
            .args(["train", RECIPE, "--json"]);
        train.args(["--set", "train.calibrate=\"none\"", "--data"]);
        train
            .arg(self.folder.join("train.csv"))
            .arg("--out")
            .arg(&models);
        command::capture(&mut train).map(|_| ())
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("rows.{ending}"))
    }

    fn ombud(&self, contest: &Contest) -> Result<Cost> {
        let mut predict = Command::new(&self.ombud);
        predict
            .arg("predict")
            .arg(&self.bundle)
            .arg("--data")
            .arg(self.file(contest.ending));
        let out = self.folder.join(format!("ours.{}", contest.ending));
        process(predict.arg("--out").arg(out), &self.log())
    }

    fn peer(&self, contest: &Contest) -> Result<Cost> {
        let mut script = Command::new(&self.python);
        script.current_dir(&self.house.root).arg(SCRIPT);
        script
            .arg(self.bundle.join("model.ubj"))
            .arg(self.file(contest.ending));
        let out = self.folder.join(format!("theirs.{}", contest.ending));
        process(script.arg(out), &self.log())
    }

    fn log(&self) -> PathBuf {
        Path::new(&self.folder).join("last.log")
    }
}

fn add(report: &mut Report, contest: &Contest, ours: &[Cost], theirs: &[Cost]) {
    let wall = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wall.as_secs_f64()).collect());
    let peak = |costs: &[Cost]| median(costs.iter().map(|cost| cost.peak_bytes as f64).collect());
    let (time, memory) = (wall(ours) / wall(theirs), peak(ours) / peak(theirs));
    let is_met = time <= contest.time_max && contest.memory_max.is_none_or(|most| memory <= most);
    report.failed |= !is_met;
    let asked = match contest.memory_max {
        Some(most) => format!("≤ {} and ≤ {most}", contest.time_max),
        None => format!("≤ {}", contest.time_max),
    };
    let row = |name: String, costs: &[Cost], rest: [String; 3]| {
        let mut row = vec![
            name,
            format!("{:.2}", wall(costs)),
            format!("{:.0}", peak(costs) / f64::from(1 << 20)),
        ];
        row.extend(rest);
        row
    };
    let goal = format!("{asked}: {}", if is_met { "met" } else { "MISSED" });
    let name = format!("ombud predict, {}", contest.ending);
    let shares = [format!("{time:.3}"), format!("{memory:.3}"), goal];
    report.rows.push(row(name, ours, shares));
    report.rows.push(row(
        contest.peer.to_owned(),
        theirs,
        ["1".into(), "1".into(), String::new()],
    ));
}
