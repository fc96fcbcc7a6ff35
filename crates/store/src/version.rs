//! Versions: registered once, never changed, and deleted only while nobody can have heard from them.
//!
//! The number is given first ([`Store::reserve_version`]), then the bundle is put where the number says, then the row is
//! written ([`Store::register`]): whoever sees a version finds its files. [`crate::registry`] does the three in order.

use crate::database::{Row, Transaction, values};
use crate::error::{Error, Result};
use crate::model::{lock, unknown};
use crate::role::is_plain_name;
use crate::stage;
use crate::store::{Store, Topic, bounded, touch};
use crate::tracking::listing;
use ombud_core::ensemble::Stage;
use ombud_core::{Digest, Label, ModelName, Version};
use ombud_ledger::{RecordId, Tenant};
use std::collections::BTreeMap;

/// Longest name of a tag.
pub const TAG_NAME_LENGTH_MAX: usize = 64;
/// Longest value of a tag.
pub const TAG_VALUE_BYTES_MAX: usize = 1_000;
/// Tags of one version.
pub const TAGS_MAX: usize = 100;
/// Longest note.
pub const NOTE_BYTES_MAX: usize = 10_000;
/// Largest manifest that is kept beside the row.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;

/// A registered version.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    pub model: ModelName,
    /// Its place in the order of registration.
    pub version: Version,
    pub label: Label,
    /// The bundle's identity.
    pub digest: Digest,
    pub task: String,
    pub engine: String,
    /// The size of its files together.
    pub bytes: u64,
    /// The key that signed it.
    pub signed_by: Option<String>,
    pub registered_us: i64,
    pub registered_by: String,
    /// When a deployment first named it.
    pub first_deployed_us: Option<i64>,
    pub archived_us: Option<i64>,
}

/// A version to be registered.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub model: ModelName,
    /// What [`Store::reserve_version`] gave.
    pub version: Version,
    pub label: Label,
    pub digest: Digest,
    pub task: String,
    pub engine: String,
    /// The manifest's text.
    pub manifest: String,
    pub bytes: u64,
    pub signed_by: Option<String>,
    pub by: String,
    /// What it asks first.
    pub stages: Vec<Stage>,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq)]
pub enum Registration {
    /// It is a version now.
    New(Registered),
    /// The same bundle was registered before, as this one.
    Known(Registered),
}

/// A remark about a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub id: RecordId,
    pub time_us: i64,
    pub author: String,
    pub body: String,
}

impl Registration {
    /// The version, new or known.
    pub fn into_registered(self) -> Registered {
        match self {
            Registration::New(registered) | Registration::Known(registered) => registered,
        }
    }
}

