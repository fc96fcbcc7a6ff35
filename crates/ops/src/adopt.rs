//! A model that a client of MLflow's protocol registered becomes a deployable bundle, when its file is of a kind that holds
//! a model and no code.
//!
//! What becomes of a version is told in one sentence, its `status_message`: what it was made of and what to do next, or why
//! it is only kept. A pickle is never opened, whatever its name says of it.

use crate::error::{Error, Result};
use crate::ops::{Caller, Ops};
use ombud_core::{ModelName, Version};
use ombud_engine::Bundle;
use ombud_learn::import::{self, Format, ImportError, MODEL_BYTES_MAX, Origin, Wanted};
use ombud_ledger::Tenant;
use ombud_store::RegistryError;
use ombud_store::depot::{Depot, FilePath, read_whole};
use ombud_store::registry::Registering;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Files looked at below a model's folder.
const FILES_MAX: usize = 1_000;
/// Folders inside a model's folder that are looked into.
const DEPTH_MAX: usize = 3;
/// What MLflow writes beside every model.
const ABOUT_FILE: &str = "MLmodel";
const ABOUT_BYTES_MAX: u64 = 1 << 20;
/// Trying a graph takes a core for seconds; requests need the others.
static AT_WORK: Semaphore = Semaphore::const_new(1);

/// A version that was just listed.
#[derive(Debug, Clone)]
pub struct Adoption {
    pub tenant: Tenant,
    pub caller: Caller,
    pub model: ModelName,
    pub version: Version,
    /// When it was listed: whoever makes a bundle of it again makes the same.
    pub listed_us: i64,
    /// Where the client says the model is.
    pub source: String,
    /// The same as a path here; none when it is elsewhere.
    pub folder: Option<FilePath>,
}

/// A file that may hold a model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: FilePath,
    name: String,
    format: Format,
    depth: usize,
}

/// What lies in a model's folder.
#[derive(Debug, Default)]
struct Look {
    models: Vec<Found>,
    /// The first file that only Python reads, and why it stays unread here.
    python: Option<(String, &'static str)>,
    files: usize,
}

impl Ops {
    /// Makes a bundle of a listed version when that can be, and says what became of it. Answers when it is written down.
    pub async fn adopt(&self, depot: Arc<dyn Depot>, adoption: Adoption) -> Result<()> {
        let message = match self.try_adopt(&*depot, &adoption).await {
            Ok(message) => message,
            Err(error) if error.class() == ombud_core::Class::Unavailable => {
                format!("Kept, not deployable: {error}. Register it again to try once more.")
            }
            Err(error) => format!("Kept, not deployable: {error}."),
        };
        let store = &self.shared.registry.store;
        let Adoption {
            tenant,
            model,
            version,
            ..
        } = &adoption;
        store
            .settle_version(tenant, model, *version, &message, self.now_us())
            .await?;
        Ok(())
    }

