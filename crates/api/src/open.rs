//! Puts the rooms together from the settings: where the house is opened, by the server and by the command line alike.
//!
//! An empty folder is enough: the database, the keys and the first admin are made. What was made is told once
//! ([`FirstStart`]) and kept only as a hash, or in a file that its owner alone can read.

use crate::auth::Auth;
use crate::auth::issuers::{Issuers, IssuersError};
use crate::auth::passwords::{PasswordError, random_password};
use crate::bodies::Bodies;
use crate::config::Config;
use crate::house::{House, Parts};
use crate::kit::Kit;
use crate::limits::RateLimits;
use crate::metrics::{LedgerObserver, Metrics, OpsObserver};
use crate::performance::Performance;
use crate::statistics::Statistics;
use crate::time::now_us;
use crate::traces::{self, TracesError};
use crate::turned_away::TurnedAway;
use ombud_core::Class;
use ombud_engine::bundle::Trust;
use ombud_engine::bundle::keys::{KeyError, VerifyingKey as SignerKey};
use ombud_ledger::master::SecretError;
use ombud_ledger::{
    Database, Entry, Kind, LaneName, Ledger, LocalMasterKey, MasterKey, Reader, RecordId,
    SecretSource, Signer, SucceedingMasterKey, Tenant, VerifyingKey,
};
use ombud_ops::{Ops, Options, SystemClock};
use ombud_store::artifacts::{ArtifactError, Artifacts, Folder, ObjectOptions, Objects};
use ombud_store::buckets::Buckets;
use ombud_store::cache::{Cache, CacheError, Memory, Off, Redis, RedisOptions};
use ombud_store::depot::{FolderDepot, ObjectDepot};
use ombud_store::key::{NewKey, fresh_prefix};
use ombud_store::person::NewPerson;
use ombud_store::registry::Registry;
use ombud_store::{Depot, Place, Role, Scopes, Store};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// The database's file in the storage folder.
const DATABASE_FILE: &str = "ombud.db";
/// What every key in a Redis begins with.
const REDIS_PREFIX: &str = "ombud";
const MASTER_KEY_FILE: &str = "master.key";
const CHECKPOINT_KEY_FILE: &str = "checkpoint.key";
/// The login of the person that a first start makes.
const FIRST_LOGIN: &str = "admin";
const FIRST_KEY_LABEL: &str = "made at first start, for the first call";

/// The rooms below, open.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Whose data it is when nobody says.
    pub tenant: Tenant,
    /// What the house keeps.
    pub store: Store,
    /// The versions, rows and files.
    pub registry: Registry,
    /// Files beside runs.
    pub depot: Arc<dyn Depot>,
    /// What it does with models.
    pub ops: Ops,
    /// What it proves.
    pub ledger: Ledger,
    /// What checks its checkpoints.
    pub checkpoint_key: VerifyingKey,
    /// Who signed the newest checkpoint when this one opened, where that was another key.
    pub signer_before: Option<VerifyingKey>,
    /// What was handed in.
    pub kits: &'static [Kit],
}

/// What a first start made; nobody is told again.
#[derive(Clone)]
pub struct FirstStart {
    /// The admin's login.
    pub login: String,
    /// Their password.
    pub password: Zeroizing<String>,
    /// A caller's key, for the first call.
    pub key: Zeroizing<String>,
}

