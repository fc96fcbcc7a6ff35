//! `bench hseg`: one survey with open answers, asked of us and of FastAPI with XGBoost and scikit-learn; and a file of 49,550.
//!
//! All learn from the tables that `ombud kit hseg train --keep` leaves. Ours asks three models a response, a lexicon
//! beside them, gives the reasons and has everything on record before it answers. One peer gives reasons and writes a row
//! before it answers, as the contract of the answer asks; the other only predicts, so that both ratios can be seen.

use super::load::{self, Measured};
use super::targets::{self, Asked, Ombud, Target};
use crate::bench::measure::median;
use crate::bench::{Report, python};
use crate::command;
use crate::house::House;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;
const SECONDS: u64 = 5;
const BODIES: usize = 64;
const UPLOADED: usize = 49_550;
/// How long models may take to be at work, and a file to be scored.
const PATIENCE: Duration = Duration::from_secs(600);
const OURS: &str = "ombud, recorded before answered, with reasons";
const PEER: &str = "FastAPI + XGBoost + scikit-learn, recorded, with reasons";
const BARE: &str = "FastAPI + XGBoost + scikit-learn, nothing recorded, no reasons";

/// What the issue asks for.
const TIMES_MIN: f64 = 50.0;
const P99_SHARE_MAX: f64 = 0.1;
const UPLOAD_SECONDS_MAX: f64 = 20.0;

pub fn run(rounds: usize, house: &House) -> Result<Report> {
    let folder = house.target.join("bench/hseg");
    fs::create_dir_all(&folder)?;
    let ombud = house.ombud()?;
    let here = house.root.join("benches/peers/serve");
    let requirements = here.join("requirements-hseg.txt");
    let python = python::ready_for(house, "hseg-venv", &requirements)?;
    train(house, &ombud, &python, &folder)?;
    let mut ours = our_server(&ombud, &folder)?;
    let peer = targets::fastapi_hseg(PEER, true, &python, &here, &folder)?;
    let bare = targets::fastapi_hseg(BARE, false, &python, &here, &folder)?;
    let bodies = bodies(&folder)?;
    let measured = play([&ours.target, &peer, &bare], &bodies, &folder, rounds)?;
    drop((peer, bare));
    let upload = upload(&ours, &ombud, &folder)?;
    ours.stop()?;
    Ok(report(&measured, upload, rounds))
}

fn train(house: &House, ombud: &Path, python: &Path, folder: &Path) -> Result<()> {
    let (models, tables) = (folder.join("models"), folder.join("tables"));
    if models.exists() {
        fs::remove_dir_all(&models)?;
    }
    let mut ours = Command::new(ombud);
    ours.args(["kit", "hseg", "train", "--records", "12000"])
        .args(["--organizations", "700"])
        .arg("--out")
        .arg(&models)
        .arg("--keep")
        .arg(&tables);
    command::run(&mut ours)?;
    let mut peer = Command::new(python);
    peer.arg(house.root.join("benches/peers/serve/hseg_train.py"))
        .args([&tables, &models, &folder.join("peer")]);
    command::run(&mut peer)
}

/// Our server with the kit's five models at work.
fn our_server(ombud: &Path, folder: &Path) -> Result<Ombud> {
    let mut server = Ombud::first(ombud, &folder.join("house"))?;
    for model in fs::read_dir(folder.join("models"))? {
        let bundle = model?.path().join("1");
        if bundle.is_dir() {
            server.deploy(&bundle)?;
        }
    }
    server
        .target
        .through(OURS, "/predict/individual", Asked::Ours);
    let key = server.new_key("admin")?;
    until(&server, "/pipeline/status", &key, |told| {
        told["status"] == "ready"
    })?;
    Ok(server)
}

