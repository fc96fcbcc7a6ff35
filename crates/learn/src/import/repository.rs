//! What a model repository of Triton, or a folder of MLServer, holds: found and told before anything is imported.
//!
//! Only looks: which models there are, in which versions, in which files of which format, and which of them cannot be
//! imported and why. Files that run code when they are opened (pickles, Python back ends) are named and left alone.

use super::Format;
use super::pbtxt::{self, Field};
use ombud_core::ModelName;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest configuration read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// How deep settings of MLServer are looked for.
const DEPTH_MAX: usize = 4;
/// Models of one repository.
const MODELS_MAX: usize = 10_000;
const CODE: &str = "it may run code when it is opened";

/// A model file that can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name here.
    pub name: ModelName,
    /// Its name there.
    pub theirs: String,
    /// Its version there.
    pub version: String,
    pub file: PathBuf,
    pub format: Format,
    /// The classes' names, where the repository has them.
    pub names: Vec<String>,
}

/// A model that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    pub theirs: String,
    pub version: String,
    pub reason: String,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repository {
    /// By name, versions in their order.
    pub found: Vec<Found>,
    pub passed: Vec<Passed>,
}

/// Looks into a repository of Triton: `MODEL/config.pbtxt`, `MODEL/VERSION/model.onnx`.
///
/// # Errors
/// When a folder cannot be read.
pub fn triton(folder: &Path) -> io::Result<Repository> {
    let mut repository = Repository::default();
    for model in folders(folder)? {
        let theirs = name_of(&model);
        match configuration(&model) {
            Ok(config) => repository.add_triton(&model, &theirs, &config)?,
            Err(reason) => repository.pass(&theirs, "", reason),
        }
    }
    Ok(repository)
}

/// Looks into a folder of MLServer: `model-settings.json`, wherever it stands.
///
/// # Errors
/// When a folder cannot be read.
pub fn mlserver(folder: &Path) -> io::Result<Repository> {
    let mut repository = Repository::default();
    let mut settings = Vec::new();
    find_settings(folder, 0, &mut settings)?;
    for path in settings {
        repository.add_mlserver(&path);
    }
    repository
        .found
        .sort_by(|a, b| (&a.name, numeric(&a.version)).cmp(&(&b.name, numeric(&b.version))));
    Ok(repository)
}

impl Repository {
    fn pass(&mut self, theirs: &str, version: &str, reason: impl Into<String>) {
        self.passed.push(Passed {
            theirs: theirs.to_owned(),
            version: version.to_owned(),
            reason: reason.into(),
        });
    }

    fn add(
        &mut self,
        theirs: &str,
        version: &str,
        file: PathBuf,
        format: Format,
        names: Vec<String>,
    ) {
        let Some(name) = ours(theirs) else {
            return self.pass(theirs, version, "its name cannot be made one of ours");
        };
        // Versions of one would be taken for versions of the other.
        let mut others = self.found.iter().filter(|found| found.name == name);
        if let Some(other) = others.find(|other| other.theirs != theirs) {
            let reason = format!("it would be called {name} here, as {:?} is", other.theirs);
            return self.pass(theirs, version, reason);
        }
        self.found.push(Found {
            name,
            theirs: theirs.to_owned(),
            version: version.to_owned(),
            file,
            format,
            names,
        });
    }

    fn add_triton(&mut self, model: &Path, theirs: &str, config: &[Field]) -> io::Result<()> {
        let mut versions: Vec<(u64, PathBuf)> = folders(model)?
            .into_iter()
            .filter_map(|version| Some((name_of(&version).parse().ok()?, version)))
            .collect();
        versions.sort();
        if versions.is_empty() {
            self.pass(
                theirs,
                "",
                "it has no version: a folder whose name is a number",
            );
        }
        for (number, folder) in versions {
            let version = number.to_string();
            let named =
                pbtxt::scalar(config, "default_model_filename").filter(|name| !name.is_empty());
            match model_file(&folder, named)? {
                Ok((file, format)) => {
                    self.add(theirs, &version, file, format, labels(model, config));
                }
                Err(reason) => self.pass(theirs, &version, reason),
            }
        }
        Ok(())
    }

