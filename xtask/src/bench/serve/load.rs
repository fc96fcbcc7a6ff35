//! Asking: `wrk` with our script, and what it measured.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::targets::Target;
use crate::command;

/// What one round of one server came to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    requests: f64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
    pub errors: u64,
}

impl Measured {
    pub fn rate(&self) -> f64 {
        self.requests / self.seconds
    }

    pub fn p50_ms(&self) -> f64 {
        self.p50_us / 1e3
    }

    pub fn p99_ms(&self) -> f64 {
        self.p99_us / 1e3
    }
}

/// Asks a server for some seconds over so many connections.
pub fn wrk(
    script: &Path,
    target: &Target,
    bodies: &Path,
    connections: usize,
    seconds: u64,
) -> Result<Measured> {
    let mut wrk = Command::new("wrk");
    wrk.args([
        "-t1",
        &format!("-c{connections}"),
        &format!("-d{seconds}s"),
        "--timeout",
        "30s",
        "-s",
    ]);
    wrk.arg(script).arg(target.url()).arg("--").arg(bodies);
    if let Some(key) = &target.key {
        wrk.arg(key);
    }
    let told = command::capture(&mut wrk)?;
    let line = told.lines().rev().find(|line| line.starts_with('{'));
    let value: Value = serde_json::from_str(line.context("wrk's script printed nothing")?)?;
    let number = |name: &str| {
        value[name]
            .as_f64()
            .with_context(|| format!("wrk's script told no {name}"))
    };
    Ok(Measured {
        requests: number("requests")?,
        seconds: number("us")? / 1e6,
        p50_us: number("p50_us")?,
        p99_us: number("p99_us")?,
        errors: number("errors")? as u64,
    })
}
