//! Versions of registered models, in the clients' words: listed, tied to their runs, tagged, moved between stages.

use super::super::logged_model::path_here;
use super::super::search::{Attribute, Prepared, SearchQuery, Searchable, Shelf};
use super::super::{Pair, checked_pairs, holders, insert_rows, last_of_each, pair_rows};
use super::{
    ListedVersion, NewListedVersion, Stage, Status, TAG_CHARS_MAX, TEXT_BYTES_MAX, text, time,
    unknown,
};
use crate::database::{Row, Transaction, Value, values};
use crate::depot::FilePath;
use crate::error::{Error, Result};
use crate::store::{Store, bounded};
use crate::version::no_version;
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;

const VERSIONS: Searchable = Searchable {
    from: "(select v.*, m.listed_name from store_listed_versions v join store_models m on m.tenant = v.tenant \
        and m.name = v.model) e",
    attributes: &[
        text(&["name"], "e.listed_name"),
        time(&["version_number", "version"], "e.version"),
        Attribute {
            names: &["run_id"],
            column: "e.run",
            is_text: true,
            is_nullable: true,
        },
        text(&["source_path", "source"], "e.source"),
        text(&["user_id"], "e.user_name"),
        time(
            &["last_updated_timestamp", "timestamp"],
            "(e.changed_us / 1000)",
        ),
        time(
            &["creation_timestamp", "creation_time"],
            "(e.created_us / 1000)",
        ),
    ],
    metrics: None,
    params: None,
    tags: Some(Shelf {
        table: "store_listed_version_tags",
        on: "t.model = e.model and t.version = e.version",
    }),
    datasets: None,
    default_order: &[("e.changed_us", true), ("e.version", true)],
    last: "e.listed_name",
    among_equals: &[],
};

/// Waiting versions that are told at once.
const WAITING_ROWS: i64 = 1_000;

/// A version of which nothing became yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingVersion {
    pub model: ModelName,
    pub version: Version,
    pub source: String,
    pub listed_us: i64,
    /// Where its files lie here, when they do.
    pub files: Option<FilePath>,
    /// Who listed it.
    pub user: String,
}

