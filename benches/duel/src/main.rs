//! Our side of `cargo xtask bench`: holds work ready and does a measured piece of it when told.
//!
//! `ombud-duel TOPIC FOLDER THREADS` loads what `benches/peers/duel.py prepare` left in the folder, prints one line
//! `{"measures": […]}`, and then, for each line that names a measure, does it once and prints
//! `{"seconds", "items", "value"?}`. The peers speak the same way, so that xtask can let all take turns in one run
//! and no process pays for the start of another. `value` is what must come out equal on both sides.

mod cluster;
mod count;
mod explain;
mod infer;
mod prepared;
mod text;
mod trees;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

/// A piece of work that can be done again and again.
struct Measure<'w> {
    name: &'static str,
    /// How many rows, documents or trees one doing is about.
    items: usize,
    /// Does it, and gives what must come out equal everywhere.
    work: Box<dyn FnMut() -> Result<f64> + 'w>,
}

impl<'w> Measure<'w> {
    fn new(name: &'static str, items: usize, work: impl FnMut() -> Result<f64> + 'w) -> Self {
        Measure {
            name,
            items,
            work: Box::new(work),
        }
    }
}

#[derive(Serialize)]
struct Done {
    seconds: f64,
    items: usize,
    value: f64,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [count, name, times] = words.as_slice()
        && count == "count"
    {
        return count::play(name, times.parse().context("TIMES is a number")?);
    }
    let [topic, folder, threads] = words.as_slice() else {
        bail!("usage: ombud-duel TOPIC FOLDER THREADS, or ombud-duel count NAME TIMES");
    };
    let folder = PathBuf::from(folder);
    let threads: usize = threads.parse().context("THREADS is a number")?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    pool.install(|| match topic.as_str() {
        "infer" => infer::ours(&folder, threads),
        "infer-hessboost" => infer::hessboost(&folder),
        "explain" => explain::play(&folder),
        "text" => text::play(&folder),
        "cluster" => cluster::play(&folder),
        "trees" => trees::play(&folder, threads),
        other => bail!("no topic {other:?}"),
    })
}

/// Does what standard input asks for, until it ends.
fn serve(mut measures: Vec<Measure<'_>>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let names: Vec<&str> = measures.iter().map(|measure| measure.name).collect();
    writeln!(out, "{}", serde_json::json!({ "measures": names }))?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let measure = measures
            .iter_mut()
            .find(|measure| measure.name == line.trim());
        let measure = measure.with_context(|| format!("no measure {line:?}"))?;
        let started = Instant::now();
        let value = (measure.work)()?;
        let done = Done {
            seconds: started.elapsed().as_secs_f64(),
            items: measure.items,
            value,
        };
        writeln!(out, "{}", serde_json::to_string(&done)?)?;
        out.flush()?;
    }
    Ok(())
}