impl Store {
    /// The number of the next version of a model, which is made when new. A number that is never used leaves a gap.
    pub async fn reserve_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        description: &str,
        now_us: i64,
    ) -> Result<Version> {
        // Two names are unique, and of two who make a model at once the other may meet either of them first.
        let make = "insert into store_models (tenant, name, description, revision, last_version, created_us, \
            listed_name, listed_changed_us) values ($1, $2, $3, 0, 0, $4, case when exists (select 1 from store_models \
            where tenant = $1 and listed_name = $2 and name <> $2) then $2 || ' (house)' else $2 end, $4) \
            on conflict do nothing";
        let count = "update store_models set last_version = last_version + 1, revision = revision + 1 \
            where tenant = $1 and name = $2 returning last_version";
        let description: String = description
            .chars()
            .take(crate::model::DESCRIPTION_BYTES_MAX / 4)
            .collect();
        let mut transaction = self.database.begin().await?;
        transaction
            .execute(make, values![tenant, model, description, now_us])
            .await?;
        let row = transaction.row(count, values![tenant, model]).await?;
        let version = row.ok_or_else(|| unknown(model))?.version("last_version")?;
        transaction.commit().await?;
        Ok(version)
    }

    /// Writes a version down. The same digest twice is the same version; other content under one label is refused.
    pub async fn register(
        &self,
        tenant: &Tenant,
        version: NewVersion,
        now_us: i64,
    ) -> Result<Registration> {
        bounded("manifest", &version.manifest, MANIFEST_BYTES_MAX)?;
        let mut transaction = self.database.begin().await?;
        stage::lock_all(&mut transaction, tenant, &version.model, &version.stages).await?;
        let known = by_digest(&mut transaction, tenant, &version.model, version.digest).await?;
        if let Some(known) = known {
            return Ok(Registration::Known(known));
        }
        refuse_taken(&mut transaction, tenant, &version).await?;
        let stages = stage::find(&mut transaction, tenant, &version.model, &version.stages).await?;
        let sql = "insert into store_versions (tenant, model, version, label, digest, task, engine, manifest, bytes, \
            signed_by, registered_us, registered_by) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
            returning *";
        let values = values![
            tenant,
            &version.model,
            version.version,
            version.label.as_str(),
            version.digest,
            version.task,
            version.engine,
            version.manifest,
            version.bytes.cast_signed(),
            version.signed_by,
            now_us,
            version.by
        ];
        let row = transaction.row(sql, values).await?;
        let registered = registered(&row.ok_or(Error::Unreadable { what: "version" })?)?;
        stage::note(&mut transaction, tenant, &registered, &stages).await?;
        let (model, number) = (&registered.model, registered.version);
        listing::list_with_bundle(
            &mut transaction,
            tenant,
            model,
            number,
            &registered.registered_by,
            now_us,
        )
        .await?;
        transaction.commit().await?;
        Ok(Registration::New(registered))
    }

    /// The version that was registered with a digest.
    pub async fn version_by_digest(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        digest: Digest,
    ) -> Result<Option<Registered>> {
        let row = self
            .database
            .row(BY_DIGEST, values![tenant, model, digest])
            .await?;
        row.as_ref().map(registered).transpose()
    }

    /// Refuses a label that a version has already.
    pub async fn refuse_label(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        label: &Label,
    ) -> Result<()> {
        let row = self
            .database
            .row(BY_LABEL, values![tenant, model, label.as_str()])
            .await?;
        row.map_or(Ok(()), |row| Err(taken(&row)?))
    }

    /// A model's versions, newest first.
    pub async fn versions(&self, tenant: &Tenant, model: &ModelName) -> Result<Vec<Registered>> {
        let sql =
            "select * from store_versions where tenant = $1 and model = $2 order by version desc";
        let rows = self.database.rows(sql, values![tenant, model]).await?;
        rows.iter().map(registered).collect()
    }

    /// A version by its number.
    pub async fn version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<Registered> {
        let row = self
            .database
            .row(BY_NUMBER, values![tenant, model, version])
            .await?;
        registered(&row.ok_or_else(|| no_version(model, &version.to_string()))?)
    }

    /// The version a person means by `3`, `v1.2.0` or an alias; `latest` is the newest that is not archived.
    pub async fn resolve(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        text: &str,
    ) -> Result<Registered> {
        let unknown = || no_version(model, text);
        if let Ok(number) = text.parse::<Version>() {
            return self.version(tenant, model, number).await;
        }
        if let Ok(label) = Label::new(text) {
            let sql =
                "select * from store_versions where tenant = $1 and model = $2 and label = $3";
            let row = self
                .database
                .row(sql, values![tenant, model, label.as_str()])
                .await?;
            return registered(&row.ok_or_else(unknown)?);
        }
        let version = match text {
            "latest" => {
                let sql = "select max(version) as version from store_versions \
                    where tenant = $1 and model = $2 and archived_us is null";
                let row = self.database.row(sql, values![tenant, model]).await?;
                row.map_or(Ok(None), |row| row.version_or_none("version"))?
            }
            alias => self.alias(tenant, model, alias).await?,
        };
        self.version(tenant, model, version.ok_or_else(unknown)?)
            .await
    }

    /// The manifest's text, as registered.
    pub async fn manifest(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<String> {
        let sql =
            "select manifest from store_versions where tenant = $1 and model = $2 and version = $3";
        let row = self
            .database
            .row(sql, values![tenant, model, version])
            .await?;
        row.ok_or_else(|| no_version(model, &version.to_string()))?
            .text("manifest")
    }

    /// Puts a version aside, or takes it back. One that is deployed stays.
    pub async fn archive_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        is_archived: bool,
        now_us: i64,
    ) -> Result<Registered> {
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, model).await?;
        if is_archived {
            refuse_deployed(&mut transaction, tenant, model, version).await?;
        }
        let sql = "update store_versions set archived_us = $4 where tenant = $1 and model = $2 and version = $3 \
            returning *";
        let since = is_archived.then_some(now_us);
        let row = transaction
            .row(sql, values![tenant, model, version, since])
            .await?;
        let row = row.ok_or_else(|| no_version(model, &version.to_string()))?;
        touch(&mut transaction, tenant, Topic::Deployments).await?;
        transaction.commit().await?;
        registered(&row)
    }

    /// Deletes a version that was never deployed, so that no record can speak of it, and that is nobody's stage. Its files are the caller's to remove.
    pub async fn delete_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, model).await?;
        refuse_deployed(&mut transaction, tenant, model, version).await?;
        stage::refuse_named(&mut transaction, tenant, model, version).await?;
        let row = transaction
            .row(BY_NUMBER, values![tenant, model, version])
            .await?;
        let found = registered(&row.ok_or_else(|| no_version(model, &version.to_string()))?)?;
        if found.first_deployed_us.is_some() {
            return Err(Error::NeededByLedger {
                model: model.clone(),
                version,
            });
        }
        let sql = "delete from store_versions where tenant = $1 and model = $2 and version = $3";
        transaction
            .execute(sql, values![tenant, model, version])
            .await?;
        let sql =
            "delete from store_listed_versions where tenant = $1 and model = $2 and version = $3";
        transaction
            .execute(sql, values![tenant, model, version])
            .await?;
        transaction.commit().await
    }

    /// Sets a tag, or removes it.
    pub async fn set_tag(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        name: &str,
        value: Option<&str>,
    ) -> Result<()> {
        if !is_plain_name(name, TAG_NAME_LENGTH_MAX) {
            return Err(Error::Malformed {
                what: "tag",
                came: name.chars().take(80).collect(),
                allowed: "a lower-case letter, then lower-case letters, digits, _ or -",
            });
        }
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, model).await?;
        let Some(value) = value else {
            let sql = "delete from store_tags where tenant = $1 and model = $2 and version = $3 and name = $4";
            transaction
                .execute(sql, values![tenant, model, version, name])
                .await?;
            return transaction.commit().await;
        };
        bounded("tag's value", value, TAG_VALUE_BYTES_MAX)?;
        require(&mut transaction, tenant, model, version).await?;
        let count = "select count(*) as number from store_tags where tenant = $1 and model = $2 and version = $3";
        let row = transaction
            .row(count, values![tenant, model, version])
            .await?;
        if row.map_or(Ok(0), |row| row.whole("number"))? >= TAGS_MAX as i64 {
            return Err(Error::TooMany {
                what: "tags",
                count_max: TAGS_MAX,
            });
        }
        let sql = "insert into store_tags (tenant, model, version, name, value) values ($1, $2, $3, $4, $5) \
            on conflict (tenant, model, version, name) do update set value = excluded.value";
        transaction
            .execute(sql, values![tenant, model, version, name, value])
            .await?;
        transaction.commit().await
    }

    /// A version's tags.
    pub async fn tags(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<BTreeMap<String, String>> {
        let sql =
            "select name, value from store_tags where tenant = $1 and model = $2 and version = $3";
        let rows = self
            .database
            .rows(sql, values![tenant, model, version])
            .await?;
        rows.iter()
            .map(|row| Ok((row.text("name")?, row.text("value")?)))
            .collect()
    }

    /// Adds a remark to a version.
    pub async fn add_note(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        author: &str,
        body: &str,
        now_us: i64,
    ) -> Result<Note> {
        bounded("note", body, NOTE_BYTES_MAX)?;
        let id = RecordId::generate(now_us)?;
        let mut transaction = self.database.begin().await?;
        lock(&mut transaction, tenant, model).await?;
        require(&mut transaction, tenant, model, version).await?;
        let sql = "insert into store_notes (tenant, id, model, version, time_us, author, body) \
            values ($1, $2, $3, $4, $5, $6, $7)";
        let values = values![tenant, id, model, version, now_us, author, body];
        transaction.execute(sql, values).await?;
        transaction.commit().await?;
        Ok(Note {
            id,
            time_us: now_us,
            author: author.to_owned(),
            body: body.to_owned(),
        })
    }

    /// A version's remarks, oldest first; at most [`crate::store::PAGE_ROWS_MAX`].
    pub async fn notes(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<Vec<Note>> {
        let sql = "select * from store_notes where tenant = $1 and model = $2 and version = $3 order by id limit $4";
        let limit = crate::store::page_rows(usize::MAX);
        let rows = self
            .database
            .rows(sql, values![tenant, model, version, limit])
            .await?;
        let note = |row: &Row| {
            Ok(Note {
                id: row.id("id")?,
                time_us: row.whole("time_us")?,
                author: row.text("author")?,
                body: row.text("body")?,
            })
        };
        rows.iter().map(note).collect()
    }
}

const BY_NUMBER: &str =
    "select * from store_versions where tenant = $1 and model = $2 and version = $3";
const BY_LABEL: &str =
    "select * from store_versions where tenant = $1 and model = $2 and label = $3";
const BY_DIGEST: &str =
    "select * from store_versions where tenant = $1 and model = $2 and digest = $3";

/// A version that exists, inside a transaction that holds the model's lock.
pub(crate) async fn require(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    version: Version,
) -> Result<Registered> {
    let row = transaction
        .row(BY_NUMBER, values![tenant, model, version])
        .await?;
    registered(&row.ok_or_else(|| no_version(model, &version.to_string()))?)
}

pub(crate) async fn by_digest(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    digest: Digest,
) -> Result<Option<Registered>> {
    let row = transaction
        .row(BY_DIGEST, values![tenant, model, digest])
        .await?;
    row.as_ref().map(registered).transpose()
}

async fn refuse_taken(
    transaction: &mut Transaction,
    tenant: &Tenant,
    wanted: &NewVersion,
) -> Result<()> {
    let values = values![tenant, &wanted.model, wanted.label.as_str()];
    let row = transaction.row(BY_LABEL, values).await?;
    row.map_or(Ok(()), |row| Err(taken(&row)?))
}

fn taken(row: &Row) -> Result<Error> {
    let taken = registered(row)?;
    Ok(Error::LabelTaken {
        model: taken.model,
        label: taken.label.to_string(),
        version: taken.version,
        registered: taken.digest,
    })
}

async fn refuse_deployed(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    version: Version,
) -> Result<()> {
    let sql = "select environment from store_traffic where tenant = $1 and model = $2 and version = $3 limit 1";
    match transaction
        .row(sql, values![tenant, model, version])
        .await?
    {
        None => Ok(()),
        Some(row) => Err(Error::Deployed {
            model: model.clone(),
            version,
            environment: row.parsed("environment")?,
        }),
    }
}

pub(crate) fn no_version(model: &ModelName, version: &str) -> Error {
    Error::UnknownVersion {
        model: model.clone(),
        version: version.chars().take(80).collect(),
    }
}

fn registered(row: &Row) -> Result<Registered> {
    let label = Label::new(&row.text("label")?);
    Ok(Registered {
        model: row.model("model")?,
        version: row.version("version")?,
        label: label.map_err(|_| Error::Unreadable { what: "label" })?,
        digest: row.digest("digest")?,
        task: row.text("task")?,
        engine: row.text("engine")?,
        bytes: row.whole("bytes")?.cast_unsigned(),
        signed_by: row.text_or_none("signed_by", "signed_by")?,
        registered_us: row.whole("registered_us")?,
        registered_by: row.text("registered_by")?,
        first_deployed_us: row.time_or_none("first_deployed_us")?,
        archived_us: row.time_or_none("archived_us")?,
    })
}
