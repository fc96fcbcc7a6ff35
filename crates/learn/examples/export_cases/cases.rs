//! Models of every kind, made up from a fixed seed so that every path of the export is taken: all links, calibrations,
//! thresholds, category sets, missing values, stop words, characters.

use std::collections::BTreeMap;
use std::sync::Arc;

use ombud_core::answer::Prediction;
use ombud_core::field_path::FieldPath;
use ombud_core::row::RowParser;
use ombud_core::schema::{Bounds, Columns, Feature, Missing, Unseen};
use ombud_core::task::Outputs;
use ombud_core::{Kind, Schema};
use ombud_engine::answering::Answering;
use ombud_engine::calibration::{Calibrator, Classes, Curve, Line, Method};
use ombud_engine::clusters::{Centers, Clusters, Covariance, Mixture};
use ombud_engine::decision::{ClassThreshold, DecisionRule};
use ombud_engine::encoding::{Block, Encoding, Parts};
use ombud_engine::engine::{ClusterEngine, Engine, ForestEngine, LinearEngine};
use ombud_engine::forest::{
    CategorySet, Comparison, Forest, ForestDraft, Link, Node, Split, Test, Tree,
};
use ombud_engine::linear::{self, Linear, Weights};
use ombud_engine::text::{
    Analyzer, Fitted, GramRange, StopWords, Terms, TextOptions, Unit, Vectorizer, Vocabulary,
};
use ombud_learn::export::onnx::{self, Body, Source};
use serde_json::{Value as Json, json};

pub type Failure = Box<dyn std::error::Error>;

const ROWS: usize = 1500;
/// Lower case of the last ten is not each letter's own business.
const WORDS: [&str; 24] = [
    "calm",
    "shift",
    "night",
    "the",
    "team",
    "of",
    "late",
    "pay",
    "again",
    "never",
    "École",
    "ok",
    "manager",
    "a",
    "ΟΔΟΣ",
    "οδός",
    "οδοσ",
    "ΟΔΟΣ'Α",
    "Α.Σ",
    "Σ",
    "ΣΣ\u{301}.",
    "ΑΣ\u{ad}1",
    "İzmir",
    "KİTAPLAR",
];
const DEPARTMENTS: [&str; 5] = ["Surgery", "Wards", "Kitchen", "Office", "Ψυχή"];
const LEVELS: [&str; 3] = ["low", "middle", "high"];

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
    /// Roughly normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
    fn normals(&mut self, count: usize, scale: f64) -> Vec<f64> {
        (0..count).map(|_| self.normal() * scale).collect()
    }
}

/// A model as ONNX, rows, and what we answer: `scores`, and `label` or `labels`.
pub struct Made<'a> {
    pub name: &'a str,
    pub model: Vec<u8>,
    pub rows: Vec<Json>,
    pub answers: Vec<Json>,
}

/// What is done with each.
pub type Keep<'a> = &'a mut dyn FnMut(Made<'_>) -> Result<(), Failure>;

/// Name, comparison, link, outputs, whether there are category sets, columns, rule, names.
type ForestCase = (
    &'static str,
    Comparison,
    Link,
    usize,
    bool,
    Vec<Block>,
    Answering,
    Outputs,
);

struct Case<'a> {
    name: &'a str,
    body: Body<'a>,
    blocks: Vec<Block>,
    answering: Answering,
    outputs: Outputs,
}

/// Makes every case, one after the other.
pub fn for_each(keep: Keep<'_>) -> Result<(), Failure> {
    let schema = schema()?;
    let parts = parts()?;
    let mut random = Random(7);
    forests(keep, &schema, &parts, &mut random)?;
    linears(keep, &schema, &parts, &mut random)?;
    segments(keep, &schema, &parts, &mut random)
}

/// A staircase: each step rises within a millionth, where the last digit of a sum decides.
fn steep() -> Curve {
    let corner = |at: usize| (at / 2) as f64 / 400.0 + (at % 2) as f64 * 1e-6;
    Curve {
        at: (0..800_usize).map(corner).collect(),
        value: (0..800_usize)
            .map(|at| at.div_ceil(2) as f64 / 400.0)
            .collect(),
    }
}

