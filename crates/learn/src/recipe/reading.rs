//! Reads a TOML document key by key, collecting every mistake with its line.
//!
//! A recipe is written by people, so the reader keeps where each value stands, remembers which keys were asked for,
//! and refuses the rest with the nearest right name. What the keys mean is the recipe's business.

use ombud_core::nearest::nearest;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A mistake in a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// The key, as a dotted path.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// All mistakes of one file, shared by the sections being read.
#[derive(Debug, Clone, Default)]
pub(super) struct Mistakes(Rc<RefCell<Vec<Mistake>>>);

impl Mistakes {
    pub(super) fn add(
        &self,
        line: usize,
        key: &str,
        what: impl Into<String>,
        hint: Option<String>,
    ) {
        self.0.borrow_mut().push(Mistake {
            line,
            key: key.to_owned(),
            what: what.into(),
            hint,
        });
    }

    pub(super) fn take(&self) -> Vec<Mistake> {
        let mut all = self.0.take();
        all.sort_by_key(|mistake| mistake.line);
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// One table of the document.
#[derive(Debug)]
pub(super) struct Section<'t> {
    text: &'t str,
    path: String,
    line: usize,
    entries: BTreeMap<String, (usize, &'t DeValue<'t>)>,
    asked: RefCell<Vec<&'static str>>,
    mistakes: Mistakes,
}

/// A value with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'t> {
    pub(super) line: usize,
    pub(super) value: &'t DeValue<'t>,
}

impl<'t> Section<'t> {
    pub(super) fn root(text: &'t str, table: &'t Spanned<DeTable<'t>>, mistakes: Mistakes) -> Self {
        Section::of(text, String::new(), 0, table.get_ref(), mistakes)
    }

