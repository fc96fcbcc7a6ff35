//! How much a neural net gains when rows that come together are answered together.
//!
//! ```sh
//! cargo run --release -p ombud-ops --example batching_speed
//! ```
//!
//! A net of two hidden layers is registered, deployed and asked by callers who each wait for their answer, recorded before it
//! is given, as in the server: once with gathering, once with every row alone. Rounds alternate.

use ombud_core::schema::{Bounds, Columns};
use ombud_core::task::Outputs;
use ombud_core::{Feature, Kind, Manifest, ModelName, Schema, Task, Version};
use ombud_engine::bundle::{Bundle, Trust};
use ombud_ledger::ledger::Options as LedgerOptions;
use ombud_ledger::seal::Secret;
use ombud_ledger::{Clear, LaneName, Ledger, LocalMasterKey, Tenant};
use ombud_onnx::{
    Bytes, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, data_type, tensor_shape_proto, type_proto,
};
use ombud_ops::perform::Ordered;
use ombud_ops::{Ask, Batching, Caller, Ops, Options, Order, SystemClock};
use ombud_store::cache::{LIFETIME, Memory};
use ombud_store::registry::Registering;
use ombud_store::{Environment, Folder, Place, Registry, Store};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const INPUTS: usize = 64;
const HIDDEN: usize = 1_024;
const CLASSES: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let bundle = Arc::new(bundle()?);
    let alone = Batching {
        rows_max: 1,
        ..Batching::default()
    };
    let apart = Desk::open(Arc::clone(&bundle), alone).await?;
    let together = Desk::open(bundle, Batching::default()).await?;
    println!("callers  alone/s  together/s  ratio");
    for callers in [1, 8, 64] {
        let (mut a, mut b) = (0.0, 0.0);
        for _ in 0..ROUNDS {
            a += apart.round(callers).await? / ROUNDS as f64;
            b += together.round(callers).await? / ROUNDS as f64;
        }
        println!("{callers:>7}  {a:>7.0}  {b:>10.0}  {:>5.2}", b / a);
    }
    Ok(())
}

struct Desk {
    _folder: tempfile::TempDir,
    ops: Ops,
}

impl Desk {
    async fn open(bundle: Arc<Bundle>, batching: Batching) -> Result<Desk, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let place = Place::Sqlite(folder.path().join("ombud.sqlite"));
        let options = LedgerOptions {
            database: place.for_ledger(),
            lane: LaneName::new("r1")?,
            master: Arc::new(LocalMasterKey::new(&Secret::new([7; 32]))),
            signer: None,
            checkpoint_folder: None,
            observer: None,
        };
        let ledger = tokio::task::spawn_blocking(move || Ledger::open(options)).await??;
        let registry = Registry {
            store: Store::open(&place).await?,
            artifacts: Arc::new(Folder::new(folder.path().join("artifacts"))?),
            trust: Trust::default(),
        };
        let how = Registering {
            label: None,
            by: "example".to_owned(),
            now_us: 1,
        };
        registry.register(&tenant()?, bundle, how).await?;
        let ops = Ops::new(Options {
            observer: None,
            registry,
            ledger,
            cache: Arc::new(Memory::new(1 << 20, LIFETIME)),
            clock: Arc::new(SystemClock),
            batching,
        });
        let ordered = Ordered {
            model: ModelName::new("net")?,
            environment: Environment::production(),
            order: Order::Deploy {
                version: Version::FIRST,
            },
            reason: "to be measured".to_owned(),
            force: None,
        };
        ops.change(&tenant()?, &Caller::default(), ordered).await?;
        Ok(Desk {
            _folder: folder,
            ops,
        })
    }

    /// Decisions a second by so many callers, each waiting for its answer.
    async fn round(&self, callers: usize) -> Result<f64, Box<dyn Error>> {
        let started = Instant::now();
        let ask_again = |caller: usize| {
            let ops = self.ops.clone();
            tokio::spawn(async move {
                let tenant = tenant().expect("a name");
                let mut answered = 0_usize;
                while started.elapsed() < ROUND {
                    let asked = ask(caller * 1_000 + answered);
                    let decided = ops.decide(&tenant, &Caller::default(), asked).await;
                    decided.expect("an answer");
                    answered += 1;
                }
                answered
            })
        };
        let callers: Vec<_> = (0..callers).map(ask_again).collect();
        let mut answered = 0;
        for caller in callers {
            answered += caller.await?;
        }
        Ok(answered as f64 / started.elapsed().as_secs_f64())
    }
}

