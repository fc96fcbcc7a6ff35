//! Where things are: the root of the workspace, its target folder, its crates and its files.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// Names a binary of ours that is built already; a release takes minutes.
pub const BINARY: &str = "OMBUD_BENCH_BINARY";

/// The workspace this program works on.
pub struct House {
    pub root: PathBuf,
    pub target: PathBuf,
    /// The crates of the workspace.
    pub crates: Vec<Member>,
}

/// One crate of the workspace.
#[derive(Clone, Debug)]
pub struct Member {
    pub package: String,
    /// Its folder, relative to the root: `crates/core`.
    pub folder: PathBuf,
}

impl House {
    /// Finds the workspace from the place of xtask's own manifest, or from the current folder.
    pub fn find() -> Result<Self> {
        let start = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => env::current_dir().context("the current folder cannot be read")?,
        };
        let mut metadata = cargo_in(&start);
        metadata.args(["metadata", "--format-version", "1", "--no-deps"]);
        let text = command::capture(&mut metadata)?;
        let metadata = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        Self::from_metadata(&metadata)
    }

    /// A `cargo` command that runs at the root.
    pub fn cargo(&self) -> Command {
        cargo_in(&self.root)
    }

    /// The release binary `ombud`, built if it is not up to date.
    pub fn ombud(&self) -> Result<PathBuf> {
        if let Some(named) = env::var_os(BINARY) {
            return Ok(PathBuf::from(named));
        }
        let mut build = self.cargo();
        build.args(["build", "--release", "--locked", "--bin", "ombud"]);
        command::run(&mut build)?;
        Ok(self.target.join("release/ombud"))
    }

    /// The folder of the binary and the examples that the tests are built with. Asked for in the tests' own way, because
    /// `cargo build` chooses other features for some dependencies and would compile nearly everything once more.
    pub fn built_for_tests(&self) -> Result<PathBuf> {
        let mut build = self.cargo();
        command::run(build.args(["test", "--workspace", "--locked", "--no-run", "--quiet"]))?;
        Ok(self.target.join("debug"))
    }

    /// `path` as a person at the root would type it.
    pub fn typed<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// Every file that is tracked, or would be if it were added, relative to the root.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let mut list = Command::new("git");
        list.current_dir(&self.root);
        list.args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ]);
        let names = command::capture(&mut list)?;
        let mut files: Vec<PathBuf> = names
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = path(&metadata["workspace_root"])?;
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata has no packages")?;
        let crates = packages
            .iter()
            .map(|package| member(package, &root))
            .collect::<Result<_>>()?;
        Ok(Self {
            target: path(&metadata["target_directory"])?,
            root,
            crates,
        })
    }
}

fn member(package: &Value, root: &Path) -> Result<Member> {
    let manifest = path(&package["manifest_path"])?;
    let folder = manifest.parent().unwrap_or(root);
    Ok(Member {
        package: package["name"]
            .as_str()
            .context("a package has no name")?
            .to_owned(),
        folder: folder.strip_prefix(root).unwrap_or(folder).to_owned(),
    })
}

fn path(value: &Value) -> Result<PathBuf> {
    value
        .as_str()
        .map(PathBuf::from)
        .context("cargo metadata lacks a path")
}

fn cargo_in(folder: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder);
    forget_xtask(&mut cargo);
    cargo
}

/// Takes from a command that comes to call cargo the variables that `cargo run` sets about xtask itself: some build scripts
/// watch them and would rebuild whenever a person alternates between `cargo build` and `cargo xtask`.
pub fn forget_xtask(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}
