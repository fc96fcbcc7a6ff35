//! What the other tables know of listed versions: bundles, where they serve, tags, aliases.

use super::super::holders;
use super::super::{KEYS_AT_ONCE, Pair};
use super::{ListedVersion, Stage};
use crate::database::{Row, Value, values};
use crate::error::Result;
use crate::store::Store;
use ombud_core::{ModelName, Version};
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, HashMap};

impl Store {
    /// Adds tags, aliases, stages, and whether there is a bundle.
    pub(super) async fn furnish_versions(
        &self,
        tenant: &Tenant,
        found: &mut [ListedVersion],
    ) -> Result<()> {
        let mut models: Vec<ModelName> = found.iter().map(|one| one.model.clone()).collect();
        models.sort_unstable();
        models.dedup();
        let mut facts: HashMap<(ModelName, Version), Facts> = HashMap::new();
        for models in models.chunks(KEYS_AT_ONCE) {
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