fn schema() -> Result<Schema, Failure> {
    let texts = |values: &[&str]| values.iter().map(ToString::to_string).collect();
    let kinds = [
        (
            "age",
            Kind::Number {
                bounds: Bounds::default(),
            },
        ),
        (
            "salary",
            Kind::Number {
                bounds: Bounds::default(),
            },
        ),
        (
            "department",
            Kind::Category {
                values: texts(&DEPARTMENTS),
                unseen: Unseen::Missing,
            },
        ),
        (
            "level",
            Kind::Ordinal {
                levels: texts(&LEVELS),
            },
        ),
        (
            "weeks",
            Kind::Sequence {
                steps: 3,
                bounds: Bounds::default(),
            },
        ),
        ("note", Kind::Text),
    ];
    let features = kinds.into_iter().map(|(name, kind)| {
        Ok(Feature {
            name: name.to_owned(),
            path: FieldPath::top(name),
            kind,
            missing: Missing::Allowed,
        })
    });
    Ok(Schema::new(
        features.collect::<Result<_, Failure>>()?,
        Columns::default(),
    )?)
}

fn rows(random: &mut Random) -> Vec<Json> {
    (0..ROWS)
        .map(|_| {
            let mut row = json!({
                "age": 18.0 + random.unit() * 52.0,
                "salary": (random.normal() * 0.5 + 10.0).exp(),
                "department": DEPARTMENTS[random.below(5)],
                "level": LEVELS[random.below(3)],
                "weeks": [random.normal(), random.below(3) as f64, random.normal() * 30.0],
            });
            let length = random.below(12);
            let words: Vec<&str> = (0..length).map(|_| WORDS[random.below(24)]).collect();
            let gap = [" ", "  ", ", ", "\t", ". "][random.below(5)];
            row["note"] = json!(words.join(gap));
            for (feature, share) in [
                ("age", 0.05),
                ("salary", 0.1),
                ("department", 0.1),
                ("level", 0.1),
            ] {
                if random.unit() < share {
                    row[feature] = Json::Null;
                }
            }
            // A text of nothing but white space is missing, here and in ONNX.
            if row["note"] == "" {
                row["note"] = [Json::Null, json!(""), json!(" \t\u{a0}")][random.below(3)].clone();
            }
            row
        })
        .collect()
}

fn parts() -> Result<Parts, Failure> {
    let word_terms = [
        "again",
        "calm",
        "calm night",
        "ki",
        "late",
        "late pay",
        "never",
        "night",
        "night shift",
        "pay again",
        "school",
        "shift",
        "tap",
        "taplar",
        "team",
        "team never late",
        "zmir",
        "école",
        "ας",
        "οδος",
        "οδοσ",
        "οδοσ α",
        "οδός",
        "σσ",
    ];
    let letter_terms = [
        " ca",
        " ok",
        " ok ",
        "al",
        "calm",
        "ch",
        "ig",
        "i\u{307}z",
        "lm ",
        "m",
        "ni",
        "ok ",
        "pa",
        "ta",
        "éc",
        "éco",
        "ς",
        "ς ",
        "ς\u{ad}1",
        "σ'α",
        "σ.",
    ];
    let fitted = |terms: &[&str], idf: bool| -> Result<Fitted, Failure> {
        let weights = (0..terms.len()).map(|at| 1.0 + at as f64 / 7.0).collect();
        Ok(Fitted {
            terms: Terms::Listed(Vocabulary::new(terms)?),
            idf: idf.then_some(weights),
        })
    };
    let words = TextOptions {
        word_grams: GramRange {
            shortest: 1,
            longest: 3,
        },
        ..TextOptions::default()
    };
    let stopped = TextOptions {
        stop_words: StopWords::English,
        sublinear: false,
        ..words.clone()
    };
    let both = TextOptions {
        analyzer: Analyzer::Both,
        character_grams: GramRange {
            shortest: 1,
            longest: 4,
        },
        idf: false,
        normalize: false,
        ..words.clone()
    };
    let mut vectorizers = BTreeMap::new();
    vectorizers.insert(
        "words".to_owned(),
        Arc::new(Vectorizer::new(words, vec![fitted(&word_terms, true)?])?),
    );
    vectorizers.insert(
        "stopped".to_owned(),
        Arc::new(Vectorizer::new(stopped, vec![fitted(&word_terms, true)?])?),
    );
    let letters = fitted(&letter_terms, false)?;
    assert_eq!(both.units(), [Unit::Words, Unit::Characters]);
    vectorizers.insert(
        "both".to_owned(),
        Arc::new(Vectorizer::new(
            both,
            vec![fitted(&word_terms, false)?, letters],
        )?),
    );
    let mut random = Random(3);
    let weights = random
        .normals(word_terms.len() * 2, 1.0)
        .into_iter()
        .map(|x| x as f32)
        .collect();
    let stage = Linear::new(
        word_terms.len(),
        Weights::Single(weights),
        vec![0.3, -0.1],
        linear::Link::Logistic,
    )?;
    let linears = BTreeMap::from([("stage".to_owned(), Arc::new(stage))]);
    Ok(Parts {
        vectorizers,
        linears,
    })
}