    fn of(
        text: &'t str,
        path: String,
        line: usize,
        table: &'t DeTable<'t>,
        mistakes: Mistakes,
    ) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| {
                (
                    key.get_ref().to_string(),
                    (line_of(text, &key.span()), value.get_ref()),
                )
            })
            .collect();
        Section {
            text,
            path,
            line,
            entries,
            asked: RefCell::default(),
            mistakes,
        }
    }

    /// The whole document's text.
    pub(super) fn text_of_document(&self) -> &'t str {
        self.text
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(super) fn mistake(
        &self,
        line: usize,
        name: &str,
        what: impl Into<String>,
        hint: Option<String>,
    ) {
        self.mistakes.add(line, &self.key(name), what, hint);
    }

    /// The value under a key, or under one of its other names.
    pub(super) fn get(&self, names: &[&'static str]) -> Option<Found<'t>> {
        self.asked.borrow_mut().extend_from_slice(names);
        let (line, value) = names.iter().find_map(|name| self.entries.get(*name))?;
        Some(Found { line: *line, value })
    }

    /// Whether one of some keys is there.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.entries.contains_key(*name))
    }

    /// A sub-table; a mistake when the key holds something else.
    pub(super) fn section(&self, name: &'static str) -> Option<Section<'t>> {
        let found = self.get(&[name])?;
        self.as_section(name, found)
    }

    pub(super) fn as_section(&self, name: &str, found: Found<'t>) -> Option<Section<'t>> {
        match found.value.as_table() {
            Some(table) => Some(Section::of(
                self.text,
                self.key(name),
                found.line,
                table,
                self.mistakes.clone(),
            )),
            None => self.wrong_type(name, found, "a table"),
        }
    }

    /// Every entry that no one asked for by name, for sections whose keys are the user's own.
    pub(super) fn rest(&self) -> Vec<(String, Found<'t>)> {
        let asked = self.asked.borrow();
        let rest = self
            .entries
            .iter()
            .filter(|(key, _)| !asked.contains(&key.as_str()));
        rest.map(|(key, (line, value))| (key.clone(), Found { line: *line, value }))
            .collect()
    }

    pub(super) fn text(&self, names: &[&'static str]) -> Option<String> {
        let found = self.get(names)?;
        match found.value.as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.wrong_type(names[0], found, "a text in quotes"),
        }
    }

    pub(super) fn flag(&self, names: &[&'static str]) -> Option<bool> {
        let found = self.get(names)?;
        match found.value.as_bool() {
            Some(flag) => Some(flag),
            None => self.wrong_type(names[0], found, "true or false"),
        }
    }

    pub(super) fn number(
        &self,
        names: &[&'static str],
        allowed: std::ops::RangeInclusive<f64>,
    ) -> Option<f64> {
        let found = self.get(names)?;
        let Some(number) = as_number(found.value) else {
            return self.wrong_type(names[0], found, "a number");
        };
        if allowed.contains(&number) {
            return Some(number);
        }
        let what = match *allowed.start() == f64::MIN && *allowed.end() == f64::MAX {
            true => format!("is {number}; allowed is any finite number"),
            false => format!(
                "is {number}; allowed is {} to {}",
                allowed.start(),
                allowed.end()
            ),
        };
        self.mistake(found.line, names[0], what, None);
        None
    }

    pub(super) fn whole(
        &self,
        names: &[&'static str],
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let found = self.get(names)?;
        let Some(number) = as_whole(found.value) else {
            return self.wrong_type(names[0], found, "a whole number");
        };
        match u64::try_from(number) {
            Ok(number) if allowed.contains(&number) => Some(number),
            _ => {
                let what = format!(
                    "is {number}; allowed is {} to {}",
                    allowed.start(),
                    allowed.end()
                );
                self.mistake(found.line, names[0], what, None);
                None
            }
        }
    }

    /// One word of a closed list.
    pub(super) fn word<T: Copy>(
        &self,
        names: &[&'static str],
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let found = self.get(names)?;
        let Some(word) = found.value.as_str() else {
            return self.wrong_type(names[0], found, "a word in quotes");
        };
        self.one_of(names[0], found.line, word, words)
    }

    pub(super) fn one_of<T: Copy>(
        &self,
        name: &str,
        line: usize,
        word: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        if let Some((_, meaning)) = words.iter().find(|(known, _)| *known == word) {
            return Some(*meaning);
        }
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        let what = format!("is {word:?}; allowed is one of {}", known.join(", "));
        self.mistake(line, name, what, meant(word, &known));
        None
    }

    /// A list of texts; one text alone counts as a list of one.
    pub(super) fn texts(&self, names: &[&'static str]) -> Vec<String> {
        let Some(found) = self.get(names) else {
            return Vec::new();
        };
        if let Some(text) = found.value.as_str() {
            return vec![text.to_owned()];
        }
        let texts = found.value.as_array().and_then(|array| {
            array
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        texts
            .or_else(|| self.wrong_type(names[0], found, "a list of texts"))
            .unwrap_or_default()
    }

    /// A length of time: `10m`, `7d`.
    pub(super) fn duration(&self, names: &[&'static str]) -> Option<Seconds> {
        let found = self.get(names)?;
        let parsed = found.value.as_str().and_then(Seconds::parse);
        parsed.or_else(|| {
            self.wrong_type(
                names[0],
                found,
                "a length of time such as \"30s\", \"5m\", \"1h\" or \"7d\"",
            )
        })
    }

    pub(super) fn wrong_type<T>(&self, name: &str, found: Found<'_>, expected: &str) -> Option<T> {
        let what = format!("is {}; allowed is {expected}", shown(found.value));
        self.mistake(found.line, name, what, None);
        None
    }

    pub(super) fn require<T>(&self, name: &str, value: Option<T>, example: &str) -> Option<T> {
        if value.is_none() && !self.entries.contains_key(name) {
            self.mistake(
                self.line,
                name,
                "is missing",
                Some(format!("add `{example}`")),
            );
        }
        value
    }

    /// Refuses the keys that no one asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow().clone();
        for (key, found) in self.rest() {
            let hint = match meant(&key, &asked) {
                Some(meant) => Some(meant),
                None => Some(format!("allowed here: {}", asked.join(", "))),
            };
            self.mistake(found.line, &key, "is not a known key", hint);
        }
    }
}

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Seconds {
    /// Parses `30s`, `5m`, `1h`, `7d`.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().last()?;
        let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        number.checked_mul(factor).map(Seconds)
    }
}

fn meant(word: &str, known: &[&str]) -> Option<String> {
    nearest(word, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
}

pub(super) fn as_whole(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
}

pub(super) fn as_number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float
            .as_str()
            .replace('_', "")
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite()),
        _ => as_whole(value).map(|whole| whole as f64),
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            format!("the text {:?}", text.chars().take(40).collect::<String>())
        }
        DeValue::Integer(_) | DeValue::Float(_) => "a number".into(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let end = span.start.min(text.len());
    text.as_bytes()[..end]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}
