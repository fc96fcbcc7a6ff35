//! Programs that hold the same work ready and do a measured piece of it when told, taking turns.
//!
//! Our side is `benches/duel`, the peers' is `benches/peers/duel.py`; both print their measures and then answer line by
//! line, so that no start of a process is counted and a slow moment of the machine meets every side. What must come
//! out equal (a sum of margins, an objective, an inertia) is checked before a ratio is shown.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::measure::median;
use super::{Report, python};
use crate::command;
use crate::house::House;

const SCRIPT: &str = "benches/peers/duel.py";
const DATA: &str = "../shared/data";

/// What is measured, by whom, and what is asked of the ratio.
pub struct Topic {
    pub name: &'static str,
    pub title: &'static str,
    pub peers: &'static [&'static str],
    /// Players of ours beside the peers, such as the library beneath.
    pub ours_too: &'static [&'static str],
    pub threads: &'static [usize],
    pub goals: &'static [Goal],
    /// How near the values must come to each other, as a share.
    pub agreement: f64,
    pub note: &'static str,
}

/// What a measure is to reach beside the fastest of some peers, at some number of threads.
pub struct Goal {
    pub measure: &'static str,
    pub peers: &'static [&'static str],
    /// Our time per item as a share of theirs.
    pub ratio_max: f64,
    pub threads: usize,
}

/// A running side.
struct Player {
    name: String,
    threads: usize,
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    measures: Vec<String>,
}

/// All answers of one side to one measure.
#[derive(Default)]
struct Played {
    seconds_per_item: Vec<f64>,
    value: f64,
}

type Scores = BTreeMap<(String, usize, String), Played>;

pub fn run(topic: &Topic, rounds: usize, house: &House) -> Result<Report> {
    let folder = house.target.join("bench").join(topic.name);
    let requirements = house.root.join("benches/peers/requirements.txt");
    let python = python::ready(house, "bench-venv", &requirements)?;
    let ours = build(house)?;
    prepare(house, topic, &python, &folder)?;
    let mut scores = Scores::new();
    let mut absent = Vec::new();
    for threads in topic.threads {
        let mut players = start_all(house, topic, &ours, &python, &folder, *threads, &mut absent)?;
        play(&mut players, rounds, &mut scores)?;
    }
    report(topic, &scores, &absent, rounds)
}

/// Names our side where it is built already, by hand and with optimization.
const OURS: &str = "OMBUD_DUEL";

fn build(house: &House) -> Result<PathBuf> {
    if let Some(ours) = std::env::var_os(OURS) {
        println!("using {OURS} instead of building it");
        return Ok(PathBuf::from(ours));
    }
    let mut build = house.cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "--workspace",
        "--bin",
        "ombud-duel",
    ]);
    command::run(&mut build)?;
    Ok(house.target.join("release/ombud-duel"))
}

fn prepare(house: &House, topic: &Topic, python: &Path, folder: &Path) -> Result<()> {
    let mut script = Command::new(python);
    script
        .current_dir(&house.root)
        .args([SCRIPT, "prepare", topic.name]);
    command::run(script.arg(folder).args(["--data", DATA]))
}

/// A peer that cannot be started is named below the table; ours must start.
fn start_all(
    house: &House,
    topic: &Topic,
    ours: &Path,
    python: &Path,
    folder: &Path,
    threads: usize,
    absent: &mut Vec<String>,
) -> Result<Vec<Player>> {
    let number = threads.to_string();
    let mut players = Vec::new();
    let our_topics = [topic.name]
        .into_iter()
        .chain(topic.ours_too.iter().copied());
    for name in our_topics {
        let mut command = Command::new(ours);
        command.arg(name).arg(folder).arg(&number);
        let shown = if name == topic.name { "ombud" } else { name };
        players.push(Player::start(shown, threads, &mut command)?);
    }
    for peer in topic.peers {
        let mut command = Command::new(python_of(house, peer, python)?);
        command
            .current_dir(&house.root)
            .args([SCRIPT, "play", topic.name, peer]);
        // The libraries below Python take their threads from here.
        for variable in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(variable, &number);
        }
        match Player::start(peer, threads, command.arg(folder).arg(&number)) {
            Ok(player) => players.push(player),
            Err(error) => {
                println!("{peer} does not play: {error:#}");
                if !absent.contains(&(*peer).to_owned()) {
                    absent.push((*peer).to_owned());
                }
            }
        }
    }
    Ok(players)
}

/// A peer whose packages cannot live beside the others' has a requirements file and an environment of its own.
fn python_of(house: &House, peer: &str, shared: &Path) -> Result<PathBuf> {
    let requirements = house
        .root
        .join(format!("benches/peers/requirements-{peer}.txt"));
    if !requirements.is_file() {
        return Ok(shared.to_owned());
    }
    python::ready_for(house, &format!("bench-venv-{peer}"), &requirements)
}