/// Waits until what the server tells is as wished.
fn until(
    server: &Ombud,
    path: &str,
    key: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let told = server.asked("GET", path, key, "")?;
        if is_so(&told) {
            return Ok(started.elapsed());
        }
        if started.elapsed() > PATIENCE {
            bail!("{path} still tells {told}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Responses with open answers, one a line, as both sides take them.
fn bodies(folder: &Path) -> Result<PathBuf> {
    let said = [
        "I am not afraid to speak up here, but nothing changes afterwards",
        "my manager humiliates people in meetings every week",
        "good people, good work, we laugh a lot",
        "I have not slept properly for months and dread every shift",
    ];
    let body = |place: usize| {
        let rating = |q: usize| 1.0 + ((place * 7 + q * 5) % 7) as f64 / 2.0;
        let ratings = (1..=22).map(|q| (format!("q{q}"), json!(rating(q))));
        let ratings: serde_json::Map<String, Value> = ratings.collect();
        json!({
            "domain": (["Business", "Healthcare", "University"][place % 3]),
            "survey_responses": ratings,
            "text_responses": { "q23": said[place % 4], "q24": said[(place / 4) % 4] },
            "demographics": { "age_range": "25-34", "gender_identity": "Woman", "position_level": "Mid" },
        })
        .to_string()
    };
    let path = folder.join("bodies.txt");
    let lines: Vec<String> = (0..BODIES).map(body).collect();
    fs::write(&path, lines.join("\n"))?;
    Ok(path)
}

fn play(
    sides: [&Target; 3],
    bodies: &Path,
    folder: &Path,
    rounds: usize,
) -> Result<[Vec<Measured>; 3]> {
    let script = folder.join("load.lua");
    fs::copy(targets::load_script(), &script)?;
    let mut measured = [const { Vec::new() }; 3];
    for round in 0..=rounds {
        for (target, measured) in sides.iter().zip(&mut measured) {
            // The first round warms caches and is not counted.
            let seconds = if round == 0 { 1 } else { SECONDS };
            let one = load::wrk(&script, target, bodies, CONNECTIONS, seconds)?;
            if one.errors > 0 {
                bail!("{} failed {} times", target.name, one.errors);
            }
            if round > 0 {
                measured.push(one);
            }
        }
        println!("round {round} of {rounds}");
    }
    Ok(measured)
}

/// Seconds until a file is read and its answers are kept, and until all of them are scored.
fn upload(ours: &Ombud, ombud: &Path, folder: &Path) -> Result<(f64, f64)> {
    let file = folder.join("survey.csv");
    let mut generate = Command::new(ombud);
    generate
        .args(["kit", "hseg", "generate", "--records"])
        .arg(UPLOADED.to_string())
        .arg("--out")
        .arg(&file);
    command::run(&mut generate)?;
    let file = fs::read_to_string(file)?;
    let key = ours.new_key("admin")?;
    let wish = json!({ "name": "Everybody", "domain": "Business", "country": "IE" }).to_string();
    let made = ours.asked("POST", "/organizations", &key, &wish)?;
    let id = made["id"].as_str().context("no id")?;
    // The file is of many organizations, so that its domains are not all this one's.
    let path = format!(
        "/upload/survey-data?organization_id={id}&format=csv&skip_problems=true&mapping=%7B%22domain%22%3A%22%22%7D"
    );
    let preview = ours.asked("POST", &path, &key, &file)?;
    let rows = &preview["preview"];
    if rows["readable_rows"].as_u64() < Some(UPLOADED as u64 * 99 / 100) {
        bail!("most of {UPLOADED} rows were to be read: {rows}");
    }
    let word = preview["confirm"].as_str().context("nothing to store")?;
    let started = Instant::now();
    let stored = ours.asked("POST", &format!("{path}&confirm={word}"), &key, &file)?;
    let kept = started.elapsed();
    let campaign = stored["campaign_id"].as_str().context("no campaign")?;
    let path = format!("/campaigns/{campaign}");
    let scored = until(ours, &path, &key, |told| told["state"] == "processed")?;
    Ok((kept.as_secs_f64(), (kept + scored).as_secs_f64()))
}

fn report(measured: &[Vec<Measured>; 3], upload: (f64, f64), rounds: usize) -> Report {
    let of =
        |side: usize, of: fn(&Measured) -> f64| median(measured[side].iter().map(of).collect());
    let line = |(side, name): (usize, &str)| {
        vec![
            name.to_owned(),
            format!("{:.0}", of(side, Measured::rate)),
            format!("{:.2}", of(side, Measured::p50_ms)),
            format!("{:.2}", of(side, Measured::p99_ms)),
        ]
    };
    let times = |side| of(0, Measured::rate) / of(side, Measured::rate);
    let share = |side| of(0, Measured::p99_ms) / of(side, Measured::p99_ms);
    let (kept, scored) = upload;
    let goals = [
        (
            format!(
                "{:.1} times the answers of the peer that gives the same, {:.1} of the one that only predicts (at least {TIMES_MIN} \
                 of the former)",
                times(1),
                times(2)
            ),
            times(1) >= TIMES_MIN,
        ),
        (
            format!(
                "p99 is {:.3} of the peer's that gives the same, {:.3} of the one's that only predicts (at most {P99_SHARE_MAX} \
                 of the former)",
                share(1),
                share(2)
            ),
            share(1) <= P99_SHARE_MAX,
        ),
        (
            format!(
                "{UPLOADED} responses uploaded, sealed and stored in {kept:.1} s, all scored and the campaign told after {scored:.1} s (at most {UPLOAD_SECONDS_MAX})"
            ),
            scored <= UPLOAD_SECONDS_MAX,
        ),
    ];
    let mut text = format!("Goals, at {CONNECTIONS} connections:\n");
    for (goal, is_met) in &goals {
        let word = if *is_met { "met" } else { "MISSED" };
        text.push_str(&format!("\n- {word}: {goal}"));
    }
    Report {
        title: "Serving the kit hseg: one survey with open answers".to_owned(),
        columns: vec!["", "answers/s", "p50 ms", "p99 ms"],
        rows: [OURS, PEER, BARE]
            .into_iter()
            .enumerate()
            .map(line)
            .collect(),
        notes: vec![
            text,
            format!(
                "22 ratings, two open answers, three demographics; {BODIES} responses in turn by wrk on one thread of the same machine, \
                 {rounds} rounds of {SECONDS} s each, interleaved, medians. Ours asks three models and a lexicon, explains, checks a key \
                 and has three records durable before it answers; a peer has two workers, and one of them gives XGBoost's own TreeSHAP \
                 and writes one row in write-ahead mode. All learned from the same tables. `cargo xtask bench hseg` makes this table."
            ),
        ],
        failed: goals.iter().any(|(_, is_met)| !is_met),
    }
}
