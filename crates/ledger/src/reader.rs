//! Reading: records by id, by person, by time; heads and checkpoints; walks and exports.
//!
//! Readers use connections of their own and never wait for the writer. Every call blocks, so async callers go through
//! [`crate::Ledger::read`]. What is sealed stays sealed here; opening it leaves a record and is the ledger's.

use crate::checkpoint::SignedCheckpoint;
use crate::entry::{Clear, Subject};
use crate::error::{Error, StorageError};
use crate::ledger::{Contents, Database, Opened};
use crate::master::{MasterKey, MasterKeyError, Purpose};
use crate::name::{LaneName, Tenant};
use crate::record::{Kind, Record, RecordId, SubjectReference};
use crate::seal::{DataKey, Identity, ReferenceKey, Role, month};
use crate::tables::page::PageQuery;
use crate::tables::postgres::PostgresReader;
use crate::tables::sqlite::SqliteReader;
use crate::tables::{CheckpointRow, LaneRow, Reading, Slot, postgres, sqlite};
use crate::writer::keyring::purpose;
use ombud_core::{Digest, ModelName};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Records on one page.
pub const PAGE_RECORDS_MAX: usize = 1_000;
/// Connections kept for the next reader; more are opened when needed and closed after.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Reads a ledger. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    database: Database,
    master: Option<Arc<dyn MasterKey>>,
    idle: Arc<Mutex<Vec<Box<dyn Reading>>>>,
}

/// Which records, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// About this person only.
    pub subject: Option<SubjectReference>,
    /// Of this model only.
    pub model: Option<ModelName>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// In this environment only.
    pub environment: Option<String>,
    /// Not before: microseconds since 1970.
    pub from_us: i64,
    /// Before: microseconds since 1970.
    pub until_us: i64,
    /// After the last record of the page before.
    pub after: Option<Cursor>,
    /// At most this many, and at most [`PAGE_RECORDS_MAX`].
    pub limit: usize,
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub time_us: i64,
    pub position: i64,
}

/// One page of records.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub records: Vec<Record>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<Cursor>,
}

/// Which version the ledger's tables have, and which this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Zero when there are no tables yet.
    pub found: i64,
    /// What opening the ledger brings them to.
    pub known: i64,
}

/// The last record of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHead {
    pub tenant: Tenant,
    pub lane: LaneName,
    pub sequence: u64,
    pub hash: Digest,
}

impl Default for Query {
    fn default() -> Self {
        Query {
            subject: None,
            model: None,
            kind: None,
            environment: None,
            from_us: i64::MIN,
            until_us: i64::MAX,
            after: None,
            limit: 100,
        }
    }
}

impl Reader {
    /// A reader of a ledger that exists; connects when it first reads. Without a master key it can tell nobody's reference and open nothing.
    pub fn new(database: Database, master: Option<Arc<dyn MasterKey>>) -> Self {
        Reader {
            database,
            master,
            idle: Arc::default(),
        }
    }

    /// A record by its id.
    pub fn record(&self, tenant: &Tenant, id: &RecordId) -> Result<Record, Error> {
        let found = self.with(|tables| tables.find(tenant, id))?;
        found
            .map(|(_, record)| record)
            .ok_or(Error::NotFound { id: *id })
    }

    /// A page of records, newest first.
    pub fn page(&self, tenant: &Tenant, query: &Query) -> Result<Page, Error> {
        let limit = query.limit.clamp(1, PAGE_RECORDS_MAX);
        let wanted = PageQuery {
            subject: query.subject,
            model: query.model.as_ref(),
            kind: query.kind,
            environment: query.environment.as_deref(),
            from_us: query.from_us,
            until_us: query.until_us,
            before: query.after.map(|cursor| (cursor.time_us, cursor.position)),
            limit: limit + 1,
        };
        let mut found = self.with(|tables| tables.page(tenant, &wanted))?;
        let is_last = found.len() <= limit;
        found.truncate(limit);
        let last = found.last().map(|(position, record)| Cursor {
            time_us: record.time_us,
            position: *position,
        });
        Ok(Page {
            next: last.filter(|_| !is_last),
            records: found.into_iter().map(|(_, record)| record).collect(),
        })
    }

    /// The reference that records carry for a person; none when the tenant has recorded nothing yet.
    pub fn subject_reference(
        &self,
        tenant: &Tenant,
        subject: &Subject,
    ) -> Result<Option<SubjectReference>, Error> {
        let Some(stored) = self.with(|tables| tables.reference(tenant))? else {
            return Ok(None);
        };
        let purpose = Purpose {
            role: "reference",
            tenant: tenant.as_str(),
            name: &[],
        };
        let secret = self.master()?.unwrap(&stored.bytes, &purpose)?;
        Ok(Some(ReferenceKey::new(&secret).of(subject.expose())))
    }

