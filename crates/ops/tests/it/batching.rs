//! Rows that come at once and are answered together, by a net that was really exported.

use crate::house::{House, NOW_US, acme, caller, golden, subject};
use ombud_core::answer::Answer;
use ombud_core::schema::{Bounds, Columns};
use ombud_core::task::Outputs;
use ombud_core::{Feature, Kind, Label, ModelName, Schema, Task, Version};
use ombud_engine::{Bundle, Model};
use ombud_ledger::Clear;
use ombud_ops::perform::Ordered;
use ombud_ops::{Ask, Batching, Gather, Order};
use ombud_store::Environment;
use ombud_store::registry::Registering;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

promises! {
    rows_that_come_at_once_are_answered_as_they_are_alone,
}

/// Numbers that one row of the net takes: a series of measurements.
const STEPS: usize = 36;
/// The same sums in another order.
const TOLERANCE: f64 = 1e-5;

fn net() -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/golden/onnx");
    let graph = std::fs::read(folder.join("lstm.onnx")).unwrap();
    let mut manifest = golden().manifest().clone();
    let kind = Kind::Sequence {
        steps: STEPS,
        bounds: Bounds::default(),
    };
    manifest.name = ModelName::new("net").unwrap();
    manifest.engine = "onnx".to_owned();
    manifest.task = Task::Classification;
    manifest.schema = Schema::new(vec![Feature::new("x", kind)], Columns::default()).unwrap();
    let names = ["low", "middle", "high"].map(str::to_owned);
    manifest.outputs = Outputs::Classes {
        names: names.into(),
    };
    let mapping = json!({ "inputs": [[0]], "answer": { "from": "probabilities", "output": 0, "label": null } });
    let files = [
        ("model.onnx", graph),
        ("mapping.json", mapping.to_string().into_bytes()),
    ];
    let files = files.map(|(name, content)| (name.parse().unwrap(), content));
    Bundle::make(manifest, files.into_iter().collect(), None).unwrap()
}

fn input(number: usize) -> serde_json::Value {
    let step = |step: usize| ((number * 31 + step * 7) % 23) as f64 / 11.5 - 1.0;
    json!({ "x": (0..STEPS).map(step).collect::<Vec<f64>>() })
}

async fn rows_that_come_at_once_are_answered_as_they_are_alone(house: &House) {
    const ROWS: usize = 100;
    let bundle = net();
    let model = Model::from_bundle(bundle.clone()).unwrap();
    let how = Registering {
        label: Some(Label::of(Version::FIRST)),
        by: "person:ana".to_owned(),
        now_us: NOW_US,
    };
    // Whether a net this small gains is the machine's to say; here its rows are gathered in any case.
    let batching = Batching {
        gather: Gather::Always,
        ..Batching::default()
    };
    let gathering = house.replica_with("r2", batching).await;
    let registry = gathering.registry();
    registry
        .register(&acme(), Arc::new(bundle), how)
        .await
        .unwrap();
    let ordered = Ordered {
        model: model.manifest().name.clone(),
        environment: Environment::production(),
        order: Order::Deploy {
            version: Version::FIRST,
        },
        reason: "a test".to_owned(),
        force: None,
    };
    gathering.change(&acme(), &caller(), ordered).await.unwrap();
    let asked = (0..ROWS).map(|number| {
        let ops = gathering.clone();
        let ask = Ask {
            model: ModelName::new("net").unwrap(),
            environment: Environment::production(),
            version: None,
            subject: Some(subject(&format!("m-{number}"))),
            input: Clear::new(input(number).to_string().into_bytes()),
            explain: false,
            use_cache: false,
            idempotency_key: None,
        };
        tokio::spawn(async move { ops.decide(&acme(), &caller(), ask).await })
    });
    let asked: Vec<_> = asked.collect();
    for (number, decision) in asked.into_iter().enumerate() {
        let decision = decision.await.unwrap().unwrap();
        let row = model.row(input(number).to_string().as_bytes()).unwrap();
        let alone: Answer = model.predict(&row);
        let names = model.manifest().outputs.names();
        for (name, share) in names.iter().zip(&alone.probabilities) {
            let told = decision.answer.probabilities[name];
            assert!(
                (told - share).abs() < TOLERANCE,
                "row {number}: {told} {share}"
            );
        }
        assert!(decision.recorded.is_some());
    }
}