fn play(players: &mut [Player], rounds: usize, scores: &mut Scores) -> Result<()> {
    for round in 0..=rounds {
        for player in players.iter_mut() {
            for measure in player.measures.clone() {
                let (seconds, value) = player.ask(&measure)?;
                let key = (player.name.clone(), player.threads, measure);
                let played = scores.entry(key).or_default();
                played.value = value;
                // The first turn warms caches and is not counted.
                if round > 0 {
                    played.seconds_per_item.push(seconds);
                }
            }
        }
        println!("round {round} of {rounds}");
    }
    Ok(())
}

impl Player {
    fn start(name: &str, threads: usize, command: &mut Command) -> Result<Player> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let asks = child.stdin.take().context("no pipe")?;
        let answers = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut player = Player {
            name: name.to_owned(),
            threads,
            child,
            asks,
            answers,
            measures: Vec::new(),
        };
        let told = player.answer()?;
        let names = told["measures"].as_array().context("no measures")?;
        player.measures = names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        Ok(player)
    }

    /// Seconds per item, and the value.
    fn ask(&mut self, measure: &str) -> Result<(f64, f64)> {
        writeln!(self.asks, "{measure}")?;
        let told = self.answer()?;
        let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name}"));
        Ok((number("seconds")? / number("items")?, number("value")?))
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("{} ended before its answer", self.name);
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended by itself; either way it must not be left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn report(topic: &Topic, scores: &Scores, absent: &[String], rounds: usize) -> Result<Report> {
    let mut report = Report {
        title: topic.title.to_owned(),
        columns: vec![
            "measure",
            "threads",
            "",
            "time an item",
            "ombud's share of it",
            "value",
            "goal",
        ],
        ..Report::default()
    };
    for ((name, threads, measure), played) in scores {
        let ours = &scores[&("ombud".to_owned(), *threads, measure.clone())];
        let time = median(played.seconds_per_item.clone());
        let ratio = median(ours.seconds_per_item.clone()) / time;
        check_agreement(topic, name, measure, ours.value, played.value)?;
        let goal = goal_text(topic, name, measure, *threads, ratio, &mut report.failed);
        report.rows.push(vec![
            measure.clone(),
            threads.to_string(),
            name.clone(),
            time_text(time),
            format!("{ratio:.3}"),
            format!("{:.6}", played.value),
            goal,
        ]);
    }
    report
        .rows
        .sort_by(|a, b| (&a[0], &a[1]).cmp(&(&b[0], &b[1])));
    let goals = topic.goals.iter().filter(|goal| goal.peers.len() > 1);
    if goals.count() > 0 {
        report
            .notes
            .push("A goal beside several peers is one against the fastest of them.".to_owned());
    }
    report.notes.push(format!(
        "{} Medians of {rounds} turns each, taken in rotation after one that is not counted. `cargo xtask bench {}` makes this table.",
        topic.note, topic.name
    ));
    if !absent.is_empty() {
        report
            .notes
            .push(format!("Not there to play: {}.", absent.join(", ")));
    }
    Ok(report)
}

/// A faster answer that is another answer proves nothing. LightGBM grows other trees and answers for itself.
fn check_agreement(topic: &Topic, name: &str, measure: &str, ours: f64, theirs: f64) -> Result<()> {
    let is_comparable = !matches!(
        (topic.name, name, measure),
        ("infer", "lightgbm" | "lleaves", _)
    ) && measure != "single"
        && measure != "vectorize";
    let apart = (ours - theirs).abs() / theirs.abs().max(1e-12);
    if is_comparable && apart > topic.agreement {
        bail!("{measure}: ombud comes to {ours} and {name} to {theirs}; no ratio is worth showing");
    }
    Ok(())
}

fn goal_text(
    topic: &Topic,
    name: &str,
    measure: &str,
    threads: usize,
    ratio: f64,
    failed: &mut bool,
) -> String {
    let of = topic.goals.iter().find(|goal| {
        goal.measure == measure && goal.threads == threads && goal.peers.contains(&name)
    });
    let Some(goal) = of else {
        return String::new();
    };
    let is_met = ratio <= goal.ratio_max;
    *failed |= !is_met;
    let word = if is_met { "met" } else { "MISSED" };
    format!("≤ {}: {word}", goal.ratio_max)
}

fn time_text(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.1} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_a_unit_that_fits() {
        assert_eq!(time_text(3.2e-7), "320.0 ns");
        assert_eq!(time_text(7.8e-6), "7.80 µs");
        assert_eq!(time_text(0.012), "12.00 ms");
        assert_eq!(time_text(2.5), "2.50 s");
    }
}
