//! A folder to work in, the binary to run there, and small data made on the spot.

use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder of its own for one test, where nothing of the machine's settings is seen.
pub struct Place {
    folder: TempDir,
}

/// How a command ended.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("home")).expect("a home folder");
        Place { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The command, ready to run here.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ombud"));
        command
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        for name in [
            "XDG_CONFIG_HOME",
            "OMBUD_SIGNING_KEY",
            "OMBUD_TRUSTED_KEYS",
            "NO_COLOR",
            "CI",
        ] {
            command.env_remove(name);
        }
        command.env("HOME", self.path("home"));
        command
    }

    pub fn ombud(&self, words: &[&str]) -> Run {
        Run::of(self.command(words).output().expect("the binary runs"))
    }

    /// Runs a command that must succeed.
    pub fn done(&self, words: &[&str]) -> Run {
        let run = self.ombud(words);
        assert_eq!(run.code, 0, "ombud {}\n{}", words.join(" "), run.stderr);
        run
    }

    /// Runs a command whose answer is one JSON object.
    pub fn json(&self, words: &[&str]) -> Value {
        self.done(words).json()
    }

    /// Writes the data and the recipe and trains; gives the report.
    pub fn train(&self, data: &str, recipe: &str) -> Value {
        self.write("data.csv", data);
        self.write("recipe.toml", recipe);
        self.json(&["train", "recipe.toml", "--json"])
    }

    /// Every file below, with its bytes: two equal listings mean that nothing was written.
    pub fn listing(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        list(self.folder.path(), &mut files);
        files.sort();
        files
    }
}

fn list(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            files.push((path.clone(), Vec::new()));
            list(&path, files);
        } else {
            let content = fs::read(&path).unwrap_or_default();
            files.push((path, content));
        }
    }
}

impl Run {
    pub fn of(output: Output) -> Self {
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as the one JSON object that it must be.
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.stdout));
        assert!(value.is_object(), "{value}");
        assert_eq!(
            self.stdout.trim_end().lines().count(),
            1,
            "one object on one line"
        );
        value
    }

    /// Asserts that it ended as a mistake of the caller should: one message, a hint, exit code 2.
    pub fn refused(&self, because: &str) {
        assert_eq!(self.code, 2, "{}", self.stderr);
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !line.starts_with("note: "))
            .collect();
        assert!(
            lines
                .first()
                .is_some_and(|line| line.starts_with("error: ")),
            "{}",
            self.stderr
        );
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.starts_with("error: "))
                .count(),
            1,
            "{}",
            self.stderr
        );
        let hint = lines.iter().position(|line| line.starts_with("hint: "));
        let hint = hint.unwrap_or_else(|| panic!("no hint: {}", self.stderr));
        assert_eq!(
            lines[hint - 1],
            "",
            "a blank line before the hint: {}",
            self.stderr
        );
        assert!(
            self.stderr.contains(because),
            "{because:?} is not in:\n{}",
            self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Numbers that look random and are the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(2_685_821_657_736_338_717) | 1)
    }

    /// A number from 0 up to but not including 1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(2_685_821_657_736_338_717) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    pub fn one_of<'t>(&mut self, values: &[&'t str]) -> &'t str {
        values[(self.unit() * values.len() as f64) as usize]
    }
}

/// People of whom some leave: `person_id,gender,hours,tenure,site,left`.
pub fn leavers(rows: usize, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut csv = "person_id,gender,hours,tenure,site,left\n".to_owned();
    for row in 0..rows {
        let gender = dice.one_of(&["woman", "man"]);
        let hours = 38.0 + 8.0 * dice.normal();
        let tenure = (12.0 * dice.unit()).round();
        let site = dice.one_of(&["north", "south", "harbour"]);
        let pull = (hours - 40.0) / 4.0 - tenure / 4.0 + if site == "harbour" { 1.5 } else { 0.0 };
        let left = if pull + dice.normal() > 0.0 {
            "yes"
        } else {
            "no"
        };
        writeln!(csv, "P{row:05},{gender},{hours:.1},{tenure},{site},{left}").expect("a string");
    }
    csv
}

