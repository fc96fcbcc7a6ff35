//! `cargo xtask test`: everything CI runs. All of `check` first, then every test.
//!
//! The runners write straight to our output, so their own closing lines stand in the log as they are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::house::{House, forget_xtask};
use crate::steps::{Outcome, Step};
use crate::{check, command, instructions};

/// Tests that need Python peers: pytest files beside the `requirements.txt` they need.
const PYTHON_TESTS: &str = "tests/python";

/// Clients of others that drive a server of ours: a folder of pytest files, the name of their environment, and what it needs.
/// Two of them define the same messages of protocol buffers, so each folder is a run of its own.
const CLIENTS: [(&str, &str, &str); 3] = [
    (
        "tests/clients/triton",
        "clients-venv",
        "tests/clients/requirements.txt",
    ),
    (
        "tests/clients/mlserver",
        "clients-venv",
        "tests/clients/requirements.txt",
    ),
    (
        "tests/clients/kserve",
        "kserve-venv",
        "tests/clients/kserve/requirements.txt",
    ),
];

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
        name: "instructions",
        about: "instruction counts of the hot paths against a ratchet",
        run: instructions::check,
    });
    steps.push(Step {
        name: "onnxruntime",
        about: "neural nets by an installed onnxruntime",
        run: onnxruntime,
    });
    steps.push(Step {
        name: "python",
        about: "answers compared with Python peers",
        run: python,
    });
    steps.push(Step {
        name: "clients",
        about: "the inference protocol driven by the clients of Triton, MLServer and KServe, and read by Prometheus",
        run: clients,
    });
    steps
}

/// Starts a PostgreSQL of its own around a command; the ledger's, the store's and the ops' tests find it by an environment
/// variable.
const WITH_POSTGRES: &str = "crates/ledger/tests/with_postgres.sh";

fn tests(house: &House) -> Result<Outcome> {
    let mut tests = around_postgres(house)?;
    if command::succeeds(house.cargo().args(["nextest", "--version"])) {
        let run = [
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ];
        tests.args(run);
    } else {
        println!("cargo-nextest is not installed; cargo test runs the same tests, more slowly");
        tests.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
        tests.args(["--lib", "--bins", "--tests"]);
    }
    // The public signing tool judges our signatures in both directions, and an object store of the same Python serves the
    // store's bundles; their tests find it by these names.
    let python = python_ready(house)?;
    tests.env("OMBUD_MODEL_SIGNING_PYTHON", &python);
    command::run(tests.env("OMBUD_TEST_PYTHON", &python))?;
    Ok(Outcome::Passed)
}

/// Cargo, with a PostgreSQL started for it when its programs are installed; CI must have them.
fn around_postgres(house: &House) -> Result<Command> {
    let is_installed = std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|versions| {
        versions
            .flatten()
            .any(|version| version.path().join("bin/initdb").is_file())
    });
    if is_installed {
        let mut script = Command::new("bash");
        script
            .current_dir(&house.root)
            .arg(WITH_POSTGRES)
            .arg("cargo");
        forget_xtask(&mut script);
        return Ok(script);
    }
    if std::env::var_os("CI").is_some() {
        bail!("PostgreSQL's server programs are missing: install the package postgresql");
    }
    println!(
        "PostgreSQL IS NOT INSTALLED: ledger, store and ops are only tested on SQLite (install postgresql)"
    );
    Ok(house.cargo())
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

/// The feature that is off by default, by the library in the wheel that the Python tests install.
fn onnxruntime(house: &House) -> Result<Outcome> {
    let python = python_ready(house)?;
    let find = "import glob, os, onnxruntime as o; print(glob.glob(os.path.join(os.path.dirname(o.__file__), 'capi', 'libonnxruntime.so*'))[0])";
    let library = command::capture(Command::new(python).args(["-c", find]))?;
    let mut test = house.cargo();
    test.args(["test", "--workspace", "--locked", "--test", "onnxruntime"]);
    test.args(["--features", "ombud-engine/onnxruntime"]);
    command::run(test.env("ORT_DYLIB_PATH", library.trim()))?;
    Ok(Outcome::Passed)
}

fn python(house: &House) -> Result<Outcome> {
    let built = house.built_for_tests()?;
    let mut pytest = Command::new(python_ready(house)?);
    pytest.current_dir(&house.root);
    pytest.env("OMBUD", built.join("ombud"));
    pytest.env("OMBUD_RUN_ONNX", built.join("examples/run_onnx"));
    pytest.env("OMBUD_EXPORT_CASES", built.join("examples/export_cases"));
    // Two releases of one package do not fit into one Python.
    for release in ["2", "3"] {
        let requirements = house
            .root
            .join(PYTHON_TESTS)
            .join(format!("mlflow{release}.txt"));
        let name = format!("mlflow{release}-venv");
        let client = crate::bench::python::ready_for(house, &name, &requirements)?;
        pytest.env(format!("OMBUD_MLFLOW_{release}"), client);
    }
    command::run(pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", PYTHON_TESTS]))?;
    Ok(Outcome::Passed)
}

fn clients(house: &House) -> Result<Outcome> {
    let built = house.built_for_tests()?;
    for (folder, venv, requirements) in CLIENTS {
        let requirements = house.root.join(requirements);
        let python = crate::bench::python::ready(house, venv, &requirements)?;
        let mut pytest = Command::new(python);
        pytest.current_dir(&house.root);
        pytest.env("OMBUD", built.join("ombud"));
        let words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", folder];
        command::run(pytest.args(words))?;
    }
    Ok(Outcome::Passed)
}
