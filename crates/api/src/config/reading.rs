//! Walks the layers and collects every mistake, with where it stands.

use super::value::Given;
use super::{Config, Field, Issuer};
use ombud_core::nearest::nearest;
use std::fmt;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What variables of the environment that are settings begin with.
pub const ENVIRONMENT_PREFIX: &str = "OMBUD__";
/// The table array that is no section.
const ISSUERS: &str = "issuers";

/// What the settings are made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file's name and text, when there is one.
    pub file: Option<(PathBuf, String)>,
    /// Variables of the environment that begin with [`ENVIRONMENT_PREFIX`].
    pub environment: Vec<(String, String)>,
    /// `section.name` and a value.
    pub flags: Vec<(String, String)>,
}

/// Who said what a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `section.name`.
    pub key: String,
    /// The file and line, the variable, or the flag.
    pub place: String,
}

/// Something wrong in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file and line, the variable or the flag; empty when it is about what settings say to each other.
    pub place: String,
    /// The setting.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Everything wrong in the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One or more.
    pub mistakes: Vec<Mistake>,
}

impl Sources {
    /// The file that is named, or `ombud.toml` here when there is one; the process's environment; and the flags.
    pub fn gather(
        named: Option<PathBuf>,
        flags: Vec<(String, String)>,
    ) -> Result<Self, ConfigError> {
        let is_named = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from("ombud.toml"));
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => None,
            Err(error) => {
                let mistake = Mistake {
                    place: path.display().to_string(),
                    key: String::new(),
                    what: format!("cannot be read: {error}"),
                    hint: Some("name the file with --config FILE".to_owned()),
                };
                return Err(ConfigError {
                    mistakes: vec![mistake],
                });
            }
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        Ok(Sources {
            file,
            environment,
            flags,
        })
    }
}

/// Reads all layers.
pub(super) fn load(sources: &Sources) -> Result<(Config, Vec<Origin>), ConfigError> {
    let mut reading = Reading::default();
    if let Some((path, text)) = &sources.file {
        reading.file(&path.display().to_string(), text);
    }
    let mut environment = sources.environment.clone();
    environment.sort();
    for (name, value) in &environment {
        reading.variable(name, value);
    }
    for (key, value) in &sources.flags {
        reading.text(&format!("--set {key}"), key, value);
    }
    if reading.mistakes.is_empty() {
        Ok((reading.config, reading.origins))
    } else {
        Err(ConfigError {
            mistakes: reading.mistakes,
        })
    }
}

#[derive(Default)]
struct Reading {
    config: Config,
    origins: Vec<Origin>,
    mistakes: Vec<Mistake>,
}

impl Reading {
    fn file(&mut self, name: &str, text: &str) {
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                self.mistake(
                    &format!("{name}:{line}"),
                    "",
                    error.message().to_owned(),
                    None,
                );
                return;
            }
        };
        for (key, value) in table.get_ref() {
            let section: &str = key.get_ref();
            let place = format!("{name}:{}", line_of(text, key.span().start));
            if section == ISSUERS {
                self.issuers(name, text, &place, value);
                continue;
            }
            let Some((_, fields)) = section_named(section) else {
                self.unknown(&place, "", section, section_names());
                continue;
            };
            let DeValue::Table(entries) = value.get_ref() else {
                self.mistake(
                    &place,
                    section,
                    "is a section, not a value".to_owned(),
                    Some(format!("write `[{section}]` on its own line")),
                );
                continue;
            };
            for (key, value) in entries {
                let place = format!("{name}:{}", line_of(text, key.span().start));
                self.value(
                    &place,
                    section,
                    fields,
                    key.get_ref(),
                    Given::Toml(value.get_ref()),
                );
            }
        }
    }

    fn issuers(&mut self, name: &str, text: &str, place: &str, value: &Spanned<DeValue<'_>>) {
        let tables = match value.get_ref() {
            DeValue::Array(tables) => tables,
            _ => {
                return self.mistake(
                    place,
                    ISSUERS,
                    "is a list of tables".to_owned(),
                    Some("write `[[issuers]]`".to_owned()),
                );
            }
        };
        for table in tables {
            let place = |at: usize| format!("{name}:{}", line_of(text, at));
            let DeValue::Table(entries) = table.get_ref() else {
                self.mistake(
                    &place(table.span().start),
                    ISSUERS,
                    "holds something that is no table".to_owned(),
                    None,
                );
                continue;
            };
            let mut issuer = Issuer::default();
            for (key, value) in entries {
                let place = place(key.span().start);
                if !Issuer::NAMES.contains(&key.get_ref().as_ref()) {
                    self.unknown(&place, ISSUERS, key.get_ref(), Issuer::NAMES.to_vec());
                } else if let Err(what) = issuer.set(key.get_ref(), value.get_ref()) {
                    self.mistake(&place, &format!("{ISSUERS}.{}", key.get_ref()), what, None);
                }
            }
            self.config.issuers.push(issuer);
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        let key = name[ENVIRONMENT_PREFIX.len()..]
            .to_lowercase()
            .replace("__", ".");
        self.text(name, &key, value);
    }

    fn text(&mut self, place: &str, key: &str, value: &str) {
        let Some((section, name)) = key.split_once('.') else {
            return self.unknown(place, "", key, section_names());
        };
        match section_named(section) {
            Some((section, fields)) => self.value(place, section, fields, name, Given::Text(value)),
            None => self.unknown(place, "", section, section_names()),
        }
    }

    fn value(
        &mut self,
        place: &str,
        section: &str,
        fields: &[Field],
        name: &str,
        given: Given<'_>,
    ) {
        if !fields.iter().any(|field| field.name == name) {
            let names = fields.iter().map(|field| field.name).collect();
            return self.unknown(place, section, name, names);
        }
        let key = format!("{section}.{name}");
        match self.config.set(section, name, given) {
            Ok(()) => {
                self.origins.retain(|origin| origin.key != key);
                self.origins.push(Origin {
                    key,
                    place: place.to_owned(),
                });
            }
            Err(what) => self.mistake(place, &key, what, None),
        }
    }

    fn unknown(&mut self, place: &str, section: &str, name: &str, names: Vec<&'static str>) {
        let key = if section.is_empty() {
            name.to_owned()
        } else {
            format!("{section}.{name}")
        };
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("is it `{near}`?"),
            None => format!("known are: {}", names.join(", ")),
        };
        self.mistake(place, &key, "is not a setting".to_owned(), Some(hint));
    }

    fn mistake(&mut self, place: &str, key: &str, what: String, hint: Option<String>) {
        self.mistakes.push(Mistake {
            place: place.to_owned(),
            key: key.to_owned(),
            what,
            hint,
        });
    }
}

impl Mistake {
    /// A mistake in what settings say to each other.
    pub(super) fn about(key: &str, what: &str, hint: &str) -> Self {
        Mistake {
            place: String::new(),
            key: key.to_owned(),
            what: what.to_owned(),
            hint: Some(hint.to_owned()),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [one] => one.fmt(f),
            many => {
                write!(f, "the settings have {} mistakes", many.len())?;
                many.iter()
                    .try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

fn section_named(name: &str) -> Option<(&'static str, &'static [Field])> {
    let mut sections = Config::sections().into_iter();
    sections
        .find(|(section, _, _)| *section == name)
        .map(|(section, _, fields)| (section, fields))
}

fn section_names() -> Vec<&'static str> {
    let sections = Config::sections();
    sections
        .iter()
        .map(|(section, _, _)| *section)
        .chain([ISSUERS])
        .collect()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
