//! Why a command ended without doing what it was asked, and how that is told.
//!
//! Every room's error becomes a [`Failure`]: what is wrong, what to do about it, and whose mistake it was. The words
//! stand on standard error as `error: …`, a blank line, `hint: …`; with `--json` the same is one object on standard
//! output. Knows nothing of commands.

use ombud_api::config::ConfigError;
use ombud_api::listen::ListenError;
use ombud_api::open::OpenError;
use ombud_core::{Class, Refusal};
use ombud_engine::bundle::keys::KeyError;
use ombud_engine::bundle::staging::WriteError;
use ombud_engine::{BundleError, ModelError, StageError};
use ombud_learn::export::Refused;
use ombud_learn::import::ImportError;
use ombud_learn::prepare::PrepareError;
use ombud_learn::recipe::{Mistake, RecipeError};
use ombud_learn::source::ReadError;
use ombud_learn::train::TrainError;
use serde_json::{Value, json};
use std::error::Error;
use std::io;
use std::path::Path;

/// The exit code when gates failed and were to be enforced.
pub const GATES_FAILED: u8 = 3;
/// The exit code when a ledger was verified and has a flaw: no mistake in what was asked.
pub const FLAWED: u8 = 4;
/// The exit code after Ctrl-C, as shells write it: 128 and the signal's number.
pub const STOPPED: u8 = 130;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Something was wrong.
    Wrong(Box<Wrong>),
    /// The person stopped it.
    Stopped,
    /// Whoever read our output has seen enough (`ombud … | head`); there is nothing to tell and nobody to tell it to.
    PipeClosed,
}

/// What to do about data that is not where the command line says.
pub const STARTS_HERE: &str = "check the path; a relative one starts at the current folder";

/// What was wrong.
#[derive(Debug)]
pub struct Wrong {
    /// One sentence, or one line per mistake.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Whose mistake.
    pub class: Class,
    /// The mistakes of a recipe one by one, for programs.
    pub mistakes: Vec<Value>,
    /// Whether columns are missing, so that a look at the others can help.
    pub is_about_columns: bool,
}

impl Failure {
    /// A failure with its remedy.
    pub fn new(class: Class, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::of(class, message.into(), Some(hint.into()))
    }

    /// The caller's mistake.
    pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::new(Class::Invalid, message, hint)
    }

    /// A file that cannot be read or written.
    pub fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("{} cannot be {doing}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Class::NotFound,
                format!("{} does not exist", path.display()),
                STARTS_HERE,
            ),
            io::ErrorKind::PermissionDenied => Failure::new(
                Class::Forbidden,
                message,
                "check the rights on the file and its folder",
            ),
            io::ErrorKind::AlreadyExists => Failure::new(
                Class::Conflict,
                format!("{} exists already", path.display()),
                "choose another name, or move the old one away first",
            ),
            io::ErrorKind::IsADirectory => Failure::invalid(message, "name a file, not a folder"),
            _ => Failure::new(
                Class::Unavailable,
                message,
                "check the disk and the rights on the folder",
            ),
        }
    }

    /// A failure over data that the command line names: its paths start here, not at a recipe.
    pub fn of_data_named_here(error: TrainError) -> Self {
        let is_absent = matches!(
            &error,
            TrainError::Prepare(PrepareError::Read(ReadError::NotFound { .. }))
        );
        let failure = Failure::from(error);
        if is_absent {
            failure.with_hint(STARTS_HERE)
        } else {
            failure
        }
    }

    /// Columns that the model needs and the data does not have.
    pub fn columns(refusal: &Refusal) -> Self {
        let faults = refusal.faults.iter().map(|fault| match &fault.nearest {
            Some(near) => format!("\n  {} (is it `{near}`?)", fault.path),
            None => format!("\n  {}, {}", fault.path, fault.allowed),
        });
        let noun = if refusal.count == 1 {
            "column that is"
        } else {
            "columns that are"
        };
        let message = format!(
            "the model needs {} {noun} not in the data:{}",
            refusal.count,
            faults.collect::<String>()
        );
        let hint = "name the columns as they were in training; `ombud inspect BUNDLE` lists them"
            .to_owned();
        let wrong = Wrong {
            is_about_columns: true,
            ..Wrong::new(Class::Invalid, message, Some(hint))
        };
        Failure::Wrong(Box::new(wrong))
    }

    /// The same failure, saying which file it is about.
    pub fn about(self, path: &Path) -> Self {
        let name = path.display().to_string();
        match self {
            Failure::Wrong(mut wrong) if !wrong.message.contains(&name) => {
                wrong.message = format!("{name}: {}", wrong.message);
                Failure::Wrong(wrong)
            }
            other => other,
        }
    }

    /// The same failure with a better remedy.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        match self {
            Failure::Wrong(mut wrong) => {
                wrong.hint = Some(hint.into());
                Failure::Wrong(wrong)
            }
            other => other,
        }
    }

    fn of(class: Class, message: String, hint: Option<String>) -> Self {
        Failure::Wrong(Box::new(Wrong::new(class, message, hint)))
    }

    /// The code the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Wrong(wrong) => wrong.class.exit_code(),
            Failure::Stopped => STOPPED,
            Failure::PipeClosed => 0,
        }
    }
}

