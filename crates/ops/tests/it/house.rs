//! What the tests share: one or two replicas over one database, a clock that stands still, and bundles that were trained.

use ombud_core::manifest::GateResult;
use ombud_core::{Label, ModelName, Version};
use ombud_engine::bundle::{Bundle, Trust};
use ombud_ledger::ledger::Options as LedgerOptions;
use ombud_ledger::reader::Query;
use ombud_ledger::record::Record;
use ombud_ledger::seal::Secret;
use ombud_ledger::{Clear, Kind, LaneName, Ledger, LocalMasterKey, Subject, Tenant};
use ombud_ops::clock::Clock;
use ombud_ops::perform::Ordered;
use ombud_ops::{Ask, Batching, Caller, Error, Force, Ops, Options, Order};
use ombud_store::cache::{Cache, LIFETIME, Memory};
use ombud_store::registry::Registering;
use ombud_store::{Deployment, Environment, Folder, Place, Registry, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tempfile::TempDir;

/// 21 November 2026, 08:00 UTC.
pub const NOW_US: i64 = 1_795_248_000_000_000;

/// Names a PostgreSQL server where databases may be made, by the URL of one of its databases.
const POSTGRES: &str = "OMBUD_TEST_POSTGRES";

pub struct House {
    pub folder: TempDir,
    pub place: Place,
    pub ops: Ops,
    pub time: Arc<Time>,
}

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct Time(AtomicI64);

impl Clock for Time {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Time {
    pub fn pass(&self, us: i64) {
        self.0.fetch_add(us, Ordering::Relaxed);
    }
}

impl House {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("ombud.sqlite"));
        House::open(folder, place).await
    }

    /// A database of its own on the server, when there is one.
    pub async fn postgres() -> Option<Self> {
        use sqlx::Connection;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(server) = std::env::var(POSTGRES) else {
            eprintln!("{POSTGRES} is not set: nothing to run on");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("o{}_{number}", std::process::id());
        let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let (before, after) = server
            .split_once("/postgres")
            .expect("a URL of the database postgres");
        let place = Place::Postgres(format!("{before}/{name}{after}"));
        Some(House::open(tempfile::tempdir().unwrap(), place).await)
    }

    async fn open(folder: TempDir, place: Place) -> Self {
        let time = Arc::new(Time(AtomicI64::new(NOW_US)));
        let batching = Batching::default();
        let ops = replica(folder.path(), &place, &time, "r1", batching).await;
        House {
            folder,
            place,
            ops,
            time,
        }
    }

    /// Another replica over the same database and bundles.
    pub async fn replica(&self, lane: &str) -> Ops {
        self.replica_with(lane, Batching::default()).await
    }

    /// Another replica that has not heard yet what is deployed.
    pub async fn replica_untold(&self, lane: &str) -> Ops {
        self.replica_caching(lane, memory()).await
    }

    /// Another replica with a cache of its own sort, which has not heard yet what is deployed.
    pub async fn replica_caching(&self, lane: &str, cache: Arc<dyn Cache>) -> Ops {
        let batching = Batching::default();
        let folder = self.folder.path();
        untold(folder, &self.place, &self.time, lane, batching, cache).await
    }

    /// Another replica that gathers rows in another way.
    pub async fn replica_with(&self, lane: &str, batching: Batching) -> Ops {
        replica(self.folder.path(), &self.place, &self.time, lane, batching).await
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.place, Place::Sqlite(_))
    }

    /// Registers so many versions of the claims model: the same weights, each with words of its own.
    pub async fn register(&self, versions: u32) {
        for number in 1..=versions {
            self.register_one(number, Vec::new()).await;
        }
    }

    pub async fn register_one(&self, number: u32, gates: Vec<GateResult>) -> Version {
        let golden = golden();
        let mut manifest = golden.manifest().clone();
        manifest.description = format!("Number {number}.");
        manifest.gates = gates;
        let listed = golden
            .files()
            .filter(|(name, _)| !matches!(*name, "manifest.json" | "model.sig"));
        let files = listed.map(|(name, content)| (name.parse().unwrap(), content.to_vec()));
        let bundle = Bundle::make(manifest, files.collect(), None).unwrap();
        let how = Registering {
            label: Some(Label::new(&format!("v{number}.0.0")).unwrap()),
            by: "person:ana".to_owned(),
            now_us: NOW_US,
        };
        let registry = self.ops.registry();
        let registered = registry
            .register(&acme(), Arc::new(bundle), how)
            .await
            .unwrap();
        registered.into_registered().version
    }

    /// One version that answers everybody in production.
    pub async fn serving(&self) {
        self.register(1).await;
        self.order(deploy(1)).await.unwrap();
    }

    pub async fn order(&self, order: Order) -> Result<Deployment, Error> {
        self.order_with(order, None).await
    }

    pub async fn order_with(
        &self,
        order: Order,
        force: Option<Force>,
    ) -> Result<Deployment, Error> {
        let ordered = Ordered {
            model: claims(),
            environment: Environment::production(),
            order,
            reason: "a test".to_owned(),
            force,
        };
        self.ops.change(&acme(), &caller(), ordered).await
    }

    /// The ledger's records of a kind, newest first.
    pub async fn records(&self, kind: Kind) -> Vec<Record> {
        let query = Query {
            kind: Some(kind),
            limit: 1_000,
            ..Query::default()
        };
        let read = self
            .ops
            .ledger()
            .read(move |reader| reader.page(&acme(), &query));
        read.await.unwrap().records
    }
}

