//! What the machine does, under Triton's names, read from the kernel when somebody asks.
//!
//! Elsewhere than on Linux there is nothing to read and nothing is told.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// The processor's time until the last look: busy and all of it, in ticks.
static SEEN: Mutex<(u64, u64)> = Mutex::new((0, 0));

/// Writes the gauges in Prometheus' text format.
pub fn write(text: &mut String) {
    let mut gauge = |name: &str, help: &str, value: f64| {
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
        );
    };
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    if let Some((busy, all)) = ticks(&read("/proc/stat")) {
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (busy_before, all_before) = std::mem::replace(&mut *seen, (busy, all));
        let (busy, all) = (
            busy.saturating_sub(busy_before),
            all.saturating_sub(all_before),
        );
        let part = busy as f64 / all.max(1) as f64;
        gauge(
            "nv_cpu_utilization",
            "The processors' use since the last look, from 0 to 1.",
            part,
        );
    }
    if let Some((total, free)) = memory(&read("/proc/meminfo")) {
        gauge(
            "nv_cpu_memory_total_bytes",
            "The machine's memory.",
            total as f64,
        );
        let used = total.saturating_sub(free);
        gauge(
            "nv_cpu_memory_used_bytes",
            "The machine's memory in use.",
            used as f64,
        );
    }
}

fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks = line.split_whitespace().map(|number| number.parse().ok());
    let ticks: Vec<u64> = ticks.collect::<Option<_>>()?;
    let all: u64 = ticks.iter().take(8).sum();
    // Idle, and waiting for a disk.
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Some((all - idle, all))
}

fn memory(meminfo: &str) -> Option<(u64, u64)> {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line
            .trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(kibibytes << 10)
    };
    Some((of("MemTotal")?, of("MemAvailable")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_words_are_read() {
        assert_eq!(ticks("cpu  10 0 5 80 5 0 0 0 0 0\ncpu0 1"), Some((15, 100)));
        let meminfo = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(memory(meminfo), Some((2 << 20, 1 << 20)));
    }
}