fn tenant() -> Result<Tenant, Box<dyn Error>> {
    Ok(Tenant::new("acme")?)
}

fn ask(number: usize) -> Ask {
    let steps = (0..INPUTS).map(|step| ((number * 31 + step * 7) % 97) as f64 / 48.5 - 1.0);
    let input = serde_json::json!({ "x": steps.collect::<Vec<f64>>() });
    Ask {
        model: ModelName::new("net").expect("a name"),
        environment: Environment::production(),
        version: None,
        subject: None,
        input: Clear::new(input.to_string().into_bytes()),
        explain: false,
        use_cache: false,
        idempotency_key: None,
    }
}

/// The net as a bundle; what else is known of it is taken over from a golden one.
fn bundle() -> Result<Bundle, Box<dyn Error>> {
    let golden = "../engine/tests/golden/1/bundles/claim_outcome.tar.gz";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
    let kind = Kind::Sequence {
        steps: INPUTS,
        bounds: Bounds::default(),
    };
    let manifest = Manifest {
        name: ModelName::new("net")?,
        engine: "onnx".to_owned(),
        task: Task::Classification,
        schema: Schema::new(vec![Feature::new("x", kind)], Columns::default())?,
        outputs: Outputs::Classes {
            names: ["low", "middle", "high"].map(str::to_owned).into(),
        },
        gates: Vec::new(),
        ..Bundle::open(&golden, &Trust::default())?.into_manifest()
    };
    let mapping = serde_json::json!({
        "inputs": [[0]], "answer": { "from": "probabilities", "output": 0, "label": null }
    });
    let files = [
        ("model.onnx".parse()?, net()),
        ("mapping.json".parse()?, mapping.to_string().into_bytes()),
    ];
    Ok(Bundle::make(manifest, files.into_iter().collect(), None)?)
}

/// Two hidden layers, the first one normalized, and a softmax.
fn net() -> Vec<u8> {
    let node = |operator: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: operator.to_owned(),
        name: output.to_owned(),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: "net".to_owned(),
        node: vec![
            node("Gemm", &["x", "w1", "b1"], "h1"),
            node("LayerNormalization", &["h1", "scale", "shift"], "n1"),
            node("Relu", &["n1"], "a1"),
            node("Gemm", &["a1", "w2", "b2"], "h2"),
            node("Relu", &["h2"], "a2"),
            node("Gemm", &["a2", "w3", "b3"], "h3"),
            node("Softmax", &["h3"], "y"),
        ],
        initializer: vec![
            weights("w1", &[INPUTS, HIDDEN], 1),
            weights("b1", &[HIDDEN], 2),
            weights("scale", &[HIDDEN], 3),
            weights("shift", &[HIDDEN], 4),
            weights("w2", &[HIDDEN, HIDDEN], 5),
            weights("b2", &[HIDDEN], 6),
            weights("w3", &[HIDDEN, CLASSES], 7),
            weights("b3", &[CLASSES], 8),
        ],
        input: vec![info("x", INPUTS)],
        output: vec![info("y", CLASSES)],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// Numbers that look random and are the same everywhere.
fn weights(name: &str, shape: &[usize], seed: u64) -> TensorProto {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let count: usize = shape.iter().product();
    let scale = (shape[0] as f32).sqrt();
    let mut bytes = Vec::with_capacity(count * 4);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let unit = (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0;
        bytes.extend_from_slice(&(unit / scale).to_le_bytes());
    }
    TensorProto {
        name: name.to_owned(),
        dims: shape.iter().map(|size| *size as i64).collect(),
        data_type: data_type::FLOAT,
        raw_data: Bytes::from(bytes),
        ..TensorProto::default()
    }
}

fn info(name: &str, width: usize) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value;
    let size = |value| tensor_shape_proto::Dimension {
        value: Some(value),
        ..tensor_shape_proto::Dimension::default()
    };
    let shape = TensorShapeProto {
        dim: vec![
            size(Value::DimParam("rows".to_owned())),
            size(Value::DimValue(width as i64)),
        ],
    };
    let tensor = type_proto::Tensor {
        elem_type: data_type::FLOAT,
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