fn forests(
    keep: Keep<'_>,
    schema: &Schema,
    parts: &Parts,
    random: &mut Random,
) -> Result<(), Failure> {
    let raw = || {
        (0..5)
            .map(|feature| Block::Raw { feature })
            .collect::<Vec<_>>()
    };
    let staged = || {
        let mut blocks = raw();
        blocks.push(Block::TextStage {
            feature: 5,
            vectorizer: "words".into(),
            linear: "stage".into(),
        });
        blocks
    };
    let isotonic = |knots: usize| Curve {
        at: (0..knots).map(|at| at as f64 / knots as f64).collect(),
        value: (0..knots)
            .map(|at| (at as f64 / knots as f64).powi(2))
            .collect(),
    };
    let logistic = Link::Logistic { scale: 1.0 };
    let line = |slope: f64, intercept: f64| Line { slope, intercept };
    let calibrated = |classes, method| -> Result<Answering, Failure> {
        Ok(Answering {
            calibrator: Some(Calibrator::new(classes, method)?),
            ..Answering::default()
        })
    };
    use Classes::{Exclusive, Independent};
    let thresholds = |classes: usize, all: &[(u32, f64)]| -> Result<Answering, Failure> {
        let all = all
            .iter()
            .map(|&(class, threshold)| ClassThreshold { class, threshold })
            .collect();
        Ok(Answering {
            decision: Some(DecisionRule::new(classes, all)?),
            ..Answering::default()
        })
    };
    let classes = |count: usize| Outputs::Classes {
        names: (0..count).map(|at| format!("class {at}")).collect(),
    };
    let labels = |count: usize| Outputs::Labels {
        names: (0..count).map(|at| format!("label {at}")).collect(),
    };
    let number = || Outputs::Number {
        name: "cost".into(),
    };
    let less = Comparison::Less;
    let cases: Vec<ForestCase> = vec![
        (
            "forest_binary",
            less,
            logistic,
            1,
            false,
            raw(),
            Answering::default(),
            classes(2),
        ),
        (
            "forest_binary_platt",
            less,
            logistic,
            1,
            false,
            staged(),
            calibrated(
                Exclusive,
                Method::Platt {
                    lines: vec![line(0.7, -0.2)],
                },
            )?,
            classes(2),
        ),
        (
            "forest_binary_isotonic",
            less,
            logistic,
            1,
            false,
            raw(),
            calibrated(
                Exclusive,
                Method::Isotonic {
                    curves: vec![isotonic(40)],
                },
            )?,
            classes(2),
        ),
        (
            "forest_binary_steep",
            less,
            logistic,
            1,
            false,
            raw(),
            calibrated(
                Exclusive,
                Method::Isotonic {
                    curves: vec![steep()],
                },
            )?,
            classes(2),
        ),
        (
            "forest_multiclass",
            less,
            Link::Softmax,
            4,
            false,
            staged(),
            Answering::default(),
            classes(4),
        ),
        (
            "forest_multiclass_temperature",
            less,
            Link::Softmax,
            4,
            false,
            raw(),
            calibrated(Exclusive, Method::Temperature { temperature: 1.7 })?,
            classes(4),
        ),
        (
            "forest_multiclass_isotonic",
            less,
            Link::Softmax,
            3,
            false,
            raw(),
            calibrated(
                Exclusive,
                Method::Isotonic {
                    curves: vec![isotonic(5), isotonic(9), isotonic(1)],
                },
            )?,
            classes(3),
        ),
        (
            "forest_multiclass_thresholds",
            less,
            Link::Softmax,
            4,
            false,
            raw(),
            thresholds(4, &[(2, 0.3), (0, 0.4)])?,
            classes(4),
        ),
        (
            "forest_binary_all_thresholds",
            less,
            logistic,
            1,
            false,
            raw(),
            thresholds(2, &[(1, 0.7), (0, 0.9)])?,
            classes(2),
        ),
        (
            "forest_labels",
            less,
            logistic,
            3,
            false,
            raw(),
            calibrated(Independent, Method::Temperature { temperature: 0.8 })?,
            labels(3),
        ),
        (
            "forest_number",
            less,
            Link::Identity,
            1,
            false,
            staged(),
            Answering::default(),
            number(),
        ),
        (
            "forest_number_exp",
            less,
            Link::Exp,
            1,
            false,
            raw(),
            Answering::default(),
            number(),
        ),
        (
            "forest_sets",
            less,
            logistic,
            1,
            true,
            raw(),
            Answering::default(),
            classes(2),
        ),
        (
            "forest_lightgbm_like",
            Comparison::LessOrEqual,
            Link::Softmax,
            3,
            false,
            raw(),
            Answering::default(),
            classes(3),
        ),
        (
            "forest_lightgbm_sets",
            Comparison::LessOrEqual,
            Link::Softplus,
            1,
            true,
            raw(),
            Answering::default(),
            number(),
        ),
        (
            "forest_signed_square",
            Comparison::LessOrEqual,
            Link::SignedSquare,
            1,
            false,
            raw(),
            Answering::default(),
            number(),
        ),
    ];
    for (name, comparison, link, outputs, has_sets, blocks, answering, named) in cases {
        let columns = if blocks.len() == 6 { 9 } else { 7 };
        let forest = forest(random, comparison, link, outputs, columns, has_sets)?;
        let case = Case {
            name,
            body: Body::Forest(&forest),
            blocks,
            answering,
            outputs: named,
        };
        make(keep, schema, parts, random, case)?;
    }
    Ok(())
}

