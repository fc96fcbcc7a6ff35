//! The registry as MLflow's clients see it: registered models and their versions, whichever world they came from.
//!
//! A registered model is a model of ours under the name that clients gave it; a version is listed here whether it has a
//! bundle or is only kept. Numbers are the registry's own, so version 3 is version 3 for everybody.

use super::logged_model::path_here;
use super::search::{Attribute, Prepared, SearchQuery, Searchable, Shelf};
use super::{Pair, checked_pairs, holders, insert_rows, last_of_each, pair_rows};
use crate::database::{Row, Transaction, Value, values};
use crate::depot::FilePath;
use crate::error::{Error, Result};
use crate::store::{Store, bounded};
use crate::version::no_version;
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, HashMap};

/// Longest name of a registered model.
pub const LISTED_NAME_BYTES_MAX: usize = 256;
/// Longest value of a tag.
const TAG_CHARS_MAX: usize = 5_000;
/// Longest description, source or message.
const TEXT_BYTES_MAX: usize = 5_000;

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As clients call it.
    pub name: String,
    /// As the house calls it.
    pub model: ModelName,
    pub description: String,
    pub created_us: i64,
    pub changed_us: i64,
    pub tags: Vec<Pair>,
    pub aliases: BTreeMap<String, Version>,
}

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// As clients call the model.
    pub name: String,
    pub model: ModelName,
    pub version: Version,
    pub source: String,
    pub run: Option<String>,
    pub run_link: Option<String>,
    pub logged_model: Option<String>,
    pub description: String,
    pub user: String,
    pub status: Status,
    pub status_message: String,
    pub stage: Stage,
    pub created_us: i64,
    pub changed_us: i64,
    /// Whether it can be deployed.
    pub has_bundle: bool,
    pub tags: Vec<Pair>,
    /// The aliases that name it.
    pub aliases: Vec<String>,
}

/// A version to be listed.
#[derive(Debug, Clone, Default)]
pub struct NewListedVersion {
    pub source: String,
    pub run: Option<String>,
    pub run_link: Option<String>,
    pub logged_model: Option<String>,
    pub description: String,
    pub user: String,
    pub tags: Vec<Pair>,
    /// The folder of its files, when they are here.
    pub files: Option<FilePath>,
    /// The number that it had elsewhere.
    pub version: Option<Version>,
}

/// How far a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Pending,
    Ready,
}

/// MLflow's word for where a version serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    None,
    Staging,
    Production,
    Archived,
}

impl Status {
    /// The word that is stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "PENDING_REGISTRATION",
            Status::Ready => "READY",
        }
    }
}

impl Stage {
    /// Each of them.
    pub const ALL: [Stage; 4] = [
        Stage::None,
        Stage::Staging,
        Stage::Production,
        Stage::Archived,
    ];

    /// The word that is stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::None => "None",
            Stage::Staging => "Staging",
            Stage::Production => "Production",
            Stage::Archived => "Archived",
        }
    }

    /// Reads the word, whatever its case.
    pub fn parse(text: &str) -> Option<Stage> {
        let mut all = Stage::ALL.into_iter();
        all.find(|stage| stage.as_str().eq_ignore_ascii_case(text))
    }
}

const fn text(names: &'static [&'static str], column: &'static str) -> Attribute {
    Attribute {
        names,
        column,
        is_text: true,
        is_nullable: false,
    }
}

const fn time(names: &'static [&'static str], column: &'static str) -> Attribute {
    Attribute {
        names,
        column,
        is_text: false,
        is_nullable: false,
    }
}

const MODELS: Searchable = Searchable {
    from: "store_models e",
    attributes: &[
        text(&["name"], "e.listed_name"),
        time(
            &["last_updated_timestamp", "timestamp"],
            "(e.listed_changed_us / 1000)",
        ),
        time(
            &["creation_timestamp", "creation_time"],
            "(e.created_us / 1000)",
        ),
    ],
    metrics: None,
    params: None,
    tags: Some(Shelf {
        table: "store_model_tags",
        on: "t.model = e.name",
    }),
    datasets: None,
    default_order: &[],
    last: "e.listed_name",
};

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
};