async fn replica(
    folder: &Path,
    place: &Place,
    time: &Arc<Time>,
    lane: &str,
    batching: Batching,
) -> Ops {
    let ops = untold(folder, place, time, lane, batching, memory()).await;
    ops.tick().await.unwrap();
    ops
}

fn memory() -> Arc<dyn Cache> {
    Arc::new(Memory::new(16 << 20, LIFETIME))
}

async fn untold(
    folder: &Path,
    place: &Place,
    time: &Arc<Time>,
    lane: &str,
    batching: Batching,
    cache: Arc<dyn Cache>,
) -> Ops {
    let options = LedgerOptions {
        database: place.for_ledger(),
        lane: LaneName::new(lane).unwrap(),
        master: Arc::new(LocalMasterKey::new(&Secret::new([7; 32]))),
        signer: None,
        checkpoint_folder: None,
        observer: None,
    };
    let ledger = tokio::task::spawn_blocking(move || Ledger::open(options)).await;
    let registry = Registry {
        store: Store::open(place).await.unwrap(),
        artifacts: Arc::new(Folder::new(folder.join("artifacts")).unwrap()),
        trust: Trust::default(),
    };
    Ops::new(Options {
        registry,
        ledger: ledger.unwrap().unwrap(),
        cache,
        observer: None,
        clock: Arc::clone(time) as Arc<dyn Clock>,
        batching,
    })
}

fn goldens() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/golden/1/bundles")
}

/// The shipped example's bundle.
pub fn golden() -> Bundle {
    Bundle::open(&goldens().join("claim_outcome.tar.gz"), &Trust::default()).unwrap()
}

/// An input that it takes, and what it answers.
pub fn case(place: usize) -> (serde_json::Value, String) {
    let text = std::fs::read(goldens().join("expected.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let case = &cases["claim_outcome"][place];
    (
        case["input"].clone(),
        case["name"].as_str().unwrap().to_owned(),
    )
}

pub fn ask() -> Ask {
    Ask {
        model: claims(),
        environment: Environment::production(),
        version: None,
        subject: Some(subject("m-1")),
        input: Clear::new(case(0).0.to_string().into_bytes()),
        explain: true,
        use_cache: true,
        idempotency_key: None,
    }
}

pub fn asking(change: impl FnOnce(&mut Ask)) -> Ask {
    let mut ask = ask();
    change(&mut ask);
    ask
}

pub fn subject(id: &str) -> Subject {
    Subject::new(id.to_owned())
}

pub fn acme() -> Tenant {
    Tenant::new("acme").unwrap()
}

pub fn claims() -> ModelName {
    ModelName::new("claim_outcome").unwrap()
}

pub fn version(number: u32) -> Version {
    Version::new(number).unwrap()
}

pub fn deploy(number: u32) -> Order {
    Order::Deploy {
        version: version(number),
    }
}

pub fn caller() -> Caller {
    Caller {
        principal: "key:omb_desk".to_owned(),
        ip: Some("192.0.2.7".to_owned()),
        user_agent: Some("tests/1".to_owned()),
        request_id: Some("req-1".to_owned()),
    }
}
