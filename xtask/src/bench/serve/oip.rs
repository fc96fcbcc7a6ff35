//! `bench oip`: one forest asked by one body of the Open Inference Protocol, from us, MLServer and Triton.
//!
//! Triton runs alone, without the package that brings it, on its Python back end with dynamic batches. Ours records every
//! decision before it answers and keeps no answers for equal questions; the others record nothing.

use super::targets::{self, Asked, Target};
use super::{Bodies, CONNECTIONS, Measured, SECONDS, agree, our_server, play, python, train_one};
use crate::bench::measure::median;
use crate::bench::{Report, data};
use crate::house::House;
use anyhow::Result;
use std::fs;
use std::path::Path;

const OURS: &str = "ombud, recorded before answered";
const MLSERVER: &str = "MLServer";
const TRITON: &str = "Triton, Python back end";
const PATH: &str = "/v2/models/bench_train/infer";

/// What the issue asks for, at the most connections: a peer, and how many of its answers ours should be.
const GOALS: [(&str, f64); 2] = [(MLSERVER, 30.0), (TRITON, 3.0)];

/// By target, then by number of connections.
type Rounds = Vec<(String, Vec<Vec<Measured>>)>;

pub fn run(rounds: usize, house: &House) -> Result<Report> {
    let folder = house.target.join("bench/oip");
    fs::create_dir_all(&folder)?;
    let ombud = house.ombud()?;
    data::write(&folder.join("train.csv"), super::TRAINING_ROWS, 1)?;
    let models = folder.join("models");
    if models.exists() {
        fs::remove_dir_all(&models)?;
    }
    let bundle = train_one(house, &ombud, &folder, "bench_train", &[])?;
    let bodies = Bodies::write(&folder)?;
    let (mut ours, _) = our_server(
        &ombud,
        &folder.join("before"),
        std::slice::from_ref(&bundle),
    )?;
    // The others keep no answers either.
    ours.restart_with(&[("OMBUD__CACHE__SECONDS", "0")])?;
    ours.target.through(OURS, PATH, Asked::V2);
    let mut absent = Vec::new();
    let others = peers(house, &folder, &bundle.join("model.ubj"), &mut absent);
    let mut all: Vec<&Target> = vec![&ours.target];
    all.extend(&others);
    agree(&all, &bodies, &mut absent)?;
    let measured = play(&all, &bodies, &folder, rounds)?;
    let resident = |target: &&Target| {
        let mib = target.resident_mib()?;
        Ok(format!("{} {mib:.0} MiB", target.name))
    };
    let resident: Vec<String> = all.iter().map(resident).collect::<Result<_>>()?;
    drop(others);
    ours.stop()?;
    let mut report = report(&measured, rounds);
    report.notes.push(format!(
        "Resident after the load, all processes of a server: {}.",
        resident.join("; ")
    ));
    if !absent.is_empty() {
        let absent = absent.join("; ");
        report
            .notes
            .push(format!("Did not play, or not quite: {absent}."));
    }
    Ok(report)
}

fn peers(house: &House, folder: &Path, model: &Path, absent: &mut Vec<String>) -> Vec<Target> {
    let here = house.root.join("benches/peers/serve");
    let ready = |name: &str, file: &str| python::ready_for(house, name, &here.join(file));
    let mlserver = ready("mlserver-venv", "requirements-mlserver.txt")
        .and_then(|python| targets::mlserver(&python, folder, model));
    let triton = ready("triton-venv", "requirements-triton.txt")
        .and_then(|python| targets::triton(&python, &here, folder, model));
    let mut found = Vec::new();
    for (name, target) in [(MLSERVER, mlserver), (TRITON, triton)] {
        match target {
            Ok(mut target) => {
                name.clone_into(&mut target.name);
                found.push(target);
            }
            Err(error) => {
                println!("{name} does not play: {error:#}");
                absent.push(name.to_owned());
            }
        }
    }
    found
}

fn report(measured: &Rounds, rounds: usize) -> Report {
    let at = |name: &str, place: usize, of: fn(&Measured) -> f64| {
        let found = measured.iter().find(|(target, _)| target == name);
        found.map_or(f64::NAN, |(_, rounds)| {
            median(rounds[place].iter().map(of).collect())
        })
    };
    let times =
        |name: &str, place| at(OURS, place, Measured::rate) / at(name, place, Measured::rate);
    let mut rows = Vec::new();
    for (name, _) in measured {
        for (place, connections) in CONNECTIONS.into_iter().enumerate() {
            rows.push(vec![
                name.clone(),
                connections.to_string(),
                format!("{:.0}", at(name, place, Measured::rate)),
                format!("{:.2}", at(name, place, Measured::p50_ms)),
                format!("{:.2}", at(name, place, Measured::p99_ms)),
                format!("{:.2}", times(name, place)),
            ]);
        }
    }
    let mut report = Report {
        title: "Answering the Open Inference Protocol".to_owned(),
        columns: vec![
            "",
            "connections",
            "answers/s",
            "p50 ms",
            "p99 ms",
            "ours, times theirs",
        ],
        rows,
        ..Report::default()
    };
    let most = CONNECTIONS.len() - 1;
    let mut text = format!("Goals, at {} connections:\n", CONNECTIONS[most]);
    for (name, goal) in GOALS {
        let reached = times(name, most);
        let is_met = reached >= goal;
        report.failed |= !is_met;
        let word = if is_met { "met" } else { "MISSED" };
        text.push_str(&format!(
            "\n- {word}: {reached:.1} times {name} (at least {goal})"
        ));
    }
    report.notes.push(text);
    report.notes.push(format!(
        "`POST /v2/models/…/infer` with one row of 28 FP32 as JSON; 5 classes × 200 rounds × depth 6; 64 questions in turn by wrk on one \
         thread of the same machine, {rounds} rounds of {SECONDS} s each, interleaved, medians. Ours checks a key, keeps no answers for equal \
         questions, and gives label, probabilities and decision id; the others give probabilities. `cargo xtask bench oip` makes this table."
    ));
    report
}