fn forest(
    random: &mut Random,
    comparison: Comparison,
    link: Link,
    outputs: usize,
    columns: usize,
    has_sets: bool,
) -> Result<Forest, Failure> {
    let mut trees = Vec::new();
    for tree in 0..40 * outputs {
        let mut nodes = Vec::new();
        // One tree of a single leaf among them.
        grow(
            random,
            &mut nodes,
            if tree == 3 { 0 } else { 5 },
            columns,
            has_sets,
        );
        trees.push(Tree {
            output: tree % outputs,
            nodes,
        });
    }
    let zero_is_missing = if comparison == Comparison::LessOrEqual {
        vec![5]
    } else {
        Vec::new()
    };
    Ok(Forest::new(ForestDraft {
        features: columns,
        comparison,
        link,
        base_margins: random.normals(outputs, 0.5),
        zero_is_missing,
        sets: vec![
            CategorySet::new([0, 3])?,
            CategorySet::new([1])?,
            CategorySet::new([2, 4])?,
        ],
        trees,
    })?)
}

fn grow(
    random: &mut Random,
    nodes: &mut Vec<Node>,
    depth: usize,
    columns: usize,
    has_sets: bool,
) -> u32 {
    let at = nodes.len();
    nodes.push(Node::Leaf {
        value: random.normal() * 0.15,
        cover: 1.0,
    });
    if depth == 0 || random.unit() < 0.1 {
        return at as u32;
    }
    let feature = random.below(columns);
    let threshold = match feature {
        0 => 18.0 + random.unit() * 52.0,
        1 => (random.normal() * 0.5 + 10.0).exp(),
        2 | 3 => random.below(4) as f64 + 0.5,
        5 => random.below(3) as f64,
        6 => random.normal() * 30.0,
        _ => random.normal(),
    };
    let test = match feature {
        2 if has_sets => Test::Members(random.below(3) as u32),
        _ => Test::Threshold(threshold),
    };
    let missing_left = random.unit() < 0.5;
    let left = grow(random, nodes, depth - 1, columns, has_sets);
    let right = grow(random, nodes, depth - 1, columns, has_sets);
    nodes[at] = Node::Split(Split {
        feature: feature as u32,
        test,
        missing_left,
        left,
        right,
        gain: 1.0,
        cover: 1.0,
    });
    at as u32
}