impl Store {
    /// Lists a version that is only kept so far; it waits for what becomes of it.
    pub async fn list_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        new: NewListedVersion,
        now_us: i64,
    ) -> Result<Version> {
        bounded("source", &new.source, TEXT_BYTES_MAX)?;
        bounded("description", &new.description, TEXT_BYTES_MAX)?;
        for text in [&new.run, &new.run_link, &new.logged_model] {
            bounded(
                "reference",
                text.as_deref().unwrap_or_default(),
                TEXT_BYTES_MAX,
            )?;
        }
        let tags = last_of_each(checked_pairs("tag", &new.tags, TAG_CHARS_MAX)?);
        let mut transaction = self.database.begin().await?;
        let sql = "update store_models set last_version = case when $4 > last_version then $4 else last_version + 1 end, \
            revision = revision + 1, listed_changed_us = $3 where tenant = $1 and name = $2 returning last_version";
        let wanted = new.version.map_or(0, |version| i64::from(version.get()));
        let row = transaction
            .row(sql, values![tenant, model, now_us, wanted])
            .await?;
        let version = row
            .ok_or_else(|| unknown(model.as_str()))?
            .version("last_version")?;
        let empty = |text: Option<String>| text.filter(|text| !text.is_empty());
        let sql = "insert into store_listed_versions (tenant, model, version, source, run, run_link, logged_model, \
            description, user_name, status, status_message, stage, created_us, changed_us, files) \
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', 'None', $11, $11, $12)";
        let values = values![
            tenant,
            model,
            version,
            new.source,
            empty(new.run),
            empty(new.run_link),
            empty(new.logged_model),
            new.description,
            new.user,
            Status::Pending.as_str(),
            now_us,
            new.files.map(|files| files.as_str().to_owned())
        ];
        transaction.execute(sql, values).await?;
        put_tags(&mut transaction, tenant, model, version, tags).await?;
        transaction.commit().await?;
        Ok(version)
    }

    /// Says what became of a registration.
    pub async fn settle_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        message: &str,
        now_us: i64,
    ) -> Result<()> {
        let message: String = message.chars().take(TEXT_BYTES_MAX / 4).collect();
        let sql = "update store_listed_versions set status = $4, status_message = $5, changed_us = $6 \
            where tenant = $1 and model = $2 and version = $3 and status = $7";
        let values = values![
            tenant,
            model,
            version,
            Status::Ready.as_str(),
            message.replace('\0', " "),
            now_us,
            Status::Pending.as_str()
        ];
        self.database.execute(sql, values).await.map(drop)
    }

    /// Versions that were listed before a moment and wait for what becomes of them, oldest first; at most a
    /// thousand.
    pub async fn waiting_versions(
        &self,
        tenant: &Tenant,
        before_us: i64,
    ) -> Result<Vec<WaitingVersion>> {
        let sql = "select model, version, source, created_us, files, user_name from store_listed_versions \
            where tenant = $1 and status = $2 and created_us < $3 order by created_us limit $4";
        let values = values![tenant, Status::Pending.as_str(), before_us, WAITING_ROWS];
        let rows = self.database.rows(sql, values).await?;
        rows.iter()
            .map(|row| {
                let files = row.text_or_none("files", "files")?;
                Ok(WaitingVersion {
                    model: row.model("model")?,
                    version: row.version("version")?,
                    source: row.text("source")?,
                    listed_us: row.whole("created_us")?,
                    files: files.and_then(|path| FilePath::new(&path).ok()),
                    user: row.text("user_name")?,
                })
            })
            .collect()
    }

    /// Ties a version to the run that made it.
    pub async fn tie_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        run: &str,
        source: &str,
    ) -> Result<()> {
        let sql = "update store_listed_versions set run = $4, source = $5, files = $6 \
            where tenant = $1 and model = $2 and version = $3";
        let files = path_here(source).map(str::to_owned);
        let values = values![tenant, model, version, run, source, files];
        self.database.execute(sql, values).await.map(drop)
    }

    /// Refuses to put a file among those of a listed version: whoever took it to use would get something else.
    pub async fn refuse_put(&self, tenant: &Tenant, path: &FilePath) -> Result<()> {
        let mut bound = values![tenant];
        let parts = path.as_str().match_indices('/').map(|(end, _)| end);
        for end in parts.chain([path.as_str().len()]) {
            bound.push(Value::from(&path.as_str()[..end]));
        }
        let sql = format!(
            "select m.listed_name, v.version from store_listed_versions v join store_models m on m.tenant = v.tenant \
             and m.name = v.model where v.tenant = $1 and v.files in ({}) limit 1",
            holders(bound.len() - 1)
        );
        let found = self.database.row(AssertSqlSafe(sql), bound).await?;
        refuse_held(path, found)
    }

    /// Refuses to remove a file of a listed version, or a folder in which it has files.
    pub async fn refuse_removal(&self, tenant: &Tenant, path: &FilePath) -> Result<()> {
        self.refuse_put(tenant, path).await?;
        let sql = "select m.listed_name, v.version from store_listed_versions v join store_models m on m.tenant = v.tenant \
            and m.name = v.model where v.tenant = $1 and substr(v.files, 1, cast($3 as integer)) = $2 limit 1";
        let within = format!("{}/", path.as_str());
        let length = i64::try_from(within.chars().count()).unwrap_or(i64::MAX);
        let found = self.database.row(sql, values![tenant, within, length]);
        refuse_held(path, found.await?)
    }

    /// A version by its number.
    pub async fn listed_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<ListedVersion> {
        let sql = "select v.*, m.listed_name from store_listed_versions v join store_models m on m.tenant = v.tenant \
            and m.name = v.model where v.tenant = $1 and v.model = $2 and v.version = $3";
        let row = self
            .database
            .row(sql, values![tenant, model, version])
            .await?;
        let row = row.ok_or_else(|| no_version(model, &version.to_string()))?;
        let mut found = vec![listed_version(&row)?];
        self.furnish_versions(tenant, &mut found).await?;
        Ok(found.remove(0))
    }

    /// A model's versions, newest first; at most a page.
    pub async fn listed_versions(
        &self,
        tenant: &Tenant,
        model: &ModelName,
    ) -> Result<Vec<ListedVersion>> {
        let sql = "select v.*, m.listed_name from store_listed_versions v join store_models m on m.tenant = v.tenant \
            and m.name = v.model where v.tenant = $1 and v.model = $2 order by v.version desc limit $3";
        let values = values![tenant, model, crate::store::page_rows(usize::MAX)];
        let rows = self.database.rows(sql, values).await?;
        let mut found: Vec<ListedVersion> =
            rows.iter().map(listed_version).collect::<Result<_>>()?;
        self.furnish_versions(tenant, &mut found).await?;
        Ok(found)
    }

    /// A page of versions of all models.
    pub async fn search_versions(
        &self,
        tenant: &Tenant,
        query: &SearchQuery,
    ) -> Result<(Vec<ListedVersion>, Option<String>)> {
        // A name alone does not tell two versions of one model apart.
        let mut query = query.clone();
        if !query.order_by.is_empty() {
            query.order_by.push("version_number DESC".to_owned());
        }
        let asked = Prepared::new(&VERSIONS, tenant, &query, |_| {})?;
        let (rows, next) = asked.ask(&self.database).await?;
        let mut found: Vec<ListedVersion> =
            rows.iter().map(listed_version).collect::<Result<_>>()?;
        self.furnish_versions(tenant, &mut found).await?;
        Ok((found, next))
    }

    /// Says in other words what a version is.
    pub async fn describe_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        description: &str,
        now_us: i64,
    ) -> Result<()> {
        bounded("description", description, TEXT_BYTES_MAX)?;
        let sql = "update store_listed_versions set description = $4, changed_us = $5 \
            where tenant = $1 and model = $2 and version = $3";
        let values = values![tenant, model, version, description, now_us];
        match self.database.execute(sql, values).await? {
            0 => Err(no_version(model, &version.to_string())),
            _ => Ok(()),
        }
    }

    /// Notes the stage of a version that has no bundle: a word, after which nothing serves.
    pub async fn note_stage(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        stage: Stage,
        is_alone: bool,
        now_us: i64,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        if is_alone {
            let sql = "update store_listed_versions set stage = 'Archived', changed_us = $5 where tenant = $1 and model = $2 \
                and version <> $3 and stage = $4";
            let values = values![tenant, model, version, stage.as_str(), now_us];
            transaction.execute(sql, values).await?;
        }
        let sql = "update store_listed_versions set stage = $4, changed_us = $5 \
            where tenant = $1 and model = $2 and version = $3";
        let values = values![tenant, model, version, stage.as_str(), now_us];
        if transaction.execute(sql, values).await? == 0 {
            return Err(no_version(model, &version.to_string()));
        }
        transaction.commit().await
    }

    /// Takes a version without a bundle off the list, with the aliases that named it.
    pub async fn unlist_version(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
    ) -> Result<()> {
        let sql =
            "delete from store_listed_versions where tenant = $1 and model = $2 and version = $3";
        let values = values![tenant, model, version];
        match self.database.execute(sql, values).await? {
            0 => Err(no_version(model, &version.to_string())),
            _ => Ok(()),
        }
    }

    /// Sets a tag of a version, or removes it in both worlds.
    pub async fn set_version_tag(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        version: Version,
        key: &str,
        value: Option<&str>,
        now_us: i64,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        let sql = "update store_listed_versions set changed_us = $4 where tenant = $1 and model = $2 and version = $3";
        let values = values![tenant, model, version, now_us];
        if transaction.execute(sql, values).await? == 0 {
            return Err(no_version(model, &version.to_string()));
        }
        match value {
            Some(value) => {
                let tags = checked_pairs("tag", &[Pair::new(key, value)], TAG_CHARS_MAX)?;
                put_tags(&mut transaction, tenant, model, version, tags).await?;
            }
            None => {
                for sql in [
                    "delete from store_listed_version_tags where tenant = $1 and model = $2 and version = $3 and name = $4",
                    "delete from store_tags where tenant = $1 and model = $2 and version = $3 and name = $4",
                ] {
                    let values = values![tenant, model, version, key];
                    transaction.execute(sql, values).await?;
                }
            }
        }
        transaction.commit().await
    }
}