    async fn try_adopt(&self, depot: &dyn Depot, adoption: &Adoption) -> Result<String> {
        let Some(folder) = &adoption.folder else {
            let words = "Kept, not deployable: its files are not here but at";
            return Ok(format!("{words} {:?}.", short(&adoption.source)));
        };
        let look = look(depot, &adoption.tenant, folder).await?;
        let found = match choose(&look) {
            Ok(found) => found,
            Err(message) => return Ok(message),
        };
        let tenant = &adoption.tenant;
        let content = read_whole(depot, tenant, &found.path, MODEL_BYTES_MAX)
            .await
            .map_err(RegistryError::from)?
            .unwrap_or_default();
        let about = match folder.join(ABOUT_FILE) {
            Ok(path) => read_whole(depot, tenant, &path, ABOUT_BYTES_MAX)
                .await
                .map_err(RegistryError::from)?
                .unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        match make(adoption, found, content, about).await? {
            Ok(bundle) => self.keep_bundle(adoption, found, bundle).await,
            Err(error) => Ok(format!(
                "Kept, not deployable: {} cannot be run here exactly: {}; {}.",
                found.name,
                chain(&error),
                error.hint()
            )),
        }
    }

    async fn keep_bundle(
        &self,
        adoption: &Adoption,
        found: &Found,
        bundle: Bundle,
    ) -> Result<String> {
        let (registry, model) = (&self.shared.registry, &adoption.model);
        let how = Registering {
            label: None,
            by: adoption.caller.principal.clone(),
            now_us: self.now_us(),
        };
        let engine = bundle.manifest().engine.clone();
        let digest = bundle.digest().to_string();
        let bundle = Arc::new(bundle);
        let kept = registry
            .register_as(&adoption.tenant, bundle, adoption.version, how)
            .await;
        if let Err(RegistryError::Untrusted) = kept {
            return Ok(format!(
                "Kept, not deployable: only signed bundles are trusted here, and {} brings no signature. \
                 `ombud import` with --key and `ombud register` make a signed one of it.",
                found.name
            ));
        }
        kept?;
        let detail = json!({ "did": "register", "model": model, "version": adoption.version, "digest": digest,
            "from": short(&adoption.source) });
        self.record_registry(&adoption.tenant, &adoption.caller, Some(model), detail)
            .await?;
        Ok(format!(
            "Deployable: {} became a bundle ({engine}). `ombud deploy {model} {}` puts it to work.",
            found.name, adoption.version
        ))
    }
}

/// Makes the bundle, away from the threads that answer requests.
async fn make(
    adoption: &Adoption,
    found: &Found,
    content: Vec<u8>,
    about: Vec<u8>,
) -> Result<std::result::Result<Bundle, ImportError>> {
    let place = AT_WORK.acquire().await.map_err(|_| Error::Interrupted)?;
    let (adoption, found) = (adoption.clone(), found.clone());
    let work = tokio::task::spawn_blocking(move || {
        let file = format!(
            "{}/{}, version {} of {}",
            short(&adoption.source),
            found.name,
            adoption.version,
            adoption.model
        );
        let bundle = |wanted: &Wanted| {
            let origin = Origin {
                came_us: Some(adoption.listed_us),
                name: &adoption.model,
                version: adoption.version,
                file: &file,
                wanted,
                key: None,
            };
            import::bundle(found.format, &content, &origin)
        };
        // The client's signature has better names than the file, when it fits the file.
        let signed = signature(&String::from_utf8_lossy(&about)).map(|wanted| bundle(&wanted));
        match signed {
            Some(Ok(bundle)) => Ok(bundle),
            _ => bundle(&Wanted::default()),
        }
    });
    let made = work.await.map_err(|_| Error::Interrupted);
    drop(place);
    made
}

async fn look(depot: &dyn Depot, tenant: &Tenant, folder: &FilePath) -> Result<Look> {
    let mut look = Look::default();
    let mut folders = vec![(folder.clone(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = depot
            .list(tenant, Some(&folder))
            .await
            .map_err(RegistryError::from)?;
        for entry in entries {
            let Ok(path) = folder.join(&entry.name) else {
                continue;
            };
            match entry.bytes {
                None if depth < DEPTH_MAX => folders.push((path, depth + 1)),
                None => {}
                Some(_) if look.files == FILES_MAX => return Ok(look),
                Some(_) => {
                    look.files += 1;
                    note(&mut look, path, entry.name, depth);
                }
            }
        }
    }
    Ok(look)
}

fn note(look: &mut Look, path: FilePath, name: String, depth: usize) {
    let lower = name.to_ascii_lowercase();
    let ending = lower.rsplit_once('.').map_or("", |(_, ending)| ending);
    let format = match (ending, lower.as_str()) {
        ("onnx", _) => Some(Format::Onnx),
        ("ubj" | "xgb", _) | (_, "model.json") => Some(Format::Xgboost),
        ("lgb", _) | (_, "model.txt") => Some(Format::Lightgbm),
        _ => None,
    };
    if let Some(format) = format {
        look.models.push(Found {
            path,
            name,
            format,
            depth,
        });
    } else if let Some(reason) = unread(ending) {
        look.python.get_or_insert((name, reason));
    }
}

/// Why a file of this ending is never read here.
fn unread(ending: &str) -> Option<&'static str> {
    match ending {
        "pkl" | "pickle" | "joblib" | "cloudpickle" | "dill" | "pt" | "pth" => {
            Some("may run code when it is opened")
        }
        "skops" => Some("rebuilds Python objects, which only Python can"),
        _ => None,
    }
}

/// The one file that is the model, or why there is none.
fn choose(look: &Look) -> std::result::Result<&Found, String> {
    let nearest = look.models.iter().map(|found| found.depth).min();
    let near: Vec<&Found> = look
        .models
        .iter()
        .filter(|found| Some(found.depth) == nearest)
        .collect();
    match (near.as_slice(), &look.python) {
        ([one], _) => Ok(one),
        ([], Some((name, reason))) => Err(format!(
            "Kept, not deployable: {name} {reason}, so it is stored and never loaded here. Clients can \
             load it. To serve the model, log it as ONNX (mlflow.onnx.log_model) or in XGBoost's or LightGBM's own format."
        )),
        ([], None) => Err(
            "Kept, not deployable: no ONNX, XGBoost or LightGBM file is among its files."
                .to_owned(),
        ),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|found| found.name.as_str()).collect();
            Err(format!(
                "Kept, not deployable: it has several models, {}; register a folder with one.",
                names.join(", ")
            ))
        }
    }
}

/// Names and types of the columns, as MLflow's signature has them, when all of them are numbers.
fn signature(about: &str) -> Option<Wanted> {
    let (_, signature) = about.split_once("\nsignature:")?;
    let (_, inputs) = signature.split_once("inputs: '")?;
    // A quote inside a YAML text is written twice, and a long text goes on in the next line.
    let mut text = String::new();
    let mut chars = inputs.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.peek() == Some(&'\'') => {
                chars.next();
                text.push('\'');
            }
            '\'' => break,
            '\n' => {
                while chars.peek().is_some_and(|c| c.is_whitespace()) {
                    chars.next();
                }
                text.push(' ');
            }
            c => text.push(c),
        }
    }
    let columns: Vec<Value> = serde_json::from_str(&text).ok()?;
    let mut said = String::from("[features]\n");
    for column in &columns {
        let name = column["name"].as_str()?;
        let is_number = matches!(
            column["type"].as_str()?,
            "double" | "float" | "integer" | "long"
        );
        if !is_number || name.contains(['"', '\\', '\n']) {
            return None;
        }
        said.push_str(&format!("\"{name}\" = \"number\"\n"));
    }
    Wanted::parse(ABOUT_FILE, &said).ok()
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> String {
        let mut look = Look::default();
        for name in names {
            let depth = name.matches('/').count();
            let path = FilePath::new(name).expect("a path");
            let last = name.rsplit('/').next().unwrap_or(name).to_owned();
            note(&mut look, path, last, depth);
        }
        match choose(&look) {
            Ok(found) => format!("{} {}", found.format.word(), found.path.as_str()),
            Err(message) => message.split(". ").next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn the_model_is_told_by_its_file() {
        assert_eq!(chosen(&["MLmodel", "model.onnx"]), "ONNX model.onnx");
        assert_eq!(
            chosen(&["MLmodel", "model.xgb", "requirements.txt"]),
            "XGBoost model.xgb"
        );
        assert_eq!(
            chosen(&["model.lgb", "input_example.json"]),
            "LightGBM model.lgb"
        );
        assert!(chosen(&["model.pkl", "MLmodel"]).starts_with("Kept, not deployable: model"));
        assert!(chosen(&["model.pkl"]).contains("model.pkl may run code when it is opened"));
        assert!(chosen(&["model.skops"]).contains("model.skops rebuilds Python objects"));
        assert!(chosen(&["a.onnx", "b.onnx"]).contains("several models"));
        assert_eq!(
            chosen(&["model.onnx", "code/other.onnx"]),
            "ONNX model.onnx"
        );
        assert!(chosen(&["notes.txt"]).contains("no ONNX"));
    }

    #[test]
    fn a_signature_of_numbers_names_the_features() {
        let about = "run_id: x\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \"it''s\", \"required\": true},\n    \
            {\"type\": \"long\", \"name\": \"b\"}]'\n  outputs: null\n";
        assert!(signature(about).is_some());
        let texts = "x\nsignature:\n  inputs: '[{\"type\": \"string\", \"name\": \"a\"}]'\n";
        assert!(signature(texts).is_none());
        assert!(signature("flavors: {}\n").is_none());
    }
}
