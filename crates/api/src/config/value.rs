//! What a setting may look like, in a file, in the environment and when it is printed.
//!
//! A value's type knows all three, so that a secret cannot be printed by mistake and a number of seconds is never taken
//! for milliseconds.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::de::DeValue;
use zeroize::Zeroizing;

/// A value as somebody gave it.
#[derive(Debug, Clone, Copy)]
pub enum Given<'a> {
    /// In a file.
    Toml(&'a DeValue<'a>),
    /// In the environment or as a flag.
    Text(&'a str),
}

/// A type that settings can have.
pub trait Setting: Sized {
    /// What a value looks like, for people.
    const KIND: &'static str;
    /// Reads a value; an error says what would be right.
    fn read(given: Given<'_>) -> Result<Self, String>;
    /// The value as TOML.
    fn shown(&self) -> String;
}

/// A text that must not be printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// An address that may hold a password, which must not be printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretUrl(Zeroizing<String>);

/// A time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub usize);

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// What stands in a secret's place.
const MASK: &str = "********";

impl Secret {
    /// Takes a secret.
    pub fn new(secret: String) -> Self {
        Secret(Zeroizing::new(secret))
    }

    /// The secret in clear.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl SecretUrl {
    /// Takes an address.
    pub fn new(url: String) -> Self {
        SecretUrl(Zeroizing::new(url))
    }

