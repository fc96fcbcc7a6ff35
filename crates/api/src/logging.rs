//! What the server writes about itself: lines for people or objects for programs, on standard error.
//!
//! Nothing that people sent is written: a request is told by its method, its route's pattern (never the path itself), its
//! status, its time and its id, which the ledger carries too.

use crate::config::Log;
use crate::config::value::LogFormat;
use std::str::FromStr;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries whose chatter helps nobody below `warn`.
const QUIET: &[&str] = &[
    "hyper",
    "hyper_util",
    "rustls",
    "sqlx",
    "tower",
    "h2",
    "reqwest",
    "redis",
    "object_store",
];

/// What a level's text lets through; `None` when it is not understood.
pub fn filter(level: &str) -> Option<Targets> {
    let mut targets = Targets::from_str(level).ok()?;
    for library in QUIET {
        if !level.contains(library) {
            targets = targets.with_target(*library, LevelFilter::WARN);
        }
    }
    Some(targets)
}

/// Starts the log of this process. A second start changes nothing.
pub fn start(log: &Log) {
    let targets = filter(&log.level).unwrap_or_default();
    let registry = tracing_subscriber::registry().with(targets);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Only tests start it twice.
    let _ = match log.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_current_span(false))
            .try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_level_that_is_none_is_not_understood() {
        assert!(filter("info").is_some());
        assert!(filter("warn,ombud_api=debug").is_some());
        assert!(filter("ombud_api=loud").is_none());
    }
}
