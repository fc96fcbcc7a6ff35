//! The algorithms of a recipe and their parameters, each with its default and its limits.
//!
//! Defaults are chosen to be good without a search on tables of a few thousand to a few hundred thousand rows; what is
//! `None` is found from the data.

use super::reading::{Section, as_whole};
use ombud_engine::text::{
    Analyzer, DocumentLimit, GramRange, HASHING_BITS_MAX, HASHING_BITS_MIN, Hashing, StopWords,
    TextOptions,
};

/// How a model is fitted.
#[derive(Debug, Clone, PartialEq)]
pub enum Algorithm {
    /// Gradient-boosted trees.
    Forest(ForestParameters),
    /// Logistic regression over numbers, categories and text; for classes and labels only.
    Linear(LinearParameters),
    /// k-means over scaled features.
    KMeans(ClusterParameters),
    /// A Gaussian mixture over scaled features.
    Mixture(ClusterParameters),
}

impl Algorithm {
    /// The word in a recipe.
    pub fn word(&self) -> &'static str {
        match self {
            Algorithm::Forest(_) => "forest",
            Algorithm::Linear(_) => "linear",
            Algorithm::KMeans(_) => "kmeans",
            Algorithm::Mixture(_) => "mixture",
        }
    }
}

/// Parameters of a forest.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestParameters {
    /// Boosting rounds; `None`: as many as held-out rows ask for.
    pub rounds: Option<usize>,
    /// Depth of a tree; `None`: the best of a few by cross-validation on small data, 6 otherwise.
    pub depth: Option<usize>,
    /// How much of each tree is taken.
    pub learning_rate: Option<f64>,
    /// Share of rows each tree sees.
    pub subsample: f64,
    /// Share of columns each tree sees.
    pub colsample: f64,
    /// Least sum of second derivatives in a leaf.
    pub min_child_weight: f64,
    /// L2 penalty on leaves.
    pub lambda: f64,
    /// L1 penalty on leaves.
    pub alpha: f64,
    /// Least gain of a split.
    pub gamma: f64,
    /// Bins per feature.
    pub bins: usize,
    /// Rounds without improvement before stopping.
    pub early_stopping: usize,
    /// What a regression minimises.
    pub loss: LossKind,
}

/// What a regression minimises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossKind {
    /// Squared error: predicts the mean.
    Squared,
    /// Absolute error: predicts the median.
    Absolute,
    /// Pinball loss: predicts this quantile.
    Quantile(f64),
}

impl Default for ForestParameters {
    fn default() -> Self {
        ForestParameters {
            rounds: None,
            depth: None,
            learning_rate: None,
            subsample: 0.8,
            colsample: 0.8,
            min_child_weight: 1.0,
            lambda: 1.0,
            alpha: 0.0,
            gamma: 0.0,
            bins: 256,
            early_stopping: 30,
            loss: LossKind::Squared,
        }
    }
}

/// Parameters of a linear model.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearParameters {
    /// Inverse strength of the L2 penalty, as scikit-learn's `C`; `None`: the best of a few on rows left out.
    pub c: Option<f64>,
    /// One model over all classes, or one per class.
    pub strategy: Strategy,
    /// How texts become numbers.
    pub text: TextParameters,
    /// Most iterations.
    pub iterations: usize,
}

/// One model over all classes, or one per class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Softmax over all classes.
    Multinomial,
    /// A separate logistic regression per class.
    OneVsRest,
}

impl Default for LinearParameters {
    fn default() -> Self {
        LinearParameters {
            c: None,
            strategy: Strategy::Multinomial,
            text: TextParameters::default(),
            iterations: 300,
        }
    }
}

/// How texts become numbers; the engine's own options.
pub type TextParameters = TextOptions;

/// Parameters of a clustering.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterParameters {
    /// Number of segments; `None`: the best supported within `k_min..=k_max`.
    pub k: Option<usize>,
    /// Fewest segments considered.
    pub k_min: usize,
    /// Most segments considered.
    pub k_max: usize,
    /// Mixture only: full covariance, or diagonal.
    pub full_covariance: bool,
}

impl Default for ClusterParameters {
    fn default() -> Self {
        ClusterParameters {
            k: None,
            k_min: 2,
            k_max: 8,
            full_covariance: true,
        }
    }
}