fn linears(
    keep: Keep<'_>,
    schema: &Schema,
    parts: &Parts,
    random: &mut Random,
) -> Result<(), Failure> {
    let table = || {
        vec![
            Block::Scaled {
                feature: 0,
                center: vec![44.0],
                scale: vec![15.0],
                flags: true,
            },
            Block::Scaled {
                feature: 1,
                center: vec![25_000.0],
                scale: vec![12_000.0],
                flags: false,
            },
            Block::OneOf {
                feature: 2,
                values: 5,
                weight: 1.0,
            },
            Block::Scaled {
                feature: 3,
                center: vec![1.0],
                scale: vec![0.8],
                flags: true,
            },
            Block::Scaled {
                feature: 4,
                center: vec![0.0, 1.0, 2.0],
                scale: vec![1.0, 0.8, 30.0],
                flags: false,
            },
        ]
    };
    let text = |vectorizer: &str| Block::Text {
        feature: 5,
        vectorizer: vectorizer.into(),
    };
    let all = |vectorizer: &str| {
        let mut blocks = table();
        blocks.push(text(vectorizer));
        blocks
    };
    let classes = |count: usize| Outputs::Classes {
        names: (0..count).map(|at| format!("class {at}")).collect(),
    };
    let labels = Outputs::Labels {
        names: vec!["x".into(), "y".into()],
    };
    use linear::Link::{Logistic, Softmax};
    let cases = [
        ("linear_table", table(), 13, 1, Logistic, true, classes(2)),
        (
            "linear_text",
            vec![text("words")],
            24,
            1,
            Logistic,
            true,
            classes(2),
        ),
        (
            "linear_text_stop_words",
            vec![text("stopped")],
            24,
            3,
            Softmax,
            true,
            classes(3),
        ),
        (
            "linear_text_characters",
            vec![text("both")],
            45,
            1,
            Logistic,
            true,
            classes(2),
        ),
        ("linear_all", all("words"), 37, 4, Softmax, true, classes(4)),
        (
            "linear_all_one_versus_rest",
            all("stopped"),
            37,
            3,
            Logistic,
            true,
            classes(3),
        ),
        ("linear_labels", all("both"), 58, 2, Logistic, false, labels),
        (
            "linear_all_isotonic",
            all("both"),
            58,
            1,
            Logistic,
            true,
            classes(2),
        ),
    ];
    for (name, blocks, columns, outputs, link, is_exclusive, named) in cases {
        let weights = random.normals(columns * outputs, 1.0);
        let weights = match name.contains("table") {
            true => Weights::Double(weights),
            false => Weights::Single(weights.into_iter().map(|x| x as f32).collect()),
        };
        let linear = Linear::new(columns, weights, random.normals(outputs, 0.5), link)?;
        let body = Body::Linear {
            linear: &linear,
            is_exclusive,
        };
        let mut answering = Answering::default();
        if name.ends_with("isotonic") {
            let curves = vec![steep()];
            let method = Method::Isotonic { curves };
            answering.calibrator = Some(Calibrator::new(Classes::Exclusive, method)?);
        }
        let case = Case {
            name,
            body,
            blocks,
            answering,
            outputs: named,
        };
        make(keep, schema, parts, random, case)?;
    }
    Ok(())
}

