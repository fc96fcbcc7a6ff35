//! Serving: our server beside Python peers and beside the ceiling, one forest, one machine, short rounds taking turns.
//!
//! All servers run at once and idle while another is asked. Before anything is timed every one must answer the same
//! questions with the same class. [`targets`] starts them, [`load`] asks.

pub mod hseg;
mod load;
pub mod oip;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::measure::median;
use super::{Report, data, python};
use crate::command;
use crate::house::House;
use load::Measured;
pub use targets::call;
use targets::{Asked, Audit, Ombud, Target};

const RECIPE: &str = "benches/recipes/train.toml";
const TRAINING_ROWS: usize = 49_550;
const BODIES: usize = 64;
const CONNECTIONS: [usize; 3] = [1, 16, 64];
const SECONDS: u64 = 3;
/// How often a start is timed.
const STARTS: usize = 7;
/// Questions of the slow model, and looks into the cache.
const SLOW_ASKS: usize = 15;

/// What the issue asks for.
const ECHO_SHARE_MIN: f64 = 0.4;
const AUDITED_PEER_TIMES_MIN: f64 = 80.0;
const P99_SHARE_MAX: f64 = 0.1;
const RESIDENT_MIB_MAX: f64 = 80.0;
const START_MS_MAX: f64 = 300.0;
const CACHE_TIMES_MIN: f64 = 10.0;

const OURS: &str = "ombud, recorded before answered";
const OURS_AFTER: &str = "ombud, recorded after";
const ECHO: &str = "axum JSON echo (the ceiling)";
const FASTAPI: &str = "FastAPI + XGBoost";
const AUDITED: &str = "FastAPI + XGBoost + SQLAlchemy audit, write-ahead";
const AUDITED_PLAINLY: &str = "FastAPI + XGBoost + SQLAlchemy audit as it comes";

/// Everything that was measured.
struct Results {
    /// By target, then by number of connections.
    rounds: Vec<(String, Vec<Vec<Measured>>)>,
    resident_mib: Vec<(String, f64)>,
    start_ms: f64,
    cold_ms: f64,
    hit_ms: f64,
    absent: Vec<String>,
}

pub fn run(rounds: usize, house: &House) -> Result<Report> {
    let folder = house.target.join("bench/serve");
    fs::create_dir_all(&folder)?;
    let ombud = house.ombud()?;
    let bundles = train(house, &ombud, &folder)?;
    let bodies = Bodies::write(&folder)?;
    let (mut ours, start_ms) = our_server(&ombud, &folder.join("before"), &bundles)?;
    let (mut after, _) = our_server(&ombud, &folder.join("after"), &bundles)?;
    after.record_after("bench_train")?;
    let mut absent = Vec::new();
    let mut others = vec![targets::echo(house)?];
    others.extend(peers(house, &folder, &bundles[0], &mut absent)?);
    let mut all: Vec<&Target> = vec![&ours.target, &after.target];
    all.extend(&others);
    agree(&all, &bodies, &mut absent)?;
    let measured = play(&all, &bodies, &folder, rounds)?;
    let resident = |target: &Target| Ok((target.name.clone(), target.resident_mib()?));
    let resident_mib = all.into_iter().map(resident).collect::<Result<_>>()?;
    drop(others);
    ours.stop()?;
    let (cold_ms, hit_ms) = slow_and_cached(house, &ombud, &folder, &mut after, &bodies)?;
    after.stop()?;
    Ok(report(
        &Results {
            rounds: measured,
            resident_mib,
            start_ms,
            cold_ms,
            hit_ms,
            absent,
        },
        rounds,
    ))
}

/// The questions, as our server and as the peers are asked them.
struct Bodies {
    plain: PathBuf,
    ours: PathBuf,
    v2: PathBuf,
    rows: Vec<Vec<f64>>,
}

