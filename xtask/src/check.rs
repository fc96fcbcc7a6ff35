//! `cargo xtask check`: what must hold before a change is worth testing.
//!
//! The table gives the order, cheapest first. Steps that are one cargo command stand here; the others
//! have a file each.

use anyhow::Result;

use crate::house::House;
use crate::steps::{Outcome, Step};
use crate::{arrows, command, deny, examples, references, tidy};

/// The steps of `check`, in order.
pub fn steps() -> Vec<Step> {
    vec![
        Step {
            name: "format",
            about: "every file as rustfmt would write it",
            run: format,
        },
        Step {
            name: "headers",
            about: "every module opens by saying what it gives",
            run: tidy::headers,
        },
        Step {
            name: "paths",
            about: "no file names one machine",
            run: tidy::machine_paths,
        },
        Step {
            name: "length",
            about: "files that grew past one thing",
            run: tidy::length,
        },
        Step {
            name: "arrows",
            about: "each room imports only rooms above it",
            run: arrows::check,
        },
        Step {
            name: "examples",
            about: "example data is what its generator writes",
            run: examples::check,
        },
        Step {
            name: "licences",
            about: "licences, bans and sources of dependencies",
            run: deny::policy,
        },
        Step {
            name: "advisories",
            about: "known vulnerabilities in dependencies",
            run: deny::advisories,
        },
        Step {
            name: "clippy",
            about: "lints, warnings denied",
            run: clippy,
        },
        Step {
            name: "docs",
            about: "rustdoc, warnings denied",
            run: docs,
        },
        Step {
            name: "references",
            about: "generated pages are up to date",
            run: references::check,
        },
    ]
}

fn format(house: &House) -> Result<Outcome> {
    command::run(house.cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

fn clippy(house: &House) -> Result<Outcome> {
    let mut clippy = house.cargo();
    clippy.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]);
    command::run(&mut clippy)?;
    Ok(Outcome::Passed)
}

fn docs(house: &House) -> Result<Outcome> {
    let mut docs = house.cargo();
    docs.args(["doc", "--no-deps", "--workspace", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings");
    command::run(&mut docs)?;
    Ok(Outcome::Passed)
}
