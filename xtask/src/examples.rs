//! The data under `examples/`: written by the generators here, equal to the last bit on every machine.
//!
//! Each example has a file with its equations, so that a reader knows what a model can find and what is
//! noise. The people in it do not exist. `cargo xtask examples` writes the files, `cargo xtask check`
//! compares them.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::house::House;
use crate::steps::Outcome;

pub mod claims;
mod days_to_close;
pub mod draw;
mod notes;
mod segments;
mod table;

/// All examples together stay small enough to clone without thinking.
const BYTES_MAX: usize = 1_000_000;

/// A file of an example and what belongs in it.
pub struct ExampleFile {
    pub path: &'static str,
    pub content: String,
}

/// Fails when a file differs from what its generator writes.
pub fn check(house: &House) -> Result<Outcome> {
    let files = generate();
    let differs = |file: &&ExampleFile| {
        fs::read_to_string(house.root.join(file.path)).ok().as_ref() != Some(&file.content)
    };
    let stale: Vec<_> = files.iter().filter(differs).map(|file| file.path).collect();
    if !stale.is_empty() {
        bail!(
            "not what the generator writes: {}; run `cargo xtask examples`",
            stale.join(", ")
        );
    }
    let bytes: usize = files.iter().map(|file| file.content.len()).sum();
    println!("{} files, {bytes} bytes, as generated", files.len());
    Ok(Outcome::Passed)
}

/// Writes every file.
pub fn write(house: &House) -> Result<ExitCode> {
    for file in generate() {
        let path = house.root.join(file.path);
        fs::write(&path, &file.content).with_context(|| format!("cannot write {}", file.path))?;
        println!("wrote {} ({} bytes)", file.path, file.content.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn generate() -> Vec<ExampleFile> {
    let examples = [
        claims::files(),
        days_to_close::files(),
        segments::files(),
        notes::files(),
    ];
    let files: Vec<_> = examples.into_iter().flatten().collect();
    let bytes: usize = files.iter().map(|file| file.content.len()).sum();
    assert!(
        bytes <= BYTES_MAX,
        "the examples have grown to {bytes} bytes"
    );
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_write_the_same_bytes() {
        let pairs = generate().into_iter().zip(generate());
        pairs
            .for_each(|(first, second)| assert!(first.content == second.content, "{}", first.path));
    }

    #[test]
    fn new_rows_have_the_columns_of_the_data_without_the_answer() {
        for pair in generate().chunks(2) {
            let header = |file: &ExampleFile| file.content.lines().next().unwrap().to_owned();
            let (data, new) = (header(&pair[0]), header(&pair[1]));
            assert!(
                data == new || data.rsplit_once(',').unwrap().0 == new,
                "{}",
                pair[0].path
            );
        }
    }
}
