//! The registry as MLflow's clients see it: registered models and their versions, whichever world they came from.
//!
//! A registered model is a model of ours under the name that clients gave it; a version is listed here whether it has a
//! bundle or is only kept. Numbers are the registry's own, so version 3 is version 3 for everybody.

mod facts;
mod versions;

pub use versions::WaitingVersion;
pub(crate) use versions::list_with_bundle;

use super::search::{Attribute, Prepared, SearchQuery, Searchable, Shelf};
use super::{Pair, checked_pairs, insert_rows, last_of_each, pair_rows};
use crate::database::{Row, Transaction, values};
use crate::depot::FilePath;
use crate::error::{Error, Result};
use crate::store::{Store, bounded};
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use std::collections::BTreeMap;

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
    among_equals: &[],
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
