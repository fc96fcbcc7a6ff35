//! Metrics: points in a run's time, all of them kept, the latest kept beside for search.
//!
//! A value may be no number or infinite. No database orders those alike, so a point is a plain double and a word of what it
//! really is.

use super::run::{find, require_active};
use super::{checked_key, insert_rows};
use crate::database::{Row, Transaction, Value, values};
use crate::error::{Error, Result};
use crate::store::Store;
use ombud_ledger::Tenant;
use std::collections::HashMap;

/// Points of a history on one page.
pub const HISTORY_ROWS_MAX: usize = 25_000;

/// One value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub key: String,
    pub value: f64,
    pub step: i64,
    pub logged_ms: i64,
}

/// What a point says of a logged model, beside its run.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPoint {
    pub point: Point,
    /// The logged model.
    pub model: String,
    pub dataset_name: String,
    pub dataset_digest: String,
}

/// A double as both databases order it, and what it is.
pub(super) fn stored(value: f64) -> (f64, i64) {
    match value {
        _ if value.is_nan() => (0.0, 1),
        f64::INFINITY => (f64::MAX, 2),
        f64::NEG_INFINITY => (f64::MIN, 3),
        // Zero has one sign.
        _ => (value + 0.0, 0),
    }
}

pub(super) fn read(row: &Row) -> Result<f64> {
    Ok(match row.whole("kind")? {
        1 => f64::NAN,
        2 => f64::INFINITY,
        3 => f64::NEG_INFINITY,
        _ => row.real("value")?,
    })
}

pub(super) fn point(row: &Row) -> Result<Point> {
    Ok(Point {
        key: row.text("name")?,
        value: read(row)?,
        step: row.whole("step")?,
        logged_ms: row.whole("logged_ms")?,
    })
}

impl Store {
    /// A page of a metric's points, in order of time and step.
    pub async fn metric_history(
        &self,
        tenant: &Tenant,
        run: &str,
        key: &str,
        skip: usize,
        rows_max: usize,
    ) -> Result<Vec<Point>> {
        let found = find(&self.database, tenant, run).await?;
        let sql = "select name, step, logged_ms, value, kind from store_metrics \
            where tenant = $1 and run = $2 and name = $3 order by step, logged_ms, value, kind limit $4 offset $5";
        let values = values![
            tenant,
            found.number,
            key,
            rows_max.clamp(1, HISTORY_ROWS_MAX + 1) as i64,
            i64::try_from(skip).unwrap_or(i64::MAX)
        ];
        let rows = self.database.rows(sql, values).await?;
        rows.iter().map(point).collect()
    }

    /// Notes how logged models did.
    pub async fn log_model_points(
        &self,
        tenant: &Tenant,
        run: &str,
        points: &[ModelPoint],
    ) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        for said in points {
            let sql = "insert into store_logged_model_metrics (tenant, model, name, dataset_name, dataset_digest, run, \
                step, logged_ms, value, kind) select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 \
                where exists (select 1 from store_logged_models where tenant = $1 and model = $2) \
                on conflict (tenant, model, name, dataset_name, dataset_digest, run) do update set step = excluded.step, \
                logged_ms = excluded.logged_ms, value = excluded.value, kind = excluded.kind \
                where (excluded.step, excluded.logged_ms) >= \
                (store_logged_model_metrics.step, store_logged_model_metrics.logged_ms)";
            let (value, kind) = stored(said.point.value);
            let values = values![
                tenant,
                said.model.as_str(),
                said.point.key.as_str(),
                said.dataset_name.as_str(),
                said.dataset_digest.as_str(),
                run,
                said.point.step,
                said.point.logged_ms,
                value,
                kind
            ];
            transaction.execute(sql, values).await?;
        }
        transaction.commit().await
    }

    /// One point.
    pub async fn log_point(&self, tenant: &Tenant, run: &str, said: Point) -> Result<()> {
        let mut transaction = self.database.begin().await?;
        let number = require_active(&mut transaction, tenant, run).await?;
        log(
            &mut transaction,
            tenant,
            number,
            std::slice::from_ref(&said),
        )
        .await?;
        transaction.commit().await
    }
}

/// Writes points and brings the latest up to date.
pub(super) async fn log(
    transaction: &mut Transaction,
    tenant: &Tenant,
    run: i64,
    points: &[Point],
) -> Result<()> {
    let mut latest: HashMap<&str, &Point> = HashMap::new();
    let mut rows = Vec::with_capacity(points.len());
    for said in points {
        checked_key("metric", &said.key)?;
        rows.push(cells(said));
        let kept = latest.entry(&said.key).or_insert(said);
        if is_later(said, kept) {
            *kept = said;
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let shared = values![tenant, run];
    insert_rows(
        transaction,
        "insert into store_metrics (tenant, run, name, step, logged_ms, value, kind)",
        shared.clone(),
        rows,
        "on conflict do nothing",
    )
    .await?;
    insert_rows(
        transaction,
        "insert into store_latest_metrics (tenant, run, name, step, logged_ms, value, kind)",
        shared,
        latest.into_values().map(cells).collect(),
        "on conflict (tenant, run, name) do update set step = excluded.step, logged_ms = excluded.logged_ms, \
         value = excluded.value, kind = excluded.kind where (excluded.step, excluded.logged_ms, excluded.value) > \
         (store_latest_metrics.step, store_latest_metrics.logged_ms, store_latest_metrics.value)",
    )
    .await
}

fn is_later(said: &Point, kept: &Point) -> bool {
    let place = |point: &Point| (point.step, point.logged_ms);
    match place(said).cmp(&place(kept)) {
        std::cmp::Ordering::Equal => stored(said.value).0 > stored(kept.value).0,
        order => order.is_gt(),
    }
}

fn cells(said: &Point) -> Vec<Value> {
    let (value, kind) = stored(said.value);
    values![said.key.as_str(), said.step, said.logged_ms, value, kind]
}

/// The points of logged models, each with its data set and run.
pub(super) fn model_point(row: &Row) -> Result<(ModelPoint, String)> {
    let said = ModelPoint {
        point: point(row)?,
        model: row.text("model")?,
        dataset_name: row.text("dataset_name")?,
        dataset_digest: row.text("dataset_digest")?,
    };
    Ok((said, row.text("run")?))
}

/// A number that arrives as a text, as protobuf's JSON has it.
pub fn number_in(text: &str) -> Result<f64> {
    match text {
        "NaN" | "nan" => Ok(f64::NAN),
        "Infinity" | "inf" | "+Infinity" => Ok(f64::INFINITY),
        "-Infinity" | "-inf" => Ok(f64::NEG_INFINITY),
        _ => text.parse().map_err(|_| Error::Malformed {
            what: "metric's value",
            came: text.chars().take(40).collect(),
            allowed: "a number, NaN, Infinity or -Infinity",
        }),
    }
}