async fn put_tags(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    version: Version,
    tags: Vec<Pair>,
) -> Result<()> {
    insert_rows(
        transaction,
        "insert into store_listed_version_tags (tenant, model, version, name, value)",
        values![tenant, model, version],
        pair_rows(tags),
        "on conflict (tenant, model, version, name) do update set value = excluded.value",
    )
    .await
}

/// Lists a version that came with its bundle, in the transaction that registers it.
pub(crate) async fn list_with_bundle(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    version: Version,
    by: &str,
    now_us: i64,
) -> Result<()> {
    let sql = "insert into store_listed_versions (tenant, model, version, source, description, user_name, status, \
        status_message, stage, created_us, changed_us) values ($1, $2, $3, '', '', $4, 'READY', '', 'None', $5, $5) \
        on conflict do nothing";
    let values = values![tenant, model, version, by, now_us];
    transaction.execute(sql, values).await?;
    let sql = "update store_models set listed_changed_us = $3 where tenant = $1 and name = $2";
    transaction
        .execute(sql, values![tenant, model, now_us])
        .await
        .map(drop)
}

fn refuse_held(path: &FilePath, found: Option<Row>) -> Result<()> {
    let Some(row) = found else {
        return Ok(());
    };
    Err(Error::FilesHeld {
        path: path.clone(),
        name: row.text("listed_name")?,
        version: row.version("version")?,
    })
}

fn listed_version(row: &Row) -> Result<ListedVersion> {
    let status = match row.text("status")?.as_str() {
        "PENDING_REGISTRATION" => Status::Pending,
        _ => Status::Ready,
    };
    let stage = Stage::parse(&row.text("stage")?);
    Ok(ListedVersion {
        name: row.text("listed_name")?,
        model: row.model("model")?,
        version: row.version("version")?,
        source: row.text("source")?,
        run: row.text_or_none("run", "run")?,
        run_link: row.text_or_none("run_link", "run_link")?,
        logged_model: row.text_or_none("logged_model", "logged_model")?,
        description: row.text("description")?,
        user: row.text("user_name")?,
        status,
        status_message: row.text("status_message")?,
        stage: stage.ok_or(Error::Unreadable { what: "stage" })?,
        created_us: row.whole("created_us")?,
        changed_us: row.whole("changed_us")?,
        has_bundle: false,
        tags: Vec::new(),
        aliases: Vec::new(),
    })
}