impl Store {
    /// Makes a model under a name that clients give it.
    pub async fn list_model(
        &self,
        tenant: &Tenant,
        name: &str,
        description: &str,
        tags: &[Pair],
        now_us: i64,
    ) -> Result<Listed> {
        checked_name(name)?;
        bounded("description", description, TEXT_BYTES_MAX)?;
        let tags = last_of_each(checked_pairs("tag", tags, TAG_CHARS_MAX)?);
        let mut transaction = self.database.begin().await?;
        refuse_listed(&mut transaction, tenant, name).await?;
        let sql = "insert into store_models (tenant, name, description, revision, last_version, created_us, listed_name, \
            listed_changed_us) values ($1, $2, $3, 1, 0, $4, $5, $4) on conflict do nothing";
        let mut made = None;
        for model in house_names(name) {
            let values = values![tenant, &model, description, now_us, name];
            if transaction.execute(sql, values).await? == 1 {
                made = Some(model);
                break;
            }
            // Somebody may have been faster with the same name.
            refuse_listed(&mut transaction, tenant, name).await?;
        }
        let model = made.ok_or_else(|| Error::Exists {
            what: "registered model",
            name: name.to_owned(),
        })?;
        insert_rows(
            &mut transaction,
            "insert into store_model_tags (tenant, model, name, value)",
            values![tenant, &model],
            pair_rows(tags),
            "on conflict (tenant, model, name) do update set value = excluded.value",
        )
        .await?;
        transaction.commit().await?;
        self.listed(tenant, name).await
    }

    /// A registered model by the name that clients give it.
    pub async fn listed(&self, tenant: &Tenant, name: &str) -> Result<Listed> {
        let sql = "select * from store_models where tenant = $1 and listed_name = $2";
        let row = self.database.row(sql, values![tenant, name]).await?;
        let mut found = vec![listed(&row.ok_or_else(|| unknown(name))?)?];
        self.furnish_listed(tenant, &mut found).await?;
        Ok(found.remove(0))
    }

    /// What the house calls a registered model.
    pub async fn listed_model(&self, tenant: &Tenant, name: &str) -> Result<ModelName> {
        let sql = "select name from store_models where tenant = $1 and listed_name = $2";
        let row = self.database.row(sql, values![tenant, name]).await?;
        row.ok_or_else(|| unknown(name))?.model("name")
    }

    /// A page of registered models.
    pub async fn search_listed(
        &self,
        tenant: &Tenant,
        query: &SearchQuery,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let asked = Prepared::new(&MODELS, tenant, query, |statement| {
            statement.add(" and e.listed_name is not null");
        })?;
        let (rows, next) = asked.ask(&self.database).await?;
        let mut found: Vec<Listed> = rows.iter().map(listed).collect::<Result<_>>()?;
        self.furnish_listed(tenant, &mut found).await?;
        Ok((found, next))
    }

    /// Gives a registered model another name among clients; the house's name for it stays.
    pub async fn rename_listed(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        name: &str,
        now_us: i64,
    ) -> Result<()> {
        checked_name(name)?;
        let mut transaction = self.database.begin().await?;
        refuse_listed(&mut transaction, tenant, name).await?;
        let sql = "update store_models set listed_name = $3, listed_changed_us = $4, revision = revision + 1 \
            where tenant = $1 and name = $2";
        transaction
            .execute(sql, values![tenant, model, name, now_us])
            .await?;
        transaction.commit().await
    }

