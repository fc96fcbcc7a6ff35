//! Generated pages: each is what a command prints, kept in the repository so that people can read it there.
//!
//! To add one, give it a line in [`PAGES`]: the file, and the arguments of `ombud` that print it. Then
//! `cargo xtask references` writes it and `cargo xtask check` fails when it is out of date.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::command;
use crate::house::House;
use crate::steps::Outcome;

/// A page and the `ombud` arguments that print it.
struct Page {
    file: &'static str,
    arguments: &'static [&'static str],
}

const PAGES: &[Page] = &[
    Page {
        file: "docs/commands.md",
        arguments: &["reference"],
    },
    Page {
        file: "docs/config.md",
        arguments: &["config", "reference"],
    },
    Page {
        file: "docs/roles.md",
        arguments: &["config", "roles"],
    },
];

/// Fails for each page that its command would write differently.
pub fn check(house: &House) -> Result<Outcome> {
    let mut stale = Vec::new();
    for (page, printed) in print_all(house)? {
        let kept = fs::read_to_string(house.root.join(page.file)).unwrap_or_default();
        if kept != printed {
            stale.push(page.file);
        }
    }
    if !stale.is_empty() {
        bail!(
            "out of date: {}; write them with `cargo xtask references`",
            stale.join(", ")
        );
    }
    println!("{} generated pages", PAGES.len());
    Ok(Outcome::Passed)
}

/// Writes every page.
pub fn write(house: &House) -> Result<ExitCode> {
    for (page, printed) in print_all(house)? {
        let path = house.root.join(page.file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, printed)?;
        println!("wrote {}", page.file);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_all(house: &House) -> Result<Vec<(&'static Page, String)>> {
    let ombud = house.built_for_tests()?.join("ombud");
    let print = |page: &'static Page| {
        let mut print = Command::new(&ombud);
        Ok((
            page,
            command::capture(print.args(page.arguments).current_dir(&house.root))?,
        ))
    };
    PAGES.iter().map(print).collect()
}