impl Wrong {
    fn new(class: Class, message: String, hint: Option<String>) -> Self {
        Wrong {
            message,
            hint,
            class,
            mistakes: Vec::new(),
            is_about_columns: false,
        }
    }

    /// What a person reads.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("error: {}\n\nhint: {hint}", self.message),
            None => format!("error: {}", self.message),
        }
    }

    /// What a program reads.
    pub fn json(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "hint": self.hint,
            "class": class_word(self.class),
        });
        if !self.mistakes.is_empty() {
            error["mistakes"] = Value::Array(self.mistakes.clone());
        }
        json!({ "error": error })
    }
}

/// The word for a class in JSON.
fn class_word(class: Class) -> &'static str {
    match class {
        Class::Invalid => "invalid",
        Class::NotFound => "not_found",
        Class::Conflict => "conflict",
        Class::Unauthenticated => "unauthenticated",
        Class::Forbidden => "forbidden",
        Class::TooLarge => "too_large",
        Class::Unsupported => "unsupported",
        Class::Corrupt => "corrupt",
        Class::Unavailable => "unavailable",
        Class::Internal => "internal",
    }
}

/// An error with everything that caused it, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent errors repeat their cause's words.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        let place = |mistake: &Mistake| match mistake.line {
            0 => error.file.clone(),
            line => format!("{}:{line}", error.file),
        };
        let said = |mistake: &Mistake| match mistake.key.as_str() {
            "" => format!("{}: {}", place(mistake), mistake.what),
            key => format!("{}: `{key}` {}", place(mistake), mistake.what),
        };
        let (message, hint) = match error.mistakes.as_slice() {
            [one] => (said(one), one.hint.clone()),
            many => {
                let lines = many.iter().map(|mistake| match &mistake.hint {
                    Some(hint) => format!("\n  {} ({hint})", said(mistake)),
                    None => format!("\n  {}", said(mistake)),
                });
                let message = format!(
                    "{} has {} mistakes{}",
                    error.file,
                    many.len(),
                    lines.collect::<String>()
                );
                (message, None)
            }
        };
        let mistakes = error.mistakes.iter().map(|mistake| {
            json!({
                "file": error.file, "line": mistake.line, "key": mistake.key,
                "what": mistake.what, "hint": mistake.hint,
            })
        });
        let fallback = || {
            "mend the recipe there; `ombud recipe new DATA` writes one to compare with".to_owned()
        };
        Failure::Wrong(Box::new(Wrong {
            mistakes: mistakes.collect(),
            ..Wrong::new(Class::Invalid, message, Some(hint.unwrap_or_else(fallback)))
        }))
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Failure::new(error.class(), chain(&error), error.hint())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Bundle(error) => error.into(),
            TrainError::Model(error) => error.into(),
            TrainError::Write(error) => error.into(),
            error => Failure::of(error.class(), chain(&error), error.hint()),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Keep(error) => error.into(),
            error => Failure::new(error.class(), chain(&error), error.hint()),
        }
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        match error {
            Refused::Model(error) => error.into(),
            error => Failure::new(error.class(), chain(&error), error.hint()),
        }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Key(error) => error.into(),
            BundleError::Write(error) => error.into(),
            error => Failure::new(error.class(), chain(&error), error.hint()),
        }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Bundle(error) => error.into(),
            error => {
                let hint = match &error {
                    ModelError::UnknownEngine { .. } => {
                        "open it with the ombud that made it, or a newer one"
                    }
                    ModelError::Stage(StageError::Absent { .. }) => {
                        "its stages are bundles of their own: put them beside it, or name their folder with --stages DIR"
                    }
                    _ => "the bundle was not made by this program, or made wrongly; train it again",
                };
                Failure::new(error.class(), chain(&error), hint)
            }
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        if let KeyError::Write(error) = error {
            return error.into();
        }
        let hint = match &error {
            KeyError::Read { .. } => "check the path; `ombud keys signing new` makes a key",
            KeyError::PrivateInsteadOfPublic => {
                "give the public key, the file whose name ends in .pub"
            }
            KeyError::PublicInsteadOfPrivate => {
                "give the private key, the file whose name ends in .key"
            }
            KeyError::Encrypted => {
                "decrypt it first: openssl pkcs8 -in KEY -out PLAIN, then chmod 600 PLAIN"
            }
            KeyError::TooLarge { .. } | KeyError::Malformed { .. } => {
                "make a key with `ombud keys signing new`"
            }
            KeyError::Randomness(_) | KeyError::Encode | KeyError::Write(_) => "try again",
        };
        let class = match &error {
            KeyError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Class::NotFound
            }
            KeyError::Randomness(_) | KeyError::Encode => Class::Internal,
            _ => Class::Invalid,
        };
        Failure::new(class, chain(&error), hint)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let mistakes = error.mistakes.iter().map(|mistake| {
            json!({ "place": mistake.place, "key": mistake.key, "what": mistake.what, "hint": mistake.hint })
        });
        let hint = "`ombud config reference` tells every setting and what it means".to_owned();
        let wrong = Wrong {
            mistakes: mistakes.collect(),
            ..Wrong::new(Class::Invalid, error.to_string(), Some(hint))
        };
        Failure::Wrong(Box::new(wrong))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let words = chain(&error);
        let hint = disk_hint(&words).unwrap_or(error.hint());
        Failure::new(error.class(), words, hint)
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let (class, hint) = match &error {
            ListenError::Address { .. } => (
                Class::Unavailable,
                "choose another address with --listen, or stop what listens there",
            ),
            ListenError::Tls(_) => (Class::Invalid, "check `tls.certificate` and `tls.key`"),
        };
        Failure::new(class, chain(&error), hint)
    }
}