impl Bodies {
    fn write(folder: &Path) -> Result<Self> {
        let csv = folder.join("unseen.csv");
        data::write(&csv, 10 * BODIES, 2)?;
        let text = fs::read_to_string(&csv)?;
        // Rows without gaps, because not every peer's JSON has a word for one.
        let read = |line: &str| {
            line.split(',')
                .map(|cell| cell.parse().ok())
                .collect::<Option<Vec<f64>>>()
        };
        let mut rows: Vec<Vec<f64>> = text.lines().skip(1).filter_map(read).collect();
        rows.iter_mut()
            .for_each(|row| row.truncate(row.len().saturating_sub(1)));
        rows.truncate(BODIES);
        let write = |name: &str, body: &dyn Fn(&[f64]) -> Value| -> Result<PathBuf> {
            let path = folder.join(name);
            let lines: Vec<String> = rows.iter().map(|row| body(row).to_string()).collect();
            fs::write(&path, lines.join("\n"))?;
            Ok(path)
        };
        Ok(Bodies {
            plain: write("plain.txt", &|row| json!({ "input": named(row) }))?,
            ours: write(
                "ours.txt",
                &|row| json!({ "input": named(row), "use_cache": false, "explain": false }),
            )?,
            v2: write(
                "v2.txt",
                &|row| json!({ "inputs": [{ "name": "x", "shape": [1, row.len()], "datatype": "FP32", "data": row }] }),
            )?,
            rows,
        })
    }

    fn of(&self, target: &Target) -> &Path {
        match target.asked {
            Asked::Plain => &self.plain,
            Asked::Ours => &self.ours,
            Asked::V2 => &self.v2,
        }
    }
}

fn named(row: &[f64]) -> Value {
    let pairs = row
        .iter()
        .enumerate()
        .map(|(index, value)| (format!("x{:02}", index + 1), json!(value)));
    Value::Object(pairs.collect())
}

/// Three forests of 1,000 trees: the one that is asked, and two that only have to be at hand.
fn train(house: &House, ombud: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    data::write(&folder.join("train.csv"), TRAINING_ROWS, 1)?;
    let models = folder.join("models");
    if models.exists() {
        fs::remove_dir_all(&models)?;
    }
    ["bench_train", "bench_second", "bench_third"]
        .into_iter()
        .map(|name| train_one(house, ombud, folder, name, &[]))
        .collect()
}

fn train_one(
    house: &House,
    ombud: &Path,
    folder: &Path,
    name: &str,
    more: &[&str],
) -> Result<PathBuf> {
    let mut train = Command::new(ombud);
    train
        .current_dir(&house.root)
        .args(["train", RECIPE, "--json"]);
    // Without calibration, so that everybody comes to the same numbers.
    train
        .args(["--set", "train.calibrate=\"none\"", "--set"])
        .arg(format!("model.name=\"{name}\""))
        .args(more);
    train
        .arg("--data")
        .arg(folder.join("train.csv"))
        .arg("--out")
        .arg(folder.join("models"));
    let told: Value = serde_json::from_str(&command::capture(&mut train)?)?;
    let bundle = told["bundle"]
        .as_str()
        .context("train --json names no bundle")?;
    Ok(house.root.join(bundle))
}

/// Our server with three models at work, and how long it takes from its start to its first answer.
fn our_server(ombud: &Path, folder: &Path, bundles: &[PathBuf]) -> Result<(Ombud, f64)> {
    let mut server = Ombud::first(ombud, folder)?;
    for bundle in bundles {
        server.deploy(bundle)?;
    }
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        server.stop()?;
        starts.push(server.start()?.as_secs_f64() * 1e3);
    }
    Ok((server, median(starts)))
}

fn peers(
    house: &House,
    folder: &Path,
    bundle: &Path,
    absent: &mut Vec<String>,
) -> Result<Vec<Target>> {
    let model = bundle.join("model.ubj");
    let here = house.root.join("benches/peers/serve");
    let python = |name: &str, file: &str| python::ready_for(house, name, &here.join(file));
    let mut found = Vec::new();
    let mut take = |name: &str, target: Result<Target>| match target {
        Ok(target) => found.push(target),
        Err(error) => {
            println!("{name} does not play: {error:#}");
            absent.push(name.to_owned());
        }
    };
    let fast = python("serve-venv", "requirements.txt");
    let start = |audit| {
        targets::fastapi(
            audit,
            fast.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"))?,
            &here,
            folder,
            &model,
        )
    };
    take(FASTAPI, start(Audit::None));
    take(AUDITED_PLAINLY, start(Audit::Plain));
    take(AUDITED, start(Audit::Tuned));
    let mlserver = python("mlserver-venv", "requirements-mlserver.txt")
        .and_then(|p| targets::mlserver(&p, folder, &model));
    take("MLServer", mlserver);
    let bentoml = python("bentoml-venv", "requirements-bentoml.txt")
        .and_then(|p| targets::bentoml(&p, &here, folder, &model));
    take("BentoML", bentoml);
    Ok(found)
}