pub const LEAVERS: &str = "\
[model]
name = \"leavers\"
[data]
source = \"csv:data.csv\"
target = \"left\"
subject = \"person_id\"
protected = [\"gender\"]
[train]
algorithm = \"forest\"
rounds = 20
depth = 3
seed = 7
";

/// Days that something takes: `case_id,size,kind,days`.
pub fn days(rows: usize, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut csv = "case_id,size,kind,days\n".to_owned();
    for row in 0..rows {
        let size = 10.0 * dice.unit();
        let kind = dice.one_of(&["short", "long"]);
        let base = if kind == "long" { 30.0 } else { 10.0 };
        let days = base + 2.0 * size + 2.0 * dice.normal();
        writeln!(csv, "C{row:05},{size:.3},{kind},{days:.2}").expect("a string");
    }
    csv
}

pub const DAYS: &str = "\
[model]
name = \"days\"
task = \"regression\"
[data]
source = \"csv:data.csv\"
target = \"days\"
ids = [\"case_id\"]
[train]
algorithm = \"forest\"
rounds = 20
depth = 3
coverage = 0.9
";

/// Three ways of living: `person_id,sleep,steps`.
pub fn ways(rows: usize, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let centers = [(5.0, 3_000.0), (7.0, 12_000.0), (9.0, 6_000.0)];
    let mut csv = "person_id,sleep,steps\n".to_owned();
    for row in 0..rows {
        let (sleep, steps) = centers[row % 3];
        let (sleep, steps) = (sleep + 0.3 * dice.normal(), steps + 500.0 * dice.normal());
        writeln!(csv, "P{row:05},{sleep:.2},{steps:.0}").expect("a string");
    }
    csv
}

pub const WAYS: &str = "\
[model]
name = \"ways\"
task = \"clustering\"
[data]
source = \"csv:data.csv\"
subject = \"person_id\"
[train]
algorithm = \"kmeans\"
k = 3
";

/// Short messages and what they need: `note_id,text,need`.
pub fn notes(rows: usize, seed: u64) -> String {
    const WORDS: [(&str, [&str; 4]); 3] = [
        ("pay", ["dues", "wage", "refund", "payslip"]),
        ("paper", ["letter", "copy", "form", "signature"]),
        ("talk", ["alone", "tired", "worried", "listen"]),
    ];
    let mut dice = Dice::new(seed);
    let mut csv = "note_id,text,need\n".to_owned();
    for row in 0..rows {
        let (need, words) = WORDS[row % 3];
        let filler = dice.one_of(&["please", "hello", "today", "again"]);
        let (first, second) = (dice.one_of(&words), dice.one_of(&words));
        writeln!(
            csv,
            "N{row:05},\"{filler}, the {first} and {second} of {filler}\",{need}"
        )
        .expect("a string");
    }
    csv
}

/// Callers of whom some leave, most of them when they want to talk: `person_id,hours,message,left`. Some wrote nothing.
pub fn callers(rows: usize, seed: u64) -> String {
    let written = notes(rows, seed);
    let mut dice = Dice::new(seed + 100);
    let mut csv = "person_id,hours,message,left\n".to_owned();
    for (row, note) in written.lines().skip(1).enumerate() {
        let (_, rest) = note.split_once(',').expect("an id");
        let (message, need) = rest.rsplit_once(',').expect("a need");
        let hours = 38.0 + 8.0 * dice.normal();
        let pull = (hours - 40.0) / 8.0 + if need == "talk" { 2.5 } else { -1.0 };
        let left = if pull + dice.normal() > 0.0 {
            "yes"
        } else {
            "no"
        };
        let message = if dice.unit() < 0.1 { "" } else { message };
        writeln!(csv, "P{row:05},{hours:.1},{message},{left}").expect("a string");
    }
    csv
}

pub const NOTES: &str = "\
[model]
name = \"notes\"
[data]
source = \"csv:data.csv\"
target = \"need\"
ids = [\"note_id\"]
[features]
text = \"text\"
[train]
algorithm = \"linear\"
";

/// Cases with any number of tags: `case_id,size,noise,tags`.
pub fn tagged(rows: usize, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut csv = "case_id,size,noise,tags\n".to_owned();
    for row in 0..rows {
        let (size, noise) = (dice.normal(), dice.normal());
        let mut tags = Vec::new();
        if size + 0.3 * dice.normal() > 0.0 {
            tags.push("large");
        }
        if noise + 0.3 * dice.normal() > 0.0 {
            tags.push("loud");
        }
        writeln!(csv, "T{row:05},{size:.3},{noise:.3},{}", tags.join(";")).expect("a string");
    }
    csv
}

pub const TAGGED: &str = "\
[model]
name = \"tagged\"
task = \"multi_label\"
[data]
source = \"csv:data.csv\"
target = \"tags\"
separator = \";\"
ids = [\"case_id\"]
[train]
algorithm = \"linear\"
";

/// A CSV text as a header and rows of cells; only for output without quotes.
pub fn cells(csv: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a header");
    (head, lines.collect())
}
