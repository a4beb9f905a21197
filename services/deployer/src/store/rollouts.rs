//! Rollouts: the machine's state, who asked for it, and the columns that loops look for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;
use slipway_platform::db::expect_saved;
use slipway_platform::filter::{FieldSpec, FieldType, Filter, Value};
use slipway_platform::names::{EndpointName, EnvironmentName, RolloutName, VersionName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, etag};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::{from_text, readable, stored_name, to_text};
use crate::domain::resources::{Actor, VerdictSummary};
use crate::domain::rollout::{Gate, Pending, Phase, Rollout};

/// A rollout as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutRow {
    pub name: RolloutName,
    pub version: VersionName,
    pub rollout: Rollout,
    pub about: About,
    pub generation: i64,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The trace that it belongs to: that of the call or event that began it; may be empty.
    pub traceparent: String,
}

/// Who asked for it, and on what grounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Who asked.
    pub requested_by: Actor,
    /// Why.
    pub reason: String,
    /// The evaluations that it was let in on.
    pub evidence: Vec<String>,
    /// What the failure-detector said last.
    pub verdict: Option<VerdictSummary>,
}

impl RolloutRow {
    /// The endpoint that it moves.
    pub fn endpoint(&self) -> &EndpointName {
        self.name.endpoint()
    }

    /// Whether it waits for others of its endpoint to end.
    pub fn queued(&self) -> bool {
        self.rollout.phase == Phase::Pending(Pending { gate: Gate::Queued })
    }
}

/// The fields that a listing may be filtered by.
pub const FILTER_FIELDS: &[FieldSpec] = &[
    FieldSpec::new(
        "phase",
        FieldType::Word(&[
            "PENDING",
            "PROVISIONING",
            "CHECKING",
            "SHIFTING",
            "SOAKING",
            "SUCCEEDED",
            "PAUSED",
            "ROLLING_BACK",
            "ROLLED_BACK",
            "FAILED",
        ]),
    ),
    FieldSpec::new("version", FieldType::Text),
    FieldSpec::new("candidate", FieldType::Integer),
];

type Columns = (
    String,
    String,
    String,
    String,
    i64,
    i64,
    Option<i64>,
    String,
);
const COLUMNS: &str = "SELECT name, version, state, about, generation, created_at, ended_at, traceparent FROM rollouts";

/// Records a new one.
pub async fn insert(conn: &mut AnyConnection, row: &RolloutRow, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO rollouts (name, endpoint, environment, candidate, version, state, about, phase, ended, tick_at, \
         followed, generation, created_at, ended_at, traceparent) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(row.name.to_string())
    .bind(row.endpoint().to_string())
    .bind(row.name.environment().to_string())
    .bind(i64::from(row.rollout.candidate.0))
    .bind(row.version.to_string())
    .bind(to_text(&row.rollout)?)
    .bind(to_text(&row.about)?)
    .bind(row.rollout.phase.name())
    .bind(i64::from(row.rollout.ended()))
    .bind(row.rollout.next_tick(now).map(|tick| tick.0))
    .bind(followed(&row.rollout))
    .bind(row.generation)
    .bind(row.created_at.0)
    .bind(row.ended_at.map(|at| at.0))
    .bind(row.traceparent.as_str())
    .execute(conn)
    .await?;
    Ok(())
}

/// The generation that proxies or the failure-detector are asked about, if any.
fn followed(rollout: &Rollout) -> Option<i64> {
    rollout
        .awaited_generation()
        .or(rollout.watched_generation())
}

/// Saves one by generation.
pub async fn save(conn: &mut AnyConnection, row: &RolloutRow, now: Timestamp) -> Result<()> {
    let result = sqlx::query(
        "UPDATE rollouts SET state = $1, about = $2, phase = $3, ended = $4, tick_at = $5, followed = $6, \
         ended_at = $7, generation = generation + 1 WHERE name = $8 AND generation = $9",
    )
    .bind(to_text(&row.rollout)?)
    .bind(to_text(&row.about)?)
    .bind(row.rollout.phase.name())
    .bind(i64::from(row.rollout.ended()))
    .bind(row.rollout.next_tick(now).map(|tick| tick.0))
    .bind(followed(&row.rollout))
    .bind(row.ended_at.map(|at| at.0))
    .bind(row.name.to_string())
    .bind(row.generation)
    .execute(conn)
    .await?;
    expect_saved(&result, &row.name.to_string(), &etag::of(row.generation))
}

/// The rollout; `NotFound` if there is none.
pub async fn get(conn: &mut AnyConnection, name: &RolloutName) -> Result<RolloutRow> {
    let row: Option<Columns> = sqlx::query_as(AssertSqlSafe(format!("{COLUMNS} WHERE name = $1")))
        .bind(name.to_string())
        .fetch_optional(conn)
        .await?;
    row.map(read)
        .transpose()?
        .ok_or_else(|| Error::not_found("rollout", name))
}

/// Those of an endpoint that have not ended, oldest first. At most one of them is not queued.
pub async fn open(conn: &mut AnyConnection, endpoint: &EndpointName) -> Result<Vec<RolloutRow>> {
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 AND ended = 0 ORDER BY created_at, name"
    )))
    .bind(endpoint.to_string())
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(read).collect()
}

