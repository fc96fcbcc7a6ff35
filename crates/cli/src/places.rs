//! Where things are by default: the folder of keys, the recipe, the data a person names.
//!
//! Paths on the command line start at the current folder; paths inside a recipe start at the recipe's folder.

use crate::failure::Failure;
use ombud_core::Class;
use ombud_learn::recipe::{RECIPE_BYTES_MAX, Recipe};
use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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

/// The folder that paths inside a recipe start at.
pub fn recipe_folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
