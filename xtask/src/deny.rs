//! What we depend on: licences, bans and sources by `deny.toml`, and published advisories.
//!
//! Advisories live in a git repository that closed networks cannot reach. There the step says so aloud
//! and passes; wherever the database arrives, an advisory fails the check.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command;
use crate::house::House;
use crate::steps::Outcome;

/// How long fetching the advisory database may take. A closed network often hangs rather than refuses.
const FETCH_TIME_MAX: Duration = Duration::from_secs(90);

/// Licences, bans and sources, as `deny.toml` allows them.
pub fn policy(house: &House) -> Result<Outcome> {
    install(house)?;
    let mut deny = house.cargo();
    deny.args([
        "deny",
        "--log-level",
        "warn",
        "check",
        "--hide-inclusion-graph",
    ]);
    command::run(deny.args(["licenses", "bans", "sources"]))?;
    Ok(Outcome::Passed)
}

/// Known vulnerabilities, when the database can be had.
pub fn advisories(house: &House) -> Result<Outcome> {
    install(house)?;
    let mut fetch = house.cargo();
    fetch.args(["deny", "fetch", "db"]);
    if !finishes(&mut fetch, house)? {
        return Ok(Outcome::Noted(
            "NOT CHECKED: the advisory database cannot be fetched here".into(),
        ));
    }
    command::run(
        house
            .cargo()
            .args(["deny", "check", "--disable-fetch", "advisories"]),
    )?;
    Ok(Outcome::Passed)
}

fn install(house: &House) -> Result<()> {
    if command::succeeds(house.cargo().args(["deny", "--version"])) {
        return Ok(());
    }
    println!("cargo-deny is missing and is installed now; this takes some minutes, once");
    command::run(house.cargo().args(["install", "cargo-deny", "--locked"]))
}

/// Whether `command` ends well in time. What it says goes to a file, shown when it fails.
fn finishes(command: &mut Command, house: &House) -> Result<bool> {
    println!("$ {}", command::spelled(command));
    fs::create_dir_all(&house.target)?;
    let log = house.target.join("advisories.log");
    let file = fs::File::create(&log).context("the log of cargo-deny cannot be written")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()?;
    let deadline = Instant::now() + FETCH_TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                println!(
                    "{}",
                    fs::read_to_string(&log).unwrap_or_default().trim_end()
                );
            }
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            child.kill().context("cargo-deny does not end")?;
            child.wait()?;
            println!("no answer in {} s", FETCH_TIME_MAX.as_secs());
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(100));
    }
}
