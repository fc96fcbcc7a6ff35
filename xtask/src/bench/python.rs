//! A throw-away Python environment with exactly the packages a requirements file pins.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::house::House;

/// Names an interpreter that already has the packages, to save the installation.
const INTERPRETER: &str = "OMBUD_PYTHON";

/// The Python of the environment `name` below the target folder, made or renewed when `requirements`
/// changed since it was last complete.
pub fn ready(house: &House, name: &str, requirements: &Path) -> Result<PathBuf> {
    if let Some(python) = env::var_os(INTERPRETER) {
        println!("using {INTERPRETER} instead of target/{name}");
        return Ok(PathBuf::from(python));
    }
    own(house, name, requirements)
}

/// The same, whatever interpreter is named for the others.
pub fn own(house: &House, name: &str, requirements: &Path) -> Result<PathBuf> {
    let folder = house.target.join(name);
    let python = folder.join("bin/python");
    let stamp = folder.join("complete.txt");
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("{} cannot be read", requirements.display()))?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    println!(
        "installing the Python packages of {}",
        requirements.display()
    );
    command::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(requirements);
    command::run(&mut install)?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}