#[derive(Clone, Copy)]
enum Word {
    Forest,
    Linear,
    KMeans,
    Mixture,
}

const FOREST_KEYS: [&str; 15] = [
    "rounds",
    "trees",
    "n_estimators",
    "depth",
    "max_depth",
    "learning_rate",
    "eta",
    "subsample",
    "colsample",
    "min_child_weight",
    "lambda",
    "bins",
    "early_stopping",
    "loss",
    "quantile",
];
const LINEAR_KEYS: [&str; 4] = ["c", "strategy", "text", "iterations"];

/// Reads the algorithm and the parameters that belong to it; those of another algorithm stay unknown keys.
pub(super) fn read(section: &Section<'_>) -> Option<Algorithm> {
    let words = [
        ("forest", Word::Forest),
        ("linear", Word::Linear),
        ("kmeans", Word::KMeans),
        ("mixture", Word::Mixture),
    ];
    let word = match section.get(&["algorithm"]) {
        // Parameters of one algorithm say which is meant, so that `--set train.rounds=100` needs nothing else.
        None if section.has(&FOREST_KEYS) => Word::Forest,
        None if section.has(&LINEAR_KEYS) => Word::Linear,
        None if section.has(&["k", "segments", "k_min", "k_max"]) => Word::KMeans,
        None => return None,
        Some(found) => match found.value.as_str() {
            Some(coming @ ("lstm" | "encoder" | "language")) => {
                let what = format!("is {coming:?}, which this version does not train");
                let hint = Some("allowed: forest, linear, kmeans, mixture".to_owned());
                section.mistake(found.line, "algorithm", what, hint);
                return None;
            }
            Some(word) => section.one_of("algorithm", found.line, word, &words)?,
            None => return section.wrong_type("algorithm", found, "a word in quotes"),
        },
    };
    Some(match word {
        Word::Forest => Algorithm::Forest(read_forest(section)),
        Word::Linear => Algorithm::Linear(read_linear(section)),
        Word::KMeans => Algorithm::KMeans(read_clusters(section)),
        Word::Mixture => Algorithm::Mixture(read_clusters(section)),
    })
}

fn read_forest(section: &Section<'_>) -> ForestParameters {
    let default = ForestParameters::default();
    let losses = [("squared", 0), ("absolute", 1), ("quantile", 2)];
    let loss = section.word(&["loss"], &losses);
    let quantile = section.number(&["quantile"], 0.001..=0.999);
    let loss = match (loss, quantile) {
        (Some(2) | None, Some(quantile)) => LossKind::Quantile(quantile),
        (Some(2), None) => LossKind::Quantile(0.5),
        (Some(1), _) => LossKind::Absolute,
        _ => default.loss,
    };
    ForestParameters {
        rounds: section
            .whole(&["rounds", "trees", "n_estimators"], 1..=100_000)
            .map(|n| n as usize),
        depth: section
            .whole(&["depth", "max_depth"], 1..=30)
            .map(|n| n as usize),
        learning_rate: section.number(&["learning_rate", "eta"], 1e-4..=1.0),
        subsample: section
            .number(&["subsample"], 0.01..=1.0)
            .unwrap_or(default.subsample),
        colsample: section
            .number(&["colsample"], 0.01..=1.0)
            .unwrap_or(default.colsample),
        min_child_weight: section
            .number(&["min_child_weight"], 0.0..=1e9)
            .unwrap_or(default.min_child_weight),
        lambda: section
            .number(&["lambda"], 0.0..=1e9)
            .unwrap_or(default.lambda),
        alpha: section
            .number(&["alpha"], 0.0..=1e9)
            .unwrap_or(default.alpha),
        gamma: section
            .number(&["gamma"], 0.0..=1e9)
            .unwrap_or(default.gamma),
        bins: section
            .whole(&["bins"], 2..=65_535)
            .map_or(default.bins, |n| n as usize),
        early_stopping: section
            .whole(&["early_stopping"], 1..=10_000)
            .map_or(default.early_stopping, |n| n as usize),
        loss,
    }
}

