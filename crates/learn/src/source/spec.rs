//! Names of sources: `csv:claims.csv`, `claims.parquet`, `-`.
//!
//! A name is parsed once, at the edge; past it the format and the place are known. Prefixes that belong to other
//! rooms (`sql:`, `kit:`) are theirs to recognise before they ask here.

use super::error::ReadError;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values; another separator is found from the header.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file, or for Parquet a folder or a pattern such as `claims/*.parquet`.
    Path(PathBuf),
    /// The bytes piped into this process.
    StandardInput,
}

/// A source as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// How the bytes are to be read.
    pub format: Format,
    /// Where they are.
    pub place: Place,
}

impl SourceSpec {
    /// Parses a name; a relative path starts at `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ReadError> {
        let unknown = || ReadError::UnknownForm {
            text: text.chars().take(200).collect(),
        };
        let (format, place) = match text.split_once(':') {
            Some((prefix, place)) if Format::of_word(prefix).is_some() => {
                (Format::of_word(prefix), place)
            }
            _ => (Format::of_name(text), text),
        };
        if place.is_empty() {
            return Err(unknown());
        }
        if place == "-" {
            let format = format.unwrap_or(Format::Csv);
            return Ok(SourceSpec {
                format,
                place: Place::StandardInput,
            });
        }
        let path = base.join(place);
        let format = match format {
            Some(format) => format,
            None if path.is_dir() => Format::Parquet,
            None => return Err(unknown()),
        };
        Ok(SourceSpec {
            format,
            place: Place::Path(path),
        })
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::StandardInput => f.write_str("standard input"),
        }
    }
}

impl Format {
    /// The word in front of a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Jsonl => "jsonl",
            Format::Parquet => "parquet",
        }
    }

    fn of_word(word: &str) -> Option<Format> {
        match word {
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "jsonl" => Some(Format::Jsonl),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    fn of_name(name: &str) -> Option<Format> {
        let lower = name.to_ascii_lowercase();
        let name = lower.strip_suffix(".gz").unwrap_or(&lower);
        match name.rsplit_once('.')?.1 {
            "csv" | "txt" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
            "parquet" if lower == name => Some(Format::Parquet),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Option<(Format, String)> {
        let spec = SourceSpec::parse(text, Path::new("/base")).ok()?;
        Some((spec.format, spec.to_string()))
    }

    #[test]
    fn the_format_comes_from_the_prefix_or_the_ending() {
        for (text, format, place) in [
            ("csv:a.dat", Format::Csv, "/base/a.dat"),
            ("a.CSV.gz", Format::Csv, "/base/a.CSV.gz"),
            ("/x/a.tsv", Format::Tsv, "/x/a.tsv"),
            ("a.json.gz", Format::Jsonl, "/base/a.json.gz"),
            ("f/*.parquet", Format::Parquet, "/base/f/*.parquet"),
            ("-", Format::Csv, "standard input"),
            ("jsonl:-", Format::Jsonl, "standard input"),
        ] {
            assert_eq!(spec(text), Some((format, place.to_owned())), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms() {
        for text in ["", "csv:", "a.xlsx", "sql:claims", "a.parquet.gz"] {
            assert_eq!(spec(text), None, "{text}");
        }
    }
}
