//! `cargo xtask test`: everything CI runs. All of `check` first, then every test.
//!
//! The runners write straight to our output, so their own closing lines stand in the log as they are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::house::House;
use crate::steps::{Outcome, Step};
use crate::{check, command};

/// Tests that need Python peers: pytest files beside the `requirements.txt` they need.
const PYTHON_TESTS: &str = "tests/python";

/// The steps of `test`, in order.
pub fn steps() -> Vec<Step> {
    let mut steps = check::steps();
    steps.push(Step {
        name: "tests",
        about: "unit and integration tests",
        run: tests,
    });
    steps.push(Step {
        name: "doctests",
        about: "examples in the documentation",
        run: doctests,
    });
    steps.push(Step {
        name: "python",
        about: "answers compared with Python peers",
        run: python,
    });
    steps
}

fn tests(house: &House) -> Result<Outcome> {
    let mut tests = house.cargo();
    if command::succeeds(house.cargo().args(["nextest", "--version"])) {
        tests.args([
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]);
    } else {
        println!("cargo-nextest is not installed; cargo test runs the same tests, more slowly");
        tests.args([
            "test",
            "--workspace",
            "--locked",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ]);
    }
    // The public signing tool judges our signatures in both directions; its tests find it by this name.
    let python = python_ready(house)?;
    command::run(tests.env("OMBUD_MODEL_SIGNING_PYTHON", python))?;
    Ok(Outcome::Passed)
}

fn python_ready(house: &House) -> Result<PathBuf> {
    let requirements = house.root.join(PYTHON_TESTS).join("requirements.txt");
    crate::bench::python::ready(house, "test-venv", &requirements)
}

fn doctests(house: &House) -> Result<Outcome> {
    command::run(
        house
            .cargo()
            .args(["test", "--workspace", "--locked", "--doc"]),
    )?;
    Ok(Outcome::Passed)
}

fn python(house: &House) -> Result<Outcome> {
    // The binary that the Rust tests were built with serves here too: another profile would be another build.
    let build = ["build", "--workspace", "--locked", "--bin", "ombud"];
    command::run(house.cargo().args(build))?;
    let ombud = house.target.join("debug/ombud");
    let mut pytest = Command::new(python_ready(house)?);
    pytest.current_dir(&house.root).env("OMBUD", ombud);
    command::run(pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", PYTHON_TESTS]))?;
    Ok(Outcome::Passed)
}