    fn add_mlserver(&mut self, path: &Path) {
        let folder = path.parent().unwrap_or(Path::new("."));
        let settings = read(path)
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let Some(settings) = settings else {
            return self.pass(
                &name_of(folder),
                "",
                "its model-settings.json cannot be read",
            );
        };
        let theirs = settings["name"]
            .as_str()
            .map_or_else(|| name_of(folder), str::to_owned);
        let version = settings["parameters"]["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let implementation = settings["implementation"].as_str().unwrap_or_default();
        let uri = settings["parameters"]["uri"].as_str().unwrap_or_default();
        match served(folder, implementation, uri) {
            Ok((file, format)) => self.add(&theirs, &version, file, format, Vec::new()),
            Err(reason) => self.pass(&theirs, &version, reason),
        }
    }
}

type Judged = Result<(PathBuf, Format), String>;

/// The model's file in a version's folder of Triton.
fn model_file(folder: &Path, named: Option<&str>) -> io::Result<Judged> {
    if let Some(name) = named {
        let file = folder.join(name);
        return Ok(match format_of(&file) {
            Some(format) if file.is_file() => Ok((file, format)),
            Some(_) => Err(format!("{name} is not there")),
            None => Err(refused(name)),
        });
    }
    let mut names: Vec<String> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    // As Triton's back ends name them by default.
    for name in ["model.onnx", "xgboost.ubj", "xgboost.json", "model.txt"] {
        let file = folder.join(name);
        if let (true, Some(format)) = (file.is_file(), format_of(&file)) {
            return Ok(Ok((file, format)));
        }
    }
    Ok(Err(match names.first() {
        Some(name) => refused(name),
        None => "its folder is empty".to_owned(),
    }))
}

/// The model's file as MLServer's settings name it.
fn served(folder: &Path, implementation: &str, uri: &str) -> Judged {
    if uri.contains("://") {
        return Err(format!("its file lies elsewhere: {uri}"));
    }
    let file = match uri {
        "" => {
            default_file(folder).ok_or("it names no file, and none of the usual names is there")?
        }
        named => folder.join(named),
    };
    if file.is_dir() {
        return Err("it names a folder; name the model's file in `parameters.uri`".to_owned());
    }
    if !file.is_file() {
        return Err(format!("{} is not there", file.display()));
    }
    let runtime = implementation.split('.').next().unwrap_or_default();
    let format = match runtime {
        "mlserver_xgboost" => Some(Format::Xgboost),
        "mlserver_lightgbm" => Some(Format::Lightgbm),
        _ => format_of(&file),
    };
    match format {
        Some(format) => Ok((file, format)),
        None => Err(refused(&name_of(&file))),
    }
}

fn default_file(folder: &Path) -> Option<PathBuf> {
    let usual = [
        "model.onnx",
        "model.ubj",
        "model.json",
        "model.bst",
        "model.txt",
        "model.joblib",
        "model.pickle",
        "model.pkl",
    ];
    usual
        .into_iter()
        .map(|name| folder.join(name))
        .find(|file| file.is_file())
}

fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()? {
        "onnx" => Some(Format::Onnx),
        "json" | "ubj" => Some(Format::Xgboost),
        "txt" => Some(Format::Lightgbm),
        _ => None,
    }
}

fn refused(name: &str) -> String {
    match Path::new(name).extension().and_then(|end| end.to_str()) {
        Some("py" | "pkl" | "pickle" | "joblib") => {
            format!("{name}: {CODE}; convert the model (docs/portable.md)")
        }
        Some("pt" | "pth") => format!("{name}: {CODE}; export it with torch.onnx.export"),
        _ => format!("{name} is of no format that can be read here (ONNX, XGBoost, LightGBM)"),
    }
}

fn configuration(model: &Path) -> Result<Vec<Field>, String> {
    let path = model.join("config.pbtxt");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = read(&path).map_err(|error| format!("its config.pbtxt cannot be read: {error}"))?;
    pbtxt::parse(&text).map_err(|error| format!("its config.pbtxt is none: {error}"))
}