/// Every target that decides must come to the same classes; who says nothing but a class is held to that.
fn agree(all: &[&Target], bodies: &Bodies, notes: &mut Vec<String>) -> Result<()> {
    let classes = |target: &Target| -> Result<Vec<Option<String>>> {
        let text = fs::read_to_string(bodies.of(target))?;
        text.lines().map(|body| target.class(body)).collect()
    };
    let ours = classes(all[0])?;
    if ours.iter().any(Option::is_none) || ours.len() != bodies.rows.len() {
        bail!("our server does not answer every question");
    }
    for target in all.iter().filter(|target| target.decides) {
        let theirs = classes(target)?;
        let equal = ours
            .iter()
            .zip(&theirs)
            .filter(|(our, their)| our == their)
            .count();
        println!("{}: {equal} of {} classes as ours", target.name, ours.len());
        if equal < ours.len() {
            notes.push(format!(
                "{} (another class in {} of {} questions)",
                target.name,
                ours.len() - equal,
                ours.len()
            ));
        }
    }
    Ok(())
}

fn play(
    all: &[&Target],
    bodies: &Bodies,
    folder: &Path,
    rounds: usize,
) -> Result<Vec<(String, Vec<Vec<Measured>>)>> {
    let script = folder.join("load.lua");
    let mut measured: Vec<_> = all
        .iter()
        .map(|target| (target.name.clone(), vec![Vec::new(); CONNECTIONS.len()]))
        .collect();
    fs::copy(targets::load_script(), &script)?;
    for round in 0..=rounds {
        for (place, connections) in CONNECTIONS.into_iter().enumerate() {
            for (target, (_, measured)) in all.iter().zip(&mut measured) {
                // The first round warms caches and is not counted.
                let seconds = if round == 0 { 1 } else { SECONDS };
                let one = load::wrk(&script, target, bodies.of(target), connections, seconds)?;
                if one.errors > 0 {
                    println!(
                        "{}: {} errors at {connections} connections",
                        target.name, one.errors
                    );
                }
                if round > 0 {
                    measured[place].push(one);
                }
            }
        }
        println!("round {round} of {rounds}");
    }
    Ok(measured)
}

/// One forest so large that its reasons take some fifty milliseconds, asked with and without its cache.
fn slow_and_cached(
    house: &House,
    ombud: &Path,
    folder: &Path,
    server: &mut Ombud,
    bodies: &Bodies,
) -> Result<(f64, f64)> {
    let slow = ["--set", "train.rounds=2000", "--set", "train.depth=9"];
    let bundle = train_one(house, ombud, folder, "bench_slow", &slow)?;
    server.deploy(&bundle)?;
    server.stop()?;
    server.start()?;
    let path = "/api/v1/models/bench_slow/decide";
    let ask = |row: &[f64], use_cache: bool| {
        let body =
            json!({ "input": named(row), "explain": true, "use_cache": use_cache }).to_string();
        server.target.timed(path, &body)
    };
    let cold: Result<Vec<f64>> = bodies
        .rows
        .iter()
        .take(SLOW_ASKS)
        .map(|row| ask(row, false))
        .collect();
    ask(&bodies.rows[0], true)?;
    let hit: Result<Vec<f64>> = (0..10 * SLOW_ASKS)
        .map(|_| ask(&bodies.rows[0], true))
        .collect();
    Ok((median(cold?), median(hit?)))
}