fn segments(
    keep: Keep<'_>,
    schema: &Schema,
    parts: &Parts,
    random: &mut Random,
) -> Result<(), Failure> {
    let blocks = || {
        vec![
            Block::Scaled {
                feature: 0,
                center: vec![44.0],
                scale: vec![15.0],
                flags: false,
            },
            Block::Scaled {
                feature: 1,
                center: vec![25_000.0],
                scale: vec![12_000.0],
                flags: false,
            },
            Block::OneOf {
                feature: 2,
                values: 5,
                weight: 0.7,
            },
        ]
    };
    let names = (0..4).map(|at| format!("segment {at}")).collect();
    let outputs = Outputs::Segments { names };
    let centers = |spread| Centers::new(7, Random(5).normals(28, 1.0), spread, vec![0.0; 7]);
    let shares = vec![0.1, 0.2, 0.3, 0.4];
    let full: Vec<f64> = (0..4 * 49)
        .map(|at| {
            let (row, column) = (at % 49 / 7, at % 7);
            let value = random.normal() * 0.3;
            if row == column {
                1.0 + value.abs()
            } else if column < row {
                value
            } else {
                0.0
            }
        })
        .collect();
    let diagonal = random
        .normals(28, 0.3)
        .into_iter()
        .map(|x| 1.0 + x.abs())
        .collect();
    let all = [
        ("segments_kmeans", Clusters::Centers(centers(0.8)?)),
        ("segments_kmeans_hard", Clusters::Centers(centers(0.0)?)),
        (
            "segments_mixture_full",
            Clusters::Mixture(Mixture::new(
                Covariance::Full,
                7,
                shares.clone(),
                random.normals(28, 1.0),
                full,
            )?),
        ),
        (
            "segments_mixture_diagonal",
            Clusters::Mixture(Mixture::new(
                Covariance::Diagonal,
                7,
                shares,
                random.normals(28, 1.0),
                diagonal,
            )?),
        ),
    ];
    for (name, clusters) in &all {
        let case = Case {
            name,
            body: Body::Clusters(clusters),
            blocks: blocks(),
            answering: Answering::default(),
            outputs: outputs.clone(),
        };
        make(keep, schema, parts, random, case)?;
    }
    Ok(())
}

fn make(
    keep: Keep<'_>,
    schema: &Schema,
    parts: &Parts,
    random: &mut Random,
    case: Case<'_>,
) -> Result<(), Failure> {
    let Case {
        name,
        body,
        blocks,
        answering,
        outputs,
    } = case;
    let source = Source {
        name,
        schema,
        blocks: &blocks,
        parts,
        body,
        answering: &answering,
        outputs: &outputs,
    };
    let model = onnx::write(&source)?;
    let encoding = Encoding::new(schema, blocks.clone(), parts)?;
    let engine: Box<dyn Engine> = match body {
        Body::Forest(forest) => Box::new(ForestEngine::new(encoding, forest.clone())?),
        Body::Linear {
            linear,
            is_exclusive,
        } => Box::new(LinearEngine::new(encoding, linear.clone(), is_exclusive)?),
        Body::Clusters(clusters) => Box::new(ClusterEngine::new(encoding, clusters.clone())?),
    };
    answering.check(&outputs)?;
    let parser = RowParser::new(Arc::new(schema.clone()));
    let rows = rows(random);
    let mut answers = Vec::with_capacity(rows.len());
    for row in &rows {
        let parsed = parser
            .parse_value(row)
            .map_err(|refusal| format!("{refusal:?}"))?;
        let mut scores = vec![0.0; engine.width()];
        engine.score_row(&parsed, &mut scores);
        answering.calibrate(&mut scores);
        answers.push(told(&answering, &outputs, scores));
    }
    keep(Made {
        name,
        model,
        rows,
        answers,
    })
}

fn told(answering: &Answering, outputs: &Outputs, scores: Vec<f64>) -> Json {
    match answering.answer(outputs, &scores).prediction {
        Prediction::Class { index, .. } | Prediction::Segment { index } => {
            json!({"scores": scores, "label": outputs.names()[index]})
        }
        Prediction::Labels { indices } => {
            let labels: Vec<bool> = (0..scores.len()).map(|at| indices.contains(&at)).collect();
            json!({"scores": scores, "labels": labels})
        }
        Prediction::Number { .. } => json!({"scores": scores}),
    }
}
