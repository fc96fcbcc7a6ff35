//! How models did, hour by hour and replica by replica, in the words of whoever counted it.
//!
//! Each replica writes its own rows, whole, as often as it likes, and nobody else's.

use crate::database::values;
use crate::error::Result;
use crate::store::Store;
use ombud_ledger::{LaneName, Tenant};

/// What one replica counted of one model in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedHour {
    pub tenant: Tenant,
    pub model: String,
    /// Since 1970.
    pub hour: i64,
    /// JSON of the counter's own.
    pub counted: String,
}

impl Store {
    /// Puts a replica's hours in place of what it put before.
    pub async fn put_hours(&self, replica: &LaneName, hours: &[CountedHour]) -> Result<()> {
        let sql = "insert into store_hours (tenant, model, replica, hour, counted) values ($1, $2, $3, $4, $5) \
            on conflict (tenant, model, replica, hour) do update set counted = excluded.counted";
        let mut transaction = self.database.begin().await?;
        for hour in hours {
            let values = values![
                &hour.tenant,
                hour.model.as_str(),
                replica.as_str(),
                hour.hour,
                hour.counted.as_str()
            ];
            transaction.execute(sql, values).await?;
        }
        transaction.commit().await
    }

    /// What a replica put, of every tenant, from an hour on.
    pub async fn hours_of(&self, replica: &LaneName, from: i64) -> Result<Vec<CountedHour>> {
        let sql = "select tenant, model, hour, counted from store_hours where replica = $1 and hour >= $2 \
            order by tenant, model, hour";
        let rows = self.database.rows(sql, values![replica.as_str(), from]);
        rows.await?.iter().map(counted).collect()
    }

    /// What all replicas but one put of a model, from an hour on.
    pub async fn hours_elsewhere(
        &self,
        tenant: &Tenant,
        model: &str,
        replica: &LaneName,
        from: i64,
    ) -> Result<Vec<CountedHour>> {
        let sql = "select tenant, model, hour, counted from store_hours \
            where tenant = $1 and model = $2 and replica <> $3 and hour >= $4 order by hour, replica";
        let values = values![tenant, model, replica.as_str(), from];
        let rows = self.database.rows(sql, values);
        rows.await?.iter().map(counted).collect()
    }

    /// Removes hours before one, of every tenant and replica; how many rows.
    pub async fn sweep_hours(&self, before: i64) -> Result<u64> {
        let sql = "delete from store_hours where hour < $1";
        self.database.execute(sql, values![before]).await
    }
}

fn counted(row: &crate::database::Row) -> Result<CountedHour> {
    Ok(CountedHour {
        tenant: row.parsed("tenant")?,
        model: row.text("model")?,
        hour: row.whole("hour")?,
        counted: row.text("counted")?,
    })
}