fn report(results: &Results, rounds: usize) -> Report {
    let at = |name: &str, place: usize, of: fn(&Measured) -> f64| {
        let found = results.rounds.iter().find(|(target, _)| target == name);
        found.map(|(_, measured)| median(measured[place].iter().map(of).collect()))
    };
    let rate = |name: &str, place| at(name, place, Measured::rate);
    let rows = results.rounds.iter().flat_map(|(name, _)| {
        CONNECTIONS
            .iter()
            .enumerate()
            .map(move |(place, connections)| {
                let number = |of| at(name, place, of).unwrap_or(f64::NAN);
                let share = rate(name, place)
                    .zip(rate(OURS, place))
                    .map_or(f64::NAN, |(theirs, ours)| ours / theirs);
                vec![
                    name.clone(),
                    connections.to_string(),
                    format!("{:.0}", number(Measured::rate)),
                    format!("{:.2}", number(Measured::p50_ms)),
                    format!("{:.2}", number(Measured::p99_ms)),
                    format!("{share:.2}"),
                ]
            })
    });
    let mut report = Report {
        title: "Serving a forest of 1,000 trees".to_owned(),
        columns: vec![
            "",
            "connections",
            "answers/s",
            "p50 ms",
            "p99 ms",
            "ours, times theirs",
        ],
        rows: rows.collect(),
        ..Report::default()
    };
    let goals = goals(results, &rate, &|name, place| {
        at(name, place, Measured::p99_ms)
    });
    report.failed = goals.iter().any(|(_, is_met)| !is_met);
    let mut text = "Goals, at 64 connections:\n".to_owned();
    for (goal, is_met) in goals {
        text.push_str(&format!(
            "\n- {}: {goal}",
            if is_met { "met" } else { "MISSED" }
        ));
    }
    report.notes.push(text);
    let resident: Vec<String> = results
        .resident_mib
        .iter()
        .map(|(name, mib)| format!("{name} {mib:.0} MiB"))
        .collect();
    report.notes.push(format!(
        "Resident after the load, all processes of a server: {}.",
        resident.join("; ")
    ));
    report.notes.push(format!(
        "28 features, 5 classes × 200 rounds × depth 6, 64 questions in turn by wrk on one thread of the same machine, {rounds} rounds of \
         {SECONDS} s each, interleaved, medians. Every server writes no access log. Ours checks a key on every request and has three such \
         models at work; answers come from the model, not from the cache, and without reasons. FastAPI and BentoML run two workers. \
         `cargo xtask bench serve` makes this table."
    ));
    if !results.absent.is_empty() {
        report.notes.push(format!(
            "Did not play, or not quite: {}.",
            results.absent.join("; ")
        ));
    }
    report
}

type At<'a> = &'a dyn Fn(&str, usize) -> Option<f64>;

fn goals(results: &Results, rate: At<'_>, p99: At<'_>) -> Vec<(String, bool)> {
    let most = CONNECTIONS.len() - 1;
    let nothing = f64::NAN;
    let ours = rate(OURS, most).unwrap_or(nothing);
    let echo = ours / rate(ECHO, most).unwrap_or(nothing);
    let audited = ours / rate(AUDITED_PLAINLY, most).unwrap_or(nothing);
    let audited_ahead = ours / rate(AUDITED, most).unwrap_or(nothing);
    let our_p99 = p99(OURS, most).unwrap_or(nothing);
    let peers = results
        .rounds
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| ![OURS, OURS_AFTER, ECHO].contains(name));
    let slowest_share = peers
        .filter_map(|name| p99(name, most))
        .map(|theirs| our_p99 / theirs)
        .fold(nothing, f64::max);
    let resident = results
        .resident_mib
        .iter()
        .find(|(name, _)| name == OURS)
        .map_or(nothing, |(_, mib)| *mib);
    let hit = results.cold_ms / results.hit_ms;
    vec![
        (
            format!("{echo:.2} of the echo's answers (at least {ECHO_SHARE_MIN})"),
            echo >= ECHO_SHARE_MIN,
        ),
        (
            format!(
                "{audited:.0} times FastAPI with an audit as it comes (at least {AUDITED_PEER_TIMES_MIN})"
            ),
            audited >= AUDITED_PEER_TIMES_MIN,
        ),
        (
            format!(
                "{audited_ahead:.0} times FastAPI with an audit that asks SQLite for its write-ahead mode (at least {AUDITED_PEER_TIMES_MIN}; \
                 the echo, which answers nothing and records nothing, is at {:.0})",
                rate(ECHO, most).unwrap_or(nothing) / rate(AUDITED, most).unwrap_or(nothing)
            ),
            audited_ahead >= AUDITED_PEER_TIMES_MIN,
        ),
        (
            format!("p99 is {slowest_share:.3} of the best peer's (at most {P99_SHARE_MAX})"),
            slowest_share <= P99_SHARE_MAX,
        ),
        (
            format!("{resident:.0} MiB resident (at most {RESIDENT_MIB_MAX})"),
            resident <= RESIDENT_MIB_MAX,
        ),
        (
            format!(
                "{:.0} ms from start to first answer with three models (at most {START_MS_MAX})",
                results.start_ms
            ),
            results.start_ms <= START_MS_MAX,
        ),
        (
            format!(
                "a cached answer takes {:.2} ms where the model takes {:.1}: {hit:.0} times less (at least {CACHE_TIMES_MIN})",
                results.hit_ms, results.cold_ms
            ),
            hit >= CACHE_TIMES_MIN,
        ),
    ]
}
