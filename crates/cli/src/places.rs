//! Where things are by default: the folder of keys, the recipe, the data a person names.
//!
//! Paths on the command line start at the current folder; paths inside a recipe start at the recipe's folder.

use crate::failure::Failure;
use ombud_core::Class;
use ombud_learn::recipe::{RECIPE_BYTES_MAX, Recipe};
use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The folder of the person's own keys: `$XDG_CONFIG_HOME/ombud/keys`, or `~/.config/ombud/keys`.
pub fn keys_folder() -> Option<PathBuf> {
    let given = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let config = given("XDG_CONFIG_HOME").or_else(|| Some(given("HOME")?.join(".config")))?;
    Some(config.join("ombud").join("keys"))
}

/// Reads and checks a recipe.
pub fn recipe(path: &Path, overrides: &[String]) -> Result<Recipe, Failure> {
    let text = recipe_text(path)?;
    Ok(Recipe::parse_with(
        &path.display().to_string(),
        &text,
        overrides,
    )?)
}

fn recipe_text(path: &Path) -> Result<String, Failure> {
    if path.is_dir() {
        let hint = format!(
            "name the file, such as {}",
            path.join("recipe.toml").display()
        );
        return Err(Failure::invalid(
            format!("{} is a folder, not a recipe", path.display()),
            hint,
        ));
    }
    let mut bytes = Vec::new();
    let limit = RECIPE_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| {
        let failure = Failure::file("read", path, &error);
        match error.kind() {
            std::io::ErrorKind::NotFound => failure
                .with_hint("write one with: ombud recipe new DATA --target COLUMN --out RECIPE"),
            _ => failure,
        }
    })?;
    if bytes.len() > RECIPE_BYTES_MAX {
        let message = format!(
            "{} is longer than a recipe may be ({RECIPE_BYTES_MAX} bytes)",
            path.display()
        );
        return Err(Failure::new(
            Class::TooLarge,
            message,
            "a recipe is a short TOML file; is this the data?",
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        let message = format!("{} is no text in UTF-8", path.display());
        Failure::invalid(message, "a recipe is a TOML file; is this the data?")
    })
}

/// The folder that paths inside a recipe start at; empty for a recipe that lies here, so that its paths are told as
/// they are written.
pub fn recipe_folder(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// A source that is named here, as a recipe in `folder` must name it.
pub fn source_seen_from(folder: &Path, source: &str) -> String {
    const PREFIXES: [&str; 4] = ["csv", "tsv", "jsonl", "parquet"];
    let (prefix, place) = match source.split_once(':') {
        Some((prefix, place)) if PREFIXES.contains(&prefix) => (format!("{prefix}:"), place),
        _ => (String::new(), source),
    };
    let place = Path::new(place);
    if place == Path::new("-") || place.is_absolute() || folder == Path::new("") {
        return source.to_owned();
    }
    let seen = match place.strip_prefix(folder) {
        Ok(inside) => inside.to_owned(),
        Err(_) => way_back(folder).map_or_else(
            || std::path::absolute(place).unwrap_or_else(|_| place.to_owned()),
            |back| back.join(place),
        ),
    };
    format!("{prefix}{}", seen.display())
}

/// From a folder below here back to here; `None` for a folder elsewhere.
fn way_back(folder: &Path) -> Option<PathBuf> {
    let mut back = PathBuf::new();
    for part in folder.components() {
        match part {
            Component::Normal(_) => back.push(".."),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_names_its_data_from_its_own_folder() {
        for (folder, source, seen) in [
            ("", "csv:a.csv", "csv:a.csv"),
            ("p", "p/a.csv", "a.csv"),
            ("p/q", "csv:d/a.csv", "csv:../../d/a.csv"),
            ("p", "/d/a.csv", "/d/a.csv"),
            ("p", "jsonl:-", "jsonl:-"),
        ] {
            assert_eq!(
                source_seen_from(Path::new(folder), source),
                seen,
                "{folder} {source}"
            );
        }
    }
}