    /// The address with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address with its password masked, and its parameters left out: they may hold another one.
    pub fn masked(&self) -> String {
        let (url, has_parameters) = match self.0.split_once('?') {
            Some((url, _)) => (url, true),
            None => (self.0.as_str(), false),
        };
        let tail = if has_parameters {
            format!("?{MASK}")
        } else {
            String::new()
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return if url.is_empty() {
                String::new()
            } else {
                MASK.to_owned()
            };
        };
        let (who, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let who = match who.split_once(':') {
            Some((user, _)) => format!("{user}:{MASK}@"),
            None if who.is_empty() => String::new(),
            None => format!("{who}@"),
        };
        format!("{scheme}://{who}{place}{tail}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({})", self.masked())
    }
}

impl Setting for Secret {
    const KIND: &'static str = "a secret text";
    fn read(given: Given<'_>) -> Result<Self, String> {
        text(given, Self::KIND).map(Secret::new)
    }
    fn shown(&self) -> String {
        quoted(if self.is_empty() { "" } else { MASK })
    }
}

impl Setting for SecretUrl {
    const KIND: &'static str = "an address";
    fn read(given: Given<'_>) -> Result<Self, String> {
        text(given, Self::KIND).map(SecretUrl::new)
    }
    fn shown(&self) -> String {
        quoted(&self.masked())
    }
}

impl Setting for String {
    const KIND: &'static str = "a text";
    fn read(given: Given<'_>) -> Result<Self, String> {
        text(given, Self::KIND)
    }
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "a path";
    fn read(given: Given<'_>) -> Result<Self, String> {
        text(given, Self::KIND).map(PathBuf::from)
    }
    fn shown(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for SocketAddr {
    const KIND: &'static str = "an address and port";
    fn read(given: Given<'_>) -> Result<Self, String> {
        let wrong = || format!("must be {} such as \"127.0.0.1:8080\"", Self::KIND);
        text(given, Self::KIND)?.parse().map_err(|_| wrong())
    }
    fn shown(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";
    fn read(given: Given<'_>) -> Result<Self, String> {
        match given {
            Given::Toml(DeValue::Boolean(value)) => Ok(*value),
            Given::Text("true" | "1") => Ok(true),
            Given::Text("false" | "0") => Ok(false),
            _ => Err(format!("must be {}", Self::KIND)),
        }
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for u64 {
    const KIND: &'static str = "a whole number";
    fn read(given: Given<'_>) -> Result<Self, String> {
        let parsed = match given {
            Given::Toml(DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix()).ok()
            }
            Given::Text(text) => text.replace('_', "").parse().ok(),
            Given::Toml(_) => None,
        };
        parsed.ok_or_else(|| format!("must be {}, 0 or more", Self::KIND))
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for usize {
    const KIND: &'static str = "a whole number";
    fn read(given: Given<'_>) -> Result<Self, String> {
        usize::try_from(u64::read(given)?).map_err(|_| "is too large for this machine".to_owned())
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    const KIND: &'static str = "a whole number";
    fn read(given: Given<'_>) -> Result<Self, String> {
        u32::try_from(u64::read(given)?).map_err(|_| "is too large".to_owned())
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for Seconds {
    const KIND: &'static str = "seconds";
    fn read(given: Given<'_>) -> Result<Self, String> {
        u64::read(given)
            .map(Seconds)
            .map_err(|_| "must be a whole number of seconds".to_owned())
    }
    fn shown(&self) -> String {
        self.0.to_string()
    }
}

impl Setting for Bytes {
    const KIND: &'static str = "bytes";
    fn read(given: Given<'_>) -> Result<Self, String> {
        usize::read(given)
            .map(Bytes)
            .map_err(|_| "must be a whole number of bytes".to_owned())
    }
    fn shown(&self) -> String {
        self.0.to_string()
    }
}

impl Setting for LogFormat {
    const KIND: &'static str = "\"text\" or \"json\"";
    fn read(given: Given<'_>) -> Result<Self, String> {
        match text(given, Self::KIND)?.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("must be {}", Self::KIND)),
        }
    }
    fn shown(&self) -> String {
        quoted(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

impl Setting for Vec<String> {
    const KIND: &'static str = "a list of texts";
    fn read(given: Given<'_>) -> Result<Self, String> {
        let wrong = || format!("must be {}", Self::KIND);
        match given {
            Given::Toml(DeValue::Array(values)) => {
                let texts = values
                    .iter()
                    .map(|value| value.get_ref().as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(wrong)
            }
            Given::Toml(_) => Err(wrong()),
            // As it stands in the file.
            Given::Text(text) if text.trim_start().starts_with('[') => {
                let table: toml::Table =
                    toml::from_str(&format!("list = {text}")).map_err(|_| wrong())?;
                let list = table.get("list").and_then(toml::Value::as_array);
                let texts = list.into_iter().flatten().map(toml::Value::as_str);
                texts
                    .map(|text| text.map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(wrong)
            }
            Given::Text(text) => {
                let parts = text
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty());
                Ok(parts.map(str::to_owned).collect())
            }
        }
    }
    fn shown(&self) -> String {
        let texts: Vec<String> = self.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    }
}

impl Setting for Vec<PathBuf> {
    const KIND: &'static str = "a list of paths";
    fn read(given: Given<'_>) -> Result<Self, String> {
        Vec::<String>::read(given).map(|paths| paths.into_iter().map(PathBuf::from).collect())
    }
    fn shown(&self) -> String {
        let texts: Vec<String> = self
            .iter()
            .map(|path| quoted(&path.to_string_lossy()))
            .collect();
        format!("[{}]", texts.join(", "))
    }
}

fn text(given: Given<'_>, kind: &str) -> Result<String, String> {
    match given {
        Given::Toml(DeValue::String(text)) => Ok(text.to_string()),
        Given::Text(text) => Ok(text.to_owned()),
        Given::Toml(_) => Err(format!("must be {kind}, in quotes")),
    }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Given, SecretUrl, Setting};

    #[test]
    fn a_list_as_text_is_words_between_commas_or_as_the_file_has_it() {
        for text in ["a,b", " a , b ,", "[\"a\", \"b\"]", " ['a','b'] "] {
            let read = Vec::<String>::read(Given::Text(text));
            assert_eq!(read, Ok(vec!["a".to_owned(), "b".to_owned()]), "{text}");
        }
        for text in ["[a]", "[1]", "[\"a\""] {
            let read = Vec::<String>::read(Given::Text(text));
            assert!(read.is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("", ""),
            ("postgres://u:p@h:5432/d", "postgres://u:********@h:5432/d"),
            ("postgres://u:p@@h/d", "postgres://u:********@h/d"),
            (
                "postgres:///d?host=/tmp&password=x",
                "postgres:///d?********",
            ),
            ("redis://h", "redis://h"),
            ("no address", "********"),
        ] {
            assert_eq!(SecretUrl::new(url.to_owned()).masked(), shown);
        }
    }
}