/// The newest of an endpoint, ended or not.
pub async fn newest(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
) -> Result<Option<RolloutRow>> {
    let row: Option<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 ORDER BY ended, created_at DESC, name DESC LIMIT 1"
    )))
    .bind(endpoint.to_string())
    .fetch_optional(conn)
    .await?;
    row.map(read).transpose()
}

/// How many have not ended, by environment and phase.
pub async fn count_by_phase(conn: &mut AnyConnection) -> Result<BTreeMap<(String, String), u64>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT environment, phase, COUNT(*) FROM rollouts WHERE ended = 0 GROUP BY environment, phase",
    )
    .fetch_all(conn)
    .await?;
    let counted = rows.into_iter().map(|(environment, phase, count)| {
        let environment: EnvironmentName = stored_name(&environment)?;
        let count = u64::try_from(count).unwrap_or(0);
        Ok(((environment.id().to_owned(), phase), count))
    });
    counted.collect()
}

/// Those whose time has come, earliest first; at most `limit`.
pub async fn due(conn: &mut AnyConnection, now: Timestamp, limit: i64) -> Result<Vec<RolloutName>> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM rollouts WHERE tick_at <= $1 ORDER BY tick_at LIMIT $2")
            .bind(now.0)
            .bind(limit)
            .fetch_all(conn)
            .await?;
    rows.iter().map(|(name,)| stored_name(name)).collect()
}

/// Sets when one's time comes next, and nothing else.
pub async fn rearm(
    conn: &mut AnyConnection,
    name: &RolloutName,
    next: Option<Timestamp>,
) -> Result<()> {
    sqlx::query("UPDATE rollouts SET tick_at = $1 WHERE name = $2")
        .bind(next.map(|next| next.0))
        .bind(name.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// When the next one's time comes.
pub async fn next_due(conn: &mut AnyConnection) -> Result<Option<Timestamp>> {
    let (next,): (Option<i64>,) = sqlx::query_as("SELECT MIN(tick_at) FROM rollouts")
        .fetch_one(conn)
        .await?;
    Ok(next.map(Timestamp))
}

/// Those that have not ended and have traffic that proxies accept and the failure-detector judges. One that cannot
/// be read is left out, and said: it must not keep the others from going back.
pub async fn with_traffic(conn: &mut AnyConnection) -> Result<Vec<RolloutRow>> {
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE ended = 0 AND followed IS NOT NULL ORDER BY name"
    )))
    .fetch_all(conn)
    .await?;
    Ok(readable(rows, |row| &row.0, read))
}

/// A page of an endpoint's rollouts, or of all of an environment, newest first, with one more row than the
/// page if there is one.
pub async fn list(
    conn: &mut AnyConnection,
    environment: &EnvironmentName,
    endpoint: Option<&EndpointName>,
    filter: &Filter,
    page: &Page,
) -> Result<Vec<RolloutRow>> {
    let (created, name) = page.after().map_or((i64::MAX, String::new()), position);
    let mut sql = format!(
        "{COLUMNS} WHERE environment = $1 AND ($2 = '' OR endpoint = $2) \
         AND (created_at < $3 OR (created_at = $3 AND name < $4))"
    );
    for (index, term) in filter.terms.iter().enumerate() {
        // Fields and operators are words of this crate; only values come from the client.
        sql.push_str(&format!(
            " AND {} {} ${}",
            term.field,
            term.operator.sql(),
            index + 6
        ));
    }
    sql.push_str(" ORDER BY created_at DESC, name DESC LIMIT $5");
    let mut query = sqlx::query_as(AssertSqlSafe(sql))
        .bind(environment.to_string())
        .bind(endpoint.map(ToString::to_string).unwrap_or_default())
        .bind(created)
        .bind(name)
        .bind(page.limit());
    for term in &filter.terms {
        query = match &term.value {
            Value::Text(text) => query.bind(text.clone()),
            Value::Integer(number) => query.bind(*number),
            Value::Bool(flag) => query.bind(i64::from(*flag)),
            Value::Time(time) => query.bind(time.0),
        };
    }
    let rows: Vec<Columns> = query.fetch_all(conn).await?;
    rows.into_iter().map(read).collect()
}

/// Where a page ends.
pub fn position_of(row: &RolloutRow) -> String {
    format!("{}/{}", row.created_at.0, row.name)
}

fn position(text: &str) -> (i64, String) {
    let (created, name) = text.split_once('/').unwrap_or(("0", ""));
    (created.parse().unwrap_or(0), name.to_owned())
}

fn read(
    (name, version, state, about, generation, created_at, ended_at, traceparent): Columns,
) -> Result<RolloutRow> {
    Ok(RolloutRow {
        name: stored_name(&name)?,
        version: stored_name(&version)?,
        rollout: from_text(&state)?,
        about: from_text(&about)?,
        generation,
        created_at: Timestamp(created_at),
        ended_at: ended_at.map(Timestamp),
        traceparent,
    })
}