impl From<ombud_ops::Error> for Failure {
    fn from(error: ombud_ops::Error) -> Self {
        use ombud_ops::DeployError;
        let error = match error {
            ombud_ops::Error::Store(error) => return error.into(),
            ombud_ops::Error::Registry(error) => return error.into(),
            ombud_ops::Error::Ledger(error) => return error.into(),
            error => error,
        };
        let hint = match &error {
            ombud_ops::Error::Deploy(DeployError::GateFailed { .. }) => {
                "train a better version, or overrule the gate with --force --reason WHY"
            }
            ombud_ops::Error::Deploy(DeployError::NeverServed { .. }) => {
                "`ombud deploy` puts it to work there, through its gates"
            }
            ombud_ops::Error::Deploy(DeployError::Percent { .. }) => {
                "write it like --canary 10; without --canary everybody is answered by it"
            }
            ombud_ops::Error::Deploy(DeployError::Reason) => "say why with --reason",
            ombud_ops::Error::CacheKeeps(_) => {
                "the servers empty it when it answers again; repeat the command to be sure, or wait for `cache.seconds`"
            }
            ombud_ops::Error::NotDeployed { .. } => "see `ombud models` and `ombud deployments`",
            _ => "see `ombud deployments`",
        };
        Failure::new(error.class(), chain(&error), hint)
    }
}

