//! What a reviewer would otherwise say twice: a missing header, a path of one machine, a file that grew.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::house::House;
use crate::steps::Outcome;

/// Past this many lines a file is asked whether it is still one thing. It is a question, so it never fails.
const LINES_MAX: usize = 700;

/// Text longer than this is data, which people do not write paths into.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Places that exist on one machine only. Cut in two, so that this file does not name them either.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/", "lab"),
    concat!("/ho", "me/"),
];

/// Hosts of package registries: which mirror a machine uses is its own affair.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("//pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("registry.npm", "js.org"),
    concat!("deb.debian", ".org"),
];

/// Every Rust file of ours opens with a `//!` paragraph.
pub fn headers(house: &House) -> Result<Outcome> {
    let mut bare = Vec::new();
    let mut read = 0;
    for file in house.files()? {
        if !is_our_rust(&file) {
            continue;
        }
        read += 1;
        if !opens_with_header(&text(house, &file)?) {
            bare.push(file.display().to_string());
        }
    }
    if !bare.is_empty() {
        bail!(
            "{} files do not open with a `//!` paragraph:\n{}",
            bare.len(),
            bare.join("\n")
        );
    }
    println!("{read} files open with what they give");
    Ok(Outcome::Passed)
}

/// No file names a folder of one machine or the host of a registry.
pub fn machine_paths(house: &House) -> Result<Outcome> {
    let mut hits = Vec::new();
    for file in house.files()? {
        if is_large(house, &file)? {
            continue;
        }
        let bytes = fs::read(house.root.join(&file))?;
        let Ok(content) = String::from_utf8(bytes) else {
            continue;
        };
        for (line, word) in machine_words(&content) {
            hits.push(format!("{}:{line}: {word}", file.display()));
        }
    }
    if !hits.is_empty() {
        bail!(
            "{} lines name one machine:\n{}",
            hits.len(),
            hits.join("\n")
        );
    }
    Ok(Outcome::Passed)
}

/// Names the files that are longer than most people read.
pub fn length(house: &House) -> Result<Outcome> {
    let mut long = Vec::new();
    for file in house.files()? {
        if !is_our_rust(&file) {
            continue;
        }
        let lines = text(house, &file)?.lines().count();
        if lines > LINES_MAX {
            long.push((lines, file.display().to_string()));
        }
    }
    long.sort_by(|a, b| b.cmp(a));
    long.iter()
        .for_each(|(lines, file)| println!("{lines:>6} {file}"));
    if long.is_empty() {
        return Ok(Outcome::Passed);
    }
    Ok(Outcome::Noted(format!(
        "{} files over {LINES_MAX} lines: is each one thing?",
        long.len()
    )))
}

fn is_our_rust(file: &Path) -> bool {
    let is_rust = file.extension().is_some_and(|extension| extension == "rs");
    is_rust
        && ["crates", "xtask", "examples"]
            .iter()
            .any(|folder| file.starts_with(folder))
}

fn opens_with_header(content: &str) -> bool {
    let first = content
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    first
        .strip_prefix("//!")
        .is_some_and(|sentence| !sentence.trim().is_empty())
}

/// The line number and word of every place in `content` that belongs to one machine. A word counts
/// where a path can begin, so that `https://example.com/work/` and `homework/` pass.
fn machine_words(content: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let paths = MACHINE_PATHS.iter().filter(|word| names_path(line, word));
        let hosts = REGISTRY_HOSTS.iter().filter(|word| line.contains(**word));
        found.extend(paths.chain(hosts).map(|word| (index + 1, *word)));
    }
    found
}

fn names_path(line: &str, word: &str) -> bool {
    let follows_name = |at: usize| {
        line[..at].chars().next_back().is_some_and(|before| {
            before.is_alphanumeric() || matches!(before, '.' | '_' | '-' | '}' | '/' | '~')
        })
    };
    line.match_indices(word).any(|(at, _)| !follows_name(at))
}

fn is_large(house: &House, file: &Path) -> Result<bool> {
    Ok(fs::metadata(house.root.join(file))?.len() > TEXT_BYTES_MAX)
}

fn text(house: &House, file: &Path) -> Result<String> {
    let path = house.root.join(file);
    fs::read_to_string(path).with_context(|| format!("{} cannot be read as text", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_sentence_before_anything_else() {
        assert!(opens_with_header("//! Gives frames.\n\nuse std::fs;\n"));
        assert!(opens_with_header("\n//! Gives frames.\n"));
        assert!(!opens_with_header("use std::fs;\n//! Too late.\n"));
        assert!(!opens_with_header("//!\n"));
        assert!(!opens_with_header(""));
    }

    #[test]
    fn a_path_of_one_machine_is_found_with_its_line() {
        let content = format!("fine\nsee {}main\n", MACHINE_PATHS[1]);
        assert_eq!(machine_words(&content), [(2, MACHINE_PATHS[1])]);
    }

    #[test]
    fn a_registry_host_is_found() {
        let content = format!("https:{}/simple", REGISTRY_HOSTS[2]);
        assert_eq!(machine_words(&content), [(1, REGISTRY_HOSTS[2])]);
    }

    #[test]
    fn a_folder_of_ours_with_such_a_name_passes() {
        let content = format!("docs{}plan and ~{}", MACHINE_PATHS[1], MACHINE_PATHS[3]);
        assert!(machine_words(&content).is_empty());
    }
}