/// Why the house does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the folder {path:?} cannot be made")]
    Folder { path: PathBuf, source: io::Error },
    #[error("the master key {path:?} is gone, but the ledger holds what it sealed")]
    MasterKeyGone { path: PathBuf },
    #[error("the checkpoint key {path:?} is gone, but the ledger holds checkpoints that it signed")]
    CheckpointKeyGone { path: PathBuf },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the ledger does not open")]
    Ledger(#[from] ombud_ledger::Error),
    #[error("the store does not open")]
    Store(#[from] ombud_store::Error),
    #[error("the cache cannot be used")]
    Cache(#[from] CacheError),
    #[error("the store of bundles does not open")]
    Artifacts(#[from] ArtifactError),
    #[error("the trusted key {path:?} cannot be used")]
    TrustedKey { path: PathBuf, source: KeyError },
    #[error(transparent)]
    Issuers(#[from] IssuersError),
    #[error("traces cannot be sent")]
    Traces(#[from] TracesError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the operating system gave no randomness")]
    Randomness(#[from] getrandom::Error),
    #[error("{0:?} is no name of a tenant or a lane")]
    Name(String),
}

impl OpenError {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            OpenError::Folder { .. } => Class::Unavailable,
            OpenError::MasterKeyGone { .. } | OpenError::CheckpointKeyGone { .. } => {
                Class::NotFound
            }
            OpenError::Secret(error) => error.class(),
            OpenError::Ledger(error) => error.class(),
            OpenError::Store(error) => error.class(),
            OpenError::Cache(error) => error.class(),
            OpenError::Artifacts(error) => error.class(),
            OpenError::Issuers(_)
            | OpenError::Name(_)
            | OpenError::Traces(_)
            | OpenError::TrustedKey { .. } => Class::Invalid,
            OpenError::Password(_) | OpenError::Randomness(_) => Class::Internal,
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            OpenError::Folder { .. } => "check `storage.folder` and the rights on it",
            OpenError::MasterKeyGone { .. } => {
                "bring the key back from its safe copy; without it nothing sealed can be opened"
            }
            OpenError::CheckpointKeyGone { .. } => {
                "copy it from the other servers or its safe copy; if it is lost, make one with `ombud keys master new FILE`, and verify with --trust for both"
            }
            OpenError::Secret(_) => {
                "check `ledger.master_key_file`, `ledger.signing_key_file` and the rights on them"
            }
            OpenError::Ledger(ombud_ledger::Error::LaneTaken { .. }) => {
                "another ombud runs on this database: stop that one, or give each replica its own `ledger.lane`"
            }
            OpenError::Ledger(ombud_ledger::Error::MasterKey(_)) => {
                "the master key is not the one that sealed this ledger: bring that one back, or name it as `ledger.master_key_before_file`"
            }
            OpenError::Ledger(_) | OpenError::Store(_) => {
                "check `storage.database`; `ombud db status` tells what it finds"
            }
            OpenError::Cache(_) => "check `cache.redis`",
            OpenError::Artifacts(_) => "check `storage.artifacts` and the rights on it",
            OpenError::TrustedKey { .. } => {
                "check `models.trusted_keys`; a public key, the file whose name ends in .pub"
            }
            OpenError::Traces(_) => "check `traces.endpoint`",
            OpenError::Issuers(_) => "check `[[issuers]]`",
            OpenError::Name(_) => "lower-case letters, digits, `_`, `-` or `.`",
            OpenError::Password(_) | OpenError::Randomness(_) => "try again",
        }
    }
}

/// Where the database is.
pub fn place(config: &Config) -> Result<Place, OpenError> {
    if config.storage.database.is_empty() {
        return Ok(Place::Sqlite(config.storage.folder.join(DATABASE_FILE)));
    }
    Ok(Place::parse(config.storage.database.expose())?)
}

/// The lane of a server with these settings.
pub fn server_lane(config: &Config) -> Result<LaneName, OpenError> {
    let named = match config.ledger.lane.as_str() {
        "" if config.storage.database.is_empty() => "main".to_owned(),
        "" => machine_name(),
        named => named.to_owned(),
    };
    LaneName::new(&named).map_err(|_| OpenError::Name(named))
}

/// What checks this house's checkpoints, when it has a key that signs them.
pub fn checkpoint_key(config: &Config) -> Result<Option<VerifyingKey>, OpenError> {
    let path = or_in(
        &config.ledger.signing_key_file,
        &config.storage.folder,
        CHECKPOINT_KEY_FILE,
    );
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(
        Signer::new(&SecretSource::File(path).load()?).verifying_key(),
    ))
}

/// Opens the rooms, making what is not there yet.
pub async fn rooms(
    config: &Config,
    lane: LaneName,
    metrics: Option<Arc<Metrics>>,
) -> Result<Rooms, OpenError> {
    rooms_with(config, lane, metrics, &[]).await
}

/// Opens the rooms with kits, and brings their tables up to date.
pub async fn rooms_with(
    config: &Config,
    lane: LaneName,
    metrics: Option<Arc<Metrics>>,
    kits: &'static [Kit],
) -> Result<Rooms, OpenError> {
    let folder = &config.storage.folder;
    make_private_folder(folder)?;
    let place = place(config)?;
    let store = Store::open(&place).await?;
    for kit in kits {
        store.admit(&kit.tables).await?;
    }
    let tenant = Tenant::new(&config.server.tenant)
        .map_err(|_| OpenError::Name(config.server.tenant.clone()))?;
    let (artifacts, depot) = places_of_files(config)?;
    let registry = Registry {
        store: store.clone(),
        artifacts,
        trust: trust(config)?,
    };
    let cache = cache(config)?;
    let observer = metrics
        .clone()
        .map(|metrics| Arc::new(OpsObserver(metrics)) as Arc<dyn ombud_ops::Observer>);
    let (config, owner) = (config.clone(), tenant.clone());
    let Signed {
        ledger,
        checkpoint_key,
        before,
    } = blocking(move || open_ledger(&config, place.for_ledger(), &owner, lane, metrics)).await?;
    ledger.claim(&tenant).await?;
    let options = Options {
        registry: registry.clone(),
        ledger: ledger.clone(),
        cache,
        clock: Arc::new(SystemClock),
        observer,
        batching: ombud_ops::Batching::default(),
    };
    let ops = Ops::new(options);
    Ok(Rooms {
        tenant,
        store,
        registry,
        depot,
        ops,
        ledger,
        checkpoint_key,
        signer_before: before,
        kits,
    })
}

/// Makes the first admin and the first key, when there is nobody yet.
pub async fn first_start(config: &Config, rooms: &Rooms) -> Result<Option<FirstStart>, OpenError> {
    if !rooms.store.people(&rooms.tenant).await?.is_empty() {
        return Ok(None);
    }
    let password = random_password()?;
    let passwords = crate::auth::passwords::Passwords::new(config.sessions.password_checks_max);
    let person = NewPerson {
        login: FIRST_LOGIN.to_owned(),
        name: "First admin".to_owned(),
        role: Role::Admin,
        password_hash: passwords.hash(password.clone()).await?,
        must_change_password: false,
    };
    let key = NewKey {
        prefix: fresh_prefix()?,
        label: FIRST_KEY_LABEL.to_owned(),
        role: Role::Caller,
        scopes: Scopes::EVERYWHERE,
        expires_us: None,
        created_by: "first start".to_owned(),
    };
    match rooms
        .store
        .add_person(&rooms.tenant, person, now_us())
        .await
    {
        Ok(_) => {}
        // Another replica started at the same moment and told its admin.
        Err(ombud_store::Error::Exists { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    record_first_start(rooms, &key).await?;
    let (_, secret) = rooms.store.add_key(&rooms.tenant, key, now_us()).await?;
    let key = Zeroizing::new(secret.expose().to_owned());
    Ok(Some(FirstStart {
        login: FIRST_LOGIN.to_owned(),
        password,
        key,
    }))
}

/// Puts on record that another key signs from this start on, so that an auditor who trusted the one before finds why.
pub async fn record_new_signer(rooms: &Rooms) -> Result<(), OpenError> {
    let Some(before) = rooms.signer_before else {
        return Ok(());
    };
    let detail = serde_json::json!({
        "did": "sign checkpoints by another key",
        "key": rooms.checkpoint_key.to_string(),
        "before": before.to_string(),
    });
    record_at_start(rooms, "start", &detail).await
}

/// Whoever has the first admin's password or the first key has them from this start, and an auditor finds when that was.
async fn record_first_start(rooms: &Rooms, key: &NewKey) -> Result<(), OpenError> {
    let did = [
        serde_json::json!({ "did": "make person", "login": FIRST_LOGIN, "role": Role::Admin.as_str() }),
        serde_json::json!({ "did": "make key", "prefix": key.prefix, "label": key.label, "role": key.role.as_str() }),
    ];
    for detail in did {
        record_at_start(rooms, &key.created_by, &detail).await?;
    }
    Ok(())
}

async fn record_at_start(
    rooms: &Rooms,
    who: &str,
    detail: &serde_json::Value,
) -> Result<(), OpenError> {
    let now = now_us();
    let id = RecordId::generate(now).map_err(ombud_ledger::Error::from)?;
    let mut entry = Entry::new(id, Kind::KeyChange, now);
    entry.principal = Some(who.to_owned());
    entry.detail = Some(detail.to_string());
    rooms.ledger.append(&rooms.tenant, entry).await?;
    Ok(())
}

/// The house of a server.
pub fn house(config: Config, rooms: Rooms, metrics: Arc<Metrics>) -> Result<House, OpenError> {
    let issuers = Issuers::new(&config, rooms.tenant.clone())?;
    let lane = server_lane(&config)?;
    let (traces, exporter) = traces::open(&config.traces, &metrics)?.unzip();
    let buckets = match config.cache.redis.is_empty() {
        true => None,
        false => Some(
            Buckets::new(config.cache.redis.expose(), REDIS_PREFIX).map_err(CacheError::from)?,
        ),
    };
    let checks_max = config.sessions.password_checks_max;
    let auth = Auth::new(
        rooms.store.clone(),
        rooms.tenant.clone(),
        issuers,
        checks_max,
        config.server.open_demo,
    );
    let trusted_proxies = config
        .server
        .trusted_proxies
        .iter()
        .filter_map(|proxy| proxy.parse().ok())
        .collect();
    Ok(House::new(Parts {
        metrics,
        auth,
        limits: RateLimits::new(&config.limits, buckets),
        traces,
        exporter: Mutex::new(exporter),
        turned_away: TurnedAway::default(),
        bodies: Bodies::new(config.limits.bodies_bytes_max.0),
        places: Semaphore::new(config.limits.requests_max),
        trusted_proxies,
        store: rooms.store,
        registry: rooms.registry,
        depot: rooms.depot,
        ops: rooms.ops,
        lane,
        performance: Performance::default(),
        statistics: Statistics::default(),
        ledger: rooms.ledger,
        checkpoint_key: rooms.checkpoint_key,
        kits: rooms.kits,
        config,
    }))
}

/// Where bundles are, and files beside runs.
type Places = (Arc<dyn Artifacts>, Arc<dyn Depot>);

/// Bundles, and files beside runs: in one folder or one bucket.
fn places_of_files(config: &Config) -> Result<Places, OpenError> {
    let storage = &config.storage;
    let Some(bucket) = storage.artifacts.strip_prefix("s3://") else {
        let folder = match storage.artifacts.as_str() {
            "" => storage.folder.clone(),
            named => PathBuf::from(named),
        };
        let depot = FolderDepot::new(folder.clone());
        return Ok((Arc::new(Folder::new(folder)?), Arc::new(depot)));
    };
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    let has_key = !storage.s3_access_key_id.is_empty();
    let endpoint = (!storage.s3_endpoint.is_empty()).then(|| storage.s3_endpoint.clone());
    let options = ObjectOptions {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_end_matches('/').to_owned(),
        allow_http: endpoint
            .as_deref()
            .is_some_and(|endpoint| endpoint.starts_with("http://")),
        endpoint,
        region: storage.s3_region.clone(),
        access: has_key.then(|| {
            (
                storage.s3_access_key_id.clone(),
                storage.s3_secret_access_key.expose().to_owned(),
            )
        }),
    };
    let depot = ObjectDepot::new(options.clone())?;
    Ok((Arc::new(Objects::new(options)?), Arc::new(depot)))
}

fn cache(config: &Config) -> Result<Arc<dyn Cache>, OpenError> {
    let lifetime = Duration::from_secs(config.cache.seconds.0);
    if lifetime.is_zero() {
        return Ok(Arc::new(Off));
    }
    if config.cache.redis.is_empty() {
        return Ok(Arc::new(Memory::new(config.cache.bytes_max.0, lifetime)));
    }
    let options = RedisOptions {
        lifetime,
        ..RedisOptions::new(config.cache.redis.expose())
    };
    Ok(Arc::new(Redis::new(options)?))
}

fn trust(config: &Config) -> Result<Trust, OpenError> {
    let load = |path: &PathBuf| {
        SignerKey::load(path).map_err(|source| OpenError::TrustedKey {
            path: path.clone(),
            source,
        })
    };
    Ok(Trust {
        keys: config
            .models
            .trusted_keys
            .iter()
            .map(load)
            .collect::<Result<_, _>>()?,
    })
}

/// A ledger, and who signs for it.
struct Signed {
    ledger: Ledger,
    checkpoint_key: VerifyingKey,
    before: Option<VerifyingKey>,
}

fn open_ledger(
    config: &Config,
    database: Database,
    tenant: &Tenant,
    lane: LaneName,
    metrics: Option<Arc<Metrics>>,
) -> Result<Signed, OpenError> {
    let master = LocalMasterKey::load(&master_key_source(config, &database)?)?;
    let before = &config.ledger.master_key_before_file;
    let master: Arc<dyn MasterKey> = match before.as_os_str().is_empty() {
        true => Arc::new(master),
        false => Arc::new(SucceedingMasterKey {
            current: master,
            before: LocalMasterKey::load(&SecretSource::File(before.clone()))?,
        }),
    };
    let signer = Signer::new(&signing_key_source(config, &database, tenant)?.load()?);
    let checkpoint_key = signer.verifying_key();
    // One of another length is a flaw that `verify` names.
    let newest = newest_signer(&database, tenant)?.and_then(|signer| signer.try_into().ok());
    let before = newest
        .map(VerifyingKey::new)
        .filter(|signer| *signer != checkpoint_key);
    let folder = &config.ledger.checkpoint_folder;
    let options = ombud_ledger::Options {
        database,
        lane,
        master,
        signer: Some(signer),
        checkpoint_folder: (!folder.as_os_str().is_empty()).then(|| folder.clone()),
        observer: metrics
            .map(|metrics| Arc::new(LedgerObserver(metrics)) as Arc<dyn ombud_ledger::Observer>),
    };
    Ok(Signed {
        ledger: Ledger::open(options)?,
        checkpoint_key,
        before,
    })
}

fn master_key_source(config: &Config, database: &Database) -> Result<SecretSource, OpenError> {
    if !config.ledger.master_key_variable.is_empty() {
        return Ok(SecretSource::Environment(
            config.ledger.master_key_variable.clone(),
        ));
    }
    if !config.ledger.master_key_command.is_empty() {
        return Ok(SecretSource::Command(
            config.ledger.master_key_command.clone(),
        ));
    }
    let path = or_in(
        &config.ledger.master_key_file,
        &config.storage.folder,
        MASTER_KEY_FILE,
    );
    if !path.exists() {
        // A new key beside an old ledger would leave everything sealed before closed for ever, without a word.
        if is_in_use(database)? {
            return Err(OpenError::MasterKeyGone { path });
        }
        SecretSource::generate_file_once(&path)?;
    }
    Ok(SecretSource::File(path))
}

/// Tells before a start what a start would find: keys that are gone while the ledger holds what they sealed.
pub fn check_keys(config: &Config) -> Result<(), OpenError> {
    let ledger = &config.ledger;
    let is_elsewhere =
        !ledger.master_key_variable.is_empty() || !ledger.master_key_command.is_empty();
    let path = or_in(
        &ledger.master_key_file,
        &config.storage.folder,
        MASTER_KEY_FILE,
    );
    if !is_elsewhere && !path.exists() && is_in_use(&place(config)?.for_ledger())? {
        return Err(OpenError::MasterKeyGone { path });
    }
    let before = &ledger.master_key_before_file;
    if !before.as_os_str().is_empty() && !before.exists() {
        let path = before.clone();
        return Err(OpenError::MasterKeyGone { path });
    }
    Ok(())
}

fn signing_key_source(
    config: &Config,
    database: &Database,
    tenant: &Tenant,
) -> Result<SecretSource, OpenError> {
    let path = or_in(
        &config.ledger.signing_key_file,
        &config.storage.folder,
        CHECKPOINT_KEY_FILE,
    );
    if !path.exists() {
        // A new key would sign on beside the old one, and whoever trusts that one finds a flaw in every checkpoint.
        if newest_signer(database, tenant)?.is_some() {
            return Err(OpenError::CheckpointKeyGone { path });
        }
        SecretSource::generate_file_once(&path)?;
    }
    Ok(SecretSource::File(path))
}

fn newest_signer(database: &Database, tenant: &Tenant) -> Result<Option<Vec<u8>>, OpenError> {
    if matches!(database, Database::Sqlite(path) if !path.exists()) {
        return Ok(None);
    }
    let reader = Reader::new(database.clone(), None);
    if reader.schema()?.found == 0 {
        return Ok(None);
    }
    Ok(reader.newest_signer(tenant)?)
}

fn is_in_use(database: &Database) -> Result<bool, OpenError> {
    if matches!(database, Database::Sqlite(path) if !path.exists()) {
        return Ok(false);
    }
    let reader = Reader::new(database.clone(), None);
    Ok(reader.schema()?.found > 0 && !reader.heads(None)?.is_empty())
}

fn or_in(named: &Path, folder: &Path, file: &str) -> PathBuf {
    if named.as_os_str().is_empty() {
        folder.join(file)
    } else {
        named.to_owned()
    }
}

/// Whoever may read the folder could read people's data, so one that we make is the owner's alone.
fn make_private_folder(folder: &Path) -> Result<(), OpenError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| OpenError::Folder {
        path: folder.to_owned(),
        source,
    })
}

/// This machine's name, as far as it can be a lane's.
fn machine_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = std::env::var("HOSTNAME")
        .ok()
        .or(kernel)
        .unwrap_or_default();
    let plain: String = named
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .collect();
    if plain.is_empty() {
        "main".to_owned()
    } else {
        plain
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(OpenError::Ledger(ombud_ledger::Error::Closed)))
}

impl std::fmt::Debug for FirstStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstStart")
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}
