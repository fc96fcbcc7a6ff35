//! Small fixed pieces of the hot paths, for counting instructions.
//!
//! `ombud-duel count NAME TIMES` does one piece so often and nothing else that depends on the times; the difference of
//! two counts, under valgrind, is what the piece itself takes. Everything is made of fixed numbers, so that the same
//! program counts the same.

use anyhow::{Result, bail};
use ombud_core::row::RowParser;
use ombud_core::schema::Columns;
use ombud_core::{Feature, Kind, Schema};
use ombud_engine::forest::{Comparison, Forest, ForestDraft, Link, Node, Split, Test, Tree};
use ombud_engine::text::{DocumentLimit, Scratch, SparseVector, TextOptions};
use ombud_learn::vocabulary;
use std::hint::black_box;
use std::sync::Arc;

const FEATURES: usize = 28;
const OUTPUTS: usize = 5;
const TREES: usize = 300;
const DEPTH: u32 = 6;
const BATCH_ROWS: usize = 64;

pub fn play(name: &str, times: usize) -> Result<()> {
    match name {
        "forest-row" => forest_row(times),
        "forest-batch" => forest_batch(times),
        "treeshap-row" => treeshap_row(times),
        "text-document" => text_document(times),
        "json-row" => json_row(times),
        other => bail!("nothing is called {other:?}"),
    }
}

fn forest_row(times: usize) -> Result<()> {
    let compiled = forest()?.compile();
    let (row, mut margins) = (cells(FEATURES), vec![0.0; OUTPUTS]);
    for _ in 0..times {
        compiled.margins_row(black_box(&row), &mut margins);
    }
    black_box(margins);
    Ok(())
}

fn forest_batch(times: usize) -> Result<()> {
    let compiled = forest()?.compile();
    let (rows, mut margins) = (
        cells(FEATURES * BATCH_ROWS),
        vec![0.0; OUTPUTS * BATCH_ROWS],
    );
    for _ in 0..times {
        compiled.margins(black_box(&rows), &mut margins);
    }
    black_box(margins);
    Ok(())
}

fn treeshap_row(times: usize) -> Result<()> {
    let explainer = forest()?.explainer();
    let (row, mut parts) = (cells(FEATURES), vec![0.0; explainer.width()]);
    for _ in 0..times {
        explainer.contributions(black_box(&row), &mut parts);
    }
    black_box(parts);
    Ok(())
}

fn text_document(times: usize) -> Result<()> {
    let words = [
        "shift", "long", "heard", "nobody", "again", "night", "manager", "asked", "help", "never",
    ];
    let text = |seed: usize| {
        let word = |place: usize| words[(seed * 7 + place * place * 3) % words.len()];
        (0..30).map(word).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..40).map(text).collect();
    let options = TextOptions {
        min_df: DocumentLimit::Count(1),
        ..TextOptions::default()
    };
    let vectorizer = vocabulary::fit(&options, &texts)?;
    let (mut scratch, mut row) = (Scratch::default(), SparseVector::default());
    for _ in 0..times {
        vectorizer.transform(black_box(&texts[3]), &mut scratch, &mut row);
    }
    black_box(row.iter().count());
    Ok(())
}

fn json_row(times: usize) -> Result<()> {
    let names: Vec<String> = (0..FEATURES).map(|place| format!("q{place}")).collect();
    let features = names.iter().map(|name| Feature::new(name, Kind::number()));
    let schema = Schema::new(features.collect(), Columns::default())?;
    let parser = RowParser::new(Arc::new(schema));
    let fields: Vec<String> = names
        .iter()
        .map(|name| format!("\"{name}\": 2.5"))
        .collect();
    let body = format!("{{{}}}", fields.join(", "));
    for _ in 0..times {
        black_box(parser.parse(black_box(body.as_bytes()))?);
    }
    Ok(())
}

/// Numbers from -1 to 1 that look unordered and are always the same.
fn cells(count: usize) -> Vec<f64> {
    let cell = |place: usize| ((place * 7_919 + 13) % 2_003) as f64 / 1_001.5 - 1.0;
    (0..count).map(cell).collect()
}

fn forest() -> Result<Forest> {
    let draft = ForestDraft {
        features: FEATURES,
        comparison: Comparison::Less,
        link: Link::Identity,
        base_margins: vec![0.1; OUTPUTS],
        zero_is_missing: Vec::new(),
        sets: Vec::new(),
        trees: (0..TREES).map(tree).collect(),
    };
    Ok(Forest::new(draft)?)
}

/// A complete tree; the children of node n are 2n + 1 and 2n + 2.
fn tree(number: usize) -> Tree {
    let inner = (1_usize << DEPTH) - 1;
    let node = |place: usize| {
        let dice = (number * 131 + place * 31) % 1_009;
        if place >= inner {
            return Node::Leaf {
                value: dice as f64 / 1_009.0 - 0.5,
                cover: 1.0,
            };
        }
        let below = DEPTH - (place + 1).ilog2();
        Node::Split(Split {
            feature: (dice % FEATURES) as u32,
            test: Test::Threshold(f64::from((dice % 32) as f32 / 16.0 - 1.0)),
            missing_left: dice.is_multiple_of(2),
            left: 2 * place as u32 + 1,
            right: 2 * place as u32 + 2,
            gain: 1.0,
            cover: f64::from(1_u32 << below),
        })
    };
    Tree {
        output: number % OUTPUTS,
        nodes: (0..2 * inner + 1).map(node).collect(),
    }
}