fn read_linear(section: &Section<'_>) -> LinearParameters {
    let default = LinearParameters::default();
    let strategies = [
        ("multinomial", Strategy::Multinomial),
        ("one_vs_rest", Strategy::OneVsRest),
    ];
    LinearParameters {
        c: section.number(&["c"], 1e-6..=1e6),
        strategy: section
            .word(&["strategy"], &strategies)
            .unwrap_or(default.strategy),
        text: section
            .section("text")
            .map(read_text)
            .unwrap_or(default.text),
        iterations: section
            .whole(&["iterations"], 1..=100_000)
            .map_or(default.iterations, |n| n as usize),
    }
}

fn read_text(section: Section<'_>) -> TextParameters {
    let default = TextParameters::default();
    let analyzers = [
        ("word", Analyzer::Words),
        ("char", Analyzer::Characters),
        ("both", Analyzer::Both),
    ];
    let stop_words = section
        .get(&["stop_words"])
        .and_then(|found| match found.value.as_str() {
            Some("english") => Some(StopWords::English),
            Some("none") => Some(StopWords::None),
            Some(_) => section.wrong_type(
                "stop_words",
                found,
                "\"english\", \"none\" or a list of words",
            ),
            None => Some(StopWords::Given(section.texts(&["stop_words"]))),
        });
    let hashing = section.whole(
        &["hashing_bits"],
        u64::from(HASHING_BITS_MIN)..=u64::from(HASHING_BITS_MAX),
    );
    let options = TextParameters {
        analyzer: section
            .word(&["analyzer"], &analyzers)
            .unwrap_or(default.analyzer),
        word_grams: read_grams(&section, "word_ngrams").unwrap_or(default.word_grams),
        character_grams: read_grams(&section, "char_ngrams").unwrap_or(default.character_grams),
        stop_words: stop_words.unwrap_or(default.stop_words),
        strip_accents: section
            .flag(&["strip_accents"])
            .unwrap_or(default.strip_accents),
        min_df: read_documents(&section, "min_df").unwrap_or(default.min_df),
        max_df: read_documents(&section, "max_df").unwrap_or(default.max_df),
        max_features: section
            .whole(&["max_features"], 1..=u64::from(u32::MAX))
            .map(|most| most as u32),
        hashing: hashing.map(|bits| Hashing {
            bits: bits as u8,
            signed: true,
        }),
        sublinear: section.flag(&["sublinear"]).unwrap_or(default.sublinear),
        idf: section.flag(&["idf"]).unwrap_or(default.idf),
        smooth_idf: section.flag(&["smooth_idf"]).unwrap_or(default.smooth_idf),
        normalize: section.flag(&["normalize"]).unwrap_or(default.normalize),
    };
    if let Err(error) = options.check() {
        section.mistake(section.line(), "", error.to_string(), None);
    }
    section.finish();
    options
}

/// A range of gram lengths, written as `[1, 2]`.
fn read_grams(section: &Section<'_>, name: &'static str) -> Option<GramRange> {
    let found = section.get(&[name])?;
    let lengths = found.value.as_array().and_then(|array| {
        array
            .iter()
            .map(|item| u8::try_from(as_whole(item.get_ref())?).ok())
            .collect::<Option<Vec<u8>>>()
    });
    match lengths.as_deref() {
        Some([shortest, longest]) => Some(GramRange {
            shortest: *shortest,
            longest: *longest,
        }),
        _ => section.wrong_type(
            name,
            found,
            "a shortest and a longest length such as [1, 2]",
        ),
    }
}

/// A number of documents when whole, a share when not.
fn read_documents(section: &Section<'_>, name: &'static str) -> Option<DocumentLimit> {
    let found = section.get(&[name])?;
    match as_whole(found.value) {
        Some(count) if count >= 1 => u32::try_from(count).ok().map(DocumentLimit::Count),
        _ => section.number(&[name], 0.0..=1.0).map(DocumentLimit::Share),
    }
}

fn read_clusters(section: &Section<'_>) -> ClusterParameters {
    let default = ClusterParameters::default();
    ClusterParameters {
        k: section
            .whole(&["k", "segments"], 1..=200)
            .map(|k| k as usize),
        k_min: section
            .whole(&["k_min"], 2..=200)
            .map_or(default.k_min, |k| k as usize),
        k_max: section
            .whole(&["k_max"], 2..=200)
            .map_or(default.k_max, |k| k as usize),
        full_covariance: section
            .word(&["covariance"], &[("full", true), ("diagonal", false)])
            .unwrap_or(default.full_covariance),
    }
}
