//! Wall time and peak memory of whole processes, and the median of several runs.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wait4::Wait4;

use crate::command::spelled;

/// What one process took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub peak_bytes: u64,
}

/// Runs `command` to its end. What it says goes to `log`, which is named when it fails.
pub fn process(command: &mut Command, log: &Path) -> Result<Cost> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let started = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", spelled(command)))?;
    let used = child.wait4()?;
    let wall = started.elapsed();
    if !used.status.success() {
        bail!(
            "`{}` ended with {}; it said:\n{}",
            spelled(command),
            used.status,
            last_words(log)
        );
    }
    Ok(Cost {
        wall,
        peak_bytes: used.rusage.maxrss,
    })
}

/// The middle value; of an even number, the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_slow_run() {
        assert_eq!(median(vec![2.0, 90.0, 1.0]), 2.0);
        assert_eq!(median(vec![1.0, 3.0]), 2.0);
    }

    #[test]
    fn a_process_costs_time_and_memory() {
        let log = std::env::temp_dir().join(format!("ombud-measure-{}", std::process::id()));
        let cost = process(Command::new("ls").arg("/"), &log).unwrap();
        assert!(cost.peak_bytes > 100_000, "{cost:?}");
        let error = process(Command::new("ls").arg("/no such folder"), &log).unwrap_err();
        std::fs::remove_file(&log).unwrap();
        assert!(error.to_string().contains("no such folder"), "{error}");
    }
}
