//! A model inside another Rust program: open a bundle, read a row, answer, say why.
//!
//! `cargo run -p ombud-embed -- BUNDLE '{"department": "nursing"}'`. The engine is the only dependency; nothing is
//! trained, served or stored here.

use ombud_engine::Model;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: ombud-embed BUNDLE ROW_AS_JSON";
    let (bundle, json) = (
        arguments.next().ok_or(usage)?,
        arguments.next().ok_or(usage)?,
    );

    let model = Model::open(bundle)?;
    let row = model.row(json.as_bytes())?;
    let answer = model.predict(&row);
    println!(
        "{} (confidence {:?})",
        model.name_of(&answer),
        answer.confidence
    );
    let explanation = model.explain(&row, &answer);
    for reason in explanation.contributions.iter().take(3) {
        println!("  {} {:+.3}", reason.feature, reason.weight);
    }
    Ok(())
}
