//! Instructions of the hot paths against a ratchet, so that speed cannot rot unseen.
//!
//! Time is noisy here and in CI; a count of instructions is not. `benches/duel` does one fixed piece a number of times
//! under valgrind's callgrind, and the difference of two counts is the piece itself. `benches/instructions.json` holds
//! what each may take. Who makes one slower on purpose writes the new number there, in the commit that says why.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::house::House;
use crate::steps::Outcome;

const RATCHET: &str = "benches/instructions.json";
/// Another compiler or allocator moves counts a little; a slip in an inner loop moves them by more.
const SLACK: f64 = 1.10;
/// A count this far below the ratchet should be written down, or what was won can be lost again.
const LOOSE: f64 = 0.80;
/// The two numbers of times; what is done once is in both.
const TIMES: [u64; 2] = [10, 60];

pub fn check(house: &House) -> Result<Outcome> {
    if !command::succeeds(Command::new("valgrind").arg("--version")) {
        if std::env::var_os("CI").is_some() {
            bail!("valgrind is missing: install the package valgrind");
        }
        return Ok(Outcome::Noted(
            "valgrind is not installed: nothing was counted".to_owned(),
        ));
    }
    if !has_avx2() {
        return Ok(Outcome::Noted(
            "this processor has no AVX2: the counts are of another path".to_owned(),
        ));
    }
    let ratchet = read(house)?;
    let mut build = house.cargo();
    command::run(build.args(["build", "--locked", "--workspace", "--bin", "ombud-duel"]))?;
    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for (name, allowed) in &ratchet {
        let measured = count(house, name)?;
        let ratio = measured / allowed;
        println!(
            "{name:<16} {measured:>12.0} instructions, {:>5.1} % of what it may take",
            100.0 * ratio
        );
        if ratio > SLACK {
            worse.push(format!(
                "{name} takes {measured:.0}, allowed are {allowed:.0}"
            ));
        } else if ratio < LOOSE {
            better.push(format!("{name} {measured:.0}"));
        }
    }
    if !worse.is_empty() {
        bail!(
            "more instructions than {RATCHET} allows: {}",
            worse.join("; ")
        );
    }
    if better.is_empty() {
        return Ok(Outcome::Passed);
    }
    Ok(Outcome::Noted(format!(
        "well below {RATCHET}, lower it: {}",
        better.join(", ")
    )))
}

fn read(house: &House) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(house.root.join(RATCHET))
        .with_context(|| format!("{RATCHET} cannot be read"))?;
    let numbers: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)?;
    numbers
        .into_iter()
        .map(|(name, value)| {
            let number = value
                .as_f64()
                .with_context(|| format!("{name} has no number"))?;
            Ok((name, number))
        })
        .collect()
}

/// Instructions of one doing.
fn count(house: &House, name: &str) -> Result<f64> {
    let [few, many] = [TIMES[0], TIMES[1]].map(|times| instructions(house, name, times));
    Ok((many? - few?) / (TIMES[1] - TIMES[0]) as f64)
}

fn instructions(house: &House, name: &str, times: u64) -> Result<f64> {
    let out = house.target.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(house.target.join("debug/ombud-duel"));
    // One thread: how work is shared out would move the count.
    valgrind.env("RAYON_NUM_THREADS", "1");
    command::capture(valgrind.args(["count", name, &times.to_string()]))?;
    let text = fs::read_to_string(&out)?;
    let total = text.lines().find_map(|line| {
        line.strip_prefix("summary: ")
            .or_else(|| line.strip_prefix("totals: "))
    });
    let total = total.context("callgrind wrote no total")?;
    Ok(total.trim().parse()?)
}

fn has_avx2() -> bool {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    told.split_whitespace().any(|flag| flag == "avx2")
}