impl From<ombud_store::registry::RegistryError> for Failure {
    fn from(error: ombud_store::registry::RegistryError) -> Self {
        if let ombud_store::registry::RegistryError::Store(error) = error {
            return error.into();
        }
        Failure::new(
            error.class(),
            chain(&error),
            "check the bundle with `ombud verify`, and `storage.artifacts`",
        )
    }
}

impl From<ombud_ledger::Error> for Failure {
    fn from(error: ombud_ledger::Error) -> Self {
        let words = chain(&error);
        let hint = disk_hint(&words)
            .unwrap_or("check `storage.database`; `ombud db status` tells what it finds");
        Failure::new(error.class(), words, hint)
    }
}

/// What to do about a disk that takes nothing, by what the database or the system says of it.
fn disk_hint(words: &str) -> Option<&'static str> {
    let words = words.to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    if says(&["disk is full", "no space left"]) {
        Some("the disk is full: make room on it, then try again")
    } else if says(&["readonly", "read-only"]) {
        Some("the disk or the file is read-only: put the storage folder where it can be written")
    } else {
        None
    }
}

impl From<ombud_store::Error> for Failure {
    fn from(error: ombud_store::Error) -> Self {
        if let ombud_store::Error::StagesAbsent { .. } = error {
            let hint = "register its stages first: ombud register BUNDLE, for each of them";
            return Failure::new(error.class(), chain(&error), hint);
        }
        let hint = match error.class() {
            Class::NotFound => {
                "check the name; `ombud models`, `ombud keys list` and `ombud people list` show what there is"
            }
            Class::Invalid | Class::TooLarge => "mend it and try again",
            Class::Conflict => "look at how it is now, then decide again",
            _ => disk_hint(&chain(&error))
                .unwrap_or("check `storage.database`; `ombud db status` tells what it finds"),
        };
        Failure::new(error.class(), chain(&error), hint)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match &error {
            WriteError::Exists { .. } => Failure::new(
                Class::Conflict,
                chain(&error),
                "choose another name, or move the old one away first",
            ),
            WriteError::Write { path, source } => Failure::file("written", path, source),
            _ => Failure::invalid(chain(&error), "choose another name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_learn::recipe::Recipe;

    fn text(failure: Failure) -> String {
        match failure {
            Failure::Wrong(wrong) => wrong.text(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_error_is_a_line_a_blank_line_and_a_hint() {
        let failure = Failure::invalid("this is wrong", "do that");
        assert_eq!(failure.exit_code(), 2);
        assert_eq!(text(failure), "error: this is wrong\n\nhint: do that");
    }

    #[test]
    fn every_mistake_of_a_recipe_is_listed_with_its_line() {
        let recipe = "[model]\nname = \"a\"\ntsak = \"regression\"\n[train]\nsede = 1\n";
        let error = Recipe::parse("r.toml", recipe).expect_err("two wrong keys");
        let text = text(error.into());
        assert!(
            text.contains("r.toml:3: ") && text.contains("r.toml:5: "),
            "{text}"
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let path = Path::new("k").to_owned();
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = KeyError::Read { path, source };
        assert_eq!(
            chain(&error),
            "the key file \"k\" cannot be read: entity not found"
        );
    }
}