    /// Removes a model of which no version has a bundle any more.
    pub async fn unlist_model(&self, tenant: &Tenant, model: &ModelName) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        crate::model::lock(&mut transaction, tenant, model).await?;
        let sql = "select version from store_versions where tenant = $1 and model = $2 limit 1";
        if let Some(row) = transaction.row(sql, values![tenant, model]).await? {
            return Err(Error::NeededByLedger {
                model: model.clone(),
                version: row.version("version")?,
            });
        }
        for sql in [
            "delete from store_listed_versions where tenant = $1 and model = $2",
            "delete from store_model_tags where tenant = $1 and model = $2",
            "delete from store_aliases where tenant = $1 and model = $2",
            "delete from store_models where tenant = $1 and name = $2",
        ] {
            transaction.execute(sql, values![tenant, model]).await?;
        }
        transaction.commit().await
    }

    /// Sets a tag of a registered model, or removes it.
    pub async fn set_listed_tag(
        &self,
        tenant: &Tenant,
        model: &ModelName,
        key: &str,
        value: Option<&str>,
        now_us: i64,
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        touch_model(&mut transaction, tenant, model, now_us).await?;
        match value {
            Some(value) => {
                let tags = checked_pairs("tag", &[Pair::new(key, value)], TAG_CHARS_MAX)?;
                insert_rows(
                    &mut transaction,
                    "insert into store_model_tags (tenant, model, name, value)",
                    values![tenant, model],
                    pair_rows(tags),
                    "on conflict (tenant, model, name) do update set value = excluded.value",
                )
                .await?;
            }
            None => {
                let sql =
                    "delete from store_model_tags where tenant = $1 and model = $2 and name = $3";
                transaction
                    .execute(sql, values![tenant, model, key])
                    .await?;
            }
        }
        transaction.commit().await
    }

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
            where tenant = $1 and model = $2 and version = $3";
        let values = values![
            tenant,
            model,
            version,
            Status::Ready.as_str(),
            message.replace('\0', " "),
            now_us
        ];
        self.database.execute(sql, values).await.map(drop)
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

    async fn furnish_listed(&self, tenant: &Tenant, found: &mut [Listed]) -> Result<()> {
        for listed in found {
            let sql = "select name, value from store_model_tags where tenant = $1 and model = $2 order by name";
            let rows = self
                .database
                .rows(sql, values![tenant, &listed.model])
                .await?;
            listed.tags = rows.iter().map(pair).collect::<Result<_>>()?;
            listed.aliases = self.aliases(tenant, &listed.model).await?;
        }
        Ok(())
    }

    /// Adds tags, aliases, stages, and whether there is a bundle.
    async fn furnish_versions(&self, tenant: &Tenant, found: &mut [ListedVersion]) -> Result<()> {
        let mut models: Vec<ModelName> = found.iter().map(|one| one.model.clone()).collect();
        models.sort_unstable();
        models.dedup();
        let mut facts: HashMap<(ModelName, Version), Facts> = HashMap::new();
        for models in models.chunks(super::KEYS_AT_ONCE) {
            self.gather(tenant, models, &mut facts).await?;
        }
        for one in found {
            let Some(facts) = facts.remove(&(one.model.clone(), one.version)) else {
                continue;
            };
            one.has_bundle = facts.has_bundle;
            one.tags = facts
                .tags
                .into_iter()
                .map(|(key, value)| Pair { key, value })
                .collect();
            one.aliases = facts.aliases;
            if facts.has_bundle {
                one.stage = facts.stage;
            }
        }
        Ok(())
    }

    async fn gather(
        &self,
        tenant: &Tenant,
        models: &[ModelName],
        facts: &mut HashMap<(ModelName, Version), Facts>,
    ) -> Result<()> {
        let listed = holders(models.len());
        for (sql, add) in FACTS {
            let mut bound = values![tenant];
            bound.extend(models.iter().map(Value::from));
            let sql = AssertSqlSafe(sql.replace("$MODELS", &listed));
            for row in self.database.rows(sql, bound).await? {
                let place = (row.model("model")?, row.version("version")?);
                add(facts.entry(place).or_default(), &row)?;
            }
        }
        Ok(())
    }
}

/// What other tables know of a version.
struct Facts {
    has_bundle: bool,
    stage: Stage,
    tags: BTreeMap<String, String>,
    aliases: Vec<String>,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            has_bundle: false,
            stage: Stage::None,
            tags: BTreeMap::new(),
            aliases: Vec::new(),
        }
    }
}

type Add = fn(&mut Facts, &Row) -> Result<()>;