    /// The version of the ledger's tables, which may be newer than this program.
    pub fn schema(&self) -> Result<Schema, Error> {
        let (found, known) = match &self.database {
            Database::Sqlite(path) => (sqlite::version(path)?, sqlite::version_known()),
            Database::Postgres(url) => (postgres::version(url)?, postgres::version_known()),
        };
        Ok(Schema { found, known })
    }

    /// Who signed a tenant's newest checkpoint, as stored; none when nothing was ever signed.
    pub fn newest_signer(&self, tenant: &Tenant) -> Result<Option<Vec<u8>>, Error> {
        self.with(|tables| tables.newest_signer(tenant))
    }

    /// The head of every lane; of one tenant or of all.
    pub fn heads(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneHead>, Error> {
        self.with(|tables| {
            let mut heads = Vec::new();
            for lane in tables.lanes()? {
                if tenant.is_some_and(|tenant| *tenant != lane.tenant) {
                    continue;
                }
                if let Some(head) = tables.head(lane.number)? {
                    let (tenant, lane) = (lane.tenant, lane.name);
                    heads.push(LaneHead {
                        tenant,
                        lane,
                        sequence: head.sequence,
                        hash: head.hash,
                    });
                }
            }
            Ok(heads)
        })
    }

    /// A tenant's checkpoints from a number on, at most [`PAGE_RECORDS_MAX`]; unverified.
    pub fn checkpoints(&self, tenant: &Tenant, from: u64) -> Result<Vec<SignedCheckpoint>, Error> {
        let rows = self.with(|tables| {
            tables.checkpoints(tenant.as_str(), from.cast_signed(), PAGE_RECORDS_MAX)
        })?;
        Ok(rows.iter().filter_map(CheckpointRow::to_signed).collect())
    }

    /// Opens what is sealed in a record.
    pub(crate) fn unseal(&self, record: Record) -> Result<Opened, Error> {
        let Some(key_id) = record.key else {
            return Ok(Opened {
                record,
                contents: Contents::Nothing,
            });
        };
        let Some(key) = self.data_key(&record)?.filter(|key| key.id == key_id) else {
            return Ok(Opened {
                record,
                contents: Contents::Erased,
            });
        };
        let open = |role, sealed: &Option<Vec<u8>>| {
            let Some(sealed) = sealed else {
                return Ok(None);
            };
            let identity = Identity {
                tenant: &record.tenant,
                record: &record.id,
                key: &key_id,
                subject: record.subject.as_ref(),
                model: record.model.as_ref().map(ModelName::as_str),
                role,
            };
            let clear = key.open(sealed, &identity);
            clear
                .map(|clear| Some(Clear::new(clear)))
                .map_err(|_| Error::DoesNotOpen { id: record.id })
        };
        let input = open(Role::Input, &record.sealed_input)?;
        let explanation = open(Role::Explanation, &record.sealed_explanation)?;
        Ok(Opened {
            record,
            contents: Contents::Open { input, explanation },
        })
    }

    /// Uses a connection, an idle one when there is one. After an error it is closed: it may be broken.
    pub(crate) fn with<T>(
        &self,
        read: impl FnOnce(&mut dyn Reading) -> Result<T, StorageError>,
    ) -> Result<T, Error> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut tables = match waiting {
            Some(tables) => tables,
            None => self.connect()?,
        };
        let found = read(tables.as_mut())?;
        let mut idle = idle();
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(tables);
        }
        Ok(found)
    }

    fn connect(&self) -> Result<Box<dyn Reading>, StorageError> {
        Ok(match &self.database {
            Database::Sqlite(path) => Box::new(SqliteReader::open(path)?),
            Database::Postgres(url) => Box::new(PostgresReader::open(url)?),
        })
    }

    fn data_key(&self, record: &Record) -> Result<Option<DataKey>, Error> {
        let stored = self.with(|tables| {
            let is_its = |lane: &LaneRow| lane.tenant == record.tenant && lane.name == record.lane;
            let Some(lane) = tables.lanes()?.into_iter().find(is_its) else {
                return Ok(None);
            };
            let month = month(record.time_us);
            tables.key(&Slot {
                lane: lane.number,
                subject: record.subject,
                model: record.model.clone(),
                month,
            })
        })?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let secret = self
            .master()?
            .unwrap(&stored.wrapped.bytes, &purpose(&record.tenant, &stored.id))?;
        Ok(Some(DataKey::new(stored.id, &secret)))
    }

    pub(crate) fn master(&self) -> Result<&Arc<dyn MasterKey>, Error> {
        let none = || MasterKeyError::Service {
            message: "no master key was given to this reader".to_owned(),
        };
        Ok(self.master.as_ref().ok_or_else(none)?)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