/// The classes' names, when an output has a file of them.
fn labels(model: &Path, config: &[Field]) -> Vec<String> {
    let outputs = pbtxt::messages(config, "output");
    let mut named = outputs
        .into_iter()
        .filter_map(|output| pbtxt::scalar(output, "label_filename"));
    let Some(file) = named.find(|name| !name.is_empty()) else {
        return Vec::new();
    };
    let text = read(&model.join(file)).unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn find_settings(folder: &Path, depth: usize, into: &mut Vec<PathBuf>) -> io::Result<()> {
    let path = folder.join("model-settings.json");
    if path.is_file() {
        into.push(path);
    }
    if depth < DEPTH_MAX && into.len() < MODELS_MAX {
        for inner in folders(folder)? {
            find_settings(&inner, depth + 1, into)?;
        }
    }
    Ok(())
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.take(MODELS_MAX) {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > CONFIG_BYTES_MAX {
        return Err(io::Error::other("it is too long"));
    }
    fs::read_to_string(path)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Versions in the order of their numbers: `v0.2.0` before `v0.10.0`.
fn numeric(version: &str) -> (Vec<u64>, &str) {
    let runs = version.split(|letter: char| !letter.is_ascii_digit());
    let numbers = runs.filter(|run| !run.is_empty());
    let numbers = numbers.map(|digits| digits.parse().unwrap_or(u64::MAX));
    (numbers.collect(), version)
}

/// A name of theirs as one of ours: small letters, and `_` for what we do not have.
fn ours(theirs: &str) -> Option<ModelName> {
    let plain = theirs
        .chars()
        .map(|letter| match letter.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9' | '_' | '-') => kept,
            _ => '_',
        });
    ModelName::new(&plain.collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, text: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn a_repository_of_triton_is_told_with_what_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        write(
            at,
            "Claims/config.pbtxt",
            "output [{ name: \"p\" label_filename: \"labels.txt\" }]",
        );
        write(at, "Claims/labels.txt", "lost\nwon\n");
        write(at, "Claims/10/model.onnx", "");
        write(at, "Claims/2/model.onnx", "");
        write(at, "script/1/model.py", "");
        write(at, "broken/config.pbtxt", "output [");
        write(at, "empty/config.pbtxt", "");
        let told = triton(at).expect("a repository");
        let found: Vec<_> = told
            .found
            .iter()
            .map(|f| (f.name.as_str(), f.version.as_str(), f.names.len()))
            .collect();
        assert_eq!(found, [("claims", "2", 2), ("claims", "10", 2)]);
        let passed: Vec<_> = told.passed.iter().map(|p| p.theirs.as_str()).collect();
        assert_eq!(passed, ["broken", "empty", "script"]);
        assert!(told.passed[2].reason.contains("run code"));
    }

    #[test]
    fn settings_of_mlserver_name_their_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        let settings = |uri: &str, runtime: &str| {
            format!(
                r#"{{"name":"churn","implementation":"{runtime}","parameters":{{"uri":"{uri}","version":"v2"}}}}"#
            )
        };
        write(
            at,
            "a/model-settings.json",
            &settings("./m.bst", "mlserver_xgboost.XGBoostModel"),
        );
        write(at, "a/m.bst", "");
        write(
            at,
            "b/model-settings.json",
            &settings("m.joblib", "mlserver_sklearn.SKLearnModel"),
        );
        write(at, "b/m.joblib", "");
        write(
            at,
            "c/model-settings.json",
            &settings("s3://bucket/m", "mlserver_xgboost.XGBoostModel"),
        );
        let told = mlserver(at).expect("a folder");
        assert_eq!(told.found.len(), 1);
        assert_eq!(told.found[0].format, Format::Xgboost);
        assert_eq!(told.passed.len(), 2);
    }

    #[test]
    fn of_two_names_that_would_be_one_here_the_second_is_passed() {
        let mut repository = Repository::default();
        for theirs in ["Churn", "churn", "Churn"] {
            let file = PathBuf::from("model.onnx");
            repository.add(theirs, "1", file, Format::Onnx, Vec::new());
        }
        assert_eq!(repository.found.len(), 2);
        let reason = &repository.passed[0].reason;
        assert!(reason.contains("as \"Churn\" is"), "{reason}");
    }

    #[test]
    fn versions_are_in_the_order_of_their_numbers() {
        let mut versions = ["v0.10.0", "3", "v0.2.0", "v1", "12", "first"];
        versions.sort_by(|a, b| numeric(a).cmp(&numeric(b)));
        assert_eq!(versions, ["first", "v0.2.0", "v0.10.0", "v1", "3", "12"]);
    }
}