const FACTS: [(&str, Add); 5] = [
    (
        "select model, version, archived_us from store_versions where tenant = $1 and model in ($MODELS)",
        |facts, row| {
            facts.has_bundle = true;
            if row.time_or_none("archived_us")?.is_some() {
                facts.stage = Stage::Archived;
            }
            Ok(())
        },
    ),
    (
        // Production comes last and wins.
        "select model, version, environment from store_traffic where tenant = $1 and model in ($MODELS) \
         and part = 'active' and environment in ('production', 'staging') order by environment desc",
        |facts, row| {
            facts.stage = if row.text("environment")? == "staging" {
                Stage::Staging
            } else {
                Stage::Production
            };
            Ok(())
        },
    ),
    (
        "select model, version, name, value from store_tags where tenant = $1 and model in ($MODELS)",
        add_tag,
    ),
    (
        "select model, version, name, value from store_listed_version_tags where tenant = $1 and model in ($MODELS)",
        add_tag,
    ),
    (
        "select a.model, a.alias, a.version from store_aliases a where a.tenant = $1 and a.model in ($MODELS) \
         and a.version is not null and a.number = (select max(b.number) from store_aliases b \
         where b.tenant = a.tenant and b.model = a.model and b.alias = a.alias) order by a.alias",
        |facts, row| {
            facts.aliases.push(row.text("alias")?);
            Ok(())
        },
    ),
];

fn add_tag(facts: &mut Facts, row: &Row) -> Result<()> {
    facts.tags.insert(row.text("name")?, row.text("value")?);
    Ok(())
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

async fn touch_model(
    transaction: &mut Transaction,
    tenant: &Tenant,
    model: &ModelName,
    now_us: i64,
) -> Result<()> {
    let sql = "update store_models set listed_changed_us = $3, revision = revision + 1 where tenant = $1 and name = $2";
    let values = values![tenant, model, now_us];
    match transaction.execute(sql, values).await? {
        0 => Err(unknown(model.as_str())),
        _ => Ok(()),
    }
}

async fn refuse_listed(transaction: &mut Transaction, tenant: &Tenant, name: &str) -> Result<()> {
    let sql = "select 1 from store_models where tenant = $1 and listed_name = $2";
    match transaction.row(sql, values![tenant, name]).await? {
        None => Ok(()),
        Some(_) => Err(Error::Exists {
            what: "registered model",
            name: name.to_owned(),
        }),
    }
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

fn checked_name(name: &str) -> Result<()> {
    bounded("registered model's name", name, LISTED_NAME_BYTES_MAX)?;
    let is_wrong = |c: char| c.is_control() || matches!(c, '/' | ':');
    if name.trim().is_empty() || name.contains(is_wrong) {
        return Err(Error::Malformed {
            what: "registered model's name",
            came: name.chars().take(80).collect(),
            allowed: "a name that is not empty, without / and :",
        });
    }
    Ok(())
}

/// What the house may call a model that clients call so: the name itself when it may, else its letters, then numbered.
fn house_names(name: &str) -> impl Iterator<Item = ModelName> {
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '-' => c,
            _ => '_',
        })
        .collect();
    let plain = plain.trim_matches('_');
    let begin = if plain.starts_with(|c: char| c.is_ascii_lowercase()) {
        String::new()
    } else {
        "model_".to_owned()
    };
    let room = ombud_core::name::NAME_LENGTH_MAX - 5;
    let base: String = format!("{begin}{plain}").chars().take(room).collect();
    let itself = ModelName::new(name).ok();
    let numbered = (1..1_000).map(move |number| match number {
        1 => base.clone(),
        _ => format!("{base}_{number}"),
    });
    itself
        .into_iter()
        .chain(numbered.filter_map(|name| ModelName::new(&name).ok()))
}

fn unknown(name: &str) -> Error {
    Error::NotFound {
        what: "registered model",
        name: name.chars().take(80).collect(),
    }
}

fn pair(row: &Row) -> Result<Pair> {
    Ok(Pair::new(row.text("name")?, row.text("value")?))
}

fn listed(row: &Row) -> Result<Listed> {
    Ok(Listed {
        name: row.text("listed_name")?,
        model: row.model("name")?,
        description: row.text("description")?,
        created_us: row.whole("created_us")?,
        changed_us: row.whole("listed_changed_us")?,
        tags: Vec::new(),
        aliases: BTreeMap::new(),
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
